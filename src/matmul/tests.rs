use super::*;
use crate::Soc;

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

#[track_caller]
fn refuses(problem: Problem, kind: ErrorKind, text: &str) {
    let error = plan(&problem, soc()).unwrap_err();
    assert_eq!(error.to_string(), format!("matmul on Ascend910B2: {text}"));
    assert_eq!(error.kind(), kind);
}

use ErrorKind::{InvalidArgument, Unsupported};

#[test]
fn every_reason_comes_at_once() {
    let problem = Problem { dtype_out: DType::Bf16, ..Problem::new(DType::F16, [1 << 31, 1 << 31, 0]) };
    refuses(
        problem,
        Unsupported,
        "dtype = f16 with dtype_out = bf16 has no kernel; supported: dtype_out = f32 or the same type as dtype, with \
         dtype = f16 or bf16; m = 2147483648 is more than 2147483647; n = 2147483648 is more than 2147483647",
    );
    refuses(
        Problem::new(DType::F16, [4, 4, 4]).with_batch([2, 1 << 31, 0]),
        Unsupported,
        "batch[1] = 2147483648 is more than 2147483647",
    );
}

#[test]
fn strides() {
    let good = Problem::new(DType::F16, [4, 32, 8]).with_batch([1, 3, 2]);
    let a = |batch, row| Problem { a_strides: Some(Strides { batch, row }), ..good };
    let c = |batch, row| Problem { c_strides: Some(Strides { batch, row }), ..good };
    refuses(
        a([0, 7, 100], 0),
        InvalidArgument,
        "a: batch[1] stride = 7 is less than the 8 elements of a row; wanted at least 8, or 0 to repeat; a: row stride = 0 \
         is less than the 8 elements of a row; wanted at least 8",
    );
    refuses(
        c([0, 128, 0], 32),
        InvalidArgument,
        "c: batch[2] stride = 0 is less than the 32 elements of a row; wanted at least 32; c: batch[2] stride = 0 makes \
         rows overlap; wanted at least 32",
    );
    refuses(
        c([0, 128, 128], 32),
        InvalidArgument,
        "c: batch[2] stride = 128 makes rows overlap; wanted at least 384",
    );
    refuses(
        c([0, 32, 96], 1 << 33),
        Unsupported,
        "c: row stride = 8589934592 is more than 4294967295 elements; nearest supported: 4294967295",
    );
    assert!(plan(&a([0, 0, 0], 8), soc()).is_ok());
    // Rows of one batch between those of another.
    assert!(plan(&c([0, 32, 96], 192), soc()).is_ok());
}

#[test]
fn sums_are_added_in_f32_alone() {
    let product = Problem::new(DType::Bf16, [4, 4, 4]).with_accumulation();
    refuses(
        product,
        Unsupported,
        "accumulates = true with dtype_out = bf16; wanted with it: f32, as a sum in 16 bits is rounded twice",
    );
    assert!(plan(&product.with_dtype_out(DType::F32), soc()).is_ok());
}

#[test]
fn operands_larger_than_the_memory() {
    refuses(
        Problem::new(DType::F16, [1 << 20, 1 << 20, 16]),
        Unsupported,
        "operands take 2199090364416 bytes, Ascend910B2 has 68719476736",
    );
}

