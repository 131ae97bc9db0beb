//! Registers that live at a time.

use std::collections::BTreeSet;

use fastattention_sm70::{Facts, Register, Work};

use super::cost::Cost;

/// Registers beside those of values: the stack, a scratch one.
const OTHERS: u32 = 2;

/// The most registers that a thread needs at a time, in the order of the text.
pub(super) fn registers(facts: &[Facts], costs: &[Cost]) -> u32 {
    let mut live: Vec<BTreeSet<Register>> = vec![BTreeSet::new(); facts.len() + 1];
    let mut is_new = true;
    while is_new {
        is_new = false;
        for at in (0..facts.len()).rev() {
            let one = &facts[at];
            let mut here = match one.work {
                Work::Exit if !one.is_guarded => BTreeSet::new(),
                Work::Branch { target } if !one.is_guarded => live[target as usize].clone(),
                Work::Branch { target } => &live[at + 1] | &live[target as usize],
                _ => live[at + 1].clone(),
            };
            if !one.is_guarded {
                here.retain(|register| !one.writes.contains(register));
            }
            here.extend(one.reads.iter().chain(&one.adds));
            if here != live[at] {
                live[at] = here;
                is_new = true;
            }
        }
    }
    // Numbers of the text, and what is folded into others, are in no register.
    let none: BTreeSet<Register> = facts
        .iter()
        .zip(costs)
        .filter(|(one, cost)| cost.is_empty() && one.work != Work::Copy)
        .flat_map(|(one, _)| one.writes.iter().copied())
        .collect();
    let words = |register: &Register| match register {
        Register::Word(_) => 1,
        Register::Pair(_) => 2,
        Register::Predicate(_) => 0,
    };
    let count = |live: &BTreeSet<Register>| live.difference(&none).map(words).sum::<u32>();
    live.iter().map(count).max().unwrap_or(0) + OTHERS
}
