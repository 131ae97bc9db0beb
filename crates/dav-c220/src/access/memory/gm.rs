//! Device memory: allocations whose device address is their host address, far apart (`words.rs`).
//!
//! Several host threads run core groups at once and a faulty kernel may race, so bytes are kept in relaxed
//! atomics: a race in the kernel then yields unspecified data (and a `Race` fault), never undefined behaviour
//! of the simulator.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use bytemuck::allocation::try_zeroed_slice_box;

use super::init::for_blocks;
use super::words::Words;

/// A cache line of the host, in bytes and words.
const LINE: usize = 64;
const LINE_WORDS: usize = LINE / 8;

/// One allocation. Size is rounded up to 32 bytes inside; `len` is what was asked for.
#[derive(Debug)]
pub struct Allocation {
    words: Words,
    /// One bit per byte, one word per 32 bytes.
    init: Box<[AtomicU32]>,
    base: u64,
    len: u64,
    /// Where it would lie on a device: unlike `base` the same in every run.
    model_base: u64,
}

impl Allocation {
    fn new(len: u64, model_base: u64) -> Option<Self> {
        let rounded = usize::try_from(len.checked_next_multiple_of(64)?.checked_add(64)?).ok()?;
        let words = Words::zeroed(rounded / 8)?;
        // Device pointers are 64-byte aligned (acl-runtime.md 1.6). Behind whole pages this is a multiple of
        // no more, which a program that relies on more would take for granted; the slack above pays for the
        // shift.
        let base = (words.as_ptr().addr() as u64 + 1).next_multiple_of(64);
        Self::in_words(words, base, len, model_base)
    }

    fn in_words(words: Words, base: u64, len: u64, model_base: u64) -> Option<Self> {
        let rounded = words.len() * 8;
        let init = try_zeroed_slice_box(rounded / 32).ok()?;
        Some(Self { words, init, base, len, model_base })
    }

    /// Device address of the first byte.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes that were asked for.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks whether an allocation is empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Address for model time of a device address inside: the same in every run.
    ///
    /// # Panics
    /// For an address before the allocation.
    pub fn model_address(&self, addr: u64) -> u64 {
        self.model_base + (addr - self.base)
    }

    /// Word index and byte-in-word of a device address; callers have checked bounds.
    fn word_of(&self, addr: u64) -> (usize, usize) {
        let at = usize::try_from(addr - self.words.as_ptr().addr() as u64)
            .unwrap_or_else(|_| unreachable!("an address inside an allocation fits usize"));
        (at / 8, at % 8)
    }

    fn offset(&self, addr: u64) -> usize {
        usize::try_from(addr - self.base).unwrap_or_else(|_| unreachable!("inside an allocation"))
    }

