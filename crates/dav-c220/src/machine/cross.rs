//! Cross-core flags as a group carries them out, and the report of a deadlock.

use super::core::{Action, Core, Wait};
use super::flags::{overflow, CrossMessage, CrossMode, FlagId, CROSS_MAX};
use super::group::Group;
use crate::access::{FaultKind, Instr, Pipe, Stop};
use crate::time::clock::Moment;
use crate::time::Cause;

impl Group {
    /// `ffts_cross_core_sync` reaches the head of its pipe (dav-c220.md 4.3).
    pub(super) fn cross_set(
        &mut self,
        c: usize,
        pipe: Pipe,
        instr: &Instr,
        mode: CrossMode,
        flag: usize,
        issued: Moment,
    ) -> Result<(), Stop> {
        let from = self.cores[c].site(self.block, pipe, instr.number, instr.op.mnemonic);
        let message = self.clocks.set(c, pipe, issued, Some(mode));
        let message = CrossMessage { message, mode, from };
        match mode {
            CrossMode::Grid => self.set_round(c, flag, &message),
            CrossMode::AivPair => {
                if self.aivs().count() != 2 || self.cores[c].index == 0 {
                    return Err(no_partner(mode, "the two AIVs of a group"));
                }
                self.set_by_aiv(c, flag, message)
            }
            CrossMode::Group => {
                if self.cores.len() == 1 {
                    return Err(no_partner(mode, "an AIC and its AIVs"));
                }
                if self.cores[c].index != 0 {
                    return self.set_by_aiv(c, flag, message);
                }
                (1..self.cores.len()).try_for_each(|aiv| self.deliver(aiv, flag, message.clone()))
            }
        }
    }

    fn deliver(&mut self, to: usize, flag: usize, message: CrossMessage) -> Result<(), Stop> {
        let receiver = self.cores[to].name();
        self.cores[to].cross.deliver(flag, message, receiver)
    }

    /// An AIV's set in mode 1 or 2 counts when every AIV of the group has set.
    fn set_by_aiv(&mut self, c: usize, flag: usize, message: CrossMessage) -> Result<(), Stop> {
        let mode = message.mode;
        self.cores[c].cross.unmatched(mode, flag).push_back(message);
        let aivs: Vec<usize> = self.aivs().collect();
        if !aivs.iter().all(|i| !self.cores[*i].cross.unmatched(mode, flag).is_empty()) {
            return Ok(());
        }
        let mut joined: Option<CrossMessage> = None;
        for i in &aivs {
            let Some(one) = self.cores[*i].cross.unmatched(mode, flag).pop_front() else { continue };
            match &mut joined {
                Some(all) => all.message.join(&one.message),
                None => joined = Some(one),
            }
        }
        let Some(joined) = joined else { return Ok(()) };
        if mode == CrossMode::Group {
            return self.deliver(0, flag, joined);
        }
        aivs.into_iter().try_for_each(|i| self.deliver(i, flag, joined.clone()))
    }

    /// ASSUMPTION(aiv-only-mode-0): kernels of single cores take part too; on the chip they must be built as
    /// MIX_AIV_1_0 or MIX_AIC_1_0 for that, which the interface does not tell apart (dav-c220.md 4.3).
    fn set_round(&mut self, c: usize, flag: usize, message: &CrossMessage) -> Result<(), Stop> {
        let (limit, blocks) = (self.resident_limit(), self.launch.blocks);
        if blocks > limit {
            let detail = format!(
                "a cross-core set in mode 0 waits for all {blocks} blocks, but at most {limit} run at once on {}",
                self.launch.config.soc.name
            );
            return Err(Stop::fault(FaultKind::Deadlock, detail));
        }
        let core = &mut self.cores[c];
        let round = core.cross.rounds_set[flag];
        // Judged by the core's own sets and waits: the same whenever the other groups arrive.
        if round - core.cross.rounds_taken[flag] == CROSS_MAX as u64 {
            return Err(overflow(flag, CrossMode::Grid, core.name()));
        }
        core.cross.rounds_set[flag] += 1;
        core.cross.round_site[flag] = Some(message.from.clone());
        self.launch.grid.set(core.kind, flag, round, self.block, &message.message);
        Ok(())
    }

