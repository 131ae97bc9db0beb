//! What the library exports, under its three names, and as which CANN.
#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
#![allow(unsafe_code, reason = "loads the library and calls it")]

use std::collections::BTreeSet;
use std::ffi::{c_char, CStr};
use std::path::Path;

use libloading::Library;
use object::{Object, ObjectSymbol};

mod installed;

/// Every function of acl/acl.h, acl/acl_base.h and acl/acl_rt.h of CANN 8.1.RC1.
const CANN81: &str = include_str!("cann81.txt");

/// Functions of hccl/hccl.h of that CANN.
const HCCL: [&str; 26] = [
    "HcclAllGather",
    "HcclAllReduce",
    "HcclAlltoAll",
    "HcclAlltoAllV",
    "HcclAlltoAllVC",
    "HcclBarrier",
    "HcclBatchSendRecv",
    "HcclBroadcast",
    "HcclCommDestroy",
    "HcclCommInitAll",
    "HcclCommInitClusterInfo",
    "HcclCommInitClusterInfoConfig",
    "HcclCommInitRootInfo",
    "HcclCommInitRootInfoConfig",
    "HcclCreateSubCommConfig",
    "HcclGetCommAsyncError",
    "HcclGetCommName",
    "HcclGetErrorString",
    "HcclGetRankId",
    "HcclGetRankSize",
    "HcclGetRootInfo",
    "HcclRecv",
    "HcclReduce",
    "HcclReduceScatter",
    "HcclScatter",
    "HcclSend",
];

const MARK: &str = "fastattention_sim_abi_version";

/// Came after 8.1, in 8.5 or before.
const LATER: [&str; 6] = [
    "aclrtBinaryLoadFromData",
    "aclrtGetDeviceInfo",
    "aclrtLaunchHostFunc",
    "aclrtLaunchKernelWithHostArgs",
    "aclmdlRICaptureBegin",
    "aclmdlRIExecute",
];

fn exported(library: &Path) -> BTreeSet<String> {
    let data = std::fs::read(library).unwrap();
    let file = object::File::parse(&*data).unwrap();
    file.dynamic_symbols().filter(|s| s.is_definition()).map(|s| s.name().unwrap().to_owned()).collect()
}

fn open(library: &Path) -> Library {
    // SAFETY: the library has no initialisers of its own.
    unsafe { Library::new(library) }.unwrap()
}

fn has(library: &Library, name: &str) -> bool {
    // SAFETY: the symbol is not used.
    unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_ok()
}

fn acl_minor(library: &Library) -> i32 {
    type GetVersion = unsafe extern "C" fn(*mut i32, *mut i32, *mut i32) -> i32;
    // SAFETY: the signature is that of the headers.
    let get_version = unsafe { library.get::<GetVersion>(b"aclrtGetVersion") }.unwrap();
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: the pointers are to live integers.
    assert_eq!(unsafe { get_version(&raw mut major, &raw mut minor, &raw mut patch) }, 0);
    minor
}

#[test]
fn as_cann_8_1_it_exports_the_functions_of_its_headers_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let library = installed::library(folder.path(), "8.1").join("libascendcl.so");
    let wanted: BTreeSet<String> = CANN81.lines().chain(HCCL).chain([MARK]).map(str::to_owned).collect();
    assert_eq!(CANN81.lines().count(), 185);
    let exported = exported(&library);
    let difference: Vec<_> = exported.symmetric_difference(&wanted).collect();
    assert!(difference.is_empty(), "{difference:?}");
    let library = open(&library);
    assert!(CANN81.lines().chain(HCCL).all(|name| has(&library, name)));
    assert!(!LATER.iter().any(|name| has(&library, name)));
    assert_eq!(acl_minor(&library), 13);
}

