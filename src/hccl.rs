//! The HCCL library of a CANN installation, loaded at run time: nothing is linked.

use std::path::Path;

pub use ascend_sys::hccl::library::{attempts, Library};
pub use ascend_sys::Attempt;

use crate::{Error, Result};

/// The HCCL library of this process: from `FASTATTENTION_HCCL_LIB`, else beside the ACL library
/// ([`crate::acl::library`]), else by name through the system's search, else from the places where CANN is
/// installed. Searched once; the outcome is kept.
///
/// # Errors
/// `LibraryNotFound`, with every path tried and why it failed.
pub fn library() -> Result<&'static Library> {
    ascend_sys::hccl::library::library().map_err(Error::of_loading)
}

/// Loads the HCCL library from one file. The library stays loaded, so call it once for a path.
///
/// # Errors
/// `LibraryNotFound`, with the reason.
///
/// # Safety
/// Loading runs the library's initialisers, and its functions must have the signatures of the CANN headers.
#[allow(unsafe_code, reason = "its caller vouches for the file")]
pub unsafe fn load_from(path: &Path) -> Result<Library> {
    // SAFETY: the caller keeps this function's contract, which is the same.
    unsafe { ascend_sys::hccl::library::load_from(path) }.map_err(|e| Error::of_loading(&e))
}
