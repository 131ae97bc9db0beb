//! `SiLU` and GELU, gated or not, against f64.

use fastattention::layer::activation::{plan, Activation, Args, Function, Plan, Problem};
use fastattention::layer::Operand;
use fastattention::runtime::{Device, Stream};
use fastattention::{sim, DType, ErrorKind, Soc};
use fastattention_testkit::compare::{assert_same, check_o, unit};
use fastattention_testkit::device::device;
use fastrand::Rng;
use half::{bf16, f16};

use super::{rounded, upload, wide, with, Bytes, Rows};

/// Where the result goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Own,
    X,
    Up,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    problem: Problem,
    place: Place,
    /// Elements between the end of a row and the start of the next, of x, up and y.
    gaps: [usize; 3],
}

fn case(function: Function, dtype: DType, shape: [u32; 2]) -> Case {
    Case { problem: Problem::new(function, dtype, shape), place: Place::Own, gaps: [0; 3] }
}

impl Case {
    fn gated(self) -> Self {
        Self { problem: self.problem.gated(), ..self }
    }

    fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    fn gaps(self, gaps: [usize; 3]) -> Self {
        let [x, up, y] = gaps.map(|gap| u64::from(self.problem.dim) + gap as u64);
        let problem = self.problem.with_strides(x, y);
        let problem = if problem.is_gated { problem.with_up_stride(up) } else { problem };
        Self { problem, gaps, ..self }
    }

    fn rows(&self) -> [Rows; 3] {
        self.gaps.map(|gap| Rows::new([self.problem.rows, self.problem.dim], gap))
    }
}

/// x and up on the host.
struct Host<T> {
    x: Vec<T>,
    up: Vec<T>,
}

impl<T: Bytes> Host<T> {
    /// Numbers of all sizes that a function treats differently.
    fn new(case: &Case) -> Self {
        let mut rng = Rng::with_seed(9);
        let [x, up, _] = case.rows();
        let scaled = |value: T, rng: &mut Rng| T::round(value.into() * [0.01, 1.0, 3.0, 8.0][rng.usize(..4)]);
        let x = x.normal::<T>(&mut rng, 0.0).into_iter().map(|x| scaled(x, &mut rng)).collect();
        Self { x, up: up.normal(&mut rng, 0.0) }
    }
}

/// erf of a number by its series, or 1 less a continued fraction.
fn erf(x: f64) -> f64 {
    let (size, scale) = (x.abs(), std::f64::consts::PI.sqrt());
    let value = if size < 3.0 {
        let (mut term, mut sum, mut n) = (size, size, 0.0);
        while term > 1e-18 {
            n += 1.0;
            term *= 2.0 * size * size / (2.0 * n + 1.0);
            sum += term;
        }
        2.0 / scale * (-size * size).exp() * sum
    } else {
        let below = (1..100).rev().fold(size, |below, n| size + f64::from(n) / 2.0 / below);
        1.0 - (-size * size).exp() / scale / below
    };
    value.copysign(x)
}

fn exact(function: Function, x: f64) -> f64 {
    match function {
        Function::Silu => x / (1.0 + (-x).exp()),
        Function::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            x / 2.0 * (1.0 + inner.tanh())
        }
        _ => x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
    }
}

/// f64 and, as a framework computes it, f rounded to the type before it is multiplied.
fn wanted<T: Bytes>(case: &Case, host: &Host<T>) -> [Vec<f64>; 2] {
    let p = &case.problem;
    let [x, up, _] = case.rows();
    let (x, up) = (x.dense(&host.x), up.dense(&host.up));
    let with_up = |f: f64, i: usize| if p.is_gated { f * up[i] } else { f };
    let exact_of = |i: usize| with_up(exact(p.function, x[i]), i);
    let plain_of = |i: usize| {
        // f32 inside, as of a function of a library in f32.
        let f = rounded::<T>(exact(p.function, x[i]) as f32);
        f64::from(rounded::<T>(with_up(f.into(), i) as f32))
    };
    [(0..x.len()).map(exact_of).collect(), (0..x.len()).map(plain_of).collect()]
}

struct Runner {
    activation: Activation,
    stream: Stream,
}

impl Runner {
    fn new(configure: impl Fn(&mut sim::Config)) -> Self {
        let device = device(configure);
        Self { stream: Stream::new(&device).unwrap(), activation: Activation::new(&device).unwrap() }
    }

    fn device(&self) -> &Device {
        self.activation.device()
    }

