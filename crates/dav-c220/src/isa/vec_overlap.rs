//! Aliasing rules of vector operands (`dav-c220.md` 2.2).

#![allow(clippy::cast_possible_wrap, reason = "repeats and blocks are small numbers; addresses are signed")]

use super::vec_lanes::{low_bits, Lanes};
use super::vec_operand::{Operand, BLOCK};
use crate::access::{range_text, FaultKind, Space, Stop};

impl Operand {
    /// Bytes from the first to behind the last byte that any repeat can touch.
    fn extent(&self, lanes: &Lanes) -> (i64, i64) {
        let blocks = lanes.per_repeat.div_ceil(self.per_block()) as i64;
        let end = (lanes.repeats as i64 - 1) * self.rep + (blocks - 1) * self.blk + BLOCK;
        (self.addr.offset, self.addr.offset + end)
    }

    /// First repeat from `r` on that has an active block within `start..end`.
    pub(super) fn first_repeat_within(&self, lanes: &Lanes, r: u64, start: i64, end: i64) -> Option<u64> {
        let (from, to) = self.extent(lanes);
        if to <= start || end <= from {
            return None;
        }
        (r..lanes.repeats).find(|r| {
            // With repeats in address order, those that begin behind the range cannot meet it.
            let base = self.addr.offset + *r as i64 * self.rep;
            if base >= end {
                return false;
            }
            let (blocks, len) = self.blocks(lanes, *r);
            blocks[..len].iter().any(|at| *at < end && start < *at + BLOCK)
        })
    }

    /// Start offsets of the blocks of a repeat that have active lanes.
    fn blocks(&self, lanes: &Lanes, r: u64) -> ([i64; 16], usize) {
        let (mut list, mut len) = ([0; 16], 0);
        let per_block = self.per_block();
        for block in 0..lanes.per_repeat.div_ceil(per_block) {
            if lanes.mask(r) >> (block * per_block) & low_bits(per_block) != 0 {
                list[len] = self.block_addr(r, block).offset;
                len += 1;
            }
        }
        (list, len)
    }
}

/// May the destination of a repeat be the source of the next?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Accumulate {
    /// Never.
    No,
    /// Where both are the same address and one of the two repeat strides is 0.
    InPlace,
}

/// The aliasing rules between a destination and a source (`dav-c220.md` 2.2).
pub(super) fn check_overlap(
    dst: &Operand,
    src: &Operand,
    lanes: &Lanes,
    accumulate: Accumulate,
) -> Result<(), Stop> {
    if lanes.repeats == 0 {
        return Ok(());
    }
    let (d, s) = (dst.extent(lanes), src.extent(lanes));
    if d.1 <= s.0 || s.1 <= d.0 {
        return Ok(());
    }
    let same = dst.addr == src.addr && dst.bits() == src.bits() && dst.blk == src.blk && dst.rep == src.rep;
    let apart = dst.rep >= dst.blk * 7 + BLOCK || lanes.repeats == 1;
    if same && apart {
        return Ok(());
    }
    let in_place =
        accumulate == Accumulate::InPlace && dst.addr == src.addr && (dst.rep == 0 || src.rep == 0);
    for r in 0..lanes.repeats {
        let (to, to_len) = dst.blocks(lanes, r);
        let (from, from_len) = src.blocks(lanes, r);
        let (to, from) = (&to[..to_len], &from[..from_len]);
        let meet = |from: &[i64]| to.iter().copied().find(|block| from.contains(block));
        // ASSUMPTION(cast-narrowing-in-place): wide to narrow from the same start is safe, because a repeat
        // reads before it writes; the documents only name the reverse as unsafe.
        let narrowing = dst.bits() < src.bits() && to.first() == from.first();
        if to != from && !narrowing {
            if let Some(at) = meet(from) {
                let what = format!("{} and {} overlap without being equal in repeat {r}", dst.name, src.name);
                return Err(overlap(&what, at));
            }
        }
        if r + 1 < lanes.repeats && !in_place {
            let (next, next_len) = src.blocks(lanes, r + 1);
            if let Some(at) = meet(&next[..next_len]) {
                let what = format!("{} of repeat {r} is {} of repeat {}", dst.name, src.name, r + 1);
                return Err(overlap(&what, at));
            }
        }
    }
    Ok(())
}

fn overlap(what: &str, at: i64) -> Stop {
    Stop::fault(FaultKind::Overlap, format!("{what}: {}", range_text(Space::Ub, at, BLOCK as u64)))
}

/// For instructions whose source and destination must not share a byte.
pub(super) fn require_disjoint(dst: &Operand, src: &Operand, lanes: &Lanes) -> Result<(), Stop> {
    if lanes.repeats == 0 {
        return Ok(());
    }
    let (d, s) = (dst.extent(lanes), src.extent(lanes));
    if d.1 <= s.0 || s.1 <= d.0 {
        return Ok(());
    }
    Err(overlap(
        &format!("{} and {} overlap; the instruction takes disjoint operands", dst.name, src.name),
        d.0.max(s.0),
    ))
}
