//! Memories of the machine and the addresses that kernels see.
//!
//! A GM address is the host address of the simulated device memory. An on-chip address is never dereferenced
//! by a kernel, so it is a tag: memory number in bits 48.., signed byte offset below. The tag makes a UB
//! pointer handed to an L1 operand recognisable, and a small underflow still decodes as "UB[-32..)" instead
//! of another memory.

use std::fmt;

/// A memory of the dav-c220 core, as AscendC names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Space {
    /// Global memory (HBM through L2).
    Gm = 0,
    /// Unified buffer of an AIV.
    Ub = 1,
    /// L1 buffer of an AIC.
    L1 = 2,
    /// Left operand of the Cube.
    L0a = 3,
    /// Right operand of the Cube.
    L0b = 4,
    /// Accumulators of the Cube.
    L0c = 5,
    /// Bias table.
    Bt = 6,
    /// Fixpipe buffer.
    Fb = 7,
}

impl Space {
    /// The on-chip memories, in tag order.
    pub(crate) const LOCAL: [Space; 7] =
        [Space::Ub, Space::L1, Space::L0a, Space::L0b, Space::L0c, Space::Bt, Space::Fb];

    /// Index into an array over [`Space::LOCAL`]. Panics for GM: callers have branched on it.
    pub(crate) fn local_index(self) -> usize {
        assert!(self != Space::Gm, "GM is not an on-chip memory");
        self as usize - 1
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Space::Gm => "GM",
            Space::Ub => "UB",
            Space::L1 => "L1",
            Space::L0a => "L0A",
            Space::L0b => "L0B",
            Space::L0c => "L0C",
            Space::Bt => "BT",
            Space::Fb => "FB",
        })
    }
}

/// Bits below the memory tag.
const TAG_SHIFT: u32 = 48;

/// Tag of GM past L2. On the chip the same memory lies a second time at an offset that the runtime names, and
/// is read and written there without L2 (CANN 8.1: `L2CacheAlter`).
const PAST_L2: u64 = 8;

/// A decoded address: memory and byte offset (for GM: the device address itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addr {
    pub(crate) space: Space,
    pub(crate) offset: i64,
}

impl Addr {
    /// Decodes what a kernel passed. `None` when the tag names no memory.
    pub(crate) fn decode(raw: u64) -> Option<Addr> {
        let biased = raw.wrapping_add(1 << (TAG_SHIFT - 1));
        let tag = biased >> TAG_SHIFT;
        if tag == 0 {
            return Some(Addr { space: Space::Gm, offset: i64::try_from(raw).ok()? });
        }
        if tag == PAST_L2 {
            return Some(Addr { space: Space::Gm, offset: raw.wrapping_sub(tag << TAG_SHIFT).cast_signed() });
        }
        let space = *Space::LOCAL.get(usize::try_from(tag).ok()?.checked_sub(1)?)?;
        Some(Addr { space, offset: raw.wrapping_sub(tag << TAG_SHIFT).cast_signed() })
    }

    /// Does an address that a kernel passed name GM past L2?
    pub(crate) fn is_past_l2(raw: u64) -> bool {
        raw.wrapping_add(1 << (TAG_SHIFT - 1)) >> TAG_SHIFT == PAST_L2
    }

    /// The address that many bytes further on.
    pub(crate) fn plus(self, bytes: i64) -> Addr {
        Addr { space: self.space, offset: self.offset + bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_small_underflow() {
        let ub = 1u64 << TAG_SHIFT;
        assert_eq!(Addr::decode(ub + 64), Some(Addr { space: Space::Ub, offset: 64 }));
        assert_eq!(Addr::decode(ub - 32), Some(Addr { space: Space::Ub, offset: -32 }));
        assert_eq!(Addr::decode(0x7f00_0000_1000), Some(Addr { space: Space::Gm, offset: 0x7f00_0000_1000 }));
        assert_eq!(Addr::decode(9 << TAG_SHIFT), None);
    }

    #[test]
    fn gm_past_l2_is_the_same_gm() {
        let gm = 0x7f00_0000_1000;
        let past = gm + (PAST_L2 << TAG_SHIFT);
        assert_eq!(Addr::decode(past), Addr::decode(gm));
        assert!(Addr::is_past_l2(past) && !Addr::is_past_l2(gm));
    }
}
