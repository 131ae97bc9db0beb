//! What is to be merged, and whether it can be.

use crate::spec::{too_many_bytes, Footprint, Reason, Tensor};
use crate::tiling::{MAX_GM_GAP_BYTES, MAX_SEQLEN};
use crate::{DType, Soc};

/// Most sources of one merge.
pub const MAX_SOURCES: usize = 4;

/// Most parts of one merge, of all sources: their lse lies in UB.
pub const MAX_PARTS: u32 = 768;

/// Most elements of a row.
pub const MAX_HEAD_DIM: u32 = 512;

/// Rows of o start at whole blocks of 32 bytes in UB.
const HEAD_DIM_STEP: u32 = 16;

/// An operand with parts. Strides are elements between parts, batches, rows, heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Parts.
    pub parts: u32,
    /// Strides of o; dense `[parts, batch, seqlen, num_heads, head_dim]` unless given.
    pub o_stride: Option<[u64; 4]>,
    /// Strides of lse; dense `[parts, batch, num_heads, seqlen]` unless given.
    pub lse_stride: Option<[u64; 4]>,
}

impl Source {
    /// Dense parts.
    pub fn new(parts: u32) -> Self {
        Self { parts, o_stride: None, lse_stride: None }
    }

    /// Sets the strides of o.
    #[must_use]
    pub fn with_o_stride(self, stride: [u64; 4]) -> Self {
        Self { o_stride: Some(stride), ..self }
    }

    /// Sets the strides of lse.
    #[must_use]
    pub fn with_lse_stride(self, stride: [u64; 4]) -> Self {
        Self { lse_stride: Some(stride), ..self }
    }
}

/// Partial results that are merged; sizes are elements. Without rows nothing is launched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Type of the partial o.
    pub dtype: DType,
    /// Type of o: that of the parts, or f16 or bf16 of f32 parts.
    pub dtype_out: DType,
    /// The operands that hold the parts, which are added in their order.
    pub sources: Vec<Source>,
    /// Sequences.
    pub batch: u32,
    /// Rows of each.
    pub seqlen: u32,
    /// Heads of each.
    pub num_heads: u32,
    /// Elements of a row: a multiple of 16, at most [`MAX_HEAD_DIM`].
    pub head_dim: u32,
    /// Strides of o: batch, row, head; dense `[batch, seqlen, num_heads, head_dim]` unless given.
    pub o_stride: Option<[u64; 3]>,
    /// Strides of lse: batch, row, head; dense `[batch, num_heads, seqlen]` unless given.
    pub lse_stride: Option<[u64; 3]>,
}

impl Problem {
    /// Dense operands: one source of `parts` parts with o `[batch, seqlen, num_heads, head_dim]`.
    pub fn new(dtype: DType, parts: u32, [batch, seqlen, num_heads, head_dim]: [u32; 4]) -> Self {
        Self {
            dtype,
            dtype_out: dtype,
            sources: vec![Source::new(parts)],
            batch,
            seqlen,
            num_heads,
            head_dim,
            o_stride: None,
            lse_stride: None,
        }
    }

    /// Sets the type of o.
    #[must_use]
    pub fn with_dtype_out(self, dtype_out: DType) -> Self {
        Self { dtype_out, ..self }
    }

    /// Sets the sources.
    #[must_use]
    pub fn with_sources(self, sources: impl Into<Vec<Source>>) -> Self {
        Self { sources: sources.into(), ..self }
    }

    /// Sets the strides of o (batch, row, head) and lse (the same).
    #[must_use]
    pub fn with_strides(self, o: [u64; 3], lse: [u64; 3]) -> Self {
        Self { o_stride: Some(o), lse_stride: Some(lse), ..self }
    }

    /// Parts of all sources; `u32::MAX` for more, which no plan takes.
    pub fn num_parts(&self) -> u32 {
        self.sources.iter().fold(0, |sum, source| sum.saturating_add(source.parts))
    }

    /// Has o no row?
    pub fn is_empty(&self) -> bool {
        self.extent().contains(&0)
    }

    /// Of batch, sequence, heads.
    pub(super) fn extent(&self) -> [u32; 3] {
        [self.batch, self.seqlen, self.num_heads]
    }

