//! The body of a kernel while it is read: its registers, labels and instructions.

use std::collections::HashMap;

use super::Registers;
use crate::fault::Error;
use crate::op::{Guard, Instruction, Op};

/// Registers of a kind that a thread may have; those of this workspace's kernels have up to 14,000. A text of
/// a few bytes must not ask for all memory there is.
const MAX_REGISTERS: u32 = 1 << 16;
/// `{ }` within each other.
const MAX_DEPTH: usize = 16;

/// Which file a register is in. 16-bit ones lie in the file of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Pred,
    B16,
    B32,
    B64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Register {
    pub(super) class: Class,
    pub(super) number: u32,
}

/// Names of one `{ }`.
#[derive(Debug, Default)]
struct Scope {
    single: HashMap<String, Register>,
    /// `%r<10>`: the first of ten.
    ranges: HashMap<String, (Register, u32)>,
}

#[derive(Debug, Default)]
pub(super) struct Body {
    scopes: Vec<Scope>,
    pub(super) registers: Registers,
    code: Vec<Instruction>,
    labels: HashMap<String, u32>,
    /// Branches whose label may come later: instruction and label.
    branches: Vec<(usize, String)>,
    /// File and line of the last `.loc`.
    pub(super) loc: (u32, u32),
}

impl Body {
    pub(super) fn open(&mut self, line: u32) -> Result<(), Error> {
        if self.scopes.len() >= MAX_DEPTH {
            return Err(Error::unsupported(line, format!("more than {MAX_DEPTH} blocks within each other")));
        }
        self.scopes.push(Scope::default());
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.scopes.pop();
    }

    pub(super) fn push(&mut self, guard: Option<Guard>, op: Op, line: u32) {
        self.code.push(Instruction { guard, op, line, loc: self.loc });
    }

    pub(super) fn branch(&mut self, guard: Option<Guard>, label: &str, line: u32) {
        self.branches.push((self.code.len(), label.to_owned()));
        self.push(guard, Op::Branch { target: 0 }, line);
    }

    pub(super) fn label(&mut self, label: &str, line: u32) -> Result<(), Error> {
        let here = u32::try_from(self.code.len()).expect("a text of less than 2^32 instructions");
        match self.labels.insert(label.to_owned(), here) {
            None => Ok(()),
            Some(_) => Err(Error::invalid(line, format_args!("label {label} is there twice"))),
        }
    }

    /// A register of that name, or `%name<count>` of them, in the innermost block.
    pub(super) fn declare(
        &mut self,
        class: Class,
        name: &str,
        range: Option<u32>,
        line: u32,
    ) -> Result<(), Error> {
        let file = match class {
            Class::Pred => &mut self.registers.preds,
            Class::B16 | Class::B32 => &mut self.registers.b32,
            Class::B64 => &mut self.registers.b64,
        };
        let first = Register { class, number: *file };
        let count = range.unwrap_or(1);
        *file = file.checked_add(count).filter(|total| *total <= MAX_REGISTERS).ok_or_else(|| {
            let text = format!("{count} registers {name}: more than {MAX_REGISTERS} of a kind");
            Error::unsupported(line, text)
        })?;
        let scope = self.scopes.last_mut().expect("a block is open while its statements are read");
        match range {
            Some(count) => drop(scope.ranges.insert(name.to_owned(), (first, count))),
            None => drop(scope.single.insert(name.to_owned(), first)),
        }
        Ok(())
    }

    /// The register of that name, innermost block first.
    pub(super) fn register(&self, name: &str) -> Option<Register> {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let index: Option<u32> = name[stem.len()..].parse().ok();
        self.scopes.iter().rev().find_map(|scope| {
            let ranged = || {
                let (first, count) = scope.ranges.get(stem)?;
                let index = index.filter(|index| index < count)?;
                Some(Register { class: first.class, number: first.number + index })
            };
            scope.single.get(name).copied().or_else(ranged)
        })
    }

    /// The code with its branches resolved, and an end behind it.
    pub(super) fn finish(mut self, line: u32) -> Result<Vec<Instruction>, Error> {
        for (at, label) in self.branches {
            let from = self.code[at].line;
            let found = self.labels.get(&label).copied();
            let target =
                found.ok_or_else(|| Error::invalid(from, format_args!("label {label} is nowhere")))?;
            self.code[at].op = Op::Branch { target };
        }
        self.code.push(Instruction { guard: None, op: Op::Exit, line, loc: (0, 0) });
        Ok(self.code)
    }
}
