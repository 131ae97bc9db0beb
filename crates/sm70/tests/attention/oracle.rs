//! Attention of one head by its formula, in f64; and the same with scores, weights and o rounded to half,
//! whose error says what an error of a half precision kernel may be: FlashAttention's rule allows twice it.

use half::f16;

use super::problem::Problem;

/// o row by row, and lse (natural logarithm) of each row.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) o: Vec<Vec<f64>>,
    pub(crate) lse: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    F64,
    Half,
}

#[allow(clippy::cast_possible_wrap, reason = "lengths below 2^31")]
pub(crate) fn attention(
    problem: &Problem,
    q: &[Vec<f16>],
    k: &[Vec<f16>],
    v: &[Vec<f16>],
    precision: Precision,
) -> Answer {
    let round = |x: f64| match precision {
        Precision::F64 => x,
        Precision::Half => f16::from_f64(x).to_f64(),
    };
    let shift = k.len() as i64 - q.len() as i64;
    let sees = |row: usize, key: usize| {
        let distance = key as i64 - row as i64 - shift;
        problem.window.0.is_none_or(|left| distance >= -i64::from(left))
            && problem.window.1.is_none_or(|right| distance <= i64::from(right))
    };
    let scale = f64::from(problem.scale_value());
    let [q, k, v] = [q, k, v].map(wide);
    let mut answer = Answer { o: Vec::new(), lse: Vec::new() };
    for (row, q) in q.iter().enumerate() {
        let keys: Vec<usize> = (0..k.len()).filter(|key| sees(row, *key)).collect();
        let dot = |key: usize| q.iter().zip(&k[key]).map(|(x, y)| x * y).sum::<f64>();
        let scores: Vec<f64> = keys.iter().map(|key| round(dot(*key) * scale)).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut o = vec![0.0; problem.head_dim_v];
        for (key, weight) in keys.iter().zip(&weights) {
            let p = round(weight / total);
            o.iter_mut().zip(&v[*key]).for_each(|(sum, v)| *sum += p * v);
        }
        answer.o.push(o.into_iter().map(round).collect());
        answer.lse.push(if keys.is_empty() { f64::NEG_INFINITY } else { top + total.ln() });
    }
    answer
}

fn wide(rows: &[Vec<f16>]) -> Vec<Vec<f64>> {
    rows.iter().map(|row| row.iter().map(|x| x.to_f64()).collect()).collect()
}
