//! Which token comes next.

use std::cmp::Ordering;
use std::collections::HashSet;

use fastattention::{Error, Result};
use fastrand::Rng;

/// How a token is chosen.
///
/// In this order: logits of tokens that the sequence has are made less by `repetition_penalty`; the largest
/// is taken if `temperature` is 0; else logits are divided by it, the `top_k` largest stay, of these the
/// fewest that together have a probability of `top_p`, of these the ones at least `min_p` times as probable
/// as the first, and one is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sampling {
    /// 0: always the most probable.
    pub temperature: f32,
    /// Tokens that may be drawn; 0: all.
    pub top_k: u32,
    /// Sum of the probabilities of those that may be drawn; 1: all.
    pub top_p: f32,
    /// Least probability, as a part of the largest; 0: all.
    pub min_p: f32,
    /// A logit above 0 is divided by it, one below 0 is multiplied; 1: none is. Source: Keskar et al., CTRL
    /// (arXiv 1909.05858), section 4.1.
    pub repetition_penalty: f32,
    /// The same seed draws the same tokens from the same logits.
    pub seed: u64,
}

impl Default for Sampling {
    /// The most probable token, always.
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Refuses numbers that mean nothing.
    ///
    /// # Errors
    /// `InvalidArgument` with the first one.
    pub fn check(&self) -> Result<()> {
        let wrong = |name: &str, value: f32, wanted: &str| {
            Err(Error::invalid(format!("sampling: {name} = {value}, {wanted} wanted")))
        };
        let Self { temperature, top_p, min_p, repetition_penalty, .. } = *self;
        if !(0.0..=100.0).contains(&temperature) {
            return wrong("temperature", temperature, "0 to 100");
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return wrong("top_p", top_p, "more than 0, at most 1");
        }
        if !(0.0..=1.0).contains(&min_p) {
            return wrong("min_p", min_p, "0 to 1");
        }
        if !(repetition_penalty > 0.0 && repetition_penalty <= 100.0) {
            return wrong("repetition_penalty", repetition_penalty, "more than 0, at most 100");
        }
        Ok(())
    }
}

/// Chooses the tokens of one sequence.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: Rng,
}

impl Sampler {
    /// # Errors
    /// Those of [`Sampling::check`].
    pub fn new(sampling: Sampling) -> Result<Self> {
        sampling.check()?;
        Ok(Self { sampling, rng: Rng::with_seed(sampling.seed) })
    }

    /// The token behind `tokens`, whose logits these are. They are changed.
    ///
    /// # Errors
    /// `InvalidArgument` for logits that are NaN or infinite: the model's numbers have left their range.
    pub fn next(&mut self, logits: &mut [f32], tokens: &[u32]) -> Result<u32> {
        if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(Error::invalid(format!("sampling: logit {at} is {}, a number wanted", logits[at])));
        }
        self.penalise(logits, tokens);
        let s = self.sampling;
        if s.temperature == 0.0 {
            return Ok(index(greatest(logits)));
        }
        let mut candidates = candidates(logits, s.top_k as usize);
        let largest = candidates.first().map_or(0.0, |first| first.1);
        for (_, weight) in &mut candidates {
            *weight = ((*weight - largest) / s.temperature).exp();
        }
        keep_likely(&mut candidates, s.top_p, s.min_p);
        let all: f64 = candidates.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut left = self.rng.f64() * all;
        for (token, weight) in &candidates {
            left -= f64::from(*weight);
            if left < 0.0 {
                return Ok(index(*token));
            }
        }
        // Sums are rounded: the draw may lie behind the last by as much.
        Ok(index(candidates.last().map_or(0, |last| last.0)))
    }

    fn penalise(&self, logits: &mut [f32], tokens: &[u32]) {
        let penalty = self.sampling.repetition_penalty;
        #[allow(clippy::float_cmp, reason = "1 is given, not computed")]
        if penalty == 1.0 {
            return;
        }
        for token in tokens.iter().collect::<HashSet<_>>() {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }
}

fn index(token: usize) -> u32 {
    // A vocabulary has at most 2^24 tokens (`Config`).
    u32::try_from(token).unwrap_or(u32::MAX)
}

/// The place of the largest logit; of several the first.
pub fn greatest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    best
}

