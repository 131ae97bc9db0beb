//! `fastattention doctor`, as text and as JSON, on machines made up with variables.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::tool_without;

/// Exit code, stdout, stderr, with these variables and no other of the crate, of CANN or for compilers.
fn doctor(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = tool_without(&["FASTATTENTION_", "ASCEND_", "CXX"]);
    let output = command.arg("doctor").args(args).envs(variables.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json(variables: &[(&str, &str)]) -> (Option<i32>, Value) {
    let (code, stdout, stderr) = doctor(&["--json"], variables);
    (code, serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}{stderr}")))
}

/// The variable that leaves no ACL library to find, also on a machine with CANN.
const NO_ACL: (&str, &str) = ("FASTATTENTION_ACL_LIB", "/nowhere/libascendcl.so");

#[test]
fn without_an_npu_the_simulator_passes() {
    let (code, report) = json(&[NO_ACL]);
    assert_eq!(code, Some(0));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    match fastattention::kernels::npu_build() {
        Ok(build) => assert_eq!(report["kernels"]["npu_build"]["route"], build.route),
        Err(error) => {
            assert_eq!(report["kernels"]["npu"], Value::Array(Vec::new()));
            assert_eq!(report["kernels"]["npu_error"], error.to_string());
        }
    }
    let kernels = report["kernels"]["simulator"].as_array().unwrap();
    assert!(kernels.contains(&Value::from("fa_flash_fwd_bf16")), "{kernels:?}");
    assert_eq!(report["acl"]["loaded"], Value::Null);
    let tried = serde_json::json!([{ "path": NO_ACL.1, "reason": "no such file" }]);
    assert_eq!(report["acl"]["tried"], tried);
    let [sim, npu, host] = report["devices"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!(sim["name"], "sim:0");
    // The figures of cann.toml.
    assert_eq!((&sim["soc"], &sim["cube_cores"]), (&Value::from("Ascend910B2"), &Value::from(24)));
    assert_eq!(sim["total_bytes"], 68_719_476_736u64);
    for test in ["launch_test", "self_test", "meeting_test"] {
        assert_eq!(sim[test]["passed"], true, "{test}");
    }
    assert!(report["machine"]["device_files"].as_array().is_some_and(|files| files.len() >= 3), "{report}");
    assert_eq!((&npu["name"], &npu["self_test"]), (&Value::from("npu"), &Value::Null));
    assert_eq!(npu["error"], "no ACL library was loaded");
    assert_eq!((&host["name"], &host["host"], &sim["host"]), (&"cpu:0".into(), &true.into(), &false.into()));
    for test in ["launch_test", "self_test", "meeting_test"] {
        assert_eq!(host[test]["passed"], true, "{test}");
    }
    assert_eq!(report["variables"], serde_json::json!([{ "name": NO_ACL.0, "value": NO_ACL.1 }]));
}

#[test]
fn the_text_says_the_same() {
    let (code, stdout, stderr) = doctor(&[], &[NO_ACL, ("FASTATTENTION_SIM_SOC", "Ascend910B4")]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for line in [
        concat!("fastattention ", env!("CARGO_PKG_VERSION"), " for "),
        "kernels for the simulator: fa_copy, fa_self_test, ",
        if fastattention::kernels::npu_build().is_ok() {
            "kernels for the NPU: fa_"
        } else {
            "kernels for the NPU: none; this build has no kernels for an NPU, only for the simulator"
        },
        "ACL library: none; tried\n  /nowhere/libascendcl.so: no such file\n",
        "device sim:0: Ascend910B4, 20 Cube cores, 40 Vector cores, 32.0 of 32.0 GiB free; launch test passed: every core's result is exact; self-test passed: ",
        "device npu: not usable: no ACL library was loaded\n",
        "device cpu:0: the host's own cores, plans and refusals of Ascend910B2, ",
        "host compiler: ",
        "variable FASTATTENTION_ACL_LIB=/nowhere/libascendcl.so\nvariable FASTATTENTION_SIM_SOC=Ascend910B4\n",
    ] {
        assert!(format!("\n{stdout}").contains(&format!("\n{line}")), "{line:?} is not in:\n{stdout}");
    }
}

#[test]
fn without_a_usable_device_the_exit_code_is_1_and_the_report_is_whole() {
    let variables =
        [NO_ACL, ("FASTATTENTION_SIM_SOC", "Ascend310P3"), ("FASTATTENTION_CPU_SOC", "Ascend310P3")];
    let (code, report) = json(&variables);
    assert_eq!(code, Some(1));
    let sim = &report["devices"][0];
    assert!(sim["error"].as_str().unwrap().contains("FASTATTENTION_SIM_SOC"), "{sim}");
    assert_eq!(sim["self_test"], Value::Null);
    assert!(report["compiler"].is_object() && report["variables"].is_array());
    let (code, _, stderr) = doctor(&[], &variables);
    assert_eq!((code, stderr.as_str()), (Some(1), "error: no device is usable and passes its tests\n"));
}

#[test]
fn a_missing_compiler_is_told_and_is_no_failure() {
    let (code, report) = json(&[NO_ACL, ("CXX", "/nonexistent/c++")]);
    assert_eq!(code, Some(0));
    assert_eq!(report["compiler"]["path"], Value::Null);
    assert!(report["compiler"]["error"].as_str().unwrap().contains("/nonexistent/c++"), "{report}");
    let (_, report) = json(&[NO_ACL]);
    assert_eq!(report["compiler"]["error"], Value::Null);
    assert!(report["compiler"]["version"].as_str().is_some_and(|v| !v.is_empty()), "{report}");
}

/// Builds a library out of C text.
fn library(source: &str, path: &Path) {
    let c = path.with_extension("c");
    fs::write(&c, source).unwrap();
    let status =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([path, c.as_path()]).status().unwrap();
    assert!(status.success(), "{source}");
}

#[test]
fn a_library_that_loads_is_named_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.so");
    library("int nothing;", &path);
    let (_, report) = json(&[(NO_ACL.0, path.to_str().unwrap())]);
    let reason = report["acl"]["tried"][0]["reason"].as_str().unwrap();
    let (_, required) = reason.split_once("it lacks ").unwrap_or_else(|| panic!("{reason}"));

    // What the refusal asks for: no device, every call succeeds.
    let mut source = String::new();
    for name in required.split(", ") {
        source += &match name {
            "aclrtGetVersion" => {
                format!("int {name}(int *a, int *b, int *c) {{ *a = 1; *b = 13; *c = 2; return 0; }}\n")
            }
            "aclrtGetDeviceCount" => format!("int {name}(unsigned *n) {{ *n = 0; return 0; }}\n"),
            _ => format!("long {name}(void) {{ return 0; }}\n"),
        };
    }
    let path = folder.path().join("fake.so");
    library(&source, &path);
    let (code, report) = json(&[(NO_ACL.0, path.to_str().unwrap())]);
    assert_eq!(code, Some(0));
    let acl = serde_json::json!({ "loaded": path.to_str(), "api_version": "1.13.2", "packages": [], "simulated": false, "tried": [] });
    assert_eq!(report["acl"], acl);
    let npu = &report["devices"][1];
    assert!(npu["error"].as_str().unwrap().contains("aclrtGetDeviceCount finds no NPU"), "{npu}");
}

#[test]
fn a_secret_is_in_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("report");
    let variables = [NO_ACL, ("FASTATTENTION_RENDEZVOUS_SECRET", "open-sesame")];
    let args: [&[&str]; 3] = [&[], &["--json"], &["--report", bundle.to_str().unwrap()]];
    for args in args {
        let (code, stdout, stderr) = doctor(args, &variables);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            !stdout.contains("open-sesame") && !stderr.contains("open-sesame"),
            "{args:?}: {stdout}{stderr}"
        );
    }
    let report = fs::read_to_string(bundle.join("doctor.json")).unwrap();
    assert!(report.contains("FASTATTENTION_RENDEZVOUS_SECRET"), "{report}");
    assert!(!report.contains("open-sesame"), "{report}");
}
