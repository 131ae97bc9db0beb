use super::*;
use crate::attention::{Layout, Mask};
use crate::{DType, ErrorKind};
use ErrorKind::{InvalidArgument, Unsupported};

fn v100() -> DeviceFacts {
    DeviceFacts::v100()
}

fn good() -> Problem {
    Problem::new(DType::F16, [2, 512, 8, 64])
}

#[track_caller]
fn refuses(problem: Problem, kind: ErrorKind, text: &str) {
    let error = plan(&problem, &v100()).unwrap_err();
    assert_eq!(error.to_string(), format!("attention on Tesla V100-SXM2-16GB: {text}"));
    assert_eq!(error.kind(), kind);
}

#[test]
fn types() {
    refuses(
        Problem::new(DType::Bf16, [1, 8, 1, 64]),
        Unsupported,
        "dtype = bf16 has no kernel; supported: f16",
    );
    let narrow = good().with_score_dtype(DType::F16);
    refuses(narrow, Unsupported, "score_dtype = f16 has no kernel; supported: f32");
}

#[test]
fn heads_and_head_dims() {
    refuses(
        good().with_num_heads_k(3),
        InvalidArgument,
        "num_heads = 8 is not a multiple of num_heads_k = 3; nearest: 6 or 9",
    );
    refuses(good().with_num_heads_k(0), InvalidArgument, "num_heads_k = 0, wanted at least 1");
    for (dim, nearest) in [(0, "8"), (12, "8 or 16"), (260, "256"), (2000, "256")] {
        refuses(
            good().with_head_dim_v(dim).with_seqlen_k(0),
            Unsupported,
            &format!("head_dim_v = {dim} is not a multiple of 8 from 8 to 256; nearest supported: {nearest}"),
        );
    }
    for dim in (8..=256).step_by(8) {
        assert!(plan(&Problem::new(DType::F16, [1, 8, 1, dim]).with_head_dim_v(264 - dim), &v100()).is_ok());
    }
}

#[test]
fn scales() {
    refuses(
        good().with_softmax_scale(f32::NAN),
        InvalidArgument,
        "softmax_scale = NaN is not finite; the usual one is 1/sqrt(head_dim)",
    );
    refuses(
        good().with_softmax_scale(-3e38),
        Unsupported,
        "softmax_scale = -3e38 times log2(e) leaves the range of f32; nearest supported: -2.3586574e38",
    );
    for scale in [-2.358_657e38, -0.5, -0.0, 0.0, 1e-45] {
        let plan = plan(&good().with_softmax_scale(scale), &v100()).unwrap();
        assert!(plan.scale_log2() > 0.0 && plan.scale_log2().is_finite());
    }
}

#[test]
fn sizes() {
    let text = |name: &str, value: u64, largest: u64| {
        format!("{name} = {value} is more than {largest}; nearest supported: {largest}")
    };
    let flat = Problem {
        q_stride: Some([0, 8, 0]),
        o_stride: Some([0, 8, 0]),
        ..Problem::new(DType::F16, [1, 0, 1, 8])
    };
    let long = |seqlen_q| Problem { seqlen_q, ..flat.with_seqlen_k(1) };
    refuses(long(8_388_481), Unsupported, &text("seqlen_q", 8_388_481, 8_388_480));
    assert!(plan(&long(8_388_480), &v100()).is_ok());
    let keys = |seqlen_k| Problem::new(DType::F16, [1, 1, 1, 8]).with_seqlen_k(seqlen_k);
    refuses(keys((1 << 29) + 1), Unsupported, &text("seqlen_k", (1 << 29) + 1, 1 << 29));
    let batches =
        |batch, dim| Problem { batch, ..Problem::new(DType::F16, [1, 64, 1, dim]).with_seqlen_k(1) };
    refuses(batches(65536, 8), Unsupported, &text("batch", 65536, 65535));
    refuses(batches(32768, 136), Unsupported, &text("batch", 32768, 32767));
    assert!(plan(&batches(32767, 136), &v100()).is_ok());
    // Decode has no blocks of columns along z.
    assert!(plan(&Problem { seqlen_q: 1, ..batches(65535, 136) }, &v100()).is_ok());
    refuses(
        Problem { batch: 64, ..Problem::new(DType::F16, [1, 8192, 32, 128]).with_lse() },
        Unsupported,
        "operands take 17246978048 bytes (q 4294967296, k 4294967296, v 4294967296, o 4294967296, lse \
         67108864), Tesla V100-SXM2-16GB has 17179869184",
    );
}

