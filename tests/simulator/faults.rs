//! Deliberately broken kernels, and correct twins of them, on the simulator.
//!
//! `tests/simulator/faults/x.cpp` opens with what is expected:
//!
//! ```text
//! // fault: Race                     kind of fault in the default order, or `none`
//! // seeds: Race|Uninitialised       kinds that a seeded order may find first; else the same kind
//! // type: AIV_ONLY                  kernel type
//! // blocks: 2
//! ```
//!
//! Every kernel has the parameters `a, b, c`, buffers of 64 KiB each; `a` and `b` hold data, `c` was never
//! written. The text of the fault must be that of `x.stderr`, on one host thread and on two; `FA_BLESS=1`
//! rewrites it. A twin (`fault: none`) must run without a fault in every order and give what plain Rust gives
//! (`twins.rs`).

#![allow(unsafe_code, reason = "loads the compiled kernels")]

mod twins;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use fastattention::runtime::{Buffer, Device, KernelArgs, Module, Stream};
use fastattention::sim::Config;
use fastattention::{ErrorKind, Soc};
use fastattention_testkit::kernels::Registration;

/// Bytes of each of the three buffers.
const BUFFER_BYTES: usize = 64 * 1024;
const BROKEN_SEEDS: u64 = 20;
const CORRECT_SEEDS: u64 = 100;

/// A kernel file and what its head says.
#[derive(Debug)]
struct Case {
    name: String,
    /// `None` for a twin.
    fault: Option<String>,
    seeds: Vec<String>,
    kernel_type: &'static str,
    blocks: u32,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulator/faults")
}

impl Case {
    fn read(path: &Path) -> Case {
        let text = fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let field = |key: &str| {
            let start = format!("// {key}: ");
            text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
        };
        let wanted =
            |key: &str| field(key).unwrap_or_else(|| panic!("{name}.cpp has no line \"// {key}: \""));
        let fault = Some(wanted("fault")).filter(|kind| kind != "none");
        let seeds = field("seeds").or_else(|| fault.clone()).unwrap_or_default();
        let kernel_type = match wanted("type").as_str() {
            "AIV_ONLY" => "kAivOnly",
            "AIC_ONLY" => "kAicOnly",
            "MIX_AIC_1_2" => "kMixAic1Aiv2",
            other => panic!("{name}.cpp: type {other}; AIV_ONLY, AIC_ONLY and MIX_AIC_1_2 are known"),
        };
        let blocks = wanted("blocks").parse().unwrap();
        Case { seeds: seeds.split('|').map(str::to_owned).collect(), name, fault, kernel_type, blocks }
    }

    fn golden(&self) -> PathBuf {
        folder().join(format!("{}.stderr", self.name))
    }
}

/// All kernels of the folder, by name.
fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == "cpp"));
        paths.sort();
        paths.iter().map(|path| Case::read(path)).collect()
    })
}

/// The library of all kernels of the folder, compiled once.
fn image() -> Arc<[u8]> {
    static IMAGE: OnceLock<Arc<[u8]>> = OnceLock::new();
    let build = || {
        let mut text = String::new();
        for case in cases() {
            writeln!(text, "#include {:?}", folder().join(format!("{}.cpp", case.name))).unwrap();
        }
        compile(&text, cases())
    };
    Arc::clone(IMAGE.get_or_init(build))
}

/// Compiles kernels into one library.
fn compile(text: &str, kernels: &[Case]) -> Arc<[u8]> {
    let registrations: Vec<_> = kernels
        .iter()
        .map(|case| Registration {
            name: &case.name,
            params: "GM_ADDR a, GM_ADDR b, GM_ADDR c",
            kernel_type: case.kernel_type,
        })
        .collect();
    fastattention_testkit::kernels::compile(text, &registrations).into()
}

