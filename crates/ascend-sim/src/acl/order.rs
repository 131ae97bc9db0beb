//! Tells ThreadSanitizer, in a program that runs under it, what this library orders and which host memory it
//! touches.
//!
//! The library itself is not instrumented, so its locks and copies are invisible there, and every use of a
//! stream would be reported as a race. With what is told here ThreadSanitizer knows what the ACL functions
//! promise and no more: a program that reads the target of an asynchronous copy before it synchronises is
//! reported.

#![allow(unsafe_code, reason = "calls functions of the program's ThreadSanitizer")]

use std::ffi::c_void;
use std::sync::OnceLock;

/// Functions of the ThreadSanitizer run-time library (`sanitizer/tsan_interface.h`, and for ranges those that
/// instrumented code calls).
struct Hooks {
    acquire: unsafe extern "C" fn(*mut c_void),
    release: unsafe extern "C" fn(*mut c_void),
    read_range: unsafe extern "C" fn(*const c_void, usize),
    write_range: unsafe extern "C" fn(*mut c_void, usize),
}

/// Those of the process, if it has them.
fn hooks() -> Option<&'static Hooks> {
    static HOOKS: OnceLock<Option<Hooks>> = OnceLock::new();
    HOOKS.get_or_init(find).as_ref()
}

#[cfg(unix)]
fn find() -> Option<Hooks> {
    let process = libloading::os::unix::Library::this();
    // SAFETY: the four functions have had these signatures since they exist.
    let acquire = *unsafe { process.get(b"__tsan_acquire\0") }.ok()?;
    // SAFETY: as above.
    let release = *unsafe { process.get(b"__tsan_release\0") }.ok()?;
    // SAFETY: as above.
    let read_range = *unsafe { process.get(b"__tsan_read_range\0") }.ok()?;
    // SAFETY: as above.
    let write_range = *unsafe { process.get(b"__tsan_write_range\0") }.ok()?;
    Some(Hooks { acquire, release, read_range, write_range })
}

#[cfg(not(unix))]
fn find() -> Option<Hooks> {
    None
}

/// What happened before this call happens before what follows an [`acquire`] of the same `token`.
pub(super) fn release<T>(token: &T) {
    if let Some(hooks) = hooks() {
        // SAFETY: the address names something and is not followed.
        unsafe { (hooks.release)(std::ptr::from_ref(token).cast_mut().cast()) };
    }
}

/// See [`release`].
pub(super) fn acquire<T>(token: &T) {
    if let Some(hooks) = hooks() {
        // SAFETY: as in `release`.
        unsafe { (hooks.acquire)(std::ptr::from_ref(token).cast_mut().cast()) };
    }
}

/// This thread reads host memory of the program.
pub(super) fn reads(memory: *const u8, len: usize) {
    if let Some(hooks) = hooks() {
        // SAFETY: only the addresses are noted.
        unsafe { (hooks.read_range)(memory.cast(), len) };
    }
}

/// This thread writes host memory of the program.
pub(super) fn writes(memory: *mut u8, len: usize) {
    if let Some(hooks) = hooks() {
        // SAFETY: only the addresses are noted.
        unsafe { (hooks.write_range)(memory.cast(), len) };
    }
}
