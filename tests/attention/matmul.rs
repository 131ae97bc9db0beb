//! The matrix product against products in f64.

use fastattention::matmul::{
    plan, plan_with, Args, Axis, BLayout, L1Halves, Matmul, Plan, Problem, Strides, Tiling,
};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::ModelTime;
use fastattention::{sim, DType, Soc};
use fastattention_testkit::compare::product_error;
use fastattention_testkit::device::{device, simulator};
use fastrand::Rng;
use half::{bf16, f16};

/// Bytes that no kernel may touch; an f16, bf16 and f32 that none of the products here is.
const UNTOUCHED: u8 = 0x7d;

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

fn matmul() -> Matmul {
    Matmul::new(&device(|_| ())).unwrap()
}

/// Values of the operands' type, as f64 and as bytes. Sums of 1000 products stay within f16.
fn random(rng: &mut Rng, dtype: DType, len: usize) -> (Vec<f64>, Vec<u8>) {
    let mut values = Vec::new();
    let mut bytes = Vec::new();
    for _ in 0..len {
        let x = rng.f32() * 2.0 - 1.0;
        if dtype == DType::F16 {
            let x = f16::from_f32(x);
            values.push(x.to_f64());
            bytes.extend(x.to_le_bytes());
        } else {
            let x = bf16::from_f32(x);
            values.push(x.to_f64());
            bytes.extend(x.to_le_bytes());
        }
    }
    (values, bytes)
}

fn element(dtype: DType, bytes: &[u8]) -> f64 {
    match dtype {
        DType::F16 => f16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        DType::Bf16 => bf16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        _ => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
    }
}

fn strides(given: Option<Strides>, batch: [u32; 3], rows: u32, cols: u32) -> Strides {
    let matrix = u64::from(rows) * u64::from(cols);
    let inner = matrix * u64::from(batch[2]);
    given.unwrap_or(Strides { batch: [inner * u64::from(batch[1]), inner, matrix], row: u64::from(cols) })
}

fn at(s: Strides, batch: [u32; 3], row: u32, col: u32) -> usize {
    let batches: u64 = (0..3).map(|i| u64::from(batch[i]) * s.batch[i]).sum();
    usize::try_from(batches + u64::from(row) * s.row + u64::from(col)).unwrap()
}

/// The first element of each row of C.
fn rows_of(p: &Problem) -> impl Iterator<Item = usize> + '_ {
    let c_at = strides(p.c_strides, p.batch, p.m, p.n);
    let [b0, b1, b2] = p.batch;
    let batches = (0..b0).flat_map(move |x| (0..b1).flat_map(move |y| (0..b2).map(move |z| [x, y, z])));
    batches.flat_map(move |batch| (0..p.m).map(move |row| at(c_at, batch, row, 0)))
}

/// C before a product: values where the product is added to them, and nothing that may be touched elsewhere.
fn before(p: &Problem, rng: &mut Rng, c_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![UNTOUCHED; c_bytes];
    for row in rows_of(p).filter(|_| p.accumulates) {
        for place in bytes[row * 4..].chunks_exact_mut(4).take(p.n as usize) {
            place.copy_from_slice(&(rng.f32() * 20.0 - 10.0).to_le_bytes());
        }
    }
    bytes
}

