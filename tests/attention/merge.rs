//! Merging of partial results: every type, layout and number of parts against f64, rows without keys, and
//! attention that is computed in parts.

use fastattention::attention::{self, FlashAttention};
use fastattention::merge::{plan, Args, Merge, Operand, Plan, Problem, Source};
use fastattention::reference::{merge, merge_same_precision, Element, Part, Tensor};
use fastattention::runtime::{Buffer, CaptureMode, Device, Stream};
use fastattention::spec::Mask;
use fastattention::{reference, sim, DType, ErrorKind, Soc};
use fastattention_testkit::compare::{assert_same, check_lse, check_o, unit};
use fastattention_testkit::data;
use fastattention_testkit::device::device;
use fastrand::Rng;
use half::{bf16, f16};

/// The elements of a type, as tests write and read them.
trait Bytes: Element + bytemuck::Pod {}
impl Bytes for f16 {}
impl Bytes for bf16 {}
impl Bytes for f32 {}

/// Parts on the host: for each source its o and lse, with their strides (part, batch, row, head).
struct Host<T> {
    sources: Vec<(Vec<T>, Vec<f32>)>,
    strides: Vec<[[u64; 4]; 2]>,
}

/// Strides of parts, by name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// o `[parts, batch, seqlen, heads, dim]`, lse `[parts, batch, heads, seqlen]`.
    Dense,
    /// o and lse with heads before rows.
    HeadsFirst,
    /// lse with rows before heads.
    TokenLse,
    /// Rows and parts apart, lse of all sequences one after the other.
    Gaps,
}

fn strides(layout: Layout, [batch, seqlen, heads, dim]: [u64; 4]) -> [[u64; 4]; 2] {
    match layout {
        Layout::Dense => [
            [batch * seqlen * heads * dim, seqlen * heads * dim, heads * dim, dim],
            [batch * heads * seqlen, heads * seqlen, 1, seqlen],
        ],
        Layout::HeadsFirst => [
            [batch * seqlen * heads * dim, seqlen * heads * dim, dim, seqlen * dim],
            [batch * heads * seqlen, heads * seqlen, 1, seqlen],
        ],
        Layout::TokenLse => [
            [batch * seqlen * heads * dim, seqlen * heads * dim, heads * dim, dim],
            [batch * seqlen * heads, seqlen * heads, heads, 1],
        ],
        Layout::Gaps => {
            let (row, rows) = (heads * (dim + 3) + 5, batch * seqlen);
            [[batch * seqlen * row + 16, seqlen * row, row, dim + 3], [heads * rows + 7, seqlen, 1, rows]]
        }
    }
}

/// Elements from the first to one past the last.
fn len(extents: [u64; 4], stride: [u64; 4], dim: u64) -> usize {
    let steps: u64 = extents.iter().zip(stride).map(|(extent, stride)| (extent - 1) * stride).sum();
    (steps + dim) as usize
}

fn host<T: Bytes>(sources: &[(u32, Layout)], shape: [u32; 4], seed: u64) -> Host<T> {
    let mut rng = Rng::with_seed(seed);
    let [batch, seqlen, heads, dim] = shape.map(u64::from);
    let (mut data, mut all_strides) = (Vec::new(), Vec::new());
    for &(parts, layout) in sources {
        let own = strides(layout, [batch, seqlen, heads, dim]);
        let extents = [parts.into(), batch, seqlen, heads];
        let o = (0..len(extents, own[0], dim)).map(|_| T::round(data::normal(&mut rng))).collect();
        // Of different sizes; a tenth has no keys.
        let lse =
            |rng: &mut Rng| if rng.u32(..10) == 0 { f32::NEG_INFINITY } else { 6.0 * data::normal(rng) };
        let lse = (0..len(extents, own[1], 1)).map(|_| lse(&mut rng)).collect();
        data.push((o, lse));
        all_strides.push(own);
    }
    Host { sources: data, strides: all_strides }
}

impl<T: Bytes> Host<T> {
    /// As the references take them.
    fn parts(&self, sources: &[(u32, Layout)]) -> Vec<Part<'_, T>> {
        let mut parts = Vec::new();
        for (((o, lse), [of_o, of_lse]), (count, _)) in self.sources.iter().zip(&self.strides).zip(sources) {
            for part in 0..*count as usize {
                let own = |stride: &[u64; 4]| [stride[1], stride[2], stride[3]].map(|s| s as usize);
                parts.push(Part {
                    o: Tensor { data: &o[part * of_o[0] as usize..], stride: own(of_o) },
                    lse: Tensor { data: &lse[part * of_lse[0] as usize..], stride: own(of_lse) },
                });
            }
        }
        parts
    }
}

