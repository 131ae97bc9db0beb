//! A warp: registers, and what each instruction does.

use std::array::from_fn;

use super::block::Machine;
use super::paths::Paths;
use super::{alu, mma, Lanes, Mask, Trouble};
use crate::fault::FaultKind;
use crate::op::{Axis, Bin32, Guard, Mma, Op, PredOp, Special, Src32, Src64, P, R32, R64};
use crate::ptx::Registers;

/// Warp instructions after which a warp counts as endless. The forward kernels take some 5000 for a tile of
/// 64 keys, so this is enough for a million keys.
const LIMIT: u64 = 1 << 27;

/// Registers and where the lanes are.
#[derive(Debug)]
pub(super) struct Warp {
    pub(super) number: u32,
    pub(super) paths: Paths,
    pub(super) executed: u64,
    r32: File<Lanes<u32>>,
    r64: File<Lanes<u64>>,
    preds: File<Mask>,
}

/// Registers of a kind, and which lanes of them were written.
#[derive(Debug)]
struct File<T> {
    values: Vec<T>,
    written: Vec<Mask>,
}

impl<T: Copy> File<T> {
    fn new(count: u32, zero: T) -> Self {
        Self { values: vec![zero; count as usize], written: vec![0; count as usize] }
    }

    /// The register as it is; a fault if a lane of `active` never wrote it.
    fn read(&self, number: u32, active: Mask) -> Result<&T, Box<Trouble>> {
        let number = number as usize;
        let missing = active & !self.written[number];
        if missing != 0 {
            let message = "a register that the instruction reads was never written";
            return Err(Trouble::new(FaultKind::Uninitialised, missing.trailing_zeros(), message));
        }
        Ok(&self.values[number])
    }
}

/// What a warp stops at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// All its lanes are at `bar.sync` of that number, the instruction `pc`.
    Barrier {
        id: u32,
        pc: u32,
    },
    Done,
}

/// What follows an instruction.
pub(super) enum Next {
    Advance,
    /// The paths have been set.
    Set,
    Halt(Halt),
}

impl Warp {
    pub(super) fn new(number: u32, registers: Registers) -> Self {
        Self {
            number,
            paths: Paths::new(0),
            executed: 0,
            r32: File::new(registers.b32, [0; 32]),
            r64: File::new(registers.b64, [0; 32]),
            preds: File::new(registers.preds, 0),
        }
    }

    pub(super) fn reset(&mut self, threads: Mask) {
        self.paths = Paths::new(threads);
        self.executed = 0;
        self.r32.written.fill(0);
        self.r64.written.fill(0);
        self.preds.written.fill(0);
    }

    /// Runs to the next barrier or to the end.
    pub(super) fn run(&mut self, machine: &mut Machine<'_>) -> Result<Halt, Box<Trouble>> {
        while !self.paths.done() {
            let (pc, mask) = self.paths.current();
            let instruction = &machine.code[pc as usize];
            let active = self.guarded(instruction.guard, mask)?;
            self.executed += 1;
            if self.executed > LIMIT {
                let message = format!("more than {LIMIT} instructions in one warp");
                return Err(Trouble::new(FaultKind::Endless, mask.trailing_zeros(), message));
            }
            machine.counts[pc as usize].executed += u64::from(active != 0);
            machine.begin(self.number, pc);
            let next = self.step(&instruction.op, pc, mask, active, machine)?;
            machine.end(self.number);
            match next {
                Next::Advance => self.paths.advance(),
                Next::Set => {}
                Next::Halt(halt) => return Ok(halt),
            }
        }
        Ok(Halt::Done)
    }

    fn guarded(&self, guard: Option<Guard>, mask: Mask) -> Result<Mask, Box<Trouble>> {
        match guard {
            None => Ok(mask),
            Some(guard) => Ok(self.truth(guard, mask)? & mask),
        }
    }

    /// Lanes for which a predicate, negated or not, holds.
    pub(super) fn truth(&self, guard: Guard, active: Mask) -> Result<Mask, Box<Trouble>> {
        let value = *self.preds.read(guard.p, active)?;
        Ok(if guard.negated { !value } else { value })
    }

