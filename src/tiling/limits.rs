//! What the kernels can do: every reason why a shape is refused.

use crate::spec::{Reason, Shape, Tensor};
use crate::{DType, Soc};

/// Largest head dimension: the two L0C halves hold the PV accumulators of 128 rows by 256 columns.
pub const MAX_HEAD_DIM: u32 = 256;

/// Head dimensions are multiples of this: a fractal of f16 has 16 columns.
pub(super) const HEAD_DIM_STEP: u32 = 16;

/// Largest gap in GM between two bursts of a copy to or from UB, in bytes. The field has 32 bits (dav-c220.md
/// §3.1), and whether the sum with it is signed is not settled (`gm-gap-signed` in docs/sources.md): this
/// holds either way. docs/instruction-fields.md has every field that a size or stride of the caller reaches.
pub const MAX_GM_GAP_BYTES: u64 = (1 << 31) - 1;

/// Most bursts of one copy: 12 bits (dav-c220.md §3.1).
pub const MAX_BURSTS: u32 = 4095;

/// Largest sequence length: tiling data holds windows, which [`Shape::limits`] bounds by the lengths, as i32.
pub const MAX_SEQLEN: u32 = (1 << 31) - 1;

/// Factors that the softmax of f16 scores takes: the distance of a score from its row's maximum may leave the
/// range of f16, and must be worth nothing then. exp(-65520 / 2^11) is far below the smallest f16.
pub(super) const SCALES_OF_F16: std::ops::RangeInclusive<f32> = 0.000_488_281_25..=65504.0;

/// Every reason why no plan of `shape` on `soc` is possible; empty when there is none.
// A list of independent checks.
pub(super) fn reasons(shape: &Shape, soc: &Soc) -> Vec<Reason> {
    let mut found = Vec::new();
    if !matches!(shape.dtype, DType::F16 | DType::Bf16) {
        found.push(Reason::unsupported(format!(
            "dtype = {} has no kernel; supported: f16, bf16",
            shape.dtype
        )));
    }
    if shape.score_dtype != DType::F32 && (shape.dtype, shape.score_dtype) != (DType::F16, DType::F16) {
        found.push(Reason::unsupported(format!(
            "score_dtype = {} with dtype = {} has no kernel; supported: f32, and f16 with dtype = f16",
            shape.score_dtype, shape.dtype
        )));
    }
    let is_narrow = shape.score_dtype == DType::F16;
    if is_narrow && shape.softmax_scale.is_finite() && !SCALES_OF_F16.contains(&shape.softmax_scale) {
        found.push(Reason::unsupported(format!(
            "softmax_scale = {} with score_dtype = f16; supported: from {} to {}",
            shape.softmax_scale,
            SCALES_OF_F16.start(),
            SCALES_OF_F16.end()
        )));
    }
    if shape.shift_keys && !is_narrow {
        found.push(Reason::unsupported(format!(
            "shift_keys with score_dtype = {}, whose range needs no shift; supported: score_dtype = f16",
            shape.score_dtype
        )));
    }
    found.extend(shape.wrong_heads());
    for (name, dim) in [("head_dim", shape.head_dim), ("head_dim_v", shape.head_dim_v)] {
        found.extend(Reason::of_head_dim(name, dim, HEAD_DIM_STEP, MAX_HEAD_DIM));
    }
    found.extend(shape.wrong_scale());
    lengths(shape, &mut found);
    for tensor in shape.tensors() {
        // Rows of the output leave together, with a gap behind each, and rows of keys that are shifted come
        // so. Other inputs with a longer pitch than a copy has are copied row by row.
        let is_by_rows = tensor.is_output || (shape.shift_keys && tensor.name == "k");
        let gap = |tensor: &Tensor| tensor.wide_gap(1, MAX_GM_GAP_BYTES).filter(|_| is_by_rows);
        found.extend(tensor.wrong_strides(|tensor| Vec::from_iter(gap(tensor))));
    }
    if found.is_empty() {
        found.extend(shape.too_large(&soc.name, soc.hbm_bytes));
        found.extend(shape.too_many_shifted_keys(soc));
    }
    found
}

fn lengths(shape: &Shape, found: &mut Vec<Reason>) {
    for (name, seqlen) in [("seqlen_q", shape.seqlen_q), ("seqlen_k", shape.seqlen_k)] {
        if seqlen > MAX_SEQLEN {
            found.push(Reason::unsupported(format!("{name} = {seqlen} is more than {MAX_SEQLEN}")));
        }
    }
    let heads = u64::from(shape.batch) * u64::from(shape.num_heads);
    if i32::try_from(heads).is_err() {
        found.push(Reason::unsupported(format!(
            "batch * num_heads = {} * {} is more than {}",
            shape.batch,
            shape.num_heads,
            i32::MAX
        )));
    }
}

impl Shape {
    /// Every reason why `soc` cannot run this shape; empty when it can. Costs no allocation on a device and
    /// no planning.
    pub fn reasons(&self, soc: &Soc) -> Vec<Reason> {
        reasons(self, soc)
    }
}