    /// Strides of o, or of a part of it, that is dense; saturated ones are refused.
    fn dense_o(&self) -> [u64; 3] {
        let row = u64::from(self.num_heads) * u64::from(self.head_dim);
        [row.saturating_mul(self.seqlen.into()), row, self.head_dim.into()]
    }

    fn dense_lse(&self) -> [u64; 3] {
        [u64::from(self.num_heads) * u64::from(self.seqlen), 1, self.seqlen.into()]
    }

    /// Of o and lse: batch, row, head.
    pub(super) fn strides(&self) -> [[u64; 3]; 2] {
        [self.o_stride.unwrap_or_else(|| self.dense_o()), self.lse_stride.unwrap_or_else(|| self.dense_lse())]
    }

    /// Of o and lse of a source: part, batch, row, head.
    pub(super) fn source_strides(&self, source: &Source) -> [[u64; 4]; 2] {
        let stacked =
            |[batch, row, head]: [u64; 3]| [batch.saturating_mul(self.batch.into()), batch, row, head];
        [
            source.o_stride.unwrap_or_else(|| stacked(self.dense_o())),
            source.lse_stride.unwrap_or_else(|| stacked(self.dense_lse())),
        ]
    }

    fn tensor(&self, name: &'static str, stride: [u64; 3], dtype: DType, is_output: bool) -> Tensor {
        let dim = if name.starts_with("lse") { 1 } else { self.head_dim.into() };
        let (extent, size) = (self.extent().map(u64::from), dtype.size_bytes() as u64);
        Tensor { name, extent, dim, size, stride, is_output }
    }

    /// o and lse.
    pub(super) fn tensors(&self) -> [Tensor; 2] {
        let [o, lse] = self.strides();
        [self.tensor("o", o, self.dtype_out, true), self.tensor("lse", lse, DType::F32, true)]
    }

    /// o and lse of one part of a source.
    pub(super) fn part_tensors(&self, source: &Source) -> [Tensor; 2] {
        let [[_, b, r, h], [_, lse_b, lse_r, lse_h]] = self.source_strides(source);
        [
            self.tensor("o_parts", [b, r, h], self.dtype, false),
            self.tensor("lse_parts", [lse_b, lse_r, lse_h], DType::F32, false),
        ]
    }

    /// Bytes of o and lse of a source.
    fn source_footprints(&self, source: &Source) -> [Footprint; 2] {
        let [[o_step, ..], [lse_step, ..]] = self.source_strides(source);
        let with_parts = |tensor: Tensor, stride: u64| {
            let one = tensor.footprint();
            if tensor.is_empty() || source.parts == 0 {
                return Footprint { span: 0, used: 0 };
            }
            let steps = u128::from(source.parts - 1) * u128::from(stride) * u128::from(tensor.size);
            let used = one.used.saturating_mul(source.parts.into());
            Footprint { span: one.span.saturating_add(steps), used }
        };
        let [o, lse] = self.part_tensors(source);
        [with_parts(o, o_step), with_parts(lse, lse_step)]
    }

    /// Bytes that the buffers of o and lse of each source must hold.
    pub fn source_bytes(&self) -> Vec<[u64; 2]> {
        let of_source = |source: &Source| self.source_footprints(source).map(|f| narrow(f.span));
        self.sources.iter().map(of_source).collect()
    }

    /// Bytes that the buffers of o and lse must hold.
    pub fn operand_bytes(&self) -> [u64; 2] {
        self.tensors().map(|tensor| tensor.span_bytes())
    }