    /// y as it lies, with its gaps.
    fn run<T: Bytes>(&self, case: &Case, plan: &Plan, host: &Host<T>) -> Vec<T> {
        let device = self.device();
        let (x, up) = (upload(device, &host.x), upload(device, &host.up));
        let [_, _, rows] = case.rows();
        let before = match case.place {
            Place::Own => vec![T::round(7.0); rows.len()],
            Place::X => host.x.clone(),
            Place::Up => host.up.clone(),
        };
        let y = upload(device, &before);
        let args = match case.place {
            Place::Own => Args::new(&x, &y),
            Place::X => Args::in_place(&x),
            Place::Up => Args::in_place_of_up(&x, &up),
        };
        let args = if case.problem.is_gated { args.with_up(&up) } else { args };
        self.activation.launch(&self.stream, plan, args).unwrap();
        self.stream.synchronize().unwrap();
        let at = match case.place {
            Place::Own => &y,
            Place::X => &x,
            Place::Up => &up,
        };
        let got: Vec<T> = at.to_vec().unwrap();
        rows.check_gaps(&got, &before);
        got
    }

    fn check<T: Bytes>(&self, case: &Case) {
        let host = Host::<T>::new(case);
        let plan = plan(&case.problem, self.device().soc()).unwrap_or_else(|e| panic!("{case:?}: {e}"));
        let got = self.run(case, &plan, &host);
        let [exact, plain] = wanted(case, &host);
        let [.., rows] = case.rows();
        let shape = [1, 1, rows.rows, rows.dim];
        let unit = unit(case.problem.dtype);
        check_o(&rows.dense(&got), &exact, &plain, unit, shape).unwrap_or_else(|e| panic!("{plan}: {e}"));
    }
}

const ALL: [Function; 3] = [Function::Silu, Function::GeluTanh, Function::GeluErf];

#[test]
fn every_function_and_type_is_within_twice_the_error_of_a_plain_one() {
    let runner = Runner::new(|_| ());
    for function in ALL {
        for shape in [[1, 1], [1, 11_008], [50, 300], [7, 4096]] {
            runner.check::<f16>(&case(function, DType::F16, shape).gated());
        }
        runner.check::<bf16>(&case(function, DType::Bf16, [33, 500]).gated());
        runner.check::<f32>(&case(function, DType::F32, [33, 500]).gated());
        runner.check::<f16>(&case(function, DType::F16, [33, 500]));
        runner.check::<f32>(&case(function, DType::F32, [33, 501]));
    }
}

/// Lengths of the rows of models, and rows of a few elements.
#[test]
fn every_length_is_within_twice_the_error_of_a_plain_one() {
    let runner = Runner::new(|_| ());
    for (rows, dim) in [(3, 576), (2, 1536), (2, 4864), (1, 14_336), (2, 18_944), (300, 3), (1000, 17)] {
        let dense = case(Function::Silu, DType::Bf16, [rows, dim]).gated();
        runner.check::<bf16>(&dense);
        // The halves of one row.
        let dim = dim as usize;
        runner.check::<bf16>(&dense.gaps([dim, dim, 0]));
    }
}

#[test]
fn rows_may_lie_apart_and_results_in_the_place_of_what_is_read() {
    let runner = Runner::new(|_| ());
    for shape in [[130, 128], [9, 4099], [1, 700]] {
        let all = case(Function::GeluTanh, DType::F16, shape).gated();
        runner.check::<f16>(&all.gaps([1, 16, 5]));
        runner.check::<f16>(&all.gaps([3, 9, 3]).at(Place::X));
        runner.check::<f16>(&all.gaps([9, 4, 4]).at(Place::Up));
        runner.check::<f16>(&all.at(Place::Up));
        runner.check::<f32>(&case(Function::Silu, DType::F32, shape).gaps([2, 0, 2]).at(Place::X));
    }
}

/// One operand with both halves, and the result over one of them: told apart by their strides.
#[test]
fn halves_of_one_row_are_taken_from_one_operand() {
    let runner = Runner::new(|_| ());
    let problem = Problem::new(Function::Silu, DType::F32, [5, 96]).gated().with_halves();
    let plan_of = |problem| plan(&problem, runner.device().soc()).unwrap();
    let rows: Vec<f32> = (0..5 * 192).map(|i| (i % 37) as f32 / 9.0 - 2.0).collect();
    let at = upload(runner.device(), &rows);
    let y = upload(runner.device(), &[0.0f32; 5 * 96]);
    let apart = plan_of(problem);
    runner.activation.launch(&runner.stream, &apart, Args::of_halves(&apart, &at, &y)).unwrap();
    let within = plan_of(problem.with_strides(192, 192));
    let args = Args::in_place(&at).with_up(Operand::at(&at, 96 * 4));
    runner.activation.launch(&runner.stream, &within, args).unwrap();
    runner.stream.synchronize().unwrap();
    let (y, after): (Vec<f32>, Vec<f32>) = (y.to_vec().unwrap(), at.to_vec().unwrap());
    for (i, got) in y.iter().enumerate() {
        let x = i / 96 * 192 + i % 96;
        let want = exact(Function::Silu, rows[x].into()) * wide(rows[x + 96]);
        assert!((wide(*got) - want).abs() < 1e-6, "{i}: {got} {want}");
        assert_eq!((after[x], after[x + 96]), (*got, rows[x + 96]));
    }
}

