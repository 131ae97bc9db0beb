//! One call of an ACL function: current context, code, text.

#![allow(unsafe_code, reason = "reads the driver's error text")]

use std::ffi::{c_void, CStr};
use std::sync::{Mutex, PoisonError};

use crate::driver::{codes, AclError, AclTable};
use crate::{Error, ErrorKind, Result};

/// A handle of the driver, or the address of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(pub(super) *mut c_void);

// SAFETY: handles are numbers or addresses to this crate, which never dereferences them. ACL binds contexts, not handles,
// to threads: `Driver::call` makes the handle's context current in whichever thread makes the call.
unsafe impl Send for Handle {}
// SAFETY: as above; the vendor's samples use one stream or event from several threads without locks
// (acl-runtime.md 1.6), and the simulator locks.
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) const NULL: Handle = Handle(std::ptr::null_mut());
}

/// The function table with the context of one device.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) table: &'static AclTable,
    pub(super) context: Handle,
    pub(super) is_simulated: bool,
    /// An error that a drop met, for the next call.
    latched: Mutex<Option<Error>>,
}

impl Driver {
    pub(super) fn new(table: &'static AclTable, context: Handle, is_simulated: bool) -> Self {
        Self { table, context, is_simulated, latched: Mutex::new(None) }
    }

    /// Calls a function with the device's context current.
    pub(super) fn call(&self, name: &str, f: impl FnOnce(&AclTable) -> AclError) -> Result<()> {
        if let Some(error) = self.latched.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        self.call_in_drop(name, f)
    }

    /// As [`Self::call`], leaving latched errors alone.
    fn call_in_drop(&self, name: &str, f: impl FnOnce(&AclTable) -> AclError) -> Result<()> {
        // SAFETY: the context lives as long as the device, which every owner of a handle keeps.
        let code = unsafe { (self.table.aclrtSetCurrentContext)(self.context.0) };
        check(self.table, self.is_simulated, "aclrtSetCurrentContext", code)?;
        check(self.table, self.is_simulated, name, f(self.table))
    }

    /// Calls a function that releases something. Keeps the first error for the next call; true when it worked.
    pub(super) fn release(&self, name: &str, f: impl FnOnce(&AclTable) -> AclError) -> bool {
        match self.call_in_drop(name, f) {
            Ok(()) => true,
            Err(error) => {
                self.latched.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                false
            }
        }
    }
}

/// Turns a code into a result, with the text that the driver has for this thread.
pub(super) fn check(table: &AclTable, is_simulated: bool, name: &str, code: AclError) -> Result<()> {
    if code == codes::SUCCESS {
        return Ok(());
    }
    let text = recent_text(table);
    let kind = if is_simulated { simulated_kind(code, &text) } else { codes::kind(code) };
    let meaning = codes::meaning(code).unwrap_or("a code unknown to this version");
    let mut message = format!("{name} failed with code {code} ({meaning})");
    if !text.is_empty() {
        message.push_str(": ");
        message.push_str(&text);
    }
    Err(Error::driver(kind, code, message))
}

/// What the driver has to say; empty when nothing.
pub(super) fn recent_text(table: &AclTable) -> String {
    // SAFETY: takes no argument.
    let text = unsafe { (table.aclGetRecentErrMsg)() };
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, so a string that lives until this thread's next call; it is copied here.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().trim_end().to_owned()
}

/// The simulator puts the reason for a stop on a line of its own.
fn simulated_kind(code: AclError, text: &str) -> ErrorKind {
    let has = |start: &str| text.lines().any(|line| line.starts_with(start));
    if code == codes::INTERNAL_ERROR {
        ErrorKind::Internal
    } else if has("Fault:") {
        ErrorKind::SimFault
    } else if has("Unsupported:") {
        ErrorKind::SimUnsupported
    } else {
        codes::kind(code)
    }
}
