//! One call of an ACL function: current context, code, text.

#![allow(unsafe_code, reason = "reads the driver's error text")]

use std::ffi::{c_void, CStr};
use std::sync::{Mutex, PoisonError};

use crate::driver::{codes, AclError, AclTable};
use crate::{DriverCode, Error, ErrorKind, Result};

/// A handle of the driver, or the address of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(pub(super) *mut c_void);

// SAFETY: handles are numbers or addresses to this crate, which never dereferences them. ACL binds contexts,
// not handles, to threads: `Driver::call` makes the device's context current in whichever thread makes the
// call.
unsafe impl Send for Handle {}
// SAFETY: as above. Several threads may pass one handle to ACL at the same time: the simulator locks, and on
// an NPU ASSUMPTION(handles-of-threads): the vendor's samples do so without locks (acl-runtime.md 1.6).
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) const NULL: Handle = Handle(std::ptr::null_mut());
}

/// The ACL functions of a library.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acl {
    pub(super) table: &'static AclTable,
    /// Does its text tell why a kernel was stopped, as that of this crate's library does?
    pub(super) explains_stops: bool,
}

/// The ACL functions with the context of one device.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) acl: Acl,
    pub(super) context: Handle,
    /// That opened the device.
    process: u32,
    /// An error that a drop met, for the next call.
    latched: Mutex<Option<Error>>,
}

impl Driver {
    pub(super) fn new(acl: Acl, context: Handle) -> Self {
        Self { acl, context, process: std::process::id(), latched: Mutex::new(None) }
    }

    /// Refuses a forked child of the process that opened the device: threads of the driver, or of the
    /// simulator, are in the parent only. To be asked before any lock is taken, which a thread of the parent
    /// may hold for ever here.
    pub(super) fn require_own_process(&self) -> Result<()> {
        let own = std::process::id();
        if own == self.process {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "device: opened by process {}, used by process {own}, which was forked from it; wanted: a new program (exec) \
                 that opens the device itself",
                self.process
            ),
        ))
    }

    /// Calls a function with the device's context current. The thread's own context is current again
    /// afterwards: another library in the thread may rely on it.
    pub(super) fn call(&self, name: &str, f: impl FnOnce(&AclTable) -> AclError) -> Result<()> {
        self.enter()?.call(name, f)
    }

    /// As [`Self::call`], for a call that its caller can do without: an error that a drop met is left to the
    /// next call.
    pub(super) fn attempt(&self, name: &str, f: impl FnOnce(&AclTable) -> AclError) -> Result<()> {
        self.enter_quietly()?.call(name, f)
    }

    /// Makes the device's context current until the guard is dropped, for several calls.
    pub(super) fn enter(&self) -> Result<Entered<'_>> {
        self.latched()?;
        self.enter_quietly()
    }

    /// As [`Self::enter`]; an error that a drop met is left to the next call.
    pub(super) fn enter_quietly(&self) -> Result<Entered<'_>> {
        self.enter_from(self.acl.current_context()?)
    }

    /// Calls a function that releases something. Keeps the first error for the next call; true when it
    /// worked.
    ///
    /// In a forked child nothing is called: what it would release is its parent's.
    pub(super) fn release(&self, name: &str, f: impl FnOnce(&AclTable) -> AclError) -> bool {
        self.release_with(|entered| entered.call(name, f))
    }

    /// As [`Self::release`], by whatever functions.
    pub(super) fn release_with(&self, f: impl FnOnce(&Entered<'_>) -> Result<()>) -> bool {
        if self.require_own_process().is_err() {
            return false;
        }
        let current = self.acl.current_context().unwrap_or_else(|error| {
            self.latch(error);
            Handle::NULL
        });
        let outcome = self.enter_from(current).and_then(|entered| f(&entered));
        outcome.map_err(|error| self.latch(error)).is_ok()
    }

    /// The error that a drop met, if there is one.
    pub(super) fn latched(&self) -> Result<()> {
        self.require_own_process()?;
        self.latched.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn latch(&self, error: Error) {
        self.latched.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// Makes the device's context current in place of `current`.
    fn enter_from(&self, current: Handle) -> Result<Entered<'_>> {
        let mut entered = Entered { driver: self, outer: Handle::NULL };
        if current != self.context {
            self.acl.set_context(self.context)?;
            entered.outer = current;
        }
        Ok(entered)
    }
}

/// The device's context is current.
pub(super) struct Entered<'a> {
    driver: &'a Driver,
    /// What is made current again, unless it is null.
    outer: Handle,
}

