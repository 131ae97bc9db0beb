//! What is asked of the operating system beyond the standard library: memory that two processes share, and a call at
//! the end of the process.

#![allow(unsafe_code, reason = "maps a file; registers a C function")]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// A file in memory, shared with the processes that map it too.
#[derive(Debug)]
pub(super) struct Shared {
    map: MmapRaw,
    words: usize,
}

impl Shared {
    /// Maps the first `words * 8` bytes, which the file must have: an access beyond its end is a signal.
    pub(super) fn map(file: &File, words: usize) -> io::Result<Shared> {
        let map = MmapOptions::new().len(words * size_of::<AtomicU64>()).map_raw(file)?;
        Ok(Shared { map, words })
    }

    /// The memory. Other processes may change it at any time.
    pub(super) fn words(&self) -> &[AtomicU64] {
        let start = self.map.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: `map` covers `words` words from an address that is aligned to a page, for reading and writing, as long as
        // `self` lives, which the result borrows. Any bits are a value, and atomics allow for changes by other processes.
        unsafe { std::slice::from_raw_parts(start, self.words) }
    }
}

/// Has `at_process_exit` called when the process exits: by `exit`, or by a return from `main`, not when it is killed.
pub(super) fn at_exit(at_process_exit: extern "C" fn()) {
    // SAFETY: the function lives as long as this library; glibc calls it early if the library is unloaded.
    let refused = unsafe { libc::atexit(at_process_exit) };
    // Without memory for one more function the process ends as if it was killed.
    let _ = refused;
}
