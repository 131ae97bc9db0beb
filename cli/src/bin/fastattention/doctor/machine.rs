//! What the machine itself shows of an NPU and of CANN, without loading anything: device files and version
//! files.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;

/// Device files that a process needs beside those of the NPUs; a container has to be given each of them.
const NODES: [&str; 3] = ["dev/davinci_manager", "dev/devmm_svm", "dev/hisi_hdc"];

/// Version files of the driver and of installed CANNs.
const VERSION_FILES: [&str; 5] = [
    "usr/local/Ascend/driver/version.info",
    "usr/local/Ascend/firmware/version.info",
    "usr/local/Ascend/cann/share/info/runtime/version.info",
    "usr/local/Ascend/ascend-toolkit/latest/runtime/version.info",
    "etc/ascend_install.info",
];

/// Longest text of a version file that is told.
const MAX_TEXT: usize = 2000;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    /// Device files, sorted: those of NPUs that there are, and those that every process needs.
    device_files: Vec<DeviceFile>,
    version_files: Vec<VersionFile>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct DeviceFile {
    path: String,
    /// `ok`, or why this user cannot open it.
    state: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct VersionFile {
    path: String,
    text: String,
}

impl Machine {
    /// `root` is `/`, or a folder that stands for it.
    pub(super) fn gather(root: &Path) -> Self {
        let numbered = |name: &str| {
            let number = name.strip_prefix("davinci");
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        let mut names: Vec<String> = fs::read_dir(root.join("dev"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| numbered(name))
            .map(|name| format!("dev/{name}"))
            .collect();
        names.extend(NODES.map(str::to_owned));
        names.sort();
        let device_files = names
            .into_iter()
            .map(|name| DeviceFile { state: state(&root.join(&name)), path: format!("/{name}") })
            .collect();
        let version_files = VERSION_FILES
            .into_iter()
            .filter_map(|name| {
                let text = fs::read_to_string(root.join(name)).ok()?;
                let text = text.trim_end().chars().take(MAX_TEXT).collect();
                Some(VersionFile { path: format!("/{name}"), text })
            })
            .collect();
        Self { device_files, version_files }
    }

    /// Lines, without a last line break.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::new();
        if self.device_files.iter().all(|file| file.state == MISSING) {
            lines.push("device files: none of an NPU".to_owned());
        } else {
            lines.extend(self.device_files.iter().map(|f| format!("device file {}: {}", f.path, f.state)));
        }
        lines.extend(
            self.version_files.iter().map(|f| format!("{}:\n  {}", f.path, super::indented(&f.text))),
        );
        lines.join("\n")
    }
}

const MISSING: &str = "missing";

fn state(path: &Path) -> String {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => "ok".to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => MISSING.to_owned(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_an_npu_says_so_in_one_line() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Machine::gather(root.path()).text(), "device files: none of an NPU");
    }

    #[test]
    fn files_are_told_with_what_is_wrong_with_them() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for name in ["dev/davinci10", "dev/davinci2", "dev/davinci", "dev/davinci_manager", "dev/davinci3x"] {
            write(name, "");
        }
        fs::create_dir(root.path().join("dev/hisi_hdc")).unwrap();
        write("usr/local/Ascend/driver/version.info", "Version=25.0.rc1\nascendhal_version=7.35\n");
        let text = Machine::gather(root.path()).text();
        let (files, versions) = text.split_once("\n/usr").unwrap();
        assert_eq!(
            files.split_once("/dev/hisi_hdc: ").unwrap().0,
            "device file /dev/davinci10: ok\ndevice file /dev/davinci2: ok\ndevice file /dev/davinci_manager: ok\n\
             device file /dev/devmm_svm: missing\ndevice file "
        );
        assert!(files.contains("/dev/hisi_hdc: Is a directory"), "{files}");
        assert_eq!(
            versions,
            "/local/Ascend/driver/version.info:\n  Version=25.0.rc1\n  ascendhal_version=7.35"
        );
    }
}
