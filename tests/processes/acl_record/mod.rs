//! The calls that reach an ACL library, recorded by one of our own (`recorder/`): their order and arguments
//! for whole programs, and what happens when each of them fails in turn.
//!
//! The crate keeps one ACL library for a process, so each program runs in a child process: this test binary
//! again, with `RECORD_SCENARIO` naming a function of `scenarios.rs`. `FA_BLESS=1` rewrites the files of
//! expected calls.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]

mod scenarios;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fastattention_testkit::child;
use fastattention_testkit::recorder::{self, Libraries};

/// `RT_DRV_INTERNAL`: of no class that the crate treats apart.
const CODE: i32 = 507_899;

/// Longest time of a child on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn libraries() -> &'static Libraries {
    recorder::libraries(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("acl_record"))
}

/// What a child left behind.
#[derive(Debug)]
struct Record {
    /// `ok`, or kind, code and text of the error.
    outcome: String,
    calls: Vec<String>,
    /// Names of files left in the folder for temporary ones.
    left: Vec<String>,
}

/// Runs a scenario in a child process.
fn record(library: &Path, scenario: &str, variables: &[(&str, &str)]) -> Record {
    let folder = tempfile::tempdir().unwrap();
    let (log, outcome, scratch) =
        (folder.path().join("log"), folder.path().join("outcome"), folder.path().join("tmp"));
    fs::create_dir(&scratch).unwrap();
    let child = child::test(module_path!(), "child")
        .arg("--ignored")
        .env("RECORD_SCENARIO", scenario)
        .env("RECORD_OUTCOME", &outcome)
        .env("RECORD_LOG", &log)
        .env("FASTATTENTION_ACL_LIB", library)
        .env("TMPDIR", &scratch)
        .envs(variables.iter().copied())
        .spawn()
        .unwrap();
    let output = child::wait(child, PATIENCE).unwrap_or_else(|_| {
        panic!("{scenario} {variables:?} hangs after\n{}", fs::read_to_string(&log).unwrap())
    });
    let status = output.status;
    assert!(status.success(), "{scenario} {variables:?} ended with {status}");
    let left = fs::read_dir(&scratch).unwrap();
    Record {
        outcome: fs::read_to_string(outcome).unwrap(),
        calls: fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect(),
        left: left.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect(),
    }
}

#[test]
#[ignore = "runs in the child processes of the other tests"]
fn child() {
    let name = std::env::var("RECORD_SCENARIO").unwrap();
    let (_, scenario) = scenarios::ALL.iter().find(|(n, _)| *n == name).unwrap();
    let outcome = match std::panic::catch_unwind(scenario) {
        Ok(Ok(())) => "ok".to_owned(),
        Ok(Err(error)) => format!("{:?} {:?} {error}", error.kind(), error.driver_code()),
        Err(_) => "panic".to_owned(),
    };
    fs::write(std::env::var_os("RECORD_OUTCOME").unwrap(), outcome).unwrap();
}

/// Compares with the file of expected calls.
fn expect_calls(file: &str, record: &Record) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processes/acl_record").join(file);
    let calls = record.calls.join("\n") + "\n";
    if std::env::var_os("FA_BLESS").is_some() {
        fs::write(&path, &calls).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(calls, expected, "{file} differs ({}); FA_BLESS=1 rewrites it", record.outcome);
}

/// Objects that are there at the end, from the calls that make and destroy them, and how often a device is
/// set.
fn leaks(calls: &[String]) -> Vec<String> {
    let mut alive = BTreeMap::new();
    for call in calls {
        let call = call.trim_start_matches("other: ");
        let is_destroyed =
            ["aclrtDestroy", "aclrtFree", "aclrtBinaryUnLoad"].iter().any(|p| call.starts_with(p));
        let argument = call.split(['(', ')', ',']).nth(1).unwrap_or_default();
        if call.starts_with("aclrtSetDevice") && !call.contains(" = ") {
            *alive.entry("a set device".to_owned()).or_insert(0) += 1;
        } else if call.starts_with("aclrtResetDevice") {
            *alive.entry("a set device".to_owned()).or_insert(0) -= 1;
        } else if is_destroyed {
            *alive.entry(argument.to_owned()).or_insert(0) -= 1;
        } else if let Some((call, made)) = call.split_once(" -> ") {
            // A function dies with its image, a context that is not made belongs to the device.
            if !made.starts_with("function") && (!made.starts_with("context") || call.contains("Create")) {
                *alive.entry(made.to_owned()).or_insert(0) += 1;
            }
        }
    }
    alive
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|(name, count)| format!("{name}: {count}"))
        .collect()
}

