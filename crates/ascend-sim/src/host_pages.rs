//! Where the bytes of a device that is the host come from.
//!
//! Large allocations lie in pages of 2 MiB where the system gives them: with pages of 4 KiB a core of some
//! machines reads weights at half the rate. Those of a few hundred KiB share a chunk of such pages.

#![allow(unsafe_code, reason = "memory that is used by address")]

use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::ptr::NonNull;

/// Alignment of every allocation, in bytes: a line of the host's caches.
const ALIGNMENT: usize = 64;

/// Zeros of one allocation, until they are dropped.
pub(crate) struct Pages(Kind);

enum Kind {
    Heap(NonNull<u8>, Layout),
    #[cfg(unix)]
    Chunk(chunk::Part),
}

impl Pages {
    fn heap(size: usize) -> Option<Self> {
        let layout = Layout::from_size_align(size, ALIGNMENT).ok()?;
        // SAFETY: an allocation has at least one byte.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self(Kind::Heap(start, layout)))
    }

    pub(crate) fn start(&self) -> *mut u8 {
        match &self.0 {
            Kind::Heap(start, _) => start.as_ptr(),
            #[cfg(unix)]
            Kind::Chunk(part) => part.start(),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        match &self.0 {
            // SAFETY: `Self::heap` got the memory with this layout, and it is freed once.
            Kind::Heap(start, layout) => unsafe { dealloc(start.as_ptr(), *layout) },
            #[cfg(unix)]
            Kind::Chunk(_) => {}
        }
    }
}

/// What gives pages.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    #[cfg(unix)]
    open: Vec<std::sync::Weak<chunk::Chunk>>,
}

impl Chunks {
    /// `size` bytes, at least one, all 0; `None` when the host has no more.
    pub(crate) fn alloc(&mut self, size: usize) -> Option<Pages> {
        #[cfg(unix)]
        if size >= chunk::LEAST_BYTES {
            return Some(Pages(Kind::Chunk(chunk::alloc(&mut self.open, size)?)));
        }
        Pages::heap(size)
    }
}

#[cfg(unix)]
mod chunk {
    use std::fmt;
    use std::ops::Range;
    use std::sync::{Arc, Mutex, PoisonError, Weak};

    use memmap2::{MmapOptions, MmapRaw};
    use range_alloc::RangeAllocator;

    use super::ALIGNMENT;

    /// Smaller ones come from the heap.
    pub(super) const LEAST_BYTES: usize = 256 << 10;

    /// Bytes of a page, and of a chunk that allocations share. An allocation of more than a quarter of one
    /// has a chunk of its own.
    pub(super) const PAGE_BYTES: usize = 2 << 20;
    pub(super) const CHUNK_BYTES: usize = 32 << 20;

    /// Mapped pages.
    pub(super) struct Chunk {
        map: MmapRaw,
        /// Bytes of the map before the first page.
        skipped: usize,
        uses: Mutex<Uses>,
    }

    struct Uses {
        ranges: RangeAllocator<usize>,
        /// Bytes behind are as the system gave them.
        touched: usize,
    }

    impl fmt::Debug for Chunk {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "chunk of {} bytes", self.map.len())
        }
    }

    /// Some bytes of a chunk, which lives as long as one of them.
    pub(super) struct Part {
        chunk: Arc<Chunk>,
        range: Range<usize>,
    }

    impl Chunk {
        fn map(size: usize) -> Option<Self> {
            let map = MmapRaw::from(MmapOptions::new().len(size.checked_add(PAGE_BYTES)?).map_anon().ok()?);
            let skipped = map.as_mut_ptr().align_offset(PAGE_BYTES);
            let skipped = if skipped < PAGE_BYTES { skipped } else { 0 };
            // A system without such pages gives others.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            let uses = Mutex::new(Uses { ranges: RangeAllocator::new(0..size), touched: 0 });
            Some(Self { map, skipped, uses })
        }

        /// Bytes that are all 0.
        fn take(self: &Arc<Self>, size: usize) -> Option<Part> {
            let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
            let range = uses.ranges.allocate_range(size).ok()?;
            let part = Part { chunk: Arc::clone(self), range: range.clone() };
            if range.start < uses.touched {
                let old = uses.touched.min(range.end) - range.start;
                // SAFETY: the range is inside the chunk, and nobody else has it.
                unsafe { part.start().write_bytes(0, old) };
            }
            uses.touched = uses.touched.max(range.end);
            Some(part)
        }
    }

    impl Part {
        pub(super) fn start(&self) -> *mut u8 {
            self.chunk.map.as_mut_ptr().wrapping_add(self.chunk.skipped + self.range.start)
        }
    }

    impl Drop for Part {
        fn drop(&mut self) {
            let mut uses = self.chunk.uses.lock().unwrap_or_else(PoisonError::into_inner);
            uses.ranges.free_range(self.range.clone());
        }
    }

    pub(super) fn alloc(open: &mut Vec<Weak<Chunk>>, size: usize) -> Option<Part> {
        let size = size.checked_next_multiple_of(ALIGNMENT)?;
        if size > CHUNK_BYTES / 4 {
            return Arc::new(Chunk::map(size)?).take(size);
        }
        open.retain(|chunk| chunk.strong_count() > 0);
        let found = open.iter().filter_map(Weak::upgrade).find_map(|chunk| chunk.take(size));
        found.or_else(|| {
            let chunk = Arc::new(Chunk::map(CHUNK_BYTES)?);
            open.push(Arc::downgrade(&chunk));
            chunk.take(size)
        })
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a failure here fails the test")]
mod tests {
    use std::collections::BTreeMap;

    use super::chunk::{CHUNK_BYTES, LEAST_BYTES};
    use super::*;

    fn bytes(pages: &mut Pages, size: usize) -> &mut [u8] {
        // SAFETY: the test has the pages, and uses them from one thread.
        unsafe { std::slice::from_raw_parts_mut(pages.start(), size) }
    }

    /// Allocations of all kinds, in any order: each is zeros at first, and keeps what is written to it.
    #[test]
    fn allocations_are_zeros_and_share_no_byte() {
        let mut rng = fastrand::Rng::with_seed(5);
        let (mut chunks, mut live) = (Chunks::default(), BTreeMap::new());
        for number in 0..120 {
            let size = match rng.u8(0..8) {
                0 => rng.usize(1..LEAST_BYTES),
                1 => rng.usize(CHUNK_BYTES / 4..CHUNK_BYTES / 3),
                _ => rng.usize(LEAST_BYTES..4 * LEAST_BYTES),
            };
            let mut pages = chunks.alloc(size).unwrap();
            assert!(pages.start().addr().is_multiple_of(ALIGNMENT));
            assert!(bytes(&mut pages, size).iter().all(|&byte| byte == 0), "{size} bytes");
            bytes(&mut pages, size).fill(number);
            live.insert(number, (pages, size));
            while rng.u8(0..3) > 0 && live.len() > 8 {
                let gone = *live.keys().nth(rng.usize(0..live.len())).unwrap();
                let (mut pages, size): (Pages, usize) = live.remove(&gone).unwrap();
                assert!(bytes(&mut pages, size).iter().all(|&byte| byte == gone));
            }
        }
        let open = chunks.open.iter().filter(|chunk| chunk.strong_count() > 0).count();
        assert!(open < 4, "{open} chunks for {} allocations", live.len());
        live.clear();
        assert!(chunks.open.iter().all(|chunk| chunk.strong_count() == 0));
        assert!(chunks.alloc(usize::MAX).is_none() && chunks.alloc(usize::MAX - 4096).is_none());
    }
}
