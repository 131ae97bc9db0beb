//! What the kernels can do: every reason why a shape is refused.

use std::fmt::Write as _;

use super::Shape;
use crate::{DType, Error, ErrorKind, Result, Soc};

/// One reason for a refusal: the argument, its value, and the nearest supported one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `InvalidArgument` for what can never be right, `Unsupported` for what the kernels cannot do.
    pub kind: ErrorKind,
    /// A sentence without a final stop.
    pub text: String,
}

impl Reason {
    /// Whether one of them can never be right.
    pub(crate) fn kind_of(reasons: &[Reason]) -> ErrorKind {
        let is_invalid = reasons.iter().any(|r| r.kind == ErrorKind::InvalidArgument);
        if is_invalid {
            ErrorKind::InvalidArgument
        } else {
            ErrorKind::Unsupported
        }
    }

    /// `Ok` without reasons, else one error that begins with `what` and has all of them.
    pub(crate) fn refuse(what: &str, soc: &Soc, reasons: &[Reason]) -> Result<()> {
        if reasons.is_empty() {
            return Ok(());
        }
        let texts: Vec<&str> = reasons.iter().map(|r| r.text.as_str()).collect();
        Err(Error::new(Self::kind_of(reasons), format!("{what} on {}: {}", soc.name, texts.join("; "))))
    }
}

/// Largest head dimension: the two L0C halves hold the PV accumulators of 128 rows by 256 columns.
pub const MAX_HEAD_DIM: u32 = 256;

/// Largest gap in GM between two bursts of a copy to or from UB, in bytes. The field has 32 bits (dav-c220.md §3.1), and whether
/// the sum with it is signed is not settled (`gm-gap-signed` in docs/sources.md): this holds either way. docs/instruction-fields.md
/// has every field that a size or stride of the caller reaches.
pub const MAX_GM_GAP_BYTES: u64 = (1 << 31) - 1;

/// Largest sequence length: tiling data holds windows, which [`Shape::limits`] bounds by the lengths, as i32.
pub const MAX_SEQLEN: u32 = (1 << 31) - 1;

/// Factors that the softmax of f16 scores takes: the distance of a score from its row's maximum may leave the range of f16, and
/// must be worth nothing then. exp(-65520 / 2^11) is far below the smallest f16.
pub(super) const SCALES_OF_F16: std::ops::RangeInclusive<f32> = 0.000_488_281_25..=65504.0;

/// Every reason why no plan of `shape` on `soc` is possible; empty when there is none.
pub(super) fn reasons(shape: &Shape, soc: &Soc) -> Vec<Reason> {
    let mut found = Vec::new();
    if !matches!(shape.dtype, DType::F16 | DType::Bf16) {
        found.push(unsupported(format!("dtype = {} has no kernel; supported: f16, bf16", shape.dtype)));
    }
    if shape.score_dtype != DType::F32 && (shape.dtype, shape.score_dtype) != (DType::F16, DType::F16) {
        found.push(unsupported(format!(
            "score_dtype = {} with dtype = {} has no kernel; supported: f32, and f16 with dtype = f16",
            shape.score_dtype, shape.dtype
        )));
    }
    let is_narrow = shape.score_dtype == DType::F16;
    if is_narrow && shape.softmax_scale.is_finite() && !SCALES_OF_F16.contains(&shape.softmax_scale) {
        found.push(unsupported(format!(
            "softmax_scale = {} with score_dtype = f16; supported: from {} to {}",
            shape.softmax_scale,
            SCALES_OF_F16.start(),
            SCALES_OF_F16.end()
        )));
    }
    heads(shape, &mut found);
    for (name, dim) in [("head_dim", shape.head_dim), ("head_dim_v", shape.head_dim_v)] {
        found.extend(head_dim(name, dim));
    }
    if !shape.softmax_scale.is_finite() {
        found.push(invalid(format!(
            "softmax_scale = {} is not finite; the usual one is 1/sqrt(head_dim)",
            shape.softmax_scale
        )));
    }
    lengths(shape, &mut found);
    for tensor in tensors(shape) {
        tensor.strides(&mut found);
    }
    if found.is_empty() {
        memory(shape, soc, &mut found);
    }
    found
}