    /// Has this core set `flag` in mode 0 more often than it has waited for it?
    pub(super) fn awaits_round(&self, c: usize, flag: usize) -> bool {
        let cross = &self.cores[c].cross;
        cross.rounds_set[flag] > cross.rounds_taken[flag]
    }

    pub(super) fn is_round_complete(&self, c: usize, flag: usize) -> bool {
        let core = &self.cores[c];
        self.awaits_round(c, flag)
            && self.launch.grid.is_complete(core.kind, flag, core.cross.rounds_taken[flag])
    }

    /// Takes one from a counter that is not zero.
    pub(super) fn cross_take(&mut self, c: usize, flag: usize) {
        let core = &mut self.cores[c];
        let message = if let Some(message) = core.cross.take(flag) {
            Some(message.message)
        } else {
            let round = core.cross.rounds_taken[flag];
            core.cross.rounds_taken[flag] += 1;
            self.launch.grid.take(core.kind, flag, round, self.block)
        };
        if let Some(message) = message {
            self.clocks.scalar_wait(c, &message, Cause::Cross);
        }
    }

    /// Does a core wait for a mode 0 flag, which other groups may still set?
    pub(super) fn waits_for_groups(&self) -> bool {
        (0..self.cores.len()).any(|c| match self.cores[c].waiting {
            Some((Wait::Cross(flag), ..)) => self.awaits_round(c, flag),
            _ => false,
        })
    }

    /// The fault when no core of the group can go on.
    pub(super) fn deadlock(&self) -> Stop {
        let waits: Vec<String> = (0..self.cores.len()).flat_map(|c| self.blocked(c)).collect();
        Stop::fault(FaultKind::Deadlock, format!("no core can go on: {}", waits.join("; ")))
    }

    /// One sentence for each unit of core `c` that waits.
    pub(super) fn blocked(&self, c: usize) -> Vec<String> {
        let core = &self.cores[c];
        let mut all = Vec::new();
        if let (Some((wait, number, mnemonic)), false) = (core.waiting, core.finished) {
            let site = core.site(self.block, Pipe::S, number, mnemonic);
            all.push(format!("{site} waits for {}", self.wait_text(core, wait)));
        }
        for pipe in Pipe::ALL {
            let Some(head) = core.queues[pipe as usize].front() else { continue };
            let Action::Wait(flag) = head.action else { continue };
            let site = core.site(self.block, pipe, head.instr.number, head.instr.op.mnemonic);
            all.push(format!("{site} waits for {}", flag_text(flag)));
        }
        all
    }

    fn wait_text(&self, core: &Core, wait: Wait) -> String {
        match wait {
            Wait::Flag(flag) => flag_text(flag),
            Wait::Room(pipe) => format!("room in the queue of {pipe}"),
            Wait::Idle => "all pipes to finish".to_owned(),
            Wait::Turn => "its turn".to_owned(),
            Wait::Cross(flag) => {
                let sets = self.cores.iter().filter_map(|other| {
                    let set = other.cross.has_unmatched(flag)?;
                    Some(format!(", set in mode {} only by {}", set.mode.number(), set.from))
                });
                let round = core.cross.round_site[flag].as_ref();
                let round = round
                    .filter(|_| core.cross.rounds_set[flag] > core.cross.rounds_taken[flag])
                    .map(|site| format!(", set in mode 0 by {site} but not by all other blocks"));
                format!("cross-core flag {flag}{}", sets.chain(round).collect::<String>())
            }
        }
    }
}

fn flag_text(flag: FlagId) -> String {
    format!("flag {flag}")
}

fn no_partner(mode: CrossMode, who: &str) -> Stop {
    let detail =
        format!("config has mode {}, which joins {who}; this kernel type has no such cores", mode.number());
    Stop::fault(FaultKind::Operand, detail)
}
