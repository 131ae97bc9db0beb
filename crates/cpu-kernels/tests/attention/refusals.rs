//! What is refused, and how it is said.

use std::num::NonZeroUsize;
use std::process::Command;

use fastattention_cpu::{BlockTable, Config, DType, Host, Isa, Pages, Pieces, Problem, Slices, ISA_VARIABLE};

fn refused(change: impl FnOnce(&mut Problem)) -> String {
    let mut problem = Problem::new(DType::F32, [2, 3, 4, 8], 5);
    change(&mut problem);
    problem.check().unwrap_err().to_string()
}

#[test]
fn sizes_and_strides() {
    let pages = Pages { page_size: 2, num_pages: 9, table: BlockTable::Rows { width: 3 } };
    let all: [(String, &str); 20] = [
        (refused(|p| p.num_heads = 0), "num_heads = 0, 1 to 2147483647 wanted"),
        (refused(|p| p.num_heads_k = 0), "num_heads_k = 0, 1 to 4 wanted"),
        (refused(|p| p.num_heads_k = 3), "num_heads_k = 3, a divisor of num_heads = 4 wanted"),
        (refused(|p| p.head_dim = 0), "head_dim = 0, 1 to 1024 wanted"),
        (refused(|p| p.head_dim_v = 1025), "head_dim_v = 1025, 1 to 1024 wanted"),
        (refused(|p| p.slots = usize::MAX), "slots = 18446744073709551615, 0 to 2147483647 wanted"),
        (refused(|p| p.rows = 1 << 31), "rows = 2147483648, 0 to 536870911 wanted"),
        (refused(|p| p.total_rows = Some(1 << 31)), "total_rows = 2147483648, 0 to 2147483647 wanted"),
        (refused(|p| p.max_keys = 1 << 31), "max_keys = 2147483648, 0 to 2147483647 wanted"),
        (refused(|p| p.softmax_scale = f32::NAN), "softmax_scale = NaN, a finite number wanted"),
        (
            refused(|p| p.pages = Some(Pages { page_size: 0, ..pages })),
            "page_size = 0, 1 to 2147483647 wanted",
        ),
        (
            refused(|p| p.pages = Some(Pages { table: BlockTable::Rows { width: 2 }, ..pages })),
            "table_width = 2, 3 to 2147483647 wanted",
        ),
        (
            refused(|p| p.pages = Some(Pages { table: BlockTable::Csr { entries: 2 }, ..pages })),
            "table_entries = 2, 3 to 2147483647 wanted",
        ),
        (
            refused(|p| p.pieces[0] = Some(Pieces { elements: 3, stride: 3 })),
            "pieces of k = 3 elements every 3, rows of 8 in memory wanted",
        ),
        (
            refused(|p| p.pieces[1] = Some(Pieces { elements: 1, stride: usize::MAX })),
            "pieces of v = 1 elements every 18446744073709551615, rows of 8 in memory wanted",
        ),
        (refused(|p| p.q_stride[0] = usize::MAX), "q_stride = [18446744073709551615, 32, 8], at most"),
        (refused(|p| p.k_stride[1] = usize::MAX / 2), "k_stride = [160, 9223372036854775807, 8], at most"),
        (refused(|p| p.o_stride[2] = 7), "o_stride = [96, 32, 7], steps of at least 8 elements wanted"),
        (refused(|p| p.o_stride[0] = 0), "o_stride = [0, 32, 8], steps of at least 8 elements wanted"),
        (refused(|p| p.lse_stride[1] = 2), "lse_stride = [12, 2], steps of at least 3 elements wanted"),
    ];
    for (got, want) in all {
        assert!(got.starts_with(&format!("cpu attention: {want}")), "{got:?}, {want:?} wanted");
    }
}

