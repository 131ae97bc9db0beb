//! Wrong versions of the shipped kernels, made by edits of their text: each ends in a fault or a wrong
//! answer.

use std::collections::BTreeSet;

use fastattention_sm70::{Error, FaultKind, Sums};

use super::compare::check;
use super::launch::{kernel_of, ptx, run, run_and_check};
use super::problem::{inputs, problem, Problem, Values};

/// What became of a wrong kernel.
#[derive(Debug)]
enum Verdict {
    Fault(FaultKind),
    WrongAnswer,
}

/// Runs `problem` on an edited text, which must not go unnoticed.
fn verdict(problem: &Problem, what: &str, text: &str) -> Verdict {
    assert_ne!(text, ptx(&kernel_of(problem)), "{what}: the edit found nothing to change");
    let inputs = inputs(problem);
    match run(problem, &inputs, text, Sums::Nearest) {
        Err(Error::Fault(fault)) => {
            let race = matches!(fault.kind, FaultKind::SharedRace | FaultKind::GlobalRace);
            assert_eq!(fault.other.is_some(), race, "a race has two sides: {fault}");
            Verdict::Fault(fault.kind)
        }
        Err(other) => panic!("{what}: {other}"),
        Ok((tensors, _)) => {
            check(problem, &inputs, &tensors).expect_err(what);
            Verdict::WrongAnswer
        }
    }
}

/// The kernels that the edits are tried on, with tails of rows, keys and dims.
fn problems() -> Vec<Problem> {
    let one = |d| problem(&format!("broken {d}"), d).lengths(100, 203).causal();
    // The first rows see no key: there the first barrier of the join is all that is between q and the sums.
    let grouped = |d| problem(&format!("broken groups {d}"), d).lengths(300, 203).causal().groups();
    [DIMS.map(one).to_vec(), [56, 128].map(grouped).to_vec(), DIMS.map(paged).to_vec()].concat()
}

/// For every kernel of many rows, with tails.
const DIMS: [usize; 6] = [24, 64, 72, 96, 120, 256];

/// With pages and packed q.
fn paged(d: usize) -> Problem {
    let of = problem(&format!("broken paged {d}"), d).causal().paged(16, &[203, 40], 0);
    of.packed(&[100, 30])
}

/// The same of the decode kernels, each with several splits; some with pages.
fn decode_problems() -> Vec<Problem> {
    let of = |d: usize, rows: usize| {
        problem(&format!("broken decode {d}"), d).lengths(rows, 203).heads(4, 1).causal()
    };
    vec![
        of(56, 2).splits(2),
        of(64, 4).splits(2),
        of(120, 2).splits(2),
        of(128, 4).paged(16, &[100, 203], 2),
        of(136, 2).paged(8, &[203, 60], 3),
    ]
}

fn all_problems() -> Vec<Problem> {
    [problems(), decode_problems()].concat()
}

/// The lines of a text, `edit` deciding what becomes of each; it sees the one after, too.
fn edit(text: &str, mut edit: impl FnMut(&str, &str) -> Option<String>) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let next = lines.iter().skip(1).chain(std::iter::once(&""));
    let edited = lines
        .iter()
        .zip(next)
        .map(|(line, next)| edit(line.trim(), next.trim()).unwrap_or((*line).to_owned()));
    edited.collect::<Vec<_>>().join("\n")
}

/// Registers of a line, in their order.
fn registers(line: &str) -> Vec<&str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '%');
    line.split(word).filter(|word| word.starts_with('%')).collect()
}

#[test]
fn the_same_problems_are_right_without_an_edit() {
    for problem in all_problems() {
        run_and_check(&problem, Sums::Nearest).unwrap();
    }
}