#[test]
fn results_are_the_same_bits_in_every_interleaving_and_whatever_the_tiles() {
    let whole = Host::<f16>::new(&case(Function::GeluErf, DType::F16, [60, 1200]).gated());
    let run = |rows: u32, seed| {
        let runner = Runner::new(|config| config.seed = seed);
        let some = case(Function::GeluErf, DType::F16, [rows, 1200]).gated();
        let len = rows as usize * 1200;
        let host = Host { x: whole.x[..len].to_vec(), up: whole.up[..len].to_vec() };
        runner.run(&some, &plan(&some.problem, runner.device().soc()).unwrap(), &host)
    };
    let all = run(60, None);
    assert_same(&run(60, Some(1)), &all, "y");
    assert_same(&run(2, None), &all[..2400], "two rows");
}

#[test]
fn what_is_no_number_gives_what_is_documented() {
    let runner = Runner::new(|_| ());
    for function in ALL {
        let problem = Problem::new(function, DType::F32, [1, 6]);
        let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -1e30, 1e30];
        let host = Host { x: x.to_vec(), up: Vec::new() };
        let case = Case { problem, place: Place::Own, gaps: [0; 3] };
        let got = runner.run(&case, &plan(&problem, runner.device().soc()).unwrap(), &host);
        assert!(got[0].is_nan() && got[2].is_nan(), "{function:?}: {got:?}");
        assert_eq!([got[1], got[3], got[4], got[5]], [f32::INFINITY, 0.0, 0.0, 1e30], "{function:?}");
    }
}

#[test]
fn activations_that_cannot_be_done_and_wrong_operands_are_refused() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let good = Problem::new(Function::Silu, DType::F16, [4, 64]);
    let error = plan(&with(good, |p| p.dim = 0).with_up_stride(3), soc).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        error.to_string(),
        "activation on Ascend910B2: dim = 0, wanted at least 1; up_stride given without up"
    );
    for (problem, wanted) in [
        (with(good, |p| p.rows = u32::MAX), "rows = 4294967295 is more than 2147483647"),
        (with(good, |p| p.rows = 1 << 30), "operands (x, y) take"),
        (good.gated().with_up_stride(60), "up_stride: row stride = 60 is less than the 64 elements of a row"),
        (good.with_strides(1 << 40, 64), "leaves more than 2147483647 bytes between two rows of 64 elements"),
    ] {
        let text = plan(&problem, soc).unwrap_err().to_string();
        assert!(text.contains(wanted), "{problem:?}: {text}");
    }
    let runner = Runner::new(|_| ());
    let own = plan(&good.gated(), runner.device().soc()).unwrap();
    let [x, up, y, small] = [512, 512, 512, 100].map(|n| upload(runner.device(), &vec![0.0f32; n / 4]));
    let launch = |plan: &Plan, args: Args<'_>| runner.activation.launch(&runner.stream, plan, args);
    launch(&own, Args::new(&x, &y).with_up(&up)).unwrap();
    for (args, wanted) in [
        (Args::new(&x, &y), "up is missing, but the plan is gated"),
        (Args::new(&x, &small).with_up(&up), "y has 100 bytes, the plan needs 512"),
        (Args::new(&x, &up).with_up(&up), "y at "),
        (Args::in_place(&x).with_up(&x), "x at "),
        (Args::new(Operand::at(&x, 1), &y).with_up(&up), "x starts at byte 1, a multiple of 2 wanted"),
    ] {
        let text = launch(&own, args).unwrap_err().to_string();
        assert!(text.contains(wanted), "{wanted:?} in {text}");
    }
    let apart = plan(&good.with_strides(64, 65), runner.device().soc()).unwrap();
    let text = launch(&apart, Args::in_place(&x)).unwrap_err().to_string();
    assert!(text.contains("y takes the place of x, but y_stride = 65 and x_stride = 64"), "{text}");
    let empty = plan(&with(good, |p| p.rows = 0), runner.device().soc()).unwrap();
    assert_eq!(empty.num_cores(), 0);
    launch(&empty, Args::new(&small, &y)).unwrap();
}