fn params([batch, seqlen, heads, dim]: [u32; 4]) -> reference::Params {
    reference::Params {
        batch: batch as usize,
        num_heads: heads as usize,
        num_heads_k: heads as usize,
        head_dim: dim as usize,
        head_dim_v: dim as usize,
        seqlen_q: seqlen as usize,
        seqlen_k: 1,
        softmax_scale: 1.0,
        mask: Mask::None,
    }
}

/// A device with the operator.
struct Joiner {
    merge: Merge,
    stream: Stream,
}

impl Joiner {
    fn new(configure: impl Fn(&mut sim::Config)) -> Self {
        let device = device(configure);
        Self { stream: Stream::new(&device).unwrap(), merge: Merge::new(&device).unwrap() }
    }

    fn device(&self) -> &Device {
        self.merge.device()
    }

    /// o and lse, dense, of a merge of sources on the host.
    fn run<T: Bytes, O: Bytes>(&self, plan: &Plan, host: &Host<T>) -> (Vec<O>, Vec<f32>) {
        let upload = |(o, lse): &(Vec<T>, Vec<f32>)| {
            (Buffer::from_slice(self.device(), o).unwrap(), Buffer::from_slice(self.device(), lse).unwrap())
        };
        let buffers: Vec<(Buffer, Buffer)> = host.sources.iter().map(upload).collect();
        let o_parts: Vec<Operand<'_>> = buffers.iter().map(|(o, _)| o.into()).collect();
        let lse_parts: Vec<Operand<'_>> = buffers.iter().map(|(_, lse)| lse.into()).collect();
        let [o, lse] =
            plan.problem().operand_bytes().map(|b| Buffer::alloc(self.device(), b as usize).unwrap());
        self.merge.launch(&self.stream, plan, Args::new(&o_parts, &lse_parts, &o, &lse)).unwrap();
        self.stream.synchronize().unwrap();
        (o.to_vec().unwrap(), lse.to_vec().unwrap())
    }

    /// Merges and compares with f64.
    fn check<T: Bytes, O: Bytes>(&self, sources: &[(u32, Layout)], shape: [u32; 4], types: [DType; 2]) {
        let what = format!("{sources:?} {shape:?} {types:?}");
        let host = host::<T>(sources, shape, 7);
        let own = sources
            .iter()
            .zip(&host.strides)
            .map(|((parts, _), [o, lse])| Source::new(*parts).with_o_stride(*o).with_lse_stride(*lse));
        let problem =
            Problem::new(types[0], 1, shape).with_dtype_out(types[1]).with_sources(own.collect::<Vec<_>>());
        // One axis along which every lse is dense: that of the parts.
        let layout = if sources[0].1 == Layout::TokenLse { Layout::TokenLse } else { Layout::Dense };
        let of_out = strides(layout, shape.map(u64::from)).map(|[_, batch, row, head]| [batch, row, head]);
        let problem = problem.with_strides(of_out[0], of_out[1]);
        let plan = plan(&problem, self.device().soc()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let (o, lse) = self.run::<T, O>(&plan, &host);
        let (params, parts) = (params(shape), host.parts(sources));
        let (exact, plain) = (merge(&params, &parts), merge_same_precision(&params, &parts));
        let [batch, seqlen, heads, dim] = shape.map(|n| n as usize);
        let got: Vec<f64> = o.into_iter().map(|x| f64::from(x.into())).collect();
        check_o(&got, &exact.o, &plain.o, unit(types[1]), [batch, seqlen, heads, dim])
            .unwrap_or_else(|e| panic!("{what}: {e}\n{plan}"));
        let place = |[b, h, i]: [usize; 3]| {
            [b, i, h].into_iter().zip(of_out[1]).map(|(at, stride)| at * stride as usize).sum::<usize>()
        };
        let rows = (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..seqlen).map(move |i| [b, h, i])));
        let got: Vec<f64> = rows.map(|row| f64::from(lse[place(row)])).collect();
        check_lse(&got, &exact.lse, &vec![0.0; got.len()], [batch, heads, seqlen, 1])
            .unwrap_or_else(|e| panic!("{what}: {e}\n{plan}"));
    }
}

const F16: [DType; 2] = [DType::F16; 2];

