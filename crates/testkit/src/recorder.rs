//! An ACL library that records the calls that reach it, compiled from C text
//! (`tests/processes/acl_record/recorder`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::kernels::root;

/// The recorder as CANN 9 has its functions, and as 8.1 has them.
#[derive(Debug)]
pub struct Libraries {
    /// Of CANN 9.
    pub newest: PathBuf,
    /// Of CANN 8.1.
    pub cann81: PathBuf,
}

/// The recorder, compiled once for a process, into a folder of the caller's own.
pub fn libraries(folder: &Path) -> &'static Libraries {
    static LIBRARIES: OnceLock<Libraries> = OnceLock::new();
    LIBRARIES.get_or_init(|| {
        fs::create_dir_all(folder).unwrap();
        let others = folder.join("others.c");
        fs::write(&others, "").unwrap();
        let probe = build(folder, "probe.so", "-DWITHOUT_LATER");
        #[allow(unsafe_code, reason = "loads a library")]
        // SAFETY: the recorder has no initialisers.
        let refused = unsafe { fastattention::acl::load_from(&probe) };
        // Functions that the crate asks for and no scenario calls.
        let refused = refused.unwrap_err().to_string();
        let (_, names) = refused.split_once("it lacks ").unwrap();
        let text: String =
            names.split(", ").map(|name| format!("int {name}(void) {{ return 207000; }}\n")).collect();
        fs::write(&others, text).unwrap();
        Libraries {
            newest: build(folder, "newest.so", "-DNEWEST"),
            cann81: build(folder, "cann81.so", "-DWITHOUT_LATER"),
        }
    })
}

fn build(folder: &Path, name: &str, flag: &str) -> PathBuf {
    let library = folder.join(name);
    let source = root().join("tests/processes/acl_record/recorder/recorder.c");
    let flags = ["-std=gnu11", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Werror", flag];
    let status = Command::new("cc")
        .args(flags)
        .args(["-Wno-format-zero-length", "-o"])
        .args([&library, &source, &folder.join("others.c")])
        .status()
        .unwrap();
    assert!(status.success());
    library
}
