//! Keys shifted by their mean, for scores of f16: exact where plain scores of f16 overflow, and right
//! wherever they do not.
//!
//! The rule of two is measured by a plain implementation on the given keys, or, where its own scores overflow
//! or where the mean error counts, on keys that the host has shifted. The exact result is that of the given
//! keys.

use fastattention::attention::{host, FlashAttention, Problem};
use fastattention::reference;
use fastattention::tiling::Mask;
use fastattention::{DType, ErrorKind, Soc};
use fastattention_testkit::cases::{self, Case};
use fastattention_testkit::compare::{check_lse, check_o, score_error, softmax_error, unit};
use fastattention_testkit::data::{self, Operand};
use fastattention_testkit::device::{attention, is_host};
use half::f16;

/// Every one of so many cases.
const EVERY: usize = 7;

fn widen(operand: &Operand<f16>) -> Operand<f64> {
    let data = operand.data.iter().map(|&x| f64::from(x)).collect();
    Operand { data, stride: operand.stride }
}

/// The elements of k by batch, head and column: their places, one for each key.
fn columns(case: &Case, k: &Operand<f16>) -> Vec<Vec<usize>> {
    let stride = k.stride.map(|s| usize::try_from(s).unwrap());
    let [batch, heads, dim] = [case.batch, case.num_heads_k, case.head_dim].map(|n| n as usize);
    let mut columns = Vec::new();
    for b in 0..batch {
        for h in 0..heads {
            for d in 0..dim {
                let first = b * stride[0] + h * stride[2] + d;
                columns.push((0..case.seqlen_k as usize).map(|j| first + j * stride[1]).collect());
            }
        }
    }
    columns
}

/// The mean of the keys, rounded to f16, and the keys less it.
fn shifted_on_host(case: &Case, k: &Operand<f16>) -> (Operand<f64>, Operand<f16>) {
    let (mut mean, mut shifted) = (widen(k), k.clone());
    for places in columns(case, k) {
        let sum: f64 = places.iter().map(|&at| f64::from(k.data[at])).sum();
        let c = f64::from(f16::from_f64(sum / places.len() as f64));
        for at in places {
            mean.data[at] = c;
            shifted.data[at] = f16::from_f64(f64::from(k.data[at]) - c);
        }
    }
    (mean, shifted)
}

/// Rounding of lse by rows: a shifted key is rounded and so is its score, and the sums of both products, with
/// the shifted keys and with what was subtracted, are f32.
fn lse_errors(case: &Case, q: &Operand<f64>, mean: &Operand<f64>, shifted: &Operand<f64>) -> Vec<f64> {
    let p = data::params(case);
    let norm = |t: &Operand<f64>, b: usize, s: usize, h: usize| {
        let at = b * t.stride[0] as usize + s * t.stride[1] as usize + h * t.stride[2] as usize;
        t.data[at..at + p.head_dim].iter().map(|x| x * x).sum::<f64>().sqrt()
    };
    let largest = |t: &Operand<f64>, b, h| (0..p.seqlen_k).map(|j| norm(t, b, j, h)).fold(0.0, f64::max);
    let u = unit(DType::F16);
    let mut errors = Vec::new();
    for b in 0..p.batch {
        for h in 0..p.num_heads {
            let head_k = h / (p.num_heads / p.num_heads_k);
            let (of_mean, of_key) = (largest(mean, b, head_k), largest(shifted, b, head_k));
            errors.extend((0..p.seqlen_q).map(|i| {
                let error =
                    |norm_k, unit| score_error(p.head_dim, p.softmax_scale, norm(q, b, i, h), norm_k, unit);
                error(of_key, 2.0 * u) + error(of_mean, 0.0) + softmax_error(p.seqlen_k, u)
            }));
        }
    }
    errors
}

/// Root of the mean square of the errors. The largest one alone is a matter of chance.
fn mean_error(got: &[f64], want: &[f64]) -> f64 {
    let errors = got.iter().zip(want).map(|(got, want)| (got - want).powi(2)).filter(|e| e.is_finite());
    let (count, sum) = errors.fold((0u32, 0.0), |(count, sum), e| (count + 1, sum + e));
    (sum / f64::from(count.max(1))).sqrt()
}

