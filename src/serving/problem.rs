//! What to compute, as the caller says it.

use serde::{Deserialize, Serialize};

use super::{BlockTable, KvLayout, KvOrder};
use crate::spec::{dense_strides, spec_builders, AttentionSpec, Mask, Tensor};
use crate::tiling::MAX_HEAD_DIM;
use crate::DType;

/// A class of shapes: `o = softmax(softmax_scale * q k^T, masked) v` for each slot, over its keys.
///
/// | field | default | meaning |
/// | --- | --- | --- |
/// | `spec` | | as in [`attention::Problem`](crate::attention::Problem); scores are f32 |
/// | `slots`, `rows`, `spec.num_heads`, `spec.head_dim` | | shape of q |
/// | `total_rows` | `None` | rows of packed q and o; then `rows` is the most that a slot can have |
/// | `max_keys` | | most keys of a slot |
/// | `kv` | | where K and V lie |
/// | `q_stride`, `o_stride` | dense | elements between slots, query rows, heads |
/// | `k_stride`, `v_stride` | by `kv` | elements between pages (or slots), keys, heads; of [`KvOrder::Nz`] and [`KvOrder::Vllm`] between pages, keys, and pieces of a head |
/// | `want_lse` | `false` | also write `lse`, f32 `[slots, num_heads, rows]`, packed `[num_heads, total_rows]`, natural logarithm |
/// | `is_batch_invariant` | `false` | bits of a row depend on its own sequence alone |
/// | `is_checked` | `false` | also write `status`, what is wrong with lengths, rows and pages |
///
/// Strides need no alignment. Rows of K and V heads that lie side by side, as [`KvLayout`] has them by
/// default, are the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Problem {
    /// Types, heads, mask and scale.
    pub spec: AttentionSpec,
    /// Sequences that a launch has room for.
    pub slots: u32,
    /// Query rows of each slot; the most that one can have when q is packed.
    pub rows: u32,
    /// Rows of q and o when they are packed: slots with rows of their own number, one behind the other.
    pub total_rows: Option<u32>,
    /// Most keys of a slot.
    pub max_keys: u32,
    /// Where K and V lie.
    pub kv: KvLayout,
    /// Strides of q, unless dense.
    pub q_stride: Option<[u64; 3]>,
    /// Strides of k, unless those of `kv`.
    pub k_stride: Option<[u64; 3]>,
    /// Strides of v, unless those of `kv`.
    pub v_stride: Option<[u64; 3]>,
    /// Strides of o, unless dense.
    pub o_stride: Option<[u64; 3]>,
    /// Whether `lse` is written.
    pub want_lse: bool,
    /// Whether `status` is written.
    pub is_checked: bool,
    /// Whether bits of a row depend on nothing but its own sequence.
    pub is_batch_invariant: bool,
}

/// Strides of the four tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Strides {
    pub(super) q: [u64; 3],
    pub(super) k: [u64; 3],
    pub(super) v: [u64; 3],
    pub(super) o: [u64; 3],
}

impl Problem {
    /// The same number of query rows for all slots: q of shape `[slots, rows, num_heads, head_dim]` against
    /// at most `max_keys` keys of each.
    pub fn new(
        dtype: DType,
        [slots, rows, num_heads, head_dim]: [u32; 4],
        max_keys: u32,
        kv: KvLayout,
    ) -> Self {
        Self {
            spec: AttentionSpec::new(dtype, num_heads, head_dim),
            slots,
            rows,
            total_rows: None,
            max_keys,
            kv,
            q_stride: None,
            k_stride: None,
            v_stride: None,
            o_stride: None,
            want_lse: false,
            is_checked: false,
            is_batch_invariant: false,
        }
    }

    /// Query rows of any number for each slot, packed one behind the other: q of shape `[total_rows,
    /// num_heads, head_dim]`. `row_starts` in device memory says which rows are those of a slot: `slots + 1`
    /// numbers that do not fall (elsewhere `cu_seqlens_q`). A slot has at most `rows` of them and `max_keys`
    /// keys. Prompts, chunks of prompts, decode and speculative steps may be mixed.
    pub fn packed(
        dtype: DType,
        [total_rows, num_heads, head_dim]: [u32; 3],
        [slots, rows]: [u32; 2],
        max_keys: u32,
        kv: KvLayout,
    ) -> Self {
        let same = Self::new(dtype, [slots, rows, num_heads, head_dim], max_keys, kv);
        Self { total_rows: Some(total_rows), ..same }
    }

    spec_builders!();

    /// Asks for `lse`.
    #[must_use]
    pub fn with_lse(self) -> Self {
        Self { want_lse: true, ..self }
    }

    /// Asks for `status`: a launch also looks at every length, at the rows of every slot, and at every entry
    /// of the block table that it uses. Entries left of a window are not among them.
    #[must_use]
    pub fn checked(self) -> Self {
        Self { is_checked: true, ..self }
    }