    /// Copies the bytes from device address `addr` on out.
    ///
    /// # Panics
    /// If the range does not lie inside.
    pub fn read(&self, addr: u64, out: &mut [u8]) {
        let (mut word, shift) = self.word_of(addr);
        let mut out = out;
        if shift != 0 && !out.is_empty() {
            let bytes = self.words[word].load(Ordering::Relaxed).to_le_bytes();
            let take = out.len().min(8 - shift);
            out[..take].copy_from_slice(&bytes[shift..shift + take]);
            out = &mut out[take..];
            word += 1;
        }
        // Whole cache lines first: unrolled, more of them are under way at once.
        let (lines, out) = out.as_chunks_mut::<LINE>();
        for (line, words) in lines.iter_mut().zip(self.words[word..].as_chunks::<LINE_WORDS>().0) {
            for (chunk, w) in line.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *chunk = w.load(Ordering::Relaxed).to_le_bytes();
            }
        }
        word += lines.len() * LINE_WORDS;
        let (chunks, rest) = out.as_chunks_mut::<8>();
        for (chunk, w) in chunks.iter_mut().zip(&self.words[word..]) {
            *chunk = w.load(Ordering::Relaxed).to_le_bytes();
        }
        word += chunks.len();
        if !rest.is_empty() {
            let bytes = self.words[word].load(Ordering::Relaxed).to_le_bytes();
            rest.copy_from_slice(&bytes[..rest.len()]);
        }
    }

    /// Copies bytes to device address `addr` and marks them written.
    ///
    /// # Panics
    /// If the range does not lie inside.
    pub fn write(&self, addr: u64, data: &[u8]) {
        self.mark(addr, data.len(), true);
        let (mut word, shift) = self.word_of(addr);
        let mut data = data;
        if shift != 0 && !data.is_empty() {
            let take = data.len().min(8 - shift);
            self.merge(word, shift, &data[..take]);
            data = &data[take..];
            word += 1;
        }
        let (lines, data) = data.as_chunks::<LINE>();
        for (line, words) in lines.iter().zip(self.words[word..].as_chunks::<LINE_WORDS>().0) {
            for (chunk, w) in line.as_chunks::<8>().0.iter().zip(words) {
                w.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
            }
        }
        word += lines.len() * LINE_WORDS;
        let (chunks, rest) = data.as_chunks::<8>();
        for (chunk, w) in chunks.iter().zip(&self.words[word..]) {
            w.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        word += chunks.len();
        if !rest.is_empty() {
            self.merge(word, 0, rest);
        }
    }

    /// Writes part of a word without touching its neighbours, which another core may be writing.
    fn merge(&self, word: usize, shift: usize, data: &[u8]) {
        let mut bytes = [0; 8];
        let mut mask = [0; 8];
        bytes[shift..shift + data.len()].copy_from_slice(data);
        mask[shift..shift + data.len()].fill(0xff);
        let (value, mask) = (u64::from_le_bytes(bytes), u64::from_le_bytes(mask));
        self.update(word, |old| old & !mask | value);
    }

    fn update(&self, word: usize, change: impl Fn(u64) -> u64) {
        let cell = &self.words[word];
        let mut old = cell.load(Ordering::Relaxed);
        while let Err(now) =
            cell.compare_exchange_weak(old, change(old), Ordering::Relaxed, Ordering::Relaxed)
        {
            old = now;
        }
    }

    /// Atomically replaces the element of `size` bytes (1, 2 or 4; naturally aligned) by `change(old)`.
    pub(crate) fn modify(&self, addr: u64, size: usize, change: impl Fn(u64) -> u64) {
        let (word, shift) = self.word_of(addr);
        let mask = u64::MAX >> (64 - 8 * size) << (8 * shift);
        self.update(word, |old| old & !mask | change((old & mask) >> (8 * shift)) << (8 * shift) & mask);
        self.mark(addr, size, true);
    }

    /// The initialisation words of a range that consists of whole blocks.
    fn whole_blocks(&self, start: usize, len: usize) -> Option<&[AtomicU32]> {
        (start.is_multiple_of(32) && len.is_multiple_of(32))
            .then(|| &self.init[start / 32..(start + len) / 32])
    }

    /// Marks bytes as written or as unspecified.
    pub(crate) fn mark(&self, addr: u64, len: usize, written: bool) {
        let start = self.offset(addr);
        if let Some(cells) = self.whole_blocks(start, len).filter(|_| written) {
            cells.iter().for_each(|cell| cell.store(u32::MAX, Ordering::Relaxed));
            return;
        }
        for_blocks(start, len, |block, bits| {
            let cell = &self.init[block];
            if written {
                match bits {
                    u32::MAX => cell.store(bits, Ordering::Relaxed),
                    _ => drop(cell.fetch_or(bits, Ordering::Relaxed)),
                }
            } else if cell.load(Ordering::Relaxed) & bits != 0 {
                // Pages of the map that nothing has written stay uncommitted.
                cell.fetch_and(!bits, Ordering::Relaxed);
            }
        });
    }

    /// First address of the range that was never written.
    pub(crate) fn first_unset(&self, addr: u64, len: usize) -> Option<u64> {
        let start = self.offset(addr);
        if let Some(cells) = self.whole_blocks(start, len) {
            if cells.iter().fold(u32::MAX, |all, cell| all & cell.load(Ordering::Relaxed)) == u32::MAX {
                return None;
            }
        }
        let mut found = None;
        for_blocks(start, len, |block, bits| {
            let missing = bits & !self.init[block].load(Ordering::Relaxed);
            if missing != 0 && found.is_none() {
                found = Some(self.base + block as u64 * 32 + u64::from(missing.trailing_zeros()));
            }
        });
        found
    }

    /// Was this byte ever written?
    pub(crate) fn is_set(&self, addr: u64) -> bool {
        let at = self.offset(addr);
        self.init[at / 32].load(Ordering::Relaxed) >> (at % 32) & 1 == 1
    }
}

