//! Captures of streams, and graphs.

use ascend_sys::{capture_status, codes, AclError, AclModelRi, AclStream};

use crate::acl::border::{call, refuse, Out, Outcome};
use crate::acl::capture::{self, Graph, Mode};
use crate::acl::wait::timeout_of;
use crate::acl::{device, handles, stream};

pub(in crate::acl) unsafe extern "C" fn aclmdlRICaptureBegin(stream: AclStream, mode: u32) -> AclError {
    call("aclmdlRICaptureBegin", || {
        let mode = Mode::of(mode)?;
        capture::begin(&stream::explicit(stream)?, mode)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclmdlRICaptureGetInfo(
    stream: AclStream,
    status: *mut u32,
    model: *mut AclModelRi,
) -> AclError {
    call("aclmdlRICaptureGetInfo", || {
        if status.is_null() && model.is_null() {
            return refuse(
                codes::RT_PARAM_INVALID,
                "status and modelRI = NULL given, a place for one of them wanted",
            );
        }
        let member = stream::explicit(stream)?.capture();
        if !status.is_null() {
            // SAFETY: not null, so writable, by the C signature.
            unsafe { Out::new(status, "status") }?.set(match &member {
                None => capture_status::NONE,
                Some(member) if member.graph.is_invalid() => capture_status::INVALIDATED,
                Some(_) => capture_status::ACTIVE,
            });
        }
        if !model.is_null() {
            let handle = member.map_or(std::ptr::null_mut(), |member| member.graph.handle());
            // SAFETY: as above.
            unsafe { Out::new(model, "modelRI") }?.set(handle);
        }
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclmdlRICaptureEnd(
    stream: AclStream,
    model: *mut AclModelRi,
) -> AclError {
    call("aclmdlRICaptureEnd", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(model, "modelRI") }?;
        let ended = stream::explicit(stream).and_then(|stream| capture::end(&stream));
        out.set(*ended.as_ref().unwrap_or(&std::ptr::null_mut()));
        ended.map(drop)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclmdlRICaptureThreadExchangeMode(mode: *mut u32) -> AclError {
    call("aclmdlRICaptureThreadExchangeMode", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(mode, "mode") }?;
        // SAFETY: not null, as `out` is there, and readable by the C signature.
        let before = capture::exchange(unsafe { mode.read() })?;
        out.set(before);
        Ok(())
    })
}

/// Queues a graph on a stream.
fn execute(model: AclModelRi, stream: AclStream) -> Outcome {
    let stream = stream::of(stream)?;
    handles::get::<Graph>(model)?.replay(&stream)
}

pub(in crate::acl) unsafe extern "C" fn aclmdlRIExecuteAsync(
    model: AclModelRi,
    stream: AclStream,
) -> AclError {
    call("aclmdlRIExecuteAsync", || execute(model, stream))
}

pub(in crate::acl) unsafe extern "C" fn aclmdlRIExecute(model: AclModelRi, timeout_ms: i32) -> AclError {
    call("aclmdlRIExecute", || {
        if timeout_ms == 0 {
            return refuse(codes::RT_PARAM_INVALID, "timeout = 0 given, -1 or milliseconds above 0 wanted");
        }
        let timeout = timeout_of(timeout_ms)?;
        execute(model, std::ptr::null_mut())?;
        device::current()?.default_stream.synchronize(timeout)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclmdlRIDestroy(model: AclModelRi) -> AclError {
    call("aclmdlRIDestroy", || {
        handles::get::<Graph>(model)?.require_idle()?;
        handles::take::<Graph>(model).map(drop)
    })
}