/// Runs a product and compares every element of C, and the gaps between its rows.
#[track_caller]
fn check(matmul: &Matmul, problem: &Problem, tiling: Option<Tiling>) {
    let device = matmul.device();
    let plan = match tiling {
        None => plan(problem, device.soc()),
        Some(tiling) => plan_with(problem, device.soc(), tiling),
    }
    .unwrap();
    let p = problem;
    let mut rng = Rng::with_seed(u64::from(p.m) << 40 ^ u64::from(p.n) << 20 ^ u64::from(p.k));
    let [a_bytes, b_bytes, c_bytes] = p.operand_bytes().map(|bytes| usize::try_from(bytes).unwrap());
    let (a, a_data) = random(&mut rng, p.dtype, a_bytes / 2);
    let (b, b_data) = random(&mut rng, p.dtype, b_bytes / 2);
    let a_gm = Buffer::from_slice(device, &a_data).unwrap();
    let b_gm = Buffer::from_slice(device, &b_data).unwrap();
    let c_before = before(p, &mut rng, c_bytes);
    let c_gm = Buffer::from_slice(device, &c_before).unwrap();
    let stream = Stream::new(device).unwrap();
    let args = Args::new(&a_gm, &b_gm, &c_gm);
    matmul.launch(&stream, &plan, args).unwrap();
    stream.synchronize().unwrap_or_else(|e| panic!("{plan}\n{e}"));
    let mut got = vec![0u8; c_bytes];
    c_gm.copy_to_host(&mut got).unwrap();

    let a_at = strides(p.a_strides, p.batch, p.m, p.k);
    let (b_rows, b_cols) = if p.b_layout == BLayout::Kn { (p.k, p.n) } else { (p.n, p.k) };
    let b_at = strides(p.b_strides, p.batch, b_rows, b_cols);
    let c_at = strides(p.c_strides, p.batch, p.m, p.n);
    let size = p.dtype_out.size_bytes();
    let mut is_written = vec![false; c_bytes / size];
    let [b0, b1, b2] = p.batch;
    for batch in (0..b0).flat_map(|x| (0..b1).flat_map(move |y| (0..b2).map(move |z| [x, y, z]))) {
        for i in 0..p.m {
            for j in 0..p.n {
                let (mut want, mut magnitude) = (0.0, 0.0);
                for l in 0..p.k {
                    let (row, col) = if p.b_layout == BLayout::Kn { (l, j) } else { (j, l) };
                    let product = a[at(a_at, batch, i, l)] * b[at(b_at, batch, row, col)];
                    want += product;
                    magnitude += product.abs();
                }
                let place = at(c_at, batch, i, j);
                if p.accumulates {
                    let held = element(p.dtype_out, &c_before[place * size..][..size]);
                    want += held;
                    magnitude += held.abs();
                }
                is_written[place] = true;
                let value = element(p.dtype_out, &got[place * size..][..size]);
                let tolerance = product_error(p.dtype_out, p.k, want, magnitude);
                assert!(
                    (value - want).abs() <= tolerance,
                    "C[{batch:?}, {i}, {j}]: got {value}, want {want}, tolerance {tolerance:e}\n{plan}"
                );
            }
        }
    }
    let gap = vec![UNTOUCHED; size];
    for (place, written) in is_written.into_iter().enumerate() {
        assert!(written || got[place * size..][..size] == gap, "element {place} of C lies in a gap\n{plan}");
    }
}

#[test]
fn every_size_around_a_fractal() {
    let matmul = matmul();
    let mut turn = 0;
    for m in [1, 15, 16, 17, 33] {
        for n in [1, 15, 16, 31, 48] {
            for k in [1, 2, 15, 16, 17, 40] {
                let problem = Problem::new([DType::F16, DType::Bf16][turn % 2], [m, n, k])
                    .with_b_layout([BLayout::Kn, BLayout::Nk][turn / 2 % 2]);
                let problem = if turn % 3 == 0 { problem.with_dtype_out(DType::F32) } else { problem };
                check(&matmul, &problem, None);
                turn += 1;
            }
        }
    }
}

#[test]
fn larger_sizes_with_tails() {
    let matmul = matmul();
    for (i, [m, n, k]) in
        [[300, 200, 100], [129, 257, 513], [64, 1000, 72], [1, 700, 300], [500, 3, 260], [256, 256, 600]]
            .into_iter()
            .enumerate()
    {
        for b_layout in [BLayout::Kn, BLayout::Nk] {
            let problem = Problem::new([DType::F16, DType::Bf16][i % 2], [m, n, k]).with_b_layout(b_layout);
            check(&matmul, &problem, None);
        }
    }
}

/// As many rows as decode steps have, with B as weights are read and the sums where a residual stream is.
#[test]
fn few_rows() {
    let matmul = matmul();
    for (i, [m, n, k]) in [
        [1, 512, 300],
        [1, 1000, 72],
        [3, 40, 700],
        [8, 777, 130],
        [16, 384, 512],
        [33, 250, 90],
        [64, 520, 200],
    ]
    .into_iter()
    .enumerate()
    {
        for b_layout in [BLayout::Kn, BLayout::Nk] {
            let problem = Problem::new([DType::F16, DType::Bf16][i % 2], [m, n, k]).with_b_layout(b_layout);
            check(&matmul, &problem.with_cold_b(), None);
            let added = problem.with_dtype_out(DType::F32).with_accumulation();
            check(&matmul, &added, None);
            let rows = |row| Some(Strides { batch: [0; 3], row });
            let strided =
                Problem { a_strides: rows(711), b_strides: rows(1111), c_strides: rows(1003), ..added };
            check(&matmul, &strided.with_cold_b(), None);
        }
    }
}

