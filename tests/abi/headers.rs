//! Genuine CANN headers: those of an installation, or those in the PyPI package torch_npu.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Has the headers of CANN 9.1.
const DEFAULT_VERSION: &str = "2.14.0";

/// Include folders inside the package, below `torch_npu/include`. Headers of HCCL name others from the last
/// one.
const FOLDERS: [&str; 3] = ["third_party/acl/inc", "third_party/hccl/inc", ""];

/// Unpacks the headers of a wheel: arguments are a folder with one wheel, and where to.
const UNPACK: &str = "
import glob, sys, zipfile
with zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0]) as wheel:
    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if '/include/third_party/' in name])
";

/// Must the test run, and fail where the headers cannot be had?
pub(crate) fn is_required() -> bool {
    env::var_os("FASTATTENTION_REQUIRE_ABI").is_some_and(|v| v == "1")
}

pub(crate) struct Headers {
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) origin: String,
    /// Are they the ones that the test knows to be complete?
    pub(crate) are_default: bool,
}

impl Headers {
    /// From the folders in `FASTATTENTION_CANN_INCLUDE`, else from the package, which is kept below `target`.
    pub(crate) fn find() -> Result<Headers, String> {
        if let Some(named) = env::var_os("FASTATTENTION_CANN_INCLUDE") {
            let origin = format!("headers in {}", named.to_string_lossy());
            return Ok(Headers { folders: env::split_paths(&named).collect(), origin, are_default: false });
        }
        let version = env::var("FASTATTENTION_ABI_TORCH_NPU").unwrap_or_else(|_| DEFAULT_VERSION.to_owned());
        let origin = format!("headers of torch_npu {version}");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("torch_npu-{version}"));
        if !kept.is_dir() {
            fetch(&version, &kept).map_err(|e| format!("{origin}: {e}"))?;
        }
        let include = kept.join("torch_npu/include");
        let folders = FOLDERS.map(|folder| include.join(folder)).to_vec();
        Ok(Headers { folders, origin, are_default: version == DEFAULT_VERSION })
    }

    /// Every identifier in the headers.
    pub(crate) fn words(&self) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        for folder in &self.folders {
            for part in ["acl", "acl/error_codes", "hccl"] {
                let Ok(entries) = fs::read_dir(folder.join(part)) else { continue };
                for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
                    let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
                    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    words.extend(text.split(|c| !is_word(c)).map(str::to_owned));
                }
            }
        }
        words
    }
}

/// Downloads the package with the user's `pip` and keeps its headers.
fn fetch(version: &str, kept: &Path) -> Result<(), String> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|e| e.to_string())?;
    let (wheel, headers) = (place.path().join("wheel"), place.path().join("headers"));
    // The headers are the same in every wheel of a version, so the host's kind does not matter.
    let mut pip = python();
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]);
    pip.args(["--implementation", "cp", "--python-version", "3.10", "--platform", "manylinux_2_28_x86_64"]);
    pip.args(["--platform", "manylinux2014_x86_64", "--dest"])
        .arg(&wheel)
        .arg(format!("torch_npu=={version}"));
    finish(pip)?;
    let mut unpack = python();
    unpack.args(["-c", UNPACK]).arg(&wheel).arg(&headers);
    finish(unpack)?;
    // Another process may have been faster.
    fs::rename(&headers, kept)
        .or_else(|e| if kept.is_dir() { Ok(()) } else { Err(e) })
        .map_err(|e| e.to_string())
}

fn python() -> Command {
    Command::new("python3")
}

fn finish(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("python3: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}