fn invalid(text: String) -> Reason {
    Reason { kind: ErrorKind::InvalidArgument, text }
}

fn unsupported(text: String) -> Reason {
    Reason { kind: ErrorKind::Unsupported, text }
}

fn heads(shape: &Shape, found: &mut Vec<Reason>) {
    let (h, h_k) = (shape.num_heads, shape.num_heads_k);
    for (name, value) in [("num_heads", h), ("num_heads_k", h_k)] {
        if value == 0 {
            found.push(invalid(format!("{name} = 0, wanted at least 1")));
        }
    }
    if h > 0 && h_k > 0 && h % h_k != 0 {
        let below = h - h % h_k;
        let mut text = format!("num_heads = {h} is not a multiple of num_heads_k = {h_k}; nearest: ");
        if below > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "{below} or ");
        }
        let _ = write!(text, "{}", u64::from(below) + u64::from(h_k));
        found.push(invalid(text));
    }
}

pub(super) fn head_dim(name: &str, dim: u32) -> Option<Reason> {
    let down = (dim / 16 * 16).clamp(16, MAX_HEAD_DIM);
    let up = (dim.min(MAX_HEAD_DIM).div_ceil(16) * 16).clamp(16, MAX_HEAD_DIM);
    let nearest = if down == up { format!("{down}") } else { format!("{down} or {up}") };
    (dim == 0 || !dim.is_multiple_of(16) || dim > MAX_HEAD_DIM).then(|| {
        unsupported(format!(
            "{name} = {dim} is not a multiple of 16 from 16 to {MAX_HEAD_DIM}; nearest supported: {nearest}"
        ))
    })
}

fn lengths(shape: &Shape, found: &mut Vec<Reason>) {
    for (name, seqlen) in [("seqlen_q", shape.seqlen_q), ("seqlen_k", shape.seqlen_k)] {
        if seqlen > MAX_SEQLEN {
            found.push(unsupported(format!("{name} = {seqlen} is more than {MAX_SEQLEN}")));
        }
    }
    let heads = u64::from(shape.batch) * u64::from(shape.num_heads);
    if i32::try_from(heads).is_err() {
        found.push(unsupported(format!(
            "batch * num_heads = {} * {} is more than {}",
            shape.batch,
            shape.num_heads,
            i32::MAX
        )));
    }
}

/// A tensor operand: sizes of batch, sequence, heads and row, and its strides.
struct Tensor {
    name: &'static str,
    extent: [u64; 3],
    dim: u64,
    /// Bytes of an element.
    size: u64,
    stride: [u64; 3],
    is_output: bool,
}

const DIMENSIONS: [&str; 3] = ["batch", "row", "head"];

fn tensors(shape: &Shape) -> [Tensor; 4] {
    let tensor = |name, seqlen: u32, heads: u32, dim: u32, stride, is_output| Tensor {
        name,
        extent: [u64::from(shape.batch), u64::from(seqlen), u64::from(heads)],
        dim: u64::from(dim),
        size: shape.dtype.size_bytes() as u64,
        stride,
        is_output,
    };
    let s = shape;
    [
        tensor("q", s.seqlen_q, s.num_heads, s.head_dim, s.q_stride, false),
        tensor("k", s.seqlen_k, s.num_heads_k, s.head_dim, s.k_stride, false),
        tensor("v", s.seqlen_k, s.num_heads_k, s.head_dim_v, s.v_stride, false),
        tensor("o", s.seqlen_q, s.num_heads, s.head_dim_v, s.o_stride, true),
    ]
}

impl Tensor {
    fn is_empty(&self) -> bool {
        self.extent.contains(&0)
    }

