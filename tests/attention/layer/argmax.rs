//! Indices of largest elements, against a search on the host.

use fastattention::layer::argmax::{plan, Argmax, Args, Problem};
use fastattention::layer::Operand;
use fastattention::runtime::{Buffer, Stream};
use fastattention::{sim, DType, ErrorKind, Soc};
use fastattention_testkit::device::device;
use fastrand::Rng;
use half::{bf16, f16};

use super::{upload, wide, with, Bytes, Rows};

struct Runner {
    argmax: Argmax,
    stream: Stream,
}

impl Runner {
    fn new(configure: impl Fn(&mut sim::Config)) -> Self {
        let device = device(configure);
        Self { stream: Stream::new(&device).unwrap(), argmax: Argmax::new(&device).unwrap() }
    }

    fn run<T: Bytes>(&self, problem: &Problem, x: &[T]) -> Vec<i32> {
        let device = self.argmax.device();
        let plan = plan(problem, device.soc()).unwrap();
        let x = upload(device, x);
        let index = upload(device, &vec![7.0f32; problem.rows as usize]);
        self.argmax.launch(&self.stream, &plan, Args::new(&x, &index)).unwrap();
        self.stream.synchronize().unwrap();
        index.to_vec().unwrap()
    }
}

/// The first NaN, or the first of the largest.
fn first_largest(row: &[f64]) -> i32 {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if row[best].is_nan() {
            break;
        }
        if x.is_nan() || *x > row[best] {
            best = i;
        }
    }
    best as i32
}

fn check<T: Bytes>(runner: &Runner, dtype: DType, shape: [u32; 2], gap: usize) {
    let rows = Rows::new(shape, gap);
    let mut rng = Rng::with_seed(u64::from(shape[1]));
    let mut x = rows.normal::<T>(&mut rng, 0.0);
    for row in 0..rows.rows {
        // Between the rows lies something larger than all.
        let end = (row * rows.stride + rows.dim).min(x.len());
        let next = ((row + 1) * rows.stride).min(x.len());
        x[end..next].fill(T::round(1e4));
        let row = &mut x[row * rows.stride..][..rows.dim];
        // The same largest element several times, often; sometimes NaN, or nothing but -inf.
        let at = |rng: &mut Rng| rng.usize(..rows.dim);
        match rng.u32(..8) {
            0 => row[at(&mut rng)] = T::round(f32::NAN),
            1 => row.fill(T::round(f32::NEG_INFINITY)),
            2 => row.fill(T::round(f32::NAN)),
            3 => row[at(&mut rng)] = T::round(f32::INFINITY),
            _ => (0..3).for_each(|_| row[at(&mut rng)] = T::round(9.0)),
        }
    }
    let problem = Problem::new(dtype, shape).with_stride(rows.stride as u64);
    let got = runner.run(&problem, &x);
    for (row, got) in got.iter().enumerate() {
        let row: Vec<f64> = x[row * rows.stride..][..rows.dim].iter().map(|x| wide(*x)).collect();
        assert_eq!(*got, first_largest(&row), "{dtype} {shape:?}: {:?}", &row[..row.len().min(8)]);
    }
}

/// Rows of one chunk and of several, with tails; several rows of a core; the vocabularies of models.
#[test]
fn the_first_of_the_largest_is_found() {
    let runner = Runner::new(|_| ());
    for (shape, gap) in
        [([1, 1], 0), ([9, 5], 3), ([200, 64], 0), ([60, 65], 1), ([3, 8192], 0), ([50, 8200], 8)]
    {
        check::<f32>(&runner, DType::F32, shape, gap);
        check::<f16>(&runner, DType::F16, shape, gap);
        check::<bf16>(&runner, DType::Bf16, shape, gap);
    }
    check::<f32>(&runner, DType::F32, [3, 49_152], 0);
    check::<f32>(&runner, DType::F32, [1, 151_936], 0);
}

/// The largest element at every place of a row in turn.
#[test]
fn every_place_is_found() {
    let runner = Runner::new(|_| ());
    let dim = 150_u32;
    let x: Vec<f32> = (0..dim * dim).map(|i| if i / dim == i % dim { -1.0 } else { -2.0 }).collect();
    let got = runner.run(&Problem::new(DType::F32, [dim; 2]), &x);
    assert_eq!(got, (0..150).collect::<Vec<i32>>());
    // Zeros of both signs are equal.
    assert_eq!(runner.run(&Problem::new(DType::F32, [1, 3]), &[-1.0f32, -0.0, 0.0]), [1]);
}

#[test]
fn results_are_the_same_in_every_interleaving() {
    let rows = Rows::new([100, 9000], 0);
    let x = rows.normal::<f32>(&mut Rng::with_seed(4), 0.0);
    let run = |seed| Runner::new(|config| config.seed = seed).run(&Problem::new(DType::F32, [100, 9000]), &x);
    let first = run(None);
    assert_eq!(run(Some(1)), first);
    assert_eq!(run(Some(2)), first);
}

#[test]
fn searches_that_cannot_be_done_and_wrong_operands_are_refused() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let good = Problem::new(DType::F32, [4, 100]);
    for (problem, wanted) in [
        (with(good, |p| p.dim = 0), "argmax on Ascend910B2: dim = 0, wanted at least 1"),
        (with(good, |p| p.dim = 3_000_000), "dim = 3000000; at most 2097152 supported"),
        (with(good, |p| p.rows = u32::MAX), "rows = 4294967295 is more than 2147483647"),
        (good.with_stride(99), "x_stride: row stride = 99 is less than the 100 elements of a row"),
    ] {
        let text = plan(&problem, soc).unwrap_err().to_string();
        assert!(text.contains(wanted), "{text}");
    }
    let runner = Runner::new(|_| ());
    let own = plan(&good, runner.argmax.device().soc()).unwrap();
    let [x, index, small] = [1600, 16, 12].map(|n| upload(runner.argmax.device(), &vec![0.0f32; n / 4]));
    let launch = |x: Operand<'_>, index: &Buffer| {
        let error = runner.argmax.launch(&runner.stream, &own, Args::new(x, index)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.to_string()
    };
    assert!(launch((&x).into(), &small).contains("index has 12 bytes, the plan needs 16"));
    assert!(launch(Operand::at(&x, 2), &index).contains("x starts at byte 2, a multiple of 4 wanted"));
    assert!(launch((&x).into(), &x).contains("shares bytes with"));
    let empty = plan(&with(good, |p| p.rows = 0), runner.argmax.device().soc()).unwrap();
    runner.argmax.launch(&runner.stream, &empty, Args::new(&x, &small)).unwrap();
}
