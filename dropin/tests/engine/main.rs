//! A program that stands for a serving engine: it sees contexts, streams and addresses of its own C calls on
//! the drop-in library, and gives them to the operators of this crate.
//!
//! What a launch does is counted outside of this crate. A library between the program and the drop-in library
//! counts every call of a C function (`counted.rs`). The allocator of the program counts what the launching
//! thread allocates and frees. While a launch is queued, all pages of device memory are taken away from the
//! process, so that a read or write by the host ends it; a gate in the stream keeps the kernels back until
//! they are there again.
//!
//! The crate keeps one ACL library for a process, so each scenario runs in a child: this binary again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
#![allow(unsafe_code, reason = "calls C functions, as an engine does")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "C calls with handles and memory that they have made")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "asserts around a C call")]

mod counted;
mod engine;
#[path = "../installed/mod.rs"]
mod installed;
mod raw;
mod sequences;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Output;
use std::sync::OnceLock;
use std::time::Duration;

use counted::Counts;
use engine::{check, ServingEngine};
use fastattention_testkit::child;
use libloading::Library;
use raw::open_gate;
use sequences::{EngineStep, Sequences};

const STEPS: usize = 200;
const REPLAYS: usize = 100;

/// Longest time of a child on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Counts what a thread allocates, reallocates and frees.
struct Counting;

thread_local! {
    static HEAP_CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has none left.
    let _ = HEAP_CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count();
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The counting library, on a drop-in library that was installed for these tests.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let made = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let library = counted::build(&installed::library(folder.path(), "9.1"));
        (folder, library)
    });
    &made.1
}

fn run(scenario: &str, page_size: u32) -> Output {
    let child = child::test(module_path!(), "child")
        .arg("--ignored")
        .env("ENGINE_SCENARIO", scenario)
        .env("ENGINE_PAGE_SIZE", page_size.to_string())
        .env("FASTATTENTION_ACL_LIB", library())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child::finish(child, PATIENCE)
}

#[track_caller]
fn expect_success(scenario: &str, page_size: u32) {
    let output = run(scenario, page_size);
    assert!(output.status.success(), "{scenario}, pages of {page_size}: {}", child::text(&output));
}

#[test]
fn steps_on_pages_of_16_allocate_copy_read_and_wait_for_nothing() {
    expect_success("steps", 16);
}

#[test]
fn steps_on_pages_of_128_allocate_copy_read_and_wait_for_nothing() {
    expect_success("steps", 128);
}

#[test]
fn replays_with_other_lengths_and_pages_are_eager_launches() {
    expect_success("replays", 16);
}

#[test]
fn lengths_that_are_baked_in_are_caught() {
    expect_success("baked", 128);
}

#[test]
fn a_read_by_the_host_is_caught() {
    let output = run("host_read", 128);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{}", child::text(&output));
}

#[test]
#[ignore = "runs in the child processes of the other tests"]
fn child() {
    let path = PathBuf::from(std::env::var_os("FASTATTENTION_ACL_LIB").unwrap());
    let page_size = std::env::var("ENGINE_PAGE_SIZE").unwrap().parse().unwrap();
    let engine = ServingEngine::new(&path, page_size);
    let sequences = Sequences::new(page_size, u64::from(page_size));
    // The library that the engine has loaded, once more.
    let library = Box::leak(Box::new(unsafe { Library::new(&path) }.unwrap()));
    let counts = Counts::of(library);
    match &*std::env::var("ENGINE_SCENARIO").unwrap() {
        "steps" => steps(&engine, &counts, sequences),
        "replays" => assert_eq!(stale_replays(&engine, sequences, false), [0usize; 0]),
        "baked" => {
            let stale = stale_replays(&engine, sequences, true);
            assert!(stale.len() > REPLAYS / 2, "{stale:?}");
        }
        "host_read" => host_read(&engine, sequences),
        other => panic!("scenario {other:?}"),
    }
    engine.finish();
}

