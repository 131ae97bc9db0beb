//! Rows of an operand: how they lie, and what is wrong with that.

use crate::runtime::{Named, NamedList, Operand};
use crate::spec::{Footprint, Reason, Tensor};
use crate::tiling::{MAX_GM_GAP_BYTES, MAX_SEQLEN};
use crate::{DType, Soc};

/// Elements of the unit in which the vector unit reduces f32.
pub(super) const LANES: u32 = 64;

/// UB buffers start at whole rows of its banks.
const BANK_ROW_BYTES: u32 = 512;

/// `rows` rows of `dim` elements, `stride` elements apart; dense unless given.
pub(super) fn tensor(
    name: &'static str,
    dtype: DType,
    [rows, dim]: [u32; 2],
    stride: Option<u64>,
    is_output: bool,
) -> Tensor {
    let (size, stride) = (dtype.size_bytes() as u64, stride.unwrap_or(dim.into()));
    Tensor { name, extent: [1, rows.into(), 1], dim: dim.into(), size, stride: [0, stride, 0], is_output }
}

/// A number of rows and a length of rows that no plan takes.
pub(super) fn wrong_sizes(sizes: &[(&str, u32)]) -> Vec<Reason> {
    let mut found = Vec::new();
    for &(name, value) in sizes {
        if value == 0 && name != "rows" && name != "tokens" {
            found.push(Reason::invalid(format!("{name} = 0, wanted at least 1")));
        }
        if value > MAX_SEQLEN {
            found.push(Reason::unsupported(format!("{name} = {value} is more than {MAX_SEQLEN}")));
        }
    }
    found
}

/// Strides that no copy has, rows that overlap, and operands that the device does not hold together.
pub(super) fn wrong_tensors(tensors: &[Tensor], soc: &Soc) -> Vec<Reason> {
    let gap = |tensor: &Tensor| Vec::from_iter(tensor.wide_gap(1, MAX_GM_GAP_BYTES));
    let mut found: Vec<Reason> = tensors.iter().flat_map(|tensor| tensor.wrong_strides(gap)).collect();
    if found.is_empty() {
        found.extend(too_large(tensors, soc));
    }
    found
}

fn too_large(tensors: &[Tensor], soc: &Soc) -> Option<Reason> {
    let footprints: Vec<Footprint> = tensors.iter().map(Tensor::footprint).collect();
    let (have, widest) = (u128::from(soc.hbm_bytes), footprints.iter().map(|f| f.span).max().unwrap_or(0));
    let used = footprints.iter().map(|f| f.used.min(f.span)).fold(0, u128::saturating_add);
    let bytes = if widest > have { widest } else { used };
    (bytes > have).then(|| {
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name).collect();
        Reason::unsupported(format!(
            "operands ({}) take {bytes} bytes, {} has {have}",
            names.join(", "),
            soc.name
        ))
    })
}

/// The place of a type in a list of the kernels for each.
pub(super) fn index_of(dtype: DType) -> usize {
    match dtype {
        DType::F16 => 0,
        DType::Bf16 => 1,
        DType::F32 => 2,
    }
}

/// Names an operand that is read, and where its result goes: one operand that is written where that is in
/// place.
pub(super) fn push_pair(
    named: &mut NamedList,
    [from, to]: [Tensor; 2],
    source: Operand<'_>,
    result: Option<Operand<'_>>,
) {
    let from = Tensor { is_output: result.is_none(), ..from };
    named.push(Named::tensor(&from, source, from.span_bytes()));
    named.extend(result.map(|place| Named::tensor(&to, place, to.span_bytes())));
}

/// Why a result cannot take the place of what is read: each row has to be written where it was.
pub(super) fn in_place(from: &Tensor, to: &Tensor) -> Option<String> {
    let ([from_name, name], [from_stride, stride]) = ([from.name, to.name], [from.stride[1], to.stride[1]]);
    (from_stride != stride && from.extent[1] > 1).then(|| {
        format!(
            "{name} takes the place of {from_name}, but {name}_stride = {stride} and {from_name}_stride = {from_stride}; \
             the same wanted"
        )
    })
}

/// Places buffers in UB, one behind the other.
#[derive(Default)]
pub(super) struct Places {
    next: u32,
}

impl Places {
    /// Where `bytes` bytes start: at a whole row of banks.
    pub(super) fn next(&mut self, bytes: u32) -> u32 {
        let at = self.next.next_multiple_of(BANK_ROW_BYTES);
        self.next = at + bytes;
        at
    }

    /// Half a row of banks behind that, for what is combined with a buffer at a whole row: two operands of an
    /// instruction in one bank group wait for each other (dav-c220.md 1.5).
    pub(super) fn next_apart(&mut self, bytes: u32) -> u32 {
        let at = self.next.next_multiple_of(BANK_ROW_BYTES) + BANK_ROW_BYTES / 2;
        self.next = at + bytes;
        at
    }

    /// One past the last byte.
    pub(super) fn end(&self) -> u32 {
        self.next
    }
}
