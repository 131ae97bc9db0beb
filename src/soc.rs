//! Sizes, rates and links of SoCs, read from `cann.toml` (compiled in).

pub use ascend_soc::*;

use crate::{Error, ErrorKind};

impl From<NoSuchSoc> for Error {
    fn from(error: NoSuchSoc) -> Self {
        let kind = match error {
            NoSuchSoc::Several { .. } => ErrorKind::InvalidArgument,
            _ => ErrorKind::Unsupported,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<BadDescription> for Error {
    fn from(error: BadDescription) -> Self {
        Self::invalid(error.to_string())
    }
}
