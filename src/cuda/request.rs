//! What a plan is asked for: attention of a shape, or of slots whose lengths and pages are in device memory.

use crate::attention::Problem;
use crate::serving;
use crate::spec::{AttentionSpec, Footprint, Pages, Reason, Shape, Tensor};

/// The kernels read the keys of a step from one page.
const MIN_PAGE_SIZE: u32 = 8;
/// They count rows in 32 bits.
const MAX_TOTAL_ROWS: u32 = i32::MAX.unsigned_abs();

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
    /// Rows of packed q.
    pub(super) total_rows: Option<u32>,
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
        let slots = Slots {
            pages: problem.kv.pages,
            table_width: problem.table_width(),
            total_rows: problem.total_rows,
        };
        Self { shape, tensors, slots: Some(slots) }
    }

    /// Bytes of q, k, v, o and lse.
    pub(super) fn footprints(&self) -> [Footprint; 5] {
        let [q, k, v, o] = self.tensors.map(|tensor| tensor.footprint());
        let lse = u128::from(self.all_rows()) * u128::from(self.shape.num_heads) * 4;
        let lse = if self.shape.want_lse { lse } else { 0 };
        [q, k, v, o, Footprint { span: lse, used: lse }]
    }

    /// Rows of packed q, if it is packed.
    pub(super) fn total_rows(&self) -> Option<u32> {
        self.slots.and_then(|slots| slots.total_rows)
    }

    /// Query rows of a head, of all sequences.
    pub(super) fn all_rows(&self) -> u64 {
        let of_batches = u64::from(self.shape.batch) * u64::from(self.shape.seqlen_q);
        self.total_rows().map_or(of_batches, u64::from)
    }

    /// Bytes of `row_starts`, of the lengths and of the block table.
    pub(super) fn slots_bytes(&self) -> [u64; 3] {
        let Some(Slots { pages, table_width, total_rows }) = self.slots else { return [0; 3] };
        let slots = 4 * u64::from(self.shape.batch);
        let table = if pages.is_some() { slots * u64::from(table_width) } else { 0 };
        [total_rows.map_or(0, |_| slots + 4), slots, table]
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
    problem.row_reasons(found);
    if let Some(total) = problem.total_rows.filter(|&total| total > MAX_TOTAL_ROWS) {
        found.push(Reason::unsupported(format!(
            "total_rows = {total} is more than {MAX_TOTAL_ROWS}; nearest supported: {MAX_TOTAL_ROWS}"
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
    if problem.kv.csr_entries().is_some() {
        found.push(Reason::unsupported(
            "a block table that is one list has no kernel; supported: rows of a table",
        ));
    }
    if problem.kv.order.piece_elements().is_some() {
        found.push(Reason::unsupported(format!(
            "kv = {} has no kernel; supported: keys first or heads first",
            problem.kv
        )));
    }
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