/// What is wrong with the shifted attention of a case on given operands.
fn wrong(operator: &FlashAttention, case: &Case, [q, k, v]: &[Operand<f16>; 3]) -> Result<(), String> {
    let problem = data::problem(case).with_shifted_keys();
    let out = host::attention_on(operator, &problem, &q.data, &k.data, &v.data).map_err(|e| e.to_string())?;
    let p = data::params(case);
    let (mean, shifted) = shifted_on_host(case, k);
    let [q64, k64, v64] = [q, k, v].map(widen);
    let exact = reference::attention(&p, q64.tensor(), k64.tensor(), v64.tensor());
    let plain = |k: &Operand<f16>| reference::same_precision(&p, q.tensor(), k.tensor(), v.tensor()).o;
    let (plain_shifted, plain_given) = (plain(&shifted), plain(k));
    let overflows = exact.o.iter().zip(&plain_given).any(|(want, got)| want.is_finite() && !got.is_finite());
    let plain = if overflows { &plain_shifted } else { &plain_given };
    let stride = problem.o_stride.unwrap().map(|s| usize::try_from(s).unwrap());
    let mut o = Vec::with_capacity(exact.o.len());
    for b in 0..p.batch {
        for s in 0..p.seqlen_q {
            for h in 0..p.num_heads {
                let at = b * stride[0] + s * stride[1] + h * stride[2];
                o.extend(out.o[at..at + p.head_dim_v].iter().map(|&x| f64::from(x)));
            }
        }
    }
    check_o(&o, &exact.o, plain, unit(DType::F16), [p.batch, p.seqlen_q, p.num_heads, p.head_dim_v])?;
    let (own, allowed) = (mean_error(&o, &exact.o), 2.0 * mean_error(&plain_shifted, &exact.o));
    let rounding =
        unit(DType::F16) * exact.o.iter().filter(|x| x.is_finite()).fold(0.0, |m: f64, x| m.max(x.abs()));
    if own > allowed + rounding {
        return Err(format!(
            "o: mean error {own:e}, at most {allowed:e} wanted and {rounding:e} for its rounding"
        ));
    }
    let lse: Vec<f64> = out.lse.iter().map(|&x| f64::from(x)).collect();
    let errors = lse_errors(case, &q64, &mean, &widen(&shifted));
    check_lse(&lse, &exact.lse, &errors, [1, p.batch, p.num_heads, p.seqlen_q])
}

/// Adds a number to the elements of q and one of either sign to the columns of k.
fn add_bias(case: &Case, [q, k, _]: &mut [Operand<f16>; 3], of_q: f32, of_k: f32) {
    for (column, places) in columns(case, k).into_iter().enumerate() {
        let bias = if column % 3 == 0 { -0.5 * of_k } else { of_k };
        for at in places {
            k.data[at] = f16::from_f32(k.data[at].to_f32() + bias);
        }
    }
    for x in &mut q.data {
        *x = f16::from_f32(x.to_f32() + of_q);
    }
}

