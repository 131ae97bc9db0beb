//! Settings of streams, callbacks in a thread of the program, notifies.

use std::ffi::c_void;
use std::time::Duration;

use ascend_sys::{codes, AclError, AclEvent, AclHostFunc, AclNotify, AclStream, StreamConfig};

use crate::acl::border::{call, refuse, Out};
use crate::acl::callback::Callback;
use crate::acl::event::Event;
use crate::acl::exports::stream::create_stream;
use crate::acl::notify::Notify;
use crate::acl::stream::{self, Settings};
use crate::acl::wait::timeout_of;
use crate::acl::{device, handles, report};

/// The older query: 0 complete, 1 not ready, the opposite of `aclrtQueryEventStatus`.
pub(in crate::acl) unsafe extern "C" fn aclrtQueryEvent(event: AclEvent, status: *mut u32) -> AclError {
    call("aclrtQueryEvent", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(status, "status") }?;
        out.set(u32::from(!handles::get::<Event>(event)?.is_complete()?));
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtStreamGetId(handle: AclStream, id: *mut i32) -> AclError {
    call("aclrtStreamGetId", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(id, "streamId") }?;
        out.set(i32::try_from(stream::of(handle)?.number()).unwrap_or(i32::MAX));
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtStreamGetPriority(
    handle: AclStream,
    priority: *mut u32,
) -> AclError {
    call("aclrtStreamGetPriority", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(priority, "priority") }?;
        out.set(stream::of(handle)?.settings().priority);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtStreamGetFlags(handle: AclStream, flags: *mut u32) -> AclError {
    call("aclrtStreamGetFlags", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(flags, "flags") }?;
        out.set(stream::of(handle)?.settings().flags);
        Ok(())
    })
}

/// The object is the structure that the headers declare, on the heap.
pub(in crate::acl) unsafe extern "C" fn aclrtCreateStreamConfigHandle() -> *mut StreamConfig {
    Box::into_raw(Box::default())
}

pub(in crate::acl) unsafe extern "C" fn aclrtDestroyStreamConfigHandle(
    config: *mut StreamConfig,
) -> AclError {
    call("aclrtDestroyStreamConfigHandle", || {
        if config.is_null() {
            return refuse(codes::INVALID_PARAM, "handle = NULL given, a stream configuration wanted");
        }
        // SAFETY: not null, so an object of aclrtCreateStreamConfigHandle that is destroyed once, by the C
        // contract.
        drop(unsafe { Box::from_raw(config) });
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtSetStreamConfigOpt(
    config: *mut StreamConfig,
    attribute: u32,
    value: *const c_void,
    size: usize,
) -> AclError {
    call("aclrtSetStreamConfigOpt", || {
        if config.is_null() || value.is_null() {
            return refuse(
                codes::INVALID_PARAM,
                format!(
                    "handle = {:#x}, attrValue = {:#x} given, neither NULL wanted",
                    config.addr(),
                    value.addr()
                ),
            );
        }
        // WORK_ADDR_PTR 0, WORK_SIZE 1, FLAG 2, PRIORITY 3, with the sizes of the structure's members.
        let Some(&wanted) = [8, 8, 8, 4].get(attribute as usize) else {
            return refuse(codes::RT_PARAM_INVALID, format!("attr = {attribute} given, 0 to 3 wanted"));
        };
        // Flag and priority may come as 32-bit numbers.
        if size != wanted && !(attribute == 2 && size == 4) {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("attr {attribute}: valueSize = {size} given, {wanted} wanted"),
            );
        }
        let mut bytes = [0; 8];
        // SAFETY: not null, so readable for `size` bytes by the C signature, and `size` is 4 or 8.
        let given = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), size) };
        bytes[..size].copy_from_slice(given);
        let number = u64::from_le_bytes(bytes);
        // SAFETY: not null, so an object of aclrtCreateStreamConfigHandle that no other thread uses, by the C
        // contract.
        unsafe { &mut *config }.set(attribute, number);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtCreateStreamV2(
    stream: *mut AclStream,
    config: *const StreamConfig,
) -> AclError {
    call("aclrtCreateStreamV2", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(stream, "stream") }?;
        // SAFETY: null or an object of aclrtCreateStreamConfigHandle, by the C signature.
        let Some(config) = (unsafe { config.as_ref() }) else {
            return refuse(codes::INVALID_PARAM, "handle = NULL given, a stream configuration wanted");
        };
        if config.workSize != 0 || !config.workptr.is_null() {
            return refuse(
                codes::RT_FEATURE_NOT_SUPPORT,
                format!(
                    "workSize = {} given; work memory of models is not simulated, none wanted",
                    config.workSize
                ),
            );
        }
        let flags = u32::try_from(config.flag).unwrap_or(u32::MAX);
        create_stream(out, Settings { priority: config.priority, flags })
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtSubscribeReport(thread: u64, handle: AclStream) -> AclError {
    call("aclrtSubscribeReport", || report::subscribe(thread, &*stream::of(handle)?))
}

pub(in crate::acl) unsafe extern "C" fn aclrtUnSubscribeReport(thread: u64, handle: AclStream) -> AclError {
    call("aclrtUnSubscribeReport", || report::unsubscribe(thread, &*stream::of(handle)?))
}

pub(in crate::acl) unsafe extern "C" fn aclrtLaunchCallback(
    func: AclHostFunc,
    user_data: *mut c_void,
    block_type: u32,
    handle: AclStream,
) -> AclError {
    call("aclrtLaunchCallback", || {
        let Some(func) = func else {
            return refuse(codes::INVALID_PARAM, "fn = NULL given, a function wanted");
        };
        if block_type > 1 {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("blockType = {block_type} given, NO_BLOCK 0 or BLOCK 1 wanted"),
            );
        }
        // SAFETY: the caller passes a function with the argument it takes, for the thread that handles the
        // stream.
        let callback = unsafe { Callback::new(func, user_data) };
        report::launch(callback, block_type == 1, &stream::of(handle)?)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtProcessReport(timeout_ms: i32) -> AclError {
    call("aclrtProcessReport", || report::process(timeout_of(timeout_ms)?))
}

pub(in crate::acl) unsafe extern "C" fn aclrtCreateNotify(notify: *mut AclNotify, flag: u64) -> AclError {
    call("aclrtCreateNotify", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(notify, "notify") }?;
        if flag > 1 {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("flag = {flag:#x} given, DEFAULT 0 or DEVICE_USE_ONLY 1 wanted"),
            );
        }
        out.set(handles::insert(Notify::new(device::current()?.number()))?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtDestroyNotify(notify: AclNotify) -> AclError {
    call("aclrtDestroyNotify", || handles::take::<Notify>(notify).map(drop))
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetNotifyId(notify: AclNotify, id: *mut u32) -> AclError {
    call("aclrtGetNotifyId", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(id, "notifyId") }?;
        out.set(handles::get::<Notify>(notify)?.id());
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtRecordNotify(notify: AclNotify, handle: AclStream) -> AclError {
    call("aclrtRecordNotify", || handles::get::<Notify>(notify)?.record(&stream::of(handle)?))
}

/// The timeout is in seconds; 0 waits for ever.
pub(in crate::acl) unsafe extern "C" fn aclrtWaitAndResetNotify(
    notify: AclNotify,
    handle: AclStream,
    timeout_s: u32,
) -> AclError {
    call("aclrtWaitAndResetNotify", || {
        let timeout = (timeout_s > 0).then(|| Duration::from_secs(u64::from(timeout_s)));
        handles::get::<Notify>(notify)?.wait_and_reset(&stream::of(handle)?, timeout)
    })
}
