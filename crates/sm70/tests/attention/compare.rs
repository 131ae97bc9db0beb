//! Comparison with f64, by the one rule of tolerances.

use fastattention_tolerance::{check_lse, check_o, score_error};

use super::oracle::{attention, Precision};
use super::problem::{Inputs, Problem};
use super::tensors::{Outputs, Tensors};

/// What `lg2.approx` and `ex2.approx` may add to lse: PTX bounds the error of the first by 2^-22, the
/// relative one of the second by 2^-22.5.
const APPROXIMATIONS: f64 = (std::f64::consts::LN_2 + std::f64::consts::FRAC_1_SQRT_2) / (1 << 22) as f64;

/// The bound of cuda/check.py on a GPU, which only scores of thousands come near.
const LSE_ABSOLUTE: f64 = 2e-3;

/// All rows of a problem, `[batch][head][row]`. Rows beyond a ragged batch's length are NaN in each of them.
#[derive(Debug)]
struct Rows {
    dim: usize,
    o: Vec<f64>,
    want: Vec<f64>,
    /// o by the formula in half precision.
    plain: Vec<f64>,
    lse: Vec<f64>,
    want_lse: Vec<f64>,
    score_errors: Vec<f64>,
}

/// Compares o and lse with f64, and looks at what lies around them; the text says what is wrong first.
pub(crate) fn check(problem: &Problem, inputs: &Inputs, tensors: &Tensors) -> Result<(), String> {
    let p = problem;
    let outputs = tensors.outputs();
    let count = p.batch * p.num_heads * p.seqlen_q;
    let [of_o, of_lse] = [count * p.head_dim_v, count].map(|len| vec![f64::NAN; len]);
    let mut rows = Rows {
        dim: p.head_dim_v,
        o: of_o.clone(),
        want: of_o.clone(),
        plain: of_o,
        lse: of_lse.clone(),
        want_lse: of_lse.clone(),
        score_errors: of_lse,
    };
    let mut rows_seen = 0;
    for batch in 0..p.batch {
        for head in 0..p.num_heads {
            rows.read(p, inputs, &outputs, batch, head)?;
            rows_seen += p.lengths_of(batch).0;
        }
    }
    let (written, wanted) = (outputs.written(), (rows_seen * p.head_dim_v, rows_seen));
    if written != wanted {
        return Err(format!("elements of o and lse written: {written:?}, wanted {wanted:?}"));
    }
    // Rounding o is part of the plain way here, so that nothing is added for it.
    check_o(&rows.o, &rows.want, &rows.plain, 0.0, [p.batch, p.num_heads, p.seqlen_q, p.head_dim_v])?;
    let shape = [1, p.batch, p.num_heads, p.seqlen_q];
    check_lse(&rows.lse, &rows.want_lse, &rows.score_errors, shape)
}

impl Rows {
    /// One head's rows, from the device and computed.
    fn read(
        &mut self,
        problem: &Problem,
        inputs: &Inputs,
        outputs: &Outputs<'_>,
        batch: usize,
        head: usize,
    ) -> Result<(), String> {
        let (rows, keys) = problem.lengths_of(batch);
        let head_k = head / (problem.num_heads / problem.num_heads_k);
        let (q, k, v) =
            (&inputs.q[batch][head][..rows], &inputs.k[batch][head_k][..keys], &inputs.v[batch][head_k]);
        let want = attention(problem, q, k, v, Precision::F64);
        let plain = attention(problem, q, k, v, Precision::Half);
        let norm = |x: &[half::f16]| x.iter().map(|x| x.to_f64().powi(2)).sum::<f64>().sqrt();
        let largest = k.iter().map(|k| norm(k)).fold(0.0, f64::max);
        for (row, q) in q.iter().enumerate() {
            let at = (batch * problem.num_heads + head) * problem.seqlen_q + row;
            let o = outputs.o_row(batch, head, row, self.dim);
            // A row that sees no key is 0, to the bit.
            if want.lse[row] == f64::NEG_INFINITY && o.iter().any(|o| *o != 0.0) {
                return Err(format!("o[{batch}, {head}, {row}] sees no key and is {o:?}"));
            }
            let place = at * self.dim..(at + 1) * self.dim;
            self.o[place.clone()].copy_from_slice(&o);
            self.want[place.clone()].copy_from_slice(&want.o[row]);
            self.plain[place].copy_from_slice(&plain.o[row]);
            self.lse[at] = outputs.lse_of(problem, batch, head, row);
            self.want_lse[at] = want.lse[row];
            let error = (self.lse[at] - want.lse[row]).abs();
            if error > LSE_ABSOLUTE {
                return Err(format!(
                    "lse[{batch}, {head}, {row}] is {}, wanted {}",
                    self.lse[at], want.lse[row]
                ));
            }
            let scale = f64::from(problem.scale_value());
            let of_scores = score_error(problem.head_dim, scale, norm(q), largest, 0.0);
            self.score_errors[at] = of_scores + APPROXIMATIONS;
        }
        Ok(())
    }
}