#[test]
fn every_layout_and_number_of_parts_is_within_twice_the_error_of_a_plain_merge() {
    use Layout::{Dense, Gaps, HeadsFirst, TokenLse};
    let joiner = Joiner::new(|_| ());
    for (sources, shape) in [
        // One row; tails of tiles; several tiles of a core; wide and narrow rows; one and many parts.
        (&[(1, Dense)][..], [1, 1, 1, 16]),
        (&[(2, Dense)], [2, 37, 3, 64]),
        (&[(3, HeadsFirst)], [1, 300, 5, 128]),
        (&[(2, TokenLse)], [2, 19, 5, 48]),
        (&[(2, Gaps), (1, Gaps)], [2, 40, 3, 80]),
        (&[(1, Dense), (3, HeadsFirst), (1, Gaps), (1, Dense)], [1, 65, 2, 256]),
        (&[(5, Dense)], [7, 1, 9, 512]),
        // A decode step beside a prefix of all sequences, whose lse lies the other way.
        (&[(1, Gaps), (1, Dense)], [6, 1, 4, 64]),
        (&[(300, Dense)], [1, 3, 4, 32]),
        (&[(768, Dense)], [1, 1, 2, 16]),
    ] {
        joiner.check::<f16, f16>(sources, shape, F16);
    }
}

#[test]
fn every_type_is_within_twice_the_error_of_a_plain_merge() {
    let joiner = Joiner::new(|_| ());
    let (sources, shape) = (&[(3, Layout::Dense), (1, Layout::HeadsFirst)][..], [2, 70, 3, 64]);
    joiner.check::<bf16, bf16>(sources, shape, [DType::Bf16; 2]);
    joiner.check::<f32, f32>(sources, shape, [DType::F32; 2]);
    joiner.check::<f32, f16>(sources, shape, [DType::F32, DType::F16]);
    joiner.check::<f32, bf16>(sources, shape, [DType::F32, DType::Bf16]);
}

#[test]
fn results_are_the_same_bits_in_every_interleaving() {
    let (sources, shape) = ([(3, Layout::Dense), (2, Layout::Dense)], [1, 200, 4, 64]);
    let host = host::<f16>(&sources, shape, 3);
    let result = |seed| {
        let joiner = Joiner::new(|config| config.seed = seed);
        let problem =
            Problem::new(DType::F16, 1, shape).with_sources(sources.map(|(parts, _)| Source::new(parts)));
        joiner.run::<f16, f16>(&plan(&problem, joiner.device().soc()).unwrap(), &host)
    };
    let (o, lse) = result(None);
    for seed in [1, 2] {
        let (other, other_lse) = result(Some(seed));
        assert_same(&other, &o, "o");
        assert_same(&other_lse, &lse, "lse");
    }
}

#[test]
fn rows_without_keys_and_infinite_weights_are_as_documented() {
    let joiner = Joiner::new(|_| ());
    let (none, some) = (f32::NEG_INFINITY, 1.5f32);
    // Rows: no part, one, the other, huge and tiny, NaN, +inf.
    let first = [none, some, none, 3e38, f32::NAN, f32::INFINITY];
    let second = [none, none, some, -3e38, 0.0, 0.0];
    let o: Vec<f32> = (0..2 * 6 * 16).map(|i| if i < 6 * 16 { 2.0 } else { 4.0 }).collect();
    let host = Host { sources: vec![(o, [first, second].concat())], strides: Vec::new() };
    let plan = plan(&Problem::new(DType::F32, 2, [1, 6, 1, 16]), joiner.device().soc()).unwrap();
    let (o, lse) = joiner.run::<f32, f32>(&plan, &host);
    let rows: Vec<f32> = o.chunks(16).map(|row| row[0]).collect();
    assert_eq!(rows[..4], [0.0, 2.0, 4.0, 2.0]);
    assert_eq!(lse[..4], [none, some, some, 3e38]);
    assert!(rows[4..].iter().chain(&lse[4..]).all(|x| x.is_nan()), "{rows:?} {lse:?}");
}

