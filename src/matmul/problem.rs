//! What is to be multiplied, and whether it can be.

use std::fmt;

use crate::runtime::{Named, Operand, Repeat};
use crate::spec::{too_many_bytes, Footprint, Reason};
use crate::{DType, Soc};

/// How B lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BLayout {
    /// `[k, n]`.
    #[default]
    Kn,
    /// `[n, k]`, as weights of linear layers are often stored.
    Nk,
}

impl fmt::Display for BLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BLayout::Kn => "[k, n]",
            BLayout::Nk => "[n, k]",
        })
    }
}

/// Where the rows of a tensor lie, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// Between matrices, for each batch dimension. 0 repeats a matrix of A or B.
    pub batch: [u64; 3],
    /// Between rows.
    pub row: u64,
}

/// A matrix product; sizes are elements. Any of them may be 0: without columns of A, C is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Type of A and B: f16 or bf16.
    pub dtype: DType,
    /// Type of C: that of A and B, or f32.
    pub dtype_out: DType,
    /// Rows of A and C.
    pub m: u32,
    /// Columns of B and C.
    pub n: u32,
    /// Columns of A, rows of B.
    pub k: u32,
    /// Extents of three batch dimensions, outermost first. Three, so that the heads of grouped queries need
    /// no copies: a stride of 0 along the second or third repeats an operand.
    pub batch: [u32; 3],
    /// How B lies.
    pub b_layout: BLayout,
    /// Strides of A, unless dense.
    pub a_strides: Option<Strides>,
    /// Strides of B as it lies, unless dense.
    pub b_strides: Option<Strides>,
    /// Strides of C, unless dense.
    pub c_strides: Option<Strides>,
    /// B is not in L2 when the product starts, and need not be there afterwards, as weights of a model with
    /// more of them than L2 holds. The planner then counts the time of HBM, and may have B read past L2.
    pub is_b_cold: bool,
    /// The product is added to what C holds, as to a residual stream. C is f32 then.
    pub accumulates: bool,
}

/// Largest extent, of a matrix and of a block: positions in a matrix are 32-bit numbers, rounded up to tiles
/// and blocks.
pub(super) const MAX_EXTENT: u32 = (1 << 31) - 1;

/// Largest row stride of C: the 32-bit dstStride of the fixpipe counts elements (dav-c220.md §3.6;
/// docs/instruction-fields.md).
const MAX_ROW_STRIDE_C: u64 = u32::MAX as u64;

/// One operand with its strides filled in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) name: &'static str,
    pub(super) dtype: DType,
    pub(super) batch: [u32; 3],
    pub(super) rows: u32,
    pub(super) cols: u32,
    pub(super) strides: Strides,
}

impl Problem {
    /// Dense `C[m, n] = A[m, k] B[k, n]` without batch, C of the operands' type.
    pub fn new(dtype: DType, [m, n, k]: [u32; 3]) -> Self {
        Self {
            dtype,
            dtype_out: dtype,
            m,
            n,
            k,
            batch: [1; 3],
            b_layout: BLayout::Kn,
            a_strides: None,
            b_strides: None,
            c_strides: None,
            is_b_cold: false,
            accumulates: false,
        }
    }

    /// Sets the type of C.
    #[must_use]
    pub fn with_dtype_out(self, dtype_out: DType) -> Self {
        Self { dtype_out, ..self }
    }

    /// Sets how B lies.
    #[must_use]
    pub fn with_b_layout(self, b_layout: BLayout) -> Self {
        Self { b_layout, ..self }
    }

    /// Sets the extents of the batch dimensions.
    #[must_use]
    pub fn with_batch(self, batch: [u32; 3]) -> Self {
        Self { batch, ..self }
    }

    /// Says that B comes from HBM; see [`Self::is_b_cold`].
    #[must_use]
    pub fn with_cold_b(self) -> Self {
        Self { is_b_cold: true, ..self }
    }

    /// Adds the product to what C holds; see [`Self::accumulates`].
    #[must_use]
    pub fn with_accumulation(self) -> Self {
        Self { accumulates: true, ..self }
    }

    /// Floating-point operations: a multiplication and an addition for each product.
    pub fn flops(&self) -> f64 {
        let batch: f64 = self.batch.iter().map(|&b| f64::from(b)).product();
        2.0 * batch * f64::from(self.m) * f64::from(self.n) * f64::from(self.k)
    }

