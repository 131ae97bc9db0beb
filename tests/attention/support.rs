//! What the operators take, as `refusals` answer it: docs/support.md is made of that, and the types that
//! README names are compared with it. `FA_BLESS=1` rewrites the page.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use fastattention::layer::{activation, argmax, embedding, norm};
use fastattention::serving::{KvLayout, Mask};
use fastattention::spec::Reason;
use fastattention::{append, attention, matmul, merge, serving, DType, Soc};
use fastattention_testkit::device::SOC;

const DTYPES: [DType; 3] = [DType::F16, DType::Bf16, DType::F32];
const START: &str =
    "<!-- made by tests/attention/support.rs: FA_BLESS=1 cargo test --test attention support -->";

fn soc() -> &'static Soc {
    Soc::by_name(SOC).unwrap()
}

/// `[slots, rows, heads, dim]` against keys that lie so.
fn serving(dtype: DType, kv: KvLayout) -> serving::Problem {
    serving::Problem::new(dtype, [2, 1, 8, 128], 1024, kv).with_num_heads_k(2)
}

fn paged() -> KvLayout {
    KvLayout::paged(128, 100)
}

fn rotary_of(dims: u32) -> append::Rotary {
    append::Rotary::new(append::Pairing::Halves, dims, 1024).with_q()
}

fn rotary() -> append::Rotary {
    rotary_of(128)
}