#[test]
fn strides() {
    let q = |stride| Problem { q_stride: Some(stride), ..good() };
    refuses(
        q([262_144, 516, 64]),
        Unsupported,
        "q_stride: row stride = 516 is not a multiple of 8 elements (16 bytes); nearest supported: 512 or \
         520",
    );
    refuses(
        q([262_144, 512, 60]),
        InvalidArgument,
        "q_stride: head stride = 60 is less than the 64 elements of a row; wanted at least 64, or 0 to \
         repeat; q_stride: head stride = 60 is not a multiple of 8 elements (16 bytes); nearest supported: 56 or 64",
    );
    // The stride of a dimension of size 1 is not looked at, and inputs may repeat.
    assert!(plan(&Problem { batch: 1, k_stride: Some([7, 512, 64]), ..good() }, &v100()).is_ok());
    assert!(plan(&Problem { k_stride: Some([0, 512, 64]), ..good() }, &v100()).is_ok());
    let o = Problem { o_stride: Some([0, 512, 64]), ..good() };
    refuses(
        o,
        InvalidArgument,
        "o_stride: batch stride = 0 is less than the 64 elements of a row; wanted at least 64",
    );
    let mut far = Problem::new(DType::F16, [1, 2, 1, 64]).with_seqlen_k(2);
    far.v_stride = Some([0, 2_147_483_648, 64]);
    refuses(
        far,
        Unsupported,
        "v_stride: row stride = 2147483648 is more than 2147483640 elements; nearest supported: 2147483640",
    );
    far = Problem { batch: 2, v_stride: Some([1 << 36, 64, 64]), ..far };
    refuses(far, Unsupported, "v spans 137438953728 bytes from its first to its last, more than 68719476720");
    let endless = Problem { q_stride: Some([u64::MAX, 512, 64]), ..good() };
    refuses(
        endless,
        Unsupported,
        "q_stride: batch stride of at least 18446744073709551615 elements; no device memory is that large",
    );
}

