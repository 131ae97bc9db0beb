//! Sizes, rates and links of SoCs, read from `cann.toml` (compiled in).

pub use ascend_soc::*;

use crate::{Error, ErrorKind};

/// What an engine of the ACL functions says of the SoC that its plans are for.
#[cfg(any(feature = "sim", feature = "cpu"))]
pub(crate) fn about(soc: &'static Soc) -> ascend_sim::engine::About {
    ascend_sim::engine::About {
        soc: &soc.name,
        cube_cores: soc.cube_cores,
        vector_cores: soc.vector_cores,
        ub_bytes: soc.core.ub_bytes,
        l2_bytes: soc.l2_bytes,
    }
}

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
