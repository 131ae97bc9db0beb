//! One multiprocessor, driven by what the warps of its blocks issued.
//!
//! Four sub-cores issue one instruction a cycle each. ASSUMPTION(v100-issue-order): the warp that issued
//! last goes first, then the next ones by turns. An instruction issues when the stall count of the warp's
//! one before has passed, every scoreboard in its wait mask is clear, and its pipe is free; for memory,
//! when the queue before the unit that serves it is not full. That unit is shared by the sub-cores and
//! serves one wavefront a cycle.

use super::fetch::Fetch;
use super::Parameters;
use crate::exec::Issued;
use crate::sass::{Control, Unit};
use crate::{Error, Kernel, Result, Trace};

/// Scoreboards of a warp.
const BOARDS: usize = 6;
const NEVER: u64 = u64::MAX;

/// Cycles that each pipe worked; of the first four the sum over the sub-cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// Tensor cores.
    pub tensor: u64,
    /// Float sums and products.
    pub fma: u64,
    /// Integers, comparisons.
    pub alu: u64,
    /// Special functions.
    pub special: u64,
    /// The unit that serves memory.
    pub memory: u64,
}

/// How often issue was refused, by reason: a ranking, not a count of cycles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// A result was not there yet.
    pub scoreboard: u64,
    /// The tensor cores were taken.
    pub tensor: u64,
    /// Another pipe was taken.
    pub pipe: u64,
    /// Too much waited for memory.
    pub queue: u64,
    /// The instruction was not there yet.
    pub fetch: u64,
}

/// What blocks that share a multiprocessor took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// From the first issue to the last.
    pub cycles: u64,
    /// Instructions of warps.
    pub issued: u64,
    /// Work of the pipes.
    pub busy: Busy,
    /// Why nothing was issued.
    pub refused: Refused,
}

impl Report {
    /// The part of the time that the tensor cores worked.
    #[must_use]
    pub fn tensor_share(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "cycles are below 2^52")]
        let share = self.busy.tensor as f64 / (4 * self.cycles.max(1)) as f64;
        share
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pipe {
    Tensor,
    Fma,
    Alu,
    Special,
    Branch,
    /// Instructions that memory serves.
    Memory,
    /// The same door, without memory behind it.
    Slow,
}

/// What issue needs to know of an instruction.
struct Fact {
    pipe: Pipe,
    hold: u64,
    unit: Unit,
    control: Control,
}

struct Warp<'a> {
    facts: &'a [Fact],
    trace: &'a [Issued],
    at: usize,
    ready: u64,
    boards: [u64; BOARDS],
    block: usize,
    /// Barrier and threads that it wants.
    waits_at: Option<(u32, u32)>,
}

struct Machine<'a> {
    p: Parameters,
    warps: Vec<Warp<'a>>,
    /// Warps of each sub-core, and whose turn it is.
    turns: [(Vec<usize>, usize); 4],
    /// Cycle from which a pipe of a sub-core is free.
    free: [[u64; 7]; 4],
    living: Vec<u32>,
    arrived: Vec<[u32; 16]>,
    memory: u64,
    /// DRAM: in units of a 1000th cycle.
    far: u64,
    fetch: Fetch,
    report: Report,
    now: u64,
}

/// Runs the blocks that share a multiprocessor.
///
/// # Errors
/// [`Error::Invalid`] if warps wait at barriers for ever.
pub fn simulate(blocks: &[(&Kernel, &Trace)], parameters: &Parameters) -> Result<Report> {
    let facts: Vec<Vec<Fact>> = blocks.iter().map(|(kernel, _)| facts(kernel, parameters)).collect();
    let mut warps = Vec::new();
    let mut turns: [(Vec<usize>, usize); 4] = Default::default();
    for (block, (_, trace)) in blocks.iter().enumerate() {
        for trace in trace.warps.iter().filter(|trace| !trace.is_empty()) {
            turns[warps.len() % 4].0.push(warps.len());
            let facts = &facts[block];
            warps.push(Warp { facts, trace, at: 0, ready: 0, boards: [0; BOARDS], block, waits_at: None });
        }
    }
    let living = blocks.iter().map(|(_, trace)| u32::try_from(trace.warps.len()).unwrap_or(0)).collect();
    let mut machine = Machine {
        p: *parameters,
        warps,
        turns,
        free: [[0; 7]; 4],
        living,
        arrived: vec![[0; 16]; blocks.len()],
        memory: 0,
        far: 0,
        fetch: Fetch::new(*parameters),
        report: Report::default(),
        now: 0,
    };
    machine.run()?;
    Ok(machine.report)
}

