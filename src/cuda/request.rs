//! What a plan is asked for: attention of a shape, or of slots whose lengths and pages are in device memory.

use super::kernels::MAX_PACKED_ROWS;
use crate::attention::Problem;
use crate::serving;
use crate::spec::{AttentionSpec, Footprint, Pages, Reason, Shape, Tensor};

/// Most query rows of a slot.
const MAX_ROWS: u32 = 16;
/// The kernels read the keys of a step from one page.
const MIN_PAGE_SIZE: u32 = 8;

/// A problem of either kind.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Of slots: the batch are the slots, the strides of k and v are those of pages, lengths are upper
    /// bounds.
    pub(super) shape: Shape,
    /// q, k, v and o.
    pub(super) tensors: [Tensor; 4],
    pub(super) slots: Option<Slots>,
}

/// What only a problem of slots has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    pub(super) pages: Option<Pages>,
    /// Entries of a row of the block table.
    pub(super) table_width: u32,
}

impl Request {
    pub(super) fn new(problem: &Problem) -> Self {
        let shape = problem.shape();
        Self { shape, tensors: shape.tensors(), slots: None }
    }

    pub(super) fn serving(problem: &serving::Problem) -> Self {
        let tensors = problem.tensors();
        let [q_stride, k_stride, v_stride, o_stride] = tensors.map(|tensor| tensor.stride);
        let AttentionSpec { dtype, num_heads, num_heads_k, head_dim, head_dim_v, score_dtype, mask, .. } =
            problem.spec;
        let shape = Shape {
            batch: problem.slots,
            num_heads,
            num_heads_k,
            head_dim,
            head_dim_v,
            seqlen_q: problem.rows,
            seqlen_k: problem.max_keys,
            dtype,
            score_dtype,
            mask,
            softmax_scale: problem.softmax_scale(),
            want_lse: problem.want_lse,
            shift_keys: false,
            q_stride,
            k_stride,
            v_stride,
            o_stride,
        };
        let slots = Slots { pages: problem.kv.pages, table_width: problem.table_width() };
        Self { shape, tensors, slots: Some(slots) }
    }

    /// Bytes of q, k, v, o and lse.
    pub(super) fn footprints(&self) -> [Footprint; 5] {
        let [q, k, v, o] = self.tensors.map(|tensor| tensor.footprint());
        let [.., lse] = self.shape.footprints();
        [q, k, v, o, lse]
    }

    /// Bytes of the lengths and of the block table.
    pub(super) fn slots_bytes(&self) -> [u64; 2] {
        let slots = 4 * u64::from(self.shape.batch);
        match self.slots {
            None => [0, 0],
            Some(Slots { pages: None, .. }) => [slots, 0],
            Some(Slots { table_width, .. }) => [slots, slots * u64::from(table_width)],
        }
    }

    /// Names of batch, seqlen_q and seqlen_k in the words of the problem.
    pub(super) fn names(&self) -> [&'static str; 3] {
        match self.slots {
            None => ["batch", "seqlen_q", "seqlen_k"],
            Some(_) => ["slots", "rows", "max_keys"],
        }
    }
}

/// What of a problem of slots the kernels lack.
pub(super) fn reasons(problem: &serving::Problem, found: &mut Vec<Reason>) {
    let (rows, spec) = (problem.rows, &problem.spec);
    if !(1..=MAX_ROWS).contains(&rows) {
        let text = format!("rows = {rows}; supported: 1 to {MAX_ROWS} query rows of a slot");
        found.push(Reason::unsupported(text));
    }
    let packed = u64::from(rows) * u64::from(spec.num_heads.checked_div(spec.num_heads_k).unwrap_or(0));
    if packed > MAX_PACKED_ROWS {
        found.push(Reason::unsupported(format!(
            "rows = {rows} with num_heads = {} and num_heads_k = {} make {packed} rows of a head of K and V; at most \
             {MAX_PACKED_ROWS} supported",
            spec.num_heads, spec.num_heads_k
        )));
    }
    if let Some(total) = problem.total_rows {
        found.push(Reason::unsupported(format!(
            "total_rows = {total}: packed q has no kernel; supported: the same rows for all slots"
        )));
    }
    if problem.is_batch_invariant {
        found.push(Reason::unsupported(
            "is_batch_invariant has no kernel; supported: splits that balance best",
        ));
    }
    if problem.is_checked {
        found.push(Reason::unsupported("status has no kernel; supported: problems that are not checked"));
    }
    problem.page_reasons(found);
    let Some(Pages { page_size, .. }) = problem.kv.pages else { return };
    if page_size > 0 && (page_size < MIN_PAGE_SIZE || !page_size.is_power_of_two()) {
        let above = page_size.checked_next_power_of_two().map(|above| above.max(MIN_PAGE_SIZE));
        let below = (above.unwrap_or(1 << 31) / 2).max(MIN_PAGE_SIZE);
        let nearest = match above {
            Some(above) if above > below => format!("{below} or {above}"),
            _ => format!("{below}"),
        };
        found.push(Reason::unsupported(format!(
            "page_size = {page_size} is not a power of two of at least {MIN_PAGE_SIZE}; nearest supported: {nearest}"
        )));
    }
}
