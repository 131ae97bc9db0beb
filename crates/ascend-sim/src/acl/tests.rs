//! The functions over an engine that is no chip: plain memory, and a kernel that is a native function.

#![allow(unsafe_code, reason = "calls C functions")]

use std::ffi::{c_void, CStr};
use std::ptr;

use ascend_sys::hccl::{data_type, reduce_op};
use ascend_sys::{codes, memcpy_kind};

use super::{device, table};
use crate::config::{Config, HcclConfig};
use crate::plain::Plain;

const CAPACITY: u64 = 1 << 20;

/// A new device of the plain engine, current in this thread.
fn set_plain_device() -> i32 {
    let id = device::add_device(Config {
        engine: Box::new(Plain::new(CAPACITY)),
        check_races: true,
        hccl: HcclConfig::default(),
        timeline: None,
        host_link: None,
    });
    // SAFETY: takes no pointer.
    assert_eq!(unsafe { (table().aclrtSetDevice)(id) }, codes::SUCCESS);
    id
}

/// The texts of this thread's refusals.
fn texts() -> String {
    // SAFETY: takes nothing.
    let text = unsafe { (table().aclGetRecentErrMsg)() };
    // SAFETY: a string until the next call.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

fn malloc(len: usize) -> *mut c_void {
    let mut pointer = ptr::null_mut();
    // SAFETY: the place is a local.
    assert_eq!(unsafe { (table().aclrtMalloc)(&raw mut pointer, len, 0) }, codes::SUCCESS);
    pointer
}

fn to_device(to: *mut c_void, data: &[u8]) {
    let (from, len) = (data.as_ptr().cast(), data.len());
    // SAFETY: the source is a slice; the target is checked.
    let code = unsafe { (table().aclrtMemcpy)(to, len, from, len, memcpy_kind::HOST_TO_DEVICE) };
    assert_eq!(code, codes::SUCCESS);
}

fn to_host(from: *const c_void, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    let to = data.as_mut_ptr().cast();
    // SAFETY: the target has the length; the source is checked.
    let code = unsafe { (table().aclrtMemcpy)(to, len, from, len, memcpy_kind::DEVICE_TO_HOST) };
    assert_eq!(code, codes::SUCCESS);
    data
}

fn load(image: &[u8]) -> (i32, *mut c_void) {
    let load = table().aclrtBinaryLoadFromData.unwrap();
    let mut module = ptr::null_mut();
    // SAFETY: a slice, no options, and a local.
    let code = unsafe { load(image.as_ptr().cast(), image.len(), ptr::null(), &raw mut module) };
    (code, module)
}

/// Launches `function` on the default stream and waits for it.
fn launch(function: *mut c_void, blocks: u32, slots: &[u64]) -> i32 {
    let t = table();
    let mut args = ptr::null_mut();
    // SAFETY: the place is a local.
    assert_eq!(unsafe { (t.aclrtKernelArgsInit)(function, &raw mut args) }, codes::SUCCESS);
    for slot in slots {
        let mut param = ptr::null_mut();
        let mut slot = *slot;
        // SAFETY: the argument and the place are locals of the sizes given.
        let code = unsafe { (t.aclrtKernelArgsAppend)(args, (&raw mut slot).cast(), 8, &raw mut param) };
        assert_eq!(code, codes::SUCCESS);
    }
    // SAFETY: the list of this thread.
    assert_eq!(unsafe { (t.aclrtKernelArgsFinalize)(args) }, codes::SUCCESS);
    let (stream, cfg, none) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: no attributes, nothing reserved.
    let queued = unsafe { (t.aclrtLaunchKernelWithConfig)(function, blocks, stream, cfg, args, none) };
    assert_eq!(queued, codes::SUCCESS, "{}", texts());
    // SAFETY: the default stream.
    unsafe { (t.aclrtSynchronizeStream)(ptr::null_mut()) }
}

#[test]
fn a_native_kernel_runs_over_plain_memory() {
    let id = set_plain_device();
    let (a, b) = (malloc(300), malloc(300));
    let data: Vec<u8> = (0..=255).cycle().take(300).map(|byte| byte & 0x7f).collect();
    to_device(a, &data);

    assert_eq!(load(b"other").0, codes::RT_PARAM_INVALID);
    assert!(texts().contains("5 bytes that are no kernel image: \"native\" wanted"));
    let (code, module) = load(b"native");
    assert_eq!(code, codes::SUCCESS);
    let mut function = ptr::null_mut();
    let mut find = |name: &CStr| {
        // SAFETY: a string and a local.
        unsafe { (table().aclrtBinaryGetFunction)(module, name.as_ptr(), &raw mut function) }
    };
    assert_eq!(find(c"add_two"), codes::KERNEL_NOT_FOUND);
    assert!(texts().contains("it has: add_one"));
    assert_eq!(find(c"add_one"), codes::SUCCESS);

    let slots = [a.addr() as u64, 299];
    assert_eq!(launch(function, 2, &slots), codes::SUCCESS, "{}", texts());
    let mut want: Vec<u8> = data.iter().map(|byte| byte + 2).collect();
    want[299] = data[299];
    assert_eq!(to_host(a, 300), want);

    // Within the device, and a fill.
    let kind = memcpy_kind::DEVICE_TO_DEVICE;
    // SAFETY: both ranges are checked.
    assert_eq!(unsafe { (table().aclrtMemcpy)(b, 300, a, 300, kind) }, codes::SUCCESS);
    // SAFETY: the range is checked.
    assert_eq!(unsafe { (table().aclrtMemset)(b, 300, 7, 10) }, codes::SUCCESS);
    want[..10].fill(7);
    assert_eq!(to_host(b, 300), want);

    // The device's own limits are the engine's.
    let mut none = ptr::null_mut();
    let wanted = usize::try_from(CAPACITY).unwrap();
    // SAFETY: the place is a local.
    let code = unsafe { (table().aclrtMalloc)(&raw mut none, wanted, 0) };
    assert_eq!(code, codes::RT_MEMORY_ALLOCATION);
    let left = CAPACITY - 600;
    assert!(texts().contains(&format!("{wanted} bytes wanted, {left} of {wanted} bytes free on device {id}")));

    // Ending the device frees what is left.
    let engine = device::device(id).unwrap();
    assert_eq!(engine.engine().used(), 600);
    // SAFETY: takes no pointer.
    assert_eq!(unsafe { (table().aclrtResetDevice)(id) }, codes::SUCCESS);
    assert_eq!(engine.engine().used(), 0);
}

#[test]
fn collectives_move_plain_memory() {
    let h = crate::hccl::table();
    let mut devices = [(); 2].map(|()| set_plain_device());
    let mut comms = [ptr::null_mut(); 2];
    // SAFETY: two arrays of two entries.
    let code = unsafe { (h.HcclCommInitAll)(2, devices.as_mut_ptr(), comms.as_mut_ptr()) };
    assert_eq!(code, 0, "{}", texts());
    let mut ranks = Vec::new();
    for (i, (device, comm)) in devices.into_iter().zip(comms).enumerate() {
        // SAFETY: takes no pointer.
        assert_eq!(unsafe { (table().aclrtSetDevice)(device) }, codes::SUCCESS);
        let (data, mut stream) = (malloc(8), ptr::null_mut());
        let values = [1.5f32 + i as f32, 10.0].map(f32::to_le_bytes);
        to_device(data, values.as_flattened());
        // SAFETY: the place is a local.
        assert_eq!(unsafe { (table().aclrtCreateStream)(&raw mut stream) }, codes::SUCCESS);
        let (dtype, op) = (data_type::FP32, reduce_op::SUM);
        // SAFETY: the buffer is checked; it lives until the stream is done.
        let code = unsafe { (h.HcclAllReduce)(data, data, 2, dtype, op, comm, stream) };
        assert_eq!(code, 0, "{}", texts());
        ranks.push((device, data, stream));
    }
    for (device, data, stream) in ranks {
        // SAFETY: takes no pointer.
        assert_eq!(unsafe { (table().aclrtSetDevice)(device) }, codes::SUCCESS);
        // SAFETY: a live stream of this device.
        assert_eq!(unsafe { (table().aclrtSynchronizeStream)(stream) }, codes::SUCCESS);
        assert_eq!(to_host(data, 8), [4.0f32, 20.0].map(f32::to_le_bytes).as_flattened());
    }
    for comm in comms {
        // SAFETY: a live communicator.
        assert_eq!(unsafe { (h.HcclCommDestroy)(comm) }, 0);
    }
}
