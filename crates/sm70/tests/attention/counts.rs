//! What the shipped kernels ask of shared memory, counted.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use fastattention_sm70::{Counters, InstructionCount, Kind, Sums};

use super::launch::{kernel_of, ptx, run_and_check};
use super::problem::{problem, Problem};
use super::table::{decode, forward};

/// A problem of several tiles for each kernel.
fn each_kernel() -> Vec<Problem> {
    let one = |d| problem(&format!("counts {d}"), d).lengths(128, 320);
    let dims = [32, 64, 80, 96, 128, 256];
    let paged = |d| problem(&format!("counts paged {d}"), d).paged(16, &[320], 0);
    [dims.map(one).to_vec(), [64, 128].map(|d| one(d).groups()).to_vec(), dims.map(paged).to_vec()].concat()
}

fn is_shared(count: &&InstructionCount) -> bool {
    matches!(count.kind, Kind::SharedLoad | Kind::SharedStore)
}

/// Lines from the label to the backward branch of the loop that holds every tensor instruction.
fn main_loop(text: &str) -> RangeInclusive<u32> {
    let lines = || (1..).zip(text.lines().map(str::trim));
    let labels: HashMap<&str, u32> =
        lines().filter_map(|(line, text)| Some((text.strip_suffix(':')?, line))).collect();
    let mma: Vec<u32> = lines().filter(|(_, text)| text.starts_with("mma.")).map(|(line, _)| line).collect();
    let (first, last) = (mma[0], *mma.last().unwrap());
    let back = lines().filter(|(line, _)| *line > last).find_map(|(line, text)| {
        let (_, target) = text.strip_suffix(';')?.split_once("bra")?;
        let start = *labels.get(target.trim_start_matches(".uni").trim())?;
        (start < first).then_some(start..=line)
    });
    back.expect("a loop around all tensor instructions")
}

fn run(problem: &Problem) -> Counters {
    run_and_check(problem, Sums::Nearest).unwrap_or_else(|why| panic!("{}: {why}", problem.name))
}

#[test]
fn no_access_of_shared_memory_takes_more_wavefronts_than_its_width_asks_for() {
    for problem in each_kernel() {
        let counters = run(&problem);
        for count in counters.conflicts() {
            // docs/volta.md, "Layout": with five tiles the loads of the fifth meet in the same banks.
            let fifth_tile = kernel_of(&problem).contains("d80") && count.text.starts_with("ld.shared.v2");
            assert!(
                fifth_tile && count.wavefronts == 2 * count.least_wavefronts,
                "{}: {} wavefronts for {}, line {}: {}",
                problem.name,
                count.wavefronts,
                count.least_wavefronts,
                count.line,
                count.text
            );
        }
    }
}

/// Decode has shared memory only for the join of its warps, behind the last tensor instruction. Its loads of
/// 16 bytes are of two vectors, one behind the other, a lane: twice the wavefronts. Nothing else conflicts.
#[test]
fn only_the_loads_of_the_join_conflict_in_decode() {
    for (d, rows) in [(64, 2), (64, 4), (128, 2), (128, 4), (256, 2)] {
        let problem = problem(&format!("counts decode {d}"), d).lengths(rows, 200).heads(4, 1).splits(2);
        let counters = run(&problem);
        let position =
            |of: &dyn Fn(&InstructionCount) -> bool| counters.instructions.iter().rposition(of).unwrap();
        let last = position(&|count| count.kind == Kind::Mma);
        let (loop_part, join) = counters.instructions.split_at(last);
        assert!(
            !loop_part.iter().any(|count| is_shared(&count) && count.executed > 0),
            "{}",
            kernel_of(&problem)
        );
        assert!(join.iter().any(|count| count.kind == Kind::SharedLoad && count.executed > 0));
        for count in counters.conflicts() {
            assert!(count.text.starts_with("ld.shared.v4"), "{}: {}", kernel_of(&problem), count.text);
            assert_eq!(
                count.wavefronts,
                2 * count.least_wavefronts,
                "{}: {}",
                kernel_of(&problem),
                count.text
            );
        }
    }
}

#[test]
fn the_main_loop_takes_at_most_two_wavefronts_a_tensor_instruction() {
    for problem in each_kernel() {
        let lines = main_loop(&ptx(&kernel_of(&problem)));
        let counters = run(&problem);
        let inside = || counters.instructions.iter().filter(|count| lines.contains(&count.line));
        let mma: u64 = inside().filter(|count| count.kind == Kind::Mma).map(|count| count.executed).sum();
        let wavefronts: u64 = inside().filter(is_shared).map(|count| count.wavefronts).sum();
        assert_eq!(mma, counters.executed(Kind::Mma), "{}: all are in the loop", problem.name);
        assert!(
            mma > 0 && wavefronts > 0 && wavefronts <= 2 * mma,
            "{}: {wavefronts} for {mma}",
            problem.name
        );
    }
}

/// Wavefronts of stores and loads, and tensor instructions.
fn assert_counts(problems: &[Problem], wanted: &[(&str, u64, u64, u64)]) {
    for (name, stores, loads, mma) in wanted {
        let problem = problems.iter().find(|problem| problem.name == *name).unwrap();
        let counters = run(problem);
        let wavefronts = [Kind::SharedStore, Kind::SharedLoad].map(|kind| counters.wavefronts(kind));
        assert_eq!((wavefronts, counters.executed(Kind::Mma)), ([*stores, *loads], *mma), "{name}");
    }
}

/// docs/volta.md, "What is proven": wavefronts that a profiler counted on an H200 (loads less the conflicts
/// that it reports, which change from run to run), and tensor instructions as the interpreter of sm_70
/// machine code counts them.
#[test]
fn wavefronts_of_forward_are_those_that_a_profiler_counted() {
    let wanted = [
        ("longer 64", 4512, 38400, 30720),
        ("longer 96 causal", 3312, 23040, 18432),
        ("longer 128", 8736, 76800, 61440),
        ("longer 128 window", 3616, 25600, 20480),
        ("dim 256 causal tails", 4448, 32928, 24576),
        ("groups 64 longer", 9504, 39264, 30720),
        ("groups 128 longer", 18912, 79008, 61440),
    ];
    assert_counts(&forward(), &wanted);
}

/// As the interpreter of sm_70 machine code counts all three.
#[test]
fn wavefronts_of_decode_are_those_of_the_machine_code() {
    let wanted = [
        ("decode dim 64 gqa split causal", 960, 1680, 1344),
        ("decode dim 128 gqa split causal", 1728, 2976, 2688),
        ("decode dim 256 gqa split causal", 3264, 5568, 5376),
        ("decode mha 16 rows", 1152, 2560, 1216),
    ];
    assert_counts(&decode(), &wanted);
}
