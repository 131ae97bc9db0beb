//! The one rule of tolerances, and the report of a failed comparison.
//!
//! It knows no package of the workspace, so that the tests of each can use it.

#![allow(clippy::missing_panics_doc, reason = "a panic is how a test fails")]

use std::fmt::Debug;

/// Half a unit in the last place of f16, relative: what rounding to it may add.
pub const UNIT_F16: f64 = 1.0 / (1 << 11) as f64;
/// As [`UNIT_F16`], of bf16.
pub const UNIT_BF16: f64 = 1.0 / (1 << 8) as f64;
/// As [`UNIT_F16`], of f32.
pub const UNIT_F32: f64 = 1.0 / (1 << 24) as f64;

/// FlashAttention's rule (its `tests/test_flash_attn.py`): the largest error against the exact result is at
/// most `FACTOR` times that of a plain implementation in the operands' dtype.
pub const FACTOR: f64 = 2.0;

/// Relative error of lse that exponentials, their sum and the logarithm may add, each exact to 1 ulp.
const LSE_RELATIVE: f64 = 1e-6;

/// A score is an f32 sum of n exact products. Its rounding error is at most `LAMBDA * sqrt(n) * 2^-24 * sum
/// |products|` except with probability 2 n exp(-LAMBDA^2 / 2) (Higham and Mary, A new approach to
/// probabilistic rounding error analysis, 2019).
const LAMBDA: f64 = 4.0;

/// Absolute error allowed for the lse of a row because of its scores, each rounded by `unit` relative to
/// itself on its way from the Cube; Cauchy-Schwarz bounds the score and the sum of |products|.
pub fn score_error(head_dim: usize, softmax_scale: f64, norm_q: f64, largest_norm_k: f64, unit: f64) -> f64 {
    let relative = LAMBDA * (head_dim as f64).sqrt() * UNIT_F32 + unit;
    relative * softmax_scale.abs() * norm_q * largest_norm_k
}

/// Absolute error that a softmax in f16 of `keys` scores adds to lse, `unit` = 2^-11. The exponent x of a
/// probability is a difference, a product and a scale of f16, each rounded: 3 units of |x|. The exponential
/// is exact to 1 ulp, 2 units, and three levels of the sum are rounded. Weighted with the probabilities w,
/// the mean of |x| = ln(largest w) - ln w is at most their entropy, so at most ln(keys).
pub fn softmax_error(keys: usize, unit: f64) -> f64 {
    unit * (3.0 * (keys.max(1) as f64).ln() + 5.0)
}

/// Largest |a - b| over finite pairs.
fn max_error(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).filter(|e| e.is_finite()).fold(0.0, f64::max)
}

/// Checks `got` against the exact `want`, given the plain implementation's result.
///
/// The rounding of the result itself is always allowed (`unit` of the largest value): the plain
/// implementation is exact by luck where a row sees one key. NaN is required exactly where the exact result
/// is NaN.
///
/// # Errors
/// How many are wrong, where the first is, and by how much.
pub fn check_o(got: &[f64], want: &[f64], plain: &[f64], unit: f64, shape: [usize; 4]) -> Result<(), String> {
    check_against_plain("o", got, want, plain, unit, shape)
}

/// The rule of [`check_o`] for the tensor `name`. Infinities must be exact.
///
/// # Errors
/// As [`check_o`].
pub fn check_against_plain(
    name: &str,
    got: &[f64],
    want: &[f64],
    plain: &[f64],
    unit: f64,
    shape: [usize; 4],
) -> Result<(), String> {
    let largest = want.iter().filter(|w| w.is_finite()).fold(0.0f64, |m, w| m.max(w.abs()));
    let tolerance = FACTOR * max_error(plain, want) + unit * largest;
    report(name, got, want, |_| tolerance, shape)
}

/// Checks lse against the exact one, given [`score_error`] of each row; -inf must be exact.
///
/// # Errors
/// As [`check_o`].
pub fn check_lse(got: &[f64], want: &[f64], score_errors: &[f64], shape: [usize; 4]) -> Result<(), String> {
    report("lse", got, want, |i| LSE_RELATIVE * want[i].abs().max(1.0) + score_errors[i], shape)
}

fn report(
    name: &str,
    got: &[f64],
    want: &[f64],
    tolerance: impl Fn(usize) -> f64,
    shape: [usize; 4],
) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{name} has {} elements, wanted {}", got.len(), want.len()));
    }
    let wrong = |i: usize| {
        let (g, w) = (got[i], want[i]);
        if w.is_nan() || g.is_nan() {
            w.is_nan() != g.is_nan()
        } else if w.is_infinite() || g.is_infinite() {
            g != w
        } else {
            (g - w).abs() > tolerance(i)
        }
    };
    let bad: Vec<usize> = (0..got.len()).filter(|&i| wrong(i)).collect();
    let Some(&first) = bad.first() else { return Ok(()) };
    let [_, b, c, d] = shape;
    let at = [first / (b * c * d), first / (c * d) % b, first / d % c, first % d];
    Err(format!(
        "{name}: {} of {} wrong; first at {at:?}: got {}, want {}, tolerance {:e}; largest error {:e}",
        bad.len(),
        got.len(),
        got[first],
        want[first],
        tolerance(first),
        max_error(got, want),
    ))
}

