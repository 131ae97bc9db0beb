//! A child that was forked from a process that uses devices: every call is refused there, and the parent goes
//! on.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "forks")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{PipeWriter, Read, Write};
use std::time::{Duration, Instant};

use fastattention::runtime::{
    Buffer, CommDType, Communicator, Device, Event, HostBuffer, ReduceOp, RootInfo, Stream,
};
use fastattention::sim::Config;
use fastattention::{Error, Soc};

/// For a child on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What a forked child that runs `body` writes. It has to end by itself.
fn in_child(body: impl FnOnce(&mut PipeWriter)) -> String {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child calls `body` and ends. What `body` does is what is tested: with the locks of a
    // process whose other threads are gone. The allocator of glibc keeps its own in order.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&mut writer)));
        // SAFETY: ends the child, without what the parent does at its end.
        unsafe { libc::_exit(i32::from(ran.is_err())) };
    }
    drop(writer);
    let deadline = Instant::now() + LIMIT;
    let mut status = 0;
    loop {
        // SAFETY: the status is a live integer; the child is this process's.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if ended == child {
            break;
        }
        if Instant::now() > deadline {
            // SAFETY: the child has not been waited for, so the number is still its own.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(status, 0, "{text}");
    text
}

fn device() -> Device {
    Device::simulated(Config::new(Soc::by_name("Ascend910B2").unwrap())).unwrap()
}

fn note<T>(out: &mut PipeWriter, what: &str, outcome: Result<T, Error>) {
    match outcome {
        Ok(_) => writeln!(out, "{what}: success").unwrap(),
        Err(e) => writeln!(out, "{what}: {:?}: {}", e.kind(), e.to_string().replace('\n', " ")).unwrap(),
    }
}

#[test]
fn a_child_is_refused_what_it_inherits() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let buffer = Buffer::from_slice(&device, &[1u8; 64]).unwrap();
    let comm = Communicator::init_all(std::slice::from_ref(&device)).unwrap().remove(0);
    stream.zero(&buffer).unwrap();
    let text = in_child(|out| {
        note(out, "zero", stream.zero(&buffer));
        note(out, "synchronize", stream.synchronize());
        note(out, "query", stream.query());
        note(out, "stream", Stream::new(&device));
        note(out, "event", Event::new(&device));
        note(out, "alloc", Buffer::alloc(&device, 64));
        note(out, "host", HostBuffer::alloc(&device, 64));
        note(out, "copy", buffer.copy_to_host(&mut [0u8; 64]));
        let job = (64, CommDType::I8);
        note(out, "reduce", comm.all_reduce(&stream, &buffer, &buffer, job, ReduceOp::Sum));
        note(out, "async_error", comm.async_error());
        note(out, "root_info", RootInfo::new(&device));
        note(out, "device", device.synchronize());
        note(out, "open", Device::open("sim"));
        note(out, "simulated", Device::simulated(Config::new(device.soc())));
    });
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 14, "{text}");
    let (own, new) = lines.split_at(12);
    for line in own {
        assert!(line.contains(": Unsupported: ") && line.contains("which was forked from it"), "{line}");
    }
    for line in new {
        assert!(line.contains("207000") && line.contains("was forked from process"), "{line}");
    }
    // The parent has lost nothing.
    stream.synchronize().unwrap();
    let mut bytes = [1u8; 64];
    buffer.copy_to_host(&mut bytes).unwrap();
    assert_eq!(bytes, [0; 64]);
}

#[test]
fn drops_in_a_child_leave_the_parent_alone() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let buffer = Buffer::from_slice(&device, &[1u8; 64]).unwrap();
    let comm = Communicator::init_all(std::slice::from_ref(&device)).unwrap().remove(0);
    stream.zero(&buffer).unwrap();
    let all = std::sync::Mutex::new(Some((stream, buffer, comm, device)));
    let text = in_child(|out| {
        drop(all.lock().unwrap().take());
        writeln!(out, "dropped").unwrap();
    });
    assert_eq!(text, "dropped\n");
    let (stream, buffer, comm, _device) = all.into_inner().unwrap().unwrap();
    comm.all_reduce(&stream, &buffer, &buffer, (64, CommDType::I8), ReduceOp::Sum).unwrap();
    stream.synchronize().unwrap();
}

/// The C functions, as another program calls them on the drop-in library.
#[test]
fn c_functions_in_a_child_return_a_code_and_a_text() {
    use fastattention::driver::codes::RT_FEATURE_NOT_SUPPORT;

    let (device, table) = (device(), fastattention::sim::acl_table());
    let stream = Stream::new(&device).unwrap();
    let text = in_child(|out| {
        // SAFETY: the stream is alive, in the memory that the child has inherited.
        let code = unsafe { (table.aclrtSynchronizeStream)(stream.as_raw()) };
        // SAFETY: takes no argument.
        let text = unsafe { (table.aclGetRecentErrMsg)() };
        assert!(!text.is_null());
        // SAFETY: not null, so a string that lives until this thread's next call.
        let text = unsafe { std::ffi::CStr::from_ptr(text) }.to_str().unwrap();
        writeln!(out, "{code} {text}").unwrap();
        // SAFETY: as the first call.
        let code = unsafe { (table.aclrtDestroyStream)(stream.as_raw()) };
        writeln!(out, "{code}").unwrap();
    });
    let (own, code) = (std::process::id(), RT_FEATURE_NOT_SUPPORT.to_string());
    assert!(text.starts_with(&code) && text.ends_with(&format!("{code}\n")), "{text}");
    assert!(text.contains("aclrtSynchronizeStream: process "), "{text}");
    assert!(text.contains(&format!("was forked from process {own}, which used ACL before")), "{text}");
    stream.synchronize().unwrap();
}
