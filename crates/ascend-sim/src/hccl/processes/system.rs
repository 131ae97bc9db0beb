//! What is asked of the operating system beyond the standard library and `rustix`: memory that two processes
//! share, who is at the other end of a socket, and a call at the end of the process.

#![allow(unsafe_code, reason = "maps a file; reads an option of a socket; registers a C function")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{fcntl_get_seals, fstat, SealFlags};

/// The memory of a descriptor, shared with the processes that map it too.
#[derive(Debug)]
pub(super) struct Shared {
    map: MmapRaw,
    words: usize,
}

impl Shared {
    /// With these a file keeps its length for ever, whoever has it: an access beyond its end would be a
    /// signal.
    pub(super) const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

    /// Maps a file of `words * 8` bytes.
    ///
    /// # Errors
    /// Also for a file that is not sealed, or has another length.
    pub(super) fn map(file: BorrowedFd<'_>, words: usize) -> io::Result<Shared> {
        // Only memory can be sealed: for other descriptors the system refuses the question.
        let seals = fcntl_get_seals(file).unwrap_or(SealFlags::empty());
        if !seals.contains(Self::SEALS) {
            return Err(io::Error::other("a file whose length can change given, sealed memory wanted"));
        }
        // Behind the seals: before them it could still change.
        let (len, want) = (fstat(file)?.st_size, words * size_of::<AtomicU64>());
        if usize::try_from(len) != Ok(want) {
            return Err(io::Error::other(format!("a file of {len} bytes given, {want} wanted")));
        }
        let map = MmapOptions::new().len(want).map_raw(&file.as_fd())?;
        Ok(Shared { map, words })
    }

    /// The memory. Other processes may change it at any time.
    pub(super) fn words(&self) -> &[AtomicU64] {
        let start = self.map.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: `map` covers `words` words from an address that is aligned to a page, for reading and
        // writing, as long as `self` lives, which the result borrows; its seals keep the file that
        // long. Any bits are a value, and atomics allow for changes by other processes.
        unsafe { std::slice::from_raw_parts(start, self.words) }
    }
}

/// Process and user at the other end of a connection, when it was made. The process is 0 where it cannot be
/// seen from here.
pub(super) fn credentials(stream: &UnixStream) -> io::Result<libc::ucred> {
    // `rustix` has this too, with a type of process numbers that cannot be 0.
    let mut credentials = MaybeUninit::<libc::ucred>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(io::Error::other)?;
    let (fd, place) = (stream.as_raw_fd(), credentials.as_mut_ptr().cast());
    // SAFETY: the descriptor is open, `place` has `len` bytes, and both pointers are to live variables.
    let code = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut len) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: three integers, for which zeros are values, and so is what the system has written over them.
    Ok(unsafe { credentials.assume_init() })
}

/// Has `at_process_exit` called when the process exits: by `exit`, or by a return from `main`, not when it is
/// killed.
pub(super) fn at_exit(at_process_exit: extern "C" fn()) {
    // SAFETY: the function lives as long as this library; glibc calls it early if the library is unloaded.
    let refused = unsafe { libc::atexit(at_process_exit) };
    // Without memory for one more function the process ends as if it was killed.
    let _ = refused;
}