/// As `assert_eq`, for slices too long to be printed: says how many elements differ, and the first of them on
/// both sides.
///
/// # Panics
/// They differ; `what` says where.
#[track_caller]
pub fn assert_same<T: PartialEq + Debug>(got: &[T], want: &[T], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let wrong: Vec<usize> = (0..got.len()).filter(|&i| got[i] != want[i]).collect();
    if let Some(&at) = wrong.first() {
        let (count, len) = (wrong.len(), got.len());
        panic!("{what}: {count} of {len} differ; first [{at}]: got {:?}, want {:?}", got[at], want[at]);
    }
}

/// Each element is `want`.
///
/// # Panics
/// One is not.
#[track_caller]
pub fn assert_all<T: PartialEq + Debug>(got: &[T], want: &T, what: &str) {
    if let Some(at) = got.iter().position(|value| value != want) {
        panic!("{what}: [{at}] of {} is {:?}, want {want:?}", got.len(), got[at]);
    }
}

/// As [`assert_same`], for texts: the first line that differs, on both sides.
///
/// # Panics
/// They differ.
#[track_caller]
pub fn assert_same_text(got: &str, want: &str, what: &str) {
    let [got, want] = [got, want].map(|text| text.split('\n').collect::<Vec<_>>());
    let first = got.iter().zip(&want).position(|(got, want)| got != want);
    if let Some(at) = first.or((got.len() != want.len()).then_some(got.len().min(want.len()))) {
        panic!("{what}: line {}: got {:?}, want {:?}", at + 1, got.get(at), want.get(at));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    /// `cuda/check.py` runs where there is a GPU and no Rust, so it has the rule in Python.
    #[test]
    fn the_script_for_gpus_has_the_same_numbers() {
        let script = include_str!("../../../cuda/check.py");
        let value = |name: &str| {
            let start = format!("{name} = ");
            let text = script.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
            match text.split_once("**") {
                Some((base, power)) => base.parse::<f64>().unwrap().powi(power.parse().unwrap()),
                None => text.parse().unwrap(),
            }
        };
        let ours = [FACTOR, LSE_RELATIVE, LAMBDA, UNIT_F32];
        assert_eq!(["FACTOR", "LSE_RELATIVE", "LAMBDA", "UNIT_F32"].map(value), ours);
    }

    fn message(body: impl FnOnce() + std::panic::UnwindSafe) -> Option<String> {
        std::panic::catch_unwind(body).err().map(|payload| *payload.downcast::<String>().unwrap())
    }

    #[test]
    fn what_differs_is_named_on_both_sides() {
        assert_eq!(message(|| assert_same(&[1, 2, 3], &[1, 2, 3], "sums")), None);
        let text = message(|| assert_same(&[1, 5, 3, 7], &[1, 2, 3, 4], "sums")).unwrap();
        assert_eq!(text, "sums: 2 of 4 differ; first [1]: got 5, want 2");
        assert!(message(|| assert_same(&[1], &[1, 2], "sums")).unwrap().contains("sums: lengths"));
        assert_eq!(message(|| assert_same_text("a\nb", "a\nb", "text")), None);
        let text = message(|| assert_same_text("a\nb\n", "a\nc", "text")).unwrap();
        assert_eq!(text, "text: line 2: got Some(\"b\"), want Some(\"c\")");
        let text = message(|| assert_same_text("a", "a\nc", "text")).unwrap();
        assert_eq!(text, "text: line 2: got None, want Some(\"c\")");
    }

    /// One element of four is off, by as much as `check_o` allows and by more.
    #[test]
    fn the_error_may_be_twice_that_of_a_plain_implementation() {
        let (want, plain) = ([1.0, 2.0, -4.0, f64::NAN], [1.0, 2.0, -3.75, f64::NAN]);
        let unit = UNIT_F16;
        let check = |got: [f64; 4]| check_o(&got, &want, &plain, unit, [1, 2, 1, 2]);
        let allowed = 2.0 * 0.25 + 4.0 * unit;
        assert_eq!(check([1.0, 2.0 + allowed, -4.0, f64::NAN]), Ok(()));
        let error = check([1.0, 2.0, -4.0 - allowed - 1e-9, f64::NAN]).unwrap_err();
        assert!(error.starts_with("o: 1 of 4 wrong; first at [0, 1, 0, 0]: got -4.5"), "{error}");
        assert!(check([1.0, 2.0, -4.0, 0.0]).is_err(), "NaN is wanted");
        assert!(check([f64::NAN, 2.0, -4.0, f64::NAN]).is_err(), "NaN is not wanted");
        assert!(check([f64::INFINITY, 2.0, -4.0, f64::NAN]).is_err());
    }
}