/// Every length, mask, head dim, layout and kind of values, each as it is or with a bias.
#[test]
fn the_case_table_holds() {
    let operator = attention(|_| {});
    let is_supported = |c: &Case| c.dtype == DType::F16 && c.softmax_scale.is_none_or(|s| s > 0.0);
    let f16_cases = cases::all().into_iter().filter(is_supported);
    let mut failures = Vec::new();
    for (number, case) in f16_cases.step_by(EVERY).enumerate() {
        let case = Case { score_dtype: DType::F16, ..case };
        let mut operands = data::operands(&case);
        if number % 2 == 1 {
            add_bias(&case, &mut operands, 4.0, 30.0);
        }
        if let Err(e) = wrong(&operator, &case, &operands) {
            failures.push(format!("{e}\n{case:?}"));
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

/// q and k with a bias that every row of the sequence has: q k^T is some 128 * 24 * 40 = 120000.
fn biased(mask: Mask) -> (Case, [Operand<f16>; 3]) {
    let case = Case {
        dtype: DType::F16,
        score_dtype: DType::F16,
        batch: 2,
        num_heads: 4,
        num_heads_k: 2,
        head_dim: 128,
        head_dim_v: 64,
        seqlen_q: 200,
        seqlen_k: 333,
        mask,
        softmax_scale: None,
        values: cases::Values::Normal,
        layout: cases::Layout::Gaps,
        seed: 5,
    };
    let mut operands = data::operands::<f16>(&case);
    let [q, k, _] = &mut operands;
    for x in &mut q.data {
        *x = f16::from_f32(24.0 + 0.25 * x.to_f32());
    }
    for x in &mut k.data {
        *x = f16::from_f32(40.0 + 0.25 * x.to_f32());
    }
    (case, operands)
}

#[test]
fn scores_that_overflow_f16_do_not_when_keys_are_shifted() {
    let operator = attention(|_| {});
    for mask in [Mask::None, Mask::Causal, Mask::Window { left: Some(60), right: Some(20) }] {
        let (case, operands) = biased(mask);
        let [q, k, v] = &operands;
        let plain = host::attention_on(&operator, &data::problem(&case), &q.data, &k.data, &v.data).unwrap();
        // The host's scores are f32.
        let spoilt = plain.lse.iter().filter(|x| x.is_nan()).count();
        assert_eq!(spoilt, if is_host() { 0 } else { plain.lse.len() }, "{mask}: scores beyond f16");
        assert_eq!(wrong(&operator, &case, &operands), Ok(()), "{mask}");
    }
}

/// lse of large scores is as exact as f32 is: its size is some 10000 here, where the rounding of a score in
/// f16 alone would cost 4.
#[test]
fn lse_keeps_its_digits() {
    let operator = attention(|_| {});
    let (case, [mut q, k, v]) = biased(Mask::None);
    // All scores of a row are equal, so that f16 rounds nothing behind the shift.
    for x in &mut q.data {
        *x = f16::from_f32(24.0);
    }
    let [mut k, v] = [k, v];
    for x in &mut k.data {
        *x = f16::from_f32(40.0);
    }
    let problem = data::problem(&case).with_shifted_keys();
    let out = host::attention_on(&operator, &problem, &q.data, &k.data, &v.data).unwrap();
    let scale = f64::from(problem.shape().softmax_scale);
    let want = scale * 128.0 * 24.0 * 40.0 + 333f64.ln();
    assert!(
        out.lse.iter().all(|&x| (f64::from(x) - want).abs() <= 2.0 * f64::from(f32::EPSILON) * want),
        "{want}"
    );
}

/// The first key of a head is infinite in one column and NaN in another: only rows that see it are spoilt,
/// and the other columns are shifted.
#[test]
fn a_key_that_is_not_finite_spoils_only_rows_that_see_it() {
    let operator = attention(|_| {});
    let problem = Problem::new(DType::F16, [1, 40, 1, 128]);
    let problem =
        problem.with_score_dtype(DType::F16).with_mask(Mask::Window { left: Some(9), right: Some(0) });
    let q = vec![f16::from_f32(24.0); 40 * 128];
    let mut k = vec![f16::from_f32(40.0); 40 * 128];
    (k[3], k[70]) = (f16::INFINITY, f16::NAN);
    let v: Vec<f16> = (0..40 * 128).map(|i| f16::from_f32((i / 128) as f32)).collect();
    let out = host::attention_on(&operator, &problem.with_shifted_keys(), &q, &k, &v).unwrap();
    for row in 0..40 {
        let o = out.o[row * 128].to_f32();
        if row < 10 {
            assert!(o.is_nan() && out.lse[row].is_nan(), "row {row}: {o}");
        } else {
            assert!((o - (row as f32 - 4.5)).abs() < 0.05, "row {row}: {o}");
            assert!(
                (out.lse[row] - (24.0 * 40.0 * 128.0 / 128f32.sqrt() + 10f32.ln())).abs() < 0.01,
                "row {row}"
            );
        }
    }
}

#[test]
fn what_does_not_shift_keys_refuses_to() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let problem = Problem::new(DType::F16, [1, 64, 2, 64]).with_shifted_keys();
    let error = fastattention::attention::plan(&problem, soc).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let wanted =
        "shift_keys with score_dtype = f32, whose range needs no shift; supported: score_dtype = f16";
    assert_eq!(error.to_string(), format!("attention on Ascend910B2: {wanted}"));
    let narrow = problem.with_score_dtype(DType::F16);
    assert!(narrow.refusals(soc).is_empty());
    let error = fastattention::baseline::plan(&narrow, DType::F16, soc).unwrap_err().to_string();
    assert!(error.contains("unfused attention does not shift keys"), "{error}");
    // Rows so far apart are copied one by one elsewhere.
    let mut far = narrow.with_seqlen_k(2);
    far.k_stride = Some([0, 1 << 31, 64]);
    let error = fastattention::attention::plan(&far, soc).unwrap_err().to_string();
    assert!(error.contains("k_stride: row stride = 2147483648 leaves more than 2147483647 bytes"), "{error}");
    // One head stands for all of them: its bytes are few, those of the result are not.
    let mut repeated = narrow.with_seqlen_k(1 << 20);
    repeated.batch = 1 << 14;
    (repeated.k_stride, repeated.v_stride) = (Some([0, 64, 0]), Some([0, 64, 0]));
    let error = fastattention::attention::plan(&repeated, soc).unwrap_err().to_string();
    assert!(
        error.contains("shift_keys: 16384 * 2 heads of 1048576 shifted keys take 4398113619968 bytes"),
        "{error}"
    );
}

#[test]
fn the_plan_tells_of_the_shift() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let plain = Problem::new(DType::F16, [1, 4096, 8, 128]).with_score_dtype(DType::F16);
    let plan = |problem: &Problem| fastattention::attention::plan(problem, soc).unwrap();
    let (plain, shifted) = (plan(&plain), plan(&plain.with_shifted_keys()));
    assert!(plain.shift().is_none() && !plain.to_string().contains("keys      less"));
    let bytes = 8 * (4096 + 16) * 128 * 2;
    assert_eq!(shifted.workspace_bytes() - plain.workspace_bytes(), bytes);
    let text = shifted.to_string();
    assert!(text.contains("scores f16 of shifted keys"), "{text}");
    assert!(
        text.contains(&format!("less their mean, in {bytes} bytes of workspace: tiles of 80 rows")),
        "{text}"
    );
}
