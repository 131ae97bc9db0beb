//! How the rows of K or V lie, as copies take them.

use crate::spec::Tensor;
use crate::tiling::{MAX_BURSTS, MAX_GM_GAP_BYTES};

/// Bytes of a block of UB, at which every piece of a copy starts.
pub(super) const BLOCK_BYTES: u64 = 32;

/// Pieces of a token on one side: all of its heads, or each head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// From the end of one to the next.
    pub(super) gap_bytes: u64,
}

impl Side {
    /// Bytes between the pieces of one copy of several tokens; `None` where they need a copy each.
    pub(super) fn joined_gap_bytes(&self, own: &Tensor, tokens: u32) -> Option<u64> {
        let [_, token, head] = own.stride;
        if self.count == 1 {
            return gap_between(token, own.size, self.bytes);
        }
        let is_even = Some(token) == own.extent[2].checked_mul(head);
        let fits = u64::from(tokens) * self.count <= u64::from(MAX_BURSTS);
        (is_even && fits).then_some(self.gap_bytes)
    }
}

/// A token's row of K, V or q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pieces {
    /// As it is read.
    pub(super) from: Side,
    /// As it is written.
    pub(super) to: Side,
    /// In UB.
    pub(super) row_bytes: u64,
}

impl Pieces {
    /// Of a row of `own` that goes to `cache`; the strides of both have been found right.
    pub(super) fn of(own: &Tensor, cache: &Tensor) -> Self {
        let (heads, head_bytes) = (own.extent[2], own.dim * own.size);
        let row_bytes = heads * head_bytes;
        let is_dense = |tensor: &Tensor| heads == 1 || tensor.stride[2] == tensor.dim;
        let are_dense = is_dense(own) && is_dense(cache);
        // UB has the same rows for both sides: where heads are whole blocks, in whatever pieces they come.
        let are_blocks = head_bytes.is_multiple_of(BLOCK_BYTES);
        let side = |tensor: &Tensor| {
            if are_dense || are_blocks && is_dense(tensor) {
                return Side { count: 1, bytes: row_bytes, gap_bytes: 0 };
            }
            let gap_bytes = tensor.stride[2].saturating_sub(tensor.dim).saturating_mul(tensor.size);
            Side { count: heads, bytes: head_bytes, gap_bytes }
        };
        let in_ub = |bytes: u64| bytes.next_multiple_of(BLOCK_BYTES);
        let row_bytes = if are_dense { in_ub(row_bytes) } else { heads * in_ub(head_bytes) };
        Self { from: side(own), to: side(cache), row_bytes }
    }

    /// Of a row whose pieces in `cache` are half blocks of UB, which has them side by side: one copy takes
    /// those of even number, another the rest, from an image of the row with the halves of blocks exchanged.
    pub(super) fn halved(cache: &Tensor) -> Self {
        let (pieces, bytes) = (cache.extent[2], cache.dim * cache.size);
        let row_bytes = pieces * bytes;
        let pitch = cache.stride[2].saturating_mul(2 * cache.size);
        let to = Side { count: pieces / 2, bytes, gap_bytes: pitch.saturating_sub(bytes) };
        Self { from: Side { count: 1, bytes: row_bytes, gap_bytes: 0 }, to, row_bytes }
    }

    /// Bytes between rows of a page that one copy writes; `None` where they need a copy each.
    pub(super) fn page_gap_bytes(&self, cache: &Tensor) -> Option<u64> {
        (self.to.count == 1).then(|| gap_between(cache.stride[1], cache.size, self.to.bytes))?
    }
}

/// Bytes between rows that start `stride` elements apart, if a copy can leave out so many.
fn gap_between(stride: u64, size: u64, row_bytes: u64) -> Option<u64> {
    stride.checked_mul(size)?.checked_sub(row_bytes).filter(|gap| *gap <= MAX_GM_GAP_BYTES)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    fn tensor(dim: u64, stride: [u64; 3]) -> Tensor {
        Tensor { name: "k", extent: [1, 9, 3], dim, size: 2, stride, is_output: false }
    }

    #[test]
    fn heads_are_one_piece_where_they_lie_side_by_side() {
        let one = |bytes| Side { count: 1, bytes, gap_bytes: 0 };
        let each = |bytes, gap_bytes| Side { count: 3, bytes, gap_bytes };
        let (dense, apart) = (tensor(16, [0, 48, 16]), tensor(16, [0, 16, 160]));
        let pieces = Pieces::of(&dense, &dense);
        assert_eq!(pieces, Pieces { from: one(96), to: one(96), row_bytes: 96 });
        let pieces = Pieces::of(&dense, &apart);
        assert_eq!(pieces, Pieces { from: one(96), to: each(32, 288), row_bytes: 96 });
        // Heads that are no whole blocks have the same pieces on both sides, which start at blocks in UB.
        let (dense, apart) = (tensor(5, [0, 15, 5]), tensor(5, [0, 5, 50]));
        assert_eq!(Pieces::of(&dense, &dense), Pieces { from: one(30), to: one(30), row_bytes: 32 });
        let pieces = Pieces::of(&dense, &apart);
        assert_eq!(pieces, Pieces { from: each(10, 0), to: each(10, 90), row_bytes: 96 });
    }

    #[test]
    fn rows_of_a_page_are_one_copy_where_heads_are_one_piece() {
        let gap = |cache: Tensor| Pieces::of(&tensor(16, [0, 48, 16]), &cache).page_gap_bytes(&cache);
        assert_eq!(gap(tensor(16, [0, 48, 16])), Some(0));
        assert_eq!(gap(tensor(16, [0, 53, 16])), Some(10));
        assert_eq!(gap(tensor(16, [0, 1 << 31, 16])), None, "more than a copy can leave out");
        assert_eq!(gap(tensor(16, [0, 16, 160])), None, "heads first");
    }

    #[test]
    fn tokens_at_one_distance_are_one_copy() {
        let gap = |own: Tensor, tokens| Pieces::of(&own, &own).from.joined_gap_bytes(&own, tokens);
        assert_eq!(gap(tensor(16, [0, 48, 16]), 9), Some(0));
        assert_eq!(gap(tensor(16, [0, 50, 16]), 9), Some(4));
        assert_eq!(gap(tensor(16, [0, 1 << 31, 16]), 9), None, "more than a copy can leave out");
        assert_eq!(gap(tensor(16, [0, 16, 16]), 9), None, "tokens share heads");
        assert_eq!(gap(tensor(16, [0, 60, 20]), 9), Some(8));
        assert_eq!(gap(tensor(16, [0, 61, 20]), 9), None);
        assert_eq!(gap(tensor(16, [0, 60, 20]), 1366), None, "more pieces than a copy has");
    }
}
