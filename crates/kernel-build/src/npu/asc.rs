//! Route `asc`: `bisheng -x asc`, then `ld.lld` (CANN 8.5 and later; acl-runtime.md 2.4).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Family, Request};
use crate::run;

/// CANN's main header and a kernel with a qualifier of this route.
const PROBE: &str = "#include \"kernel_operator.h\"\n\
                     extern \"C\" __global__ __vector__ void fa_probe(GM_ADDR) {\n\
                     }\n";

/// The two programs.
pub(super) struct Tools<'a> {
    pub(super) compiler: &'a Path,
    pub(super) linker: &'a Path,
}

impl Tools<'_> {
    /// Does this compiler take the route?
    ///
    /// # Errors
    /// The command and what it printed.
    pub(super) fn probe(&self, request: &Request<'_>) -> Result<(), String> {
        let probe = request.out.join("probe.cpp");
        fs::write(&probe, PROBE).map_err(|e| format!("cannot write {}: {e}", probe.display()))?;
        let mut command = self.compile(request);
        command.arg("-fsyntax-only").arg(&probe);
        run(command)
    }

    /// Compiles and links one family; the path of its image.
    ///
    /// # Errors
    /// The command that failed and what it printed.
    pub(super) fn build(&self, request: &Request<'_>, family: &Family) -> Result<PathBuf, String> {
        let object = request.out.join(format!("{}.o", family.name));
        let image = request.out.join(format!("{}.elf", family.name));
        let mut compile = self.compile(request);
        compile
            .args(flags(request))
            .arg("-DFA_TYPE_QUALIFIERS")
            .arg("-I")
            .arg(request.ascendc.join("include"));
        compile.arg("-c").arg(&family.source).arg("-o").arg(&object);
        run(compile)?;
        let mut link = Command::new(self.linker);
        link.args(["-m", "aicorelinux", "-Ttext=0"]).arg(&object).args(["-static", "-o"]).arg(&image);
        run(link)?;
        Ok(image)
    }

    /// What probe and build have in common.
    fn compile(&self, request: &Request<'_>) -> Command {
        let mut command = Command::new(self.compiler);
        command.args(["-x", "asc"]).arg(format!("--npu-arch={}", request.config.toolchain.asc.npu_arch));
        command.args(["--aicore-only", "-std=c++17"]);
        command
    }
}

/// The flags that `cann.toml` decides.
pub(super) fn flags(request: &Request<'_>) -> Vec<String> {
    let toolchain = &request.config.toolchain;
    let stack = toolchain.asc.aicore_stack_bytes;
    let mut flags = vec![format!("-O{}", toolchain.opt_level)];
    for option in ["-cce-aicore-stack-size", "-cce-aicore-function-stack-size"] {
        flags.extend(["-mllvm".to_owned(), format!("{option}={stack:#x}")]);
    }
    flags.extend_from_slice(&toolchain.asc.flags);
    flags
}
