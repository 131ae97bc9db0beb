//! Strides around what the fields hold that kernels fill with them (docs/instruction-fields.md): results are
//! right up to each limit, and behind it there is a refusal that names the nearest supported stride. Operands
//! span many GiB, of which only the rows are touched.

use fastattention::attention::{plan, Args, FlashAttention, Mask, Problem};
use fastattention::baseline::{Read, ReadFrom, ReadTo};
use fastattention::matmul::{self, BLayout, Matmul, Strides};
use fastattention::reference::{self, Params, Tensor};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::{DType, Soc};
use fastattention_testkit::compare::{assert_same, check_o, product_error, unit};
use fastrand::Rng;
use half::f16;
use proptest::prelude::*;

use crate::soc_of_devices;

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Around the largest number of each width, in elements, in bytes of elements of 16 bits, and so behind a row
/// of `dim`.
fn around(dim: u64) -> impl Strategy<Value = u64> {
    let edges =
        [1 << 15, 1 << 16, 1 << 30, (1 << 30) + dim, 1 << 31, (1 << 31) + dim, (1 << 32) - 2 * dim, 1 << 32];
    (prop::sample::select(edges.to_vec()), 0..5u64).prop_map(|(edge, i)| edge - 2 + i)
}

/// A tensor `[a, b, c]` of rows of `dim` whose dimension `long` has the stride `stride`; the others lie
/// dense.
#[derive(Clone, Copy, Debug)]
struct Strided {
    extent: [u64; 3],
    dim: u64,
    stride: [u64; 3],
}

impl Strided {
    fn new(extent: [u64; 3], dim: u64, long: usize, stride: u64) -> Strided {
        let mut place = Strided { extent, dim, stride: [stride; 3] };
        let mut inner = dim;
        for i in (0..3).rev().filter(|&i| i != long) {
            place.stride[i] = inner;
            inner *= extent[i];
        }
        place
    }

    /// Bytes from the start of each row, rows in dense order.
    fn rows(&self) -> Vec<usize> {
        let [a, b, c] = self.extent;
        let at = |i: [u64; 3]| (0..3).map(|d| i[d] * self.stride[d]).sum::<u64>() as usize * 2;
        (0..a).flat_map(|i| (0..b).flat_map(move |j| (0..c).map(move |k| at([i, j, k])))).collect()
    }

    /// Dense data of this shape.
    fn tensor<'a, T>(&self, data: &'a [T]) -> Tensor<'a, T> {
        let [rows, heads, dim] = [self.extent[1], self.extent[2], self.dim].map(|x| x as usize);
        Tensor::dense(data, rows, heads, dim)
    }

    fn put(&self, buffer: &Buffer, dense: &[f16]) {
        for (at, row) in self.rows().into_iter().zip(dense.chunks_exact(self.dim as usize)) {
            buffer.copy_from_host_at(at, row).unwrap();
        }
    }

    fn take(&self, buffer: &Buffer) -> Vec<f64> {
        let mut row = vec![f16::ZERO; self.dim as usize];
        let mut all = Vec::new();
        for at in self.rows() {
            buffer.copy_to_host_at(at, &mut row).unwrap();
            all.extend(row.iter().map(|x| x.to_f64()));
        }
        all
    }
}

fn random(rng: &mut Rng, place: &Strided) -> Vec<f16> {
    let len = place.extent.iter().product::<u64>() * place.dim;
    (0..len).map(|_| f16::from_f32(rng.f32() * 2.0 - 1.0)).collect()
}

fn wide(data: &[f16]) -> Vec<f64> {
    data.iter().map(|x| x.to_f64()).collect()
}

/// Buffers that lie around those of a launch, and must stay as they are.
struct Bystanders(Vec<Buffer>);

const BYSTANDER: [u8; 4096] = [0x5a; 4096];

impl Bystanders {
    fn new(device: &Device) -> Self {
        Self((0..4).map(|_| Buffer::from_slice(device, &BYSTANDER).unwrap()).collect())
    }

    fn check(&self) {
        for buffer in &self.0 {
            let mut bytes = [0; 4096];
            buffer.copy_to_host(&mut bytes).unwrap();
            assert_same(&bytes, &BYSTANDER, "a buffer that is no operand");
        }
    }
}

fn alloc(device: &Device, bytes: u64) -> Buffer {
    Buffer::alloc(device, bytes as usize).unwrap()
}

