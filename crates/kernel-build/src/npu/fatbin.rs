//! Route `fatbin`: a generated CMake project that calls `ascendc_fatbin_library` of CANN's package (CANN 8.1
//! to 9.1; acl-runtime.md 2.3).

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Family, Request};
use crate::run;

/// The program and the package.
pub(super) struct Tools<'a> {
    pub(super) cmake: &'a Path,
    pub(super) package: &'a Path,
    pub(super) root: &'a Path,
}

impl Tools<'_> {
    /// Is there a CMake?
    ///
    /// # Errors
    /// The command and why it failed.
    pub(super) fn probe(&self) -> Result<(), String> {
        let mut command = Command::new(self.cmake);
        command.arg("--version");
        run(command)
    }

    /// Builds every family in one project; the paths of their images, in their order.
    ///
    /// # Errors
    /// The command that failed and what it printed.
    pub(super) fn build(&self, request: &Request<'_>) -> Result<Vec<PathBuf>, String> {
        let project = request.out.join("fatbin");
        let (build, prefix) = (project.join("build"), project.join("install"));
        // CMake's cache keeps the paths of an earlier CANN.
        match fs::remove_dir_all(&project) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(format!("cannot remove {}: {e}", project.display()))
            }
            _ => {}
        }
        fs::create_dir_all(&project).map_err(|e| format!("cannot create {}: {e}", project.display()))?;
        let lists = project.join("CMakeLists.txt");
        fs::write(&lists, self.lists(request))
            .map_err(|e| format!("cannot write {}: {e}", lists.display()))?;

        let fatbin = &request.config.toolchain.fatbin;
        let mut configure = Command::new(self.cmake);
        configure.arg("-S").arg(&project).arg("-B").arg(&build);
        for (name, value) in [
            ("ASCEND_CANN_PACKAGE_PATH", self.root.as_os_str()),
            ("SOC_VERSION", fatbin.soc_version.as_ref()),
            ("RUN_MODE", "npu".as_ref()),
            ("CMAKE_BUILD_TYPE", fatbin.build_type.as_ref()),
            ("CMAKE_INSTALL_PREFIX", prefix.as_os_str()),
        ] {
            let mut definition = std::ffi::OsString::from(format!("-D{name}="));
            definition.push(value);
            configure.arg(definition);
        }
        run(configure)?;
        let mut make = Command::new(self.cmake);
        make.arg("--build").arg(&build);
        run(make)?;
        // The package writes there while it builds; nothing is to be installed.
        let image = |family: &Family| {
            let target = target(family);
            prefix.join("fatbin").join(&target).join(format!("{target}.o"))
        };
        Ok(request.families.iter().map(image).collect())
    }

    /// The text of `CMakeLists.txt`.
    fn lists(&self, request: &Request<'_>) -> String {
        let include = quoted(&request.ascendc.join("include").to_string_lossy());
        let options: Vec<_> = flags(request).iter().map(|flag| quoted(flag)).collect();
        let mut text = format!(
            "# Written by the build script of fastattention.\n\
             cmake_minimum_required(VERSION 3.16)\n\
             project(fastattention_kernels LANGUAGES C CXX)\n\
             include({})\n",
            quoted(&self.package.to_string_lossy())
        );
        for family in request.families {
            let (target, source) = (target(family), quoted(&family.source.to_string_lossy()));
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "ascendc_fatbin_library({target} {source})\n\
                 ascendc_include_directories({target} PRIVATE {include})\n\
                 ascendc_compile_options({target} PRIVATE {})\n",
                options.join(" ")
            );
        }
        text
    }
}

/// The flags that `cann.toml` decides.
pub(super) fn flags(request: &Request<'_>) -> Vec<String> {
    let toolchain = &request.config.toolchain;
    let mut flags = vec![format!("-O{}", toolchain.opt_level)];
    flags.extend_from_slice(&toolchain.fatbin.flags);
    flags
}

/// Prefixed, because CMake reserves some names.
fn target(family: &Family) -> String {
    format!("fa_{}", family.name)
}

/// A bracket argument: CMake takes its text as it is.
fn quoted(text: &str) -> String {
    format!("[==[{text}]==]")
}
