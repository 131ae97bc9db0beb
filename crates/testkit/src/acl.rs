//! A simulated device through the C functions, for tests that use them rightly or wrongly.

#![allow(unsafe_code, reason = "calls C functions")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "calls with pointers of this file or of the device")]
#![allow(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "handles and device memory: the functions check each of them"
)]

use std::ffi::{c_void, CStr};
use std::ptr::null_mut;

use fastattention::driver::AclTable;
use fastattention::sim::{self, Config};
use fastattention::Soc;

use crate::device::SOC;

/// Kinds of copies: between host and device.
pub mod kind {
    /// Host to host.
    pub const H2H: u32 = 0;
    /// Host to device.
    pub const H2D: u32 = 1;
    /// Device to host.
    pub const D2H: u32 = 2;
    /// Device to device.
    pub const D2D: u32 = 3;
    /// As the addresses say.
    pub const DEFAULT: u32 = 4;
}

/// A simulated device of its own, set in the thread that makes it. It is reset at the end: nothing of it is
/// left.
#[derive(Debug)]
pub struct RawDevice {
    /// The functions.
    pub t: &'static AclTable,
    /// The number of the device.
    pub id: i32,
}

impl RawDevice {
    /// An Ascend910B2.
    #[allow(clippy::new_without_default, reason = "adds a device to the process")]
    pub fn new() -> Self {
        Self::with(Config::new(Soc::by_name(SOC).unwrap()))
    }

    /// A device of this configuration.
    pub fn with(config: Config) -> Self {
        let device = Self { t: sim::acl_table(), id: sim::add_device(config) };
        device.set();
        device
    }

    /// Sets the device in this thread.
    #[track_caller]
    pub fn set(&self) {
        assert_eq!(unsafe { (self.t.aclrtSetDevice)(self.id) }, 0);
    }

    /// The text of this thread's errors; it is cleared.
    pub fn text(&self) -> String {
        recent_text()
    }

    /// Checks a code, and that the text of this thread's errors contains each of `parts`.
    #[track_caller]
    pub fn refused(&self, code: i32, want: i32, parts: &[&str]) {
        refused(code, want, parts);
    }

    /// Device memory.
    #[track_caller]
    pub fn malloc(&self, len: usize) -> *mut c_void {
        let mut p = null_mut();
        assert_eq!(unsafe { (self.t.aclrtMalloc)(&mut p, len, 0) }, 0);
        p
    }

    /// Device memory that holds `values`.
    #[track_caller]
    pub fn upload<T: bytemuck::NoUninit>(&self, values: &[T]) -> *mut c_void {
        let len = size_of_val(values);
        let p = self.malloc(len);
        assert_eq!(unsafe { (self.t.aclrtMemcpy)(p, len, values.as_ptr().cast(), len, kind::H2D) }, 0);
        p
    }

    /// What `count` elements of device memory hold.
    #[track_caller]
    pub fn download<T: bytemuck::Pod>(&self, from: *const c_void, count: usize) -> Vec<T> {
        let mut values = vec![T::zeroed(); count];
        let len = size_of_val(&values[..]);
        let to = values.as_mut_ptr().cast();
        assert_eq!(unsafe { (self.t.aclrtMemcpy)(to, len, from, len, kind::D2H) }, 0);
        values
    }

    /// Pinned host memory.
    #[track_caller]
    pub fn malloc_host(&self, len: usize) -> *mut u8 {
        let mut p = null_mut();
        assert_eq!(unsafe { (self.t.aclrtMallocHost)(&mut p, len) }, 0);
        p.cast()
    }

    /// A stream.
    #[track_caller]
    pub fn stream(&self) -> *mut c_void {
        let mut stream = null_mut();
        assert_eq!(unsafe { (self.t.aclrtCreateStream)(&mut stream) }, 0);
        stream
    }

    /// An event of `aclrtCreateEventExWithFlag`.
    #[track_caller]
    pub fn event(&self, flag: u32) -> *mut c_void {
        let mut event = null_mut();
        assert_eq!(unsafe { (self.t.aclrtCreateEventExWithFlag)(&mut event, flag) }, 0);
        event
    }

    /// Queues a function of the program.
    #[track_caller]
    pub fn host_func(&self, stream: *mut c_void, f: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) {
        assert_eq!(unsafe { (self.t.aclrtLaunchHostFunc.unwrap())(stream, Some(f), arg) }, 0);
    }
}

impl Drop for RawDevice {
    fn drop(&mut self) {
        // Work of a test that has failed may wait for ever.
        if !std::thread::panicking() {
            self.set();
            assert_eq!(unsafe { (self.t.aclrtResetDeviceForce)(self.id) }, 0, "{}", self.text());
        }
    }
}

/// The text of this thread's errors, empty without one; it is cleared.
pub fn recent_text() -> String {
    let text = unsafe { (sim::acl_table().aclGetRecentErrMsg)() };
    if text.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

/// Checks a code, and that the text of this thread's errors contains each of `parts`.
#[track_caller]
pub fn refused(code: i32, want: i32, parts: &[&str]) {
    let text = recent_text();
    assert_eq!(code, want, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}
