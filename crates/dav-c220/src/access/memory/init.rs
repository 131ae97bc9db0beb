//! One bit per byte: was it ever written?

use bytemuck::allocation::try_zeroed_slice_box;

/// Bitmap of initialised bytes. Whole 32-byte blocks are handled a word at a time.
#[derive(Debug, Clone)]
pub(crate) struct InitMap {
    words: Vec<u32>,
}

/// Bits `from..to` of a 32-byte block (`to <= 32`).
pub(crate) fn block_bits(from: usize, to: usize) -> u32 {
    let below = |n: usize| if n >= 32 { u32::MAX } else { (1 << n) - 1 };
    below(to) & !below(from)
}

/// Calls `visit(word index, bits)` for each 32-byte block that `start..start + len` touches.
pub(crate) fn for_blocks(start: usize, len: usize, mut visit: impl FnMut(usize, u32)) {
    let end = start + len;
    let mut at = start;
    while at < end {
        let word = at / 32;
        let stop = end.min((word + 1) * 32);
        visit(word, block_bits(at % 32, stop - word * 32));
        at = stop;
    }
}

impl InitMap {
    /// `None` when the host has no memory for it.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        Some(Self { words: try_zeroed_slice_box(bytes.div_ceil(32)).ok()?.into_vec() })
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Marks bytes as written (`true`) or as holding unspecified data (`false`).
    pub(crate) fn set(&mut self, start: usize, len: usize, written: bool) {
        if start.is_multiple_of(32) && len.is_multiple_of(32) {
            self.words[start / 32..(start + len) / 32].fill(if written { u32::MAX } else { 0 });
            return;
        }
        for_blocks(start, len, |word, bits| {
            if written {
                self.words[word] |= bits;
            } else {
                self.words[word] &= !bits;
            }
        });
    }

    /// First byte of the range that was never written.
    pub(crate) fn first_unset(&self, start: usize, len: usize) -> Option<usize> {
        if start.is_multiple_of(32) && len.is_multiple_of(32) {
            let words = &self.words[start / 32..(start + len) / 32];
            if words.iter().fold(u32::MAX, |all, w| all & w) == u32::MAX {
                return None;
            }
        }
        let mut found = None;
        for_blocks(start, len, |word, bits| {
            let missing = bits & !self.words[word];
            if missing != 0 && found.is_none() {
                found = Some(word * 32 + missing.trailing_zeros() as usize);
            }
        });
        found
    }

    /// The state of a range of whole 32-byte blocks, a word for each.
    pub(crate) fn blocks(&self, start: usize, len: usize) -> Option<&[u32]> {
        (start.is_multiple_of(32) && len.is_multiple_of(32))
            .then(|| &self.words[start / 32..(start + len) / 32])
    }

    /// Sets the state of the blocks from byte `start`, a multiple of 32, on.
    pub(crate) fn set_blocks(&mut self, start: usize, blocks: &[u32]) {
        self.words[start / 32..][..blocks.len()].copy_from_slice(blocks);
    }

    /// Is this byte written?
    pub(crate) fn get(&self, at: usize) -> bool {
        self.words[at / 32] >> (at % 32) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_blocks() {
        let mut map = InitMap::new(128).unwrap();
        map.set(30, 40, true);
        assert_eq!(map.first_unset(30, 40), None);
        assert_eq!(map.first_unset(29, 10), Some(29));
        assert_eq!(map.first_unset(32, 64), Some(70));
        map.set(40, 2, false);
        assert_eq!(map.first_unset(30, 40), Some(40));
        assert!(map.get(39) && !map.get(41));
        assert_eq!(map.blocks(32, 32).map(<[u32]>::len), Some(1));
        assert_eq!((map.blocks(31, 32), map.blocks(32, 31)), (None, None));
        let blocks = map.blocks(32, 64).unwrap().to_vec();
        map.set_blocks(64, &blocks);
        assert_eq!(map.first_unset(64, 64), Some(72), "the hole at 40");
        assert!(map.get(74) && map.get(101) && !map.get(102));
    }
}
