//! Types and values of the ACL C interface under the names of this crate (acl-runtime.md 1.2, 1.4).
//!
//! Enums are integers: newer drivers add values, and an unknown value in a Rust `enum` would be undefined
//! behaviour.

use super::bindings::{acl::*, later};

/// Return code of an ACL function, see [`super::codes`].
pub type AclError = aclError;
/// A context: what a thread works in.
pub type AclContext = aclrtContext;
/// A stream; null means the default stream of the current context.
pub type AclStream = aclrtStream;
/// An event.
pub type AclEvent = aclrtEvent;
/// Bytes of an image, not yet loaded.
pub type AclBinary = aclrtBinary;
/// A loaded image.
pub type AclBinHandle = aclrtBinHandle;
/// A kernel of a loaded image.
pub type AclFuncHandle = aclrtFuncHandle;
/// An argument list under construction.
pub type AclArgsHandle = aclrtArgsHandle;
/// One argument of a list.
pub type AclParamHandle = aclrtParamHandle;
/// A notify: as an event, that waiting resets.
pub type AclNotify = later::aclrtNotify;
/// A graph: captured work of streams ("model running instance").
pub type AclModelRi = later::aclmdlRI;
/// A function for a stream to call on the host.
pub type AclHostFunc = later::aclrtHostFunc;

/// An attribute of a launch: an id of [`launch_attr`] and its value.
pub type LaunchAttr = aclrtLaunchKernelAttr;
/// The value of a [`LaunchAttr`].
pub type LaunchAttrValue = aclrtLaunchKernelAttrValue;
/// The attributes of a launch.
pub type LaunchCfg = aclrtLaunchKernelCfg;
/// An option for loading an image: an id of [`load_option`] and its value.
pub type LoadOption = aclrtBinaryLoadOption;
/// The value of a [`LoadOption`].
pub type LoadOptionValue = aclrtBinaryLoadOptionValue;
/// The options for loading an image.
pub type LoadOptions = aclrtBinaryLoadOptions;
/// The slot at `addrOffset` takes the device address of the byte at `dataOffset`.
pub type PlaceHolderInfo = later::aclrtPlaceHolderInfo;
/// Version of a package of CANN: C strings.
pub type CannVersion = aclCANNPackageVersion;
/// Settings of a stream to be made.
pub type StreamConfig = aclrtStreamConfigHandle;
/// Attributes of an allocation.
pub type MallocConfig = aclrtMallocConfig;
/// What is known of a device's error.
pub type ErrorInfo = later::aclrtErrorInfo;
/// Where a pointer points.
pub type PtrAttributes = aclrtPtrAttributes;
/// A kind of memory, see [`location`], and the number of its device.
pub type MemLocation = aclrtMemLocation;

/// `aclrtMemcpyKind`.
pub mod memcpy_kind {
    use super::*;

    /// Host to host.
    pub const HOST_TO_HOST: aclrtMemcpyKind = ACL_MEMCPY_HOST_TO_HOST;
    /// Host to device.
    pub const HOST_TO_DEVICE: aclrtMemcpyKind = ACL_MEMCPY_HOST_TO_DEVICE;
    /// Device to host.
    pub const DEVICE_TO_HOST: aclrtMemcpyKind = ACL_MEMCPY_DEVICE_TO_HOST;
    /// Device to device.
    pub const DEVICE_TO_DEVICE: aclrtMemcpyKind = ACL_MEMCPY_DEVICE_TO_DEVICE;
    /// The runtime looks at the pointers.
    pub const DEFAULT: aclrtMemcpyKind = ACL_MEMCPY_DEFAULT;
}

/// `aclrtMemMallocPolicy`: huge pages first.
pub const MALLOC_HUGE_FIRST: aclrtMemMallocPolicy = ACL_MEM_MALLOC_HUGE_FIRST;

/// `aclrtMemAttr`.
pub mod mem_attr {
    use super::*;

    /// All of the high-bandwidth memory.
    pub const HBM: aclrtMemAttr = ACL_HBM_MEM;
    /// Largest value of the 8.1 headers.
    pub const LAST: aclrtMemAttr = ACL_HBM_MEM_P2P_HUGE1G;
}

/// Event flags.
pub mod event_flag {
    use super::*;

    /// The event can order streams.
    pub const SYNC: u32 = ACL_EVENT_SYNC;
    /// Undocumented beyond its name in the 8.1 header.
    pub const CAPTURE_STREAM_PROGRESS: u32 = ACL_EVENT_CAPTURE_STREAM_PROGRESS;
    /// The event records a time.
    pub const TIME_LINE: u32 = ACL_EVENT_TIME_LINE;
    /// An event of another process or a captured graph.
    pub const EXTERNAL: u32 = ACL_EVENT_EXTERNAL;
}

/// `aclmdlRICaptureMode`.
pub mod capture_mode {
    use super::later::*;

    /// No thread calls functions that touch memory at once.
    pub const GLOBAL: aclmdlRICaptureMode = ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;
    /// The thread that captures does not.
    pub const THREAD_LOCAL: aclmdlRICaptureMode = ACL_MODEL_RI_CAPTURE_MODE_THREAD_LOCAL;
    /// Every thread may.
    pub const RELAXED: aclmdlRICaptureMode = ACL_MODEL_RI_CAPTURE_MODE_RELAXED;
}

