//! Tolerances and the report of a failed comparison.

/// FlashAttention's rule (its `tests/test_flash_attn.py`): the largest error against the exact result is at most `FACTOR` times
/// that of a plain implementation in the operands' dtype.
pub const FACTOR: f64 = 2.0;

/// Relative error allowed for lse, of the larger of 1 and |lse|. Scores are f32 sums of exact products of up to 256 terms:
/// 256 * 2^-24 = 1.5e-5 in the worst case, and rounding errors do not all point one way.
pub const LSE_RELATIVE: f64 = 1e-5;

/// Largest |a - b| over finite pairs.
fn max_error(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).filter(|e| e.is_finite()).fold(0.0, f64::max)
}

/// Checks `got` against the exact `want`, given the plain implementation's result.
///
/// The rounding of the result itself is always allowed (`unit` of the largest value): the plain implementation is exact by
/// luck where a row sees one key. NaN is required exactly where the exact result is NaN.
pub fn check_o(got: &[f64], want: &[f64], plain: &[f64], unit: f64, shape: [usize; 4]) -> Result<(), String> {
    let largest = want.iter().filter(|w| w.is_finite()).fold(0.0f64, |m, w| m.max(w.abs()));
    let tolerance = FACTOR * max_error(plain, want) + unit * largest;
    report("o", got, want, |_| tolerance, shape)
}

/// Checks lse against the exact one; -inf must be exact.
pub fn check_lse(got: &[f64], want: &[f64], shape: [usize; 4]) -> Result<(), String> {
    report("lse", got, want, |w| LSE_RELATIVE * w.abs().max(1.0), shape)
}

fn report(
    name: &str,
    got: &[f64],
    want: &[f64],
    tolerance: impl Fn(f64) -> f64,
    shape: [usize; 4],
) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{name} has {} elements, wanted {}", got.len(), want.len()));
    }
    let wrong = |g: f64, w: f64| {
        if w.is_nan() || g.is_nan() {
            w.is_nan() != g.is_nan()
        } else if w.is_infinite() || g.is_infinite() {
            g != w
        } else {
            (g - w).abs() > tolerance(w)
        }
    };
    let bad: Vec<usize> = (0..got.len()).filter(|&i| wrong(got[i], want[i])).collect();
    let Some(&first) = bad.first() else { return Ok(()) };
    let [_, b, c, d] = shape;
    let at = [first / (b * c * d), first / (c * d) % b, first / d % c, first % d];
    Err(format!(
        "{name}: {} of {} wrong; first at {at:?}: got {}, want {}, tolerance {:e}; largest error {:e}",
        bad.len(),
        got.len(),
        got[first],
        want[first],
        tolerance(want[first]),
        max_error(got, want),
    ))
}
