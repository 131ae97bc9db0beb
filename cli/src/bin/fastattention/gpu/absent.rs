//! Without feature `cuda`.

use anyhow::{bail, Result};
use fastattention::attention::{Layout, Problem};

use super::GpuState;
use crate::run::Computed;
use crate::tensors::Operands;

/// # Errors
/// Always: GPUs need feature `cuda`.
pub(crate) fn attention(
    ordinal: usize,
    _: &Problem,
    _: &Operands<'_>,
    _: Layout,
) -> Result<(Computed, String)> {
    bail!(
        "device cuda:{ordinal} needs feature cuda, which this program was built without: \
         cargo install fastattention-cli --features cuda"
    )
}

pub(crate) fn lines() -> Vec<String> {
    Vec::new()
}

pub(crate) fn states() -> Vec<GpuState> {
    Vec::new()
}