/// Runs attention on tensors that lie as the problem says, and compares with f64.
fn attend(problem: &Problem, seed: u64) {
    let operator = FlashAttention::new(&Device::open("sim").unwrap()).unwrap();
    let device = operator.device();
    let plan = plan(problem, device.soc()).unwrap();
    let s = plan.shape();
    let place = |heads: u32, seqlen: u32, dim: u32, stride| Strided {
        extent: [s.batch, seqlen, heads].map(u64::from),
        dim: u64::from(dim),
        stride,
    };
    let q = place(s.num_heads, s.seqlen_q, s.head_dim, s.q_stride);
    let k = place(s.num_heads_k, s.seqlen_k, s.head_dim, s.k_stride);
    let v = place(s.num_heads_k, s.seqlen_k, s.head_dim_v, s.v_stride);
    let o = place(s.num_heads, s.seqlen_q, s.head_dim_v, s.o_stride);
    let bystanders = Bystanders::new(device);
    let [q_bytes, k_bytes, v_bytes, o_bytes, _] = s.operand_bytes();
    let [q_gm, k_gm, v_gm, o_gm] = [q_bytes, k_bytes, v_bytes, o_bytes].map(|bytes| alloc(device, bytes));
    let workspace = alloc(device, plan.workspace_bytes());
    let mut rng = Rng::with_seed(seed);
    let data = [&q, &k, &v].map(|place| random(&mut rng, place));
    for ((place, buffer), data) in [(&q, &q_gm), (&k, &k_gm), (&v, &v_gm)].into_iter().zip(&data) {
        place.put(buffer, data);
    }
    let stream = Stream::new(device).unwrap();
    let args = Args::new(&q_gm, &k_gm, &v_gm, &o_gm, &workspace);
    operator.launch(&stream, &plan, args).unwrap();
    stream.synchronize().unwrap();
    bystanders.check();
    let size = |x: u32| x as usize;
    let params = Params {
        batch: size(s.batch),
        num_heads: size(s.num_heads),
        num_heads_k: size(s.num_heads_k),
        head_dim: size(s.head_dim),
        head_dim_v: size(s.head_dim_v),
        seqlen_q: size(s.seqlen_q),
        seqlen_k: size(s.seqlen_k),
        softmax_scale: f64::from(s.softmax_scale),
        mask: s.mask,
    };
    let [qf, kf, vf] = [0, 1, 2].map(|i| wide(&data[i]));
    let exact = reference::attention(&params, q.tensor(&qf), k.tensor(&kf), v.tensor(&vf));
    let plain =
        reference::same_precision(&params, q.tensor(&data[0]), k.tensor(&data[1]), v.tensor(&data[2]));
    let shape = [params.batch, params.seqlen_q, params.num_heads, params.head_dim_v];
    check_o(&o.take(&o_gm), &exact.o, &plain.o, unit(DType::F16), shape).unwrap();
}

/// The row stride of o as the issue has it: a gap of 2^31 bytes, and the one before.
#[test]
fn the_gap_between_rows_of_o_ends_before_its_sign() {
    let problem = |stride| {
        let mut problem = Problem::new(DType::F16, [1, 2, 1, 64]).with_seqlen_k(5);
        problem.o_stride = Some([0, stride, 0]);
        problem
    };
    attend(&problem((1 << 30) + 63), 1);
    assert_eq!(
        plan(&problem((1 << 30) + 64), soc()).unwrap_err().to_string(),
        "attention on Ascend910B2: o_stride: row stride = 1073741888 leaves more than 2147483647 bytes between two rows of 64 \
         elements; nearest supported: 1073741887"
    );
    // A single row has no gap behind it.
    let mut one = problem(1 << 40);
    one.seqlen_q = 1;
    attend(&one, 2);
    // Dense rows of many heads.
    let heads = |heads| Problem::new(DType::F16, [1, 2, heads, 256]).with_num_heads_k(1).with_seqlen_k(1);
    assert!(plan(&heads(1 << 22), soc()).is_ok());
    let refused = plan(&heads((1 << 22) + 1), soc()).unwrap_err().to_string();
    assert!(refused.contains("o_stride: row stride = 1073742080 leaves more than"), "{refused}");
    assert!(refused.ends_with("nearest supported: 1073742079"), "{refused}");
}