/// `aclmdlRICaptureStatus`.
pub mod capture_status {
    use super::later::*;

    /// Not captured.
    pub const NONE: aclmdlRICaptureStatus = ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    /// Captured.
    pub const ACTIVE: aclmdlRICaptureStatus = ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE;
    /// Captured, and something illegal was called.
    pub const INVALIDATED: aclmdlRICaptureStatus = ACL_MODEL_RI_CAPTURE_STATUS_INVALIDATED;
}

/// `aclrtEventRecordedStatus`.
pub mod recorded_status {
    use super::*;

    /// Not there yet.
    pub const NOT_READY: aclrtEventRecordedStatus = ACL_EVENT_RECORDED_STATUS_NOT_READY;
    /// Recorded and reached.
    pub const COMPLETE: aclrtEventRecordedStatus = ACL_EVENT_RECORDED_STATUS_COMPLETE;
}

/// `aclrtStreamStatus` and, with the same values, `aclrtEventWaitStatus`: the opposite order of
/// [`recorded_status`].
pub mod progress_status {
    use super::*;

    /// Nothing is queued or running.
    pub const COMPLETE: aclrtStreamStatus = ACL_STREAM_STATUS_COMPLETE;
    /// Something is.
    pub const NOT_READY: aclrtStreamStatus = ACL_STREAM_STATUS_NOT_READY;

    const _: () =
        assert!(COMPLETE == ACL_EVENT_WAIT_STATUS_COMPLETE && NOT_READY == ACL_EVENT_WAIT_STATUS_NOT_READY);
}

/// What a stream does after a failure.
pub mod failure_mode {
    use super::*;

    /// The next work is done.
    pub const CONTINUE: u64 = ACL_CONTINUE_ON_FAILURE as u64;
    /// Nothing is done any more, and nothing is taken.
    pub const STOP: u64 = ACL_STOP_ON_FAILURE as u64;
}

/// `aclrtLastErrLevel`: errors of the calling thread.
pub const LAST_ERROR_OF_THREAD: aclrtLastErrLevel = ACL_RT_THREAD_LEVEL;

/// `aclrtRunMode`: the program runs on the host (a PCIe server).
pub const RUN_MODE_HOST: aclrtRunMode = ACL_HOST;

/// `aclDeviceInfo`.
pub mod device_info {
    use super::*;

    /// Cube cores.
    pub const AI_CORE_NUM: aclDeviceInfo = ACL_DEVICE_INFO_AI_CORE_NUM;
    /// Vector cores.
    pub const VECTOR_CORE_NUM: aclDeviceInfo = ACL_DEVICE_INFO_VECTOR_CORE_NUM;
    /// L2 cache in bytes.
    pub const L2_SIZE: aclDeviceInfo = ACL_DEVICE_INFO_L2_SIZE;
}

/// `aclrtLaunchKernelAttrId`.
pub mod launch_attr {
    use super::*;

    /// 0 normal, 1 batch: all blocks start together. The only one of CANN 8.1.
    pub const SCHEM_MODE: aclrtLaunchKernelAttrId = ACL_RT_LAUNCH_KERNEL_ATTR_SCHEM_MODE;
    /// Largest id of CANN 9.1.
    pub const LAST: aclrtLaunchKernelAttrId = 9;
}

/// `aclrtBinaryLoadOptionType`.
pub mod load_option {
    use super::*;

    /// When the image comes onto the device: 0 at once, 1 with the first use.
    pub const LAZY_LOAD: aclrtBinaryLoadOptionType = ACL_RT_BINARY_LOAD_OPT_LAZY_LOAD;
    /// Which kind of ELF image it is.
    pub const MAGIC: aclrtBinaryLoadOptionType = ACL_RT_BINARY_LOAD_OPT_LAZY_MAGIC;
}

/// `aclrtMemLocationType`.
pub mod location {
    use super::*;

    /// Pinned host memory.
    pub const HOST: aclrtMemLocationType = ACL_MEM_LOCATION_TYPE_HOST;
    /// Device memory.
    pub const DEVICE: aclrtMemLocationType = ACL_MEM_LOCATION_TYPE_DEVICE;
    /// Memory that the runtime does not know. The 8.1 headers lack the name.
    pub const UNREGISTERED: aclrtMemLocationType = 2;
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { workptr: std::ptr::null_mut(), workSize: 0, flag: 0, priority: 0 }
    }
}

impl StreamConfig {
    /// Sets the member with number `attribute` of `aclrtStreamConfigAttr`; a number without a member changes
    /// nothing.
    pub fn set(&mut self, attribute: u32, value: u64) {
        let size = usize::try_from(value).unwrap_or(usize::MAX);
        match attribute {
            0 => self.workptr = std::ptr::with_exposed_provenance_mut(size),
            1 => self.workSize = size,
            2 => self.flag = size,
            3 => self.priority = u32::try_from(value).unwrap_or(u32::MAX),
            _ => {}
        }
    }
}
