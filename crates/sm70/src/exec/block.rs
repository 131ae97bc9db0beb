//! A block: its warps run in turn, each to its next barrier, until all are there.

use super::global::{Global, Watch, Written};
use super::shared::Shared;
use super::warp::{Halt, Warp};
use super::{Mask, Sums, Trouble};
use crate::facts::Executed;
use crate::fault::{Error, Fault, FaultKind, Site};
use crate::memory::Memory;
use crate::op::Instruction;
use crate::ptx::Kernel;
use crate::race::Access;

/// Counts of one instruction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) executed: u64,
    pub(crate) wavefronts: u64,
    pub(crate) least: u64,
    pub(crate) sectors: u64,
}

impl Count {
    /// Wavefronts or sectors, of which an instruction has one kind: the low 32 bits, for differences.
    #[allow(clippy::cast_possible_truncation, reason = "differences are small")]
    fn work(&self) -> u32 {
        (self.wavefronts + self.sectors) as u32
    }
}

/// What a launch says to each of its blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) memory: &'a Memory,
    pub(crate) params: &'a [u8],
    pub(crate) grid: [u32; 3],
    pub(crate) threads: [u32; 3],
    pub(crate) shared_bytes: u32,
    pub(crate) sums: Sums,
    /// Words that blocks of an earlier run wrote, to be followed.
    pub(crate) watch: Option<&'a Watch>,
}

/// What a thread of the host keeps from block to block.
#[derive(Debug)]
pub(crate) struct Workspace {
    warps: Vec<Warp>,
    shared: Shared,
    pub(crate) counts: Vec<Count>,
    /// What each warp executes, where it is wanted.
    pub(crate) traces: Option<Vec<Vec<Executed>>>,
}

/// What an instruction sees beside its warp.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) code: &'a [Instruction],
    pub(super) params: &'a [u8],
    pub(super) shared: &'a mut Shared,
    pub(super) global: Global<'a>,
    pub(super) counts: &'a mut [Count],
    pub(super) traces: Option<&'a mut [Vec<Executed>]>,
    /// Counts barriers, from 1.
    pub(super) epoch: u32,
    pub(super) sums: Sums,
    pub(super) block: [u32; 3],
    pub(super) grid: [u32; 3],
    pub(super) threads: [u32; 3],
}

impl Machine<'_> {
    /// Notes that a warp executes an instruction: where its work will be told.
    pub(super) fn begin(&mut self, warp: u32, pc: u32) {
        if let Some(traces) = &mut self.traces {
            let so_far = self.counts[pc as usize].work();
            traces[warp as usize].push(Executed { index: pc, extra: so_far });
        }
    }

    /// The work of the instruction that was begun last.
    pub(super) fn end(&mut self, warp: u32) {
        let Some(step) = self.traces.as_mut().and_then(|traces| traces[warp as usize].last_mut()) else {
            return;
        };
        step.extra = self.counts[step.index as usize].work().wrapping_sub(step.extra);
    }

    /// The word at that place of the parameters; the decoder has checked it against their size.
    pub(super) fn param32(&self, offset: u32) -> u32 {
        let bytes = &self.params[offset as usize..][..4];
        u32::from_le_bytes(bytes.try_into().expect("four bytes"))
    }
}

impl Workspace {
    pub(crate) fn new(block: &Block<'_>) -> Self {
        let warps = block.threads.iter().product::<u32>().div_ceil(32);
        Self {
            warps: (0..warps).map(|number| Warp::new(number, block.kernel.registers)).collect(),
            shared: Shared::default(),
            counts: vec![Count::default(); block.kernel.code.len()],
            traces: None,
        }
    }
}

impl Block<'_> {
    /// Runs block `number` of the grid, x fastest.
    pub(crate) fn run(&self, number: u32, workspace: &mut Workspace) -> Result<Written, Error> {
        let Workspace { warps, shared, counts, traces } = workspace;
        let threads: u32 = self.threads.iter().product();
        for warp in warps.iter_mut() {
            let rest = threads - warp.number * 32;
            warp.reset(if rest < 32 { (1 << rest) - 1 } else { Mask::MAX });
        }
        shared.reset(self.shared_bytes);
        let mut machine = Machine {
            code: &self.kernel.code,
            params: self.params,
            shared,
            global: Global::new(self.memory, number, self.watch),
            counts,
            traces: traces.as_deref_mut(),
            epoch: 1,
            sums: self.sums,
            block: self.place(number),
            grid: self.grid,
            threads: self.threads,
        };
        loop {
            let mut waiting: Option<(u32, u32, Access)> = None;
            for warp in warps.iter_mut() {
                let halt = warp.run(&mut machine).map_err(|trouble| self.fault(*trouble, number, warp))?;
                let Halt::Barrier { id, pc } = halt else { continue };
                let access = Access { thread: warp.number * 32, pc };
                match waiting {
                    Some((other, _, first)) if other != id => {
                        let message = format!("warps wait at barrier {id} (1) and at barrier {other} (2)");
                        let trouble = *Trouble::new(FaultKind::Deadlock, 0, message).with(first);
                        return Err(self.fault_at(trouble, number, access));
                    }
                    Some(_) => {}
                    None => waiting = Some((id, pc, access)),
                }
            }
            if waiting.is_none() {
                return Ok(machine.global.finish());
            }
            machine.epoch += 1;
        }
    }

    /// `%ctaid` of a block.
    fn place(&self, number: u32) -> [u32; 3] {
        let [x, y, _] = self.grid;
        [number % x, number / x % y, number / x / y]
    }

    fn fault(&self, trouble: Trouble, number: u32, warp: &Warp) -> Error {
        let access = Access { thread: warp.number * 32 + trouble.lane, pc: warp.paths.current().0 };
        self.fault_at(trouble, number, access)
    }

    fn fault_at(&self, trouble: Trouble, number: u32, at: Access) -> Error {
        let other = trouble.other.map(|(block, access)| self.site(block.unwrap_or(number), access));
        let at = self.site(number, at);
        Error::Fault(Box::new(Fault { kind: trouble.kind, message: trouble.message, at, other }))
    }

    /// A thread at an instruction, as faults show it.
    pub(crate) fn site(&self, number: u32, access: Access) -> Site {
        let instruction = &self.kernel.code[access.pc as usize];
        Site {
            block: self.place(number),
            warp: access.thread / 32,
            lane: access.thread % 32,
            line: instruction.line,
            source: self.kernel.source(instruction.loc),
            text: self.kernel.line_text(instruction.line).to_owned(),
        }
    }
}