/// One stride of a tensor, of the first, second or third dimension.
fn long_stride() -> impl Strategy<Value = (usize, u64)> {
    (0..3usize, around(32))
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn attention_with_long_strides(
        longs in prop::array::uniform4(long_stride()),
        [batch, seqlen_q, seqlen_k, num_heads] in prop::array::uniform4(1..=2u32),
        is_causal in any::<bool>(),
        is_narrow in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let base = Problem::new(DType::F16, [batch, seqlen_q, num_heads, 32])
            .with_seqlen_k(seqlen_k)
            .with_mask(if is_causal { Mask::Causal } else { Mask::None })
            .with_score_dtype(if is_narrow { DType::F16 } else { DType::F32 });
        let stride = |(long, stride): (usize, u64), seqlen: u32| {
            Some(Strided::new([batch, seqlen, num_heads].map(u64::from), 32, long, stride).stride)
        };
        let problem = {
            let mut problem = base;
            problem.q_stride = stride(longs[0], seqlen_q);
            problem.k_stride = stride(longs[1], seqlen_k);
            problem.v_stride = stride(longs[2], seqlen_k);
            problem.o_stride = stride(longs[3], seqlen_q);
            problem
        };
        let gap_bytes = 2 * (i64::try_from(longs[3].1).unwrap() - 32);
        let is_supported = longs[3].0 != 1 || seqlen_q == 1 || i32::try_from(gap_bytes).is_ok();
        match plan(&problem, soc_of_devices()) {
            Ok(_) if is_supported => attend(&problem, seed),
            Ok(_) => prop_assert!(false, "a gap of {gap_bytes} bytes is accepted"),
            Err(error) => {
                prop_assert!(!is_supported, "{}", error);
                let nearest = (1u64 << 30) - 1 + 32;
                let text = error.to_string();
                prop_assert!(text.contains(&format!("o_stride: row stride = {}", longs[3].1)), "{}", text);
                prop_assert!(text.ends_with(&format!("nearest supported: {nearest}")), "{}", text);
                let mut nearest_problem = problem;
                nearest_problem.o_stride = stride((1, nearest), seqlen_q);
                attend(&nearest_problem, seed);
            }
        }
    }

    #[test]
    fn products_with_long_strides(
        [a_long, b_long, c_long] in prop::array::uniform3((0..4usize, around(32))),
        batch in prop::array::uniform3(1..=2u32),
        [m, rows] in prop::array::uniform2(1..=2u32),
        cols in 1..=40u32,
        is_nk in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (b_layout, n, k) = if is_nk { (BLayout::Nk, rows, cols) } else { (BLayout::Kn, cols, rows) };
        // Position 3 is the row; the others lie dense around it.
        let strides = |(long, stride): (usize, u64), rows: u32, cols: u32| {
            let mut all = [stride; 4];
            let extent = [batch[0], batch[1], batch[2], rows].map(u64::from);
            let mut inner = u64::from(cols);
            for i in (0..4).rev().filter(|&i| i != long) {
                all[i] = inner;
                inner *= extent[i];
            }
            Some(Strides { batch: [all[0], all[1], all[2]], row: all[3] })
        };
        let b_shape = if is_nk { [n, k] } else { [k, n] };
        let problem = matmul::Problem {
            a_strides: strides(a_long, m, k),
            b_strides: strides(b_long, b_shape[0], b_shape[1]),
            c_strides: strides(c_long, m, n),
            batch,
            ..matmul::Problem::new(DType::F16, [m, n, k]).with_b_layout(b_layout)
        };
        let is_supported = c_long.0 != 3 || m == 1 || u32::try_from(c_long.1).is_ok();
        match matmul::plan(&problem, soc_of_devices()) {
            Ok(_) if is_supported => multiply(&problem, seed),
            Ok(_) => prop_assert!(false, "a row stride of {} is accepted", c_long.1),
            Err(error) => {
                prop_assert!(!is_supported, "{}", error);
                prop_assert!(error.to_string().ends_with("nearest supported: 4294967295"), "{}", error);
                multiply(&matmul::Problem { c_strides: strides((3, (1 << 32) - 1), m, n), ..problem }, seed);
            }
        }
    }

    #[test]
    fn reads_with_long_pitches(
        pitch in around(24),
        shape in prop::array::uniform2(1..=60u32),
        tile in prop::array::uniform2(1..=60u32),
        slice_cols in 1..=60u32,
        is_l1 in any::<bool>(),
    ) {
        let shape = [1 + shape[0] % 3, shape[1]];
        let from = ReadFrom { pitch, slice_cols, ..ReadFrom::new(shape, tile, 2) };
        let to = if is_l1 { ReadTo::L1 } else { ReadTo::Ub };
        // Columns of every copy, counted as the kernel does.
        let widths = (0..shape[1]).step_by(slice_cols as usize).flat_map(|slice| {
            let end = shape[1].min(slice + slice_cols);
            (slice..end).step_by(tile[1] as usize).map(move |col| tile[1].min(end - col))
        });
        let narrowest = u64::from(widths.min().unwrap());
        let is_supported = is_l1 || tile[0].min(shape[0]) == 1 || i32::try_from(2 * (pitch - narrowest)).is_ok();
        match from.tiling_data(to, soc_of_devices()) {
            Ok(_) if is_supported => read(&from, to),
            Ok(_) => prop_assert!(false, "{from:?} is accepted"),
            Err(error) => {
                prop_assert!(!is_supported, "{}", error);
                let nearest = (1 << 30) - 1 + narrowest;
                prop_assert!(error.to_string().ends_with(&format!("nearest supported: {nearest}")), "{}", error);
                read(&ReadFrom { pitch: nearest, ..from }, to);
            }
        }
    }
}

