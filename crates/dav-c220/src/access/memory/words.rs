//! Host memory of allocations, at a distance from each other.
//!
//! A device address is the host address. An address that a kernel computes wrongly from one operand would be
//! valid if it happened to lie in another allocation, and nothing would tell. So address space in front of
//! each allocation stays reserved and empty: what leaves an allocation by less than that lies where nothing
//! is allocated, whichever instruction it is.

#![allow(
    unsafe_code,
    reason = "reserves address space and gives memory back, for which there are C functions only"
)]

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use bytemuck::allocation::try_zeroed_slice_box;

/// Zeroed words; their address is a multiple of 8.
#[derive(Debug)]
pub(super) struct Words {
    words: NonNull<[AtomicU64]>,
    source: Source,
}

/// Where words come from, and so how they go back.
#[derive(Debug)]
enum Source {
    Heap,
    #[cfg(all(unix, target_pointer_width = "64"))]
    Reservation(
        #[allow(dead_code, reason = "gives the address space back when it is dropped")] reserved::Reservation,
    ),
    /// Memory that tests keep for ever.
    #[cfg(test)]
    Leaked,
}

// SAFETY: the words are owned, and memory has no thread affinity.
unsafe impl Send for Words {}
// SAFETY: shared access gives out shared references to atomics only, which any thread may use.
unsafe impl Sync for Words {}

impl Words {
    /// `None` when the host has no room. Fresh zero pages: many GiB commit only what is touched.
    pub(super) fn zeroed(count: usize) -> Option<Self> {
        Self::reserved(count).or_else(|| {
            let words = NonNull::from(Box::leak(try_zeroed_slice_box(count).ok()?));
            Some(Self { words, source: Source::Heap })
        })
    }

    /// With space in front; `None` when there is none to be had.
    #[cfg(all(unix, target_pointer_width = "64"))]
    fn reserved(count: usize) -> Option<Self> {
        let reservation = reserved::Reservation::new(count.checked_mul(size_of::<AtomicU64>())?)?;
        let words = NonNull::slice_from_raw_parts(reservation.memory(), count);
        Some(Self { words, source: Source::Reservation(reservation) })
    }

    #[cfg(not(all(unix, target_pointer_width = "64")))]
    fn reserved(_: usize) -> Option<Self> {
        None
    }

    /// Two times `count` words, a multiple of 8, from a multiple of 64 bytes on and one directly behind the
    /// other. They are never freed.
    #[cfg(test)]
    pub(super) fn adjacent(count: usize) -> Option<[Self; 2]> {
        let all: &'static [AtomicU64] = Box::leak(try_zeroed_slice_box(2 * count + 8).ok()?);
        let all = &all[all.as_ptr().align_offset(64)..][..2 * count];
        let (low, high) = all.split_at(count);
        Some([low, high].map(|words| Self { words: NonNull::from(words), source: Source::Leaked }))
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `source` keeps the memory until `self` is dropped; it is zeroed, and zero is a value of an
        // atomic.
        unsafe { self.words.as_ref() }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if let Source::Heap = self.source {
            // SAFETY: `zeroed` has leaked this box and nobody else has freed it.
            drop(unsafe { Box::from_raw(self.words.as_ptr()) });
        }
    }
}

#[cfg(all(unix, target_pointer_width = "64"))]
mod reserved {
    use std::ffi::c_void;
    use std::ptr::NonNull;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use rustix::process::{getrlimit, Resource};

    /// Bytes of address space that may still stay empty in this process: well below the 1.5 TiB that
    /// ThreadSanitizer has for mappings.
    static LEFT: AtomicUsize = AtomicUsize::new(1 << 40);

    /// An allocation takes the 64th part of what is left, at first 16 GiB: what a wrong 32-bit index of
    /// elements of 4 bytes is off by.
    const PART: usize = 64;

    /// Unit of empty space, and alignment of what lies behind it: a large page.
    const UNIT: usize = 2 << 20;

    /// Mapped address space: empty, then memory up to the end.
    #[derive(Debug)]
    pub(super) struct Reservation {
        start: NonNull<c_void>,
        empty: usize,
        len: usize,
    }

    impl Reservation {
        /// `None` when the address space of the process has no room or a limit, or the host has no memory.
        pub(super) fn new(bytes: usize) -> Option<Self> {
            // What stays empty counts for `ulimit -v`, too; the program needs it for other things.
            if getrlimit(Resource::As).current.is_some() {
                return None;
            }
            let part = |left: usize| left / PART / UNIT * UNIT;
            let take = |left: usize| (part(left) > 0).then(|| left - part(left));
            let left = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
            let empty = part(left);
            let made = Self::map(empty, bytes);
            if made.is_none() {
                LEFT.fetch_add(empty, Ordering::Relaxed);
            }
            made
        }

        fn map(empty: usize, bytes: usize) -> Option<Self> {
            let len = empty.checked_add(bytes)?;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
            // SAFETY: a new mapping, at an address that the system chooses.
            let start = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
            if start == libc::MAP_FAILED {
                return None;
            }
            let mut reservation = Self { start: NonNull::new(start)?, empty, len };
            let memory = reservation.memory().as_ptr().cast();
            // SAFETY: these bytes lie in the mapping that was just made, which nobody else knows.
            let refused = unsafe { libc::mprotect(memory, bytes, libc::PROT_READ | libc::PROT_WRITE) };
            if refused != 0 {
                // Unmaps; `new` takes the space back.
                reservation.empty = 0;
                return None;
            }
            Some(reservation)
        }

        /// The first word of the memory.
        pub(super) fn memory(&self) -> NonNull<AtomicU64> {
            let behind = self.start.addr().get() + self.empty;
            // Not below the start: the empty part has at least one unit.
            self.start
                .map_addr(|_| std::num::NonZero::new(behind / UNIT * UNIT).unwrap_or(self.start.addr()))
                .cast()
        }
    }

    impl Drop for Reservation {
        fn drop(&mut self) {
            // SAFETY: the mapping of `map`, unmapped once; whoever uses the memory owns this value.
            let _ = unsafe { libc::munmap(self.start.as_ptr(), self.len) };
            LEFT.fetch_add(self.empty, Ordering::Relaxed);
        }
    }
}
