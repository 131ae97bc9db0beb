//! Why something is refused.

use super::{Error, ErrorKind, Result};

/// One reason for a refusal: the argument, its value, and the nearest supported one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `InvalidArgument` for what can never be right, `Unsupported` for what the kernels cannot do.
    pub kind: ErrorKind,
    /// A sentence without a final stop.
    pub text: String,
}

impl Reason {
    /// For what can never be right.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::InvalidArgument, text: text.into() }
    }

    /// For what this version, device or kernel cannot do.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unsupported, text: text.into() }
    }

    /// The reason of a part, told as one of the whole.
    #[must_use]
    pub fn of(self, part: &str) -> Self {
        Self { text: format!("{part}: {}", self.text), ..self }
    }

    /// The error with all reasons, which begins with `what` is refused; `None` without reasons. Its kind is
    /// `InvalidArgument` if any of them can never be right.
    pub fn error(what: &str, reasons: &[Reason]) -> Option<Error> {
        let is_invalid = reasons.iter().any(|r| r.kind == ErrorKind::InvalidArgument);
        let kind = if is_invalid { ErrorKind::InvalidArgument } else { ErrorKind::Unsupported };
        let texts: Vec<&str> = reasons.iter().map(|r| r.text.as_str()).collect();
        (!reasons.is_empty()).then(|| Error::new(kind, format!("{what}: {}", texts.join("; "))))
    }

    /// `Ok` without reasons, else [`Self::error`].
    ///
    /// # Errors
    /// The reasons.
    pub fn refuse(what: &str, reasons: &[Reason]) -> Result<()> {
        Self::error(what, reasons).map_or(Ok(()), Err)
    }
}
