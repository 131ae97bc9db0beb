//! Unfused attention in the passes of an eager framework: what each pass leaves in the workspace against f64,
//! by the roundings that the pass is said to have.

use bytemuck::Pod;
use fastattention::attention::Problem;
use fastattention::baseline::{dense_causal_mask, plan, plan_in_passes, StandardArgs, StandardAttention};
use fastattention::reference::Element;
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::tiling::Mask;
use fastattention::DType;
use fastattention_testkit::device::device;
use half::{bf16, f16};

/// Half the distance of two neighbours of 1.
fn unit(dtype: DType) -> f64 {
    if dtype == DType::F16 {
        2f64.powi(-11)
    } else {
        2f64.powi(-8)
    }
}

/// Numbers between -2 and 2 that repeat after no length of the cases.
fn values<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..len).map(|_| T::round(next())).collect()
}

fn wide<T: Copy + Into<f32>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x.into())).collect()
}

/// Batches of 1; heads, keys' heads, rows, keys, head_dim.
#[derive(Clone, Copy, Debug)]
struct Case {
    heads: [u32; 2],
    rows: u32,
    keys: u32,
    dim: u32,
    mask: Mask,
}

/// What a launch leaves.
struct Left<T> {
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    /// P in T, masked scores in f32, probabilities in f32, with the pitch of rows.
    p: Vec<T>,
    scores: Vec<f32>,
    probabilities: Vec<f32>,
    pitch: usize,
    o: Vec<f64>,
}

fn launched<T: Element + Pod + Into<f32>>(device: &Device, dtype: DType, case: Case) -> Left<T> {
    let Case { heads: [heads, heads_k], rows, keys, dim, mask } = case;
    let problem = Problem::new(dtype, [1, rows, heads, dim])
        .with_num_heads_k(heads_k)
        .with_seqlen_k(keys)
        .with_mask(mask);
    let plan = plan_in_passes(&problem, device.soc()).unwrap();
    let len = |rows: u32, heads: u32| (rows * heads * dim) as usize;
    let q: Vec<T> = values(len(rows, heads), 1);
    let [k, v] = [2, 3].map(|seed| values::<T>(len(keys, heads_k), seed));
    let [q_gm, k_gm, v_gm] = [&q, &k, &v].map(|data| Buffer::from_slice(device, data).unwrap());
    let o_gm = Buffer::alloc(device, q.len() * 2).unwrap();
    let workspace = Buffer::alloc(device, usize::try_from(plan.workspace_bytes()).unwrap()).unwrap();
    let dense = dense_causal_mask([rows, keys], &T::round(0.0), &T::round(f32::NEG_INFINITY));
    let mask_gm = Buffer::from_slice(device, &dense).unwrap();
    let args = StandardArgs::new(&q_gm, &k_gm, &v_gm, &o_gm, &workspace);
    let args = if mask == Mask::Causal { args.with_mask(&mask_gm) } else { args };
    let stream = Stream::new(device).unwrap();
    StandardAttention::new(device).unwrap().launch(&stream, &plan, args).unwrap();
    stream.synchronize().unwrap_or_else(|e| panic!("{case:?}: {e}"));
    let pitch = keys.next_multiple_of(16) as usize;
    let elements = (heads * rows) as usize * pitch;
    let line = |bytes: usize| bytes.next_multiple_of(512);
    let mut bytes = vec![0u8; usize::try_from(plan.workspace_bytes()).unwrap()];
    workspace.copy_to_host(&mut bytes).unwrap();
    let [second, third] = [line(2 * elements), line(2 * elements) + line(4 * elements)];
    let of_f32 = |at: usize| bytemuck::pod_collect_to_vec(&bytes[at..at + 4 * elements]);
    let p = bytemuck::pod_collect_to_vec(&bytes[..2 * elements]);
    let mut o = q.clone();
    o_gm.copy_to_host(&mut o).unwrap();
    Left {
        p,
        scores: of_f32(second),
        probabilities: of_f32(third),
        pitch,
        q: wide(&q),
        k: wide(&k),
        v: wide(&v),
        o: wide(&o),
    }
}

