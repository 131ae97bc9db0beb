//! What is computed: sizes, masks, and where the operands lie.

use crate::element::DType;
use crate::error::{Error, Result};

/// Most elements of a row.
pub const MAX_HEAD_DIM: usize = 1024;

/// Most keys of a slot, and most rows.
pub const MAX_LENGTH: usize = i32::MAX as usize;

/// How a block table lists the pages of the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTable {
    /// A row for each slot.
    Rows {
        /// Entries from one slot to the next.
        width: usize,
    },
    /// One list for all slots; `page_starts` says which entries are those of a slot.
    Csr {
        /// Entries of the list.
        entries: usize,
    },
}

/// K and V in pages, which a block table names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Keys of a page.
    pub page_size: usize,
    /// Pages of the cache.
    pub num_pages: usize,
    /// What names the pages of a slot.
    pub table: BlockTable,
}

impl Pages {
    /// Entries of the block table.
    pub(crate) fn table_entries(&self, slots: usize) -> Option<usize> {
        match self.table {
            BlockTable::Rows { width } => slots.checked_mul(width),
            BlockTable::Csr { entries } => Some(entries),
        }
    }

    /// Whether the block table is one list.
    pub(crate) fn is_csr(&self) -> bool {
        matches!(self.table, BlockTable::Csr { .. })
    }
}

/// Rows of K or V that lie in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Elements of a piece, which lie side by side.
    pub elements: usize,
    /// From a piece of a row to the next.
    pub stride: usize,
}

/// Attention of some slots, each with its query rows and its keys.
///
/// With `G = num_heads / num_heads_k`, head `h` of q meets head `h / G` of k and v. Row `i` of a slot with
/// `rows` rows and `keys` keys has the diagonal `i + keys - rows - rows_behind`, and sees the keys from
/// `diagonal - window_left` to `diagonal + window_right` that there are. Causal is `window_right = Some(0)`.
///
/// Strides are elements. They may leave gaps. Those of q, k and v may be anything, 0 too; rows of o must not
/// share elements. The elements of a row lie side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Type of q, k, v and o.
    pub dtype: DType,
    /// Sequences.
    pub slots: usize,
    /// Query rows of each slot; the most that a slot can have when `total_rows` is given.
    pub rows: usize,
    /// Rows of each slot that lie behind these and are left out: the last of them would sit on the last key.
    pub rows_behind: usize,
    /// Rows of q and o when they are packed. `row_starts` then says which are those of a slot, and the
    /// strides between slots do not count.
    pub total_rows: Option<usize>,
    /// Heads of q and o.
    pub num_heads: usize,
    /// Heads of k and v; divides `num_heads`.
    pub num_heads_k: usize,
    /// Elements of a row of q or k, 1 to [`MAX_HEAD_DIM`].
    pub head_dim: usize,
    /// Elements of a row of v or o, 1 to [`MAX_HEAD_DIM`].
    pub head_dim_v: usize,
    /// Keys of each slot; the most that a slot can have when lengths are given.
    pub max_keys: usize,
    /// How K and V are paged. Without it they lie slot by slot.
    pub pages: Option<Pages>,
    /// Keys that a row sees to the left of its diagonal; `None`: all.
    pub window_left: Option<usize>,
    /// Keys that a row sees to the right of its diagonal; `None`: all.
    pub window_right: Option<usize>,
    /// Factor of the scores.
    pub softmax_scale: f32,
    /// The bits of a row depend on nothing but itself, its keys and the mask. Otherwise a slot with few rows
    /// is computed in another way than one with many.
    pub is_row_invariant: bool,
    /// q: between slots, rows, heads.
    pub q_stride: [usize; 3],
    /// k: between pages (or slots), rows, heads.
    pub k_stride: [usize; 3],
    /// v: between pages (or slots), rows, heads.
    pub v_stride: [usize; 3],
    /// How rows of k and of v lie; `None` is one piece.
    pub pieces: [Option<Pieces>; 2],
    /// o: between slots, rows, heads.
    pub o_stride: [usize; 3],
    /// lse: between slots and heads; rows lie side by side.
    pub lse_stride: [usize; 2],
}

