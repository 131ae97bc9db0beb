//! Numbers of a head, and attention of some of its rows in f64.

use fastattention::attention::Mask;
use half::f16;

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

    fn row<'a>(&self, of: &'a [f16], row: usize) -> impl Iterator<Item = f64> + Clone + 'a {
        of[row * self.dims..(row + 1) * self.dims].iter().map(|x| x.to_f64())
    }

    /// The largest difference of a row of o from what it should be.
    pub(super) fn error(&self, o: &[f16], row: usize, mask: Mask) -> f64 {
        let keys = if mask == Mask::Causal { row + 1 } else { self.k.len() / self.dims };
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
        let worse = |worst: f64, x: f64| if x <= worst { worst } else { x };
        self.row(o, row).zip(want).map(|(x, y)| (x - y).abs()).fold(0.0, worse)
    }
}
