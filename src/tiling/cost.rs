//! The planner's estimate of a tiling, in cycles.
//!
//! A sum of the steady-state rates of dav-c220.md §5, good for ranking tilings, not for predicting times: the
//! simulator does that. Per block of keys the slowest pipe of the Cube and the slowest of a vector core run side by side,
//! and each hand-over round costs a constant that the preload does not hide.

use super::candidate::{Tiling, TILE};
use super::Shape;

/// One Cube/Vector hand-over round, in cycles, as pto's cost model has it measured on a board (paper.md §4).
const HAND_OVER_CYCLES: f64 = 1000.0;
/// GM to L1 or UB, bytes per cycle and core, data in L2 (§5.5).
const GM_READ: f64 = 110.0;
/// UB to GM, bytes per cycle and core (§5.5).
const UB_TO_GM: f64 = 66.0;
/// L0C to GM, bytes per cycle and core (§5.5).
const L0C_TO_GM: f64 = 118.0;
/// L1 to L0A and to L0B, bytes per cycle (§5.4).
const L1_TO_L0A: f64 = 256.0;
const L1_TO_L0B: f64 = 128.0;
/// Issue and exposed latency of one GM copy with double buffering: half of the 170 cycles of a lone copy (§5.5).
const GM_COPY_CYCLES: f64 = 85.0;
/// Cycles beyond its fractals that a Mmad in a stream costs (§5.2: 10 to 16 measured).
const MMAD_CYCLES: f64 = 12.0;
/// A vector instruction that waits for the one before it (§5.3: 22 to 25 measured).
const DEPENDENT_CYCLES: f64 = 25.0;
/// Cycles per 64 scores, by §5.3: scale 1, running maximum 2, minus maximum 2, exp 2, cast 1, sum 2.
const SOFTMAX_CYCLES: f64 = 10.0;
const SOFTMAX_STEPS: f64 = 12.0;
/// Cycles per 64 scores of a masked block: select 2, and reading the mask bits.
const MASK_CYCLES: f64 = 3.0;
/// Cycles per 64 elements of o and block of keys: rescale 2, add 2.
const UPDATE_CYCLES: f64 = 4.0;
const UPDATE_STEPS: f64 = 4.0;
/// Cycles per 64 elements of o at the end: divide 4, cast 1.
const FINISH_CYCLES: f64 = 5.0;

/// Row blocks of one head are put into at most this many classes of equal cost for an estimate.
const ESTIMATE_CLASSES: u32 = 128;

/// Work of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CoreLoad {
    /// Work items.
    pub items: u64,
    /// Estimated cycles.
    pub cycles: f64,
}

impl Tiling {
    /// Estimated cycles of the slowest core.
    pub(super) fn makespan(&self, shape: &Shape) -> f64 {
        let slowest = self.core_loads(shape, ESTIMATE_CLASSES).iter().map(|l| l.cycles).fold(0.0, f64::max);
        let first_block = self.block(shape, self.candidate.block_m, self.candidate.block_n, false);
        slowest + first_block
    }

    /// Work of every core; exact with at least `num_blocks_m` classes.
    pub(super) fn core_loads(&self, shape: &Shape, classes: u32) -> Vec<CoreLoad> {
        let mut loads = vec![CoreLoad::default(); self.num_cores as usize];
        let heads = u64::from(shape.batch) * u64::from(shape.num_heads);
        let step = self.num_blocks_m.div_ceil(classes).max(1);
        let mut first = 0;
        while first < self.num_blocks_m {
            let last = self.num_blocks_m.min(first.saturating_add(step));
            let cycles = self.item(shape, first + (last - 1 - first) / 2);
            // Row blocks are dealt in descending order, `heads` items each.
            let positions = |block: u32| u64::from(self.num_blocks_m - block) * heads;
            for (core, load) in loads.iter_mut().enumerate() {
                let dealt = |end| dealt_before(end, core as u64, u64::from(self.num_cores));
                let items = dealt(positions(first)) - dealt(positions(last));
                load.items += items;
                load.cycles += items as f64 * cycles;
            }
            first = last;
        }
        loads
    }

