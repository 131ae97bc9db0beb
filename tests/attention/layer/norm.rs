//! `RMSNorm` and `LayerNorm` against f64: every length of a model, types, strides, places.

use fastattention::layer::norm::{plan, Args, Kind, Norm, Plan, Problem};
use fastattention::layer::Operand;
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::{sim, DType, ErrorKind, Soc};
use fastattention_testkit::compare::{assert_same, check_o, unit};
use fastattention_testkit::device::device;
use fastrand::Rng;
use half::{bf16, f16};

use super::{rounded, upload, with, Bytes, Rows};

const EPS: f32 = 1e-5;

/// Where results go.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Memory of their own.
    Own,
    /// y over x, h over r.
    Same,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    problem: Problem,
    place: Place,
    /// Elements between the end of a row and the start of the next: of x and y, of r and h.
    gaps: [usize; 4],
    mean: f32,
}

fn case(problem: Problem) -> Case {
    Case { problem, place: Place::Own, gaps: [0; 4], mean: 0.0 }
}

impl Case {
    fn in_place(self) -> Self {
        Self { place: Place::Same, ..self }
    }

    fn gaps(self, gaps: [usize; 4]) -> Self {
        let stride = |gap: usize| u64::from(self.problem.dim) + gap as u64;
        let mut problem = self.problem.with_strides(stride(gaps[0]), stride(gaps[1]));
        if problem.has_residual {
            problem = problem.with_residual_strides(stride(gaps[2]), stride(gaps[3]));
        }
        Self { problem, gaps, ..self }
    }

    fn mean(self, mean: f32) -> Self {
        Self { mean, ..self }
    }

    fn rows(&self) -> [Rows; 4] {
        self.gaps.map(|gap| Rows::new([self.problem.rows, self.problem.dim], gap))
    }
}

/// Operands of a case on the host.
struct Host<T, W, R> {
    x: Vec<T>,
    r: Vec<R>,
    weight: Vec<W>,
    bias: Vec<W>,
}

impl<T: Bytes, W: Bytes, R: Bytes> Host<T, W, R> {
    fn new(case: &Case) -> Self {
        let mut rng = Rng::with_seed(5);
        let [x, _, r, _] = case.rows();
        let columns = Rows::new([1, case.problem.dim], 0);
        Self {
            x: x.normal(&mut rng, case.mean),
            r: r.normal(&mut rng, 0.0),
            weight: columns.normal(&mut rng, 1.0),
            bias: columns.normal(&mut rng, 0.0),
        }
    }
}

/// h and y of every row, computed in f64.
fn exact<T: Bytes, W: Bytes, R: Bytes>(case: &Case, host: &Host<T, W, R>) -> [Vec<f64>; 2] {
    let p = &case.problem;
    let [x, _, r, _] = case.rows();
    let mut h = x.dense(&host.x);
    if p.has_residual {
        h.iter_mut().zip(r.dense(&host.r)).for_each(|(h, r)| *h += r);
    }
    let dim = p.dim as usize;
    let mut y = h.clone();
    for row in y.chunks_mut(dim) {
        let mean = if p.kind == Kind::Layer { row.iter().sum::<f64>() / dim as f64 } else { 0.0 };
        row.iter_mut().for_each(|x| *x -= mean);
        let square = row.iter().map(|x| x * x).sum::<f64>() / dim as f64;
        let scale = 1.0 / (square + f64::from(p.eps)).sqrt();
        for (i, x) in row.iter_mut().enumerate() {
            let bias = if p.has_bias { super::wide(host.bias[i]) } else { 0.0 };
            *x = *x * scale * super::wide(host.weight[i]) + bias;
        }
    }
    [h, y]
}