/// Runs a product of f16 and compares it with sums of products in f64.
fn multiply(p: &matmul::Problem, seed: u64) {
    let operator = Matmul::new(&Device::open("sim").unwrap()).unwrap();
    let device = operator.device();
    let plan = matmul::plan(p, device.soc()).unwrap();
    let bystanders = Bystanders::new(device);
    let [a_gm, b_gm, c_gm] = p.operand_bytes().map(|bytes| alloc(device, bytes));
    let mut rng = Rng::with_seed(seed);
    let batches = || {
        let [x, y, z] = p.batch.map(u64::from);
        (0..x).flat_map(move |i| (0..y).flat_map(move |j| (0..z).map(move |k| [i, j, k])))
    };
    // Of a batch, the matrix as it lies.
    let place = |batch: [u64; 3], s: Strides, rows: u32, cols: u32| {
        let first = (0..3).map(|i| batch[i] * s.batch[i]).sum::<u64>();
        (0..u64::from(rows))
            .map(|row| (2 * (first + row * s.row)) as usize)
            .map(move |at| (at, cols as usize))
            .collect::<Vec<_>>()
    };
    let (n, k) = (p.n, p.k);
    let [b_rows, b_cols] = if p.b_layout == BLayout::Nk { [n, k] } else { [k, n] };
    let mut fill = |buffer: &Buffer, rows: &[(usize, usize)]| {
        rows.iter()
            .map(|&(at, cols)| {
                let row: Vec<f16> = (0..cols).map(|_| f16::from_f32(rng.f32() * 2.0 - 1.0)).collect();
                buffer.copy_from_host_at(at, &row).unwrap();
                wide(&row)
            })
            .collect::<Vec<_>>()
    };
    let operands: Vec<_> = batches()
        .map(|batch| {
            let a = fill(&a_gm, &place(batch, p.a_strides.unwrap(), p.m, k));
            (batch, a, fill(&b_gm, &place(batch, p.b_strides.unwrap(), b_rows, b_cols)))
        })
        .collect();
    let stream = Stream::new(device).unwrap();
    let args = matmul::Args::new(&a_gm, &b_gm, &c_gm);
    operator.launch(&stream, &plan, args).unwrap();
    stream.synchronize().unwrap();
    bystanders.check();
    for (batch, a, b) in operands {
        for (i, (at, cols)) in place(batch, p.c_strides.unwrap(), p.m, n).into_iter().enumerate() {
            let mut row = vec![f16::ZERO; cols];
            c_gm.copy_to_host_at(at, &mut row).unwrap();
            for (j, got) in row.into_iter().enumerate() {
                let b_at = |l: usize| if p.b_layout == BLayout::Nk { b[j][l] } else { b[l][j] };
                let want: f64 = (0..k as usize).map(|l| a[i][l] * b_at(l)).sum();
                let tolerance = product_error(DType::F16, k, want, 1.0);
                let got = got.to_f64();
                assert!(
                    (got - want).abs() <= tolerance,
                    "C[{batch:?}, {i}, {j}] = {got}, {want} wanted: {p:?}"
                );
            }
        }
    }
}

/// Runs reads. They leave no result; the machine finds what lies outside of the operand.
fn read(from: &ReadFrom, to: ReadTo) {
    let device = Device::open("sim").unwrap();
    let (operator, stream) = (Read::new(&device).unwrap(), Stream::new(&device).unwrap());
    let src = alloc(&device, from.span_bytes());
    operator.launch(&stream, from, to, (&src).into()).unwrap();
    stream.synchronize().unwrap();
}
