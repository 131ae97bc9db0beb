//! The one error of this crate.

use std::fmt;

/// What was refused: the argument, the value given and the value wanted. Nothing was computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Without the name of the operation.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu attention: {}", self.0)
    }
}

impl std::error::Error for Error {}
