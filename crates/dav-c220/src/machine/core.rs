//! One core: its memories, queues, flags and clocks.

use std::collections::VecDeque;

use super::clocks::Dispatched;
use super::flags::{CrossFlags, CrossMode, FlagId, Flags};
use crate::access::{Exec, LocalShadow, VectorState, CORE_NAMES};
use crate::access::{Fault, FaultKind, Instr, LocalMem, Pipe, Registers, Site, Space, Stop, Unsupported};
use crate::machine::abi::KernelType;
use crate::machine::Config;
use crate::time::cost::has_bias;

/// Kind of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CoreKind {
    Aic,
    Aiv,
}

impl CoreKind {
    /// Pipes of this kind of core (dav-c220.md 1.4).
    pub(super) fn has(self, pipe: Pipe) -> bool {
        match pipe {
            Pipe::S | Pipe::Mte2 | Pipe::Mte3 => true,
            Pipe::V => self == CoreKind::Aiv,
            Pipe::M | Pipe::Mte1 | Pipe::Fix => self == CoreKind::Aic,
        }
    }

    fn has_memory(self, space: Space) -> bool {
        (space == Space::Ub) == (self == CoreKind::Aiv)
    }
}

/// The cores that a kernel of that type has in each group.
pub(super) fn cores_of(kernel_type: KernelType) -> &'static [usize] {
    match kernel_type {
        KernelType::AivOnly => &[1],
        KernelType::AicOnly => &[0],
        KernelType::MixAic1Aiv2 => &[0, 1, 2],
        KernelType::MixAic1Aiv1 => &[0, 1],
    }
}

/// What an instruction does when its pipe reaches it.
#[derive(Clone, Copy)]
pub(super) enum Action {
    Run(fn(&mut Exec<'_>, &Instr) -> Result<(), Stop>),
    Set(FlagId),
    Wait(FlagId),
    Barrier,
    CrossSet(CrossMode, usize),
}

/// An instruction in a queue.
pub(super) struct Entry {
    pub(super) instr: Instr,
    pub(super) action: Action,
    pub(super) dispatched: Dispatched,
    pub(super) traits: Traits,
}

/// What decides, beside flags, whether an instruction may execute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// Of FIX, see [`is_under_unit_flag`].
    pub(super) has_unit_flag: bool,
    /// A transfer with GM in model time: these execute in the order of their starts on all cores.
    pub(super) needs_grant: bool,
}

/// Is this an instruction of the Cube or of the fixpipe under unitFlag? Then M has to have filled the
/// accumulators that FIX drains, and M may not fill them again before (dav-c220.md 4.4).
/// ASSUMPTION(unit-flag-order): the units are not modelled one by one; such an instruction of FIX keeps its
/// place in program order among all instructions of M.
pub(super) fn is_under_unit_flag(pipe: Pipe, instr: &Instr) -> bool {
    if !matches!(pipe, Pipe::M | Pipe::Fix) {
        return false;
    }
    let at = instr.op.operands.iter().position(|name| matches!(*name, "unitFlag" | "UnitFlagMode"));
    at.is_some_and(|at| instr.args[at + usize::from(has_bias(instr))] != 0)
}

/// What the scalar unit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Flag(FlagId),
    Cross(usize),
    /// Room in a queue.
    Room(Pipe),
    /// All queues empty.
    Idle,
    /// Nothing: another core goes first.
    Turn,
}