impl Problem {
    /// Dense q `[slots, rows, heads, dim]`, k and v `[slots, max_keys, heads, dim]`, o like q, lse `[slots,
    /// heads, rows]`; no mask; `softmax_scale = 1 / sqrt(dim)`.
    #[must_use]
    pub fn new(dtype: DType, [slots, rows, num_heads, head_dim]: [usize; 4], max_keys: usize) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "at most 1024 when the problem is checked")]
        let softmax_scale = 1.0 / (head_dim as f32).sqrt();
        Self {
            dtype,
            slots,
            rows,
            rows_behind: 0,
            total_rows: None,
            num_heads,
            num_heads_k: num_heads,
            head_dim,
            head_dim_v: head_dim,
            max_keys,
            pages: None,
            window_left: None,
            window_right: None,
            softmax_scale,
            is_row_invariant: false,
            q_stride: [0; 3],
            k_stride: [0; 3],
            v_stride: [0; 3],
            pieces: [None; 2],
            o_stride: [0; 3],
            lse_stride: [0; 2],
        }
        .with_dense_strides()
    }

    /// All strides as those of dense tensors.
    #[must_use]
    pub fn with_dense_strides(mut self) -> Self {
        let dense = |rows: usize, heads: usize, dim: usize| {
            let row = heads.saturating_mul(dim);
            [rows.saturating_mul(row), row, dim]
        };
        let rows = self.total_rows.unwrap_or(self.rows);
        let page = self.pages.map_or(self.max_keys, |p| p.page_size);
        self.q_stride = dense(rows, self.num_heads, self.head_dim);
        self.k_stride = dense(page, self.num_heads_k, self.head_dim);
        self.v_stride = dense(page, self.num_heads_k, self.head_dim_v);
        self.o_stride = dense(rows, self.num_heads, self.head_dim_v);
        self.lse_stride = [self.num_heads.saturating_mul(rows), rows];
        self
    }

    /// Fewer heads of k and v; dense strides.
    #[must_use]
    pub fn with_num_heads_k(mut self, num_heads_k: usize) -> Self {
        self.num_heads_k = num_heads_k;
        self.with_dense_strides()
    }

    /// Rows of v and o of another size; dense strides.
    #[must_use]
    pub fn with_head_dim_v(mut self, head_dim_v: usize) -> Self {
        self.head_dim_v = head_dim_v;
        self.with_dense_strides()
    }

    /// K and V in pages; dense strides.
    #[must_use]
    pub fn with_pages(mut self, pages: Pages) -> Self {
        self.pages = Some(pages);
        self.with_dense_strides()
    }

    /// Packed q and o of so many rows; dense strides.
    #[must_use]
    pub fn with_total_rows(mut self, total_rows: usize) -> Self {
        self.total_rows = Some(total_rows);
        self.with_dense_strides()
    }

    /// Keys that a row sees around its diagonal.
    #[must_use]
    pub fn with_window(mut self, left: Option<usize>, right: Option<usize>) -> Self {
        (self.window_left, self.window_right) = (left, right);
        self
    }

    /// Keys up to the diagonal.
    #[must_use]
    pub fn causal(self) -> Self {
        self.with_window(None, Some(0))
    }

    /// The factor of scores whose powers of 2 are those of e.
    pub(crate) fn log2_scale(&self) -> f32 {
        self.softmax_scale * std::f32::consts::LOG2_E
    }

    /// Heads of q that share one of k and v.
    pub(crate) fn group(&self) -> usize {
        self.num_heads / self.num_heads_k
    }

    /// Extents of q and o: slots (1 when packed), rows, heads.
    fn extent_q(&self) -> [usize; 3] {
        match self.total_rows {
            Some(rows) => [1, rows, self.num_heads],
            None => [self.slots, self.rows, self.num_heads],
        }
    }

    /// Extents of k and v: pages or slots, rows, heads.
    pub(crate) fn extent_k(&self) -> [usize; 3] {
        match self.pages {
            Some(pages) => [pages.num_pages, pages.page_size, self.num_heads_k],
            None => [self.slots, self.max_keys, self.num_heads_k],
        }
    }

    /// Checks sizes and strides.
    ///
    /// # Errors
    /// The first argument that is wrong.
    pub fn check(&self) -> Result<()> {
        in_range("num_heads", self.num_heads, 1, MAX_LENGTH)?;
        in_range("num_heads_k", self.num_heads_k, 1, self.num_heads)?;
        if !self.num_heads.is_multiple_of(self.num_heads_k) {
            let (heads, heads_k) = (self.num_heads, self.num_heads_k);
            return Err(Error::new(format!(
                "num_heads_k = {heads_k}, a divisor of num_heads = {heads} wanted"
            )));
        }
        in_range("head_dim", self.head_dim, 1, MAX_HEAD_DIM)?;
        in_range("head_dim_v", self.head_dim_v, 1, MAX_HEAD_DIM)?;
        in_range("slots", self.slots, 0, MAX_LENGTH)?;
        in_range("rows", self.rows, 0, MAX_LENGTH / self.num_heads)?;
        in_range("rows_behind", self.rows_behind, 0, MAX_LENGTH)?;
        in_range("total_rows", self.total_rows.unwrap_or(0), 0, MAX_LENGTH)?;
        in_range("max_keys", self.max_keys, 0, MAX_LENGTH)?;
        if !self.softmax_scale.is_finite() {
            return Err(Error::new(format!(
                "softmax_scale = {}, a finite number wanted",
                self.softmax_scale
            )));
        }
        if let Some(pages) = self.pages {
            in_range("page_size", pages.page_size, 1, MAX_LENGTH)?;
            in_range("num_pages", pages.num_pages, 0, MAX_LENGTH)?;
            let least = self.max_keys.div_ceil(pages.page_size);
            match pages.table {
                BlockTable::Rows { width } => in_range("table_width", width, least, MAX_LENGTH)?,
                BlockTable::Csr { entries } => in_range("table_entries", entries, least, MAX_LENGTH)?,
            }
            if pages.table_entries(self.slots).is_none_or(|entries| entries > isize::MAX as usize / 4) {
                return Err(Error::new(format!(
                    "{:?}, a table of {} slots in memory wanted",
                    pages.table, self.slots
                )));
            }
        }
        self.elements().map(drop)?;
        no_overlap("o_stride", &self.extent_q(), &self.o_stride, self.head_dim_v)?;
        let [slots, rows, heads] = self.extent_q();
        no_overlap("lse_stride", &[slots, heads], &self.lse_stride, rows)
    }

    /// Elements from the first to the last of a row of k or v.
    fn reach(&self, tensor: usize) -> Result<usize> {
        let dim = [self.head_dim, self.head_dim_v][tensor];
        let Some(Pieces { elements, stride }) = self.pieces[tensor] else { return Ok(dim) };
        let wrong = || {
            let name = ["k", "v"][tensor];
            Error::new(format!(
                "pieces of {name} = {elements} elements every {stride}, rows of {dim} in memory wanted"
            ))
        };
        if elements == 0 || !dim.is_multiple_of(elements) {
            return Err(wrong());
        }
        (dim / elements - 1).checked_mul(stride).and_then(|last| last.checked_add(elements)).ok_or_else(wrong)
    }

    /// Elements of q, k, v, o and lse, from the first to the last, gaps included.
    ///
    /// # Errors
    /// An operand that cannot lie in memory.
    pub fn elements(&self) -> Result<[usize; 5]> {
        let (q, k) = (self.extent_q(), self.extent_k());
        let size = self.dtype.size_bytes();
        let [slots, rows, heads] = q;
        let [slot, head] = self.lse_stride;
        Ok([
            span("q_stride", q, self.q_stride, self.head_dim, size)?,
            span("k_stride", k, self.k_stride, self.reach(0)?, size)?,
            span("v_stride", k, self.v_stride, self.reach(1)?, size)?,
            span("o_stride", q, self.o_stride, self.head_dim_v, size)?,
            span("lse_stride", [slots, heads, 1], [slot, head, 0], rows, 4)?,
        ])
    }
}

