//! Rows of a table by ids, bit by bit.

use fastattention::layer::embedding::{plan, report, Args, Embedding, IdType, Problem, Report};
use fastattention::layer::Operand;
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::{sim, DType, ErrorKind, Soc};
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::device::device;
use fastrand::Rng;

use super::{with, Rows};

struct Runner {
    embedding: Embedding,
    stream: Stream,
}

impl Runner {
    fn new(configure: impl Fn(&mut sim::Config)) -> Self {
        let device = device(configure);
        Self { stream: Stream::new(&device).unwrap(), embedding: Embedding::new(&device).unwrap() }
    }

    fn device(&self) -> &Device {
        self.embedding.device()
    }

    fn ids(&self, problem: &Problem, ids: &[i64]) -> Buffer {
        if problem.id_type == IdType::I64 {
            return Buffer::from_slice(self.device(), ids).unwrap();
        }
        let ids: Vec<i32> = ids.iter().map(|id| i32::try_from(*id).unwrap()).collect();
        Buffer::from_slice(self.device(), &ids).unwrap()
    }

    /// y, which was `OLD` everywhere, and the report.
    fn run(&self, problem: &Problem, table: &[u8], ids: &[i64]) -> (Vec<u8>, Report) {
        let plan = plan(problem, self.device().soc()).unwrap();
        let upload = |bytes: &[u8]| Buffer::from_slice(self.device(), bytes).unwrap();
        let [_, y_bytes] = problem.operand_bytes();
        let (table, y, ids) = (upload(table), upload(&vec![OLD; y_bytes as usize]), self.ids(problem, ids));
        let status = upload(&vec![0xEE; plan.status_bytes() as usize]);
        let args = Args::new(&table, &ids, &y);
        let args = if problem.is_checked { args.with_status(&status) } else { args };
        self.embedding.launch(&self.stream, &plan, args).unwrap();
        self.stream.synchronize().unwrap();
        let words = status.to_vec::<i32>().unwrap();
        let told = if problem.is_checked { report(&words).unwrap() } else { Report::default() };
        (y.to_vec().unwrap(), told)
    }
}

const OLD: u8 = 0xAB;

/// Is every element of the row NaN?
fn is_none(dtype: DType, row: &[u8]) -> bool {
    match dtype {
        DType::F32 => row.as_chunks::<4>().0.iter().all(|b| f32::from_le_bytes(*b).is_nan()),
        DType::F16 => row.as_chunks::<2>().0.iter().all(|b| half::f16::from_le_bytes(*b).is_nan()),
        _ => row.as_chunks::<2>().0.iter().all(|b| half::bf16::from_le_bytes(*b).is_nan()),
    }
}

/// Copies random bits by random ids, some of which the table does not have.
fn check(runner: &Runner, problem: &Problem, gaps: [usize; 2]) {
    let mut rng = Rng::with_seed(3);
    let [table_rows, rows] = [
        Rows::new([problem.num_ids, problem.dim], gaps[0]),
        Rows::new([problem.tokens, problem.dim], gaps[1]),
    ];
    let problem = problem.with_strides(table_rows.stride as u64, rows.stride as u64);
    let size = problem.dtype.size_bytes();
    let table: Vec<u8> = (0..table_rows.len() * size).map(|_| rng.u8(..)).collect();
    let count = i64::from(problem.num_ids);
    let wrong: Vec<i64> = if problem.id_type == IdType::I64 {
        vec![-1, count, i64::MIN, i64::MAX, 1 << 32]
    } else {
        vec![-1, count, i32::MIN.into(), i32::MAX.into()]
    };
    let id = |rng: &mut Rng| match rng.u32(..4) {
        0 => wrong[rng.usize(..wrong.len())],
        _ => rng.i64(0..count),
    };
    let ids: Vec<i64> = (0..rows.rows).map(|_| id(&mut rng)).collect();
    let (y, told) = runner.run(&problem, &table, &ids);
    let bytes = rows.dim * size;
    for (token, id) in ids.iter().enumerate() {
        let got = &y[token * rows.stride * size..][..bytes];
        if (0..count).contains(id) {
            let want = &table[usize::try_from(*id).unwrap() * table_rows.stride * size..][..bytes];
            assert!(got == want, "{problem:?}: token {token}, id {id}");
        } else {
            assert!(is_none(problem.dtype, got), "{problem:?}: token {token}, id {id}: {got:?}");
        }
        let gap =
            y.get((token * rows.stride + rows.dim) * size..((token + 1) * rows.stride * size).min(y.len()));
        assert!(
            gap.is_none_or(|gap| gap.iter().all(|byte| *byte == OLD)),
            "{problem:?}: behind token {token}"
        );
    }
    if problem.is_checked {
        let is_wrong = |id: &&i64| !(-1..count).contains(*id);
        assert_eq!(told.num_wrong, ids.iter().filter(is_wrong).count() as u64, "{problem:?}");
        for mistake in &told.mistakes {
            assert_eq!(mistake.given, ids[mistake.token], "{problem:?}");
            assert!(is_wrong(&&mistake.given));
        }
        let first = ids.iter().position(|id| is_wrong(&id));
        assert_eq!(told.mistakes.first().map(|mistake| mistake.token), first, "{problem:?}");
    }
}