    /// Every reason why `soc` cannot merge these; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let mut found = self.wrong_sizes();
        if !found.is_empty() || self.is_empty() {
            return found;
        }
        let parts = self.sources.iter().flat_map(|source| self.part_tensors(source));
        for tensor in parts.chain(self.tensors()) {
            found.extend(tensor.wrong_strides(|_| Vec::new()));
        }
        self.sources.iter().for_each(|source| found.extend(self.wrong_parts(source)));
        if found.is_empty() {
            match super::axes::Axes::of(self) {
                Ok(axes) => found.extend(self.wide_gaps(&axes)),
                Err(reason) => found.push(reason),
            }
        }
        if found.is_empty() {
            found.extend(self.too_large(soc));
        }
        found
    }

    fn wrong_sizes(&self) -> Vec<Reason> {
        let mut found = Vec::new();
        if let Err(error) = super::kernel_name(self.dtype, self.dtype_out) {
            found.push(Reason::unsupported(error.to_string().trim_start_matches("merge: ").to_owned()));
        }
        let (sources, parts) = (self.sources.len(), self.num_parts());
        let counts: Vec<u32> = self.sources.iter().map(|source| source.parts).collect();
        if sources == 0 || counts.contains(&0) {
            let text =
                format!("sources of {counts:?} parts; at least one, each of at least one part, wanted");
            found.push(Reason::invalid(text));
        }
        if sources > MAX_SOURCES {
            found.push(Reason::unsupported(format!(
                "{sources} sources, at most {MAX_SOURCES} in one merge; merge in steps, with f32 results between"
            )));
        }
        if parts > MAX_PARTS {
            found.push(Reason::unsupported(format!(
                "{parts} parts, at most {MAX_PARTS} in one merge; merge in steps, with f32 results between"
            )));
        }
        for (name, value) in [("batch", self.batch), ("seqlen", self.seqlen), ("num_heads", self.num_heads)] {
            if value > MAX_SEQLEN {
                found.push(Reason::unsupported(format!("{name} = {value} is more than {MAX_SEQLEN}")));
            }
        }
        let dim = self.head_dim;
        if dim == 0 || !dim.is_multiple_of(HEAD_DIM_STEP) || dim > MAX_HEAD_DIM {
            found.push(Reason::unsupported(format!(
                "head_dim = {dim} is not a multiple of {HEAD_DIM_STEP} from {HEAD_DIM_STEP} to {MAX_HEAD_DIM}"
            )));
        }
        found
    }

    /// Parts of one source lie apart.
    fn wrong_parts(&self, source: &Source) -> Vec<Reason> {
        let mut found = Vec::new();
        let [[o, ..], [lse, ..]] = self.source_strides(source);
        for (name, stride, least) in [("o_parts", o, u64::from(self.head_dim)), ("lse_parts", lse, 1)] {
            if source.parts == 1 {
                continue;
            }
            if stride == u64::MAX {
                found.push(Reason::unsupported(format!(
                    "{name}_stride: part stride of at least {stride} elements; no device memory is that large"
                )));
            } else if stride < least {
                found.push(Reason::invalid(format!(
                    "{name}_stride: part stride = {stride} is less than the {least} elements of a row; wanted at \
                     least {least}"
                )));
            }
        }
        found
    }

    /// Between two rows of one copy.
    fn wide_gaps(&self, axes: &super::axes::Axes) -> Vec<Reason> {
        let sources = axes.inner.sources.iter().map(|[o, _]| ("o_parts", self.dtype, *o));
        let all = sources.chain([("o", self.dtype_out, axes.inner.out[0])]);
        let wrong = |(name, dtype, stride): (&str, DType, u64)| {
            let largest = u64::from(self.head_dim) + MAX_GM_GAP_BYTES / dtype.size_bytes() as u64;
            (axes.inner.extent > 1 && stride > largest).then(|| {
                Reason::unsupported(format!(
                    "{name}_stride: stride = {stride} leaves more than {MAX_GM_GAP_BYTES} bytes between two rows of {} \
                     elements; nearest supported: {largest}",
                    self.head_dim
                ))
            })
        };
        all.filter_map(wrong).collect()
    }

    fn too_large(&self, soc: &Soc) -> Option<Reason> {
        let own = self.tensors().map(|tensor| tensor.footprint());
        let parts = self.sources.iter().flat_map(|source| self.source_footprints(source));
        let all = parts.chain(own).fold(Footprint { span: 0, used: 0 }, |all, one| Footprint {
            span: all.span.max(one.span),
            used: all.used.saturating_add(one.used.min(one.span)),
        });
        let bytes = too_many_bytes([all], soc.hbm_bytes)?;
        Some(Reason::unsupported(format!(
            "operands take {} bytes, {} has {}",
            bytes.iter().sum::<u128>(),
            soc.name,
            soc.hbm_bytes
        )))
    }
}

/// `refusals` bounds all bytes by the device's memory.
fn narrow(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