/// Logits from the largest down, `count` of them, or all where it is 0; of equal ones the first token first.
fn candidates(logits: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    let order = |a: &(usize, f32), b: &(usize, f32)| match b.1.total_cmp(&a.1) {
        Ordering::Equal => a.0.cmp(&b.0),
        other => other,
    };
    if count > 0 && count < all.len() {
        all.select_nth_unstable_by(count - 1, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all
}

/// Leaves out what `top_p` and `min_p` leave out; weights fall, and the first is 1.
fn keep_likely(candidates: &mut Vec<(usize, f32)>, top_p: f32, min_p: f32) {
    let all: f64 = candidates.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let (mut sum, mut kept) = (0.0, 0);
    for (_, weight) in candidates.iter() {
        if kept > 0 && (sum >= f64::from(top_p) * all || *weight < min_p) {
            break;
        }
        sum += f64::from(*weight);
        kept += 1;
    }
    candidates.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sampling: Sampling, logits: &[f32], draws: usize) -> Vec<usize> {
        let mut sampler = Sampler::new(sampling).unwrap();
        let mut counts = vec![0; logits.len()];
        for _ in 0..draws {
            counts[sampler.next(&mut logits.to_vec(), &[]).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn without_temperature_the_first_of_the_largest_is_taken() {
        assert_eq!(drawn(Sampling::default(), &[0.0, 2.0, 2.0, -1.0], 3), [0, 3, 0, 0]);
    }

    /// Frequencies against the probabilities of the definition, each within 5 standard deviations.
    #[test]
    fn tokens_are_drawn_as_often_as_they_should() {
        let logits = [1.0f32, 2.0, 0.0, 3.0];
        let sampling = Sampling { temperature: 0.7, seed: 3, ..Sampling::default() };
        let weights = logits.map(|logit| (f64::from(logit) / f64::from(0.7f32)).exp());
        let all: f64 = weights.iter().sum();
        for (count, weight) in drawn(sampling, &logits, 40_000).into_iter().zip(weights) {
            let p = weight / all;
            let (mean, deviation) = (40_000.0 * p, (40_000.0 * p * (1.0 - p)).sqrt());
            assert!((count as f64 - mean).abs() < 5.0 * deviation, "{count} of {mean}");
        }
    }

    #[test]
    fn each_bound_leaves_tokens_out() {
        let logits = [0.0f32, 1.0, 2.0, 3.0];
        let some = Sampling { temperature: 1.0, ..Sampling::default() };
        let are_drawn =
            |sampling| drawn(sampling, &logits, 2000).into_iter().map(|n| n > 0).collect::<Vec<_>>();
        assert_eq!(are_drawn(some), [true; 4]);
        assert_eq!(are_drawn(Sampling { top_k: 2, ..some }), [false, false, true, true]);
        // Probabilities are 0.032, 0.087, 0.237, 0.644.
        assert_eq!(are_drawn(Sampling { top_p: 0.6, ..some }), [false, false, false, true]);
        assert_eq!(are_drawn(Sampling { top_p: 0.7, ..some }), [false, false, true, true]);
        assert_eq!(are_drawn(Sampling { min_p: 0.1, ..some }), [false, true, true, true]);
        assert_eq!(are_drawn(Sampling { min_p: 1.0, ..some }), [false, false, false, true]);
    }

    #[test]
    fn repeated_tokens_become_less_likely() {
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling).unwrap();
        let mut logits = [3.0, 2.0, -1.0];
        assert_eq!(sampler.next(&mut logits, &[0, 0, 2]).unwrap(), 1);
        assert_eq!(logits, [1.5, 2.0, -2.0]);
    }

    #[test]
    fn a_seed_repeats_its_draws() {
        let draw = |seed| {
            let mut sampler =
                Sampler::new(Sampling { temperature: 1.0, seed, ..Sampling::default() }).unwrap();
            (0..32).map(|_| sampler.next(&mut [0.0; 100], &[]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn wrong_numbers_are_refused() {
        let some = Sampling::default();
        for (sampling, text) in [
            (Sampling { temperature: -1.0, ..some }, "sampling: temperature = -1, 0 to 100 wanted"),
            (Sampling { temperature: f32::NAN, ..some }, "sampling: temperature = NaN, 0 to 100 wanted"),
            (Sampling { top_p: 0.0, ..some }, "sampling: top_p = 0, more than 0, at most 1 wanted"),
            (Sampling { min_p: 1.5, ..some }, "sampling: min_p = 1.5, 0 to 1 wanted"),
            (
                Sampling { repetition_penalty: 0.0, ..some },
                "sampling: repetition_penalty = 0, more than 0, at most 100 wanted",
            ),
        ] {
            assert_eq!(sampling.check().unwrap_err().to_string(), text);
        }
        let mut sampler = Sampler::new(some).unwrap();
        let text = sampler.next(&mut [0.0, f32::NAN], &[]).unwrap_err().to_string();
        assert_eq!(text, "sampling: logit 1 is NaN, a number wanted");
    }
}
