//! What can go wrong.

use std::fmt;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A tool of NVIDIA's is not installed.
    NoTool {
        /// Its name.
        name: &'static str,
        /// What `pip install` wants to have it.
        package: &'static str,
    },
    /// A tool refused its input.
    Tool {
        /// Its path.
        name: String,
        /// What it said.
        words: String,
    },
    /// A file cannot be read or written, or a tool not started.
    Io(std::io::Error),
    /// The file of machine code, its text or the launch is not as wanted.
    Invalid(String),
    /// The kernel reached an instruction, or a form of one, that the interpreter lacks.
    Unsupported {
        /// Address of the instruction in the kernel.
        pc: u32,
        /// The instruction.
        text: String,
        /// What of it.
        what: String,
    },
    /// The interpreter of PTX does not take the text, or found the kernel at fault.
    Ptx(fastattention_sm70::Error),
    /// The kernel did what it must not: an access outside of memory, a barrier that nobody opens.
    Fault {
        /// Address of the instruction in the kernel.
        pc: u32,
        /// The instruction.
        text: String,
        /// What happened.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoTool { name, package } => {
                write!(
                    f,
                    "{name} is not installed, and machine code for a V100 wants it: pip install {package}"
                )
            }
            Error::Tool { name, words } => write!(f, "{name}: {words}"),
            Error::Io(error) => error.fmt(f),
            Error::Invalid(text) => f.write_str(text),
            Error::Ptx(error) => error.fmt(f),
            Error::Unsupported { pc, text, what } => {
                write!(f, "at {pc:#x}: {text}: the interpreter lacks {what}")
            }
            Error::Fault { pc, text, what } => write!(f, "at {pc:#x}: {text}: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Io(error)
    }
}

impl From<fastattention_sm70::Error> for Error {
    fn from(error: fastattention_sm70::Error) -> Self {
        Error::Ptx(error)
    }
}