#[test]
fn tilings_that_do_not_fit_are_refused() {
    let problem = Problem::new(DType::F16, [512, 512, 512]);
    let good = plan(&problem, soc()).unwrap().tiling();
    let text = |tiling: Tiling| {
        let error = plan_with(&problem, soc(), tiling).unwrap_err();
        assert_eq!(error.kind(), Unsupported);
        error.to_string().rsplit_once(" cores: ").unwrap().1.to_owned()
    };
    assert_eq!(text(Tiling { tile: [24, 16, 16], ..good }), "tile_m = 24, a multiple of 16 wanted");
    assert_eq!(text(Tiling { block: [0, 16], ..good }), "block_m = 0, wanted at least 1");
    // The kernel rounds extents up to blocks in 32 bits.
    assert!(plan_with(&problem, soc(), Tiling { block: [(1 << 31) - 1; 2], ..good }).is_ok());
    assert_eq!(text(Tiling { block: [1 << 31, 16], ..good }), "block_m = 2147483648 is more than 2147483647");
    assert_eq!(
        text(Tiling { block: [16, u32::MAX], ..good }),
        "block_n = 4294967295 is more than 2147483647"
    );
    let huge = u32::MAX - 15;
    assert_eq!(
        text(Tiling { tile: [huge; 3], ..good }),
        "tile takes 36893487872541196800 bytes of L0A with 2 buffers there, at most 32768 wanted"
    );
    assert_eq!(text(Tiling { l0_buffers: 3, ..good }), "l0_buffers = 3, wanted 1 or 2");
    let tile = [128, 256, 64];
    let large = Tiling { tile, l0c_buffers: 1, ..good };
    assert_eq!(
        text(Tiling { l0c_buffers: 2, ..large }),
        "tile takes 131072 bytes of L0C with 2 buffers there, at most 65536 wanted"
    );
    assert_eq!(
        text(Tiling { tile: [128, 256, 128], ..large }),
        "tile takes 65536 bytes of L0B with 2 buffers there, at most 32768 wanted"
    );
    assert_eq!(
        text(Tiling { step_k: [8, 4], ..large }),
        "tile and step_k take 262144 bytes of L1 with l1_buffers = 2, at most 261888 wanted"
    );
    assert_eq!(
        text(Tiling { num_cores: 25, ..good }),
        "num_cores = 25 given, at most 24 wanted, the Cube cores of Ascend910B2"
    );
    assert_eq!(
        text(Tiling { unit_flag: true, block: [100, 128], ..good }),
        "unit_flag = true given with m, n, block_m and block_n = [512, 512, 100, 128]; wanted with it: multiples of 16, as \
         it moves whole fractals"
    );
}

#[test]
fn large_products_take_the_largest_tile_and_copies_of_at_least_16_kib() {
    let plan = plan(&Problem::new(DType::F16, [8192, 8192, 8192]), soc()).unwrap();
    let tiling = plan.tiling();
    assert_eq!(tiling.tile[0] * tiling.tile[1], 128 * 256, "{plan}");
    assert_eq!((tiling.l1_buffers, tiling.l0_buffers, tiling.unit_flag), (2, 2, true));
    for (side, steps) in tiling.step_k.into_iter().enumerate() {
        assert!(2 * tiling.tile[side] * tiling.tile[2] * steps >= 16 * 1024, "{plan}");
    }
    assert_eq!(plan.num_cores(), 24);
}

#[test]
fn small_products_spread_over_the_cores() {
    let plan = plan(&Problem::new(DType::F16, [256, 256, 64]), soc()).unwrap();
    assert!(plan.num_cores() >= 8, "{plan}");
    let one = super::plan(&Problem::new(DType::F16, [1, 1, 1]), soc()).unwrap();
    assert_eq!((one.num_cores(), one.tiling().tile), (1, [16; 3]));
}

