//! The crate's one error type.

use std::fmt;

use ascend_sys::{codes, AclError, LoadError, LoadErrorKind};

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong; decides what a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is wrong; the text names it, the value given and the value wanted.
    InvalidArgument,
    /// A well-formed request that this version, SoC or kernel set cannot serve; the text names the nearest
    /// that works.
    Unsupported,
    /// A shared library (of CANN, or the CUDA driver's) was not found or not loadable; the text lists every
    /// path tried.
    LibraryNotFound,
    /// CANN is there, but libraries of the NPU's driver that it needs are not; the text lists every path
    /// tried.
    DriverNotFound,
    /// The driver has no device, or none of this number.
    NoDevice,
    /// The crate was built without kernels for this device.
    KernelsNotBuilt,
    /// A call of ACL, HCCL or the CUDA driver failed in a way that has no kind of its own;
    /// [`Error::driver_code`] has the raw code.
    Driver,
    /// Device or host memory is exhausted.
    OutOfMemory,
    /// A wait ended before the work did. The work may still be running.
    Timeout,
    /// Work or hardware failed so that the device does nothing more for this process before it is reset.
    DeviceLost,
    /// The first launch on an NPU did not do what it has to; the text says what to send back.
    SelfTest,
    /// The simulator found the kernel at fault.
    SimFault,
    /// The kernel uses something that the simulator does not model.
    SimUnsupported,
    /// A file could not be read, written or understood.
    Io,
    /// A defect of this crate; please report it.
    Internal,
}

impl ErrorKind {
    /// Kind of a failed ACL call without knowledge of its text.
    pub(crate) fn of_acl_code(code: AclError) -> Self {
        if codes::is_out_of_memory(code) {
            Self::OutOfMemory
        } else if matches!(code, codes::RT_INVALID_DEVICE | codes::RT_NO_DEVICE) {
            Self::NoDevice
        } else if codes::is_sticky(code) {
            Self::DeviceLost
        } else if codes::is_timeout(code) {
            Self::Timeout
        } else {
            Self::Driver
        }
    }
}

/// An error of this crate: operation, argument, value given, value wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    driver_code: Option<DriverCode>,
}

/// The interface that failed, with its code. Each numbers on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DriverCode {
    /// Of an ACL function (`acl_base.h`, `rt_error_codes.h`).
    Acl(i32),
    /// Of an HCCL function (`hccl_types.h`).
    Hccl(u32),
    /// Of a function of the CUDA driver (`cuda.h`, `CUresult`).
    Cuda(u32),
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

    /// A call that returned `code`, with the text that the driver gave.
    pub fn driver(kind: ErrorKind, code: DriverCode, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), driver_code: Some(code) }
    }

    /// A library that could not be loaded.
    pub(crate) fn of_loading(error: &LoadError) -> Self {
        let kind = match error.kind() {
            LoadErrorKind::DriverNotFound => ErrorKind::DriverNotFound,
            _ => ErrorKind::LibraryNotFound,
        };
        Self::new(kind, error.to_string())
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Is host or device memory exhausted? Freeing some and trying again can help.
    pub fn is_out_of_memory(&self) -> bool {
        self.kind == ErrorKind::OutOfMemory
    }

    /// Did something take longer than it may? Also true for a kernel that the driver stopped for its time,
    /// whatever the kind of the error.
    pub fn is_timeout(&self) -> bool {
        self.kind == ErrorKind::Timeout || self.has_device_code(codes::is_timeout)
    }

    /// Is the device unusable for this process until it is reset? Trying again cannot help. Also true for a
    /// self-test that ended so.
    pub fn is_device_lost(&self) -> bool {
        self.kind == ErrorKind::DeviceLost || self.has_device_code(codes::is_sticky)
    }

    /// Is the code that of a class? A stop by the simulator has a chip's code, and the simulated device goes
    /// on.
    fn has_device_code(&self, is_of_class: fn(AclError) -> bool) -> bool {
        let is_of_simulator = matches!(self.kind, ErrorKind::SimFault | ErrorKind::SimUnsupported);
        !is_of_simulator && matches!(self.driver_code, Some(DriverCode::Acl(code)) if is_of_class(code))
    }

    /// The raw return code, when a call of ACL or HCCL failed.
    pub fn driver_code(&self) -> Option<DriverCode> {
        self.driver_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_classified_by_whitelists() {
        for (code, kind, [memory, timeout, lost]) in [
            (207_001, ErrorKind::OutOfMemory, [true, false, false]),
            (507_046, ErrorKind::Timeout, [false, true, false]),
            (507_014, ErrorKind::DeviceLost, [false, true, true]),
            (507_015, ErrorKind::DeviceLost, [false, false, true]),
            (107_001, ErrorKind::NoDevice, [false, false, false]),
            (207_004, ErrorKind::NoDevice, [false, false, false]),
            (107_017, ErrorKind::Driver, [false, false, false]),
            // Codes that no list names stay unclassified.
            (207_002, ErrorKind::Driver, [false, false, false]),
            (599_999, ErrorKind::Driver, [false, false, false]),
        ] {
            let error = Error::driver(ErrorKind::of_acl_code(code), DriverCode::Acl(code), "aclrtX failed");
            assert_eq!(error.kind(), kind, "{code}");
            let classes = [error.is_out_of_memory(), error.is_timeout(), error.is_device_lost()];
            assert_eq!(classes, [memory, timeout, lost], "{code}");
        }
        // A kernel that the simulator stopped is at fault itself; the simulated device goes on.
        let fault = Error::driver(ErrorKind::SimFault, DriverCode::Acl(507_014), "a deadlock");
        assert!(!fault.is_device_lost() && !fault.is_timeout());
        // The same number of the other interface is another code.
        let other = Error::driver(ErrorKind::Driver, DriverCode::Hccl(507_014), "HcclX failed");
        assert!(!other.is_device_lost() && !other.is_timeout());
    }
}
