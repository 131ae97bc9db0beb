use super::*;
use crate::kernels::operands::FlashFwdOperands;
use crate::runtime::{Buffer, Device, Stream};
use crate::tiling::mask::{m_mask, MASK_DIM};
use crate::tiling::Candidate;
use crate::{kernels, DType, Soc};

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

fn good() -> Problem {
    Problem::new(DType::F16, [2, 512, 8, 64])
}

/// A problem with another spec.
fn with(change: impl FnOnce(&mut AttentionSpec), mut problem: Problem) -> Problem {
    change(&mut problem.spec);
    problem
}

#[track_caller]
fn refuses(problem: Problem, kind: ErrorKind, text: &str) {
    let error = plan(&problem, soc()).unwrap_err();
    assert_eq!(error.to_string(), format!("attention on Ascend910B2: {text}"));
    assert_eq!(error.kind(), kind);
    let reasons: Vec<_> = problem.refusals(soc()).into_iter().map(|r| r.text).collect();
    assert_eq!(reasons.join("; "), text);
}

use ErrorKind::{InvalidArgument, Unsupported};

#[test]
fn defaults_are_filled_in() {
    let shape = good().with_seqlen_k(700).with_num_heads_k(2).with_head_dim_v(32).shape();
    assert_eq!(shape.softmax_scale, 0.125);
    assert_eq!((shape.q_stride, shape.k_stride), ([512 * 8 * 64, 8 * 64, 64], [700 * 2 * 64, 2 * 64, 64]));
    assert_eq!((shape.v_stride, shape.o_stride), ([700 * 2 * 32, 2 * 32, 32], [512 * 8 * 32, 8 * 32, 32]));
    let bnsd = good().with_layout(Layout::Bnsd).shape();
    assert_eq!(bnsd.q_stride, [8 * 512 * 64, 64, 512 * 64]);
    assert_eq!(bnsd.operand_bytes(), [2 * 2 * 8 * 512 * 64, 1048576, 1048576, 1048576, 0]);
    assert_eq!(good().with_lse().shape().operand_bytes()[4], 2 * 8 * 512 * 4);
}

#[test]
fn dtype() {
    refuses(
        with(|spec| spec.dtype = DType::F32, good()),
        Unsupported,
        "dtype = f32 has no kernel; supported: f16, bf16",
    );
}

#[test]
fn head_dims() {
    let text = |name: &str, value: u32, nearest: &str| {
        format!("{name} = {value} is not a multiple of 16 from 16 to 256; nearest supported: {nearest}")
    };
    for (value, nearest) in
        [(72, "64 or 80"), (1, "16"), (257, "256"), (u32::MAX, "256"), (250, "240 or 256")]
    {
        let problem = with(|spec| spec.head_dim = value, good());
        let problem = Problem { q_stride: Some([0, 65535, 0]), k_stride: problem.q_stride, ..problem };
        let error = plan(&problem, soc()).unwrap_err().to_string();
        assert!(error.contains(&text("head_dim", value, nearest)), "{error}");
    }
    refuses(good().with_head_dim_v(8), Unsupported, &text("head_dim_v", 8, "16"));
    refuses(good().with_head_dim_v(0), Unsupported, &text("head_dim_v", 0, "16"));
}

#[test]
fn heads() {
    refuses(
        good().with_num_heads_k(3),
        InvalidArgument,
        "num_heads = 8 is not a multiple of num_heads_k = 3; nearest: 6 or 9",
    );
    refuses(
        good().with_num_heads_k(16),
        InvalidArgument,
        "num_heads = 8 is not a multiple of num_heads_k = 16; nearest: 16",
    );
    refuses(good().with_num_heads_k(0), InvalidArgument, "num_heads_k = 0, wanted at least 1");
    let none = with(|spec| spec.num_heads = 0, good());
    refuses(none, InvalidArgument, "num_heads = 0, wanted at least 1");
}

#[test]
fn softmax_scale() {
    for (scale, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let text = format!("softmax_scale = {shown} is not finite; the usual one is 1/sqrt(head_dim)");
        refuses(good().with_softmax_scale(scale), InvalidArgument, &text);
    }
    assert!(plan(&good().with_softmax_scale(-0.5), soc()).is_ok());
}