/// As a framework computes them: each step is rounded to the type of its result, with sums in f32.
fn plain<T: Bytes, W: Bytes, R: Bytes>(case: &Case, host: &Host<T, W, R>) -> [Vec<f64>; 2] {
    let p = &case.problem;
    let [x, _, r, _] = case.rows();
    let mut h: Vec<f32> = x.dense(&host.x).iter().map(|x| *x as f32).collect();
    if p.has_residual {
        h.iter_mut().zip(r.dense(&host.r)).for_each(|(h, r)| *h = rounded::<R>(*h + r as f32));
    }
    let dim = p.dim as usize;
    let mut y = h.clone();
    for row in y.chunks_mut(dim) {
        let mean = if p.kind == Kind::Layer { row.iter().sum::<f32>() / dim as f32 } else { 0.0 };
        row.iter_mut().for_each(|x| *x -= mean);
        let square = row.iter().map(|x| x * x).sum::<f32>() / dim as f32;
        let scale = 1.0 / (square + p.eps).sqrt();
        for (i, x) in row.iter_mut().enumerate() {
            let bias = if p.has_bias { host.bias[i].into() } else { 0.0 };
            let weight: f32 = host.weight[i].into();
            *x = rounded::<T>(rounded::<T>(rounded::<T>(*x * scale) * weight) + bias);
        }
    }
    [h, y].map(|all| all.into_iter().map(f64::from).collect())
}

/// A device with the operator.
struct Runner {
    norm: Norm,
    stream: Stream,
}

impl Runner {
    fn new(configure: impl Fn(&mut sim::Config)) -> Self {
        let device = device(configure);
        Self { stream: Stream::new(&device).unwrap(), norm: Norm::new(&device).unwrap() }
    }

    fn device(&self) -> &Device {
        self.norm.device()
    }

    /// h and y as they lie, with their gaps; h is empty without a residual.
    fn run<T: Bytes, W: Bytes, R: Bytes>(
        &self,
        case: &Case,
        plan: &Plan,
        host: &Host<T, W, R>,
    ) -> (Vec<R>, Vec<T>) {
        let device = self.device();
        let [_, y_rows, _, h_rows] = case.rows();
        let (x, r) = (upload(device, &host.x), upload(device, &host.r));
        let (weight, bias) = (upload(device, &host.weight), upload(device, &host.bias));
        let (y_own, h_own) = (vec![T::round(7.0); y_rows.len()], vec![R::round(7.0); h_rows.len()]);
        let (y, h) = (upload(device, &y_own), upload(device, &h_own));
        let is_own = case.place == Place::Own;
        let mut args = if is_own { Args::new(&x, &weight, &y) } else { Args::in_place(&x, &weight) };
        if case.problem.has_residual {
            args = if is_own { args.with_residual(&r, &h) } else { args.with_residual_in_place(&r) };
        }
        if case.problem.has_bias {
            args = args.with_bias(&bias);
        }
        self.norm.launch(&self.stream, plan, args).unwrap();
        self.stream.synchronize().unwrap();
        let [y_at, h_at] = if is_own { [&y, &h] } else { [&x, &r] };
        let (y_before, h_before) = if is_own { (&y_own, &h_own) } else { (&host.x, &host.r) };
        let (y, h): (Vec<T>, Vec<R>) = (y_at.to_vec().unwrap(), h_at.to_vec().unwrap());
        y_rows.check_gaps(&y, y_before);
        h_rows.check_gaps(&h, h_before);
        (if case.problem.has_residual { h } else { Vec::new() }, y)
    }

    fn check<T: Bytes, W: Bytes, R: Bytes>(&self, case: &Case) {
        let host = Host::<T, W, R>::new(case);
        let plan = plan(&case.problem, self.device().soc()).unwrap_or_else(|e| panic!("{case:?}: {e}"));
        let (h, y) = self.run(case, &plan, &host);
        let ([exact_h, exact_y], [plain_h, plain_y]) = (exact(case, &host), plain(case, &host));
        let [_, y_rows, _, h_rows] = case.rows();
        let shape = [1, 1, case.problem.rows as usize, case.problem.dim as usize];
        let [y_unit, h_unit] = [case.problem.dtype, case.problem.residual_dtype].map(unit);
        check_o(&y_rows.dense(&y), &exact_y, &plain_y, y_unit, shape)
            .unwrap_or_else(|e| panic!("y, {plan}: {e}"));
        if case.problem.has_residual {
            let got = h_rows.dense(&h);
            check_o(&got, &exact_h, &plain_h, h_unit, shape).unwrap_or_else(|e| panic!("h, {plan}: {e}"));
        }
    }
}