    /// Estimated cycles of one work item.
    pub(super) fn item(&self, shape: &Shape, block_m_index: u32) -> f64 {
        let block_m = self.candidate.block_m;
        let first = block_m_index * block_m;
        let rows = (shape.seqlen_q - first).min(block_m);
        let keys = shape.visible_keys(first..first + rows);
        let keys = if keys.is_empty() { 0 } else { keys.end - keys.start / 16 * 16 };
        let (whole, rest) = (keys / self.candidate.block_n, keys % self.candidate.block_n);
        let blocks = whole + u32::from(rest > 0);
        let (left, right) = shape.limits();
        let diagonals = u32::from(left.is_some()) + u32::from(right.is_some());
        let masked = (diagonals * (1 + rows / self.candidate.block_n)).min(blocks);
        let whole_masked = masked.min(whole);
        let mut cycles =
            f64::from(whole - whole_masked) * self.block(shape, rows, self.candidate.block_n, false);
        cycles += f64::from(whole_masked) * self.block(shape, rows, self.candidate.block_n, true);
        if rest > 0 {
            cycles += self.block(shape, rows, rest, masked > 0);
        }
        cycles + self.ends(shape, rows)
    }

    /// Loading q and finishing o of an item.
    fn ends(&self, shape: &Shape, rows: u32) -> f64 {
        let rows_v = f64::from(rows.div_ceil(2).next_multiple_of(8));
        let q = f64::from(rows * shape.head_dim * 2) / GM_READ + GM_COPY_CYCLES;
        let finish = rows_v * f64::from(shape.head_dim_v.div_ceil(64)) * FINISH_CYCLES;
        let store = rows_v * f64::from(shape.head_dim_v * 2) / UB_TO_GM + GM_COPY_CYCLES;
        q + finish + store
    }

    /// One block of `keys` keys.
    fn block(&self, shape: &Shape, rows: u32, keys: u32, is_masked: bool) -> f64 {
        self.cube(shape, rows, keys).max(self.vector(shape, rows, keys, is_masked)) + HAND_OVER_CYCLES
    }

    fn cube(&self, shape: &Shape, rows: u32, keys: u32) -> f64 {
        let tiles = |extent: u32| f64::from(extent.div_ceil(TILE));
        let tiles_m = f64::from(rows.div_ceil(self.tile_m));
        let (m, n) = (f64::from(rows.next_multiple_of(16)), f64::from(keys.next_multiple_of(16)));
        let (d, d_v) = (f64::from(shape.head_dim), f64::from(shape.head_dim_v));
        let mmads = tiles_m * tiles(keys) * (tiles(shape.head_dim) + tiles(shape.head_dim_v));
        let mmad = m * n * (d + d_v) / 4096.0 + mmads * MMAD_CYCLES;
        let l0a = 2.0 * m * (d * tiles(keys) + n * tiles(shape.head_dim_v)) / L1_TO_L0A;
        let l0b = 2.0 * tiles_m * n * (d + d_v) / L1_TO_L0B;
        let copies = 3.0 * f64::from(keys.div_ceil(self.candidate.chunk_n));
        let mte2 = 2.0 * n * (d + d_v + m) / GM_READ + copies * GM_COPY_CYCLES;
        let fixpipe = 4.0 * m * (n + d_v) / L0C_TO_GM;
        mmad.max(l0a + l0b).max(mte2).max(fixpipe)
    }

    fn vector(&self, shape: &Shape, rows: u32, keys: u32, is_masked: bool) -> f64 {
        let rows = rows.div_ceil(2).next_multiple_of(8);
        let repeats = |columns: u32| f64::from(rows) * f64::from(columns.div_ceil(64));
        let slices = |columns: u32| {
            let rows_fit = (self.slice_bytes / (columns.next_multiple_of(64) * 4)).clamp(1, self.slice_rows);
            f64::from(rows.div_ceil(rows_fit))
        };
        let (s_slices, o_slices) = (slices(keys), slices(shape.head_dim_v));
        let per_score = SOFTMAX_CYCLES + if is_masked { MASK_CYCLES } else { 0.0 };
        let softmax = repeats(keys) * per_score + s_slices * SOFTMAX_STEPS * DEPENDENT_CYCLES;
        let update = repeats(shape.head_dim_v) * UPDATE_CYCLES + o_slices * UPDATE_STEPS * DEPENDENT_CYCLES;
        let read = 4.0 * f64::from(rows) * f64::from(keys + shape.head_dim_v) / GM_READ;
        let mte2 = read + (s_slices + o_slices) * GM_COPY_CYCLES;
        let mte3 = 2.0 * f64::from(rows) * f64::from(keys) / UB_TO_GM + s_slices * GM_COPY_CYCLES;
        (softmax + update).max(mte2).max(mte3)
    }
}

/// How many positions below `end` core `core` of `cores` takes: one in each whole round, back and forth.
fn dealt_before(end: u64, core: u64, cores: u64) -> u64 {
    let (round, rest) = (end / cores, end % cores);
    let place = if round % 2 == 0 { core } else { cores - 1 - core };
    round + u64::from(place < rest)
}
