//! Finds CANN's compiler and CMake package below the roots of an installation (acl-runtime.md 1.7, 2.1, 2.3).

use std::fs;
use std::path::{Path, PathBuf};

use crate::arch_folder;

/// CANN with what the build needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cann {
    /// The folder that `ASCEND_HOME_PATH` names.
    pub root: PathBuf,
    /// What the installation calls itself. Only told, never decided by.
    pub version: String,
    /// `bisheng`.
    pub compiler: Option<PathBuf>,
    /// `ld.lld`, which knows AI cores.
    pub linker: Option<PathBuf>,
    /// `ascendc.cmake`.
    pub cmake_package: Option<PathBuf>,
}

/// A root without a compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub root: PathBuf,
    pub reason: String,
}

impl Cann {
    /// The first root that holds a compiler or the CMake package.
    ///
    /// # Errors
    /// Every root that was tried, and why it is none.
    pub fn find(roots: &[PathBuf]) -> Result<Self, Vec<Attempt>> {
        let mut attempts = Vec::new();
        for root in roots {
            // The tools run in other folders.
            match Self::at(&std::path::absolute(root).unwrap_or_else(|_| root.clone())) {
                Ok(cann) => return Ok(cann),
                Err(reason) => attempts.push(Attempt { root: root.clone(), reason }),
            }
        }
        Err(attempts)
    }

    fn at(root: &Path) -> Result<Self, String> {
        if !root.is_dir() {
            return Err("no such folder".into());
        }
        let arch = arch_folder();
        let below = |folders: [&str; 3], rest: &str| {
            folders.map(|folder| root.join(folder).join(rest)).into_iter().find(|path| path.is_file())
        };
        let tools = ["compiler", "tools", &arch];
        let compiler = below(tools, "ccec_compiler/bin/bisheng");
        let linker = below(tools, "ccec_compiler/bin/ld.lld");
        let cmake_package = below(["tools", "compiler", &arch], "tikcpp/ascendc_kernel_cmake/ascendc.cmake");
        if compiler.is_none() && cmake_package.is_none() {
            return Err(format!(
                "no compiler (none of compiler, tools, {arch} has ccec_compiler/bin/bisheng or \
                 tikcpp/ascendc_kernel_cmake/ascendc.cmake)"
            ));
        }
        Ok(Self { root: root.to_owned(), version: version(root, &arch), compiler, linker, cmake_package })
    }
}

/// The version text of the first file that has one, else the name of the folder behind links such as
/// `latest`.
fn version(root: &Path, arch: &str) -> String {
    let files = [
        root.join("compiler/version.info"),
        root.join("share/info/asc-devkit/version.info"),
        root.join(arch).join("ascend_toolkit_install.info"),
    ];
    let stated = files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let value = |line: &str| {
            let (key, value) = line.split_once('=')?;
            key.trim().eq_ignore_ascii_case("version").then(|| value.trim().to_owned())
        };
        text.lines().find_map(value)
    });
    let folder = || fs::canonicalize(root).ok()?.file_name().map(|name| name.to_string_lossy().into_owned());
    stated.or_else(folder).unwrap_or_else(|| "unknown".to_owned())
}