/// What a launch may call: nothing of it allocates, copies, waits, or reads device memory.
const ALLOWED: [&str; 6] = [
    "aclmdlRICaptureGetInfo",
    "aclrtGetCurrentContext",
    "aclrtKernelArgsAppend",
    "aclrtKernelArgsFinalize",
    "aclrtKernelArgsInit",
    "aclrtLaunchKernelWithConfig",
];

fn steps(engine: &ServingEngine, counts: &Counts, mut sequences: Sequences) {
    let mut same = None;
    for number in 0..STEPS {
        let step = sequences.next_step();
        engine.prepare(&step);
        let own = counts.take();
        assert!(own.iter().any(|(name, calls)| *name == "aclrtMemcpy" && *calls >= 6), "{own:?}");
        let (calls, heap_calls) = watched(engine, || {
            counts.take();
            let heap_calls = HEAP_CALLS.get();
            engine.launch(engine.memory.lists).unwrap();
            let heap_calls = HEAP_CALLS.get() - heap_calls;
            (counts.take(), heap_calls)
        });
        assert_eq!(heap_calls, 0, "step {number}");
        for (name, _) in &calls {
            assert!(ALLOWED.contains(name), "step {number} calls {name}: {calls:?}");
        }
        assert!(calls.contains(&("aclrtLaunchKernelWithConfig", 2)), "step {number}: {calls:?}");
        assert_eq!(*same.get_or_insert_with(|| calls.clone()), calls, "step {number}");
        engine.context.synchronize(engine.raw_stream);
        check(engine, &step).unwrap_or_else(|why| panic!("step {number}: {why}"));
    }
}

/// Queues work while no page of device memory can be touched.
fn watched<T>(engine: &ServingEngine, queue: impl FnOnce() -> T) -> T {
    engine.context.close_gate(engine.raw_stream);
    let memory = engine.memory.all();
    memory.iter().for_each(|memory| memory.protect());
    let made = queue();
    memory.iter().for_each(|memory| memory.unprotect());
    open_gate();
    made
}

fn host_read(engine: &ServingEngine, mut sequences: Sequences) {
    engine.prepare(&sequences.next_step());
    let lists = engine.memory.lists.address.cast::<i32>();
    let read = watched(engine, || unsafe { lists.read_volatile() });
    panic!("{read} was read");
}

/// The replays of a captured step that do not have the bits of a launch. With `is_baked` the captured launch
/// has the lengths of its own step, as one would have whose kernel is told lengths by the host.
fn stale_replays(engine: &ServingEngine, mut sequences: Sequences, is_baked: bool) -> Vec<usize> {
    let first = sequences.next_step();
    let lists = engine.memory.lists;
    engine.prepare(&first);
    engine.launch(lists).unwrap();
    engine.context.synchronize(engine.raw_stream);
    let baked = engine.context.malloc(lists.len);
    engine.context.upload(baked, &first.lists);
    let graph = engine.capture(if is_baked { baked } else { lists });
    let bits = |step: &EngineStep| {
        let out = engine.results(step);
        (
            out.o.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            out.lse.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        )
    };
    let mut stale = Vec::new();
    for number in 0..REPLAYS {
        let step = sequences.next_step();
        engine.prepare(&step);
        engine.replay(graph);
        let replayed = bits(&step);
        engine.prepare(&step);
        engine.launch(lists).unwrap();
        engine.context.synchronize(engine.raw_stream);
        if bits(&step) != replayed {
            stale.push(number);
        }
        if number % 10 == 0 {
            check(engine, &step).unwrap_or_else(|why| panic!("step {number}: {why}"));
        }
    }
    let destroy = engine.context.t.aclmdlRIDestroy.unwrap();
    unsafe {
        assert_eq!(destroy(graph), 0);
        assert_eq!((engine.context.t.aclrtFree)(baked.address), 0);
    }
    stale
}