fn rms(dtype: DType, rows: u32, dim: u32) -> Problem {
    Problem::rms(dtype, [rows, dim], EPS)
}

/// Lengths of the rows of models, those with several chunks among them, and lengths that no vector divides.
#[test]
fn every_length_is_within_twice_the_error_of_a_plain_norm() {
    let runner = Runner::new(|_| ());
    for (rows, dim) in [
        (1, 1),
        (3, 7),
        (100, 64),
        (700, 65),
        (50, 576),
        (49, 768),
        (97, 896),
        (60, 1000),
        (100, 1984),
        (2, 2049),
        (50, 4096),
        (2, 5120),
        (1, 8192),
        (1, 11_008),
        (1, 14_336),
        (1, 18_944),
    ] {
        runner.check::<f16, f16, f16>(&case(rms(DType::F16, rows, dim).with_residual()));
    }
}

#[test]
fn every_kind_and_type_is_within_twice_the_error_of_a_plain_norm() {
    let runner = Runner::new(|_| ());
    // Several slices of a core and tails; several chunks.
    for (rows, dim) in [(330, 200), (2, 4200)] {
        for base in [Problem::rms, Problem::layer] {
            let of = |dtype| case(base(dtype, [rows, dim], EPS)).mean(3.0);
            let with = |case: Case, change: &dyn Fn(Problem) -> Problem| Case {
                problem: change(case.problem),
                ..case
            };
            runner.check::<f16, f16, f16>(&of(DType::F16));
            runner.check::<bf16, bf16, bf16>(&with(of(DType::Bf16), &|p| p.with_bias().with_residual()));
            runner.check::<f32, f32, f32>(&with(of(DType::F32), &|p| p.with_bias().with_residual()));
            let wide = |p: Problem| p.with_weight_dtype(DType::F32);
            runner.check::<f16, f32, f16>(&with(of(DType::F16), &|p| wide(p).with_bias()));
            runner.check::<bf16, f32, bf16>(&with(of(DType::Bf16), &|p| wide(p).with_residual()));
            // A residual stream in f32, as a model of f16 or bf16 wants it.
            let stream = |p: Problem| p.with_residual_dtype(DType::F32);
            runner.check::<f16, f16, f32>(&with(of(DType::F16), &|p| stream(p).with_bias()));
            runner.check::<bf16, bf16, f32>(&with(of(DType::Bf16), &stream));
            runner.check::<f16, f32, f32>(&with(of(DType::F16), &|p| stream(wide(p))).in_place());
            runner.check::<bf16, f32, f32>(&with(of(DType::Bf16), &|p| stream(wide(p)).with_bias()));
        }
    }
}

#[test]
fn rows_may_lie_apart_and_results_in_the_place_of_what_is_read() {
    let runner = Runner::new(|_| ());
    for (rows, dim) in [(130, 128), (60, 100), (3, 2100)] {
        let all = case(rms(DType::F16, rows, dim).with_residual());
        runner.check::<f16, f16, f16>(&all.gaps([3, 5, 16, 1]));
        runner.check::<f16, f16, f16>(&all.gaps([32, 32, 7, 7]).in_place());
        runner.check::<f16, f16, f16>(&all.in_place());
        let wide = case(rms(DType::F16, rows, dim).with_residual_dtype(DType::F32));
        runner.check::<f16, f16, f32>(&wide.gaps([3, 5, 16, 1]));
        runner.check::<f16, f16, f32>(&wide.gaps([32, 32, 7, 7]).in_place());
        let layer = case(Problem::layer(DType::F32, [rows, dim], EPS).with_bias());
        runner.check::<f32, f32, f32>(&layer.gaps([4, 4, 0, 0]).in_place());
    }
}

