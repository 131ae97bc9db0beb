//! One warp: registers, the place of each lane, convergence barriers.

use super::state::{BlockState, LOCAL_WORDS};
use super::{Issued, Lanes, Mask};
use crate::sass::{Guard, Instruction, Op, Operand, Pred, Value, PT, RZ};
use crate::{Error, Kernel, Result};

pub(super) struct Warp {
    pub(super) number: u32,
    pub(super) registers: Vec<Lanes<u32>>,
    pub(super) predicates: [Mask; 8],
    /// Lanes that take part in the present instruction.
    pub(super) mask: Mask,
    pub(super) local: Vec<Lanes<u32>>,
    /// Barrier of the block and threads that it wants (0: all).
    pub(super) waits_at: Option<(u32, u32)>,
    pub(super) trace: Vec<Issued>,
    alive: Mask,
    place: Lanes<u32>,
    members: [Option<Mask>; 16],
    /// Convergence barrier that a lane waits at.
    meets: Lanes<Option<u8>>,
}

/// Why a warp stops within an instruction.
pub(super) enum Stop {
    Lacks(&'static str),
    Fault(String),
}

impl Warp {
    pub(super) fn new(number: u32, threads: u32) -> Self {
        let left = threads - 32 * number;
        Self {
            number,
            registers: vec![[0; 32]; 256],
            predicates: [0, 0, 0, 0, 0, 0, 0, Mask::MAX],
            mask: 0,
            local: Vec::new(),
            waits_at: None,
            trace: Vec::new(),
            alive: if left >= 32 { Mask::MAX } else { (1 << left) - 1 },
            place: [0; 32],
            members: [None; 16],
            meets: [None; 32],
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive != 0
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_alive() && self.waits_at.is_none()
    }

    /// Up to the next barrier of the block or to its end.
    pub(super) fn run(&mut self, kernel: &Kernel, state: &mut BlockState<'_>) -> Result<()> {
        loop {
            let meets = lanes_of(|lane| self.meets[lane].is_some());
            let free = self.alive & !meets;
            if free == 0 {
                if self.alive == 0 {
                    return Ok(());
                }
                if !(0..16).any(|barrier| self.release(barrier)) {
                    let at = self.trace.last().map_or(0, |step| step.index);
                    return Err(kernel.fault(at, "lanes wait for each other at convergence barriers"));
                }
                continue;
            }
            // The lanes that are furthest behind run first.
            let index = (0..32).filter(|lane| free >> lane & 1 == 1).map(|lane| self.place[lane]).min();
            let index = index.unwrap_or(0);
            let active = free & lanes_of(|lane| self.place[lane] == index);
            let Some(instruction) = kernel.code.get(index as usize) else {
                return Err(Error::Invalid(format!("{}: a warp ran behind the code's end", kernel.name())));
            };
            self.mask = active & self.pred(instruction.guard);
            self.go(active, index + 1);
            if self.step(kernel, state, instruction, index, active)? {
                return Ok(());
            }
        }
    }

    /// True if the warp waits or has ended.
    fn step(
        &mut self,
        kernel: &Kernel,
        state: &mut BlockState<'_>,
        instruction: &Instruction,
        index: u32,
        active: Mask,
    ) -> Result<bool> {
        let done = match &instruction.op {
            Op::Branch { .. }
            | Op::Exit { .. }
            | Op::Gather { .. }
            | Op::Meet { .. }
            | Op::Leave { .. }
            | Op::Return { .. }
            | Op::Nothing => {
                self.trace.push(Issued { index, extra: 0 });
                return self.control(kernel, instruction, index, active);
            }
            Op::Barrier { number, threads, arrives_only } => {
                return Ok(self.barrier(state, index, (number, threads.as_ref()), *arrives_only));
            }
            _ if self.mask == 0 => Ok(0),
            op => self.perform(state, op),
        };
        match done {
            Ok(extra) => self.trace.push(Issued { index, extra }),
            Err(Stop::Fault(what)) => return Err(kernel.fault(index, what)),
            Err(Stop::Lacks(what)) => return Err(unsupported(instruction, what)),
        }
        Ok(false)
    }

    fn control(
        &mut self,
        kernel: &Kernel,
        instruction: &Instruction,
        index: u32,
        active: Mask,
    ) -> Result<bool> {
        let mut mask = self.mask;
        let with = |warp: &Self, also: Option<Pred>| also.map_or(Mask::MAX, |also| warp.pred(also));
        match instruction.op {
            Op::Branch { target, also } => {
                mask &= with(self, also);
                if mask != 0 {
                    let target = target.ok_or_else(|| unsupported(instruction, "a branch to a register"))?;
                    self.go(mask, target);
                }
            }
            Op::Exit { also } => {
                self.alive &= !(mask & with(self, also));
                return Ok(self.alive == 0);
            }
            Op::Gather { barrier } => self.members[usize::from(barrier) % 16] = Some(active),
            Op::Meet { barrier } => {
                self.members[usize::from(barrier) % 16].get_or_insert(active);
                for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
                    self.meets[lane] = Some(barrier % 16);
                }
                self.release(barrier % 16);
            }
            Op::Leave { barrier } => {
                let members = &mut self.members[usize::from(barrier) % 16];
                *members = Some(members.unwrap_or(0) & !mask);
                self.release(barrier % 16);
            }
            Op::Return { to } => {
                for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
                    let pc = self.registers[usize::from(to)][lane];
                    let place = kernel.index_of_pc.get(&pc).copied();
                    self.place[lane] =
                        place.ok_or_else(|| kernel.fault(index, format!("returns to {pc:#x}")))?;
                }
            }
            _ => {}
        }
        Ok(false)
    }

