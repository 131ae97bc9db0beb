//! Devices and contexts.

use std::ffi::c_char;

use ascend_sys::{codes, AclError, AclStream, ErrorInfo};

use crate::acl::border::{c_text, call, refuse, Out};
use crate::acl::device;
use crate::acl::exports::stream::LEAST_PRIORITY;

/// A simulated device is always well.
pub(in crate::acl) unsafe extern "C" fn aclrtQueryDeviceStatus(id: i32, status: *mut u32) -> AclError {
    call("aclrtQueryDeviceStatus", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(status, "deviceStatus") }?;
        device::device(id)?;
        out.set(0);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetDeviceInfo(
    id: u32,
    attribute: u32,
    value: *mut i64,
) -> AclError {
    call("aclrtGetDeviceInfo", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(value, "value") }?;
        let device = device::device(i32::try_from(id).unwrap_or(i32::MAX))?;
        let about = device.engine().about();
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        // The numbers are those of `aclrtDevAttr` (acl-runtime.md 1.4).
        out.set(match attribute {
            101 | 102 => i64::from(about.cube_cores),
            201 => i64::from(about.vector_cores),
            // Threads of a warp, threads of a vector core: of later chips.
            202 | 203 => 0,
            204 => i64::from(about.ub_bytes),
            301 => bytes(device.engine().capacity()),
            302 => bytes(about.l2_bytes),
            401 | 402 => i64::from(id),
            501 => 0,
            601 => 2201,
            _ => {
                return refuse(
                    codes::RT_FEATURE_NOT_SUPPORT,
                    format!("attr = {attribute} is not simulated; 101, 102, 201 to 204, 301, 302, 401, 402, 501 and 601 are"),
                );
            }
        });
        Ok(())
    })
}

/// Compatible are the SoCs of one core: the Ascend910B line here.
pub(in crate::acl) unsafe extern "C" fn aclrtCheckArchCompatibility(
    soc: *const c_char,
    compatible: *mut i32,
) -> AclError {
    call("aclrtCheckArchCompatibility", || {
        // SAFETY: null or a string, by the C signature.
        let name = unsafe { c_text(soc, "socVersion") }?;
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(compatible, "canCompatible") }?;
        out.set(i32::from(device::current_or_first()?.engine().runs_kernels_of(name)));
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtCtxGetCurrentDefaultStream(stream: *mut AclStream) -> AclError {
    call("aclrtCtxGetCurrentDefaultStream", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(stream, "stream") }?;
        out.set(device::current()?.default_stream_handle()?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtDeviceGetStreamPriorityRange(
    least: *mut i32,
    greatest: *mut i32,
) -> AclError {
    call("aclrtDeviceGetStreamPriorityRange", || {
        // SAFETY: null or writable, by the C signature.
        let least = unsafe { Out::new(least, "leastPriority") }?;
        // SAFETY: as above.
        let greatest = unsafe { Out::new(greatest, "greatestPriority") }?;
        device::current()?;
        least.set(LEAST_PRIORITY.cast_signed());
        greatest.set(0);
        Ok(())
    })
}

/// Cores that a kernel of the calling thread may use: all of the device's, as limits are not simulated.
pub(in crate::acl) unsafe extern "C" fn aclrtGetResInCurrentThread(kind: u32, value: *mut u32) -> AclError {
    call("aclrtGetResInCurrentThread", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(value, "value") }?;
        let context = device::current()?;
        let about = context.device.engine().about();
        out.set(match kind {
            0 => about.cube_cores,
            1 => about.vector_cores,
            _ => {
                return refuse(
                    codes::RT_PARAM_INVALID,
                    format!("type = {kind} given, CUBE_CORE 0 or VECTOR_CORE 1 wanted"),
                );
            }
        });
        Ok(())
    })
}

/// A simulated device has no hardware errors.
pub(in crate::acl) unsafe extern "C" fn aclrtGetErrorVerbose(id: i32, info: *mut ErrorInfo) -> AclError {
    call("aclrtGetErrorVerbose", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(info, "errorInfo") }?;
        device::device(id)?;
        out.set(ErrorInfo::default());
        Ok(())
    })
}