#[test]
fn any_barrier_left_out_is_a_fault() {
    let mut races = 0;
    for problem in all_problems() {
        let text = ptx(&kernel_of(&problem));
        let barriers = text.matches("bar.sync").count();
        assert!(barriers >= 2);
        for left_out in 0..barriers {
            let mut seen = 0..;
            let broken = edit(&text, |line, _| {
                (line.starts_with("bar.sync") && seen.next() == Some(left_out)).then(String::new)
            });
            let what = format!("{}: barrier {left_out} of {barriers}", problem.name);
            match verdict(&problem, &what, &broken) {
                Verdict::Fault(FaultKind::SharedRace) => races += 1,
                Verdict::Fault(FaultKind::Uninitialised) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    assert!(races > 10, "only {races} were seen as races");
}

/// Registers that are 0 or 4: bit 0 of something shifted by 2, or bit 2 of something.
fn fours(text: &str) -> BTreeSet<&str> {
    let lines = || text.lines().map(str::trim);
    let of = |opcode: &'static str, number: &'static str| {
        lines().filter(move |line| line.starts_with(opcode) && line.ends_with(number)).map(registers)
    };
    let bits: BTreeSet<&str> = of("and.b32", ", 1;").map(|of| of[0]).collect();
    let shifted = of("shl.b32", ", 2;").filter(|of| bits.contains(of[1])).map(|of| of[0]);
    shifted.chain(of("and.b32", ", 4;").map(|of| of[0])).collect()
}

/// The row index xor 4 for odd chunks, left out at one of the places where a writer or a reader computes it.
/// All chunks are in use: where zeros lie does not matter.
#[test]
fn a_swizzle_left_out() {
    for d in [32, 64, 80, 96, 128, 256] {
        let problem = problem(&format!("swizzle {d}"), d).lengths(100, 203);
        let text = ptx(&kernel_of(&problem));
        let fours = fours(&text);
        // What is left of a swizzle without its 0 or 4.
        let without = |line: &str| {
            let registers = registers(line);
            let [to, a, b] = registers[..] else { return None };
            let row = if fours.contains(a) { b } else { a };
            let found = line.starts_with("xor.b32") && (fours.contains(a) || fours.contains(b));
            found.then(|| format!("mov.u32 {to}, {row};"))
        };
        let places = text.lines().filter(|line| without(line.trim()).is_some()).count();
        assert!(places >= 2, "{}: {places} places", problem.name);
        for place in 0..places {
            let mut seen = 0..;
            let broken = edit(&text, |line, _| without(line).filter(|_| seen.next() == Some(place)));
            verdict(&problem, &format!("{}: swizzle {place} of {places}", problem.name), &broken);
        }
    }
}

#[test]
fn a_mask_off_by_one() {
    for problem in all_problems() {
        // A key is seen if its distance from the first one is below the count of keys.
        let broken = edit(&ptx(&kernel_of(&problem)), |line, _| {
            line.starts_with("setp.lt.u32").then(|| line.replace("setp.lt", "setp.le"))
        });
        let found = verdict(&problem, &format!("{}: mask", problem.name), &broken);
        assert!(matches!(found, Verdict::WrongAnswer), "{found:?}");
    }
}

/// Loads of rows, keys and dims that are not there: without their bounds.
#[test]
fn tails_without_bounds() {
    for problem in all_problems() {
        let broken = edit(&ptx(&kernel_of(&problem)), |line, next| {
            (line.starts_with('@') && next.starts_with("ld.global.v4")).then(String::new)
        });
        let found = verdict(&problem, &format!("{}: bounds", problem.name), &broken);
        // The next page may be there, but no key in it.
        let outside = matches!(found, Verdict::Fault(FaultKind::OutOfBounds | FaultKind::Uninitialised));
        assert!(outside, "{}: {found:?}", problem.name);
    }
}

/// Loads of what is not there give something else than zero.
#[test]
fn tails_without_zeros() {
    for problem in all_problems() {
        let text = ptx(&kernel_of(&problem));
        let loaded: Vec<&str> =
            text.lines().filter(|line| line.contains("ld.global.v4")).flat_map(registers).collect();
        for (what, value) in [("nothing", None), ("NaN", Some("0x7e007e00"))] {
            let broken = edit(&text, |line, _| {
                let zero = line.starts_with("mov.u32")
                    && line.ends_with(", 0;")
                    && loaded.contains(&registers(line)[0]);
                zero.then(|| {
                    value.map_or(String::new(), |value| line.replace(", 0;", &format!(", {value};")))
                })
            });
            match (verdict(&problem, &format!("{}: {what} for zeros", problem.name), &broken), value) {
                (Verdict::Fault(FaultKind::Uninitialised), None) | (Verdict::WrongAnswer, Some(_)) => {}
                (other, _) => panic!("{}: {what}: {other:?}", problem.name),
            }
        }
    }
}

#[test]
fn sums_that_are_not_rescaled() {
    for mut problem in all_problems() {
        problem = problem.values(Values::Rising);
        // The first multiplication behind the vote is that of a sum or an accumulator by its factor.
        let mut voted = false;
        let mut done = false;
        let broken = edit(&ptx(&kernel_of(&problem)), |line, _| {
            voted |= line.starts_with("vote.sync");
            let factor = line.starts_with("ex2.approx") && voted && !done;
            done |= factor;
            factor.then(|| format!("mov.f32 {}, 0f3F800000;", registers(line)[0]))
        });
        let found = verdict(&problem, &format!("{}: factor", problem.name), &broken);
        assert!(matches!(found, Verdict::WrongAnswer), "{found:?}");
    }
}

/// A page that the cache does not have is looked up like others. Its check is a comparison without sign, as
/// those of the mask are, which cannot lead out of bounds.
#[test]
fn a_page_that_is_not_there_without_its_check() {
    let decode = problem("broken page", 64).lengths(2, 0).heads(4, 1).paged(16, &[100], 2).lost();
    let paged = DIMS.map(|d| problem("broken page", d).lengths(40, 0).paged(16, &[100], 0).lost());
    for problem in [vec![decode], paged.to_vec()].concat() {
        let text = ptx(&kernel_of(&problem));
        let broken = edit(&text, |line, _| {
            let check = line.starts_with("setp.lt.u32") || line.starts_with("setp.ge.u32");
            check.then(|| format!("setp.eq.u32 {}, 0, 0;", registers(line)[0]))
        });
        let found = verdict(&problem, "pages", &broken);
        assert!(matches!(found, Verdict::Fault(FaultKind::OutOfBounds)), "{}: {found:?}", problem.name);
    }
}

/// What lanes tell each other of pages, taken from the wrong lane.
#[test]
fn the_other_tile_of_the_ring_and_keys_of_another_eight() {
    for problem in DIMS.map(paged) {
        let text = ptx(&kernel_of(&problem));
        let lines = || text.lines().map(str::trim).filter(|line| line.starts_with("shfl.sync.idx"));
        assert!(lines().count() >= 4);
        for xor in [1, 8, 16] {
            let broken = edit(&text, |line, _| {
                let found = line.starts_with("shfl.sync.idx").then(|| registers(line)[2])?;
                Some(format!("xor.b32 {found}, {found}, {xor};\n{line}"))
            });
            verdict(&problem, &format!("{}: lane xor {xor}", problem.name), &broken);
        }
    }
}

#[test]
fn exchange_with_the_wrong_lane_and_the_wrong_map_of_v() {
    for problem in all_problems() {
        let text = ptx(&kernel_of(&problem));
        let maps =
            edit(&text, |line, _| line.contains("row.row").then(|| line.replace("row.row", "row.col")));
        let exchange = edit(&text, |line, _| line.contains("shfl").then(|| line.replace(".bfly", ".down")));
        for (what, broken) in [("map", maps), ("exchange", exchange)] {
            let found = verdict(&problem, &format!("{}: {what}", problem.name), &broken);
            assert!(matches!(found, Verdict::WrongAnswer), "{what}: {found:?}");
        }
    }
}
