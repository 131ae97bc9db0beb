//! Types of the ACL C interface (acl-runtime.md 1.2, 1.4).
//!
//! Enums are integers: newer drivers add values, and an unknown value in a Rust `enum` would be undefined behaviour.

use std::ffi::c_void;

/// Return code of an ACL function, see [`super::codes`].
pub type AclError = i32;
/// `aclrtContext`.
pub type AclContext = *mut c_void;
/// `aclrtStream`; null means the default stream of the current context.
pub type AclStream = *mut c_void;
/// `aclrtEvent`.
pub type AclEvent = *mut c_void;
/// `aclrtBinary`: bytes of an image, not yet loaded.
pub type AclBinary = *mut c_void;
/// `aclrtBinHandle`: a loaded image.
pub type AclBinHandle = *mut c_void;
/// `aclrtFuncHandle`: a kernel of a loaded image.
pub type AclFuncHandle = *mut c_void;
/// `aclrtArgsHandle`: an argument list under construction.
pub type AclArgsHandle = *mut c_void;
/// `aclrtParamHandle`: one argument of a list.
pub type AclParamHandle = *mut c_void;
/// `aclrtNotify`.
pub type AclNotify = *mut c_void;
/// `aclrtHostFunc`, `aclrtCallback`.
pub type AclHostFunc = Option<unsafe extern "C" fn(*mut c_void)>;

/// `aclrtMemcpyKind`.
pub mod memcpy_kind {
    /// Host to host.
    pub const HOST_TO_HOST: u32 = 0;
    /// Host to device.
    pub const HOST_TO_DEVICE: u32 = 1;
    /// Device to host.
    pub const DEVICE_TO_HOST: u32 = 2;
    /// Device to device.
    pub const DEVICE_TO_DEVICE: u32 = 3;
    /// The runtime looks at the pointers.
    pub const DEFAULT: u32 = 4;
}

/// `aclrtMemMallocPolicy`: huge pages first.
pub const MALLOC_HUGE_FIRST: u32 = 0;

/// `aclrtMemAttr`.
pub mod mem_attr {
    /// All of the high-bandwidth memory.
    pub const HBM: u32 = 1;
    /// Largest value of the 8.1 headers.
    pub const LAST: u32 = 11;
}

/// Event flags.
pub mod event_flag {
    /// The event can order streams.
    pub const SYNC: u32 = 0x1;
    /// Undocumented beyond its name in the 8.1 header.
    pub const CAPTURE_STREAM_PROGRESS: u32 = 0x2;
    /// The event records a time.
    pub const TIME_LINE: u32 = 0x8;
    /// An event of another process or a captured graph.
    pub const EXTERNAL: u32 = 0x20;
}

/// `aclrtEventRecordedStatus`.
pub mod recorded_status {
    /// Not there yet.
    pub const NOT_READY: u32 = 0;
    /// Recorded and reached.
    pub const COMPLETE: u32 = 1;
}

/// `aclrtStreamStatus` and `aclrtEventWaitStatus`: the opposite order of [`recorded_status`].
pub mod progress_status {
    /// Nothing is queued or running.
    pub const COMPLETE: u32 = 0;
    /// Something is.
    pub const NOT_READY: u32 = 1;
}

/// `aclrtRunMode`: the program runs on the host (a PCIe server).
pub const RUN_MODE_HOST: u32 = 1;

/// `aclDeviceInfo`.
pub mod device_info {
    /// Cube cores.
    pub const AI_CORE_NUM: u32 = 0;
    /// Vector cores.
    pub const VECTOR_CORE_NUM: u32 = 1;
    /// L2 cache in bytes.
    pub const L2_SIZE: u32 = 2;
}

/// `aclrtLaunchKernelAttrId`.
pub mod launch_attr {
    /// 0 normal, 1 batch: all blocks start together. The only one of CANN 8.1.
    pub const SCHEM_MODE: u32 = 1;
    /// Largest id of CANN 9.1.
    pub const LAST: u32 = 9;
}

/// `aclrtMemLocationType`.
pub mod location {
    /// Pinned host memory.
    pub const HOST: u32 = 0;
    /// Device memory.
    pub const DEVICE: u32 = 1;
    /// Memory that the runtime does not know (newer headers).
    pub const UNREGISTERED: u32 = 2;
}