fn expect_clean(record: &Record) {
    let misuse: Vec<_> = record.calls.iter().filter(|call| call.starts_with("MISUSE")).collect();
    assert!(misuse.is_empty(), "{misuse:?} in\n{}", record.calls.join("\n"));
    assert_eq!(leaks(&record.calls), [""; 0], "{}\n{}", record.outcome, record.calls.join("\n"));
    assert_eq!(record.left, [""; 0]);
}

#[test]
fn programs_make_exactly_these_calls() {
    for (name, _) in scenarios::ALL {
        let record = record(&libraries().newest, name, &[]);
        assert_eq!(record.outcome, "ok", "{name}\n{}", record.calls.join("\n"));
        expect_clean(&record);
        expect_calls(&format!("{name}.calls"), &record);
    }
}

#[test]
fn cann_81_gets_the_image_through_a_private_file() {
    let record = record(&libraries().cann81, "launch", &[]);
    assert_eq!(record.outcome, "ok");
    expect_clean(&record);
    expect_calls("launch_cann81.calls", &record);
}

/// The call of a line.
fn function(call: &str) -> &str {
    call.split('(').next().unwrap_or_default()
}

/// May things be left when this call failed? Work of a stream that cannot be drained may still use them, and
/// without the device's context nothing of it can be destroyed.
fn excuses_leaks(function: &str) -> bool {
    matches!(function, "aclrtDestroyStream" | "aclrtSynchronizeStream" | "aclrtSetCurrentContext")
}

/// This crate's calls of a scenario that goes well; the recorder counts the same.
fn own_calls(library: &Path, name: &str) -> Vec<String> {
    record(library, name, &[]).calls.into_iter().filter(|call| !call.starts_with("other: ")).collect()
}

/// Lets each call fail, one in each run; how many runs that were.
fn fails_in_turn(library: &Path, name: &str) -> usize {
    let good = own_calls(library, name);
    for (i, call) in good.iter().enumerate() {
        let function = function(call);
        let record = record(library, name, &[("RECORD_FAIL", &format!("{}:{CODE}", i + 1))]);
        let context =
            || format!("{name}, call {} {call}: {}\n{}", i + 1, record.outcome, record.calls.join("\n"));
        // A null name has no code of its own.
        let code = if function == "aclrtGetSocName" { 500_000 } else { CODE };
        assert!(record.outcome.contains(&format!("{function} failed with code {code}")), "{}", context());
        // The library's own text is part of the error, except where a library is only tried.
        let text = format!("EZ9999: the recorder lets {function} fail");
        assert!(function == "aclrtGetVersion" || record.outcome.contains(&text), "{}", context());
        assert!(!record.calls.iter().any(|c| c.starts_with("MISUSE")), "{}", context());
        if !excuses_leaks(function) {
            // What was to be destroyed by the call that failed counts as destroyed.
            assert_eq!(leaks(&record.calls), [""; 0], "{}", context());
        }
        assert_eq!(record.left, [""; 0], "{}", context());
    }
    good.len()
}

#[test]
fn each_call_that_fails_is_named_and_leaves_nothing() {
    let runs: usize = scenarios::ALL.iter().map(|(name, _)| fails_in_turn(&libraries().newest, name)).sum();
    assert!(runs > 250, "{runs} calls");
    let runs = fails_in_turn(&libraries().cann81, "launch");
    assert!(runs > 25, "{runs} calls");
}

/// From some call on everything fails, as when a device is lost: the first failure is told, and the program
/// ends.
#[test]
fn a_device_that_is_lost_on_the_way_is_told_and_hangs_nothing() {
    for (name, step) in [("memory", 3), ("streams", 3), ("launch", 1), ("attention", 7)] {
        let good = own_calls(&libraries().newest, name);
        for (i, call) in good.iter().enumerate().step_by(step) {
            let record = record(&libraries().newest, name, &[("RECORD_FAIL", &format!("{}+:507015", i + 1))]);
            let (function, outcome) = (function(call), &record.outcome);
            let code = if function == "aclrtGetSocName" { 500_000 } else { 507_015 };
            assert!(
                outcome.contains(&format!("{function} failed with code {code}")),
                "{name} {call}: {outcome}"
            );
            let kinds = [
                "DeviceLost Some(Acl(507015))",
                "SelfTest Some(Acl(507015))",
                "LibraryNotFound None",
                "Driver Some(Acl(500000))",
            ];
            assert!(kinds.iter().any(|kind| outcome.starts_with(kind)), "{name} {call}: {outcome}");
        }
    }
}

