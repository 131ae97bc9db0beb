//! Error codes of the ACL functions (acl-runtime.md 1.5) and the classes this crate acts on.

use crate::bindings::acl::*;
use crate::AclError;

/// Constants of a return type, and what they mean.
macro_rules! codes {
    ($code:ident; $($(#[doc = $doc:literal])+ $name:ident = $value:expr, $text:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: $code = $value;)*

        /// Short meaning of a code.
        pub fn meaning(code: $code) -> Option<&'static str> {
            match code {
                $($name => Some($text),)*
                _ => None,
            }
        }
    };
}
pub(super) use codes;

codes! { AclError;
    /// Success.
    SUCCESS = ACL_SUCCESS, "success";
    /// A wrong argument, found by the ACL layer.
    INVALID_PARAM = ACL_ERROR_INVALID_PARAM, "invalid parameter";
    /// Call before `aclInit`.
    UNINITIALIZED = ACL_ERROR_UNINITIALIZE, "not initialised";
    /// Second `aclInit`; harmless.
    REPEAT_INITIALIZE = ACL_ERROR_REPEAT_INITIALIZE, "aclInit repeated";
    /// A file has the wrong contents.
    INVALID_FILE = ACL_ERROR_INVALID_FILE, "invalid file";
    /// Operator not found.
    OP_NOT_FOUND = ACL_ERROR_OP_NOT_FOUND, "operator not found";
    /// Kernel not found.
    KERNEL_NOT_FOUND = ACL_ERROR_KERNEL_NOT_FOUND, "kernel not found";
    /// Second `aclFinalize`.
    REPEAT_FINALIZE = ACL_ERROR_REPEAT_FINALIZE, "aclFinalize repeated";
    /// The library is the compile-time stub.
    STUB_LIBRARY = ACL_ERROR_COMPILING_STUB_MODE, "a compile-time stub library was loaded";
    /// A wrong argument, found by the runtime layer.
    RT_PARAM_INVALID = ACL_ERROR_RT_PARAM_INVALID, "parameter invalid";
    /// No such device.
    RT_INVALID_DEVICE = ACL_ERROR_RT_INVALID_DEVICEID, "invalid device id";
    /// This thread has no current context.
    RT_CONTEXT_NULL = ACL_ERROR_RT_CONTEXT_NULL, "no current context";
    /// The stream belongs to another context.
    RT_STREAM_CONTEXT = ACL_ERROR_RT_STREAM_CONTEXT, "stream not in current context";
    /// The event holds no time.
    RT_EVENT_TIMESTAMP_INVALID = ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID, "event timestamp invalid";
    /// The end is before the start.
    RT_EVENT_TIMESTAMP_REVERSED = ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL, "event timestamps reversed";
    /// An address is not a multiple of what the call wants.
    RT_ADDRESS_UNALIGNED = ACL_ERROR_RT_ADDR_UNALIGNED, "address unaligned";
    /// A file cannot be opened.
    RT_FILE_OPEN = ACL_ERROR_RT_FILE_OPEN, "file open failed";
    /// Another thread handles the callbacks of the stream.
    RT_STREAM_SUBSCRIBE = ACL_ERROR_RT_STREAM_SUBSCRIBE, "stream already subscribed";
    /// The thread does not handle the callbacks of the stream.
    RT_THREAD_SUBSCRIBE = ACL_ERROR_RT_THREAD_SUBSCRIBE, "thread not subscribed";
    /// Nobody handles the callbacks of the stream.
    RT_STREAM_NO_CALLBACK = ACL_ERROR_RT_STREAM_NO_CB_REG, "no callback registered for the stream";
    /// No such kind of memory.
    RT_INVALID_MEMORY_TYPE = ACL_ERROR_RT_INVALID_MEMORY_TYPE, "invalid memory type";
    /// Unknown, destroyed or foreign handle.
    RT_INVALID_HANDLE = ACL_ERROR_RT_INVALID_HANDLE, "invalid handle";
    /// No such allocation policy.
    RT_INVALID_MALLOC_TYPE = ACL_ERROR_RT_INVALID_MALLOC_TYPE, "invalid malloc type";
    /// Wait timed out.
    RT_WAIT_TIMEOUT = ACL_ERROR_RT_WAIT_TIMEOUT, "wait timeout";
    /// Task timed out.
    RT_TASK_TIMEOUT = ACL_ERROR_RT_TASK_TIMEOUT, "task timeout";
    /// Work of the stream was aborted.
    RT_STREAM_ABORT = ACL_ERROR_RT_STREAM_ABORT, "stream task abort";
    /// A captured stream waits for an event that is not recorded in its capture.
    RT_CAPTURE_DEPENDENCY = ACL_ERROR_RT_CAPTURE_DEPENDENCY, "capture dependency";
    /// A stream of a capture is not joined to its origin.
    RT_STREAM_UNJOINED = ACL_ERROR_RT_STREAM_UNJOINED, "captured stream not joined";
    /// The graph is being captured.
    RT_MODEL_CAPTURED = ACL_ERROR_RT_MODEL_CAPTURED, "graph is captured";
    /// The stream is being captured.
    RT_STREAM_CAPTURED = ACL_ERROR_RT_STREAM_CAPTURED, "stream is captured";
    /// The event is recorded in a capture.
    RT_EVENT_CAPTURED = ACL_ERROR_RT_EVENT_CAPTURED, "event is captured";
    /// The stream is not being captured.
    RT_STREAM_NOT_CAPTURED = ACL_ERROR_RT_STREAM_NOT_CAPTURED, "stream is not captured";
    /// The mode of a capture forbids the function.
    RT_CAPTURE_MODE_NOT_SUPPORT = ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT, "forbidden by the mode of a capture";
    /// A default stream in a capture.
    RT_STREAM_CAPTURE_IMPLICIT = ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT, "default stream in a capture";
    /// A stream and an event of different captures.
    STREAM_CAPTURE_CONFLICT = ACL_ERROR_STREAM_CAPTURE_CONFLICT, "stream and event of different captures";
    /// The capture was begun on another stream. The 8.1 headers lack the name.
    RT_STREAM_CAPTURE_UNMATCHED = 107_036, "capture begun on another stream";
    /// The graph still runs. The 8.1 headers lack the name.
    RT_MODEL_RUNNING = 107_037, "graph still runs";
    /// The capture was begun in another thread. The 8.1 headers lack the name.
    RT_STREAM_CAPTURE_WRONG_THREAD = 107_038, "capture begun in another thread";
    /// Something illegal was called in the capture.
    RT_STREAM_CAPTURE_INVALIDATED = ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED, "capture invalidated";
    /// Allocation failed.
    BAD_ALLOC = ACL_ERROR_BAD_ALLOC, "allocation failed";
    /// Feature not supported.
    RT_FEATURE_NOT_SUPPORT = ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "feature not supported";
    /// Out of memory.
    RT_MEMORY_ALLOCATION = ACL_ERROR_RT_MEMORY_ALLOCATION, "memory allocation failed";
    /// Free failed.
    RT_MEMORY_FREE = ACL_ERROR_RT_MEMORY_FREE, "free failed";
    /// No device.
    RT_NO_DEVICE = ACL_ERROR_RT_NO_DEVICE, "no device";
    /// No stream left.
    RT_NO_STREAM_RESOURCE = ACL_ERROR_RT_NO_STREAM_RESOURCE, "no stream left";
    /// Device out of memory.
    RT_DEVICE_OOM = ACL_ERROR_RT_DEVICE_OOM, "device out of memory";
    /// Driver timeout. The 8.1 headers lack the name.
    RT_DRV_TIMEOUT = 207_020, "driver timeout";
    /// The library is at fault.
    INTERNAL_ERROR = ACL_ERROR_INTERNAL_ERROR, "internal error";
    /// No callback came in time.
    RT_REPORT_TIMEOUT = ACL_ERROR_RT_REPORT_TIMEOUT, "report timeout";
    /// AI core timeout.
    RT_AICORE_TIMEOUT = ACL_ERROR_RT_AICORE_TIMEOUT, "AI core timeout";
    /// AI core exception.
    RT_AICORE_EXCEPTION = ACL_ERROR_RT_AICORE_EXCEPTION, "AI core exception";
    /// AI core trap.
    RT_AICORE_TRAP = ACL_ERROR_RT_AICORE_TRAP_EXCEPTION, "AI core trap";
    /// Kernel look-up failed.
    RT_KERNEL_LOOKUP = ACL_ERROR_RT_KERNEL_LOOKUP, "kernel lookup failed";
    /// Vector core timeout.
    RT_VECTOR_CORE_TIMEOUT = ACL_ERROR_RT_VECTOR_CORE_TIMEOUT, "vector core timeout";
    /// Vector core exception.
    RT_VECTOR_CORE_EXCEPTION = ACL_ERROR_RT_VECTOR_CORE_EXCEPTION, "vector core exception";
    /// Synchronising a stream timed out.
    RT_STREAM_SYNC_TIMEOUT = ACL_ERROR_RT_STREAM_SYNC_TIMEOUT, "stream synchronise timeout";
    /// Synchronising an event timed out.
    RT_EVENT_SYNC_TIMEOUT = ACL_ERROR_RT_EVENT_SYNC_TIMEOUT, "event synchronise timeout";
    /// FFTS+ timeout.
    RT_FFTS_TIMEOUT = ACL_ERROR_RT_FFTS_PLUS_TIMEOUT, "FFTS+ timeout";
    /// FFTS+ exception.
    RT_FFTS_EXCEPTION = ACL_ERROR_RT_FFTS_PLUS_EXCEPTION, "FFTS+ exception";
    /// ECC error of the HBM.
    RT_HBM_ECC = ACL_ERROR_RT_HBM_MULTI_BIT_ECC_ERROR, "HBM ECC error";
    /// Driver internal error.
    RT_DRV_INTERNAL = ACL_ERROR_RT_DRV_INTERNAL_ERROR, "driver internal error";
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