/// Keys in two halves, each with its own launch: the merge is attention on all of them.
#[test]
fn attention_in_parts_is_attention() {
    let joiner = Joiner::new(|_| ());
    let (device, stream) = (joiner.device(), &joiner.stream);
    let (heads, dim, rows, keys) = (2usize, 64usize, 50usize, [70usize, 90]);
    let mut rng = Rng::with_seed(11);
    let mut normal =
        |len: usize| -> Vec<f16> { (0..len).map(|_| f16::from_f32(data::normal(&mut rng))).collect() };
    let (q, k, v) = (normal(rows * heads * dim), normal(160 * heads * dim), normal(160 * heads * dim));
    let operator = FlashAttention::new(device).unwrap();
    let o_parts = Buffer::alloc(device, 2 * q.len() * 2).unwrap();
    let lse_parts = Buffer::alloc(device, 2 * rows * heads * 4).unwrap();
    let [q_gm, k_gm, v_gm] = [&q, &k, &v].map(|data| Buffer::from_slice(device, data).unwrap());
    let mut first_key = 0;
    for (part, count) in keys.into_iter().enumerate() {
        let problem = attention::Problem::new(DType::F16, [1, rows as u32, heads as u32, dim as u32]);
        let plan = attention::plan(&problem.with_seqlen_k(count as u32).with_lse(), device.soc()).unwrap();
        let workspace = Buffer::alloc(device, plan.workspace_bytes() as usize).unwrap();
        let from = |buffer, offset_bytes| Operand::at(buffer, offset_bytes);
        let at = first_key * heads * dim * 2;
        let args = attention::Args::new(
            &q_gm,
            from(&k_gm, at),
            from(&v_gm, at),
            from(&o_parts, part * q.len() * 2),
            &workspace,
        );
        let args = args.with_lse(from(&lse_parts, part * rows * heads * 4));
        operator.launch(stream, &plan, args).unwrap();
        stream.synchronize().unwrap();
        first_key += count;
    }
    let plan =
        plan(&Problem::new(DType::F16, 2, [1, rows as u32, heads as u32, dim as u32]), device.soc()).unwrap();
    let (o, lse) =
        (Buffer::alloc(device, q.len() * 2).unwrap(), Buffer::alloc(device, rows * heads * 4).unwrap());
    joiner
        .merge
        .launch(stream, &plan, Args::new(&[(&o_parts).into()], &[(&lse_parts).into()], &o, &lse))
        .unwrap();
    stream.synchronize().unwrap();

    let params = reference::Params {
        seqlen_k: 160,
        softmax_scale: 0.125,
        ..params([1, rows as u32, heads as u32, dim as u32])
    };
    let tensors = || {
        let of = |data, rows| Tensor::dense(data, rows, heads, dim);
        (of(&q[..], rows), of(&k[..], 160), of(&v[..], 160))
    };
    let ((q, k, v), (q2, k2, v2)) = (tensors(), tensors());
    let (exact, plain) =
        (reference::attention(&params, q, k, v), reference::same_precision(&params, q2, k2, v2));
    let got: Vec<f64> = o.to_vec::<f16>().unwrap().into_iter().map(f64::from).collect();
    check_o(&got, &exact.o, &plain.o, unit(DType::F16), [1, rows, heads, dim]).unwrap();
    for (got, want) in lse.to_vec::<f32>().unwrap().into_iter().zip(&exact.lse) {
        assert!((f64::from(got) - want).abs() < 1e-4, "{got} {want}");
    }
}

#[test]
fn merges_that_cannot_be_done_are_refused_with_all_reasons() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let refused = |problem: &Problem| plan(problem, soc).unwrap_err();
    let good = Problem::new(DType::F16, 2, [1, 5, 2, 64]);
    let error = refused(&Problem::new(DType::F16, 0, [1, 5, 2, 20]).with_dtype_out(DType::F32));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        error.to_string(),
        "merge on Ascend910B2: dtype = f16 with dtype_out = f32 has no kernel; supported: the same type, or f16 or bf16 \
         out of f32; sources of [0] parts; at least one, each of at least one part, wanted; head_dim = 20 is not a \
         multiple of 16 from 16 to 512"
    );
    for (problem, wanted) in [
        (Problem::new(DType::F16, 769, [1, 1, 1, 16]), "769 parts, at most 768 in one merge; merge in steps"),
        (good.clone().with_sources([Source::new(1); 5]), "5 sources, at most 4 in one merge; merge in steps"),
        (good.clone().with_sources([]), "sources of [] parts; at least one"),
        (Problem::new(DType::F16, u32::MAX, [u32::MAX; 4]), "batch = 4294967295 is more than 2147483647"),
        (Problem::new(DType::F16, 2, [1 << 20, 1 << 14, 1, 16]), "operands take"),
        (
            good.clone().with_sources([Source::new(2).with_o_stride([63, 640, 128, 64])]),
            "o_parts_stride: part stride = 63 is less than the 64 elements of a row; wanted at least 64",
        ),
        (
            good.clone().with_sources([Source::new(2).with_lse_stride([0, 10, 1, 5])]),
            "lse_parts_stride: part stride = 0 is less than the 1 elements of a row",
        ),
        (good.clone().with_strides([640, 64, 64], [10, 1, 5]), "rows overlap"),
        (
            Problem::new(DType::F16, 2, [3, 5, 2, 64]).with_strides([640, 128, 64], [10, 2, 1]),
            "no dimension has stride 1 in all of them",
        ),
        (good.clone().with_strides([640, (1 << 40) + 64, 64], [10, 1, 5]), "between two rows of 64 elements"),
    ] {
        let text = refused(&problem).to_string();
        assert!(text.contains(wanted), "{problem:?}: {text}");
    }
    let empty = plan(&Problem::new(DType::F16, 2, [3, 0, 2, 64]), soc).unwrap();
    assert_eq!((empty.num_cores(), empty.tiling_data(&[])), (0, None));
}