/// The name in README's table or this page's, and what the operator says of elements of a type.
type Operator = (&'static str, fn(DType) -> Vec<Reason>);

const OPERATORS: [Operator; 11] = [
    ("`attention`", |dtype| attention::Problem::new(dtype, [1, 300, 8, 128]).refusals(soc())),
    ("`attention`, f16 scores", |dtype| {
        attention::Problem::new(dtype, [1, 300, 8, 128]).with_score_dtype(DType::F16).refusals(soc())
    }),
    ("`serving`", |dtype| serving(dtype, paged()).refusals(soc())),
    ("`append`", |dtype| append::Problem::new(9, &serving(dtype, paged())).refusals(soc())),
    ("`append` with rotation", |dtype| {
        append::Problem::new(9, &serving(dtype, paged())).with_rotary(rotary()).refusals(soc())
    }),
    ("`merge`", |dtype| merge::Problem::new(dtype, 3, [1, 9, 2, 64]).refusals(soc())),
    ("`matmul`", |dtype| matmul::Problem::new(dtype, [64, 64, 64]).refusals(soc())),
    ("`layer::norm`", |dtype| norm::Problem::rms(dtype, [9, 64], 1e-5).refusals(soc())),
    ("`layer::activation`", |dtype| {
        activation::Problem::new(activation::Function::Silu, dtype, [9, 64]).refusals(soc())
    }),
    ("`layer::embedding`", |dtype| embedding::Problem::new(dtype, 9, [100, 64]).refusals(soc())),
    ("`layer::argmax`", |dtype| argmax::Problem::new(dtype, [9, 64]).refusals(soc())),
];

/// The names in README's table, and the operators that they stand for.
const IN_README: [(&str, &[&str]); 6] = [
    ("(`attention`)", &["`attention`"]),
    ("with f16 scores", &["`attention`, f16 scores"]),
    ("serving:", &["`serving`"]),
    ("(`append`)", &["`append`", "`append` with rotation"]),
    ("(`merge`)", &["`merge`"]),
    ("(`layer`)", &["`layer::norm`", "`layer::activation`", "`layer::embedding`", "`layer::argmax`"]),
];

const MASKS: [Mask; 5] = [
    Mask::None,
    Mask::Causal,
    Mask::Window { left: Some(100), right: Some(0) },
    Mask::Window { left: Some(100), right: Some(20) },
    Mask::Window { left: None, right: Some(20) },
];

const PAGE_SIZES: [u32; 9] = [1, 8, 16, 24, 32, 64, 128, 256, 512];

/// A cell of a table, and the reasons for all that say no.
#[derive(Default)]
struct Why(Vec<String>);

impl Why {
    fn cell(&mut self, refusals: &[Reason]) -> String {
        if refusals.is_empty() {
            return "yes".to_owned();
        }
        let numbers = refusals.iter().map(|reason| {
            let known = self.0.iter().position(|text| *text == reason.text);
            known.unwrap_or_else(|| {
                self.0.push(reason.text.clone());
                self.0.len() - 1
            })
        });
        let numbers: Vec<String> = numbers.map(|number| (number + 1).to_string()).collect();
        format!("no ({})", numbers.join(", "))
    }
}

fn table(text: &mut String, head: &[String], rows: &[Vec<String>]) {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    text.push_str(&line(head));
    text.push_str(&line(&vec!["---".to_owned(); head.len()]));
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text.push('\n');
}

fn row(name: impl ToString, cells: impl IntoIterator<Item = String>) -> Vec<String> {
    [name.to_string()].into_iter().chain(cells).collect()
}

/// Ranges of the multiples of 8 that are not refused, with their step.
fn dims(refusals: impl Fn(u32) -> Vec<Reason>) -> String {
    let good: Vec<u32> = (8..=4160).step_by(8).filter(|dim| refusals(*dim).is_empty()).collect();
    let (first, last) = (good[0], good[good.len() - 1]);
    let step = good.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(0);
    assert!(good.windows(2).all(|pair| pair[1] - pair[0] == step), "{good:?} are no even steps");
    format!("{first} to {last} in steps of {step}")
}

/// The page that the library's answers make.
fn page() -> String {
    let (mut text, mut why) = (String::new(), Why::default());
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    text.push_str("# What the operators take\n\n");
    let _ = writeln!(
        text,
        "{START}\n\nFor {SOC}, as `Problem::refusals` answers. Numbers are those of the [reasons](#reasons). Never run on \
         an NPU.\n\n## Types\n"
    );
    let rows: Vec<_> = OPERATORS
        .iter()
        .map(|(name, refusals)| row(name, DTYPES.map(|dtype| why.cell(&refusals(dtype)))))
        .collect();
    table(&mut text, &strings(&["operator", "f16", "bf16", "f32"]), &rows);

    text.push_str("## Head dimensions\n\nMultiples of 8 were asked for, of f16.\n\n");
    let rotated = |dim| {
        let cache = serving::Problem::new(DType::F16, [1, 1, 1, dim], 1, paged()).with_head_dim_v(16);
        append::Problem::new(9, &cache).with_rotary(rotary_of(16)).refusals(soc())
    };
    let vllm = |dim| {
        let problem = serving::Problem::new(DType::F16, [1, 1, 1, dim], 99, paged().with_vllm());
        problem.with_head_dim_v(16).refusals(soc())
    };
    let of = |name: &str, dims: String| row(name, [dims]);
    let rows = [
        of("`attention`", dims(|dim| attention::Problem::new(DType::F16, [1, 9, 2, dim]).refusals(soc()))),
        of(
            "`serving`",
            dims(|dim| serving::Problem::new(DType::F16, [1, 1, 2, dim], 99, paged()).refusals(soc())),
        ),
        of("`serving`, k in vLLM's order", dims(vllm)),
        of("`append` with rotation, one head", dims(rotated)),
    ];
    table(&mut text, &strings(&["operator", "head_dim"]), &rows);

    text.push_str("## Masks\n\n");
    let rows = MASKS.map(|mask| {
        let attention = attention::Problem::new(DType::F16, [1, 300, 8, 128]).with_mask(mask);
        let serving = serving(DType::F16, paged()).with_mask(mask);
        row(mask, [why.cell(&attention.refusals(soc())), why.cell(&serving.refusals(soc()))])
    });
    table(&mut text, &strings(&["mask", "`attention`", "`serving`"]), &rows);

    text.push_str(
        "## Orders and sizes of pages\n\n`serving` and `append`, with and without rotation; 0: no pages.\n\n",
    );
    type Order = (&'static str, fn(KvLayout) -> KvLayout);
    let orders: [Order; 5] = [
        ("keys first", |kv| kv),
        ("keys first, one list", |kv| kv.with_csr_table(2000)),
        ("heads first", KvLayout::with_heads_first),
        ("NZ", KvLayout::with_nz),
        ("vLLM's", KvLayout::with_vllm),
    ];
    let rows: Vec<_> = [0].into_iter().chain(PAGE_SIZES).collect();
    let rows: Vec<_> = rows
        .into_iter()
        .map(|page_size| {
            let cell = |(_, order): &Order| {
                let kv = if page_size == 0 { KvLayout::padded() } else { KvLayout::paged(page_size, 2000) };
                let cache = serving(DType::F16, order(kv));
                let append = append::Problem::new(9, &cache);
                let answers = [
                    cache.refusals(soc()),
                    append.refusals(soc()),
                    append.with_rotary(rotary()).refusals(soc()),
                ];
                if answers.iter().all(Vec::is_empty) {
                    return "yes".to_owned();
                }
                answers.map(|answer| why.cell(&answer)).join("; ")
            };
            row(page_size, orders.iter().map(cell))
        })
        .collect();
    table(&mut text, &row("page", orders.map(|(name, _)| name.to_owned())), &rows);

    text.push_str("## Reasons\n\n");
    for (number, reason) in why.0.iter().enumerate() {
        let _ = writeln!(text, "{}. {reason}", number + 1);
    }
    text
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_default()
}

#[test]
fn the_page_is_what_the_operators_answer() {
    let page = page();
    if std::env::var_os("FA_BLESS").is_some_and(|v| v == "1") {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/support.md"), &page).unwrap();
    }
    assert_eq!(read("docs/support.md"), page, "FA_BLESS=1 rewrites it");
}

#[test]
fn readme_names_the_types_that_the_operators_take() {
    let readme = read("README.md");
    for (name, operators) in IN_README {
        let line = readme.lines().find(|line| line.starts_with("| ") && line.contains(name));
        let cells: Vec<&str> = line.unwrap_or_else(|| panic!("no row of {name}")).split(" | ").collect();
        let takes = |dtype: &DType| {
            let all = OPERATORS.iter().filter(|(operator, _)| operators.contains(operator));
            all.map(|(_, refusals)| refusals(*dtype)).all(|refusals| refusals.is_empty())
        };
        let types: Vec<String> = DTYPES.iter().filter(|d| takes(d)).map(ToString::to_string).collect();
        assert_eq!(cells[1], types.join(", "), "README's types of {name}");
    }
}

/// Refusals and plans agree on all that the page asks for.
#[test]
fn what_is_not_refused_is_planned() {
    for page_size in PAGE_SIZES {
        for kv in [KvLayout::paged(page_size, 2000), KvLayout::paged(page_size, 2000).with_vllm()] {
            let cache = serving(DType::F16, kv);
            let rotated = append::Problem::new(9, &cache).with_rotary(rotary());
            assert_eq!(cache.refusals(soc()).is_empty(), serving::plan(&cache, soc()).is_ok());
            assert_eq!(rotated.refusals(soc()).is_empty(), append::plan(&rotated, soc()).is_ok());
        }
    }
}