    /// Has C no element?
    pub fn is_empty(&self) -> bool {
        self.m == 0 || self.n == 0 || self.batch.contains(&0)
    }

    /// Bytes that the buffers of A, B and C must hold.
    pub fn operand_bytes(&self) -> [u64; 3] {
        // Saturation is out of reach: `refusals` bounds each by the device memory.
        self.matrices().map(|m| u64::try_from(m.span_bytes()).unwrap_or(u64::MAX))
    }

    /// A, B and C.
    pub(super) fn matrices(&self) -> [Matrix; 3] {
        let (b_rows, b_cols) = match self.b_layout {
            BLayout::Kn => (self.k, self.n),
            BLayout::Nk => (self.n, self.k),
        };
        let matrix = |name, dtype, rows, cols, strides: Option<Strides>| {
            let strides = strides.unwrap_or_else(|| dense(self.batch, rows, cols));
            Matrix { name, dtype, batch: self.batch, rows, cols, strides }
        };
        [
            matrix("a", self.dtype, self.m, self.k, self.a_strides),
            matrix("b", self.dtype, b_rows, b_cols, self.b_strides),
            matrix("c", self.dtype_out, self.m, self.n, self.c_strides),
        ]
    }

    /// Every reason why `soc` cannot run this problem; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let mut found = Vec::new();
        if let Err(error) = super::kernel_name(self.dtype, self.dtype_out) {
            found.push(Reason::unsupported(error.to_string().trim_start_matches("matmul: ").to_owned()));
        }
        if self.accumulates && self.dtype_out != DType::F32 {
            found.push(Reason::unsupported(format!(
                "accumulates = true with dtype_out = {}; wanted with it: f32, as a sum in 16 bits is rounded twice",
                self.dtype_out
            )));
        }
        let [b0, b1, b2] = self.batch;
        for (name, value) in [
            ("m", self.m),
            ("n", self.n),
            ("k", self.k),
            ("batch[0]", b0),
            ("batch[1]", b1),
            ("batch[2]", b2),
        ] {
            if value > MAX_EXTENT {
                found.push(Reason::unsupported(format!("{name} = {value} is more than {MAX_EXTENT}")));
            }
        }
        if !found.is_empty() {
            return found;
        }
        for matrix in self.matrices() {
            matrix.refusals(&mut found);
        }
        if found.is_empty() {
            found.extend(too_many_bytes(self.matrices().map(|m| m.footprint()), soc.hbm_bytes).map(
                |bytes| {
                    Reason::unsupported(format!(
                        "operands take {} bytes, {} has {}",
                        bytes.iter().sum::<u128>(),
                        soc.name,
                        soc.hbm_bytes
                    ))
                },
            ));
        }
        found
    }
}

/// Strides of matrices without gaps.
fn dense(batch: [u32; 3], rows: u32, cols: u32) -> Strides {
    // Saturated strides are refused: their operands are larger than any device memory.
    let matrix = u64::from(rows) * u64::from(cols);
    let inner = matrix.saturating_mul(u64::from(batch[2]));
    Strides { batch: [inner.saturating_mul(u64::from(batch[1])), inner, matrix], row: u64::from(cols) }
}

impl Matrix {
    fn is_output(&self) -> bool {
        self.name == "c"
    }

    /// The operand of a launch that it is.
    pub(super) fn named(&self, operand: Operand<'_>) -> Named {
        let size = self.dtype.size_bytes() as u64;
        // Saturation is out of reach: `refusals` bounds each by the device memory.
        let bytes = u64::try_from(self.span_bytes()).unwrap_or(u64::MAX);
        let named = match self.is_output() {
            true => Named::written(self.name, operand, bytes, size),
            false => Named::read(self.name, operand, bytes, size),
        };
        let steps = self.dimensions().map(|(_, extent, stride)| Repeat {
            extent: u64::from(extent),
            bytes: stride.saturating_mul(size),
        });
        named.with_rows(u64::from(self.cols) * size, steps)
    }

