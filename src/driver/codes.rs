//! Error codes of the ACL functions (acl-runtime.md 1.5) and the classes this crate acts on.

use super::AclError;
use crate::ErrorKind;

/// Constants of a return type, and what they mean.
macro_rules! codes {
    ($code:ident; $($(#[doc = $doc:literal])+ $name:ident = $value:literal, $text:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: $code = $value;)*

        /// Short meaning of a code.
        pub fn meaning(code: $code) -> Option<&'static str> {
            match code {
                $($value => Some($text),)*
                _ => None,
            }
        }
    };
}
pub(super) use codes;

codes! { AclError;
    /// Success.
    SUCCESS = 0, "success";
    /// A wrong argument, found by the ACL layer.
    INVALID_PARAM = 100_000, "invalid parameter";
    /// Call before `aclInit`.
    UNINITIALIZED = 100_001, "not initialised";
    /// Second `aclInit`; harmless.
    REPEAT_INITIALIZE = 100_002, "aclInit repeated";
    /// A file has the wrong contents.
    INVALID_FILE = 100_003, "invalid file";
    /// Operator not found.
    OP_NOT_FOUND = 100_024, "operator not found";
    /// Kernel not found.
    KERNEL_NOT_FOUND = 100_029, "kernel not found";
    /// Second `aclFinalize`.
    REPEAT_FINALIZE = 100_037, "aclFinalize repeated";
    /// The library is the compile-time stub.
    STUB_LIBRARY = 100_039, "a compile-time stub library was loaded";
    /// A wrong argument, found by the runtime layer.
    RT_PARAM_INVALID = 107_000, "parameter invalid";
    /// No such device.
    RT_INVALID_DEVICE = 107_001, "invalid device id";
    /// This thread has no current context.
    RT_CONTEXT_NULL = 107_002, "no current context";
    /// The stream belongs to another context.
    RT_STREAM_CONTEXT = 107_003, "stream not in current context";
    /// The event holds no time.
    RT_EVENT_TIMESTAMP_INVALID = 107_006, "event timestamp invalid";
    /// The end is before the start.
    RT_EVENT_TIMESTAMP_REVERSED = 107_007, "event timestamps reversed";
    /// An address is not a multiple of what the call wants.
    RT_ADDRESS_UNALIGNED = 107_008, "address unaligned";
    /// A file cannot be opened.
    RT_FILE_OPEN = 107_009, "file open failed";
    /// Another thread handles the callbacks of the stream.
    RT_STREAM_SUBSCRIBE = 107_011, "stream already subscribed";
    /// The thread does not handle the callbacks of the stream.
    RT_THREAD_SUBSCRIBE = 107_012, "thread not subscribed";
    /// Nobody handles the callbacks of the stream.
    RT_STREAM_NO_CALLBACK = 107_015, "no callback registered for the stream";
    /// No such kind of memory.
    RT_INVALID_MEMORY_TYPE = 107_016, "invalid memory type";
    /// Unknown, destroyed or foreign handle.
    RT_INVALID_HANDLE = 107_017, "invalid handle";
    /// No such allocation policy.
    RT_INVALID_MALLOC_TYPE = 107_018, "invalid malloc type";
    /// Wait timed out.
    RT_WAIT_TIMEOUT = 107_019, "wait timeout";
    /// Task timed out.
    RT_TASK_TIMEOUT = 107_020, "task timeout";
    /// Work of the stream was aborted.
    RT_STREAM_ABORT = 107_023, "stream task abort";
    /// Allocation failed.
    BAD_ALLOC = 200_000, "allocation failed";
    /// Feature not supported.
    RT_FEATURE_NOT_SUPPORT = 207_000, "feature not supported";
    /// Out of memory.
    RT_MEMORY_ALLOCATION = 207_001, "memory allocation failed";
    /// Free failed.
    RT_MEMORY_FREE = 207_002, "free failed";
    /// No device.
    RT_NO_DEVICE = 207_004, "no device";
    /// No stream left.
    RT_NO_STREAM_RESOURCE = 207_008, "no stream left";
    /// Device out of memory.
    RT_DEVICE_OOM = 207_018, "device out of memory";
    /// Driver timeout.
    RT_DRV_TIMEOUT = 207_020, "driver timeout";
    /// The library is at fault.
    INTERNAL_ERROR = 500_000, "internal error";
    /// No callback came in time.
    RT_REPORT_TIMEOUT = 507_012, "report timeout";
    /// AI core timeout.
    RT_AICORE_TIMEOUT = 507_014, "AI core timeout";
    /// AI core exception.
    RT_AICORE_EXCEPTION = 507_015, "AI core exception";
    /// AI core trap.
    RT_AICORE_TRAP = 507_016, "AI core trap";
    /// Kernel look-up failed.
    RT_KERNEL_LOOKUP = 507_027, "kernel lookup failed";
    /// Vector core timeout.
    RT_VECTOR_CORE_TIMEOUT = 507_034, "vector core timeout";
    /// Vector core exception.
    RT_VECTOR_CORE_EXCEPTION = 507_035, "vector core exception";
    /// Synchronising a stream timed out.
    RT_STREAM_SYNC_TIMEOUT = 507_046, "stream synchronise timeout";
    /// Synchronising an event timed out.
    RT_EVENT_SYNC_TIMEOUT = 507_047, "event synchronise timeout";
    /// FFTS+ timeout.
    RT_FFTS_TIMEOUT = 507_048, "FFTS+ timeout";
    /// FFTS+ exception.
    RT_FFTS_EXCEPTION = 507_049, "FFTS+ exception";
    /// ECC error of the HBM.
    RT_HBM_ECC = 507_054, "HBM ECC error";
    /// An error that another device is suspected to have caused.
    RT_SUSPECT_REMOTE_ERROR = 507_057, "suspected remote error";
    /// Driver internal error.
    RT_DRV_INTERNAL = 507_899, "driver internal error";
}

/// Host or device memory is exhausted.
pub fn is_out_of_memory(code: AclError) -> bool {
    matches!(code, BAD_ALLOC | RT_MEMORY_ALLOCATION | RT_DEVICE_OOM)
}

/// Something took longer than allowed.
pub fn is_timeout(code: AclError) -> bool {
    matches!(
        code,
        RT_WAIT_TIMEOUT
            | RT_TASK_TIMEOUT
            | RT_DRV_TIMEOUT
            | RT_AICORE_TIMEOUT
            | RT_VECTOR_CORE_TIMEOUT
            | RT_STREAM_SYNC_TIMEOUT
            | RT_EVENT_SYNC_TIMEOUT
            | RT_FFTS_TIMEOUT
    )
}

/// The device must be reset before it can be used again.
///
/// ASSUMPTION(sticky-codes): the vendor publishes no list; this is the reading of acl-runtime.md 1.5.
pub fn is_sticky(code: AclError) -> bool {
    matches!(code, 507_010..=507_018 | 507_034..=507_036 | 507_049..=507_057)
}

/// Kind of a failed call without knowledge of its text.
pub(crate) fn kind(code: AclError) -> ErrorKind {
    if is_out_of_memory(code) {
        ErrorKind::OutOfMemory
    } else {
        ErrorKind::Driver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_whitelists() {
        assert!(is_out_of_memory(207_001) && is_out_of_memory(207_018) && !is_out_of_memory(207_002));
        assert!(is_timeout(507_046) && !is_timeout(507_015));
        assert!(is_sticky(507_015) && !is_sticky(507_046) && !is_sticky(999_999));
        assert_eq!(meaning(107_002), Some("no current context"));
        assert_eq!(meaning(999_999), None);
    }
}
