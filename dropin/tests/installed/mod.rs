//! The library as its command installs it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Installs the library below `folder` and returns `lib64`.
pub(crate) fn library(folder: &Path, cann: &str) -> PathBuf {
    let root = folder.join(cann);
    let output = Command::new(env!("CARGO_BIN_EXE_fastattention-dropin"))
        .args(["--cann", cann, "--root"])
        .arg(&root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let root = root.canonicalize().unwrap();
    assert!(printed.contains(&format!("ASCEND_HOME_PATH={}\n", root.display())), "{printed}");
    root.join("lib64")
}
