//! What ends a run: a wrong kernel, something that is not modelled, or a call that makes no sense.

use std::fmt;

/// Why no result came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The kernel is wrong.
    Fault(Box<Fault>),
    /// The kernel may be right, but the interpreter lacks something that it uses.
    Unsupported(Unsupported),
    /// The text is no PTX, or the launch does not fit the kernel.
    Invalid(String),
}

/// What a kernel did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An access outside of every allocation, or of the block's shared memory.
    OutOfBounds,
    /// An address that is no multiple of the size of the access.
    Misaligned,
    /// A read of a register, or of memory, that nobody wrote.
    Uninitialised,
    /// Two threads at one place in shared memory, one of them writing, with no barrier between them.
    SharedRace,
    /// Two threads at one place in global memory, one of them writing, in different blocks or with no
    /// barrier between them.
    GlobalRace,
    /// Lanes that a warp instruction needs do not come to it.
    Divergence,
    /// Warps of a block wait at different barriers.
    Deadlock,
    /// An integer division by zero.
    DivisionByZero,
    /// A warp that executes more instructions than any kernel needs.
    Endless,
}

/// One side of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// `%ctaid`.
    pub block: [u32; 3],
    /// Warp of the block.
    pub warp: u32,
    /// Lane of the warp.
    pub lane: u32,
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// File and line of the source, where the PTX has a `.loc`.
    pub source: Option<(String, u32)>,
    /// The line's text.
    pub text: String,
}

/// A wrong kernel: what happened, who did it, and for races, divergence and deadlocks the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of mistake.
    pub kind: FaultKind,
    /// What happened, with addresses.
    pub message: String,
    /// Who did it.
    pub at: Site,
    /// The other side, where there is one.
    pub other: Option<Site>,
}

/// What the interpreter lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// What is not supported.
    pub what: String,
}

impl Error {
    /// The fault, if the kernel is wrong.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }

    pub(crate) fn unsupported(line: u32, what: impl Into<String>) -> Self {
        Self::Unsupported(Unsupported { line, what: what.into() })
    }

    pub(crate) fn invalid(line: u32, what: impl fmt::Display) -> Self {
        Self::Invalid(format!("line {line}: {what}"))
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Unsupported(lacking) => write!(f, "unsupported: line {}: {}", lacking.line, lacking.what),
            Self::Invalid(text) => write!(f, "invalid: {text}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault: {}: {}\n  (1) {}", self.kind, self.message, self.at)?;
        match &self.other {
            Some(other) => write!(f, "\n  (2) {other}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfBounds => "out of bounds",
            Self::Misaligned => "misaligned",
            Self::Uninitialised => "uninitialised",
            Self::SharedRace => "race in shared memory",
            Self::GlobalRace => "race in global memory",
            Self::Divergence => "divergence",
            Self::Deadlock => "deadlock",
            Self::DivisionByZero => "division by zero",
            Self::Endless => "endless",
        })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.block;
        write!(f, "block ({x}, {y}, {z}) warp {} lane {}, line {}", self.warp, self.lane, self.line)?;
        if let Some((file, line)) = &self.source {
            write!(f, " ({file}:{line})")?;
        }
        write!(f, ": {}", self.text)
    }
}
