//! Compiles kernels for the simulator into one shared library: ours and those of tests alike.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compiler::{run, Compiler};

/// Flags beside the include paths. Warnings are errors: a narrowing in kernel text is a wrong operand on the
/// chip.
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wconversion",
    "-Werror",
];

/// What to build a kernel library from.
#[derive(Clone, Copy, Debug)]
pub struct SimLibrary<'a> {
    /// The folder `ascendc` of this crate.
    pub ascendc: &'a Path,
    /// Translation units: the kernels and one registration file (see [`registration`]).
    pub sources: &'a [PathBuf],
    /// Where object files go.
    pub objects: &'a Path,
    /// The shared library to write.
    pub output: &'a Path,
    /// Further arguments of the compiler, behind those of kernel text.
    pub flags: &'a [&'a str],
}

impl SimLibrary<'_> {
    /// Compiles every source and links the library.
    ///
    /// # Errors
    /// Says which command failed and what it printed, or that there is no C++17 compiler.
    pub fn build(&self, compiler: &Compiler) -> Result<(), String> {
        fs::create_dir_all(self.objects)
            .map_err(|e| format!("cannot create {}: {e}", self.objects.display()))?;
        let mut objects = Vec::new();
        for (index, source) in self.sources.iter().enumerate() {
            let stem = source.file_stem().unwrap_or(OsStr::new("kernel")).to_string_lossy();
            let object = self.objects.join(format!("{index}_{stem}.o"));
            let mut command = kernel_command(compiler, self.ascendc);
            command.args(self.flags).arg("-c").arg(source).arg("-o").arg(&object);
            run(command)?;
            objects.push(object);
        }
        let mut link = compiler.command();
        link.arg("-shared").arg("-o").arg(self.output).args(&objects);
        run(link)
    }
}

/// A compiler call with the flags and include paths of kernel text.
fn kernel_command(compiler: &Compiler, ascendc: &Path) -> Command {
    let mut command = compiler.command();
    command.args(FLAGS);
    command.arg("-I").arg(ascendc.join("sim")).arg("-I").arg(ascendc.join("include"));
    command
}

impl Compiler {
    /// Checks that a translation unit compiles for the simulator, without output.
    ///
    /// # Errors
    /// What the compiler printed.
    pub fn check_syntax(&self, ascendc: &Path, source: &Path) -> Result<(), String> {
        let mut command = kernel_command(self, ascendc);
        command.arg("-fsyntax-only").arg(source);
        run(command)
    }
}

/// A kernel as its registration names it.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// The `extern "C"` function.
    pub name: &'a str,
    /// Its parameter list as C++ text, `GM_ADDR dst, uint64_t bytes`.
    pub params: &'a str,
    /// An enumerator of `fasim::KernelType`: `kAivOnly`, `kAicOnly`, `kMixAic1Aiv2`, `kMixAic1Aiv1`.
    pub kernel_type: &'a str,
}

/// The text of a registration file for these kernels.
pub fn registration(kernels: &[Registration<'_>]) -> String {
    let mut text = String::from("#include \"kernel_operator.h\"\n#include \"register.h\"\n");
    for k in kernels {
        text += &format!("extern \"C\" __global__ __aicore__ void {}({});\n", k.name, k.params);
    }
    text += "static constexpr FasimKernel kKernels[] = {\n";
    for k in kernels {
        text += &format!("    fasim::entry<&{0}>(\"{0}\", fasim::{1}),\n", k.name, k.kernel_type);
    }
    text + "};\nFASIM_EXPORT_IMAGE(kKernels)\n"
}
