//! Which machine instructions an instruction of PTX becomes: a table, and what is folded into others.
//!
//! ASSUMPTION(v100-ptx-cost): the table, seen in what ptxas 12.9 makes of these kernels. Copies vanish,
//! as do parameters, which are operands; a number in a register is cleared two at a time; logic on
//! predicates goes into the comparison before; sums that only make an address of shared memory go into
//! its offset, and a shift that only a sum reads goes into the sum.

use std::collections::BTreeMap;

use fastattention_sm70::{Facts, Register, Space, Work};

use crate::sass::Unit;

/// Machine instructions, in order.
pub(super) type Cost = Vec<Unit>;

/// Of each instruction.
pub(super) fn costs(facts: &[Facts]) -> Vec<Cost> {
    let folded = Folded::new(facts);
    let mut constants = 0;
    facts
        .iter()
        .enumerate()
        .map(|(at, one)| if folded.is(at) { Vec::new() } else { cost(one, &mut constants) })
        .collect()
}

fn cost(facts: &Facts, constants: &mut u32) -> Cost {
    match facts.work {
        Work::Copy | Work::Logic | Work::Widen { signed: false } => Vec::new(),
        Work::Constant => {
            // Two registers at a time; parameters and numbers of 64 bits are operands.
            let is_word = facts.writes.iter().any(|to| matches!(to, Register::Word(_)));
            *constants += u32::from(is_word);
            if is_word && constants.is_multiple_of(2) {
                vec![Unit::Alu]
            } else {
                Vec::new()
            }
        }
        Work::Place => vec![Unit::Slow],
        Work::Add { .. } | Work::ShiftLeft | Work::Integer | Work::Vote | Work::Widen { signed: true } => {
            vec![Unit::Alu]
        }
        Work::Product | Work::Float => vec![Unit::Fma],
        Work::WideAdd { .. } | Work::Wide => vec![Unit::Alu; 2],
        Work::WideProduct => vec![Unit::Fma; 4],
        Work::Quotient => [vec![Unit::Special; 2], vec![Unit::Alu; 14]].concat(),
        Work::Exponential | Work::Convert => vec![Unit::Special],
        Work::Function => vec![Unit::Alu, Unit::Fma, Unit::Special, Unit::Fma],
        Work::ToHalf => vec![Unit::ToHalf],
        Work::Exchange => vec![Unit::Shuffle],
        Work::Mma => vec![Unit::Tensor; 4],
        Work::Load(Space::Shared) => vec![Unit::SharedLoad],
        Work::Load(Space::Global) => vec![Unit::GlobalLoad],
        Work::Store(Space::Shared) => vec![Unit::SharedStore],
        Work::Store(Space::Global) => vec![Unit::GlobalStore],
        Work::Barrier => vec![Unit::Barrier],
        Work::Branch { .. } | Work::Exit => vec![Unit::Branch],
    }
}

/// Instructions that go into others.
struct Folded {
    is: Vec<bool>,
}

impl Folded {
    fn new(facts: &[Facts]) -> Self {
        // Who reads a register, and who writes it.
        let (mut readers, mut writers) = (BTreeMap::new(), BTreeMap::new());
        for (at, one) in facts.iter().enumerate() {
            for register in one.reads.iter().chain(&one.adds) {
                readers.entry(*register).or_insert_with(Vec::new).push(at);
            }
            for register in &one.writes {
                writers.entry(*register).or_insert_with(Vec::new).push(at);
            }
        }
        let all = |at: usize, is: &dyn Fn(usize) -> bool| {
            let mut read = facts[at].writes.iter().filter_map(|to| readers.get(to)).flatten().peekable();
            read.peek().is_some() && read.all(|&reader| is(reader))
        };
        let is_constant = |register: &Register| {
            let writers: Option<&Vec<usize>> = writers.get(register);
            writers.is_some_and(|at| at.iter().all(|&at| facts[at].work == Work::Constant))
        };
        let is_shared =
            |at: usize| matches!(facts[at].work, Work::Load(Space::Shared) | Work::Store(Space::Shared));
        // The sum of the place of shared memory and an offset, read by accesses of shared memory.
        let is_base = |at: usize| {
            matches!(facts[at].work, Work::WideAdd { .. })
                && (facts[at].reads.len() < 2 || facts[at].reads.iter().any(is_constant))
                && all(at, &is_shared)
        };
        let is_widened = |at: usize| {
            facts[at].work == Work::Widen { signed: false }
                && all(at, &|reader| is_base(reader) || is_shared(reader))
        };
        let is_offset = |at: usize| facts[at].work == Work::Add { immediate: true } && all(at, &is_widened);
        let is_shift = |at: usize| {
            facts[at].work == Work::ShiftLeft
                && all(at, &|reader| matches!(facts[reader].work, Work::Add { .. }) && !is_offset(reader))
        };
        let is = (0..facts.len()).map(|at| is_base(at) || is_offset(at) || is_shift(at)).collect();
        Self { is }
    }

    fn is(&self, at: usize) -> bool {
        self.is[at]
    }
}
