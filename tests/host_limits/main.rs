//! A host that has too little: every thread, mapping, large block of memory and descriptor is refused once,
//! and work ends with right results or with an error, in time. Each run is a process of its own.

#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
#![allow(clippy::print_stdout, reason = "a child tells its parent how it ended")]
#![allow(unsafe_code, reason = "functions of the C library that fail when told to; loads a kernel image")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "each passes a call of the C library on")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "each passes a call of the C library on")]

mod inject;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use fastattention_testkit::child;
use inject::Resource;
use work::Job;

/// For one run on a busy machine: a run that waits for ever shows here. One that waits for a rank until
/// `CONNECT_TIMEOUT` ends long before.
const LIMIT: Duration = Duration::from_secs(300);
/// In seconds; the smallest that there is.
const CONNECT_TIMEOUT: &str = "120";
/// What the child is to do, as "Launches Threads 3".
const JOB: &str = "HOST_LIMITS_JOB";

/// The image of `missing.cpp`, compiled once.
fn missing() -> &'static Path {
    static IMAGE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = IMAGE.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("missing.so");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let status = Command::new(compiler)
            .args(["-std=c++17", "-O1", "-fPIC", "-shared", "-I"])
            .arg(root.join("ascendc/sim"))
            .arg("-o")
            .arg(&output)
            .arg(root.join("tests/host_limits/missing.cpp"))
            .status()
            .unwrap();
        assert!(status.success());
        (folder, output)
    });
    path
}

/// Runs a job in a process of its own.
fn run(job: &str) -> Output {
    let mut command = child::test(module_path!(), "child");
    command.env(JOB, job).env("HCCL_CONNECT_TIMEOUT", CONNECT_TIMEOUT).env(work::MISSING, missing());
    child::run(&mut command, LIMIT)
}

/// Runs a job and returns its last words.
fn words(job: &str) -> String {
    let output = run(job);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{job}: {}: {out}{err}", output.status);
    for text in [&out, &err] {
        assert!(!text.contains("defect of the simulator") && !text.contains("panicked"), "{job}: {out}{err}");
    }
    let last = out.lines().find_map(|line| Some(line.split_once("ENDED ")?.1.to_owned()));
    last.unwrap_or_else(|| panic!("{job}: no last words: {out}{err}"))
}

/// Refuses call after call, until the work needs no further one; of many of a kind the later ones are drawn
/// more thinly.
fn refuse_each(work: Job, resource: Resource, at_least: u32) {
    let mut k = 0;
    loop {
        let words = words(&format!("{work:?} {resource:?} {k}"));
        match words.as_str() {
            "untouched ok" => break,
            "refused ok" => {}
            error => assert!(error.starts_with("refused error "), "{work:?} {resource:?} {k}: {error}"),
        }
        k += 1.max(k / 2);
    }
    assert!(k >= at_least, "{work:?} asks for {resource:?} {k} times only");
}

#[test]
fn launches_without_a_thread() {
    // The stream, and three beside it that run the blocks.
    refuse_each(Job::Launches, Resource::Threads, 4);
}

#[test]
fn deadlocks_without_a_thread() {
    refuse_each(Job::Deadlock, Resource::Threads, 4);
}

#[test]
fn launches_without_a_mapping() {
    refuse_each(Job::Launches, Resource::Mappings, 10);
}

#[test]
fn launches_without_memory() {
    refuse_each(Job::Launches, Resource::Memory, 10);
}

#[test]
fn launches_without_a_descriptor() {
    refuse_each(Job::Launches, Resource::Descriptors, 1);
}

#[test]
fn model_time_without_memory() {
    refuse_each(Job::ModelTime, Resource::Memory, 10);
}

#[test]
fn ranks_without_a_thread() {
    refuse_each(Job::Ranks, Resource::Threads, 3);
}

#[test]
fn ranks_without_memory() {
    refuse_each(Job::Ranks, Resource::Memory, 2);
}

#[test]
fn ranks_without_a_descriptor() {
    refuse_each(Job::Ranks, Resource::Descriptors, 1);
}

#[test]
fn a_limit_on_the_address_space_is_out_of_memory() {
    assert_eq!(words("Limited"), "untouched ok");
}

#[test]
fn a_limit_on_descriptors_is_an_error() {
    // 3 are taken before anything begins.
    let all: Vec<String> = (4..12).map(|limit| words(&format!("Descriptors {limit}"))).collect();
    assert!(all.iter().any(|words| words.starts_with("untouched error ")), "{all:?}");
}

#[test]
fn child() {
    let Ok(job) = std::env::var(JOB) else { return };
    let job: Vec<&str> = job.split(' ').collect();
    let outcome = match job[..] {
        ["Limited"] => work::limited_address_space(),
        ["Descriptors", limit] => work::with_descriptors(limit.parse().unwrap()),
        [work, resource, k] => {
            let work = Job::ALL.into_iter().find(|w| format!("{w:?}") == work).unwrap();
            let resource = Resource::ALL.into_iter().find(|r| format!("{r:?}") == resource).unwrap();
            work.run(resource, k.parse().unwrap())
        }
        _ => panic!("no such job: {job:?}"),
    };
    let touched = if inject::disarm() { "refused" } else { "untouched" };
    match outcome {
        Ok(()) => println!("ENDED {touched} ok"),
        Err(e) => println!("ENDED {touched} error {:?} {e}", e.kind()),
    }
}