/// A core.
pub(super) struct Core {
    /// Index into [`CORE_NAMES`].
    pub(super) index: usize,
    pub(super) kind: CoreKind,
    pub(super) local: [LocalMem; 7],
    pub(super) shadow: LocalShadow,
    pub(super) vector: VectorState,
    pub(super) regs: Registers,
    pub(super) queues: [VecDeque<Entry>; 7],
    pub(super) flags: Flags,
    pub(super) cross: CrossFlags,
    /// Instructions issued so far.
    pub(super) issued: u64,
    /// Scalar loads so far.
    pub(super) scalar_loads: u64,
    /// What the scalar unit waits for, and the number and name of the instruction that waits.
    pub(super) waiting: Option<(Wait, u64, &'static str)>,
    pub(super) finished: bool,
}

impl Core {
    /// # Errors
    /// When the host has no memory for it.
    pub(super) fn new(index: usize, config: &Config) -> Result<Self, Stop> {
        let kind = if index == 0 { CoreKind::Aic } else { CoreKind::Aiv };
        let sizes = config.soc.core;
        let memory_of = |space| {
            let (bytes, reserved) = match space {
                Space::Gm | Space::Ub => (sizes.ub_bytes, sizes.reserved_bytes),
                Space::L1 => (sizes.l1_bytes, sizes.reserved_bytes),
                Space::L0a => (sizes.l0a_bytes, 0),
                Space::L0b => (sizes.l0b_bytes, 0),
                Space::L0c => (sizes.l0c_bytes, 0),
                Space::Bt => (sizes.bt_bytes, 0),
                Space::Fb => (sizes.fb_bytes, 0),
            };
            let (bytes, reserved) = if kind.has_memory(space) { (bytes, reserved) } else { (0, 0) };
            LocalMem::new(bytes as usize, reserved as usize)
        };
        let local: Option<Vec<LocalMem>> = Space::LOCAL.into_iter().map(memory_of).collect();
        let local = local.and_then(|all| <[LocalMem; 7]>::try_from(all).ok());
        let local = local.ok_or_else(|| Stop::no_memory("the memories of a core"))?;
        let shadow = LocalShadow::new(&local);
        Ok(Self {
            index,
            kind,
            local,
            shadow,
            vector: VectorState::default(),
            regs: Registers::at_entry(config.inf_nan),
            queues: Default::default(),
            flags: Flags::new(),
            cross: CrossFlags::default(),
            issued: 0,
            scalar_loads: 0,
            waiting: None,
            finished: false,
        })
    }

    /// As at kernel entry. Memories keep their bytes.
    pub(super) fn reset(&mut self, config: &Config) {
        for memory in &mut self.local {
            memory.reset();
        }
        self.shadow.clear();
        self.vector = VectorState::default();
        self.regs = Registers::at_entry(config.inf_nan);
        for queue in &mut self.queues {
            queue.clear();
        }
        self.flags.reset();
        self.cross = CrossFlags::default();
        self.issued = 0;
        self.scalar_loads = 0;
        self.waiting = None;
        self.finished = false;
    }

    pub(super) fn name(&self) -> &'static str {
        CORE_NAMES[self.index]
    }

    /// Number of the instruction that is issued now.
    pub(super) fn next_number(&mut self) -> u64 {
        self.issued += 1;
        self.issued - 1
    }

    /// Requires this core to have the pipe.
    pub(super) fn require_pipe(&self, what: &str, pipe: Pipe) -> Result<(), Stop> {
        if self.kind.has(pipe) {
            return Ok(());
        }
        let kind = if self.kind == CoreKind::Aic { "AIC" } else { "AIV" };
        Err(Stop::fault(
            FaultKind::NoSuchPath,
            format!("{what} names pipe {pipe}, which an {kind} does not have"),
        ))
    }

    /// Can the instruction at the head of this queue execute?
    pub(super) fn is_ready(&self, pipe: Pipe) -> bool {
        let head = self.queues[pipe as usize].front();
        head.is_some_and(|e| !e.traits.needs_grant && self.may_execute(pipe, e))
    }

    /// Can this instruction, the head of its queue, execute?
    pub(super) fn may_execute(&self, pipe: Pipe, e: &Entry) -> bool {
        self.is_unblocked(pipe, e.action, e.instr.number, e.traits.has_unit_flag)
    }

    /// Can this instruction execute, given that it is the next one of its pipe?
    pub(super) fn is_unblocked(&self, pipe: Pipe, action: Action, number: u64, has_unit_flag: bool) -> bool {
        let is_earlier = |e: &&Entry| e.instr.number < number && matches!(e.action, Action::Run(_));
        match (action, pipe) {
            (Action::Wait(flag), _) => self.flags.is_set(flag),
            (Action::Run(_), Pipe::Fix) if has_unit_flag => {
                self.queues[Pipe::M as usize].iter().find(is_earlier).is_none()
            }
            (Action::Run(_), Pipe::M) => {
                !self.queues[Pipe::Fix as usize].iter().filter(is_earlier).any(|e| e.traits.has_unit_flag)
            }
            _ => true,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    pub(super) fn site(&self, block: u32, pipe: Pipe, number: u64, mnemonic: &'static str) -> Site {
        Site { core: self.name(), block, pipe, number, mnemonic }
    }
}

/// Adds the site to a report that has none.
pub(super) fn at_site(stop: Stop, site: Site) -> Stop {
    match stop {
        Stop::Fault(f) if f.site.is_none() => Stop::Fault(Box::new(Fault { site: Some(site), ..*f })),
        Stop::Unsupported(u) if u.site.is_none() => {
            Stop::Unsupported(Box::new(Unsupported { site: Some(site), ..*u }))
        }
        other => other,
    }
}
