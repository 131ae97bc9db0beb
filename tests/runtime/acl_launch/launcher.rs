//! A device with the image of `kernels.cpp`, through the raw table.

use std::ffi::{c_void, CStr};
use std::ops::Deref;
use std::ptr::{null, null_mut};

use fastattention_testkit::acl::RawDevice;

use super::image;

/// A fresh device with the image loaded and a stream.
pub(crate) struct Launcher {
    device: RawDevice,
    pub(crate) module: *mut c_void,
    pub(crate) stream: *mut c_void,
}

impl Deref for Launcher {
    type Target = RawDevice;

    fn deref(&self) -> &RawDevice {
        &self.device
    }
}

impl Launcher {
    pub(crate) fn new() -> Self {
        let device = RawDevice::new();
        let mut module = null_mut();
        let load = device.t.aclrtBinaryLoadFromData.unwrap();
        let code = unsafe { load(image().as_ptr().cast(), image().len(), null(), &mut module) };
        assert_eq!(code, 0, "{}", device.text());
        let stream = device.stream();
        Self { device, module, stream }
    }

    pub(crate) fn function(&self, name: &CStr) -> *mut c_void {
        let mut f = null_mut();
        assert_eq!(unsafe { (self.t.aclrtBinaryGetFunction)(self.module, name.as_ptr(), &mut f) }, 0);
        f
    }

    /// Device memory with these words.
    pub(crate) fn words(&self, words: &[u64]) -> *mut c_void {
        self.upload(words)
    }

    /// What device memory holds, in words.
    pub(crate) fn read<const N: usize>(&self, p: *mut c_void) -> [u64; N] {
        self.download(p, N).try_into().unwrap()
    }

    pub(crate) fn args(&self, function: *mut c_void) -> *mut c_void {
        let mut list = null_mut();
        assert_eq!(unsafe { (self.t.aclrtKernelArgsInit)(function, &mut list) }, 0);
        list
    }

    pub(crate) fn append(&self, list: *mut c_void, value: u64) -> *mut c_void {
        let (mut param, mut value) = (null_mut(), value);
        assert_eq!(
            unsafe { (self.t.aclrtKernelArgsAppend)(list, (&raw mut value).cast(), 8, &mut param) },
            0,
            "{}",
            self.text()
        );
        param
    }

    pub(crate) fn launch(&self, function: *mut c_void, blocks: u32, list: *mut c_void) -> i32 {
        unsafe {
            (self.t.aclrtLaunchKernelWithConfig)(function, blocks, self.stream, null_mut(), list, null_mut())
        }
    }

    pub(crate) fn synchronize(&self) -> i32 {
        unsafe { (self.t.aclrtSynchronizeStream)(self.stream) }
    }

    /// A finalised list for `add_words`.
    pub(crate) fn add_list(
        &self,
        f: *mut c_void,
        dst: *mut c_void,
        src: *mut c_void,
        words: u64,
        add: u64,
    ) -> *mut c_void {
        let list = self.args(f);
        for value in [dst.addr() as u64, src.addr() as u64, words, add] {
            self.append(list, value);
        }
        assert_eq!(unsafe { (self.t.aclrtKernelArgsFinalize)(list) }, 0);
        list
    }
}