fn facts(kernel: &Kernel, p: &Parameters) -> Vec<Fact> {
    let fact = |unit: Unit| match unit {
        Unit::Tensor => (Pipe::Tensor, p.tensor),
        Unit::Fma => (Pipe::Fma, p.fma),
        Unit::Alu => (Pipe::Alu, p.alu),
        Unit::Special => (Pipe::Special, p.special),
        Unit::ToHalf => (Pipe::Special, p.to_half),
        Unit::Branch | Unit::Barrier => (Pipe::Branch, 1),
        Unit::Slow => (Pipe::Slow, 2),
        _ => (Pipe::Memory, 2),
    };
    let code = kernel.code.iter();
    code.map(|instruction| {
        let (pipe, hold) = fact(instruction.unit);
        Fact { pipe, hold, unit: instruction.unit, control: instruction.control }
    })
    .collect()
}

/// What became of one sub-core's turn.
enum Turn {
    Issued,
    /// Nothing before this cycle.
    Later(u64),
}

impl Machine<'_> {
    fn run(&mut self) -> Result<()> {
        let mut left = self.warps.len();
        while left > 0 {
            let (mut wake, mut progress) = (NEVER, false);
            for sub_core in 0..4 {
                let before = self.turns[sub_core].0.len();
                match self.turn(sub_core) {
                    Turn::Issued => progress = true,
                    Turn::Later(cycle) => wake = wake.min(cycle),
                }
                left -= before - self.turns[sub_core].0.len();
            }
            if progress {
                self.now += 1;
            } else if wake == NEVER {
                return Err(Error::Invalid(format!("{left} warps wait at barriers that nobody opens")));
            } else {
                self.now = wake.max(self.now + 1);
            }
        }
        self.report.cycles = self.now;
        Ok(())
    }

    fn turn(&mut self, sub_core: usize) -> Turn {
        let (count, last) = (self.turns[sub_core].0.len(), self.turns[sub_core].1);
        let mut wake = NEVER;
        for n in 0..count {
            let slot = (last + n) % count;
            let number = self.turns[sub_core].0[slot];
            match self.blocked(sub_core, number) {
                Some(cycle) => wake = wake.min(cycle),
                None => {
                    self.turns[sub_core].1 = slot;
                    self.issue(sub_core, number);
                    return Turn::Issued;
                }
            }
        }
        Turn::Later(wake)
    }

    /// Until when a warp cannot issue; none if it can.
    fn blocked(&mut self, sub_core: usize, number: usize) -> Option<u64> {
        let (now, warp) = (self.now, &self.warps[number]);
        if warp.waits_at.is_some() {
            return Some(NEVER);
        }
        if warp.ready > now {
            return Some(warp.ready);
        }
        let step = warp.trace[warp.at];
        let fact = &warp.facts[step.index as usize];
        let boards = (0..BOARDS).filter(|board| fact.control.wait >> board & 1 == 1);
        let first = boards.map(|board| warp.boards[board]).filter(|&cycle| cycle > now).min();
        if first.is_some() {
            self.report.refused.scoreboard += 1;
            return first;
        }
        let there = self.fetch.ready(sub_core, step.index, now);
        if there > now {
            self.report.refused.fetch += 1;
            return Some(there);
        }
        if fact.pipe == Pipe::Memory && self.memory.saturating_sub(now) > self.p.queue {
            self.report.refused.queue += 1;
            return Some(self.memory - self.p.queue);
        }
        let free = self.free[sub_core][door(fact.pipe)];
        if free > now {
            match fact.pipe {
                Pipe::Tensor => self.report.refused.tensor += 1,
                Pipe::Memory => {}
                _ => self.report.refused.pipe += 1,
            }
            return Some(free);
        }
        None
    }

    fn issue(&mut self, sub_core: usize, number: usize) {
        let warp = &mut self.warps[number];
        let step = warp.trace[warp.at];
        let fact = &warp.facts[step.index as usize];
        self.report.issued += 1;
        warp.at += 1;
        warp.ready = self.now + u64::from(fact.control.stall.max(1));
        self.free[sub_core][door(fact.pipe)] = self.now + fact.hold;
        let (done, read) = if fact.pipe == Pipe::Memory {
            self.serve(number, step)
        } else {
            let busy = &mut self.report.busy;
            match fact.pipe {
                Pipe::Tensor => busy.tensor += fact.hold,
                Pipe::Fma => busy.fma += fact.hold,
                Pipe::Alu => busy.alu += fact.hold,
                Pipe::Special => busy.special += fact.hold,
                _ => {}
            }
            let is_special = fact.pipe == Pipe::Special;
            let latency = if is_special { self.p.special_latency } else { self.p.slow_latency };
            (self.now + latency, self.now + fact.hold + self.p.to_memory)
        };
        let warp = &mut self.warps[number];
        let control = warp.facts[step.index as usize].control;
        for (board, cycle) in [(control.write, done), (control.read, read)] {
            if let Some(board) = warp.boards.get_mut(usize::from(board)) {
                *board = (*board).max(cycle);
            }
        }
        if warp.facts[step.index as usize].unit == Unit::Barrier {
            self.arrive(number, step.extra);
        }
        if self.warps[number].at >= self.warps[number].trace.len() {
            self.end(sub_core, number);
        }
    }

    /// When the result of a memory instruction is there, and when its sources have been read.
    fn serve(&mut self, number: usize, step: Issued) -> (u64, u64) {
        let (unit, extra, p) =
            (self.warps[number].facts[step.index as usize].unit, u64::from(step.extra), &self.p);
        let (cost, latency) = match unit {
            Unit::Shuffle => (1, p.shuffle_latency),
            Unit::SharedLoad => (extra.max(1), p.shared_latency),
            Unit::LocalLoad => (extra.max(1), p.shared_latency + p.local_extra),
            Unit::SharedStore => (extra.max(1), p.shared_store),
            Unit::LocalStore => (extra.max(1), p.local_store),
            // Four sectors a cycle.
            Unit::GlobalLoad => (extra.div_ceil(4).max(1), p.global_latency),
            _ => (extra.div_ceil(4).max(1), p.global_store),
        };
        self.memory = self.memory.max(self.now + p.to_memory) + cost;
        self.report.busy.memory += cost;
        let mut done = self.memory;
        if matches!(unit, Unit::GlobalLoad | Unit::GlobalStore) && p.memory_bytes_per_1000_cycles > 0 {
            let bytes = 32 * extra;
            self.far = self.far.max(1000 * self.now) + 1_000_000 * bytes / p.memory_bytes_per_1000_cycles;
            done = done.max(self.far / 1000);
        }
        (done + latency - p.to_memory, self.memory)
    }

    fn arrive(&mut self, number: usize, extra: u32) {
        let (ident, threads, arrives_only) = (extra & 255, extra >> 8 & 0xffff, extra >> 24);
        let block = self.warps[number].block;
        self.arrived[block][ident as usize % 16] += 32;
        if arrives_only == 0 {
            self.warps[number].waits_at = Some((ident, threads));
        }
        self.release(block, ident, threads);
    }

    /// Lets the warps at a barrier go once enough threads have arrived.
    fn release(&mut self, block: usize, ident: u32, threads: u32) {
        let arrived = &mut self.arrived[block][ident as usize % 16];
        let need = if threads == 0 { 32 * self.living[block] } else { threads };
        if *arrived < need || *arrived == 0 {
            return;
        }
        *arrived = 0;
        let opens = self.now + self.p.barrier;
        for other in self.warps.iter_mut().filter(|warp| warp.block == block) {
            if other.waits_at.is_some_and(|(at, _)| at == ident) {
                (other.waits_at, other.ready) = (None, opens);
            }
        }
    }

    fn end(&mut self, sub_core: usize, number: usize) {
        let block = self.warps[number].block;
        self.turns[sub_core].0.retain(|&other| other != number);
        self.turns[sub_core].1 = 0;
        self.living[block] -= 1;
        if self.living[block] == 0 {
            return;
        }
        // The end of a warp can complete a barrier of all that live.
        for ident in 0..16 {
            let counted = |warp: &Warp<'_>| {
                warp.block == block && warp.waits_at.is_some_and(|(at, threads)| at == ident && threads > 0)
            };
            if !self.warps.iter().any(counted) {
                self.release(block, ident, 0);
            }
        }
    }
}

/// Two kinds of instructions take turns at the door to memory.
fn door(pipe: Pipe) -> usize {
    match pipe {
        Pipe::Slow => Pipe::Memory as usize,
        pipe => pipe as usize,
    }
}

#[cfg(test)]
mod tests;
