//! How a tensor of attention lies in memory, and what is wrong with that whatever computes it.

use super::{Footprint, Reason};

/// A tensor operand: sizes of batch, sequence, heads and row, and its strides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor {
    pub(crate) name: &'static str,
    /// Of batch, sequence and heads.
    pub(crate) extent: [u64; 3],
    /// Elements of a row.
    pub(crate) dim: u64,
    /// Bytes of an element.
    pub(crate) size: u64,
    pub(crate) stride: [u64; 3],
    pub(crate) is_output: bool,
}

const DIMENSIONS: [&str; 3] = ["batch", "row", "head"];

impl Tensor {
    pub(crate) fn is_empty(&self) -> bool {
        self.extent.contains(&0)
    }

    /// What is wrong with the strides whatever computes the tensor, and what an engine has to add. Nothing of
    /// a tensor without rows. Nothing else of one with a stride beyond all memory: what could be said about
    /// overlaps and sizes would be wrong.
    pub(crate) fn wrong_strides(&self, of_engine: impl FnOnce(&Self) -> Vec<Reason>) -> Vec<Reason> {
        if self.is_empty() {
            return Vec::new();
        }
        if let Some(endless) = self.endless_stride() {
            return vec![endless];
        }
        let mut found = self.short_strides();
        found.extend(of_engine(self));
        if self.is_output {
            found.extend(self.overlap());
        }
        found
    }

    /// Rows along a dimension that one copy moves, with a gap behind each that the copy cannot have.
    pub(crate) fn wide_gap(&self, dimension: usize, most_bytes: u64) -> Option<Reason> {
        let Tensor { name, extent, dim, size, stride, .. } = *self;
        let largest = dim + most_bytes / size;
        (extent[dimension] > 1 && stride[dimension] > largest).then(|| {
            Reason::unsupported(format!(
                "{name}_stride: {} stride = {} leaves more than {most_bytes} bytes between two rows of {dim} elements; \
                 nearest supported: {largest}",
                DIMENSIONS[dimension], stride[dimension]
            ))
        })
    }

    /// Dense strides beyond 64 bits are `u64::MAX`, too (`dense_strides`).
    fn endless_stride(&self) -> Option<Reason> {
        let endless = (0..3).find(|&i| self.extent[i] > 1 && self.stride[i] == u64::MAX)?;
        Some(Reason::unsupported(format!(
            "{}_stride: {} stride of at least {} elements; no device memory is that large",
            self.name,
            DIMENSIONS[endless],
            u64::MAX
        )))
    }

    /// An input may repeat one batch or head for all (stride 0); rows of one head must follow each other.
    fn short_strides(&self) -> Vec<Reason> {
        let mut found = Vec::new();
        for (i, dimension) in DIMENSIONS.iter().enumerate() {
            let (stride, name, dim) = (self.stride[i], self.name, self.dim);
            let is_broadcast = stride == 0 && !self.is_output && *dimension != "row";
            if self.extent[i] > 1 && stride < dim && !is_broadcast {
                found.push(Reason::invalid(format!(
                    "{name}_stride: {dimension} stride = {stride} is less than the {dim} elements of a row; wanted at \
                     least {dim}{}",
                    if self.is_output || *dimension == "row" { "" } else { ", or 0 to repeat" }
                )));
            }
        }
        found
    }

    /// Engines that copy so many bytes at a time want rows that start at multiples. Rows that are none
    /// themselves are refused for that, and bring no refusal of strides that nobody gave.
    #[cfg(feature = "cuda")]
    pub(crate) fn unaligned_strides(&self, bytes: u64) -> Vec<Reason> {
        let step = bytes / self.size;
        let is_whole = self.dim.is_multiple_of(step);
        let is_wrong = |&i: &usize| is_whole && self.extent[i] > 1 && !self.stride[i].is_multiple_of(step);
        let reason = |i: usize| {
            let (name, dimension, stride) = (self.name, DIMENSIONS[i], self.stride[i]);
            let down = stride / step * step;
            Reason::unsupported(format!(
                "{name}_stride: {dimension} stride = {stride} is not a multiple of {step} elements \
                 ({bytes} bytes); nearest supported: {down} or {}",
                down.saturating_add(step)
            ))
        };
        (0..3).filter(is_wrong).map(reason).collect()
    }

    /// Rows of the output must not share bytes: taken by ascending stride, each must clear everything inside
    /// it.
    fn overlap(&self) -> Option<Reason> {
        let mut order = [0, 1, 2];
        order.sort_by_key(|&i| self.stride[i]);
        let mut inner = u128::from(self.dim);
        for i in order.into_iter().filter(|&i| self.extent[i] > 1) {
            if u128::from(self.stride[i]) < u128::from(self.dim) {
                return None; // Already refused as shorter than a row.
            }
            if u128::from(self.stride[i]) < inner {
                return Some(Reason::invalid(format!(
                    "{}_stride = {:?} (batch, row, head): rows overlap, as the {} stride {} is less than the {inner} \
                     elements it must clear; wanted at least {inner}",
                    self.name, self.stride, DIMENSIONS[i], self.stride[i]
                )));
            }
            inner += u128::from(self.stride[i]) * u128::from(self.extent[i] - 1);
        }
        None
    }

    /// Bytes from the first element to behind the last one, of a tensor that was found to fit a device.
    pub(crate) fn span_bytes(&self) -> u64 {
        u64::try_from(self.footprint().span).unwrap_or(u64::MAX)
    }

    pub(crate) fn footprint(&self) -> Footprint {
        if self.is_empty() {
            return Footprint { span: 0, used: 0 };
        }
        let (size, dim) = (u128::from(self.size), u128::from(self.dim));
        let steps = self.extent.iter().zip(self.stride).map(|(&e, s)| u128::from(e - 1) * u128::from(s));
        // A stride of 0 repeats the same bytes.
        let own = self.extent.iter().zip(self.stride).filter(|&(_, stride)| stride > 0);
        let rows = own.fold(1u128, |rows, (&extent, _)| rows.saturating_mul(extent.into()));
        Footprint { span: (steps.sum::<u128>() + dim) * size, used: rows.saturating_mul(dim * size) }
    }
}
