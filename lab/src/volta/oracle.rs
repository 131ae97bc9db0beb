//! Numbers of a head, and attention of some of its rows, compared by the one rule of tolerances.

use anyhow::{Context, Error, Result};
use fastattention::attention::Mask;
use fastattention::reference::{attention, same_precision, Params, Tensor};
use fastattention_testkit::compare::check_o;
use fastattention_v100::Memory;
use half::f16;

/// Of each block every so many rows are compared.
const ROWS_BETWEEN: usize = 17;

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
        let compared: Vec<usize> = blocks.into_iter().flat_map(of_block).collect();
        let rows = compared.iter().map(|&row| {
            let keys = if mask == Mask::Causal { row + 1 } else { self.rows() } * self.dims;
            [self.row(&self.q, row), &self.k[..keys], &self.v[..keys], self.row(&o, row)]
        });
        compare(rows, self.dims)
    }

    fn rows(&self) -> usize {
        self.q.len() / self.dims
    }

    fn row<'a>(&self, of: &'a [f16], row: usize) -> &'a [f16] {
        &of[row * self.dims..(row + 1) * self.dims]
    }
}

/// Compares rows of o: of each a row of q, the keys and values that it sees, and the row of o. The largest
/// error.
pub(super) fn compare<'a>(rows: impl Iterator<Item = [&'a [f16]; 4]>, dims: usize) -> Result<f64> {
    let (mut got, mut want, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for [q, k, v, o] in rows {
        got.extend(wide(o));
        let [exact, rounded] = answers([q, k, v]);
        want.extend(exact);
        plain.extend(rounded);
    }
    // The plain way rounds o, too, so that nothing is added for it.
    check_o(&got, &want, &plain, 0.0, [1, got.len() / dims, 1, dims]).map_err(Error::msg)?;
    Ok(got.iter().zip(&want).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max))
}

/// A row of o in f64, and the plain way in halves.
fn answers([q, k, v]: [&[f16]; 3]) -> [Vec<f64>; 2] {
    let (dims, keys) = (q.len(), k.len() / q.len());
    #[allow(clippy::cast_precision_loss, reason = "head dims are small")]
    let softmax_scale = 1.0 / (dims as f64).sqrt();
    let params = Params {
        batch: 1,
        num_heads: 1,
        num_heads_k: 1,
        head_dim: dims,
        head_dim_v: dims,
        seqlen_q: 1,
        seqlen_k: keys,
        softmax_scale,
        mask: Mask::None,
    };
    let [q64, k64, v64] = [q, k, v].map(wide);
    let exact = attention(
        &params,
        Tensor::dense(&q64, 1, 1, dims),
        Tensor::dense(&k64, keys, 1, dims),
        Tensor::dense(&v64, keys, 1, dims),
    );
    let plain = same_precision(
        &params,
        Tensor::dense(q, 1, 1, dims),
        Tensor::dense(k, keys, 1, dims),
        Tensor::dense(v, keys, 1, dims),
    );
    [exact.o, plain.o]
}

fn wide(values: &[f16]) -> Vec<f64> {
    values.iter().map(|x| x.to_f64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(error.to_string().contains("got NaN, want 1"), "{error}");
        }
    }
}
