//! Memory: global, shared, local, constant.

use std::collections::BTreeMap;

use super::state::{BlockState, LOCAL_WORDS};
use super::warp::{Stop, Warp};
use super::{Lanes, Mask};
use crate::sass::{Address, Op, Width, RZ};

/// Where global memory starts.
const BASE: u64 = 0x1000_0000;
/// A sector of global memory, bytes.
const SECTOR: u64 = 32;
/// Banks of shared memory, a word wide each.
const BANKS: usize = 32;

/// Global memory: one piece, allocations from its start on.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    words: Vec<u32>,
}

impl Memory {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of memory that hold `data`, and their address, a multiple of 256.
    pub fn upload(&mut self, data: &[u8]) -> u64 {
        let address = BASE + 4 * self.words.len() as u64;
        let word = |chunk: &[u8]| chunk.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        self.words.extend(data.chunks(4).map(word));
        self.words.resize(self.words.len().next_multiple_of(64), 0);
        address
    }

    /// All of it: its address and its bytes.
    pub(crate) fn whole(&self) -> (u64, Vec<u8>) {
        (BASE, self.words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    /// As many bytes in place of all.
    pub(crate) fn replace(&mut self, bytes: &[u8]) {
        for (word, bytes) in self.words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }

    /// Copies bytes out; none if they are not all there.
    #[must_use]
    pub fn read(&self, address: u64, bytes: usize) -> Option<Vec<u8>> {
        let first = usize::try_from(address.checked_sub(BASE)? / 4).ok()?;
        let words = self.words.get(first..first + bytes.div_ceil(4))?;
        let mut data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        data.truncate(bytes);
        Some(data)
    }
}

/// Shared-memory wavefronts of one access: 32 banks of 4 bytes; lanes in groups of 32, 16, 8 for accesses
/// of up to 4, 8, 16 bytes; equal words of a group are one access (Jia et al., arXiv 1804.06826; the counts
/// equal a profiler's, docs/volta.md).
pub(crate) fn wavefronts(addresses: &Lanes<u64>, mask: Mask, bytes: u32) -> u32 {
    let group = match bytes {
        8 => 16,
        16 => 8,
        _ => 32,
    };
    let mut total = 0;
    for first in (0..32).step_by(group) {
        let mut words: Vec<u64> = (first..first + group)
            .filter(|lane| mask >> lane & 1 == 1)
            .flat_map(|lane| (0..u64::from(bytes / 4).max(1)).map(move |n| addresses[lane] / 4 + n))
            .collect();
        words.sort_unstable();
        words.dedup();
        let mut counts = [0; BANKS];
        for word in words {
            counts[usize::try_from(word % BANKS as u64).unwrap_or(0)] += 1;
        }
        total += counts.into_iter().max().unwrap_or(0);
    }
    total
}

/// Sectors of global memory that an access touches.
fn sectors(addresses: &Lanes<u64>, mask: Mask, bytes: u32) -> u32 {
    let active = (0..32).filter(|lane| mask >> lane & 1 == 1);
    let mut sectors: Vec<u64> = active
        .flat_map(|lane| [addresses[lane], addresses[lane] + u64::from(bytes) - 1])
        .map(|at| at / SECTOR)
        .collect();
    sectors.sort_unstable();
    sectors.dedup();
    u32::try_from(sectors.len()).unwrap_or(u32::MAX)
}

/// The word of an access to a space of `size` bytes.
fn place(size: u64, address: u64, bytes: u32) -> Result<usize, Stop> {
    let end = address.checked_add(u64::from(bytes));
    if end.is_none_or(|end| end > size) {
        return Err(Stop::Fault(format!("{bytes} bytes at {address:#x} of a space of {size:#x}")));
    }
    if !address.is_multiple_of(u64::from(bytes)) {
        return Err(Stop::Fault(format!("{bytes} bytes at {address:#x}, which is no multiple")));
    }
    Ok(usize::try_from(address / 4).unwrap_or(usize::MAX))
}

/// Bits of a narrow value within its word, and its sign.
fn field(address: u64, width: Width) -> (u32, u32) {
    let shift = 8 * u32::try_from(address % 4).unwrap_or(0);
    (shift, if width.bytes >= 4 { u32::MAX } else { (1 << (8 * width.bytes)) - 1 })
}

impl Warp {
    pub(super) fn access(&mut self, state: &mut BlockState<'_>, op: &Op) -> Result<u32, Stop> {
        match op {
            Op::Shared { register, at, width, load } => {
                let addresses = self.addresses(at, false);
                let space = (&mut state.shared[..], u64::from(state.shared_bytes));
                self.transfer(space, &addresses, *width, *register, *load)?;
                Ok(wavefronts(&addresses, self.mask, width.bytes))
            }
            Op::Global { register, at, width, load } => {
                let addresses = self.addresses(at, true).map(|address| address.wrapping_sub(BASE));
                let words = &mut state.memory.words[..];
                let size = 4 * words.len() as u64;
                self.transfer((words, size), &addresses, *width, *register, *load)?;
                Ok(sectors(&addresses, self.mask, width.bytes))
            }
            Op::Local { register, at, width, load } => {
                self.local_access(*register, at, *width, *load);
                Ok(width.bytes / 4)
            }
            Op::LoadConstant { to, bank, register, offset, bytes } => {
                self.load_constant(state, (*to, *bank, *register), *offset, *bytes)?;
                Ok(0)
            }
            Op::AtomicShared { at, from, largest, signed } => {
                let (addresses, from) = (self.addresses(at, false), self.int(state, from));
                let mut counts = BTreeMap::<u64, u32>::new();
                for lane in (0..32).filter(|lane| self.mask >> lane & 1 == 1) {
                    let at = place(state.shared_bytes.into(), addresses[lane], 4)?;
                    let (old, new) = (state.shared[at], from[lane]);
                    let less = if *signed { new.cast_signed() < old.cast_signed() } else { new < old };
                    state.shared[at] = if less == *largest { old } else { new };
                    *counts.entry(addresses[lane]).or_default() += 1;
                }
                // Equal addresses wait for each other.
                let same = counts.values().max().copied().unwrap_or(1);
                Ok(wavefronts(&addresses, self.mask, 4) + same - 1)
            }
            _ => Ok(0),
        }
    }

    fn addresses(&self, at: &Address, wide: bool) -> Lanes<u64> {
        let low = self.registers[usize::from(at.register)];
        let high = self.registers[usize::from(Self::next(at.register))];
        std::array::from_fn(|lane| {
            let upper = if wide { u64::from(high[lane]) << 32 } else { 0 };
            (u64::from(low[lane]) * u64::from(at.scale) + upper).wrapping_add_signed(at.offset)
        })
    }

    fn transfer(
        &mut self,
        (words, size): (&mut [u32], u64),
        addresses: &Lanes<u64>,
        width: Width,
        register: u8,
        load: bool,
    ) -> Result<(), Stop> {
        for lane in (0..32).filter(|lane| self.mask >> lane & 1 == 1) {
            let first = place(size, addresses[lane], width.bytes)?;
            let (shift, field) = field(addresses[lane], width);
            for n in 0..(width.bytes as usize / 4).max(1) {
                let number = if register == RZ { usize::from(RZ) } else { usize::from(register) + n };
                let (word, value) = (&mut words[first + n], &mut self.registers[number][lane]);
                if !load {
                    *word = *word & !(field << shift) | (*value & field) << shift;
                } else if register != RZ {
                    *value = *word >> shift & field;
                    if width.signed && *value > field / 2 {
                        *value |= !field;
                    }
                }
            }
        }
        Ok(())
    }

    fn local_access(&mut self, register: u8, at: &Address, width: Width, load: bool) {
        let addresses = self.addresses(at, false);
        let mask = self.mask;
        self.local();
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            for n in 0..width.bytes as usize / 4 {
                let word = (usize::try_from(addresses[lane] / 4).unwrap_or(0) + n) % LOCAL_WORDS as usize;
                let number = if register == RZ { usize::from(RZ) } else { usize::from(register) + n };
                if !load {
                    self.local[word][lane] = self.registers[number][lane];
                } else if register != RZ {
                    self.registers[number][lane] = self.local[word][lane];
                }
            }
        }
    }

    fn load_constant(
        &mut self,
        state: &BlockState<'_>,
        (to, bank, register): (u8, u8, u8),
        offset: u32,
        bytes: u32,
    ) -> Result<(), Stop> {
        let base = self.registers[usize::from(register)];
        for n in 0..(bytes / 4).max(1) {
            let mut value = [0; 32];
            for lane in (0..32).filter(|lane| self.mask >> lane & 1 == 1) {
                let at = base[lane].wrapping_add(offset + 4 * n);
                let word = state.constant(bank, at);
                let word = word.ok_or_else(|| Stop::Fault(format!("c[{bank:#x}][{at:#x}] is not there")))?;
                let (shift, field) = field(u64::from(at), Width { bytes, signed: false });
                value[lane] = word >> shift & field;
            }
            let register = if to == RZ { RZ } else { to + u8::try_from(n).unwrap_or(0) };
            self.write(register, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wavefronts_are_those_of_the_patterns() {
        let at = |f: fn(u64) -> u64| std::array::from_fn(|lane| f(lane as u64));
        assert_eq!(wavefronts(&at(|n| 4 * n), Mask::MAX, 4), 1);
        assert_eq!(wavefronts(&at(|n| 128 * n), Mask::MAX, 4), 32);
        assert_eq!(wavefronts(&at(|n| 16 * n), Mask::MAX, 16), 4);
        assert_eq!(wavefronts(&at(|n| 128 * n), Mask::MAX, 16), 32);
        assert_eq!(wavefronts(&at(|_| 0), Mask::MAX, 16), 4);
        assert_eq!(wavefronts(&at(|n| 8 * n), 0x00ff, 8), 1);
        assert_eq!(sectors(&at(|n| 16 * n), Mask::MAX, 16), 16);
    }
}