    /// Extent and stride of each dimension but the columns.
    fn dimensions(&self) -> [(&'static str, u32, u64); 4] {
        let [b0, b1, b2] = self.strides.batch;
        [
            ("batch[0]", self.batch[0], b0),
            ("batch[1]", self.batch[1], b1),
            ("batch[2]", self.batch[2], b2),
            ("row", self.rows, self.strides.row),
        ]
    }

    fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0 || self.batch.contains(&0)
    }

    fn refusals(&self, found: &mut Vec<Reason>) {
        if self.is_empty() {
            return;
        }
        let (name, cols) = (self.name, u64::from(self.cols));
        for (dimension, extent, stride) in self.dimensions() {
            // Dense strides beyond 64 bits are this number, too: what it says about overlaps and sizes would
            // be wrong.
            if extent > 1 && stride == u64::MAX {
                found.push(Reason::unsupported(format!(
                    "{name}: {dimension} stride of at least {} elements; no device memory is that large",
                    u64::MAX
                )));
                return;
            }
            let is_repeat = stride == 0 && dimension != "row" && !self.is_output();
            if extent > 1 && stride < cols && !is_repeat {
                found.push(Reason::invalid(format!(
                    "{name}: {dimension} stride = {stride} is less than the {cols} elements of a row; wanted at least \
                     {cols}{}",
                    if self.is_output() || dimension == "row" { "" } else { ", or 0 to repeat" }
                )));
            }
        }
        if !self.is_output() {
            return;
        }
        if self.rows > 1 && self.strides.row > MAX_ROW_STRIDE_C {
            found.push(Reason::unsupported(format!(
                "{name}: row stride = {} is more than {MAX_ROW_STRIDE_C} elements; nearest supported: \
                 {MAX_ROW_STRIDE_C}",
                self.strides.row
            )));
        }
        found.extend(self.overlap());
    }

    /// Rows of the result must not share bytes: taken by ascending stride, each dimension must clear all
    /// inside it.
    fn overlap(&self) -> Option<Reason> {
        let mut order = self.dimensions();
        order.sort_by_key(|&(_, _, stride)| stride);
        let mut inner = u128::from(self.cols);
        for (dimension, extent, stride) in order.into_iter().filter(|&(_, extent, _)| extent > 1) {
            if u128::from(stride) < inner {
                return Some(Reason::invalid(format!(
                    "{}: {dimension} stride = {stride} makes rows overlap; wanted at least {inner}",
                    self.name
                )));
            }
            inner += u128::from(stride) * u128::from(extent - 1);
        }
        None
    }

    /// The rows of a matrix that is not empty, as few ranges of bytes without gaps as there are: where they
    /// start, and their length.
    pub(super) fn pieces(&self) -> (impl Iterator<Item = u64>, u64) {
        let size = self.dtype.size_bytes() as u64;
        let mut order = self.dimensions();
        order.sort_by_key(|&(_, _, stride)| stride);
        let (mut run, mut steps) = (u64::from(self.cols), Vec::new());
        for (_, extent, stride) in order.into_iter().filter(|&(_, extent, _)| extent > 1) {
            if stride == run && steps.is_empty() {
                run *= u64::from(extent);
            } else {
                steps.push((u64::from(extent), stride));
            }
        }
        let count: u64 = steps.iter().map(|&(extent, _)| extent).product();
        let start = move |mut number: u64| {
            let of_step = |&(extent, stride): &(u64, u64)| {
                let place = number % extent;
                number /= extent;
                place * stride
            };
            steps.iter().map(of_step).sum::<u64>() * size
        };
        ((0..count).map(start), run * size)
    }

    fn footprint(&self) -> Footprint {
        // A stride of 0 repeats the same bytes.
        let own = self.dimensions().into_iter().filter(|&(_, _, stride)| stride > 0);
        let rows = own.fold(1u128, |rows, (_, extent, _)| rows.saturating_mul(extent.into()));
        let row = u128::from(self.cols) * self.dtype.size_bytes() as u128;
        Footprint { span: self.span_bytes(), used: rows.saturating_mul(row) }
    }

    /// Bytes from the first element to one past the last.
    fn span_bytes(&self) -> u128 {
        if self.is_empty() {
            return 0;
        }
        let steps: u128 = self
            .dimensions()
            .iter()
            .map(|&(_, extent, stride)| u128::from(extent - 1) * u128::from(stride))
            .sum();
        (steps + u128::from(self.cols)) * self.dtype.size_bytes() as u128
    }
}