/// Runs a kernel on a device of its own. `Err`: the line in which the driver reports the fault, without GM
/// addresses.
fn run(
    image: Arc<[u8]>,
    case: &Case,
    seed: Option<u64>,
    threads: usize,
    input: &[Vec<u8>; 2],
) -> Result<Vec<f32>, String> {
    let mut config = Config::new(Soc::by_name("Ascend910B2").unwrap());
    config.seed = seed;
    config.threads = threads;
    let device = Device::simulated(config).unwrap();
    // SAFETY: the image was built by `compile` from this crate's headers and the kernels of this folder.
    let module = unsafe { Module::load(&device, image) }.unwrap();
    let stream = Stream::new(&device).unwrap();
    let a = Buffer::from_slice(&device, &input[0]).unwrap();
    let b = Buffer::from_slice(&device, &input[1]).unwrap();
    let c = Buffer::alloc(&device, BUFFER_BYTES).unwrap();
    let args = KernelArgs::new().buffer(&a).buffer(&b).buffer(&c);
    module.kernel(&case.name).unwrap().launch(&stream, case.blocks, &args).unwrap();
    if let Err(error) = stream.synchronize() {
        assert_eq!(error.kind(), ErrorKind::SimFault, "{}: {error}", case.name);
        let text = error.to_string();
        let line = text.lines().find(|line| line.starts_with("Fault: "));
        return Err(without_addresses(line.unwrap_or_else(|| panic!("{}: no fault in {text}", case.name))));
    }
    let mut out = vec![0.0; BUFFER_BYTES / 4];
    c.copy_to_host(&mut out).unwrap();
    Ok(out)
}

/// `GM 0x1200` becomes `GM ADDR`: where an allocation lies is the allocator's business.
fn without_addresses(text: &str) -> String {
    let mut parts = text.split("GM 0x");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += "GM ADDR";
        out += part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out
}

/// Data for the broken kernels: floats that are also finite when read as half.
fn any_input() -> [Vec<u8>; 2] {
    let ramp = |step: f32| {
        (0..BUFFER_BYTES / 4).flat_map(|i| ((i % 13) as f32 * step - 6.0).to_le_bytes()).collect()
    };
    [ramp(1.0), ramp(0.5)]
}

fn kind(report: &str) -> &str {
    report.strip_prefix("Fault: ").and_then(|rest| rest.split(':').next()).unwrap_or(report)
}

/// What is wrong with the reports on one broken kernel.
fn judge(case: &Case, want: &str) -> Vec<String> {
    let input = any_input();
    let bless = std::env::var_os("FA_BLESS").is_some_and(|v| v == "1");
    let mut wrong = Vec::new();
    for threads in [1, 2] {
        match run(image(), case, None, threads, &input) {
            Ok(_) => wrong.push(format!("{}: no fault in the default order, {want} wanted", case.name)),
            Err(report) if kind(&report) != want => {
                wrong.push(format!("{}: {want} wanted, got {report}", case.name));
            }
            Err(report) if bless && threads == 1 => fs::write(case.golden(), report + "\n").unwrap(),
            Err(report) => {
                let golden = fs::read_to_string(case.golden()).unwrap_or_default();
                if report != golden.trim_end() {
                    wrong.push(format!(
                        "{} on {threads} threads:\n    want {}\n    got  {report}",
                        case.name,
                        golden.trim_end()
                    ));
                }
            }
        }
        for seed in 0..BROKEN_SEEDS {
            let report = run(image(), case, Some(seed), threads, &input).err();
            let got = report.as_deref().map_or("no fault", kind);
            if !case.seeds.iter().any(|k| k == got) {
                let report = report.as_deref().unwrap_or(got);
                wrong.push(format!(
                    "{}, seed {seed}, {threads} threads: {:?} wanted, got {report}",
                    case.name, case.seeds
                ));
            }
        }
    }
    wrong
}