    fn step(
        &mut self,
        op: &Op,
        pc: u32,
        mask: Mask,
        active: Mask,
        machine: &mut Machine<'_>,
    ) -> Result<Next, Box<Trouble>> {
        match *op {
            Op::Branch { target } => {
                self.paths.branch(active, target);
                return Ok(Next::Set);
            }
            Op::Exit => {
                self.paths.end(active);
                return Ok(Next::Set);
            }
            Op::Mma(_) | Op::Shuffle { .. } | Op::Vote { .. } | Op::Barrier { .. } => {
                return self.together(op, pc, mask, active, machine.sums);
            }
            Op::Load { space, words, d, from } => self.load(space, words, d, from, pc, active, machine)?,
            Op::Store { space, words, to, a } => self.store(space, words, to, a, pc, active, machine)?,
            Op::Special { d, what } => self.write32(d, &self.special(what, machine), active),
            Op::LoadParam32 { d, offset } => self.write32(d, &[machine.param32(offset); 32], active),
            Op::LoadParam64 { d, offset } => {
                let low = u64::from(machine.param32(offset));
                let high = u64::from(machine.param32(offset + 4));
                self.write64(d, &[high << 32 | low; 32], active);
            }
            Op::Mov64 { .. }
            | Op::Bin64 { .. }
            | Op::Shift64 { .. }
            | Op::Select64 { .. }
            | Op::MulWide { .. }
            | Op::Widen { .. }
            | Op::Narrow { .. } => self.wide(op, active)?,
            _ => self.narrow(op, active)?,
        }
        Ok(Next::Advance)
    }

    /// Instructions on registers of 32 bits and predicates.
    // One arm for each instruction.
    fn narrow(&mut self, op: &Op, active: Mask) -> Result<(), Box<Trouble>> {
        match *op {
            Op::Un32 { op, d, a } => {
                let value = alu::un32(op, &self.read32(a, active)?);
                self.write32(d, &value, active);
            }
            Op::Bin32 { op, d, a, b } => {
                let (a, b) = (self.read32(a, active)?, self.read32(b, active)?);
                if matches!(op, Bin32::DivS | Bin32::DivU | Bin32::RemS | Bin32::RemU) {
                    divisors(&b, active)?;
                }
                self.write32(d, &alu::bin32(op, &a, &b), active);
            }
            Op::Tri32 { op, d, a, b, c } => {
                let [a, b, c] = [self.read32(a, active)?, self.read32(b, active)?, self.read32(c, active)?];
                self.write32(d, &alu::tri32(op, &a, &b, &c), active);
            }
            Op::Bfi { d, field, into, start, length } => {
                let (field, into) = (self.read32(field, active)?, self.read32(into, active)?);
                let (start, length) = (self.read32(start, active)?, self.read32(length, active)?);
                self.write32(d, &alu::bfi(&field, &into, &start, &length), active);
            }
            Op::Select32 { d, yes, no, p } => {
                let p = *self.preds.read(p, active)?;
                // Both are read, chosen or not.
                let (yes, no) = (self.read32(yes, active)?, self.read32(no, active)?);
                self.write32(d, &from_fn(|n| if p >> n & 1 == 1 { yes[n] } else { no[n] }), active);
            }
            Op::Pack { d, low, high } => {
                let (low, high) = (*self.r32.read(low, active)?, *self.r32.read(high, active)?);
                self.write32(d, &from_fn(|n| low[n] & 0xffff | high[n] << 16), active);
            }
            Op::Unpack { low, high, a } => {
                let a = *self.r32.read(a, active)?;
                self.write32(low, &a.map(|word| word & 0xffff), active);
                self.write32(high, &a.map(|word| word >> 16), active);
            }
            Op::Compare32 { compare, number, d, a, b } => {
                let (a, b) = (self.read32(a, active)?, self.read32(b, active)?);
                self.write_pred(d, alu::compare32(compare, number, &a, &b), active);
            }
            Op::Compare64 { compare, signed, d, a, b } => {
                let (a, b) = (self.read64(a, active)?, self.read64(b, active)?);
                self.write_pred(d, alu::compare64(compare, signed, &a, &b), active);
            }
            Op::PredBin { op, d, a, b } => {
                let (a, b) = (*self.preds.read(a, active)?, *self.preds.read(b, active)?);
                let value = match op {
                    PredOp::And => a & b,
                    PredOp::Or => a | b,
                    PredOp::Xor => a ^ b,
                };
                self.write_pred(d, value, active);
            }
            Op::PredUn { negated, d, a } => {
                let value = self.truth(Guard { p: a, negated }, active)?;
                self.write_pred(d, value, active);
            }
            _ => unreachable!("step() has sent {op:?} elsewhere"),
        }
        Ok(())
    }