/// Bits of a row depend neither on the other rows nor on the order of pipes and cores.
#[test]
fn a_row_has_the_same_bits_alone_among_others_and_in_every_interleaving() {
    for dim in [900, 5120] {
        let all = case(rms(DType::Bf16, 130, dim).with_residual());
        let host = Host::<bf16, bf16, bf16>::new(&all);
        let run = |case: &Case, host: &Host<bf16, bf16, bf16>, seed| {
            let runner = Runner::new(|config| config.seed = seed);
            runner.run(case, &plan(&case.problem, runner.device().soc()).unwrap(), host)
        };
        let (h, y) = run(&all, &host, None);
        let (other_h, other_y) = run(&all, &host, Some(3));
        assert_same(&other_h, &h, "h");
        assert_same(&other_y, &y, "y");
        let row = 77 * dim as usize..78 * dim as usize;
        let one = Host {
            x: host.x[row.clone()].to_vec(),
            r: host.r[row.clone()].to_vec(),
            weight: host.weight.clone(),
            bias: host.bias.clone(),
        };
        let (_, alone) = run(&case(rms(DType::Bf16, 1, dim).with_residual()), &one, None);
        assert_same(&alone, &y[row], "a row");
    }
}

#[test]
fn rows_of_zeros_and_without_a_number_are_as_documented() {
    let runner = Runner::new(|_| ());
    let problem = Problem::layer(DType::F32, [4, 70], EPS).with_bias();
    let case = case(problem);
    let mut host = Host::<f32, f32, f32>::new(&case);
    host.x[..70].fill(0.0);
    host.x[70..140].fill(5.0);
    host.x[150] = f32::NAN;
    host.x[220] = f32::INFINITY;
    let (_, y) = runner.run(&case, &plan(&problem, runner.device().soc()).unwrap(), &host);
    assert_same(&y[..70], &host.bias, "a row of zeros");
    let is_near = |(y, bias): (&f32, &f32)| (y - bias).abs() < 1e-3;
    assert!(y[70..140].iter().zip(&host.bias).all(is_near), "equal elements have no variance");
    assert!(y[140..].iter().all(|x| x.is_nan()));
    let problem = with(problem, |p| p.kind = Kind::Rms);
    let (_, y) =
        runner.run(&super::norm::case(problem), &plan(&problem, runner.device().soc()).unwrap(), &host);
    assert!(y[140..210].iter().all(|x| x.is_nan()));
    assert!(y[220].is_nan(), "infinity times 0");
    assert_eq!(y[221], host.bias[11], "scaled to 0");
}