#[test]
fn slices_that_are_too_short_or_not_of_the_problem() {
    let host = Host::new(&Config { threads: NonZeroUsize::new(1), ..Config::default() }).unwrap();
    let problem = Problem::new(DType::F32, [1, 2, 2, 8], 3);
    let (q, k) = (vec![0.0f32; 32], vec![0.0f32; 48]);
    let run = |problem: &Problem, change: fn(&mut Slices<'_, f32>)| {
        let (mut o, q, k) = (vec![0.0f32; 32], q.clone(), k.clone());
        let mut slices = Slices::new(&q, &k, &k, &mut o);
        change(&mut slices);
        host.attention_slices(problem, slices).unwrap_err().to_string()
    };
    let packed = problem.clone().with_total_rows(2);
    let rows = BlockTable::Rows { width: 1 };
    let paged = problem.clone().with_pages(Pages { page_size: 3, num_pages: 1, table: rows });
    let list = BlockTable::Csr { entries: 4 };
    let listed = problem.clone().with_pages(Pages { page_size: 3, num_pages: 1, table: list });
    for (got, want) in [
        (run(&problem, |s| s.q = &s.q[1..]), "q has 31 elements, 32 wanted"),
        (run(&problem, |s| s.v = &[]), "v has 0 elements, 48 wanted"),
        (run(&problem, |s| s.lengths = Some(&[])), "lengths has 0 elements, 1 wanted"),
        (
            run(&problem, |s| s.row_starts = Some(&[0, 2])),
            "row_starts has 2 elements, none wanted for this problem",
        ),
        (run(&packed, |_| {}), "row_starts is missing, 2 elements wanted"),
        (run(&packed, |s| s.row_starts = Some(&[0])), "row_starts has 1 elements, 2 wanted"),
        (run(&paged, |_| {}), "block_table is missing, 1 elements wanted"),
        (run(&listed, |_| {}), "block_table is missing, 4 elements wanted"),
        (run(&listed, |s| s.block_table = Some(&[0; 4])), "page_starts is missing, 2 elements wanted"),
        (
            run(&paged, |s| {
                s.block_table = Some(&[0]);
                s.page_starts = Some(&[0]);
            }),
            "page_starts has 1 elements, none wanted for this problem",
        ),
        (
            run(&Problem { dtype: DType::F16, ..problem.clone() }, |_| {}),
            "dtype = f16, slices of it wanted, given f32",
        ),
    ] {
        assert_eq!(got, format!("cpu attention: {want}"));
    }
}

#[test]
fn threads_and_instructions() {
    let two = Config { threads: NonZeroUsize::new(2), processors: vec![0], isa: None };
    let text = Host::new(&two).unwrap_err().to_string();
    assert_eq!(text, "cpu attention: processors = [0], one for each of 2 threads wanted");
    let missing = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
    let text = Host::new(&Config { isa: Some(missing), ..Config::default() }).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("cpu attention: isa = {missing} is not available here, one of")),
        "{text}"
    );
    assert!("sse9"
        .parse::<Isa>()
        .unwrap_err()
        .to_string()
        .contains("one of portable, avx2, avx512, neon wanted"));
}

/// The variable is read in a child process, as tests share one.
#[test]
fn the_variable_forces_a_name() {
    let forced = |name: &str| {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "refusals::child_that_prints_its_instructions", "--nocapture", "--ignored"])
            .env(ISA_VARIABLE, name)
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    for isa in Isa::ALL {
        let text = forced(&isa.to_string());
        let want = if isa.is_available() {
            format!("isa is {isa};")
        } else {
            format!("{ISA_VARIABLE}: isa = {isa} is not available here")
        };
        assert!(text.contains(&want), "{text:?}, {want:?} wanted");
    }
    for name in ["", "AVX2", "avx"] {
        let want = format!("isa {name:?} is unknown, one of portable, avx2, avx512, neon wanted");
        assert!(forced(name).contains(&want), "{name:?}: {}", forced(name));
    }
}

#[test]
#[ignore = "run by the test above"]
#[allow(clippy::print_stdout, reason = "the answer of the child")]
fn child_that_prints_its_instructions() {
    match Host::new(&Config { threads: NonZeroUsize::new(1), ..Config::default() }) {
        Ok(host) => println!("isa is {};", host.isa()),
        Err(error) => println!("{error}"),
    }
}
