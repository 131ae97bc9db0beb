//! What is wrong with a shape whatever computes it, and what engines say in the same words.

use super::{too_many_bytes, Footprint, Reason, Shape};

impl Shape {
    /// In the order of [`Self::footprints`].
    pub(crate) const OPERANDS: [&str; 5] = ["q", "k", "v", "o", "lse"];

    /// Heads that do not fit each other.
    pub(crate) fn wrong_heads(&self) -> Vec<Reason> {
        Reason::of_heads(self.num_heads, self.num_heads_k)
    }

    /// A factor of the scores that is no number.
    pub(crate) fn wrong_scale(&self) -> Option<Reason> {
        Reason::of_scale(self.softmax_scale)
    }

    /// Operands that the memory of a device does not hold together.
    pub(crate) fn too_large(&self, device: &str, available_bytes: u64) -> Option<Reason> {
        Reason::of_operands(Self::OPERANDS, self.footprints(), device, available_bytes)
    }
}

impl Reason {
    /// Operands that the memory of a device does not hold together.
    pub(crate) fn of_operands<const N: usize>(
        names: [&str; N],
        operands: [Footprint; N],
        device: &str,
        available_bytes: u64,
    ) -> Option<Self> {
        let bytes = too_many_bytes(operands, available_bytes)?;
        let sizes: Vec<_> = names.iter().zip(bytes).map(|(name, bytes)| format!("{name} {bytes}")).collect();
        Some(Self::unsupported(format!(
            "operands take {} bytes ({}), {device} has {available_bytes}",
            bytes.iter().sum::<u128>(),
            sizes.join(", "),
        )))
    }

    /// Heads of q and of k and v that do not fit each other.
    pub(crate) fn of_heads(h: u32, h_k: u32) -> Vec<Self> {
        let mut found = Vec::new();
        for (name, value) in [("num_heads", h), ("num_heads_k", h_k)] {
            if value == 0 {
                found.push(Reason::invalid(format!("{name} = 0, wanted at least 1")));
            }
        }
        if h > 0 && h_k > 0 && !h.is_multiple_of(h_k) {
            let below = h - h % h_k;
            let nearest = if below > 0 { format!("{below} or ") } else { String::new() };
            let above = u64::from(below) + u64::from(h_k);
            found.push(Reason::invalid(format!(
                "num_heads = {h} is not a multiple of num_heads_k = {h_k}; nearest: {nearest}{above}"
            )));
        }
        found
    }

    /// A factor of the scores that is no number.
    pub(crate) fn of_scale(scale: f32) -> Option<Self> {
        (!scale.is_finite()).then(|| {
            Self::invalid(format!("softmax_scale = {scale} is not finite; the usual one is 1/sqrt(head_dim)"))
        })
    }

    /// A head dimension that is not a multiple of `step` up to `largest`, itself a multiple.
    pub(crate) fn of_head_dim(name: &str, dim: u32, step: u32, largest: u32) -> Option<Self> {
        let down = (dim / step * step).clamp(step, largest);
        let up = (dim.min(largest).div_ceil(step) * step).clamp(step, largest);
        let nearest = if down == up { format!("{down}") } else { format!("{down} or {up}") };
        (dim == 0 || !dim.is_multiple_of(step) || dim > largest).then(|| {
            Self::unsupported(format!(
                "{name} = {dim} is not a multiple of {step} from {step} to {largest}; nearest \
                 supported: {nearest}"
            ))
        })
    }
}