#[test]
fn sizes() {
    let long = Problem { seqlen_q: 1 << 31, ..good().with_seqlen_k(5) };
    refuses(long, Unsupported, "seqlen_q = 2147483648 is more than 2147483647");
    refuses(good().with_seqlen_k(u32::MAX), Unsupported, "seqlen_k = 4294967295 is more than 2147483647");
    let broad = Problem { batch: 1 << 30, ..good() };
    refuses(broad, Unsupported, "batch * num_heads = 1073741824 * 8 is more than 2147483647");
    let big = Problem { batch: 1 << 20, ..good().with_lse() };
    refuses(
        big,
        Unsupported,
        "operands take 2216203124736 bytes (q 549755813888, k 549755813888, v 549755813888, o 549755813888, \
         lse 17179869184), Ascend910B2 has 68719476736",
    );
}

/// q, k, v and o as columns of one tensor: each spans all of it, and all of them together take no more.
#[test]
fn packed_tensors_count_once() {
    let packed = |seqlen| {
        let stride = Some([0, 4 * 32 * 128, 128]);
        let dense = Problem::new(DType::F16, [1, seqlen, 32, 128]);
        Problem { q_stride: stride, k_stride: stride, v_stride: stride, o_stride: stride, ..dense }
    };
    // 64 GiB are 2^21 rows of 32 KiB.
    assert_eq!(packed(1 << 21).refusals(soc()), []);
    let [q, .., o, _] = packed(1 << 21).shape().operand_bytes();
    [q, o].iter().for_each(|&span| assert!(span > 3 * soc().hbm_bytes / 4, "{span}"));
    refuses(
        packed((1 << 21) + 1),
        Unsupported,
        "operands take 274877939712 bytes (q 68719484928, k 68719484928, v 68719484928, o 68719484928, lse 0), \
         Ascend910B2 has 68719476736",
    );
}

#[test]
fn strides_of_inputs() {
    let q = |stride| Problem { q_stride: Some(stride), ..good() };
    refuses(
        q([262144, 512, 48]),
        InvalidArgument,
        "q_stride: head stride = 48 is less than the 64 elements of a row; wanted at least 64, or 0 to repeat",
    );
    refuses(
        q([262144, 0, 64]),
        InvalidArgument,
        "q_stride: row stride = 0 is less than the 64 elements of a row; wanted at least 64",
    );
    refuses(
        Problem { v_stride: Some([10, 512, 64]), ..good() },
        InvalidArgument,
        "v_stride: batch stride = 10 is less than the 64 elements of a row; wanted at least 64, or 0 to repeat",
    );
    // A repeated batch, and the stride of a dimension of size 1, are fine.
    assert!(plan(&Problem { k_stride: Some([0, 512, 64]), ..good() }, soc()).is_ok());
    assert!(plan(&Problem { batch: 1, q_stride: Some([1, 512, 64]), ..good() }, soc()).is_ok());
}

#[test]
fn strides_of_the_output() {
    let o = |stride| Problem { o_stride: Some(stride), ..good() };
    refuses(
        o([0, 512, 64]),
        InvalidArgument,
        "o_stride: batch stride = 0 is less than the 64 elements of a row; wanted at least 64",
    );
    refuses(
        o([262144, 511, 64]),
        InvalidArgument,
        "o_stride = [262144, 511, 64] (batch, row, head): rows overlap, as the row stride 511 is less than the 512 \
         elements it must clear; wanted at least 512",
    );
    refuses(
        o([512, 512, 64]),
        InvalidArgument,
        "o_stride = [512, 512, 64] (batch, row, head): rows overlap, as the row stride 512 is less than the 1024 \
         elements it must clear; wanted at least 1024",
    );
    refuses(
        o([1 << 50, 1 << 31, 64]),
        Unsupported,
        "o_stride: row stride = 2147483648 leaves more than 2147483647 bytes between two rows of 64 elements; nearest \
         supported: 1073741887",
    );
    // The limit counts the bytes between two rows, so a longer row may have a longer stride.
    for (dim, largest) in [(64, (1 << 30) + 63), (256, (1 << 30) + 255)] {
        let problem = |row| {
            let o_stride = Some([0, row, u64::from(dim)]);
            Problem { o_stride, ..Problem::new(DType::F16, [1, 2, 1, 64]).with_head_dim_v(dim) }
        };
        assert!(plan(&problem(largest), soc()).is_ok());
        let refused = plan(&problem(largest + 1), soc()).unwrap_err();
        assert!(refused.to_string().ends_with(&format!("nearest supported: {largest}")), "{refused}");
    }
    assert!(plan(&o([262144, 64, 512 * 64]), soc()).is_ok());
    assert!(plan(&o([4096 * 1024, 4096, 100]), soc()).is_ok());
}

