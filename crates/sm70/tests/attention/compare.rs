//! Comparison with f64.

use super::oracle::{attention, Precision};
use super::problem::{Inputs, Problem};
use super::tensors::{Outputs, Tensors};

/// The largest errors seen.
#[derive(Debug, Default)]
struct Errors {
    o: f64,
    /// Of o by the formula in half precision.
    plain: f64,
    lse: f64,
}

/// Compares o and lse with f64, and looks at what lies around them; the text says what is wrong first.
pub(crate) fn check(problem: &Problem, inputs: &Inputs, tensors: &Tensors) -> Result<(), String> {
    let p = problem;
    let outputs = tensors.outputs();
    let mut errors = Errors::default();
    let mut rows_seen = 0;
    for batch in 0..p.batch {
        for head in 0..p.num_heads {
            compare_head(p, inputs, &outputs, batch, head, &mut errors)?;
            rows_seen += p.lengths_of(batch).0;
        }
    }
    if outputs.written() != (rows_seen * p.head_dim_v, rows_seen) {
        return Err("what lies around o or lse was written".to_owned());
    }
    // The rule and the two numbers are those of cuda/check.py.
    if errors.o > 2.0 * errors.plain + 1e-6 || errors.lse > 2e-3 {
        return Err(format!("too large: {errors:?}"));
    }
    Ok(())
}

fn compare_head(
    problem: &Problem,
    inputs: &Inputs,
    outputs: &Outputs<'_>,
    batch: usize,
    head: usize,
    errors: &mut Errors,
) -> Result<(), String> {
    let (rows, keys) = problem.lengths_of(batch);
    let head_k = head / (problem.num_heads / problem.num_heads_k);
    let (q, k, v) =
        (&inputs.q[batch][head][..rows], &inputs.k[batch][head_k][..keys], &inputs.v[batch][head_k]);
    let want = attention(problem, q, k, v, Precision::F64);
    let plain = attention(problem, q, k, v, Precision::Half);
    for row in 0..rows {
        let place = format!("[batch {batch}][head {head}][row {row}]");
        let (empty, is_nan) = (want.lse[row] == f64::NEG_INFINITY, want.lse[row].is_nan());
        let got = outputs.o_row(batch, head, row, problem.head_dim_v);
        for (n, ((got, want), plain)) in got.iter().zip(&want.o[row]).zip(&plain.o[row]).enumerate() {
            if got.is_nan() != is_nan || got.is_infinite() || (empty && *got != 0.0) {
                return Err(format!("o{place}[{n}] is {got}, wanted {want}"));
            }
            if is_nan {
                continue;
            }
            errors.o = errors.o.max((got - want).abs());
            errors.plain = errors.plain.max((plain - want).abs());
        }
        let (got, want) = (outputs.lse_of(problem, batch, head, row), want.lse[row]);
        if got.is_nan() != is_nan || (!is_nan && got != want && (empty || got.is_infinite())) {
            return Err(format!("lse{place} is {got}, wanted {want}"));
        }
        errors.lse = errors.lse.max(if empty || is_nan { 0.0 } else { (got - want).abs() });
    }
    Ok(())
}
