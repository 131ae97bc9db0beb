//! Files as memory.

#![allow(unsafe_code, reason = "maps a file, which another process could change")]

use std::fs::File;
use std::path::Path;

use fastattention::{Error, ErrorKind, Result};
use memmap2::Mmap;

/// Maps a file for reading. It must not be changed or made shorter meanwhile: the system ends a process that
/// reads what is no longer there.
///
/// # Errors
/// `Io` when there is no such file, or it cannot be read or mapped.
pub(super) fn map(path: &Path) -> Result<Mmap> {
    let told = |e: std::io::Error| Error::new(ErrorKind::Io, format!("{}: {e}", path.display()));
    let file = File::open(path).map_err(told)?;
    // SAFETY: nothing here writes to the file. Callers are told that nobody else may, either; bytes that
    // change all the same are numbers of weights: none is taken for an address or a length without a check.
    unsafe { Mmap::map(&file) }.map_err(told)
}