/// Short and long rows, those of several tiles among them; more tokens than one tile of each core has.
#[test]
fn rows_are_copied_bit_by_bit_and_wrong_ids_give_nan_and_are_told() {
    let runner = Runner::new(|_| ());
    for dtype in [DType::F16, DType::Bf16, DType::F32] {
        for (tokens, ids, dim) in [(1, 7, 576), (100, 9, 1), (5000, 30, 17), (60, 40, 896), (7, 3, 18_944)] {
            check(&runner, &Problem::new(dtype, tokens, [ids, dim]).checked(), [0, 0]);
        }
    }
    let problem = Problem::new(DType::F16, 130, [50, 100]).with_id_type(IdType::I64);
    check(&runner, &problem, [0, 0]);
    check(&runner, &problem.checked(), [5, 3]);
    check(&runner, &with(problem, |p| p.dtype = DType::F32).checked(), [16, 32]);
}

#[test]
fn results_are_the_same_bits_in_every_interleaving() {
    let problem = Problem::new(DType::F16, 300, [11, 200]).checked();
    let table: Vec<u8> = (0..11 * 200 * 2_u32).map(|i| (i * 7 % 251) as u8).collect();
    let ids: Vec<i64> = (0..300).map(|i| i * 5 % 13 - 1).collect();
    let run = |seed| Runner::new(|config| config.seed = seed).run(&problem, &table, &ids);
    let (y, told) = run(None);
    for seed in [1, 2] {
        let (other, other_told) = run(Some(seed));
        assert_same(&other, &y, "y");
        assert_eq!(other_told, told);
    }
}

#[test]
fn no_tokens_launch_nothing() {
    let runner = Runner::new(|_| ());
    let problem = Problem::new(DType::F16, 0, [3, 20]);
    let plan = plan(&problem, runner.device().soc()).unwrap();
    assert_eq!((plan.num_cores(), plan.predicted_us()), (0, 0.0));
    let bytes = Buffer::from_slice(runner.device(), &[OLD; 256]).unwrap();
    let args = Args::new(&bytes, Operand::at(&bytes, 128), Operand::at(&bytes, 192));
    runner.embedding.launch(&runner.stream, &plan, args).unwrap();
}

#[test]
fn embeddings_that_cannot_be_done_and_wrong_operands_are_refused() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let good = Problem::new(DType::F16, 4, [10, 64]);
    for (problem, wanted) in [
        (with(good, |p| p.num_ids = 0), "num_ids = 0, wanted at least 1"),
        (with(good, |p| p.dim = 0), "embedding on Ascend910B2: dim = 0, wanted at least 1"),
        (with(good, |p| p.tokens = u32::MAX), "tokens = 4294967295 is more than 2147483647"),
        (with(good, |p| p.num_ids = 1 << 30), "operands (table, y) take"),
        (good.with_strides(63, 64), "table_stride: row stride = 63 is less than the 64 elements of a row"),
        (good.with_strides(64, 3), "y_stride: row stride = 3 is less than the 64 elements of a row"),
    ] {
        let text = plan(&problem, soc).unwrap_err().to_string();
        assert!(text.contains(wanted), "{text}");
    }
    let runner = Runner::new(|_| ());
    let own = plan(&good.checked(), runner.device().soc()).unwrap();
    let upload = |bytes: usize| Buffer::from_slice(runner.device(), &vec![0u8; bytes]).unwrap();
    let (table, ids, y, status) =
        (upload(1280), upload(16), upload(512), upload(own.status_bytes() as usize));
    let small = upload(12);
    let good = Args::new(&table, &ids, &y).with_status(&status);
    for (args, wanted) in [
        (Args::new(&table, &ids, &y), "status is missing"),
        (Args { table: (&small).into(), ..good }, "table has 12 bytes, the plan needs 1280"),
        (Args { ids: (&small).into(), ..good }, "ids has 12 bytes, the plan needs 16"),
        (Args { ids: Operand::at(&ids, 2), ..good }, "ids starts at byte 2, a multiple of 4 wanted"),
        (Args { y: (&table).into(), ..good }, "y at "),
        (Args { status: Some((&y).into()), ..good }, "shares bytes with"),
    ] {
        let error = runner.embedding.launch(&runner.stream, &own, args).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(wanted), "{wanted:?} in {error}");
    }
    // Words that no launch leaves.
    assert!(report(&[1, 2, 3]).unwrap_err().to_string().starts_with("embedding report: "));
    assert!(report(&[-1, 0, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(report(&[0, 0, 0, 0, 1, 0, 0, 0]).is_err(), "only ids are counted");
}