#[test]
fn every_broken_kernel_is_reported_in_every_order() {
    let mut wrong = Vec::new();
    for case in cases() {
        if let Some(want) = &case.fault {
            wrong.extend(judge(case, want));
        }
    }
    assert!(wrong.is_empty(), "{} wrong reports:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_class_of_fault_has_a_kernel() {
    let classes = [
        "OutOfBounds",
        "Reserved",
        "Misaligned",
        "Overlap",
        "Uninitialised",
        "Race",
        "Operand",
        "NoSuchPath",
        "FlagSetTwice",
        "LeakedFlag",
        "CounterOverflow",
        "Deadlock",
        "Api",
    ];
    for class in classes {
        assert!(
            cases().iter().any(|case| case.fault.as_deref() == Some(class)),
            "no kernel has the fault {class}"
        );
    }
    let known = |k: &String| classes.contains(&k.as_str());
    for case in cases() {
        assert!(case.fault.is_none() || case.seeds.iter().all(known), "{}: {:?}", case.name, case.seeds);
    }
}

#[test]
fn correct_twins_run_in_every_order_and_compute_what_they_say() {
    let mut names: Vec<&str> =
        cases().iter().filter(|c| c.fault.is_none()).map(|c| c.name.as_str()).collect();
    for twin in twins::ALL {
        let case = cases().iter().find(|c| c.name == twin.name && c.fault.is_none());
        let case = case.unwrap_or_else(|| panic!("no correct kernel {}", twin.name));
        names.retain(|name| *name != twin.name);
        let input = (twin.input)();
        let want = (twin.want)(&input);
        for threads in [1, 2] {
            for seed in std::iter::once(None).chain((0..CORRECT_SEEDS).map(Some)) {
                let got = run(image(), case, seed, threads, &input).unwrap_or_else(|report| {
                    panic!("{}, seed {seed:?}, {threads} threads: {report}", case.name)
                });
                for (at, want) in want.iter().enumerate() {
                    let Some(want) = want else { continue };
                    let value = got[at];
                    assert!(
                        value == *want,
                        "{}, seed {seed:?}, {threads} threads: c[{at}] = {value}, {want} wanted",
                        case.name
                    );
                }
            }
        }
    }
    assert!(names.is_empty(), "{names:?} have no expected results in twins.rs");
}

/// The correct kernels again, each without one thing that orders: a set directly followed by its wait, a
/// barrier, or SyncAll.
fn twins_without_one_line() -> (String, Vec<Case>) {
    let mut all = String::new();
    let mut mutants = Vec::new();
    for case in cases().iter().filter(|case| case.fault.is_none()) {
        let text = fs::read_to_string(folder().join(format!("{}.cpp", case.name))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let line = line.trim();
            let pair =
                line.starts_with("SetFlag<") && lines[at + 1].trim() == line.replacen("Set", "Wait", 1);
            if !pair && !line.starts_with("PipeBarrier<") && !line.starts_with("SyncAll") {
                continue;
            }
            let name = format!("{}_without_line_{}", case.name, at + 1);
            let rest = lines[..at].iter().chain(&lines[at + if pair { 2 } else { 1 }..]);
            let mutant: String = rest.flat_map(|line| [line, "\n"]).collect();
            all += &mutant.replace(&format!("void {}(", case.name), &format!("void {name}("));
            let (kernel_type, blocks) = (case.kernel_type, case.blocks);
            mutants.push(Case { name, fault: None, seeds: Vec::new(), kernel_type, blocks });
        }
    }
    (all, mutants)
}

#[test]
fn correct_twins_need_each_of_their_flags_and_barriers() {
    let (text, mutants) = twins_without_one_line();
    assert!(mutants.len() > 30, "only {} kernels", mutants.len());
    let image = compile(&text, &mutants);
    let input = any_input();
    for mutant in &mutants {
        for seed in std::iter::once(None).chain((0..BROKEN_SEEDS).map(Some)) {
            let report = run(Arc::clone(&image), mutant, seed, 1, &input).err().unwrap_or("no fault".into());
            assert!(
                matches!(kind(&report), "Race" | "Uninitialised"),
                "{}, seed {seed:?}: a race wanted, got {report}",
                mutant.name
            );
        }
    }
}

#[test]
fn no_golden_is_left_over() {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "stderr") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let broken = cases().iter().any(|case| case.name == name && case.fault.is_some());
            assert!(broken, "{} belongs to no broken kernel", path.display());
        }
    }
}
