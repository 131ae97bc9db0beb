//! How a function of the program that is called back may end (docs/dropin.md).

use std::ffi::c_void;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::ptr::null_mut;
use std::time::Duration;

use fastattention::sim;
use fastattention_testkit::child;

use super::launcher::Launcher;

type Function = unsafe extern "C" fn(*mut c_void);

unsafe extern "C-unwind" fn panics(_: *mut c_void) {
    panic!("of the program");
}

/// The type that the C header gives.
fn as_c(function: unsafe extern "C-unwind" fn(*mut c_void)) -> Function {
    unsafe { std::mem::transmute::<unsafe extern "C-unwind" fn(*mut c_void), Function>(function) }
}

#[test]
fn a_panic_is_an_error_of_the_stream() {
    let b = Launcher::new();
    let code = unsafe { (b.t.aclrtLaunchHostFunc.unwrap())(b.stream, Some(as_c(panics)), null_mut()) };
    assert_eq!(code, 0);
    b.refused(
        b.synchronize(),
        107_000,
        &["a function of the program that was called back panicked: of the program"],
    );
    let mut other = null_mut();
    unsafe {
        assert_eq!((b.t.aclrtCreateStream)(&mut other), 0);
        assert_eq!((b.t.aclrtSynchronizeStream)(other), 0);
    }
}

#[test]
fn a_panic_is_an_error_of_the_thread_that_handles_callbacks() {
    let b = Launcher::new();
    let client = sim::client_table();
    unsafe {
        let thread = libc::pthread_self();
        assert_eq!((client.aclrtSubscribeReport)(thread, b.stream), 0);
        assert_eq!((client.aclrtLaunchCallback)(Some(as_c(panics)), null_mut(), 1, b.stream), 0);
        b.refused((client.aclrtProcessReport)(60_000), 107_000, &["panicked: of the program"]);
        // The work behind it goes on.
        assert_eq!(b.synchronize(), 0);
    }
}

const JOB: &str = "ACL_LAUNCH_CALLBACK";
/// For a child on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Neither can be caught outside C++: the process ends, as it does when an exception leaves a thread, and
/// does not hang.
#[test]
fn an_exception_and_the_end_of_the_thread_end_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("ends.cpp"), folder.path().join("ends.so"));
    let text = "#include <pthread.h>\n#include <stdexcept>\n\
                extern \"C\" void throws(void*) { throw std::runtime_error(\"of the program\"); }\n\
                extern \"C\" void exits(void*) { pthread_exit(nullptr); }\n\
                extern \"C\" void returns(void*) {}\n";
    std::fs::write(&source, text).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let status =
        Command::new(compiler).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(status.success());
    for (function, signal) in
        [("returns", None), ("throws", Some(libc::SIGABRT)), ("exits", Some(libc::SIGABRT))]
    {
        let mut command = child::test(module_path!(), "child");
        let output = child::run(command.env(JOB, format!("{function} {}", library.display())), LIMIT);
        assert_eq!(output.status.signal(), signal, "{function}: {}", child::text(&output));
    }
}

#[test]
fn child() {
    let Ok(job) = std::env::var(JOB) else { return };
    let (function, library) = job.split_once(' ').unwrap();
    let library = unsafe { libloading::Library::new(Path::new(library)) }.unwrap();
    let function = *unsafe { library.get::<Function>(function.as_bytes()) }.unwrap();
    let b = Launcher::new();
    assert_eq!(unsafe { (b.t.aclrtLaunchHostFunc.unwrap())(b.stream, Some(function), null_mut()) }, 0);
    assert_eq!(b.synchronize(), 0);
}
