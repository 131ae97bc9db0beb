//! Flags inside a core, and the cross-core counters.

use std::collections::VecDeque;
use std::fmt;

use super::clocks::Message;
use crate::access::{FaultKind, Pipe, Site, Stop};

/// Events per ordered pair of pipes (dav-c220.md 4.1).
const EVENTS: usize = 8;
/// Cross-core flags per core (dav-c220.md 4.3).
pub(super) const CROSS_FLAGS: usize = 16;
/// Most pending sets of a cross-core flag: its counter has 4 bits.
pub(super) const CROSS_MAX: usize = 15;

/// A flag of `set_flag` and `wait_flag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlagId {
    pub(super) src: Pipe,
    pub(super) dst: Pipe,
    event: u8,
}

impl FlagId {
    pub(super) fn new(src: Pipe, dst: Pipe, event: u64) -> Result<Self, Stop> {
        if src == dst {
            return Err(Stop::fault(
                FaultKind::Operand,
                format!("tpipe = {dst} is the pipe that sets the flag; a flag joins two different pipes"),
            ));
        }
        match u8::try_from(event) {
            Ok(event) if usize::from(event) < EVENTS => Ok(Self { src, dst, event }),
            _ => Err(Stop::fault(
                FaultKind::Operand,
                format!("event = {event} of {src}_{dst}; events are 0 to {}", EVENTS - 1),
            )),
        }
    }

    fn index(self) -> usize {
        (self.src as usize * Pipe::ALL.len() + self.dst as usize) * EVENTS + usize::from(self.event)
    }
}

impl fmt::Display for FlagId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{} event {}", self.src, self.dst, self.event)
    }
}

/// Sets on their way to their waits: the k-th wait takes the k-th set.
#[derive(Debug, Default)]
struct Flag {
    messages: VecDeque<Message>,
    /// Sets less waits, in the order in which the scalar unit issued them.
    balance: i64,
    last_set: u64,
}

/// The flags of one core.
#[derive(Debug)]
pub(super) struct Flags {
    flags: Vec<Flag>,
}

impl Flags {
    pub(super) fn new() -> Self {
        let mut flags = Vec::new();
        flags.resize_with(Pipe::ALL.len() * Pipe::ALL.len() * EVENTS, Flag::default);
        Self { flags }
    }

    pub(super) fn reset(&mut self) {
        for flag in &mut self.flags {
            flag.messages.clear();
            flag.balance = 0;
        }
    }

    /// The scalar unit issues a set. Judged in program order, so that the verdict does not depend on when
    /// pipes run.
    pub(super) fn issue_set(&mut self, id: FlagId, number: u64) -> Result<(), Stop> {
        let flag = &mut self.flags[id.index()];
        if flag.balance >= 1 {
            return Err(Stop::fault(
                FaultKind::FlagSetTwice,
                format!(
                    "{id} is set again; insn {} set it and nothing has waited for it since",
                    flag.last_set
                ),
            ));
        }
        flag.balance += 1;
        flag.last_set = number;
        Ok(())
    }

    pub(super) fn issue_wait(&mut self, id: FlagId) {
        self.flags[id.index()].balance -= 1;
    }

    pub(super) fn is_set(&self, id: FlagId) -> bool {
        !self.flags[id.index()].messages.is_empty()
    }

    pub(super) fn set(&mut self, id: FlagId, message: Message) {
        self.flags[id.index()].messages.push_back(message);
    }

    pub(super) fn take(&mut self, id: FlagId) -> Option<Message> {
        self.flags[id.index()].messages.pop_front()
    }

    /// A flag that is still set: its name and the instruction that set it.
    pub(super) fn leaked(&self) -> Option<(FlagId, u64)> {
        let at = self.flags.iter().position(|f| !f.messages.is_empty())?;
        let pipe = |i: usize| Pipe::ALL[i % Pipe::ALL.len()];
        let pair = at / EVENTS;
        let event = u8::try_from(at % EVENTS).unwrap_or(0);
        let id = FlagId { src: pipe(pair / Pipe::ALL.len()), dst: pipe(pair), event };
        Some((id, self.flags[at].last_set))
    }
}

/// Who takes part in a cross-core flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrossMode {
    /// Mode 0: all AICs, or all AIVs, of the launch.
    Grid,
    /// Mode 1: the two AIVs of a group.
    AivPair,
    /// Mode 2: an AIC and its AIVs.
    Group,
}

impl CrossMode {
    pub(super) fn number(self) -> u32 {
        self as u32
    }
}

