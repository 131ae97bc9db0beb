//! Streams and events.

use std::ffi::c_void;
use std::sync::Arc;

use ascend_sys::{
    codes, failure_mode, progress_status, recorded_status, AclError, AclEvent, AclHostFunc, AclStream,
};

use crate::acl::border::{call, refuse, Out, Outcome};
use crate::acl::callback::Callback;
use crate::acl::event::{Event, Origin};
use crate::acl::stream::{self, Settings, Stream};
use crate::acl::wait::timeout_of;
use crate::acl::{device, handles};
use crate::timeline::{time_of, HostPart, TimedWork};

/// Stream flags of the 8.1 header; none changes what a simulated stream does.
const KNOWN_STREAM_FLAGS: u32 = 0x3f;

/// Lowest stream priority (CANN's manual, stream priorities: 0 to 7, 0 first).
pub(super) const LEAST_PRIORITY: u32 = 7;

pub(super) fn create_stream(out: Out<AclStream>, settings: Settings) -> Outcome {
    let Settings { priority, flags } = settings;
    if flags & !KNOWN_STREAM_FLAGS != 0 {
        return refuse(codes::RT_PARAM_INVALID, format!("flag = {flags:#x} given, bits of 0x3f wanted"));
    }
    if priority > LEAST_PRIORITY {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("priority = {priority} given, 0 to {LEAST_PRIORITY} wanted"),
        );
    }
    let context = device::current()?;
    let stream = Stream::new(context.number(), Arc::clone(&context.device)).with_settings(settings);
    out.set(handles::insert(Arc::new(stream))?);
    Ok(())
}