/// A product of its own for each batch is added to it, whatever sums there are.
#[test]
fn sums_are_added_to_what_c_holds() {
    let matmul = matmul();
    let added = |shape| Problem::new(DType::F16, shape).with_dtype_out(DType::F32).with_accumulation();
    check(&matmul, &added([20, 18, 30]).with_batch([2, 1, 3]), None);
    check(&matmul, &added([5, 7, 0]).with_batch([2, 1, 1]), None);
    check(&matmul, &added([160, 176, 150]), Some(Tiling { unit_flag: true, ..tiling() }));
}

#[test]
fn row_strides() {
    let matmul = matmul();
    let rows = |row| Some(Strides { batch: [0; 3], row });
    for b_layout in [BLayout::Kn, BLayout::Nk] {
        let problem = Problem {
            a_strides: rows(75),
            b_strides: rows(91),
            c_strides: rows(66),
            ..Problem::new(DType::F16, [50, 60, 70]).with_b_layout(b_layout)
        };
        check(&matmul, &problem, None);
        // Longer than the 16 bits of the copy's row pitch.
        let problem = Problem {
            a_strides: rows(70_001),
            b_strides: rows(65_536),
            ..Problem::new(DType::Bf16, [5, 20, 33]).with_b_layout(b_layout)
        };
        check(&matmul, &problem, None);
    }
}

#[test]
fn batches_with_repeated_operands() {
    let matmul = matmul();
    let batch = [2, 3, 4];
    check(&matmul, &Problem::new(DType::F16, [20, 18, 30]).with_batch(batch), None);
    // Four matrices of A for each of B, as query heads share key heads; rows of heads interleaved in C.
    let problem = Problem {
        a_strides: Some(Strides { batch: [12 * 17 * 20, 4 * 20, 20], row: 12 * 20 }),
        b_strides: Some(Strides { batch: [3 * 20 * 10, 20 * 10, 0], row: 10 }),
        c_strides: Some(Strides { batch: [12 * 17 * 10, 4 * 10, 10], row: 12 * 10 }),
        ..Problem::new(DType::Bf16, [17, 10, 20]).with_batch(batch).with_dtype_out(DType::F32)
    };
    check(&matmul, &problem, None);
}

/// C without a sum is zeros, and only where its rows are.
#[test]
fn no_sums_and_no_elements() {
    let matmul = matmul();
    for dtype_out in [DType::F16, DType::F32] {
        for extents in [[5, 7, 0], [0, 7, 3], [5, 0, 3]] {
            let dense = Problem::new(DType::F16, extents).with_batch([2, 1, 3]).with_dtype_out(dtype_out);
            check(&matmul, &dense, None);
            for strides in [
                Strides { batch: [200, 0, 40], row: 8 },
                Strides { batch: [120, 0, 35], row: 7 },
                Strides { batch: [7, 0, 14], row: 42 },
                Strides { batch: [300, 0, 8], row: 30 },
            ] {
                check(&matmul, &Problem { c_strides: Some(strides), ..dense }, None);
            }
        }
    }
}

fn tiling() -> Tiling {
    Tiling {
        block: [64, 64],
        tile: [32, 32, 16],
        step_k: [2, 3],
        l1_buffers: 2,
        l1_halves: L1Halves::Buffers,
        l0_buffers: 2,
        l0c_buffers: 2,
        unit_flag: false,
        swizzle: 2,
        swizzle_axis: Axis::M,
        num_cores: 3,
        b_past_l2: false,
    }
}

#[test]
fn given_tilings() {
    let matmul = matmul();
    let all_cores = matmul.device().soc().cube_cores;
    let problem = Problem::new(DType::F16, [208, 176, 150]);
    let t = tiling();
    let cases = [
        t,
        Tiling { l1_buffers: 1, ..t },
        Tiling { l1_halves: L1Halves::Operands, ..t },
        Tiling { l0_buffers: 1, ..t },
        Tiling { l0c_buffers: 1, ..t },
        Tiling { l1_buffers: 1, l0_buffers: 1, l0c_buffers: 1, num_cores: 1, ..t },
        Tiling { unit_flag: true, l0c_buffers: 1, ..t },
        Tiling { unit_flag: true, ..t },
        Tiling { step_k: [1, 1], swizzle_axis: Axis::N, ..t },
        Tiling { step_k: [5, 1], swizzle: 3, num_cores: all_cores, ..t },
        Tiling { step_k: [1, 4], swizzle: 100, swizzle_axis: Axis::N, num_cores: 5, ..t },
        // Blocks that are no multiple of the tile, nor of a fractal.
        Tiling { block: [70, 59], num_cores: 7, ..t },
        Tiling { block: [1000, 45], tile: [64, 128, 32], num_cores: 2, ..t },
        Tiling { block: [(1 << 31) - 1; 2], b_past_l2: true, ..t },
        Tiling { block: [128, 256], tile: [128, 256, 64], step_k: [4, 4], l0c_buffers: 1, ..t },
        Tiling {
            block: [256, 128],
            tile: [256, 128, 64],
            step_k: [2, 4],
            l0c_buffers: 1,
            unit_flag: true,
            ..t
        },
    ];
    for tiling in cases {
        check(&matmul, &problem, Some(tiling));
        check(&matmul, &problem.with_b_layout(BLayout::Nk), Some(tiling));
    }
}