/// The published runs of 8192 x 8192 x 8192 (rows `mm-asc` of the measurements that the timing model is
/// compared with).
#[test]
fn published_tilings_can_be_described() {
    let problem = Problem::new(DType::F16, [8192; 3]).with_b_layout(BLayout::Nk);
    let single = Tiling {
        block: [8192; 2],
        tile: [64; 3],
        step_k: [1; 2],
        l1_buffers: 1,
        l1_halves: L1Halves::Buffers,
        l0_buffers: 2,
        l0c_buffers: 1,
        unit_flag: false,
        swizzle: 1,
        swizzle_axis: Axis::M,
        num_cores: 1,
        b_past_l2: false,
    };
    let base = Tiling { tile: [128, 256, 64], ..single };
    let cores = Tiling { num_cores: 24, swizzle: 4, ..base };
    let split_2_12 = Tiling { block: [4096, 683], ..cores };
    let split_4_6 = Tiling { block: [2048, 1536], ..cores };
    let chunks = Tiling { step_k: [2, 2], l1_buffers: 2, ..split_4_6 };
    // A in two halves of its rows: 48 blocks, the 24 of one half before those of the other.
    let l2_halves = Tiling { block: [1024, 1536], ..chunks };
    let unit_flag = Tiling { unit_flag: true, ..l2_halves };
    for tiling in [single, base, split_2_12, split_4_6, chunks, l2_halves, unit_flag] {
        let plan = plan_with(&problem, soc(), tiling).unwrap();
        assert_eq!(plan.num_cores(), tiling.num_cores, "{plan}");
    }
    // The runs with the largest chunks take all 524288 bytes of L1, of which the framework keeps 256 here.
    let error = plan_with(&problem, soc(), Tiling { step_k: [8, 4], ..chunks }).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("tile and step_k take 262144 bytes of L1 with l1_buffers = 2, at most 261888 wanted"),
        "{error}"
    );
    assert!(plan_with(&problem, soc(), Tiling { step_k: [8, 3], ..chunks }).is_ok());
    // With a half of L1 for each operand, as published, B may fill its half.
    let operands = Tiling { l1_halves: L1Halves::Operands, ..chunks };
    assert!(plan_with(&problem, soc(), Tiling { step_k: [7, 4], ..operands }).is_ok());
    let error = plan_with(&problem, soc(), Tiling { step_k: [8, 4], ..operands }).unwrap_err();
    let wanted = "tile and step_k take 262144 bytes of L1 for two buffers of A, at most 261888 wanted";
    assert!(error.to_string().ends_with(wanted), "{error}");
    let error = plan_with(&problem, soc(), Tiling { step_k: [4, 5], ..operands }).unwrap_err();
    let wanted = "tile and step_k take 327680 bytes of L1 for two buffers of B, at most 262144 wanted";
    assert!(error.to_string().ends_with(wanted), "{error}");
}

#[test]
fn numbers_beyond_64_bits_are_told_as_such() {
    let most = (1 << 31) - 1;
    let stride = |name: &str| {
        format!("{name}: batch[0] stride of at least 18446744073709551615 elements; no device memory is that large")
    };
    refuses(
        Problem::new(DType::F16, [most; 3]).with_batch([2, 8, 1]),
        Unsupported,
        &["a", "b", "c"].map(stride).join("; "),
    );
    // 2 * m * k bytes of a tile are more than 2^64.
    let good = plan(&Problem::new(DType::F16, [64, 64, 64]), soc()).unwrap();
    for tile in [[u32::MAX - 15; 3], [16, u32::MAX - 15, u32::MAX - 15]] {
        let tiling = Tiling { tile, step_k: [u32::MAX; 2], ..good.tiling() };
        let error = plan_with(good.problem(), soc(), tiling).unwrap_err();
        assert_eq!(error.kind(), Unsupported);
        assert!(error.to_string().contains(", at most 32768 wanted"), "{error}");
    }
    let deep = Tiling { step_k: [u32::MAX; 2], ..good.tiling() };
    let error = plan_with(good.problem(), soc(), deep).unwrap_err().to_string();
    assert!(error.contains("tile and step_k take"), "{error}");
}

/// HBM waits for nothing where a core may have as many requests under way as it can: two chunks of B hold
/// them, each row of a chunk a line or more.
#[test]
fn tiles_of_cold_weights_have_enough_requests_under_way() {
    for soc in ["Ascend910B1", "Ascend910B2", "Ascend910B4"].map(|name| Soc::by_name(name).unwrap()) {
        for [n, k] in [[12_288, 4096], [4096, 4096], [22_016, 4096], [4096, 11_008], [32_000, 4096]] {
            for rows in [1, 8, 16, 64] {
                let problem = Problem::new(DType::F16, [rows, n, k]).with_b_layout(BLayout::Nk).with_cold_b();
                let t = plan(&problem, soc).unwrap().tiling();
                let lines = t.tile[1] * (2 * t.tile[2] * t.step_k[1]).div_ceil(512);
                assert!(
                    u64::from(2 * lines) >= soc.timing.gm.outstanding as u64,
                    "{}: {problem:?}: {t}",
                    soc.name
                );
            }
        }
    }
}
