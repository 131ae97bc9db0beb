//! Memory of the host as that of a device, for engines whose kernels are native code.

#![allow(unsafe_code, reason = "device memory of these engines is host memory that kernels use natively")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::engine::{Allocation, NoRoom};
use crate::host_pages::{Chunks, Pages};

/// Allocations whose device addresses are those of the host. What was written is not tracked. Pages of large
/// ones are taken when they are touched first, so what nobody uses of them costs addresses only.
#[derive(Debug, Default)]
pub struct HostMemory {
    capacity: u64,
    live: RwLock<Live>,
    numbers: AtomicU64,
}

#[derive(Debug, Default)]
struct Live {
    blocks: BTreeMap<u64, Arc<HostBlock>>,
    used: u64,
    chunks: Chunks,
}

/// An allocation of [`HostMemory`].
pub struct HostBlock {
    pages: Pages,
    size: u64,
    number: u64,
}

// SAFETY: the block owns its memory; who may use which bytes when is the contract of the C functions, which
// their callers keep.
unsafe impl Send for HostBlock {}
// SAFETY: as above.
unsafe impl Sync for HostBlock {}

impl fmt::Debug for HostBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size)
    }
}

impl HostBlock {
    /// The place of an address, and how many bytes lie from there to the end.
    pub fn at(&self, address: u64) -> Option<(*mut u8, usize)> {
        let offset = address.checked_sub(self.base()).filter(|offset| *offset <= self.size)?;
        let left = usize::try_from(self.size - offset).ok()?;
        Some((self.pages.start().wrapping_add(usize::try_from(offset).ok()?), left))
    }

    fn range(&self, address: u64, len: usize) -> *mut u8 {
        match self.at(address) {
            Some((place, left)) if len <= left => place,
            _ => unreachable!("{len} bytes at {address:#x} given, a range of the allocation wanted"),
        }
    }
}

impl Allocation for HostBlock {
    fn base(&self) -> u64 {
        self.pages.start().expose_provenance() as u64
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn read(&self, address: u64, out: &mut [u8]) {
        // SAFETY: the range lies inside, and nobody writes it meanwhile.
        unsafe { self.range(address, out.len()).copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) };
    }

    fn write(&self, address: u64, data: &[u8]) {
        // SAFETY: the range lies inside, and nobody else uses it meanwhile.
        unsafe { self.range(address, data.len()).copy_from_nonoverlapping(data.as_ptr(), data.len()) };
    }
}

impl HostMemory {
    /// Room for `capacity` bytes, none of which is taken yet.
    pub fn new(capacity: u64) -> Self {
        Self { capacity, ..Self::default() }
    }

    fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes in total.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are allocated now.
    pub fn used(&self) -> u64 {
        self.live().used
    }

    /// Allocates `len` bytes, at least one, all 0, and returns their address: a multiple of 64.
    ///
    /// # Errors
    /// When less is left, or the host gives no more.
    pub fn alloc(&self, len: u64) -> Result<u64, NoRoom> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let free = self.capacity - live.used;
        if len > free {
            return Err(NoRoom::OnDevice { free });
        }
        let size = usize::try_from(len.max(1)).map_err(|_| NoRoom::OnHost)?;
        let pages = live.chunks.alloc(size).ok_or(NoRoom::OnHost)?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let block = Arc::new(HostBlock { pages, size: len, number });
        let base = block.base();
        live.used += len;
        live.blocks.insert(base, block);
        Ok(base)
    }

    /// Frees the allocation that starts at `base`; false when there is none. Whoever has it keeps it.
    pub fn free(&self, base: u64) -> bool {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let block = live.blocks.remove(&base);
        live.used -= block.as_ref().map_or(0, |block| block.size);
        block.is_some()
    }

    /// The allocation that contains `address`.
    pub fn find(&self, address: u64) -> Option<Arc<HostBlock>> {
        let live = self.live();
        let (base, block) = live.blocks.range(..=address).next_back()?;
        (address < base + block.size).then(|| Arc::clone(block))
    }

    /// Addresses of all allocations.
    pub fn bases(&self) -> Vec<u64> {
        self.live().blocks.keys().copied().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failure here fails the test")]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_found_and_given_back() {
        let memory = HostMemory::new(1000);
        let (first, second) = (memory.alloc(100).unwrap(), memory.alloc(900).unwrap());
        assert_eq!((first % 64, second % 64, memory.used()), (0, 0, 1000));
        assert_eq!(memory.alloc(1), Err(NoRoom::OnDevice { free: 0 }));
        let block = memory.find(first + 99).unwrap();
        assert_eq!((block.base(), block.size()), (first, 100));
        assert!(memory.find(first + 100).is_none_or(|other| other.base() == second));
        assert!(memory.free(first) && !memory.free(first) && memory.find(first).is_none());
        assert_eq!((memory.used(), memory.bases()), (900, vec![second]));
        // Who has the block keeps its memory.
        let mut bytes = [1; 3];
        block.read(first + 97, &mut bytes);
        assert_eq!(
            (bytes, block.at(first + 100).map(|(_, left)| left), block.at(first + 101)),
            ([0; 3], Some(0), None)
        );
    }

    #[test]
    fn more_than_the_host_has_is_an_error() {
        assert_eq!(HostMemory::new(u64::MAX).alloc(u64::MAX), Err(NoRoom::OnHost));
    }
}