fn check<T: Element + Pod + Into<f32>>(device: &Device, dtype: DType, case: Case) {
    let left = launched::<T>(device, dtype, case);
    let Case { heads: [heads, heads_k], rows, keys, dim, mask } = case;
    let [heads, heads_k, rows, keys, dim] = [heads, heads_k, rows, keys, dim].map(|n| n as usize);
    let (u, scale) = (unit(dtype), 1.0 / (dim as f64).sqrt());
    for head in 0..heads {
        let head_k = head / (heads / heads_k);
        for row in 0..rows {
            let what = format!("{case:?}, {dtype}, head {head}, row {row}");
            let at = (head * rows + row) * left.pitch;
            let scores = &left.scores[at..at + keys];
            for (key, &got) in scores.iter().enumerate() {
                let of = |x: usize| {
                    left.q[(row * heads + head) * dim + x] * left.k[(key * heads_k + head_k) * dim + x]
                };
                let exact: f64 = scale * (0..dim).map(of).sum::<f64>();
                let size: f64 = scale * (0..dim).map(|x| of(x).abs()).sum::<f64>();
                let is_hidden = mask == Mask::Causal && key + rows > row + keys;
                // Rounded by the product and by the scale, to which sums in f32 come.
                let bound = 2.1 * u * exact.abs() + dim as f64 * 2f64.powi(-24) * size;
                let error = (f64::from(got) - exact).abs();
                let is_good = if is_hidden { got == f32::NEG_INFINITY } else { error <= bound };
                assert!(is_good, "{what}, key {key}: score {got}, {exact} within {bound} wanted");
                assert_eq!(T::round(got).into(), got, "{what}, key {key}: it has passed through {dtype}");
            }
            // Softmax in f32 of the very scores.
            let max = scores.iter().fold(f32::MIN, |max, &x| max.max(x));
            let sum: f64 = scores.iter().map(|&x| f64::from(x - max).exp()).sum();
            for (key, &x) in scores.iter().enumerate() {
                let got = left.probabilities[at + key];
                let exact = if sum == 0.0 { 0.0 } else { f64::from(x - max).exp() / sum };
                let error = (f64::from(got) - exact).abs();
                assert!(error <= 1e-5 * exact + 1e-30, "{what}, key {key}: p {got}, {exact} wanted");
                let narrow: f32 = left.p[at + key].into();
                assert_eq!(narrow, T::round(got).into(), "{what}, key {key}: p in {dtype}");
            }
            for x in 0..dim {
                let of = |key: usize| {
                    let p: f32 = left.p[at + key].into();
                    f64::from(p) * left.v[(key * heads_k + head_k) * dim + x]
                };
                let exact: f64 = (0..keys).map(of).sum();
                let size: f64 = (0..keys).map(|key| of(key).abs()).sum();
                let got = left.o[(row * heads + head) * dim + x];
                let bound = 1.01 * u * exact.abs() + keys as f64 * 2f64.powi(-24) * size + 2f64.powi(-25);
                assert!((got - exact).abs() <= bound, "{what}, o {x}: {got}, {exact} within {bound} wanted");
            }
        }
    }
}

const CASES: [Case; 7] = [
    Case { heads: [1, 1], rows: 1, keys: 1, dim: 16, mask: Mask::None },
    Case { heads: [4, 2], rows: 1, keys: 257, dim: 64, mask: Mask::Causal },
    Case { heads: [2, 1], rows: 40, keys: 70, dim: 32, mask: Mask::Causal },
    // Rows that see no key.
    Case { heads: [2, 2], rows: 70, keys: 40, dim: 32, mask: Mask::Causal },
    Case { heads: [3, 1], rows: 130, keys: 128, dim: 16, mask: Mask::None },
    // Tiles of a part of the rows, and of a part of a row.
    Case { heads: [1, 1], rows: 9, keys: 2100, dim: 16, mask: Mask::Causal },
    Case { heads: [1, 1], rows: 2, keys: 8300, dim: 16, mask: Mask::Causal },
];

#[test]
fn every_pass_rounds_as_it_says() {
    let device = device(|_| ());
    for case in CASES {
        check::<f16>(&device, DType::F16, case);
        check::<bf16>(&device, DType::Bf16, case);
    }
}

#[test]
fn passes_on_the_host() {
    let device = Device::open("cpu").unwrap();
    for case in CASES {
        check::<f16>(&device, DType::F16, case);
        check::<bf16>(&device, DType::Bf16, case);
    }
}

#[test]
fn interleavings_of_passes() {
    for seed in 0..3 {
        check::<f16>(&device(|config| config.seed = Some(seed)), DType::F16, CASES[2 + seed as usize]);
    }
}

#[test]
fn memory_is_that_of_all_tensors_of_the_passes() {
    let device = device(|_| ());
    let problem = Problem::new(DType::F16, [2, 1024, 3, 64]).with_seqlen_k(1000).with_mask(Mask::Causal);
    let passes = plan_in_passes(&problem, device.soc()).unwrap();
    // Scores in f16 and twice in f32, rows of 1008.
    assert_eq!(passes.workspace_bytes(), 2 * 3 * 1024 * 1008 * (2 + 4 + 4));
    assert_eq!(passes.mask_bytes(), plan(&problem, DType::F16, device.soc()).unwrap().mask_bytes());
    let error = plan_in_passes(&problem.with_seqlen_k(24577), device.soc()).unwrap_err().to_string();
    assert!(error.contains("seqlen_k = 24577; supported: 0 to 24576"), "{error}");
}
