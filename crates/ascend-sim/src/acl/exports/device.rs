//! Process, devices and contexts.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use ascend_sys::{codes, device_info, AclContext, AclError, LAST_ERROR_OF_THREAD, RUN_MODE_HOST};

use crate::acl::border::{
    call, call_pointer, current_context, last_code, refuse, take_last_code, take_texts, Out, Outcome,
};
use crate::acl::{device, peers, presented, stream, wait};

/// 0 before `aclInit`, 1 after it, 2 after `aclFinalize`.
static PROCESS: AtomicU8 = AtomicU8::new(0);

pub(in crate::acl) unsafe extern "C" fn aclInit(_config_path: *const c_char) -> AclError {
    call("aclInit", || match PROCESS.swap(1, Ordering::SeqCst) {
        1 => refuse(codes::REPEAT_INITIALIZE, "aclInit was called before; one call in a process wanted"),
        _ => Ok(()),
    })
}

pub(in crate::acl) unsafe extern "C" fn aclFinalize() -> AclError {
    call("aclFinalize", || match PROCESS.swap(2, Ordering::SeqCst) {
        0 => refuse(codes::UNINITIALIZED, "aclInit was not called"),
        1 => Ok(()),
        _ => refuse(codes::REPEAT_FINALIZE, "aclFinalize was called before"),
    })
}

pub(in crate::acl) unsafe extern "C" fn aclGetRecentErrMsg() -> *const c_char {
    take_texts()
}

/// Refuses every level but the thread's.
fn check_level(level: u32) -> Outcome {
    if level == LAST_ERROR_OF_THREAD {
        return Ok(());
    }
    refuse(codes::RT_PARAM_INVALID, format!("level = {level} given, 0 (the calling thread) wanted"))
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetLastError(level: u32) -> AclError {
    match call("aclrtGetLastError", || check_level(level)) {
        codes::SUCCESS => take_last_code(),
        refused => refused,
    }
}

pub(in crate::acl) unsafe extern "C" fn aclrtPeekAtLastError(level: u32) -> AclError {
    match call("aclrtPeekAtLastError", || check_level(level)) {
        codes::SUCCESS => last_code(),
        refused => refused,
    }
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetVersion(
    major: *mut i32,
    minor: *mut i32,
    patch: *mut i32,
) -> AclError {
    call("aclrtGetVersion", || {
        // SAFETY: null or writable, by the C signature.
        let major = unsafe { Out::new(major, "majorVersion") }?;
        // SAFETY: as above.
        let minor = unsafe { Out::new(minor, "minorVersion") }?;
        // SAFETY: as above.
        let patch = unsafe { Out::new(patch, "patchVersion") }?;
        let version = presented::acl_version();
        major.set(version.0);
        minor.set(version.1);
        patch.set(version.2);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetDeviceCount(count: *mut u32) -> AclError {
    call("aclrtGetDeviceCount", || {
        // SAFETY: null or writable, by the C signature.
        unsafe { Out::new(count, "count") }?.set(u32::try_from(device::count()).unwrap_or(u32::MAX));
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtSetDevice(device: i32) -> AclError {
    call("aclrtSetDevice", || device::set_device(device))
}

pub(in crate::acl) unsafe extern "C" fn aclrtResetDevice(device: i32) -> AclError {
    call("aclrtResetDevice", || device::reset_device(device, false))
}

pub(in crate::acl) unsafe extern "C" fn aclrtResetDeviceForce(device: i32) -> AclError {
    call("aclrtResetDeviceForce", || device::reset_device(device, true))
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetDevice(device: *mut i32) -> AclError {
    call("aclrtGetDevice", || {
        // SAFETY: null or writable, by the C signature.
        unsafe { Out::new(device, "deviceId") }?.set(device::current()?.device.id());
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetSocName() -> *const c_char {
    call_pointer("aclrtGetSocName", ptr::null(), || Ok(device::current_or_first()?.soc_name().as_ptr()))
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetRunMode(mode: *mut u32) -> AclError {
    call("aclrtGetRunMode", || {
        // SAFETY: null or writable, by the C signature.
        unsafe { Out::new(mode, "runMode") }?.set(RUN_MODE_HOST);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclGetDeviceCapability(
    device: u32,
    info: i32,
    value: *mut i64,
) -> AclError {
    call("aclGetDeviceCapability", || {
        // SAFETY: null or writable, by the C signature.
        let value = unsafe { Out::new(value, "value") }?;
        let device = device::device(i32::try_from(device).unwrap_or(i32::MAX))?;
        let about = device.engine().about();
        value.set(match info {
            device_info::AI_CORE_NUM => i64::from(about.cube_cores),
            device_info::VECTOR_CORE_NUM => i64::from(about.vector_cores),
            device_info::L2_SIZE => i64::try_from(about.l2_bytes).unwrap_or(i64::MAX),
            _ => return refuse(codes::INVALID_PARAM, format!("deviceInfo = {info} given, 0 to 2 wanted")),
        });
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtDeviceCanAccessPeer(
    can: *mut i32,
    device: i32,
    peer: i32,
) -> AclError {
    call("aclrtDeviceCanAccessPeer", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(can, "canAccessPeer") }?;
        peers::check_pair(device, peer)?;
        out.set(1);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtDeviceEnablePeerAccess(peer: i32, flags: u32) -> AclError {
    call("aclrtDeviceEnablePeerAccess", || {
        if flags != 0 {
            return refuse(codes::RT_PARAM_INVALID, format!("flags = {flags:#x} given, 0 wanted"));
        }
        peers::enable(&device::current()?.device, peer)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtDeviceDisablePeerAccess(peer: i32) -> AclError {
    call("aclrtDeviceDisablePeerAccess", || peers::disable(&device::current()?.device, peer))
}

pub(in crate::acl) unsafe extern "C" fn aclrtSynchronizeDevice() -> AclError {
    call("aclrtSynchronizeDevice", || stream::synchronize_device(None))
}

pub(in crate::acl) unsafe extern "C" fn aclrtSynchronizeDeviceWithTimeout(timeout_ms: i32) -> AclError {
    call("aclrtSynchronizeDeviceWithTimeout", || stream::synchronize_device(wait::timeout_of(timeout_ms)?))
}

pub(in crate::acl) unsafe extern "C" fn aclrtCreateContext(
    context: *mut AclContext,
    device: i32,
) -> AclError {
    call("aclrtCreateContext", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(context, "context") }?;
        out.set(device::create_context(device)?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtDestroyContext(context: AclContext) -> AclError {
    call("aclrtDestroyContext", || device::destroy_context(context))
}

pub(in crate::acl) unsafe extern "C" fn aclrtSetCurrentContext(context: AclContext) -> AclError {
    call("aclrtSetCurrentContext", || device::set_context(context))
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetCurrentContext(context: *mut AclContext) -> AclError {
    call("aclrtGetCurrentContext", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(context, "context") }?;
        device::current()?;
        out.set(ptr::without_provenance_mut::<c_void>(current_context()));
        Ok(())
    })
}
