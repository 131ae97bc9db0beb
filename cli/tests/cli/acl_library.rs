//! What is found where CANN is installed, and what is said when it cannot be used: libraries made of C text,
//! in folders made up with variables.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::tool_without;

/// A library with all required functions: they succeed, except for those in `special`.
fn build(path: &Path, special: &[(&str, &str)]) {
    let mut source = String::new();
    macro_rules! define {
        (required { $($name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* } optional $rest:tt) => {
            $(match special.iter().find(|(name, _)| *name == stringify!($name)) {
                Some((_, text)) => writeln!(source, "{text}").unwrap(),
                None => writeln!(source, "long {}(void) {{ return 0; }}", stringify!($name)).unwrap(),
            })*
        };
    }
    ascend_sys::acl_functions!(define);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    compile(path, &source, &[]);
}

fn compile(path: &Path, source: &str, link: &[&str]) {
    let text = path.with_extension("c");
    fs::write(&text, source).unwrap();
    let mut command = Command::new("cc");
    command.args(["-w", "-shared", "-fPIC", "-o"]).args([path, &text]).args(link);
    assert!(command.status().unwrap().success(), "{source}");
}

/// The report on a machine with these variables and no others of the crate or of CANN.
fn report(variables: &[(&str, &Path)]) -> Value {
    let mut command = tool_without(&["FASTATTENTION_", "ASCEND_", "LD_LIBRARY_PATH"]);
    let output = command.args(["doctor", "--json"]).envs(variables.iter().copied()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

const ONE_DEVICE: (&str, &str) =
    ("aclrtGetDeviceCount", "int aclrtGetDeviceCount(unsigned *n) { *n = 1; return 0; }");

/// Why `npu:0` cannot be used with this library.
#[track_caller]
fn refusal(special: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libascendcl.so");
    build(&path, special);
    let report = report(&[("FASTATTENTION_ACL_LIB", &path)]);
    assert_eq!(report["acl"]["loaded"], path.to_str().unwrap(), "{report}");
    let npu = &report["devices"][1];
    assert_eq!(npu["name"], "npu:0", "{report}");
    npu["error"].as_str().unwrap_or_else(|| panic!("{npu}")).to_owned()
}

#[test]
fn a_soc_of_another_kind_is_named_with_those_that_work() {
    let name = ("aclrtGetSocName", "const char *aclrtGetSocName(void) { return \"Ascend310P3\"; }");
    let error = refusal(&[ONE_DEVICE, name]);
    assert!(error.contains("Ascend310P3") && error.contains("Ascend910B2"), "{error}");
}

#[test]
fn a_device_that_does_not_open_says_what_the_driver_says() {
    let set = ("aclrtSetDevice", "int aclrtSetDevice(int d) { return 507033; }");
    let text = (
        "aclGetRecentErrMsg",
        "const char *aclGetRecentErrMsg(void) { return \"EL0003: the device is asleep\"; }",
    );
    let error = refusal(&[ONE_DEVICE, set, text]);
    for part in ["aclrtSetDevice failed with code 507033", "EL0003: the device is asleep"] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn a_driver_that_is_not_installed_is_told_apart_from_a_missing_cann() {
    let folder = tempfile::tempdir().unwrap();
    let driver = folder.path().join("libascend_hal.so");
    compile(&driver, "int drvGetDevNum(void) { return 0; }", &["-Wl,-soname,libascend_hal.so"]);
    let library = folder.path().join("libascendcl.so");
    compile(
        &library,
        "int drvGetDevNum(void); int aclInit(void) { return drvGetDevNum(); }",
        &[driver.to_str().unwrap()],
    );
    fs::remove_file(driver).unwrap();
    let report = report(&[("FASTATTENTION_ACL_LIB", &library)]);
    let reason = report["acl"]["tried"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("libascend_hal.so: cannot open"), "{reason}");
    assert!(reason.contains("the NPU driver, which is not installed"), "{reason}");
}

/// Where a library was found that is in `lib64` of the folder that the variable names, and the paths tried
/// before.
fn found(variable: &str, file: &str) -> (tempfile::TempDir, Value, Vec<PathBuf>) {
    let root = tempfile::tempdir().unwrap();
    build(&root.path().join("lib64").join(file), &[]);
    // A home without CANN.
    let report = report(&[(variable, root.path()), ("HOME", Path::new("/nowhere"))]);
    let tried = report["acl"]["tried"].as_array().unwrap().iter();
    let tried = tried.map(|attempt| PathBuf::from(attempt["path"].as_str().unwrap())).collect();
    (root, report["acl"]["loaded"].clone(), tried)
}

#[test]
fn an_installation_is_found_by_its_variables() {
    for variable in ["ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"] {
        let (root, loaded, tried) = found(variable, "libascendcl.so");
        assert_eq!(loaded, root.path().join("lib64/libascendcl.so").to_str().unwrap(), "{variable}");
        assert_eq!(tried, [Path::new("libascendcl.so")], "{variable}");
    }
}

#[test]
fn the_implementation_behind_the_library_is_the_second_choice() {
    let (root, loaded, tried) = found("ASCEND_HOME_PATH", "libacl_rt.so");
    assert_eq!(loaded, root.path().join("lib64/libacl_rt.so").to_str().unwrap());
    for path in [
        root.path().join("lib64/libascendcl.so"),
        "/usr/local/Ascend/ascend-toolkit/latest/lib64/libascendcl.so".into(),
        "/usr/local/Ascend/cann/lib64/libascendcl.so".into(),
        "/nowhere/Ascend/cann/lib64/libascendcl.so".into(),
        "libacl_rt.so".into(),
    ] {
        assert!(tried.contains(&path), "{} is not in {tried:?}", path.display());
    }
}
