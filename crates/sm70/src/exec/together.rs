//! Instructions that lanes of a warp execute together: tensor instruction, exchange, vote, barrier.
//!
//! `mma.sync.aligned` and `bar.sync` need all 32 lanes (PTX ISA: ".aligned requires that all threads in the
//! warp must execute the same instruction"), `shfl.sync` and `vote.sync` those of their member mask.

use super::paths::Missing;
use super::warp::{Halt, Next, Warp};
use super::{alu, lanes, Lanes, Mask, Sums, Trouble};
use crate::fault::FaultKind;
use crate::op::{Op, ShuffleMode, Src32, VoteMode};
use crate::race::Access;

impl Warp {
    pub(super) fn together(
        &mut self,
        op: &Op,
        pc: u32,
        mask: Mask,
        active: Mask,
        sums: Sums,
    ) -> Result<Next, Box<Trouble>> {
        if active == 0 {
            return Ok(Next::Advance);
        }
        if active != mask {
            let lane = (mask & !active).trailing_zeros();
            let message = format!("lane {lane} skips, by its guard, what other lanes execute together");
            return Err(Trouble::new(FaultKind::Divergence, active.trailing_zeros(), message));
        }
        let needed = self.needed(op, active)?;
        if needed & !active != 0 {
            // Whoever comes here later joins, and then all is tried again.
            return if self.paths.wait() { Ok(Next::Set) } else { Err(self.stuck(needed & !active, active)) };
        }
        match *op {
            Op::Mma(ref op) => self.mma(op, sums)?,
            Op::Shuffle { members, .. } | Op::Vote { members, .. } => {
                for group in self.groups(members, active)? {
                    self.exchange(op, group)?;
                }
            }
            Op::Barrier { id } => {
                self.paths.advance();
                return Ok(Next::Halt(Halt::Barrier { id, pc }));
            }
            _ => unreachable!("step() sends only instructions of several lanes here, not {op:?}"),
        }
        Ok(Next::Advance)
    }

    /// The lanes that an instruction waits for.
    fn needed(&self, op: &Op, active: Mask) -> Result<Mask, Box<Trouble>> {
        match *op {
            Op::Shuffle { members, .. } | Op::Vote { members, .. } => {
                let masks = self.read32(members, active)?;
                Ok(lanes(active).fold(active, |all, lane| all | masks[lane as usize]))
            }
            Op::Barrier { .. } => Ok(self.paths.threads()),
            _ => Ok(Mask::MAX),
        }
    }

    /// The member masks of lanes that are all there. Several may be at one instruction; each lane is in its
    /// own mask, and so are only lanes that give the same one.
    fn groups(&self, members: Src32, active: Mask) -> Result<Vec<Mask>, Box<Trouble>> {
        let masks = self.read32(members, active)?;
        let mut groups = Vec::new();
        for lane in lanes(active) {
            let mask = masks[lane as usize];
            if mask >> lane & 1 == 0 {
                let message = format!("lane {lane} is not in its member mask {mask:#010x}");
                return Err(Trouble::new(FaultKind::Divergence, lane, message));
            }
            if let Some(other) = lanes(mask).find(|other| masks[*other as usize] != mask) {
                let theirs = masks[other as usize];
                let message =
                    format!("the member mask of lane {lane} is {mask:#010x}, of lane {other} {theirs:#010x}");
                return Err(Trouble::new(FaultKind::Divergence, lane, message));
            }
            if lane == mask.trailing_zeros() {
                groups.push(mask);
            }
        }
        Ok(groups)
    }

    /// An exchange or a vote among `members`.
    fn exchange(&mut self, op: &Op, members: Mask) -> Result<(), Box<Trouble>> {
        match *op {
            Op::Shuffle { mode, d, p, a, by, clamp, .. } => {
                let (a, by) = (self.read32(a, members)?, self.read32(by, members)?);
                let (value, within) = shuffle(mode, &a, &by, &self.read32(clamp, members)?, members)?;
                self.write32(d, &value, members);
                if let Some(p) = p {
                    self.write_pred(p, within, members);
                }
            }
            Op::Vote { mode, d, a, .. } => {
                let votes = self.truth(a, members)? & members;
                let holds = match mode {
                    VoteMode::Any => votes != 0,
                    VoteMode::All => votes == members,
                    VoteMode::Uni => votes == 0 || votes == members,
                };
                self.write_pred(d, if holds { Mask::MAX } else { 0 }, members);
            }
            _ => unreachable!("together() sends exchanges and votes here, not {op:?}"),
        }
        Ok(())
    }

    /// The fault of lanes that wait for others that cannot come.
    fn stuck(&self, missing: Mask, here: Mask) -> Box<Trouble> {
        let lane = missing.trailing_zeros();
        let thread = self.number * 32 + lane;
        let (why, other) = match self.paths.missing(lane) {
            Missing::Waits(pc) => ("waits at another instruction (2)", Some(Access { thread, pc })),
            Missing::Ended(pc) => ("has ended (2)", Some(Access { thread, pc })),
            Missing::Absent => ("is no thread of the block", None),
        };
        let message =
            format!("lanes {here:#010x} are at a warp instruction that needs lane {lane}, which {why}");
        let trouble = Trouble::new(FaultKind::Divergence, here.trailing_zeros(), message);
        match other {
            Some(other) => trouble.with(other),
            None => trouble,
        }
    }
}

/// What each lane gets, and whether it comes from a lane within its segment. PTX ISA, "shfl.sync".
fn shuffle(
    mode: ShuffleMode,
    a: &Lanes<u32>,
    by: &Lanes<u32>,
    clamp: &Lanes<u32>,
    active: Mask,
) -> Result<(Lanes<u32>, Mask), Box<Trouble>> {
    let source = |lane: u32| {
        let (by, clamp) = (by[lane as usize] & 31, clamp[lane as usize]);
        let segment = clamp >> 8 & 31;
        let bound = lane & segment | clamp & 31 & !segment;
        let from = match mode {
            ShuffleMode::Bfly => lane ^ by,
            // Below the bound, and wrapped around: both are not within.
            ShuffleMode::Up => lane.wrapping_sub(by),
            ShuffleMode::Down => lane + by,
            ShuffleMode::Idx => lane & segment | by & !segment,
        };
        let within = match mode {
            ShuffleMode::Up => from.cast_signed() >= bound.cast_signed(),
            _ => from <= bound,
        };
        (if within { from } else { lane }, within)
    };
    let mut value = [0; 32];
    for lane in lanes(active) {
        let from = source(lane).0;
        if active >> from & 1 == 0 {
            let message =
                format!("lane {lane} reads lane {from}, which is not in the member mask {active:#010x}");
            return Err(Trouble::new(FaultKind::Divergence, lane, message));
        }
        value[lane as usize] = a[from as usize];
    }
    let within = alu::mask_of(|lane| u32::try_from(lane).is_ok_and(|lane| source(lane).1));
    Ok((value, within))
}