#[test]
fn results_do_not_depend_on_the_interleaving_or_the_number_of_cores() {
    let problem = Problem::new(DType::F16, [100, 120, 90]);
    for seed in 0..4 {
        let matmul = Matmul::new(&device(|config| config.seed = Some(seed))).unwrap();
        for num_cores in [1, 2, matmul.device().soc().cube_cores] {
            check(&matmul, &problem, Some(Tiling { num_cores, ..tiling() }));
        }
        check(
            &matmul,
            &Problem::new(DType::F16, [96, 128, 90]),
            Some(Tiling { unit_flag: true, ..tiling() }),
        );
    }
}

#[test]
fn a_launch_refuses_operands_that_do_not_fit() {
    let matmul = Matmul::new(&simulator(|_| ())).unwrap();
    let device = matmul.device();
    let stream = Stream::new(device).unwrap();
    let plan = plan(&Problem::new(DType::F16, [4, 5, 6]), soc()).unwrap();
    let (small, large) = (Buffer::alloc(device, 47).unwrap(), Buffer::alloc(device, 100).unwrap());
    let mut args = Args::new(&small, &large, &large);
    args.c = args.c.with_offset_bytes(61);
    let error = matmul.launch(&stream, &plan, args).unwrap_err();
    assert_eq!(
        error.to_string(),
        "matmul launch: a has 47 bytes, the plan needs 48; c starts at byte 61, a multiple of 2 wanted; c has 39 bytes \
         from byte 61, the plan needs 40"
    );
    let other = Soc::by_name("Ascend910B4").unwrap();
    let plan = fastattention::matmul::plan(&Problem::new(DType::F16, [4, 5, 6]), other).unwrap();
    let error = matmul.launch(&stream, &plan, args).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "matmul launch: a plan for Ascend910B4 with 20 Cube cores given, one for device {} wanted, which is Ascend910B2 with \
             24 Cube cores",
            device.name()
        )
    );
}

/// Model time of the second launch in microseconds.
fn simulated(plan: &Plan) -> f64 {
    let model_time = ModelTime::only();
    let mut config = sim::Config::new(soc());
    config.check_races = false;
    config.model_time = Some(model_time.clone());
    let device = Device::simulated(config).unwrap();
    let [m, n, k] = [plan.problem().m, plan.problem().n, plan.problem().k].map(|x| x as usize);
    let alloc = |elements: usize| Buffer::alloc(&device, 2 * elements).unwrap();
    let (a, b, c) = (alloc(m * k), alloc(k * n), alloc(m * n));
    let (operator, stream) = (Matmul::new(&device).unwrap(), Stream::new(&device).unwrap());
    for _ in 0..2 {
        let args = Args::new(&a, &b, &c);
        operator.launch(&stream, plan, args).unwrap();
        stream.synchronize().unwrap();
    }
    model_time.take_reports().pop().unwrap().core_us()
}

#[test]
fn predictions_are_near_simulated_model_time() {
    let shapes = [[4000, 2560, 320], [300, 1000, 77], [2048, 640, 5120], [1024, 5120, 1920], [640, 640, 640]];
    let mut errors = Vec::new();
    for shape in shapes {
        for b_layout in [BLayout::Kn, BLayout::Nk] {
            let plan = plan(&Problem { b_layout, ..Problem::new(DType::F16, shape) }, soc()).unwrap();
            let (predicted, simulated) = (plan.predicted_us(), simulated(&plan));
            let error = (predicted / simulated - 1.0).abs();
            assert!(error < 0.35, "{plan}: predicted {predicted:.1}, simulated {simulated:.1} us");
            errors.push(error);
        }
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors[errors.len() / 2] < 0.15, "{errors:?}");
}