fn in_range(name: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::new(format!("{name} = {value}, {least} to {most} wanted")))
}

/// Elements from the first of the first row to the last of the last.
fn span(name: &str, extent: [usize; 3], stride: [usize; 3], dim: usize, size_bytes: usize) -> Result<usize> {
    if extent.contains(&0) {
        return Ok(0);
    }
    let most = isize::MAX as usize / size_bytes;
    let mut steps = extent.iter().zip(stride).map(|(extent, stride)| (extent - 1).checked_mul(stride));
    let sum = steps.try_fold(dim, |sum, step| sum.checked_add(step?));
    sum.filter(|sum| *sum <= most).ok_or_else(|| {
        Error::new(format!("{name} = {stride:?}, at most {most} elements for {extent:?} wanted"))
    })
}

/// Refuses strides that give two rows the same element: from the narrowest on, each must step over the
/// others.
fn no_overlap(name: &str, extent: &[usize], stride: &[usize], dim: usize) -> Result<()> {
    if extent.contains(&0) {
        return Ok(());
    }
    let mut axes: Vec<_> = extent.iter().zip(stride).filter(|(extent, _)| **extent > 1).collect();
    axes.sort_by_key(|(_, stride)| **stride);
    let mut covered = dim;
    for (extent, step) in axes {
        if *step < covered {
            return Err(Error::new(format!(
                "{name} = {stride:?}, steps of at least {covered} elements wanted"
            )));
        }
        covered += (extent - 1) * step;
    }
    Ok(())
}