#[test]
fn later_functions_are_there_as_later_canns() {
    let folder = tempfile::tempdir().unwrap();
    for (cann, minor) in [("8.5", 16), ("9.1", 17)] {
        let library = open(&installed::library(folder.path(), cann).join("libascendcl.so"));
        assert!(CANN81.lines().chain(LATER).chain(HCCL).all(|name| has(&library, name)), "{cann}");
        assert_eq!(acl_minor(&library), minor);
    }
}

#[test]
fn the_three_names_are_one_library() {
    let folder = tempfile::tempdir().unwrap();
    // Somebody else's file, whatever its name.
    let other = folder.path().join("9.1/lib64/.libascendcl.so.new");
    std::fs::create_dir_all(other.parent().unwrap()).unwrap();
    std::fs::write(&other, "kept").unwrap();
    let lib64 = installed::library(folder.path(), "9.1");
    assert_eq!(std::fs::read(other).unwrap(), b"kept");
    assert_eq!(std::fs::read_dir(&lib64).unwrap().count(), 4);
    let libraries = ["libascendcl.so", "libacl_rt.so", "libhccl.so"].map(|name| open(&lib64.join(name)));
    type Init = unsafe extern "C" fn(*const c_char) -> i32;
    let addresses = libraries.each_ref().map(|library| {
        // SAFETY: the signature is that of the headers.
        let init = unsafe { library.get::<Init>(b"aclInit") }.unwrap();
        *init as usize
    });
    assert!(addresses.iter().all(|a| *a == addresses[0]), "{addresses:x?}");
}

/// Every function that is refused says so: none returns success or crashes, whatever registers hold.
#[test]
fn what_is_not_simulated_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let library = open(&installed::library(folder.path(), "8.5").join("libascendcl.so"));
    // SAFETY: the signature is that of the headers.
    let text =
        unsafe { library.get::<unsafe extern "C" fn() -> *const c_char>(b"aclGetRecentErrMsg") }.unwrap();
    for name in ["aclrtMallocPhysical", "aclrtGetOverflowStatus", "aclrtSetGroup"] {
        // SAFETY: these functions look at no argument; that they are the refusing ones is what is tested.
        let refused = unsafe { library.get::<unsafe extern "C" fn() -> i32>(name.as_bytes()) }.unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { refused() }, 207_000, "{name}");
        // SAFETY: takes nothing.
        let message = unsafe { text() };
        assert!(!message.is_null());
        // SAFETY: not null, so a string that lives until the next call.
        let message = unsafe { CStr::from_ptr(message) }.to_str().unwrap();
        assert!(message.contains(&format!("{name}: the simulator does not have this function")), "{message}");
    }
}

#[test]
fn a_library_that_is_not_the_simulator_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let lib64 = folder.path().join("lib64");
    std::fs::create_dir(&lib64).unwrap();
    std::fs::write(lib64.join("libascendcl.so"), "a driver").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_fastattention-dropin"))
        .arg("--root")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("is not the simulator: is a CANN installed there?"), "{text}");
    assert_eq!(std::fs::read(lib64.join("libascendcl.so")).unwrap(), b"a driver");
}

#[test]
fn what_cannot_be_installed_is_refused_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let lib64 = folder.path().join(name).join("lib64");
        std::fs::create_dir_all(&lib64).unwrap();
        lib64
    };
    std::fs::write(folder.path().join("file"), "kept").unwrap();
    std::fs::write(make("link").join("libhccl.so"), "a library").unwrap();
    let fifo = make("fifo").join("libascendcl.so");
    assert!(std::process::Command::new("mkfifo").arg(fifo).status().unwrap().success());
    for (root, why) in
        [("file", "creating "), ("link", "libhccl.so is no link"), ("fifo", "is no regular file")]
    {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_fastattention-dropin"))
            .env("CARGO", "/nonexistent/cargo")
            .arg("--root")
            .arg(folder.path().join(root))
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(why), "{root}: {text}");
    }
    assert!(!folder.path().join("link/lib64/libascendcl.so").exists());
}
