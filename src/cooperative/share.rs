//! What a side has of a layer.

use std::ops::Range;

use super::Problem;
use crate::append;
use crate::serving::{self, KvLayout};
use crate::spec::{AttentionSpec, Mask};

/// Where K and V may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// In the memory of the device.
    Device,
    /// In that of the host.
    Host,
}

/// What a side has of a layer. A slot has its own pages, `pages_per_slot` of them; the n-th page of its keys
/// is number `n % pages_per_slot` of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Share {
    /// Sequences.
    pub slots: Range<u32>,
    /// Heads of K and V.
    pub heads_k: Range<u32>,
    /// Pages of a slot.
    pub pages_per_slot: u32,
    /// Whether its results are merged with those of the other side.
    pub is_merged: bool,
}

/// Bytes of an element: f16 or bf16.
pub(super) const ELEMENT: u128 = 2;

impl Share {
    pub(super) fn of_all(problem: &Problem) -> Self {
        Self {
            slots: 0..problem.slots,
            heads_k: 0..problem.spec.num_heads_k,
            pages_per_slot: problem.max_keys.div_ceil(problem.page_size),
            is_merged: false,
        }
    }

    /// Heads of K and V.
    pub(super) fn num_heads_k(&self) -> u32 {
        self.heads_k.end - self.heads_k.start
    }

    /// Heads of q and o.
    pub(super) fn num_heads(&self, problem: &Problem) -> u32 {
        self.num_heads_k() * group(problem)
    }

    pub(super) fn num_slots(&self) -> u32 {
        self.slots.end - self.slots.start
    }

    fn num_pages(&self) -> u64 {
        u64::from(self.num_slots()) * u64::from(self.pages_per_slot)
    }

    /// Bytes of K and of V.
    pub(super) fn cache_bytes(&self, problem: &Problem) -> [u128; 2] {
        let rows = u128::from(self.num_pages()) * u128::from(problem.page_size);
        let row = |dim: u32| u128::from(self.num_heads_k()) * u128::from(dim) * ELEMENT;
        [problem.spec.head_dim, problem.spec.head_dim_v].map(|dim| rows.saturating_mul(row(dim)))
    }

    /// Bytes of K and V of one key.
    pub(super) fn key_bytes(&self, problem: &Problem) -> u128 {
        let dims = u128::from(problem.spec.head_dim) + u128::from(problem.spec.head_dim_v);
        u128::from(self.num_heads_k()) * dims * ELEMENT
    }

    /// Attention of `rows` packed rows of `slots` sequences. Strides of q and o are those of all heads on the
    /// device, and of the share's own on the host, which gets these alone.
    pub(super) fn attention(
        &self,
        problem: &Problem,
        side: Side,
        [slots, rows]: [u32; 2],
    ) -> serving::Problem {
        let p = problem;
        let pages = u32::try_from(self.num_pages()).unwrap_or(u32::MAX);
        let kv = KvLayout::paged(p.page_size, pages).with_table_width(self.pages_per_slot);
        let room = u64::from(self.pages_per_slot) * u64::from(p.page_size);
        let keys = u32::try_from(room).unwrap_or(u32::MAX).min(p.max_keys);
        let heads = self.num_heads(p);
        let shape = [rows, heads, p.spec.head_dim];
        let mut own = serving::Problem::packed(p.spec.dtype, shape, [slots, p.rows], keys, kv);
        own.spec = AttentionSpec { num_heads: heads, num_heads_k: self.num_heads_k(), ..p.spec };
        own.is_batch_invariant = p.is_batch_invariant;
        own.want_lse = self.is_merged;
        // The host's part ends before the first new row.
        if side == Side::Host && self.is_merged {
            own.spec.mask = Mask::None;
        }
        if side == Side::Device {
            let row = |dim: u32| u64::from(p.spec.num_heads) * u64::from(dim);
            let (dim, dim_v) = (p.spec.head_dim, p.spec.head_dim_v);
            own.q_stride = Some([u64::from(rows) * row(dim), row(dim), dim.into()]);
            // Merged results have a place of their own, as the host's part has.
            own.o_stride = Some([u64::from(rows) * row(dim_v), row(dim_v), dim_v.into()]);
        }
        own
    }

    /// Append of `tokens` new rows; strides as in [`Self::attention`].
    pub(super) fn append(&self, problem: &Problem, side: Side, tokens: u32) -> append::Problem {
        let own = append::Problem::new(tokens, &self.attention(problem, side, [problem.slots, 1]));
        if side == Side::Host {
            return own;
        }
        let (heads, s) = (u64::from(problem.spec.num_heads_k), &problem.spec);
        let strides = |dim: u32| [heads * u64::from(dim), dim.into()];
        own.with_strides(strides(s.head_dim), strides(s.head_dim_v))
    }
}

/// Heads of q for each of K and V.
pub(super) fn group(problem: &Problem) -> u32 {
    problem.spec.num_heads / problem.spec.num_heads_k.max(1)
}
