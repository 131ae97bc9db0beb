//! What a lane needs beside K and V.

use super::share::{Share, Side};
use super::Problem;
use crate::{append, attention, merge, serving, Result, Soc};

/// Numbers of a step in one buffer start at multiples of this.
const NUMBERS_ALIGNMENT: u64 = 64;

/// Rows of q, k, v, o and lse of the host's share, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowBytes {
    pub(super) q: u64,
    pub(super) k: u64,
    pub(super) v: u64,
    pub(super) o: u64,
    /// 0 where nothing is merged.
    pub(super) lse: u64,
}

impl RowBytes {
    pub(super) fn of(problem: &Problem, share: &Share) -> Self {
        let [heads, heads_k] = [share.num_heads(problem), share.num_heads_k()].map(u64::from);
        let [dim, dim_v] = [problem.spec.head_dim, problem.spec.head_dim_v].map(|dim| 2 * u64::from(dim));
        let lse = if share.is_merged { 4 * heads } else { 0 };
        Self { q: heads * dim, k: heads_k * dim, v: heads_k * dim_v, o: heads * dim_v, lse }
    }

    pub(super) fn down(&self) -> u64 {
        self.q + self.k + self.v
    }

    pub(super) fn up(&self) -> u64 {
        self.o + self.lse
    }
}

/// Bytes that a lane allocates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Most rows of a step.
    pub(super) rows: u64,
    /// Workspaces of the steps, device and host, and of a prefill.
    pub(super) workspace: [u64; 2],
    pub(super) prefill_workspace: u64,
    /// Numbers of a step, device and host.
    pub(super) numbers: [u64; 2],
    /// o of the device's and of the host's part.
    pub(super) part_o: u64,
    /// lse of both parts, and merged.
    pub(super) part_lse: u64,
    /// Of a row of the host's share.
    pub(super) row: RowBytes,
    /// Rows of K and V that go down in one copy.
    pub(super) chunk_rows: u64,
}

impl Sizes {
    /// Of a lane whose sides have these shares.
    pub(super) fn of(problem: &Problem, soc: &Soc, shares: [Option<&Share>; 2]) -> Result<Self> {
        let rows = problem.slots.saturating_mul(problem.rows);
        let mut sizes = Self { rows: rows.into(), ..Self::default() };
        for (i, side) in [Side::Device, Side::Host].into_iter().enumerate() {
            let Some(share) = shares[i] else { continue };
            let of_side = share.num_slots();
            let own = share.attention(problem, side, [of_side, of_side.saturating_mul(problem.rows)]);
            sizes.workspace[i] = serving::plan(&own, soc)?.workspace_bytes();
            let tokens = rows.max(problem.prefill_rows);
            append::plan(&share.append(problem, side, tokens), soc)?;
            sizes.numbers[i] = Numbers::room(share, rows.max(problem.prefill_rows));
        }
        if problem.prefill_rows > 0 {
            let plan = attention::plan(&prefill(problem, problem.prefill_rows), soc)?;
            sizes.prefill_workspace = plan.workspace_bytes();
        }
        let Some(host) = shares[1] else { return Ok(sizes) };
        sizes.row = RowBytes::of(problem, host);
        let chunk_row = (sizes.row.k + sizes.row.v).max(1);
        let most = u64::from(problem.prefill_rows).min((problem.chunk_bytes / chunk_row).max(1));
        sizes.chunk_rows = most.max(sizes.rows);
        if host.is_merged {
            merge::plan(&merging(problem, rows), soc)?;
            sizes.part_o = sizes.rows * sizes.row.o;
            sizes.part_lse = sizes.rows * sizes.row.lse;
        }
        Ok(sizes)
    }

    /// On the device.
    pub(super) fn device(&self) -> u64 {
        self.workspace[0] + self.prefill_workspace + self.numbers[0] + 2 * self.part_o + 3 * self.part_lse
    }

    /// On the host: pinned memory, and the same rows where the host's kernels find them.
    pub(super) fn host(&self) -> u64 {
        let own = self.rows * (self.row.q + self.row.up());
        let pinned = self.rows * (self.row.down() + self.row.up());
        // Two chunks are under way, and the host's kernels read a third place.
        self.workspace[1] + self.numbers[1] + own + pinned + 3 * self.chunk_bytes()
    }

    /// K and V of a chunk.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunk_rows * (self.row.k + self.row.v)
    }
}

/// Attention of a prompt on the device.
pub(super) fn prefill(problem: &Problem, rows: u32) -> attention::Problem {
    let s = problem.spec;
    let mut own = attention::Problem::new(s.dtype, [1, rows, s.num_heads, s.head_dim]);
    own.spec = s;
    own
}

/// Merge of the device's and the host's part of `rows` rows.
pub(super) fn merging(problem: &Problem, rows: u32) -> merge::Problem {
    let s = &problem.spec;
    let shape = [1, rows, s.num_heads, s.head_dim_v];
    merge::Problem::new(s.dtype, 1, shape).with_sources([merge::Source::new(1), merge::Source::new(1)])
}

/// Where the numbers of a step lie in their buffer: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) row_starts: u64,
    pub(super) lengths: u64,
    pub(super) table: u64,
    pub(super) places: u64,
    pub(super) end: u64,
}

impl Numbers {
    /// Of `slots` sequences with `width` pages each, and `tokens` new rows.
    pub(super) fn of(slots: u64, width: u64, tokens: u64) -> Self {
        let aligned = |count: u64| (4 * count).next_multiple_of(NUMBERS_ALIGNMENT);
        let lengths = aligned(slots + 1);
        let table = lengths + aligned(slots);
        let places = table + aligned(slots * width);
        Self { row_starts: 0, lengths, table, places, end: places + aligned(tokens) }
    }

    /// Bytes for any step of a share.
    fn room(share: &Share, tokens: u32) -> u64 {
        Self::of(share.num_slots().into(), share.pages_per_slot.into(), tokens.into()).end
    }
}