/// Operand `config` of `ffts_cross_core_sync`: 1 | mode << 4 | flag << 8.
pub(super) fn decode_cross_config(config: u64) -> Result<(CrossMode, usize), Stop> {
    let mode = match config >> 4 & 0xf {
        0 => CrossMode::Grid,
        1 => CrossMode::AivPair,
        2 => CrossMode::Group,
        other => {
            return Err(Stop::fault(
                FaultKind::Operand,
                format!("config = {config:#x} has mode {other}; modes are 0, 1 and 2"),
            ))
        }
    };
    if config & 0xf != 1 {
        return Err(Stop::fault(
            FaultKind::Operand,
            format!("config = {config:#x} has {} in bits 0..4, which must hold 1", config & 0xf),
        ));
    }
    Ok((mode, decode_cross_flag("config's flag id", config >> 8)?))
}

/// A cross-core flag number.
pub(super) fn decode_cross_flag(name: &str, value: u64) -> Result<usize, Stop> {
    usize::try_from(value).ok().filter(|f| *f < CROSS_FLAGS).ok_or_else(|| {
        let last = CROSS_FLAGS - 1;
        Stop::fault(FaultKind::Operand, format!("{name} = {value}; cross-core flags are 0 to {last}"))
    })
}

/// A set of a cross-core flag on its way to a wait.
#[derive(Clone, Debug)]
pub(super) struct CrossMessage {
    pub(super) message: Message,
    pub(super) mode: CrossMode,
    pub(super) from: Site,
}

/// Cross-core state of one core.
#[derive(Debug, Default)]
pub(super) struct CrossFlags {
    /// Pending sets from cores of the own group, per flag.
    pending: [VecDeque<CrossMessage>; CROSS_FLAGS],
    /// Sets of this core that the other AIV of the group has yet to match: modes 1 and 2.
    unmatched: [[VecDeque<CrossMessage>; CROSS_FLAGS]; 2],
    /// Mode 0, per flag: rounds that this core has set, and rounds that it has waited for.
    pub(super) rounds_set: [u64; CROSS_FLAGS],
    pub(super) rounds_taken: [u64; CROSS_FLAGS],
    /// Where the newest mode 0 set was issued.
    pub(super) round_site: [Option<Site>; CROSS_FLAGS],
}

impl CrossFlags {
    pub(super) fn is_set(&self, flag: usize) -> bool {
        !self.pending[flag].is_empty()
    }

    pub(super) fn take(&mut self, flag: usize) -> Option<CrossMessage> {
        self.pending[flag].pop_front()
    }

    /// Adds one to the counter of this core, which is `receiver`.
    pub(super) fn deliver(
        &mut self,
        flag: usize,
        message: CrossMessage,
        receiver: &'static str,
    ) -> Result<(), Stop> {
        if self.pending[flag].len() == CROSS_MAX {
            return Err(overflow(flag, message.mode, receiver));
        }
        self.pending[flag].push_back(message);
        Ok(())
    }

    /// Sets of this core in mode 1 or 2 that still need the other AIV.
    pub(super) fn unmatched(&mut self, mode: CrossMode, flag: usize) -> &mut VecDeque<CrossMessage> {
        &mut self.unmatched[usize::from(mode == CrossMode::Group)][flag]
    }

    /// Is there such a set?
    pub(super) fn has_unmatched(&self, flag: usize) -> Option<&CrossMessage> {
        self.unmatched.iter().find_map(|by_flag| by_flag[flag].front())
    }

    /// A counter that is not zero at the end, as a sentence.
    pub(super) fn leaked(&self) -> Option<(usize, String)> {
        (0..CROSS_FLAGS).find_map(|flag| {
            if let Some(m) = self.pending[flag].front() {
                let (mode, count) = (m.mode.number(), self.pending[flag].len());
                let text =
                    format!("{count} set(s) are never waited for; the first, in mode {mode}, is {}", m.from);
                return Some((flag, text));
            }
            if let Some(m) = self.has_unmatched(flag) {
                let text =
                    format!("{} sets it in mode {}, but the other AIV does not", m.from, m.mode.number());
                return Some((flag, text));
            }
            let open = self.rounds_set[flag] - self.rounds_taken[flag];
            let site = self.round_site[flag].as_ref().filter(|_| open > 0)?;
            Some((flag, format!("{open} set(s) in mode 0 are never waited for; the last is {site}")))
        })
    }
}

/// A 16th pending set.
pub(super) fn overflow(flag: usize, mode: CrossMode, receiver: &'static str) -> Stop {
    Stop::fault(
        FaultKind::CounterOverflow,
        format!(
            "cross-core flag {flag} of {receiver} has {CROSS_MAX} pending sets and is set again in mode {}; \
             its counter holds at most {CROSS_MAX}",
            mode.number()
        ),
    )
}