pub(in crate::acl) unsafe extern "C" fn aclrtCreateStream(stream: *mut AclStream) -> AclError {
    call("aclrtCreateStream", || {
        // SAFETY: null or writable, by the C signature.
        create_stream(unsafe { Out::new(stream, "stream") }?, Settings::default())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtCreateStreamWithConfig(
    stream: *mut AclStream,
    priority: u32,
    flag: u32,
) -> AclError {
    call("aclrtCreateStreamWithConfig", || {
        // SAFETY: null or writable, by the C signature.
        create_stream(unsafe { Out::new(stream, "stream") }?, Settings { priority, flags: flag })
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtDestroyStream(handle: AclStream) -> AclError {
    call("aclrtDestroyStream", || {
        stream::explicit(handle)?.close_after_work()?;
        handles::take::<Stream>(handle).map(drop)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtDestroyStreamForce(handle: AclStream) -> AclError {
    call("aclrtDestroyStreamForce", || {
        stream::explicit(handle)?.refuse_captured("destroying the stream")?;
        handles::take::<Stream>(handle)?.close_now();
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtSynchronizeStream(handle: AclStream) -> AclError {
    call("aclrtSynchronizeStream", || stream::of(handle)?.synchronize(None))
}

pub(in crate::acl) unsafe extern "C" fn aclrtSynchronizeStreamWithTimeout(
    handle: AclStream,
    timeout_ms: i32,
) -> AclError {
    call("aclrtSynchronizeStreamWithTimeout", || stream::of(handle)?.synchronize(timeout_of(timeout_ms)?))
}

pub(in crate::acl) unsafe extern "C" fn aclrtStreamQuery(handle: AclStream, status: *mut u32) -> AclError {
    call("aclrtStreamQuery", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(status, "status") }?;
        let idle = stream::of(handle)?.is_idle()?;
        out.set(if idle { progress_status::COMPLETE } else { progress_status::NOT_READY });
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtStreamWaitEvent(handle: AclStream, event: AclEvent) -> AclError {
    call("aclrtStreamWaitEvent", || {
        let stream = stream::of(handle)?;
        handles::get::<Event>(event)?.wait_on(&stream)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtSetStreamFailureMode(handle: AclStream, mode: u64) -> AclError {
    call("aclrtSetStreamFailureMode", || match mode {
        failure_mode::STOP => stream::of(handle)?.set_failure_mode(),
        failure_mode::CONTINUE => refuse(
            codes::RT_FEATURE_NOT_SUPPORT,
            "mode = CONTINUE_ON_FAILURE (0) given; a simulated stream stops at its first failure, 1 wanted",
        ),
        _ => refuse(codes::RT_PARAM_INVALID, format!("mode = {mode} given, 0 or 1 wanted")),
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtStreamAbort(handle: AclStream) -> AclError {
    call("aclrtStreamAbort", || stream::of(handle)?.abort())
}

pub(in crate::acl) unsafe extern "C" fn aclrtLaunchHostFunc(
    handle: AclStream,
    func: AclHostFunc,
    args: *mut c_void,
) -> AclError {
    call("aclrtLaunchHostFunc", || {
        let Some(func) = func else {
            return refuse(codes::INVALID_PARAM, "fn = NULL given, a function wanted");
        };
        // SAFETY: the caller passes a function with the argument it takes, for another thread.
        let callback = unsafe { Callback::new(func, args) };
        let work = move |stream: &Stream| {
            let (outcome, us) = time_of(stream.has_results(), || callback.run());
            if us > 0.0 {
                stream.log(|| TimedWork::Host { part: HostPart::Function, bytes: 0, us });
            }
            stream.knows_what_has_ended();
            outcome
        };
        stream::of(handle)?.dispatch_work(work)
    })
}

fn create_event(out: *mut AclEvent, origin: Origin, flags: u32) -> Outcome {
    // SAFETY: null or writable: the three callers pass a C argument on.
    let out = unsafe { Out::new(out, "event") }?;
    let event = Event::new(origin, flags, device::current()?.number())?;
    out.set(handles::insert(event)?);
    Ok(())
}

pub(in crate::acl) unsafe extern "C" fn aclrtCreateEvent(event: *mut AclEvent) -> AclError {
    call("aclrtCreateEvent", || create_event(event, Origin::Plain, 0))
}

pub(in crate::acl) unsafe extern "C" fn aclrtCreateEventWithFlag(
    event: *mut AclEvent,
    flag: u32,
) -> AclError {
    call("aclrtCreateEventWithFlag", || create_event(event, Origin::WithFlag, flag))
}

pub(in crate::acl) unsafe extern "C" fn aclrtCreateEventExWithFlag(
    event: *mut AclEvent,
    flag: u32,
) -> AclError {
    call("aclrtCreateEventExWithFlag", || create_event(event, Origin::ExWithFlag, flag))
}

pub(in crate::acl) unsafe extern "C" fn aclrtDestroyEvent(event: AclEvent) -> AclError {
    call("aclrtDestroyEvent", || handles::take::<Event>(event).map(drop))
}

pub(in crate::acl) unsafe extern "C" fn aclrtRecordEvent(event: AclEvent, handle: AclStream) -> AclError {
    call("aclrtRecordEvent", || handles::get::<Event>(event)?.record(&stream::of(handle)?))
}

pub(in crate::acl) unsafe extern "C" fn aclrtResetEvent(event: AclEvent, handle: AclStream) -> AclError {
    call("aclrtResetEvent", || handles::get::<Event>(event)?.reset(&stream::of(handle)?))
}

pub(in crate::acl) unsafe extern "C" fn aclrtQueryEventStatus(event: AclEvent, status: *mut u32) -> AclError {
    call("aclrtQueryEventStatus", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(status, "status") }?;
        let complete = handles::get::<Event>(event)?.is_complete()?;
        out.set(if complete { recorded_status::COMPLETE } else { recorded_status::NOT_READY });
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtQueryEventWaitStatus(
    event: AclEvent,
    status: *mut u32,
) -> AclError {
    call("aclrtQueryEventWaitStatus", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(status, "status") }?;
        let done = handles::get::<Event>(event)?.waits_are_done()?;
        out.set(if done { progress_status::COMPLETE } else { progress_status::NOT_READY });
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtSynchronizeEvent(event: AclEvent) -> AclError {
    call("aclrtSynchronizeEvent", || handles::get::<Event>(event)?.synchronize(None))
}

pub(in crate::acl) unsafe extern "C" fn aclrtSynchronizeEventWithTimeout(
    event: AclEvent,
    timeout_ms: i32,
) -> AclError {
    call("aclrtSynchronizeEventWithTimeout", || {
        handles::get::<Event>(event)?.synchronize(timeout_of(timeout_ms)?)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtEventElapsedTime(
    ms: *mut f32,
    start: AclEvent,
    end: AclEvent,
) -> AclError {
    call("aclrtEventElapsedTime", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(ms, "ms") }?;
        let (start, end) = (handles::get::<Event>(start)?, handles::get::<Event>(end)?);
        out.set(Event::elapsed_ms(&start, &end)?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtEventGetTimestamp(
    event: AclEvent,
    timestamp: *mut u64,
) -> AclError {
    call("aclrtEventGetTimestamp", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(timestamp, "timestamp") }?;
        out.set(handles::get::<Event>(event)?.timestamp()?);
        Ok(())
    })
}