/// `aclrtLaunchKernelAttr`: an id and a 16-byte union, whose first word holds every value that this crate sets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchAttr {
    /// See [`launch_attr`].
    pub id: u32,
    /// The union.
    pub value: [u32; 4],
}

/// `aclrtLaunchKernelCfg`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LaunchCfg {
    /// `num_attrs` attributes.
    pub attrs: *mut LaunchAttr,
    /// How many.
    pub num_attrs: usize,
}

/// `aclrtBinaryLoadOption`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOption {
    /// LAZY_LOAD 1, MAGIC 2, CPU_KERNEL_MODE 3.
    pub kind: u32,
    /// The union.
    pub value: [u32; 4],
}

/// `aclrtBinaryLoadOptions`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// `num_options` options.
    pub options: *mut LoadOption,
    /// How many.
    pub num_options: usize,
}

/// `aclrtPlaceHolderInfo`: the slot at `addr_offset` takes the device address of the byte at `data_offset`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceHolderInfo {
    /// Byte offset of the slot.
    pub addr_offset: u32,
    /// Byte offset of the data.
    pub data_offset: u32,
}

/// `aclrtPtrAttributes`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PtrAttributes {
    /// Device number.
    pub id: u32,
    /// See [`location`].
    pub location: u32,
    /// Page size in bytes.
    pub page_size: u32,
    /// Reserved by the driver.
    pub reserved: [u32; 4],
}

/// `aclCANNPackageVersion`: C strings.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CannVersion {
    /// The whole.
    pub version: [u8; 128],
    /// First number.
    pub major: [u8; 64],
    /// Second number.
    pub minor: [u8; 64],
    /// What stands for the third.
    pub release: [u8; 64],
    /// Number of the patch.
    pub patch: [u8; 64],
    /// Zeros.
    pub reserved: [u8; 128],
}

/// `aclrtStreamConfigHandle`: settings of a stream to be made.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamConfig {
    /// Work memory of models on the stream.
    pub work_ptr: *mut c_void,
    /// Its size in bytes.
    pub work_size: usize,
    /// Stream flags.
    pub flag: usize,
    /// 0 (most urgent) to 7.
    pub priority: u32,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { work_ptr: std::ptr::null_mut(), work_size: 0, flag: 0, priority: 0 }
    }
}

impl StreamConfig {
    /// Sets the member with number `attribute` of `aclrtStreamConfigAttr`; a number without a member changes nothing.
    pub fn set(&mut self, attribute: u32, value: u64) {
        let size = usize::try_from(value).unwrap_or(usize::MAX);
        match attribute {
            0 => self.work_ptr = std::ptr::with_exposed_provenance_mut(size),
            1 => self.work_size = size,
            2 => self.flag = size,
            3 => self.priority = u32::try_from(value).unwrap_or(u32::MAX),
            _ => {}
        }
    }
}

/// Start of `aclrtErrorInfo`; what follows are details of an error, when there is one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorInfo {
    /// 1 when a repair may help.
    pub try_repair: u8,
    /// 1 when details follow.
    pub has_detail: u8,
    /// Zeros.
    pub reserved: [u8; 2],
    /// `aclrtErrorType`, 0 for no error.
    pub kind: u32,
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use super::*;

    /// Numbers from acl-runtime.md 1.4, which were compiled against the 8.1 and 9.1 headers.
    #[test]
    fn structures_have_the_sizes_of_the_c_headers() {
        assert_eq!((size_of::<LaunchAttr>(), align_of::<LaunchAttr>()), (20, 4));
        assert_eq!((size_of::<LoadOption>(), align_of::<LoadOption>()), (20, 4));
        assert_eq!((size_of::<LaunchCfg>(), offset_of!(LaunchCfg, num_attrs)), (16, 8));
        assert_eq!((size_of::<LoadOptions>(), offset_of!(LoadOptions, num_options)), (16, 8));
        assert_eq!((size_of::<PlaceHolderInfo>(), offset_of!(PlaceHolderInfo, data_offset)), (8, 4));
        assert_eq!((size_of::<PtrAttributes>(), offset_of!(PtrAttributes, page_size)), (28, 8));
        assert_eq!((size_of::<CannVersion>(), offset_of!(CannVersion, patch)), (512, 320));
        assert_eq!((size_of::<StreamConfig>(), offset_of!(StreamConfig, priority)), (32, 24));
        assert_eq!((size_of::<ErrorInfo>(), offset_of!(ErrorInfo, kind)), (8, 4));
    }
}