#[test]
fn all_reasons_come_at_once() {
    let problem =
        Problem::new(DType::F32, [1, 8, 4, 100]).with_num_heads_k(3).with_softmax_scale(f32::INFINITY);
    let error = plan(&problem, &v100()).unwrap_err();
    assert_eq!(error.kind(), InvalidArgument);
    for part in ["dtype = f32", "num_heads = 4", "head_dim = 100", "head_dim_v = 100", "softmax_scale = inf"]
    {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn a_chip_with_less_shared_memory_refuses_what_it_cannot_hold() {
    let turing = DeviceFacts { shared_bytes_per_block: 64 << 10, compute_capability: (7, 5), ..v100() };
    let wide = Problem::new(DType::F16, [1, 512, 1, 192]);
    let error = plan(&wide, &turing).unwrap_err();
    assert_eq!(
        error.to_string(),
        "attention on Tesla V100-SXM2-16GB: head_dim = 192 with head_dim_v = 192 takes 83968 bytes of shared \
         memory a block, Tesla V100-SXM2-16GB has 65536; nearest supported: both at most 128"
    );
    // The decode kernel takes less.
    assert!(plan(&Problem { seqlen_q: 1, ..wide }, &turing).is_ok());
}

#[test]
fn newer_chips_emulate() {
    let emulated = |compute_capability| DeviceFacts { compute_capability, ..v100() }.is_emulated();
    assert_eq!([(7, 0), (7, 2), (7, 5), (8, 0), (9, 0)].map(emulated), [false, false, false, true, true]);
}

#[test]
fn what_has_no_row_launches_nothing() {
    let many = Problem { batch: 0, seqlen_q: 65535 * 128, ..good() };
    for problem in [Problem { batch: 0, ..good() }, Problem { seqlen_q: 0, ..good() }, many] {
        let plan = plan(&problem, &v100()).unwrap();
        assert_eq!((plan.launches(&Addresses::default()).count(), plan.workspace_bytes()), (0, 0));
        assert_eq!(plan.kernel(), None);
    }
    // More rows than a grid has blocks for are refused all the same.
    assert!(plan(&Problem { batch: 0, seqlen_q: u32::MAX, ..good() }, &v100()).is_err());
    let no_keys = plan(&good().with_seqlen_k(0), &v100()).unwrap();
    assert_eq!(no_keys.launches(&Addresses::default()).count(), 1);
}

/// The bytes of a forward launch, by hand from the parameter list of `cuda/flash_fwd_sm70.cu`.
#[test]
fn a_forward_launch_is_packed_as_the_kernel_reads_it() {
    let problem =
        Problem::new(DType::F16, [3, 200, 4, 64]).with_seqlen_k(300).with_num_heads_k(2).with_head_dim_v(32);
    let mask = Mask::Window { left: Some(100), right: Some(7) };
    let problem = problem.with_mask(mask).with_softmax_scale(-2.0).with_layout(Layout::Bnsd);
    let plan = plan(&problem, &v100()).unwrap();
    let at = Addresses {
        q: 0x1000,
        k: 0x2000,
        v: 0x3000,
        o: 0x4000,
        lse: 0x5000,
        workspace: 0x6000,
        ..Addresses::default()
    };
    let launches: Vec<_> = plan.launches(&at).collect();
    let [launch] = &launches[..] else { panic!("{launches:?}") };
    assert_eq!(
        (launch.kernel(), launch.grid(), launch.shared_bytes()),
        ("flash_fwd_f16_d64_g2", [4, 4, 3], 24576)
    );
    // Nobody wants lse, so it goes to the workspace.
    assert_eq!(plan.workspace_bytes(), 4 * 3 * 4 * 200);
    let mut want = Vec::new();
    want.extend([0x1000_u64, 0x2000, 0x3000, 0x4000, 0x6000, 0, 0].map(u64::to_le_bytes).concat());
    want.extend((2.0 * std::f32::consts::LOG2_E).to_le_bytes());
    want.extend([200_i32, 300, 2, 64, 32, 100, 7].map(i32::to_le_bytes).concat());
    want.extend([128_u32, 128, 64, 64].map(u32::to_le_bytes).concat());
    let batch = [4 * 200 * 128_u64, 2 * 300 * 128, 2 * 300 * 64, 4 * 200 * 64];
    let head = [200 * 128_u64, 300 * 128, 300 * 64, 200 * 64];
    want.extend(batch.map(u64::to_le_bytes).concat());
    want.extend(head.map(u64::to_le_bytes).concat());
    want.extend([800_u64, 200].map(u64::to_le_bytes).concat());
    want.extend([u32::MAX, 0x8000_8000, 0].map(u32::to_le_bytes).concat());
    assert_eq!(launch.params(), want);
}

#[test]
fn a_split_plan_prints_itself_and_joins_its_parts() {
    let problem =
        Problem::new(DType::F16, [1, 1, 32, 128]).with_num_heads_k(8).with_seqlen_k(32768).with_lse();
    let plan = plan(&problem, &v100()).unwrap();
    let text = "\
attention f16 on Tesla V100-SXM2-16GB: compute capability 7.0, 80 SMs, 16 GiB, native
problem   batch 1, num_heads 32, num_heads_k 8, head_dim 128, head_dim_v 128, seqlen_q 1, seqlen_k 32768, \
mask none, softmax_scale 0.088388346, scores f32, lse yes
kernel    flash_decode_f16_d128_r8, 8 x 10 x 1 blocks of 128 threads, 17152 bytes of shared memory each
joins     flash_decode_combine, 8 x 2 x 1 blocks of 128 threads, 1056 bytes of shared memory each
splits    10 of at most 3280 keys
workspace 165120 bytes: o of the parts 163840, their lse 1280, lse 0
";
    assert_eq!(plan.to_string(), text);
    assert_eq!(plan.num_splits(), 10);
}

/// The least keys of a part, as the kernel gets it, are those of an even share of the most where these are
/// fewer than the usual least: then the kernel makes as many parts as the plan says.
#[test]
fn slots_have_the_parts_that_the_plan_says() {
    for (max_keys, parts, least) in [(300, 2, 152), (520, 3, 176), (4096, 16, 256)] {
        let problem = serving::Problem::new(DType::F16, [1, 1, 1, 64], max_keys, serving::KvLayout::padded());
        let plan = plan_serving(&problem, &v100()).unwrap();
        let launch = plan.launches(&Addresses::default()).next().unwrap();
        // 11 addresses, the scale and 11 numbers before.
        let at = 11 * 8 + 4 + 11 * 4;
        assert_eq!(launch.params()[at..at + 4], u32::to_le_bytes(least), "{max_keys}");
        assert_eq!(
            (plan.num_splits(), max_keys.div_ceil(least.max(max_keys.div_ceil(8 * parts) * 8))),
            (parts, parts)
        );
    }
}

#[test]
fn a_plan_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Plan>();
    shared::<crate::cuda::Device>();
}