#[test]
fn wrong_operands_are_refused_and_no_rows_launch_nothing() {
    let joiner = Joiner::new(|_| ());
    let device = joiner.device();
    let own = plan(&Problem::new(DType::F16, 2, [1, 5, 2, 64]), device.soc()).unwrap();
    let [parts, o, lse, small] =
        [2560, 1280, 80, 16].map(|bytes| Buffer::from_slice(device, &vec![0u8; bytes]).unwrap());
    let launch = |o_parts: &[Operand<'_>], lse_parts: &[Operand<'_>], o: &Buffer, lse: &Buffer| {
        joiner
            .merge
            .launch(&joiner.stream, &own, Args::new(o_parts, lse_parts, o, lse))
            .unwrap_err()
            .to_string()
    };
    let at = |buffer, offset_bytes| Operand::at(buffer, offset_bytes);
    assert_eq!(
        launch(&[], &[at(&lse, 0)], &o, &lse),
        "merge launch: 0 o_parts given, the plan has 1 sources"
    );
    let text = launch(&[at(&small, 0)], &[at(&small, 2)], &o, &small);
    for part in
        ["o_parts has 16 bytes, the plan needs 2560", "lse_parts starts at byte 2", "lse has 16 bytes"]
    {
        assert!(text.contains(part), "{text}");
    }
    let text = launch(&[at(&parts, 0)], &[at(&lse, 0)], &parts, &lse);
    assert!(
        text.contains("o_parts") && text.contains("lse_parts"),
        "what is written lies on nothing: {text}"
    );
    let empty = plan(&Problem::new(DType::F16, 2, [0, 5, 2, 64]), device.soc()).unwrap();
    let args = [at(&small, 0)];
    joiner.merge.launch(&joiner.stream, &empty, Args::new(&args, &args, &o, &lse)).unwrap();
}

/// A captured launch runs when its sources are long dropped.
#[test]
fn a_launch_keeps_its_sources() {
    let joiner = Joiner::new(|_| ());
    let device = joiner.device();
    let plan = plan(&Problem::new(DType::F32, 2, [1, 1, 1, 16]), device.soc()).unwrap();
    let [o, lse] = [64, 4].map(|bytes| Buffer::alloc(device, bytes).unwrap());
    let capture = joiner.stream.begin_capture(CaptureMode::Relaxed).unwrap();
    {
        let o_parts = Buffer::from_slice(device, &[[1.0f32; 16], [5.0; 16]].concat()).unwrap();
        let lse_parts = Buffer::from_slice(device, &[0.0f32; 2]).unwrap();
        let args = ([(&o_parts).into()], [(&lse_parts).into()]);
        joiner.merge.launch(&joiner.stream, &plan, Args::new(&args.0, &args.1, &o, &lse)).unwrap();
    }
    let graph = capture.end().unwrap();
    graph.launch(&joiner.stream).unwrap();
    joiner.stream.synchronize().unwrap();
    assert_eq!(o.to_vec::<f32>().unwrap(), [3.0; 16]);
}

#[test]
fn sources_of_another_device_are_refused() {
    let (joiner, other) = (Joiner::new(|_| ()), Joiner::new(|_| ()));
    let plan = plan(&Problem::new(DType::F32, 1, [1, 1, 1, 16]), joiner.device().soc()).unwrap();
    let [o, lse] = [64, 4].map(|bytes| Buffer::alloc(joiner.device(), bytes).unwrap());
    let [own_o, own_lse] =
        [[0.0f32; 16].as_slice(), &[0.0]].map(|data| Buffer::from_slice(joiner.device(), data).unwrap());
    let [their_o, their_lse] =
        [[0.0f32; 16].as_slice(), &[0.0]].map(|data| Buffer::from_slice(other.device(), data).unwrap());
    for (o_parts, lse_parts) in [(&their_o, &own_lse), (&own_o, &their_lse)] {
        let args = ([o_parts.into()], [lse_parts.into()]);
        let launched = joiner.merge.launch(&joiner.stream, &plan, Args::new(&args.0, &args.1, &o, &lse));
        let error = launched.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("another opened device"), "{error}");
    }
}
