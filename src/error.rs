//! The crate's one error type.

use std::fmt;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong; decides what a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is wrong; the text names it, the value given and the value wanted.
    InvalidArgument,
    /// A well-formed request that this version, SoC or kernel set cannot serve; the text names the nearest that works.
    Unsupported,
    /// A shared library (CANN) was not found or not loadable; the text lists every path tried.
    LibraryNotFound,
    /// The crate was built without kernels for this device.
    KernelsNotBuilt,
    /// An ACL call failed; [`Error::driver_code`] has the raw code.
    Driver,
    /// Device or host memory is exhausted.
    OutOfMemory,
    /// The simulator found the kernel at fault.
    SimFault,
    /// The kernel uses something that the simulator does not model.
    SimUnsupported,
    /// A file could not be read, written or understood.
    Io,
    /// A defect of this crate; please report it.
    Internal,
}

/// An error of this crate: operation, argument, value given, value wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    driver_code: Option<i32>,
}

impl Error {
    /// An error of the given kind. `message` is a complete sentence without a final stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), driver_code: None }
    }

    /// Shorthand for [`ErrorKind::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// An ACL call that returned `code`, with the text that the driver gave.
    pub fn driver(kind: ErrorKind, code: i32, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), driver_code: Some(code) }
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The raw ACL return code, when an ACL call failed.
    pub fn driver_code(&self) -> Option<i32> {
        self.driver_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