/// The first stride behind the limit, launched past the planner: whatever else is allocated, the machine
/// tells.
#[test]
fn a_row_behind_the_limit_of_the_gap_is_a_fault_on_the_machine() {
    let device = Device::open("sim").unwrap();
    let mut problem = Problem::new(DType::F16, [1, 2, 1, 64]).with_seqlen_k(5);
    problem.o_stride = Some([0, (1 << 30) + 63, 0]);
    let plan = plan(&problem, device.soc()).unwrap();
    let mut tiling = plan.tiling_data();
    tiling.o_stride[1] += 1;
    let alloc = |bytes: u64| Buffer::alloc(&device, usize::try_from(bytes).unwrap()).unwrap();
    let [q, k, v, o, _] = plan.shape().operand_bytes();
    let inputs = [q, k, v].map(alloc);
    inputs.iter().for_each(|buffer| buffer.zero().unwrap());
    let mask = Buffer::from_slice(&device, &m_mask(MASK_DIM)).unwrap();
    let [o, workspace] = [o + 2, plan.workspace_bytes()].map(alloc);
    let bystanders = [1 << 10, 4 << 30, 1 << 20].map(alloc);
    let operands = {
        let [q, k, v] = inputs.each_ref().map(Operand::from);
        let [mask, o, lse, workspace] = [&mask, &o, &workspace, &workspace].map(Operand::from);
        FlashFwdOperands { q, k, v, mask, o, lse, workspace, tiling: &tiling }
    };
    let kernel = kernels::load(&device).unwrap().kernel("fa_flash_fwd_f16").unwrap();
    let stream = Stream::new(&device).unwrap();
    kernel.launch(&stream, plan.num_cores(), &operands.args().unwrap()).unwrap();
    let error = stream.synchronize().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SimFault, "{error}");
    let text = error.to_string();
    assert!(text.contains("Fault: OutOfBounds: dst writes 128 bytes at GM 0x"), "{text}");
    // Row 1 lies 128 + 2^31 bytes behind row 0, and the gap was taken as -2^31.
    let place = format!(
        ", where nothing is allocated, 2147483520 bytes before the allocation of {} bytes of argument 4; AIV0 of block 0, MTE3",
        o.len_bytes()
    );
    assert!(text.contains(&place), "{text}");
    drop(bystanders);
}

#[test]
fn all_reasons_come_at_once() {
    let problem =
        with(|spec| spec.dtype = DType::F32, good().with_num_heads_k(3).with_softmax_scale(f32::NAN));
    refuses(
        problem,
        InvalidArgument,
        "dtype = f32 has no kernel; supported: f16, bf16; num_heads = 8 is not a multiple of num_heads_k = 3; nearest: \
         6 or 9; softmax_scale = NaN is not finite; the usual one is 1/sqrt(head_dim)",
    );
}

#[test]
fn a_tiling_that_does_not_fit_is_refused() {
    let candidate =
        Candidate { block_m: 256, block_n: 1024, chunk_n: 1024, num_stages: 4, preload: 2, bundle_steps: 1 };
    let error = plan_with(&good(), soc(), candidate).unwrap_err();
    assert_eq!(error.kind(), Unsupported);
    assert_eq!(
        error.to_string(),
        "attention on Ascend910B2: block_m 256, block_n 1024, chunk_n 1024, num_stages 4, preload 2, \
         bundle_steps 1: UB needs 256768 bytes, 188160 usable"
    );
}

