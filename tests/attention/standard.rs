//! Unfused attention against attention in f64, by the tolerance of the fused one.

use fastattention::attention::host::Element;
use fastattention::baseline::{dense_causal_mask, plan, StandardArgs, StandardAttention};
use fastattention::reference;
use fastattention::runtime::{Buffer, Stream};
use fastattention::tiling::Mask;
use fastattention::{DType, ErrorKind, Soc};
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::compare::{check_o, unit};
use fastattention_testkit::data::{operands, params, problem, Operand};
use fastattention_testkit::device::device;
use half::{bf16, f16};

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

fn case(dtype: DType, seqlens: [u32; 2], heads: [u32; 2], dims: [u32; 2], mask: Mask) -> Case {
    Case {
        dtype,
        score_dtype: DType::F32,
        batch: 2,
        num_heads: heads[0],
        num_heads_k: heads[1],
        head_dim: dims[0],
        head_dim_v: dims[1],
        seqlen_q: seqlens[0],
        seqlen_k: seqlens[1],
        mask,
        softmax_scale: None,
        values: Values::Normal,
        layout: Layout::Bsnd,
        seed: u64::from(seqlens[0] * 1000 + seqlens[1]),
    }
}

#[track_caller]
fn check(operator: &StandardAttention, case: &Case, scores: DType) {
    match case.dtype {
        DType::F16 => check_typed::<f16>(operator, case, scores),
        _ => check_typed::<bf16>(operator, case, scores),
    }
}

#[track_caller]
fn check_typed<T: Element + reference::Element>(operator: &StandardAttention, case: &Case, scores: DType) {
    let device = operator.device();
    let mut problem = problem(case);
    problem.want_lse = false;
    let plan = plan(&problem, scores, device.soc()).unwrap();
    let [q, k, v] = operands::<T>(case);
    let upload = |operand: &Operand<T>| Buffer::from_slice(device, &operand.data).unwrap();
    let (q_gm, k_gm, v_gm) = (upload(&q), upload(&k), upload(&v));
    let o_len = usize::try_from(problem.shape().operand_bytes()[3]).unwrap() / size_of::<T>();
    let o_gm = Buffer::alloc(device, o_len * size_of::<T>()).unwrap();
    o_gm.zero().unwrap();
    let workspace = Buffer::alloc(device, usize::try_from(plan.workspace_bytes()).unwrap()).unwrap();
    let mask =
        dense_causal_mask([case.seqlen_q, case.seqlen_k], &T::round(0.0), &T::round(f32::NEG_INFINITY));
    if case.mask != Mask::None {
        assert_eq!(size_of_val(&mask[..]) as u64, plan.mask_bytes());
    }
    let mask_gm = Buffer::from_slice(device, &mask).unwrap();
    let stream = Stream::new(device).unwrap();
    let args = StandardArgs::new(&q_gm, &k_gm, &v_gm, &o_gm, &workspace);
    let args = if case.mask == Mask::Causal { args.with_mask(&mask_gm) } else { args };
    operator.launch(&stream, &plan, args).unwrap();
    stream.synchronize().unwrap_or_else(|e| panic!("{case:?}: {e}"));
    let mut out = vec![T::round(0.0); o_len];
    o_gm.copy_to_host(&mut out).unwrap();

    let shape = problem.shape();
    let params = params(case);
    let widen = |o: &Operand<T>| Operand {
        data: o.data.iter().map(|&x| f64::from(Into::<f32>::into(x))).collect::<Vec<_>>(),
        stride: o.stride,
    };
    let [q64, k64, v64] = [&q, &k, &v].map(widen);
    let exact = reference::attention(&params, q64.tensor(), k64.tensor(), v64.tensor());
    let plain = reference::same_precision(&params, q.tensor(), k.tensor(), v.tensor());
    let stride = shape.o_stride.map(|s| usize::try_from(s).unwrap());
    let mut got = Vec::new();
    for b in 0..params.batch {
        for s in 0..params.seqlen_q {
            for h in 0..params.num_heads {
                let at = b * stride[0] + s * stride[1] + h * stride[2];
                got.extend(out[at..at + params.head_dim_v].iter().map(|&x| f64::from(Into::<f32>::into(x))));
            }
        }
    }
    let dims = [params.batch, params.seqlen_q, params.num_heads, params.head_dim_v];
    check_o(&got, &exact.o, &plain.o, unit(case.dtype), dims)
        .unwrap_or_else(|e| panic!("{case:?}, scores {scores}: {e}"));
}

#[test]
fn lengths_heads_masks_and_types() {
    let operator = StandardAttention::new(&device(|_| ())).unwrap();
    let mut turn = 0;
    for seqlens in [[1, 1], [3, 2], [7, 65], [64, 64], [130, 70], [100, 200], [90, 1030]] {
        for mask in [Mask::None, Mask::Causal] {
            let dtype = [DType::F16, DType::Bf16][turn % 2];
            let heads = [[4, 2], [3, 1], [2, 2]][turn % 3];
            let dims = [[64, 64], [16, 48], [128, 32]][turn / 2 % 3];
            let mut case = case(dtype, seqlens, heads, dims, mask);
            case.layout = [Layout::Bsnd, Layout::Bnsd, Layout::Gaps][turn % 3];
            check(&operator, &case, DType::F32);
            check(&operator, &case, dtype);
            turn += 1;
        }
    }
}

#[test]
fn rows_longer_than_a_chunk_and_large_scores() {
    let operator = StandardAttention::new(&device(|_| ())).unwrap();
    let mut long = case(DType::F16, [5, 5000], [1, 1], [16, 16], Mask::Causal);
    long.batch = 1;
    check(&operator, &long, DType::F32);
    let mut large = case(DType::Bf16, [40, 90], [2, 1], [64, 64], Mask::None);
    for values in [Values::LargeLogits, Values::EqualScores, Values::NegativeZero, Values::Growing] {
        large.values = values;
        check(&operator, &large, DType::F32);
    }
}

#[test]
fn interleavings() {
    for seed in 0..3 {
        let operator = StandardAttention::new(&device(|config| config.seed = Some(seed))).unwrap();
        check(&operator, &case(DType::F16, [100, 1100], [2, 1], [32, 32], Mask::Causal), DType::F32);
    }
}

#[test]
fn what_it_cannot_do_is_refused() {
    let mut wrong = problem(&case(DType::F16, [4, 24577], [2, 1], [32, 32], Mask::None));
    wrong.spec.mask = Mask::Window { left: Some(1), right: None };
    let error = plan(&wrong, DType::Bf16, soc()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "unfused attention on Ascend910B2: want_lse = true given, false wanted: unfused attention writes no lse; mask = \
         window given; supported: none, causal; seqlen_k = 24577; supported: 0 to 24576; softmax: dtype = f16 with \
         scores = bf16 has no kernel; supported: scores = f32 or the same type as dtype"
    );
    let mut good = problem(&case(DType::F16, [1024, 1000], [2, 1], [32, 32], Mask::Causal));
    good.want_lse = false;
    let plan = plan(&good, DType::F32, soc()).unwrap();
    assert_eq!(plan.mask_bytes(), 1024 * 1000 * 2);
    // Two batches of two heads, rows of 1008 elements, in f32 and f16.
    assert_eq!(plan.workspace_bytes(), 2 * 2 * 1024 * 1008 * (4 + 2));
}
