//! Attention of one sequence in f64, and the plain way in f32. Shares no code with the crate.

/// Operands of one sequence and head, row by row, and what each row may see.
pub(crate) struct Head<'a> {
    pub(crate) q: &'a [Vec<f32>],
    pub(crate) k: &'a [Vec<f32>],
    pub(crate) v: &'a [Vec<f32>],
    pub(crate) dim_v: usize,
    pub(crate) scale: f32,
    pub(crate) window: (Option<usize>, Option<usize>),
}

impl Head<'_> {
    fn sees(&self, row: usize, key: usize) -> bool {
        let place = |x: usize| i64::try_from(x).unwrap();
        let diagonal = place(row) + place(self.k.len()) - place(self.q.len());
        self.window.0.is_none_or(|left| place(key) >= diagonal - place(left))
            && self.window.1.is_none_or(|right| place(key) <= diagonal + place(right))
    }

    /// o and lse of a row.
    pub(crate) fn exact(&self, row: usize) -> (Vec<f64>, f64) {
        let seen: Vec<usize> = (0..self.k.len()).filter(|key| self.sees(row, *key)).collect();
        let score = |key: usize| {
            let products = self.q[row].iter().zip(&self.k[key]).map(|(q, k)| f64::from(*q) * f64::from(*k));
            products.sum::<f64>() * f64::from(self.scale)
        };
        let scores: Vec<f64> = seen.iter().map(|key| score(*key)).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if seen.is_empty() {
            return (vec![0.0; self.dim_v], f64::NEG_INFINITY);
        }
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        let mut o = vec![0.0; self.dim_v];
        for (score, key) in scores.iter().zip(seen) {
            for (o, v) in o.iter_mut().zip(&self.v[key]) {
                *o += (score - max).exp() / sum * f64::from(*v);
            }
        }
        (o, max + sum.ln())
    }

    /// The same with every value rounded to f32: scores of a whole row, their softmax, then the products.
    pub(crate) fn plain(&self, row: usize) -> (Vec<f32>, f32) {
        let seen: Vec<usize> = (0..self.k.len()).filter(|key| self.sees(row, *key)).collect();
        let score = |key: usize| {
            let products = self.q[row].iter().zip(&self.k[key]).map(|(q, k)| q * k);
            products.sum::<f32>() * self.scale
        };
        let scores: Vec<f32> = seen.iter().map(|key| score(*key)).collect();
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = scores.iter().map(|s| (s - max).exp()).sum();
        let mut o = vec![0.0; self.dim_v];
        for (score, key) in scores.iter().zip(seen) {
            for (o, v) in o.iter_mut().zip(&self.v[key]) {
                *o += (score - max).exp() / sum * v;
            }
        }
        (o, max + sum.ln())
    }
}
