//! Straight code. A branch over a few instructions becomes a guard of these.

use std::ops::Range;

use fastattention_sm70::{Facts, Register, Work};

/// Instructions behind a branch that become guarded at most.
const MOST_GUARDED: usize = 12;

/// Ranges of instructions that are entered at their beginning only, all of them in order.
pub(super) fn split(facts: &[Facts]) -> Vec<Range<usize>> {
    let mut begins = vec![false; facts.len() + 1];
    begins[0] = true;
    for (at, one) in facts.iter().enumerate() {
        match one.work {
            Work::Branch { target } if !is_short(facts, at, target as usize) => {
                begins[target as usize] = true;
                begins[at + 1] = true;
            }
            Work::Exit if !one.is_guarded => begins[at + 1] = true,
            _ => {}
        }
    }
    let starts: Vec<usize> = (0..facts.len()).filter(|&at| begins[at]).collect();
    let ends = starts.iter().skip(1).copied().chain([facts.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Does a branch skip a few instructions that can be guarded?
fn is_short(facts: &[Facts], at: usize, target: usize) -> bool {
    let body = at + 1..target;
    facts[at].is_guarded
        && target > at
        && body.len() <= MOST_GUARDED
        && body.clone().all(|n| {
            let is_whole = matches!(
                facts[n].work,
                Work::Branch { .. } | Work::Exit | Work::Barrier | Work::Mma | Work::Exchange | Work::Vote
            );
            !facts[n].is_guarded && !is_whole
        })
}

/// The predicate under which an instruction of a region is executed, where a branch before it in the region
/// skips it.
pub(super) fn guards(facts: &[Facts], region: Range<usize>) -> Vec<Option<Register>> {
    let mut guards = vec![None; region.len()];
    for at in region.clone() {
        let Work::Branch { target } = facts[at].work else { continue };
        if is_short(facts, at, target as usize) {
            let predicate = facts[at].reads.first().copied();
            guards[at + 1 - region.start..target as usize - region.start].fill(predicate);
        }
    }
    guards
}

/// Is it a branch that guards replace?
pub(super) fn is_replaced(facts: &[Facts], at: usize) -> bool {
    matches!(facts[at].work, Work::Branch { target } if is_short(facts, at, target as usize))
}
