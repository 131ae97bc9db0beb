//! The host's C++ compiler with CANN's own headers in CPU-twin mode.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Error, Result};
use kernel_build::{Compiler, TARGET};

use super::headers::Headers;

/// Macros of CPU-twin mode for dav-c220, of CANN 8 (acl-runtime.md 5.1) and 9 (`__NPU_ARCH__`); neither minds
/// the other's.
const MACROS: [&str; 7] = [
    "-DASCENDC_CPU_DEBUG=1",
    "-DASCENDC_DEBUG=1",
    "-D__CCE_KT_TEST__=1",
    "-D__CCE_AICORE__=220",
    "-D__DAV_C220__",
    "-D__NPU_ARCH__=2201",
    "-DTILING_KEY_VAR=0",
];

/// Lines of a compiler's output that are shown for a kernel; one wrong include can bring thousands.
const SHOWN_LINES: usize = 60;

/// A compiler and the headers of a CANN.
#[derive(Debug)]
pub struct TwinMode {
    compiler: Compiler,
    headers: Headers,
}

impl TwinMode {
    /// With the headers below `cann`, and those of the folders `include` behind them. `scratch` is a folder
    /// for a file.
    ///
    /// # Errors
    /// What was looked for and not found.
    pub fn find(cann: &Path, include: &[PathBuf], scratch: &Path) -> Result<Self> {
        let headers = Headers::find(cann, include)?;
        let compiler = Compiler::find(TARGET, scratch).map_err(Error::msg)?;
        Ok(Self { compiler, headers })
    }

    /// How the headers are laid out.
    pub fn layout(&self) -> &'static str {
        self.headers.layout
    }

    /// A call for kernel text below `folder`.
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = self.compiler.command();
        // Without warnings: nearly all would be about CANN's headers, and the simulator's build makes ours
        // errors.
        command.args(["-std=c++17", "-w"]).args(MACROS);
        if self.compiler.is_like_clang() {
            // CANN's headers narrow variables in braces, which g++ only warns of.
            command.arg("-Wno-c++11-narrowing");
        }
        for include in &self.headers.includes {
            command.arg("-I").arg(include);
        }
        command.arg("-I").arg(folder.join("include"));
        command
    }

    /// A call without headers, for a linker.
    pub fn plain_command(&self) -> Command {
        self.compiler.command()
    }
}

/// The beginning of what a compiler printed, indented; it says how much was left out.
pub fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown: String = lines.iter().take(SHOWN_LINES).map(|line| format!("  {line}\n")).collect();
    if let Some(left_out @ 1..) = lines.len().checked_sub(SHOWN_LINES) {
        shown += &format!("  ... {left_out} more lines\n");
    }
    shown.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_and_says_so() {
        assert_eq!(shortened("a\nb"), "  a\n  b");
        let text = "x\n".repeat(SHOWN_LINES + 2);
        assert_eq!(shortened(&text).lines().count(), SHOWN_LINES + 1);
        assert!(shortened(&text).ends_with("... 2 more lines"));
    }
}
