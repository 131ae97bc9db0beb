//! Shipped kernels with random damage: whatever becomes of them, the interpreter says it and does not panic.

use fastattention_sm70::{Error, Sums};

use super::launch::{kernel_of, ptx, run};
use super::problem::{inputs, problem, Problem};

/// Damage at one place of a text: a line lost, doubled, moved, or a word of it put in the place of another.
fn damage(text: &str, random: &mut fastrand::Rng) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (at, other) = (random.usize(20..lines.len()), random.usize(20..lines.len()));
    match random.u8(0..6) {
        0 => lines[at].clear(),
        1 => lines[at] = lines[other].clone(),
        2 => lines.swap(at, other),
        3 => {
            let cut = random.usize(0..=lines[at].len());
            lines[at].truncate(cut);
        }
        _ => {
            let words: Vec<&str> = lines[at].split_whitespace().collect();
            let others: Vec<&str> = lines[other].split_whitespace().collect();
            if let (Some(word), Some(by)) = (random.choice(&words), random.choice(&others)) {
                lines[at] = lines[at].replace(word, by);
            }
        }
    }
    lines.join("\n")
}

fn damaged(problem: &Problem, count: u64) {
    let (inputs, text) = (inputs(problem), ptx(&kernel_of(problem)));
    let mut seen = [0; 4];
    for seed in 0..count {
        let broken = damage(&text, &mut fastrand::Rng::with_seed(seed));
        let kind = match run(problem, &inputs, &broken, Sums::Nearest) {
            Ok(_) => 0,
            Err(Error::Fault(fault)) => {
                let lines = u32::try_from(broken.lines().count()).unwrap();
                assert!((1..=lines).contains(&fault.at.line), "{fault}");
                1
            }
            Err(Error::Unsupported(_)) => 2,
            Err(Error::Invalid(_)) => 3,
        };
        seen[kind] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0 && seen[3] > 0, "{seen:?}: the damage is all of one kind");
}

#[test]
fn damaged_kernels_never_panic_the_interpreter() {
    damaged(&problem("damaged", 32).lengths(40, 70).causal(), 300);
    damaged(&problem("damaged decode", 64).lengths(2, 0).heads(2, 1).paged(8, &[30, 41], 2), 300);
}