#[test]
fn norms_that_cannot_be_done_are_refused_with_all_reasons() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let refused = |problem: Problem| plan(&problem, soc).unwrap_err();
    let error = refused(Problem::rms(DType::F16, [1, 0], f32::NAN).with_weight_dtype(DType::Bf16));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        error.to_string(),
        "norm on Ascend910B2: dim = 0, wanted at least 1; dtype = f16 with weight_dtype = bf16 and residual_dtype = f16 \
         has no kernel; supported: the same type, or f32, for weights and residual; eps = NaN, a finite number from 0 wanted"
    );
    let good = rms(DType::F16, 9, 64);
    for (problem, wanted) in [
        (rms(DType::F16, 1, 60_000), "dim = 60000 leaves no room for a row"),
        (rms(DType::F16, 1, u32::MAX), "dim = 4294967295 is more than 2147483647"),
        (rms(DType::F16, 1, i32::MAX.cast_unsigned()), "dim = 2147483647 leaves no room"),
        (rms(DType::F16, u32::MAX, 64), "rows = 4294967295 is more than 2147483647"),
        (rms(DType::F16, i32::MAX.cast_unsigned(), 4096), "operands (x, y, weight) take"),
        (Problem::rms(DType::F16, [9, 64], -1e-5), "eps = -0.00001, a finite number from 0 wanted"),
        (good.with_strides(63, 64), "x_stride: row stride = 63 is less than the 64 elements of a row"),
        (good.with_strides(64, 0), "y_stride: row stride = 0 is less"),
        (good.with_strides(u64::MAX, 64), "x_stride: row stride of at least"),
        (good.with_strides(1 << 40, 64), "leaves more than 2147483647 bytes between two rows of 64 elements"),
        (good.with_residual_strides(64, 64), "r_stride or h_stride given without a residual"),
        (with(good, |p| p.residual_dtype = DType::F32), "residual_dtype = f32 given without a residual"),
        (good.with_residual_dtype(DType::Bf16), "residual_dtype = bf16 has no kernel"),
        (rms(DType::F32, 9, 64).with_residual_dtype(DType::F16), "residual_dtype = f16 has no kernel"),
    ] {
        let text = refused(problem).to_string();
        assert!(text.contains(wanted), "{problem:?}: {text}");
    }
    // The longest that is told is planned, and nothing longer.
    for (weights, residual) in [(DType::F16, DType::F16), (DType::F32, DType::F16), (DType::F32, DType::F32)]
    {
        let of = |dim| {
            let problem = Problem::layer(DType::F16, [1, dim], EPS).with_bias().with_weight_dtype(weights);
            problem.with_residual_dtype(residual)
        };
        let text = refused(of(40_000)).to_string();
        let most: u32 = text.split("at most ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(most > 12_000 && plan(&of(most), soc).is_ok() && plan(&of(most + 1), soc).is_err(), "{text}");
    }
    let empty = plan(&rms(DType::F16, 0, 64), soc).unwrap();
    assert_eq!((empty.num_cores(), empty.predicted_us()), (0, 0.0));
}

#[test]
fn wrong_operands_are_refused_and_no_rows_launch_nothing() {
    let runner = Runner::new(|_| ());
    let own = plan(&rms(DType::F16, 4, 64).with_residual(), runner.device().soc()).unwrap();
    let [x, y, r, h, weight, small] =
        [512, 512, 512, 512, 128, 100].map(|bytes| upload(runner.device(), &vec![0.0f32; bytes / 4]));
    let launch = |plan: &Plan, args: Args<'_>| runner.norm.launch(&runner.stream, plan, args);
    let refused = |args: Args<'_>| launch(&own, args).unwrap_err().to_string();
    let good = Args::new(&x, &weight, &y).with_residual(&r, &h);
    launch(&own, good).unwrap();
    for (args, wanted) in [
        (Args::new(&x, &weight, &y), "r is missing, but the plan adds a residual"),
        (good.with_bias(&weight), "bias is given, but the plan adds no bias"),
        (Args::new(&small, &weight, &y).with_residual(&r, &h), "x has 100 bytes, the plan needs 512"),
        (Args::new(&x, &small, &y).with_residual(&r, &h), "weight has 100 bytes, the plan needs 128"),
        (good.with_residual(Operand::at(&r, 1), &h), "r starts at byte 1, a multiple of 2 wanted"),
        (good.with_residual(&r, &y), "shares bytes with"),
        (good.with_residual(&r, &x), "h at "),
        (Args::in_place(&x, &weight).with_residual(&x, &h), "x at "),
    ] {
        let text = refused(args);
        assert!(text.contains(wanted), "{wanted:?} in {text}");
    }
    let apart = plan(&rms(DType::F16, 2, 64).with_strides(64, 80), runner.device().soc()).unwrap();
    let text = launch(&apart, Args::in_place(&x, &weight)).unwrap_err().to_string();
    assert!(text.contains("y takes the place of x, but y_stride = 80 and x_stride = 64"), "{text}");
    let empty = plan(&rms(DType::F16, 0, 64), runner.device().soc()).unwrap();
    launch(&empty, Args::new(&small, &weight, &y)).unwrap();
    let other = device(|_| ());
    let theirs: Buffer = upload(&other, &[0.0f32; 128]);
    assert!(launch(&own, Args::new(&theirs, &weight, &y).with_residual(&r, &h)).is_err());
}