    /// Instructions that read or write registers of 64 bits.
    fn wide(&mut self, op: &Op, active: Mask) -> Result<(), Box<Trouble>> {
        match *op {
            Op::Mov64 { d, a } => {
                let value = self.read64(a, active)?;
                self.write64(d, &value, active);
            }
            Op::Bin64 { op, d, a, b } => {
                let (a, b) = (self.read64(a, active)?, self.read64(b, active)?);
                self.write64(d, &alu::bin64(op, &a, &b), active);
            }
            Op::Shift64 { op, d, a, by } => {
                let (a, by) = (self.read64(a, active)?, self.read32(by, active)?);
                self.write64(d, &alu::bin64(op, &a, &by.map(u64::from)), active);
            }
            Op::Select64 { d, yes, no, p } => {
                let p = *self.preds.read(p, active)?;
                let (yes, no) = (self.read64(yes, active)?, self.read64(no, active)?);
                self.write64(d, &from_fn(|n| if p >> n & 1 == 1 { yes[n] } else { no[n] }), active);
            }
            Op::MulWide { signed, d, a, b } => {
                let (a, b) = (self.read32(a, active)?, self.read32(b, active)?);
                self.write64(d, &alu::mul_wide(signed, &a, &b), active);
            }
            Op::Widen { signed, d, a } => {
                let value = self.read32(a, active)?.map(|word| alu::widen(signed, word));
                self.write64(d, &value, active);
            }
            Op::Narrow { d, a } => {
                let value = alu::narrow(&self.read64(a, active)?);
                self.write32(d, &value, active);
            }
            _ => unreachable!("step() has sent {op:?} elsewhere"),
        }
        Ok(())
    }

    fn special(&self, what: Special, machine: &Machine<'_>) -> Lanes<u32> {
        let of = |value: [u32; 3], axis| match axis {
            Axis::X => value[0],
            Axis::Y => value[1],
            Axis::Z => value[2],
        };
        let [x, y, _] = machine.threads;
        from_fn(|lane| {
            let lane = u32::try_from(lane).expect("a lane is below 32");
            let thread = self.number * 32 + lane;
            match what {
                Special::Tid(axis) => of([thread % x, thread / x % y, thread / (x * y)], axis),
                Special::Ntid(axis) => of(machine.threads, axis),
                Special::Ctaid(axis) => of(machine.block, axis),
                Special::Nctaid(axis) => of(machine.grid, axis),
                Special::LaneId => lane,
            }
        })
    }

    /// A tensor instruction; all lanes are there.
    pub(super) fn mma(&mut self, op: &Mma, sums: mma::Sums) -> Result<(), Box<Trouble>> {
        let mut sources = [[0; 32]; 12];
        for (slot, source) in sources.iter_mut().zip(op.a.iter().chain(&op.b).chain(&op.c)) {
            *slot = self.read32(*source, Mask::MAX)?;
        }
        let [a0, a1, b0, b1, c @ ..] = &sources;
        let d = mma::mma([a0, a1], [b0, b1], op.b_is_row, c.each_ref(), sums);
        for (number, value) in op.d.iter().zip(&d) {
            self.write32(*number, value, Mask::MAX);
        }
        Ok(())
    }

    pub(super) fn read32(&self, source: Src32, active: Mask) -> Result<Lanes<u32>, Box<Trouble>> {
        match source {
            Src32::Imm(value) => Ok([value; 32]),
            Src32::Reg(number) => self.r32.read(number, active).copied(),
        }
    }

    pub(super) fn read64(&self, source: Src64, active: Mask) -> Result<Lanes<u64>, Box<Trouble>> {
        match source {
            Src64::Imm(value) => Ok([value; 32]),
            Src64::Reg(number) => self.r64.read(number, active).copied(),
        }
    }

    pub(super) fn write32(&mut self, number: R32, value: &Lanes<u32>, active: Mask) {
        write(&mut self.r32, number, value, active);
    }

    fn write64(&mut self, number: R64, value: &Lanes<u64>, active: Mask) {
        write(&mut self.r64, number, value, active);
    }

    pub(super) fn write_pred(&mut self, number: P, value: Mask, active: Mask) {
        let number = number as usize;
        let old = self.preds.values[number];
        self.preds.values[number] = old & !active | value & active;
        self.preds.written[number] |= active;
    }
}

fn write<T: Copy>(file: &mut File<Lanes<T>>, number: u32, value: &Lanes<T>, active: Mask) {
    let number = number as usize;
    let to = &mut file.values[number];
    if active == Mask::MAX {
        *to = *value;
    } else {
        for (lane, slot) in to.iter_mut().enumerate() {
            if active >> lane & 1 == 1 {
                *slot = value[lane];
            }
        }
    }
    file.written[number] |= active;
}

fn divisors(b: &Lanes<u32>, active: Mask) -> Result<(), Box<Trouble>> {
    match active & alu::mask_of(|lane| b[lane] == 0) {
        0 => Ok(()),
        zero => {
            Err(Trouble::new(FaultKind::DivisionByZero, zero.trailing_zeros(), "the result is not defined"))
        }
    }
}