#[test]
fn failures_have_the_kind_of_their_code() {
    for (scenario, call, code, kind) in [
        ("memory", "aclrtMalloc", 207_001, "OutOfMemory"),
        ("memory", "aclrtMallocHost", 207_001, "OutOfMemory"),
        ("streams", "aclrtSynchronizeStreamWithTimeout", 507_046, "Timeout"),
        ("launch", "aclrtSynchronizeStreamWithTimeout", 507_015, "DeviceLost"),
        ("open", "aclrtSetDevice", 107_001, "NoDevice"),
        ("open", "aclInit", 500_000, "Driver"),
    ] {
        let record = record(&libraries().newest, scenario, &[("RECORD_FAIL", &format!("{call}:{code}"))]);
        let start = format!("{kind} Some(Acl({code})) {call} failed with code {code} (");
        assert!(record.outcome.starts_with(&start), "{}", record.outcome);
    }
}

#[test]
fn a_second_initialisation_and_a_thread_without_context_are_no_failures() {
    for fail in ["aclInit:100002", "aclrtCreateEventExWithFlag:207000"] {
        let record = record(&libraries().newest, "streams", &[("RECORD_FAIL", fail)]);
        assert_eq!(record.outcome, "ok", "{fail}");
        expect_clean(&record);
    }
}

#[test]
fn stubs_missing_devices_and_other_chips_are_told_apart() {
    let outcome = |variables: &[(&str, &str)]| record(&libraries().newest, "open", variables).outcome;
    let stub = outcome(&[("RECORD_STUB", "1")]);
    let path = libraries().newest.display().to_string();
    assert!(
        stub.starts_with("LibraryNotFound None ") && stub.contains("code 100039") && stub.contains(&path),
        "{stub}"
    );
    let none = outcome(&[("RECORD_DEVICES", "0")]);
    assert!(none.starts_with("NoDevice Some(Acl(107001)) aclrtSetDevice failed"), "{none}");
    let other = outcome(&[("RECORD_SOC", "Ascend310P3")]);
    assert!(other.starts_with("Unsupported None ") && other.contains("Ascend310P3"), "{other}");
}

#[test]
fn a_kernel_that_hangs_is_given_up_and_nothing_of_it_is_freed() {
    let hangs = [("RECORD_KERNEL", "hang")];
    let plain = record(&libraries().newest, "limit", &hangs);
    assert!(plain.outcome.starts_with("Timeout Some(Acl(507046)) "), "{}", plain.outcome);
    let tested = record(&libraries().newest, "attention", &hangs);
    assert!(
        tested.outcome.starts_with("SelfTest Some(Acl(507046)) self-test of npu:0 (Ascend910B2): "),
        "{}",
        tested.outcome
    );
    assert!(tested.outcome.contains("fastattention doctor --report"), "{}", tested.outcome);
    for record in [plain, tested] {
        assert!(record.calls.iter().any(|c| c.starts_with("aclrtDestroyStreamForce(")), "{record:?}");
        // A drain would hang, and memory under a running kernel must stay.
        for call in ["aclrtDestroyStream(", "aclrtFree(", "aclrtBinaryUnLoad(", "aclrtResetDevice(", "MISUSE"]
        {
            assert!(!record.calls.iter().any(|c| c.starts_with(call)), "{call}: {record:?}");
        }
    }
}

#[test]
fn a_self_test_with_wrong_numbers_stops_the_operator() {
    let record = record(&libraries().newest, "attention", &[("RECORD_KERNEL", "wrong")]);
    let text = "SelfTest None self-test of npu:0 (Ascend910B2): block 0, row 0, column 0 of the result is 424259, 424258 wanted";
    assert!(record.outcome.starts_with(text), "{}", record.outcome);
    expect_clean(&record);
    assert_eq!(record.calls.iter().filter(|c| c.starts_with("aclrtLaunchKernel")).count(), 1);
}

#[test]
fn cores_that_do_not_wait_for_each_other_stop_only_what_relies_on_it() {
    let no_meeting = [("RECORD_KERNEL", "no meeting")];
    let record = record(&libraries().newest, "meeting", &no_meeting);
    let text = "SelfTest None self-test of npu:0 (Ascend910B2): block 0, row 0, column 0 of the result is 424242, 424274 wanted\n";
    assert!(record.outcome.starts_with(text), "{}", record.outcome);
    assert!(
        record
            .outcome
            .contains("no `AttentionMatmul`, no `TilingAllReduce` and no `ServingAttention` is made"),
        "{}",
        record.outcome
    );
    expect_clean(&record);
    assert_eq!(self::record(&libraries().newest, "attention", &no_meeting).outcome, "ok");
}
