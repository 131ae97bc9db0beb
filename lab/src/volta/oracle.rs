//! Numbers of a head, and attention of some of its rows in f64.

use anyhow::{ensure, Context, Result};
use fastattention::attention::Mask;
use fastattention_v100::Memory;
use half::f16;

/// The largest error of o that is no fault: what halves leave of numbers of size 1.
const TOLERANCE: f64 = 4e-3;
/// Of each block every so many rows are compared.
const ROWS_BETWEEN: usize = 17;

/// The larger of two errors. NaN is larger than any.
fn worse(worst: f64, x: f64) -> f64 {
    if x.is_nan() || x > worst {
        x
    } else {
        worst
    }
}

pub(super) fn bytes(values: &[f16]) -> &[u8] {
    bytemuck::cast_slice(values)
}

/// `rows` times `dims` normal numbers as halves.
pub(super) fn normal(rng: &mut fastrand::Rng, rows: u32, dims: u32) -> Vec<f16> {
    let one = || {
        // The sum of twelve uniform numbers less its mean has variance 1.
        let sum: f64 = (0..12).map(|_| rng.f64()).sum();
        f16::from_f64(sum - 6.0)
    };
    std::iter::repeat_with(one).take((rows * dims) as usize).collect()
}

/// q, k, v of one head, as many rows as keys.
pub(super) struct Head {
    pub(super) q: Vec<f16>,
    pub(super) k: Vec<f16>,
    pub(super) v: Vec<f16>,
    pub(super) dims: usize,
}

impl Head {
    pub(super) fn new(rows: u32, dims: u32) -> Self {
        let mut rng = fastrand::Rng::with_seed(1);
        let [q, k, v] = [(); 3].map(|()| normal(&mut rng, rows, dims));
        Self { q, k, v, dims: dims as usize }
    }

    /// Puts the head into memory: the addresses of q, k, v, of o full of NaN, and of lse.
    pub(super) fn place(&self, memory: &mut Memory) -> [u64; 5] {
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|tensor| memory.upload(bytes(tensor)));
        let o = memory.upload(bytes(&vec![f16::NAN; self.q.len()]));
        // Kernels may write whole warps of rows.
        let lse = memory.upload(&vec![0; 4 * self.rows().next_multiple_of(32)]);
        [q, k, v, o, lse]
    }

    /// The largest error of o at an address, in some rows of the blocks that were run, which have `rows`
    /// each.
    pub(super) fn check(
        &self,
        memory: &Memory,
        o: u64,
        blocks: impl IntoIterator<Item = usize>,
        rows: usize,
        mask: Mask,
    ) -> Result<f64> {
        let read = memory.read(o, 2 * self.q.len()).context("o is there")?;
        let o: Vec<f16> = bytemuck::pod_collect_to_vec(&read);
        let of_block =
            |block: usize| (block * rows..((block + 1) * rows).min(self.rows())).step_by(ROWS_BETWEEN);
        let compared = blocks.into_iter().flat_map(of_block);
        let error = compared.map(|row| self.error(&o, row, mask)).fold(0.0, worse);
        ensure!(error <= TOLERANCE, "o is wrong by {error:e}");
        Ok(error)
    }

    fn rows(&self) -> usize {
        self.q.len() / self.dims
    }

    fn row<'a>(&self, of: &'a [f16], row: usize) -> impl Iterator<Item = f64> + Clone + 'a {
        of[row * self.dims..(row + 1) * self.dims].iter().map(|x| x.to_f64())
    }

    /// The largest difference of a row of o from what it should be.
    fn error(&self, o: &[f16], row: usize, mask: Mask) -> f64 {
        let keys = if mask == Mask::Causal { row + 1 } else { self.rows() };
        #[allow(clippy::cast_precision_loss, reason = "head dims are small")]
        let scale = 1.0 / (self.dims as f64).sqrt();
        let dot = |key| self.row(&self.q, row).zip(self.row(&self.k, key)).map(|(x, y)| x * y).sum::<f64>();
        let scores: Vec<f64> = (0..keys).map(|key| scale * dot(key)).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut want = vec![0.0; self.dims];
        for (key, weight) in weights.iter().enumerate() {
            want.iter_mut().zip(self.row(&self.v, key)).for_each(|(sum, v)| *sum += weight / total * v);
        }
        self.row(o, row).zip(want).map(|(x, y)| (x - y).abs()).fold(0.0, worse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_no_number_stays() {
        assert_eq!([1.0, 3.0, 2.0].into_iter().fold(0.0, worse), 3.0);
        for errors in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, f64::NAN]] {
            assert!(errors.into_iter().fold(0.0, worse).is_nan(), "{errors:?}");
        }
    }

    /// A row that nobody wrote shows wherever it is among those that are compared.
    #[test]
    fn rows_that_were_not_written_are_wrong() {
        // All keys are alike, so that every row of o is v's.
        let mut head = Head::new(64, 8);
        head.k.fill(f16::ONE);
        head.v.fill(f16::ONE);
        let check = |written: &[usize], blocks: &[usize]| {
            let mut o = vec![f16::NAN; head.q.len()];
            written.iter().for_each(|row| o[8 * row..8 * (row + 1)].fill(f16::ONE));
            let mut memory = Memory::new();
            let at = memory.upload(bytes(&o));
            head.check(&memory, at, blocks.iter().copied(), 32, Mask::None)
        };
        assert!(check(&[0, 17, 32, 49], &[0, 1]).is_ok());
        assert!(check(&[0, 17], &[0]).is_ok());
        for written in [[17, 32, 49], [0, 32, 49], [0, 17, 32]] {
            let error = check(&written, &[0, 1]).unwrap_err();
            assert_eq!(error.to_string(), "o is wrong by NaN");
        }
    }
}
