//! Finds the host's C++ compiler, for all who compile kernels the same one.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A C++ compiler that accepts `-std=c++17`.
#[derive(Clone, Debug)]
pub struct Compiler {
    tool: cc::Tool,
}

impl Compiler {
    /// The compiler that crate `cc` finds (environment variable `CXX`, else the platform's). `target` is the
    /// triple to build for and also the host: kernels for the simulator run in this process.
    ///
    /// # Errors
    /// When there is none, or it does not speak C++17.
    pub fn find(target: &str, scratch: &Path) -> Result<Compiler, String> {
        let found = cc::Build::new()
            .cpp(true)
            .target(target)
            .host(target)
            .opt_level(2)
            .debug(false)
            .cargo_metadata(false)
            // They go to stdout, and what they say is in the error.
            .cargo_warnings(false)
            .try_get_compiler()
            .map_err(|e| missing(&e.to_string()))?;
        let compiler = Compiler { tool: found };
        compiler.check(scratch)?;
        Ok(compiler)
    }

    /// The compiler with the host's flags.
    pub fn command(&self) -> Command {
        self.tool.to_command()
    }

    /// Is it clang, or does it take clang's options?
    pub fn is_like_clang(&self) -> bool {
        self.tool.is_like_clang()
    }

    /// Compiles a line that needs C++17.
    fn check(&self, scratch: &Path) -> Result<(), String> {
        let probe = scratch.join("cxx17_probe.cpp");
        fs::create_dir_all(scratch).map_err(|e| format!("cannot create {}: {e}", scratch.display()))?;
        fs::write(&probe, "template <auto value> struct S {}; S<1> s;\n")
            .map_err(|e| format!("cannot write {}: {e}", probe.display()))?;
        let mut command = self.command();
        command.args(["-std=c++17", "-fsyntax-only"]).arg(&probe);
        run(command).map_err(|e| missing(&e))
    }
}

fn missing(why: &str) -> String {
    format!(
        "fastattention compiles its kernels for this host and needs a C++17 compiler (g++ 9, clang++ 9 or newer).\n\
         Install one (Debian, Ubuntu: `apt install g++`) or set CXX to its path.\n\
         What was tried: {why}"
    )
}

/// Runs a compiler, silent unless it fails.
///
/// # Errors
/// The command line, how it ended, and all that it printed.
pub fn run(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?;
    if output.status.success() {
        return Ok(());
    }
    // `Debug` of a command that cc made prints the whole environment.
    let words: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    Err(format!(
        "{} {} failed with {}\n{}{}",
        command.get_program().to_string_lossy(),
        words.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}