    fn strides(&self, found: &mut Vec<Reason>) {
        if self.is_empty() {
            return;
        }
        // Dense strides beyond 64 bits are this number, too (`dense_strides`): what it says about overlaps and sizes would be wrong.
        if let Some(i) = (0..3).find(|&i| self.extent[i] > 1 && self.stride[i] == u64::MAX) {
            found.push(unsupported(format!(
                "{}_stride: {} stride of at least {} elements; no device memory is that large",
                self.name,
                DIMENSIONS[i],
                u64::MAX
            )));
            return;
        }
        for (i, dimension) in DIMENSIONS.iter().enumerate() {
            let (stride, name, dim) = (self.stride[i], self.name, self.dim);
            // An input may repeat one batch or head for all (stride 0); rows of one head must follow each other.
            let is_broadcast = stride == 0 && !self.is_output && *dimension != "row";
            if self.extent[i] > 1 && stride < dim && !is_broadcast {
                found.push(invalid(format!(
                    "{name}_stride: {dimension} stride = {stride} is less than the {dim} elements of a row; wanted at \
                     least {dim}{}",
                    if self.is_output || *dimension == "row" { "" } else { ", or 0 to repeat" }
                )));
            }
        }
        if self.is_output {
            found.extend(self.gap());
            found.extend(self.overlap());
        }
    }

    /// Rows of the output leave together, with a gap behind each. Inputs with a longer pitch than a copy has are copied row by row.
    fn gap(&self) -> Option<Reason> {
        let largest = self.dim + MAX_GM_GAP_BYTES / self.size;
        (self.extent[1] > 1 && self.stride[1] > largest).then(|| {
            unsupported(format!(
                "{}_stride: row stride = {} leaves more than {MAX_GM_GAP_BYTES} bytes between two rows of {} elements; \
                 nearest supported: {largest}",
                self.name, self.stride[1], self.dim
            ))
        })
    }

    /// Rows of the output must not share bytes: taken by ascending stride, each must clear everything inside it.
    fn overlap(&self) -> Option<Reason> {
        let mut order = [0, 1, 2];
        order.sort_by_key(|&i| self.stride[i]);
        let mut inner = u128::from(self.dim);
        for i in order.into_iter().filter(|&i| self.extent[i] > 1) {
            if u128::from(self.stride[i]) < u128::from(self.dim) {
                return None; // Already refused as shorter than a row.
            }
            if u128::from(self.stride[i]) < inner {
                return Some(invalid(format!(
                    "{}_stride = {:?} (batch, row, head): rows overlap, as the {} stride {} is less than the {inner} \
                     elements it must clear; wanted at least {inner}",
                    self.name, self.stride, DIMENSIONS[i], self.stride[i]
                )));
            }
            inner += u128::from(self.stride[i]) * u128::from(self.extent[i] - 1);
        }
        None
    }

    /// Elements from the first to one past the last.
    fn span(&self) -> u128 {
        if self.is_empty() {
            return 0;
        }
        let steps = self.extent.iter().zip(self.stride).map(|(&e, s)| u128::from(e - 1) * u128::from(s));
        steps.sum::<u128>() + u128::from(self.dim)
    }
}

fn memory(shape: &Shape, soc: &Soc, found: &mut Vec<Reason>) {
    let sizes = sizes(shape);
    let total: u128 = sizes.iter().map(|(_, bytes)| bytes).sum();
    if total > u128::from(soc.hbm_bytes) {
        let sizes: Vec<_> = sizes.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
        found.push(unsupported(format!(
            "operands take {total} bytes ({}), {} has {}",
            sizes.join(", "),
            soc.name,
            soc.hbm_bytes
        )));
    }
}

/// Bytes of each operand.
fn sizes(shape: &Shape) -> [(&'static str, u128); 5] {
    let rows = u128::from(shape.batch) * u128::from(shape.num_heads) * u128::from(shape.seqlen_q);
    let [q, k, v, o] = tensors(shape).map(|t| (t.name, t.span() * shape.dtype.size_bytes() as u128));
    [q, k, v, o, ("lse", if shape.want_lse { 4 * rows } else { 0 })]
}

impl Shape {
    /// Every reason why `soc` cannot run this shape; empty when it can. Costs no allocation on a device and no planning.
    pub fn reasons(&self, soc: &Soc) -> Vec<Reason> {
        reasons(self, soc)
    }

    /// Bytes that the buffers of q, k, v, o and lse must hold, in this order.
    pub fn operand_bytes(&self) -> [u64; 5] {
        // Saturation is out of reach: `reasons` bounds the sum by the device memory.
        sizes(self).map(|(_, bytes)| u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}
