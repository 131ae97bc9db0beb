//! Which lanes of which repeats of a V instruction are active (`dav-c220.md` 2.2).

#![allow(
    clippy::cast_possible_truncation,
    reason = "the rest of a division by the lanes of a repeat fits any type"
)]

use crate::access::{Elem, Instr};

/// Bits `0..n`.
#[inline(always)]
pub(super) fn low_bits(n: usize) -> u128 {
    if n >= 128 {
        u128::MAX
    } else {
        (1 << n) - 1
    }
}

/// Elements to process in counter mode. AscendC counts in 32 bits.
pub(super) fn counted(instr: &Instr) -> u64 {
    instr.regs.mask[0] & 0xffff_ffff
}

/// Which lanes of which repeats are active.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    /// Lanes of a repeat, active or not.
    pub(super) per_repeat: usize,
    /// Repeats that are executed.
    pub(super) repeats: u64,
    /// Mask of all repeats but the last.
    pub(super) body: u128,
    /// Mask of the last repeat.
    pub(super) last: u128,
}

impl Lanes {
    /// Lanes of an instruction whose widest operand has `elem`.
    pub(super) fn new(instr: &Instr, elem: Elem) -> Lanes {
        Self::with_lanes(instr, 256 / elem.bytes(), instr.repeats())
    }

    /// The mask register applied to `repeats` repeats (u8 in the intrinsics) of `per_repeat` lanes.
    pub(super) fn with_lanes(instr: &Instr, per_repeat: usize, repeats: u64) -> Lanes {
        let regs = &instr.regs;
        let all = low_bits(per_repeat);
        if regs.counter_mode {
            let n = counted(instr);
            let repeats = n.div_ceil(per_repeat as u64);
            let tail = n as usize % per_repeat;
            let last = if tail == 0 { all } else { low_bits(tail) };
            return Lanes { per_repeat, repeats, body: all, last };
        }
        let mask = (u128::from(regs.mask[1]) << 64 | u128::from(regs.mask[0])) & all;
        let repeats = if mask == 0 { 0 } else { repeats & 0xff };
        Lanes { per_repeat, repeats, body: mask, last: mask }
    }

    /// All lanes of `repeats` repeats: instructions that ignore the mask.
    pub(super) fn unmasked(per_repeat: usize, repeats: u64) -> Lanes {
        let all = low_bits(per_repeat);
        Lanes { per_repeat, repeats, body: all, last: all }
    }

    /// Active lanes of repeat `r`.
    #[inline(always)]
    pub(super) fn mask(&self, r: u64) -> u128 {
        if r + 1 == self.repeats {
            self.last
        } else {
            self.body
        }
    }

    /// Are all lanes of `mask` active?
    #[inline(always)]
    pub(super) fn is_full(&self, mask: u128) -> bool {
        mask == low_bits(self.per_repeat)
    }
}