impl Entered<'_> {
    /// Calls a function.
    pub(super) fn call(&self, name: &str, f: impl FnOnce(&AclTable) -> AclError) -> Result<()> {
        let acl = self.driver.acl;
        acl.check(name, f(acl.table))
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.driver.acl.restore_context(self.outer) {
            // Not an error of the call that was made: what it created is in the caller's hands.
            self.driver.latch(error);
        }
    }
}

impl Acl {
    /// The thread's current context; null when it has none.
    pub(super) fn current_context(self) -> Result<Handle> {
        let mut context = Handle::NULL;
        // SAFETY: the pointer is to a live handle.
        let code = unsafe { (self.table.aclrtGetCurrentContext)(&raw mut context.0) };
        match self.check("aclrtGetCurrentContext", code) {
            // `check` has fetched the text, so that it does not turn up in a later error.
            Err(_) if code == codes::RT_CONTEXT_NULL => Ok(Handle::NULL),
            outcome => outcome.map(|()| context),
        }
    }

    /// Makes a context current.
    fn set_context(self, context: Handle) -> Result<()> {
        // SAFETY: either the device's context, which every owner of a handle keeps, or the one that this
        // thread had.
        let code = unsafe { (self.table.aclrtSetCurrentContext)(context.0) };
        self.check("aclrtSetCurrentContext", code)
    }

    /// Makes the thread's earlier context current again. A thread without one keeps the device's: ACL cannot
    /// clear it.
    pub(super) fn restore_context(self, outer: Handle) -> Result<()> {
        if outer == Handle::NULL {
            return Ok(());
        }
        // Nobody can rely on a context that its owner has destroyed in the meantime.
        let gone = [codes::RT_CONTEXT_NULL, codes::RT_INVALID_HANDLE].map(DriverCode::Acl);
        match self.set_context(outer) {
            Err(error) if error.driver_code().is_some_and(|code| gone.contains(&code)) => Ok(()),
            outcome => outcome,
        }
    }

    /// Turns a code into a result, with the text that the driver has for this thread.
    pub(super) fn check(self, name: &str, code: AclError) -> Result<()> {
        if code == codes::SUCCESS {
            return Ok(());
        }
        let text = recent_text(self.table);
        let kind =
            if self.explains_stops { explained_kind(code, &text) } else { ErrorKind::of_acl_code(code) };
        let meaning = codes::meaning(code).unwrap_or("a code unknown to this version");
        let mut message = format!("{name} failed with code {code} ({meaning})");
        if !text.is_empty() {
            message.push_str(": ");
            message.push_str(&text);
        }
        Err(Error::driver(kind, DriverCode::Acl(code), message))
    }
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

/// Does the simulator refuse the value of an environment variable? Its line begins with the function's name.
pub(super) fn names_variable(text: &str) -> bool {
    text.lines().any(|line| line.contains(": environment variable "))
}

/// The library of this crate puts the reason for a stop on a line of its own.
fn explained_kind(code: AclError, text: &str) -> ErrorKind {
    let has = |start: &str| text.lines().any(|line| line.starts_with(start));
    if code == codes::INTERNAL_ERROR {
        ErrorKind::Internal
    } else if has("Fault:") {
        ErrorKind::SimFault
    } else if has("Unsupported:") {
        ErrorKind::SimUnsupported
    } else if names_variable(text) {
        ErrorKind::InvalidArgument
    } else {
        ErrorKind::of_acl_code(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_the_simulator_refuses_is_an_argument() {
        let of = |code, line: &str| explained_kind(code, &format!("E{code}: parameter invalid\n{line}"));
        let variable =
            "aclrtSetDevice: environment variable FASTATTENTION_SIM_RACES = \"2\" given, 0 or 1 wanted";
        assert_eq!(of(codes::RT_PARAM_INVALID, variable), ErrorKind::InvalidArgument);
        assert_eq!(
            of(codes::RT_PARAM_INVALID, "aclrtMemcpy: kind = 9 given, 0 to 4 wanted"),
            ErrorKind::Driver
        );
    }
}