/// Bytes read from device memory, with the positions of those that were never written: a copy moves that
/// state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The bytes; those never written are whatever the host had there.
    pub bytes: Vec<u8>,
    /// Increasing positions in `bytes`.
    pub unset: Vec<usize>,
}

impl Allocation {
    /// Copies bytes out with their state. `None` when the host has no memory for them.
    ///
    /// # Panics
    /// If the range does not lie inside.
    pub fn load(&self, addr: u64, len: usize) -> Option<Contents> {
        let mut unset = Vec::new();
        if self.first_unset(addr, len).is_some() {
            let missing = || (0..len).filter(|&i| !self.is_set(addr + i as u64));
            unset.try_reserve_exact(missing().count()).ok()?;
            unset.extend(missing());
        }
        let mut bytes = try_zeroed_slice_box(len).ok()?.into_vec();
        self.read(addr, &mut bytes);
        Some(Contents { bytes, unset })
    }

    /// Copies bytes in with their state: `unset` holds the positions in `bytes` of those that count as never
    /// written.
    ///
    /// # Panics
    /// If the range does not lie inside.
    pub fn store(&self, addr: u64, bytes: &[u8], unset: &[usize]) {
        self.write(addr, bytes);
        for &i in unset {
            self.mark(addr + i as u64, 1, false);
        }
    }
}

/// Why nothing was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The device has less left.
    OnDevice {
        /// Bytes that it has left.
        free: u64,
    },
    /// The host, whose memory stands for that of the device, gives no more.
    OnHost,
}

/// The memory of one device: allocations by base address, with a capacity.
#[derive(Debug)]
pub struct DeviceMemory {
    live: RwLock<BTreeMap<u64, Arc<Allocation>>>,
    capacity: u64,
    /// Model address of the next allocation.
    next_model_base: AtomicU64,
}

/// Model addresses of allocations are multiples of a large page.
const MODEL_PAGE: u64 = 2 << 20;

impl DeviceMemory {
    /// Memory of so many bytes, all free.
    pub fn new(capacity: u64) -> Self {
        Self { live: RwLock::new(BTreeMap::new()), capacity, next_model_base: AtomicU64::new(0) }
    }

    /// Bytes that can be allocated in total.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes allocated now.
    pub fn used(&self) -> u64 {
        self.snapshot().iter().map(|a| a.len).sum()
    }

    /// Allocates `len` bytes and returns their device address, a multiple of 64. Reading them before they are
    /// written is a fault of a kernel.
    ///
    /// # Errors
    /// Where the device or the host has no room.
    pub fn alloc(&self, len: u64) -> Result<u64, NoRoom> {
        let mut live = self.live.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let used: u64 = live.values().map(|a| a.len).sum();
        let free = self.capacity - used;
        if len > free {
            return Err(NoRoom::OnDevice { free });
        }
        let pages = len.checked_next_multiple_of(MODEL_PAGE).ok_or(NoRoom::OnHost)?;
        let model_base = self.next_model_base.fetch_add(pages, Ordering::Relaxed);
        let allocation = Arc::new(Allocation::new(len, model_base).ok_or(NoRoom::OnHost)?);
        let base = allocation.base;
        live.insert(base, allocation);
        Ok(base)
    }

    /// Allocates two times `len` bytes, a multiple of 64, one directly behind the other: what only an unlucky
    /// host would give.
    #[cfg(test)]
    pub(crate) fn alloc_adjacent(&self, len: u64) -> [u64; 2] {
        let count = usize::try_from(len / 8).unwrap();
        Words::adjacent(count).unwrap().map(|words| {
            let base = words.as_ptr().addr() as u64;
            let allocation = Arc::new(Allocation::in_words(words, base, len, 0).unwrap());
            self.live.write().unwrap().insert(base, allocation);
            base
        })
    }

    /// Frees the allocation that starts at `base`; false when there is none.
    pub fn free(&self, base: u64) -> bool {
        self.live.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&base).is_some()
    }

    /// The allocation that contains `addr`.
    pub fn find(&self, addr: u64) -> Option<Arc<Allocation>> {
        let live = self.live.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (_, a) = live.range(..=addr).next_back()?;
        (addr < a.base + a.len).then(|| Arc::clone(a))
    }

    /// All allocations in address order, for a launch: they stay alive while it runs.
    pub fn snapshot(&self) -> Vec<Arc<Allocation>> {
        self.live.read().unwrap_or_else(std::sync::PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