    /// Asks for rows of o and lse whose bits depend on nothing but the sequence: not on what else is in the
    /// launch, nor on its order, the number of cores, where K and V lie, or which rows of the sequence come
    /// with it. The keys of a task then stay with one core and are read in smaller steps, which makes decode
    /// with few slots slower. With a window that is limited on the left, keys down to a multiple of 128
    /// before it are read, too.
    #[must_use]
    pub fn batch_invariant(self) -> Self {
        Self { is_batch_invariant: true, ..self }
    }

    /// Factor of the scores.
    pub(crate) fn softmax_scale(&self) -> f32 {
        self.spec.softmax_scale_or_default(MAX_HEAD_DIM)
    }

    /// Query rows of all slots.
    pub(super) fn all_rows(&self) -> u64 {
        match self.total_rows {
            Some(rows) => u64::from(rows),
            None => u64::from(self.slots) * u64::from(self.rows),
        }
    }

    /// Entries of a row of the block table; 0 without pages, and where the table is one list.
    pub fn table_width(&self) -> u32 {
        let Some(pages) = self.kv.pages else { return 0 };
        match pages.table {
            BlockTable::Rows { width } => {
                width.unwrap_or_else(|| self.max_keys.div_ceil(pages.page_size.max(1)))
            }
            BlockTable::Csr { .. } => 0,
        }
    }

    /// Entries of the block table: of all its rows, or of the list.
    pub(super) fn table_entries(&self) -> u64 {
        let rows = u64::from(self.slots) * u64::from(self.table_width());
        self.kv.csr_entries().map_or(rows, u64::from)
    }

    pub(super) fn strides(&self) -> Strides {
        let s = &self.spec;
        let keys = self.kv.pages.map_or(self.max_keys, |pages| pages.page_size);
        let by_head = |heads, dim| {
            let [page, head, row] = dense_strides(heads, keys, dim);
            [page, row, head]
        };
        let [pieces_k, pieces_v] = self.pieces();
        let cache = |[heads, dim]: [u32; 2]| match self.kv.order {
            KvOrder::KeysFirst => dense_strides(keys, heads, dim),
            _ => by_head(heads, dim),
        };
        let dense = |dim| dense_strides(self.total_rows.unwrap_or(self.rows), s.num_heads, dim);
        Strides {
            q: self.q_stride.unwrap_or_else(|| dense(s.head_dim)),
            k: self.k_stride.unwrap_or_else(|| cache(pieces_k)),
            v: self.v_stride.unwrap_or_else(|| cache(pieces_v)),
            o: self.o_stride.unwrap_or_else(|| dense(s.head_dim_v)),
        }
    }

    /// Of k and v: runs of elements that lie side by side for each key, and elements of one. A run is a head,
    /// or a part of one.
    pub(crate) fn pieces(&self) -> [[u32; 2]; 2] {
        let s = &self.spec;
        let pieces = self.kv.order.piece_elements().unwrap_or([s.head_dim, s.head_dim_v]);
        [(s.head_dim, pieces[0]), (s.head_dim_v, pieces[1])].map(|(dim, piece)| {
            // `layout_reasons` refuses what 32 bits do not hold, and heads that are no whole pieces.
            [s.num_heads_k.saturating_mul(dim.checked_div(piece).unwrap_or(0)), piece]
        })
    }

    /// Columns of q and k on the Cube. Pieces of 8 elements fill half a row of a fractal each.
    pub(super) fn score_depth(&self) -> u32 {
        match self.kv.order {
            KvOrder::Vllm => 2 * self.spec.head_dim,
            _ => self.spec.head_dim,
        }
    }

    /// q, k, v and o. Heads of k and v are their pieces.
    pub(crate) fn tensors(&self) -> [Tensor; 4] {
        let (s, strides) = (&self.spec, self.strides());
        let (places, keys) = match self.kv.pages {
            Some(pages) => (pages.num_pages, pages.page_size),
            None => (self.slots, self.max_keys),
        };
        let tensor = |name, [outer, rows, heads]: [u32; 3], dim: u32, stride, is_output| Tensor {
            name,
            extent: [u64::from(outer), u64::from(rows), u64::from(heads)],
            dim: u64::from(dim),
            size: s.dtype.size_bytes() as u64,
            stride,
            is_output,
        };
        let own = match self.total_rows {
            Some(rows) => [1, rows, s.num_heads],
            None => [self.slots, self.rows, s.num_heads],
        };
        let cache = |name, [pieces, elements]: [u32; 2], stride| {
            tensor(name, [places, keys, pieces], elements, stride, false)
        };
        let [pieces_k, pieces_v] = self.pieces();
        [
            tensor("q", own, s.head_dim, strides.q, false),
            cache("k", pieces_k, strides.k),
            cache("v", pieces_v, strides.v),
            tensor("o", own, s.head_dim_v, strides.o, true),
        ]
    }
}