#[test]
fn empty_problems_plan() {
    for problem in [Problem { batch: 0, ..good() }, Problem { seqlen_q: 0, ..good() }] {
        let plan = plan(&problem, soc()).unwrap();
        assert_eq!((plan.num_items(), plan.num_cores()), (0, 1));
    }
    let plan = plan(&good().with_seqlen_k(0), soc()).unwrap();
    assert_ne!(plan.num_items(), 0);
    assert_eq!(plan.key_range(plan.rows(0)), 0..0);
}

#[test]
fn a_plan_prints_what_the_kernel_gets() {
    let candidate =
        Candidate { block_m: 128, block_n: 512, chunk_n: 256, num_stages: 4, preload: 2, bundle_steps: 1 };
    let problem =
        Problem::new(DType::Bf16, [1, 8192, 32, 128]).with_num_heads_k(8).with_mask(Mask::Causal).with_lse();
    let text = plan_with(&problem, soc(), candidate).unwrap().to_string();
    let estimate = text.find("work ").unwrap();
    assert_eq!(
        text[..estimate],
        *"flash_fwd bf16 on Ascend910B2
problem   batch 1, num_heads 32, num_heads_k 8, head_dim 128, head_dim_v 128, seqlen_q 8192, seqlen_k 8192, mask causal, \
          softmax_scale 0.088388346, scores f32, lse yes
level 1   block_m 128, block_n 512, chunk_n 256, num_stages 4, preload 2, bundle_steps 1
level 2   Mmad 128 x 128 x 128; a vector core has 64 rows, in slices of at most 64 rows and 16384 bytes
L1   491520 of 524032 bytes
     0x000000  1 x  32768  q
     0x008000  2 x  65536  k
     0x028000  2 x  65536  v
     0x048000  3 x  65536  p
L0A   65536 of 65536 bytes
     0x000000  2 x  32768  q or p tile
L0B   65536 of 65536 bytes
     0x000000  2 x  32768  k or v tile
L0C  131072 of 131072 bytes
     0x000000  2 x  65536  s or o tile
UB   147200 of 188160 bytes
     0x000000  5 x  16384  s
     0x014000  2 x   8192  p
     0x018100  1 x  32768  acc
     0x020100  2 x   2304  tmp
     0x021400  1 x   4352  brcb
     0x022500 10 x    256  stats
     0x022f00  2 x   2048  mask
workspace 40894464 bytes: 24 cores of 1703936 (4 of s at 0, 4 of p at 1048576, 2 of o at 1572864)
"
    );
    assert!(text[estimate..].starts_with("work      2048 items on 24 of 24 cores; estimate: mean "));
}

#[test]
fn a_default_scale_is_not_refused_beside_the_head_dim_that_it_comes_from() {
    for head_dim in [0, 4_294_967_280] {
        let error = plan(&Problem::new(DType::F16, [1, 8, 1, head_dim]).with_score_dtype(DType::F16), soc());
        let text = error.unwrap_err().to_string();
        assert!(text.contains(&format!("head_dim = {head_dim}")) && !text.contains("scale"), "{text}");
    }
    let given = with(|spec| spec.head_dim = 0, good().with_softmax_scale(f32::INFINITY));
    assert!(plan(&given, soc()).unwrap_err().to_string().contains("softmax_scale = inf is not finite"));
}

#[test]
fn strides_beyond_64_bits_are_told_as_such() {
    let dense = Problem::new(DType::F16, [2, (1 << 31) - 1, (1 << 30) - 1, 256]);
    let names = ["q", "k", "v", "o"].map(|name| {
        format!("{name}_stride: batch stride of at least 18446744073709551615 elements; no device memory is that large")
    });
    refuses(dense, Unsupported, &names.join("; "));
    let given = Problem { q_stride: Some([u64::MAX, 512, 64]), ..good() };
    refuses(given, Unsupported, &names[0]);
    // Where nothing lies behind the stride it does not matter.
    assert!(plan(&Problem { batch: 1, ..given }, soc()).is_ok());
}
