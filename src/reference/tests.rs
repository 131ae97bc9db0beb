use half::{bf16, f16};

use super::*;

fn params(seqlen_q: usize, seqlen_k: usize, mask: Mask) -> Params {
    Params {
        batch: 1,
        num_heads: 1,
        num_heads_k: 1,
        head_dim: 1,
        head_dim_v: 1,
        seqlen_q,
        seqlen_k,
        softmax_scale: 1.0,
        mask,
    }
}

/// One head of one column: q, k, v are plain lists.
fn run(p: &Params, q: &[f64], k: &[f64], v: &[f64]) -> Output {
    attention(
        p,
        Tensor::dense(q, p.seqlen_q, p.num_heads, p.head_dim),
        Tensor::dense(k, p.seqlen_k, p.num_heads_k, p.head_dim),
        Tensor::dense(v, p.seqlen_k, p.num_heads_k, p.head_dim_v),
    )
}

fn assert_close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() < 1e-14 || g == w, "[{i}]: got {g}, want {w}");
    }
}

#[test]
fn two_keys_by_hand() {
    // Scores 0.5 * (2*ln 3, 0) = (ln 3, 0): weights 3/4 and 1/4.
    let p = Params { softmax_scale: 0.5, ..params(1, 2, Mask::None) };
    let out = run(&p, &[2.0], &[3f64.ln(), 0.0], &[8.0, -4.0]);
    assert_close(&out.o, &[5.0]);
    assert_close(&out.lse, &[4f64.ln()]);
}

#[test]
fn causal_is_aligned_to_the_bottom_right() {
    // Zero scores: o is the mean of the visible v. seqlen_k - seqlen_q = 1, so row i sees keys 0..=i+1.
    let out = run(&params(2, 3, Mask::Causal), &[0.0; 2], &[0.0; 3], &[1.0, 3.0, 8.0]);
    assert_close(&out.o, &[2.0, 4.0]);
    assert_close(&out.lse, &[2f64.ln(), 3f64.ln()]);
}

#[test]
fn rows_that_see_nothing_give_zero_and_minus_infinity() {
    // Causal with more queries than keys: rows 0 and 1 see nothing.
    let out = run(&params(3, 1, Mask::Causal), &[1.0; 3], &[f64::NAN], &[f64::NAN]);
    assert_eq!(out.o[..2], [0.0, 0.0]);
    assert_eq!(out.lse[..2], [f64::NEG_INFINITY; 2]);
    assert!(out.o[2].is_nan() && out.lse[2].is_nan());
    let empty = run(&params(2, 0, Mask::None), &[1.0; 2], &[], &[]);
    assert_eq!(empty, Output { o: vec![0.0; 2], lse: vec![f64::NEG_INFINITY; 2] });
}

#[test]
fn windows_by_hand() {
    let v = [1.0, 2.0, 4.0, 8.0];
    let mean_of_visible =
        |left, right| run(&params(4, 4, Mask::Window { left, right }), &[0.0; 4], &[0.0; 4], &v).o;
    assert_close(&mean_of_visible(Some(1), Some(0)), &[1.0, 1.5, 3.0, 6.0]);
    assert_close(&mean_of_visible(Some(0), Some(1)), &[1.5, 3.0, 6.0, 8.0]);
    assert_close(&mean_of_visible(None, Some(0)), &[1.0, 1.5, 7.0 / 3.0, 3.75]);
    assert_close(&mean_of_visible(Some(0), None), &[3.75, 14.0 / 3.0, 6.0, 8.0]);
}

#[test]
fn special_scores_follow_ieee() {
    let inf = f64::INFINITY;
    let mut p = params(1, 2, Mask::None);
    let plus = run(&p, &[1.0], &[inf, 0.0], &[1.0, 1.0]);
    assert!(plus.o[0].is_nan() && plus.lse[0].is_nan());
    let nan_first = run(&p, &[1.0], &[f64::NAN, 0.0], &[1.0, 1.0]);
    let nan_last = run(&p, &[1.0], &[0.0, f64::NAN], &[1.0, 1.0]);
    assert!(nan_first.o[0].is_nan() && nan_last.o[0].is_nan() && nan_last.lse[0].is_nan());
    let minus = run(&p, &[1.0], &[-inf, 0.0], &[1.0, 7.0]);
    assert_eq!((minus.o[0], minus.lse[0]), (7.0, 0.0));
    let all_minus = run(&p, &[1.0], &[-inf, -inf], &[1.0, 7.0]);
    assert_eq!((all_minus.o[0], all_minus.lse[0]), (0.0, -inf));
    p.mask = Mask::Window { left: Some(0), right: None };
    let masked = run(&p, &[1.0], &[f64::NAN, 0.0], &[f64::NAN, 7.0]);
    assert_eq!((masked.o[0], masked.lse[0]), (7.0, 0.0));
}

