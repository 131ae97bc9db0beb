//! `fastattention doctor` on a machine whose driver is the recorder: one NPU, and faults that only a child
//! survives.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use fastattention_testkit::recorder;
use serde_json::{json, Value};

use super::TOOL;

fn library() -> &'static Path {
    &recorder::libraries(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("doctor_recorded")).newest
}

fn report(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(TOOL)
        .args(["doctor", "--report"])
        .arg(folder.join("report"))
        .args(args)
        .env("FASTATTENTION_ACL_LIB", library())
        .env("RECORD_LOG", folder.join("log"))
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join("report").join(name)).unwrap()
}

#[test]
fn a_report_holds_everything_to_send_back() {
    let folder = tempfile::tempdir().unwrap();
    let output = report(folder.path(), &[], &[]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.contains("report: pack and send it"), "{stdout}");
    assert!(read(folder.path(), "status.txt").starts_with("doctor: exit status: 0\nnpu-smi: "));
    for name in ["doctor_stderr.txt", "ascend_log"] {
        assert!(folder.path().join("report").join(name).exists(), "{name}");
    }
    let doctor: Value = serde_json::from_str(&read(folder.path(), "doctor.json")).unwrap();
    assert_eq!(doctor["acl"]["loaded"], library().to_str().unwrap());
    let packages = json!([
        { "name": "driver", "version": "25.0.rc1" },
        { "name": "runtime", "version": "9.1.0" },
    ]);
    assert_eq!(doctor["acl"]["packages"], packages);
    let npu = &doctor["devices"][1];
    assert_eq!((&npu["name"], &npu["soc"]), (&json!("npu:0"), &json!("Ascend910B2")));
    assert_eq!((&npu["free_bytes"], &npu["total_bytes"]), (&json!(3), &json!(4)));
    // Without kernels for an NPU nothing is launched; with them the recorder, which runs none, fails one of
    // the tests.
    assert!(npu["launch_test"]["passed"] == false || npu["self_test"]["passed"] == false, "{npu}");
    let variable = |v: &Value| v["name"] == "ASCEND_PROCESS_LOG_PATH";
    assert!(doctor["variables"].as_array().unwrap().iter().any(variable), "{doctor}");

    let again = report(folder.path(), &[], &[]);
    assert!(String::from_utf8(again.stderr).unwrap().contains("is not empty, a new or empty folder wanted"));
}

#[test]
fn a_driver_that_crashes_or_hangs_is_part_of_the_report() {
    for (variable, limit, told) in [
        ("RECORD_ABORT", "300", "doctor: signal: 6 (SIGABRT)"),
        ("RECORD_FREEZE", "2", "doctor: stopped after 2 s without an end"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = report(folder.path(), &["--time-limit", limit], &[(variable, "aclrtGetDeviceCount")]);
        assert_eq!(output.status.code(), Some(1), "{variable}");
        assert!(read(folder.path(), "status.txt").starts_with(told), "{}", read(folder.path(), "status.txt"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("the folder tells why"), "{stderr}");
        // How far it came: the calls up to the last.
        let calls = fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(calls.ends_with("aclInit(null)\n"), "{calls}");
    }
}