    /// True if the warp waits.
    fn barrier(
        &mut self,
        state: &mut BlockState<'_>,
        index: u32,
        (number, threads): (&Operand, Option<&Operand>),
        arrives_only: bool,
    ) -> bool {
        let lane = self.mask.trailing_zeros() as usize % 32;
        let value = |operand: &Operand| self.int(state, operand)[lane];
        let (number, threads) = (value(number) % 16, threads.map_or(0, value));
        let extra = number | threads << 8 | u32::from(arrives_only) << 24;
        self.trace.push(Issued { index, extra });
        if self.mask == 0 {
            return false;
        }
        if arrives_only {
            state.arrived[number as usize] += 32;
        } else {
            self.waits_at = Some((number, threads));
        }
        // Also after an arrival, so that the block looks whether somebody can go on.
        true
    }

    /// Lanes at a convergence barrier go on once all of its members that live wait there.
    fn release(&mut self, barrier: u8) -> bool {
        let members = self.members[usize::from(barrier)].unwrap_or(0) & self.alive;
        let here = lanes_of(|lane| self.meets[lane] == Some(barrier));
        if members == 0 || members & here != members {
            return false;
        }
        for lane in (0..32).filter(|lane| members >> lane & 1 == 1) {
            self.meets[lane] = None;
        }
        true
    }

    fn go(&mut self, mask: Mask, to: u32) {
        for (lane, place) in self.place.iter_mut().enumerate() {
            if mask >> lane & 1 == 1 {
                *place = to;
            }
        }
    }

    pub(super) fn pred(&self, pred: Guard) -> Mask {
        let mask = self.predicates[usize::from(pred.index)];
        if pred.negated {
            !mask
        } else {
            mask
        }
    }

    pub(super) fn set_pred(&mut self, to: u8, value: Mask) {
        if to != PT {
            let old = &mut self.predicates[usize::from(to)];
            *old = *old & !self.mask | value & self.mask;
        }
    }

    pub(super) fn write(&mut self, to: u8, value: Lanes<u32>) {
        if to == RZ {
            return;
        }
        let mask = self.mask;
        for (lane, (old, new)) in self.registers[usize::from(to)].iter_mut().zip(value).enumerate() {
            if mask >> lane & 1 == 1 {
                *old = new;
            }
        }
    }

    /// The second register of a pair; there is none behind the zero register.
    pub(super) fn next(to: u8) -> u8 {
        if to == RZ {
            RZ
        } else {
            to + 1
        }
    }

    pub(super) fn raw(&self, state: &BlockState<'_>, operand: &Operand) -> Lanes<u32> {
        match operand.value {
            Value::Register(index) => self.registers[usize::from(index)],
            value => [state.fixed(value).unwrap_or(0); 32],
        }
    }

    pub(super) fn int(&self, state: &BlockState<'_>, operand: &Operand) -> Lanes<u32> {
        let mut value = self.raw(state, operand);
        if operand.magnitude {
            value = value.map(|x| x.cast_signed().unsigned_abs());
        }
        if operand.negated {
            value = value.map(u32::wrapping_neg);
        }
        if operand.inverted {
            value = value.map(|x| !x);
        }
        value
    }

    pub(super) fn float(&self, state: &BlockState<'_>, operand: &Operand) -> Lanes<f32> {
        let mut bits = self.raw(state, operand);
        if operand.magnitude {
            bits = bits.map(|x| x & 0x7fff_ffff);
        }
        if operand.negated {
            bits = bits.map(|x| x ^ 0x8000_0000);
        }
        bits.map(f32::from_bits)
    }

    pub(super) fn local(&mut self) -> &mut [Lanes<u32>] {
        if self.local.is_empty() {
            self.local = vec![[0; 32]; LOCAL_WORDS as usize];
        }
        &mut self.local
    }
}

/// The lanes for which something holds.
pub(super) fn lanes_of(holds: impl Fn(usize) -> bool) -> Mask {
    (0..32).fold(0, |mask, lane| mask | u32::from(holds(lane)) << lane)
}

fn unsupported(instruction: &Instruction, what: &str) -> Error {
    Error::Unsupported { pc: instruction.pc, text: instruction.text.clone(), what: what.to_owned() }
}
