//! Why a timeline has no schedule.

use std::fmt;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SolveErrorKind {
    /// An argument is wrong, or a rank has not reached a collective that another one has carried out.
    InvalidArgument,
    /// The work is such as a timeline cannot follow.
    Unsupported,
}

/// A timeline has no schedule; the text says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SolveError {
    kind: SolveErrorKind,
    message: String,
}

impl SolveError {
    pub(super) fn new(kind: SolveErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(SolveErrorKind::InvalidArgument, message)
    }

    /// Whose fault it is.
    pub fn kind(&self) -> SolveErrorKind {
        self.kind
    }
}

impl fmt::Display for SolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SolveError {}
