//! The recorder, compiled. The tests of the command line tool use it, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The recorder as CANN 9 has its functions, and as 8.1 has them.
pub(crate) struct Libraries {
    pub(crate) newest: PathBuf,
    pub(crate) cann81: PathBuf,
}

pub(crate) fn libraries() -> &'static Libraries {
    static LIBRARIES: OnceLock<Libraries> = OnceLock::new();
    LIBRARIES.get_or_init(|| {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("acl_record-", env!("CARGO_PKG_NAME")));
        fs::create_dir_all(&folder).unwrap();
        let source = PathBuf::from(crate::RECORDER);
        let others = folder.join("others.c");
        fs::write(&others, "").unwrap();
        let build = |name: &str, flag: &str| {
            let library = folder.join(name);
            let flags = ["-std=gnu11", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Werror", flag];
            let status = Command::new("cc")
                .args(flags)
                .args(["-Wno-format-zero-length", "-o"])
                .args([&library, &source, &others])
                .status()
                .unwrap();
            assert!(status.success());
            library
        };
        #[allow(unsafe_code, reason = "loads a library")]
        // SAFETY: the recorder has no initialisers.
        let refused = unsafe { fastattention::acl::load_from(&build("probe.so", "-DWITHOUT_LATER")) };
        // Functions that the crate asks for and no scenario calls.
        let refused = refused.unwrap_err().to_string();
        let (_, names) = refused.split_once("it lacks ").unwrap();
        let text: String =
            names.split(", ").map(|name| format!("int {name}(void) {{ return 207000; }}\n")).collect();
        fs::write(&others, text).unwrap();
        Libraries { newest: build("newest.so", "-DNEWEST"), cann81: build("cann81.so", "-DWITHOUT_LATER") }
    })
}