#[test]
fn large_scores_do_not_overflow() {
    let out = run(&params(1, 2, Mask::None), &[1000.0], &[1000.0, 1000.0], &[1.0, 3.0]);
    assert_close(&out.o, &[2.0]);
    assert_close(&out.lse, &[1e6 + 2f64.ln()]);
}

#[test]
fn grouped_heads_batches_and_strides() {
    // Four q heads on two kv heads, two batches, one key: o is that key's v, whatever the scores.
    let p = Params { batch: 2, num_heads: 4, num_heads_k: 2, head_dim_v: 2, ..params(1, 1, Mask::None) };
    let q = [0.0f32; 8];
    let v = [0.0f32, 1.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0];
    let out = attention(
        &p,
        Tensor::dense(&q, 1, 4, 1),
        Tensor::dense(&q[..4], 1, 2, 1),
        Tensor::dense(&v, 1, 2, 2),
    );
    let (a, b) =
        ([0.0, 1.0, 0.0, 1.0, 10.0, 11.0, 10.0, 11.0], [20.0, 21.0, 20.0, 21.0, 30.0, 31.0, 30.0, 31.0]);
    assert_eq!(out.o, [a, b].concat());
    // The same v in [head, batch] order with a gap of one element behind every row.
    let gaps = [0.0f32, 1.0, 9.0, 20.0, 21.0, 9.0, 10.0, 11.0, 9.0, 30.0, 31.0];
    let strided = Tensor { data: &gaps, stride: [3, 0, 6] };
    assert_eq!(attention(&p, Tensor::dense(&q, 1, 4, 1), Tensor::dense(&q[..4], 1, 2, 1), strided).o, out.o);
}

#[test]
#[should_panic(expected = "k has 1 elements, its shape and strides need 2")]
fn short_slices_are_named() {
    run(&params(1, 2, Mask::None), &[0.0], &[0.0], &[0.0; 2]);
}

#[test]
fn same_precision_rounds_where_it_says() {
    // f16 has 11 bits: the score 2049 rounds to 2048 (ties to even), so both keys weigh the same.
    let p = Params { head_dim: 2, ..params(1, 2, Mask::None) };
    let h = |x: &[f32]| x.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
    let (q, k, v) = (h(&[1.0, 1.0]), h(&[2048.0, 1.0, 2048.0, 0.0]), h(&[1.0, 3.0]));
    let out = same_precision(
        &p,
        Tensor::dense(&q, 1, 1, 2),
        Tensor::dense(&k, 2, 1, 2),
        Tensor::dense(&v, 2, 1, 1),
    );
    assert_eq!(out.o, [2.0]);
    let exact =
        attention(&p, Tensor::dense(&q, 1, 1, 2), Tensor::dense(&k, 2, 1, 2), Tensor::dense(&v, 2, 1, 1));
    assert!((exact.o[0] - 1.5378828427399904).abs() < 1e-12, "{}", exact.o[0]);
}

#[test]
fn same_precision_rounds_p_and_o() {
    // Three equal scores: P = bf16(1/3) = 171/512, so three ones give 513/512, which bf16 rounds to 1.
    let p = params(1, 3, Mask::None);
    let b = |x: f32| vec![bf16::from_f32(x); 3];
    let (q, k) = (b(0.0), b(0.0));
    let run = |v: f32| {
        let v = b(v);
        same_precision(&p, Tensor::dense(&q, 1, 1, 1), Tensor::dense(&k, 3, 1, 1), Tensor::dense(&v, 3, 1, 1))
    };
    assert_eq!(run(1.0).o, [1.0]);
    // 129/128 * 513/512 = 1.00978...: bf16 neighbours are 129/128 = 1.0078 and 130/128 = 1.0156.
    assert_eq!(run(129.0 / 128.0).o, [129.0 / 128.0]);
    let lse = run(1.0).lse[0];
    assert!((lse - 3f64.ln()).abs() < 1e-6, "{lse}");
}
