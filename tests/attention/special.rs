//! Values that are not ordinary numbers behave as `fastattention::reference` documents, and the two stored
//! layers of a real model come out right.

use fastattention::attention::{host, Problem};
use fastattention::tiling::Mask;
use fastattention::DType;
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::compare::assert_all;
use fastattention_testkit::data::{operands, Operand};
use fastattention_testkit::device::attention;
use fastattention_testkit::run::{run_typed, Results};
use half::f16;
use safetensors::SafeTensors;

fn case(mask: Mask) -> Case {
    Case {
        dtype: DType::F16,
        score_dtype: DType::F32,
        batch: 1,
        num_heads: 2,
        num_heads_k: 2,
        head_dim: 32,
        head_dim_v: 48,
        seqlen_q: 70,
        seqlen_k: 90,
        mask,
        softmax_scale: None,
        values: Values::Normal,
        layout: Layout::Bsnd,
        seed: 3,
    }
}

/// Runs a case after `change` has edited q, k and v.
fn check(case: &Case, change: impl FnOnce(&mut [Operand<f16>; 3])) -> Results {
    let mut data = operands::<f16>(case);
    change(&mut data);
    let results = run_typed(&attention(|_| ()), case, &data, None).unwrap();
    results.check().unwrap();
    results
}

fn row(operand: &mut Operand<f16>, row: usize, head: usize, dim: usize) -> &mut [f16] {
    let at = row * operand.stride[1] as usize + head * operand.stride[2] as usize;
    &mut operand.data[at..at + dim]
}

#[test]
fn nan_in_a_query_row_stays_in_that_row() {
    let case = case(Mask::None);
    let results = check(&case, |[q, _, _]| row(q, 5, 1, 32)[7] = f16::NAN);
    let nan_rows: Vec<usize> =
        results.lse.iter().enumerate().filter(|(_, x)| x.is_nan()).map(|(i, _)| i).collect();
    assert_eq!(nan_rows, [70 + 5], "head 1, row 5");
}

#[test]
fn nan_in_a_masked_key_does_not_reach_the_rows_that_cannot_see_it() {
    // Causal, off = 20: row i sees keys up to i + 20. Key 60 is seen from row 40 on.
    let case = case(Mask::Causal);
    let results = check(&case, |[_, k, _]| row(k, 60, 0, 32).fill(f16::NAN));
    assert!(results.lse[..40].iter().all(|x| x.is_finite()), "rows before 40 do not see key 60");
    assert!(results.lse[40..70].iter().all(|x| x.is_nan()), "rows from 40 on do");
    assert!(results.lse[70..].iter().all(|x| x.is_finite()), "head 1 is untouched");
}

#[test]
fn infinite_scores_are_ieee() {
    // +inf score: o and lse of the rows that see it are NaN (inf - inf). -inf score: the key has weight 0.
    let case = case(Mask::None);
    let results = check(&case, |[q, k, _]| {
        row(k, 10, 0, 32).fill(f16::ZERO);
        row(k, 10, 0, 32)[0] = f16::INFINITY;
        for i in 0..70 {
            row(q, i, 0, 32)[0] = if i % 2 == 0 { f16::ONE } else { f16::NEG_ONE };
        }
    });
    for i in 0..70 {
        assert_eq!(results.lse[i].is_nan(), i % 2 == 0, "row {i}");
    }
}

#[test]
fn a_row_whose_scores_are_all_minus_infinity_is_empty() {
    let case = case(Mask::None);
    let results = check(&case, |[q, k, _]| {
        for j in 0..90 {
            row(k, j, 0, 32)[0] = f16::NEG_INFINITY;
        }
        for i in 0..70 {
            row(q, i, 0, 32)[0] = f16::ONE;
        }
    });
    assert_all(&results.lse[..70], &f64::NEG_INFINITY, "lse");
    (0..70).for_each(|i| assert_all(&results.o[i * 96..i * 96 + 48], &0.0, &format!("row {i}")));
}

#[test]
fn infinity_in_a_visible_value_reaches_the_output() {
    let case = case(Mask::None);
    let results = check(&case, |[_, _, v]| row(v, 4, 1, 48)[3] = f16::INFINITY);
    // Every row of head 1 gives key 4 a weight that does not round to 0.
    let column: Vec<f64> = (0..70).map(|i| results.o[(i * 2 + 1) * 48 + 3]).collect();
    assert_all(&column, &f64::INFINITY, "o of head 1");
}

#[test]
fn largest_finite_values_do_not_overflow() {
    let case = case(Mask::Window { left: Some(13), right: Some(2) });
    check(&case, |operands| {
        // q is +-1: sums of 32 values of 65504 are exact in f32, so that equal scores stay equal.
        for (operand, size) in operands.iter_mut().zip([f16::ONE, f16::MAX, f16::MAX]) {
            for x in &mut operand.data {
                *x = size.copysign(*x);
            }
        }
    });
}

#[test]
fn no_keys_give_zero_and_minus_infinity() {
    for mask in [Mask::None, Mask::Causal] {
        let case = Case { seqlen_k: 0, ..case(mask) };
        let results = check(&case, |_| ());
        assert_all(&results.o, &0.0, "o");
        assert_all(&results.lse, &f64::NEG_INFINITY, "lse");
    }
}

#[test]
fn two_layers_of_a_real_model() {
    for layer in ["smollm2_l00_s512", "smollm2_l15_s512"] {
        let path = format!("{}/tests/data/{layer}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let f16s = |name: &str| {
            bytemuck::allocation::pod_collect_to_vec::<u8, f16>(file.tensor(name).unwrap().data())
        };
        let f32s = |name: &str| {
            bytemuck::allocation::pod_collect_to_vec::<u8, f32>(file.tensor(name).unwrap().data())
        };
        let problem =
            Problem::new(DType::F16, [1, 512, 9, 64]).with_num_heads_k(3).with_mask(Mask::Causal).with_lse();
        let operator = attention(|_| ());
        let out = host::attention_on(&operator, &problem, &f16s("q"), &f16s("k"), &f16s("v")).unwrap();
        // The files hold f64 results rounded to f32. o: the rounding of P (2^-11 relative, averaged) and of o
        // itself.
        let o = f32s("o_causal");
        let largest = o.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (i, (got, want)) in out.o.iter().zip(&o).enumerate() {
            assert!(
                (got.to_f32() - want).abs() <= largest * f32::exp2(-11.0),
                "{layer} o[{i}]: {got} {want}"
            );
        }
        for (i, (got, want)) in out.lse.iter().zip(&f32s("lse_causal")).enumerate() {
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{layer} lse[{i}]: {got} {want}");
        }
    }
}
