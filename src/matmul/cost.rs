//! The planner's prediction: model time of a product, in cycles, from the rates of
//! [`Timing`](crate::soc::Timing) alone.

use super::{BLayout, MatmulTilingData, Problem, Tiling};
use crate::tiling::traffic::{overlapped, same_lines, Rows, Traffic, LINE};
use crate::{DType, Soc};

/// How fast cores that wait for their own pipes stop to meet at lines of L2: the power of the part of the
/// time for which they would need L2. ASSUMPTION(cost-drift): fitted on simulated launches.
const DRIFT: f64 = 6.0;

/// Cycles of a tile.
#[derive(Clone, Copy)]
struct Pipes {
    m: f64,
    mte1: f64,
    mte2: f64,
    fix: f64,
    /// Of MTE2, before the first Mmad.
    first_load: f64,
    /// Of a port of L2, for all of its cores.
    port: f64,
    /// The time in which the buffers of L1 and L0 come round.
    buffers: f64,
}

impl Tiling {
    /// Predicted cycles of the slowest core: rounds of tiles, each as long as what bounds it, and what
    /// nothing hides.
    pub(super) fn cycles(&self, problem: &Problem, soc: &Soc) -> f64 {
        if problem.is_empty() || problem.k == 0 {
            return 0.0;
        }
        let timing = &soc.timing;
        let tiles = |extent: u32, size: u32| u64::from(extent.div_ceil(size));
        let in_block = tiles(self.block[0].min(problem.m), self.tile[0])
            * tiles(self.block[1].min(problem.n), self.tile[1]);
        let batch = problem.batch.iter().fold(1u64, |product, &b| product.saturating_mul(u64::from(b)));
        let blocks = tiles(problem.m, self.block[0])
            .saturating_mul(tiles(problem.n, self.block[1]))
            .saturating_mul(batch);
        // A short last round has L2 for fewer cores.
        let cores = u64::from(self.num_cores);
        let in_round = |blocks: u64| u32::try_from(blocks).unwrap_or(u32::MAX).min(self.num_cores);
        let (rounds, rest) = (blocks / cores, in_round(blocks % cores));
        let of_rounds = |rounds: u64, cores: u32| match rounds {
            0 => 0.0,
            _ => rounds as f64 * self.tile_cycles(problem, soc, cores),
        };
        let work =
            in_block as f64 * (of_rounds(rounds, self.num_cores) + of_rounds(u64::from(rest > 0), rest));

        let latency = |cycles: u64| (cycles + timing.control.flag) as f64;
        let first = self.pipes(problem, soc, in_round(blocks), 1.0);
        let begin = timing.control.begin(true, size_of::<MatmulTilingData>())
            + first.first_load
            + latency(timing.gm.to_l1_nd2nz.latency)
            + first.mte1 / self.mmads(problem)
            + latency(timing.local.load3d_latency);
        let end = latency(timing.cube.latency) + first.fix + latency(timing.gm.from_l0c.latency);
        begin + work + end
    }

    /// Cycles of a tile among others, while so many cores work.
    fn tile_cycles(&self, problem: &Problem, soc: &Soc, cores: u32) -> f64 {
        let timing = &soc.timing;
        let latency = |cycles: u64| (cycles + timing.control.flag) as f64;
        let apart = self.pipes(problem, soc, cores, 0.0);
        // Two tiles in L0C hide the fixpipe; in one, unitFlag hides all but its start.
        let result = latency(timing.cube.latency);
        let turn = match (self.l0c_buffers, self.unit_flag) {
            (2, _) => 0.0,
            (_, true) => result,
            (_, false) => result + apart.fix + latency(timing.gm.from_l0c.latency),
        };
        let own = (apart.m + turn).max(apart.mte1).max(apart.fix);
        let together = (apart.mte2.max(apart.port) / own).min(1.0).powf(DRIFT);
        let pipes = self.pipes(problem, soc, cores, together);
        let from_l2 = overlapped(own, pipes.mte2.max(pipes.port)).max(pipes.buffers);
        overlapped(from_l2, self.hbm_cycles(problem, soc, cores))
    }

    /// Whether the buffers of B in L1 take as many requests as a core may have under way: with fewer, a core
    /// does not get its part of HBM past L2, where answers take longest.
    pub(super) fn has_room_for_requests(&self, problem: &Problem, soc: &Soc) -> bool {
        let depth = self.step_k[1].saturating_mul(self.tile[2]).min(problem.k);
        let requests = self.rows_of_b(problem, depth).nd2nz_requests().map_or(0.0, |(requests, _)| requests);
        requests * f64::from(self.l1_buffers) >= soc.timing.gm.outstanding as f64
    }

    /// Cycles of HBM for the columns of B of a tile, while so many cores work. Past L2 each tile reads
    /// them from there, else the first of those that need them does, if L2 does not have them from before.
    fn hbm_cycles(&self, problem: &Problem, soc: &Soc, cores: u32) -> f64 {
        let [a, b, c] = problem.operand_bytes();
        let is_beyond_l2 = a.saturating_add(b).saturating_add(c) > soc.l2_bytes;
        if !self.b_past_l2 && !problem.is_b_cold && !is_beyond_l2 {
            return 0.0;
        }
        let rows = self.rows_of_b(problem, problem.k);
        // Two cores read the line in which a tile's rows of B end.
        let is_cut = problem.b_layout == BLayout::Kn && !u64::from(rows.bytes).is_multiple_of(LINE);
        let traffic = Traffic { soc, cores, busy: 0.0 };
        let same_lines = same_lines(if is_cut { 2.0 } else { 1.0 });
        let cycles = traffic.read_nd2nz_from_hbm(rows, self.b_past_l2, same_lines);
        let readers = if self.b_past_l2 { 1 } else { problem.m.div_ceil(self.tile[0]).max(1) };
        cycles / f64::from(readers)
    }

    /// What a tile reads of B, `depth` deep.
    fn rows_of_b(&self, problem: &Problem, depth: u32) -> Rows {
        let n = self.tile[1].min(problem.n);
        let [_, b, _] = problem.matrices();
        match problem.b_layout {
            BLayout::Kn => part(depth, n, b.strides.row, problem.dtype),
            BLayout::Nk => part(n, depth, b.strides.row, problem.dtype),
        }
    }

    fn mmads(&self, problem: &Problem) -> f64 {
        f64::from(problem.k.div_ceil(self.tile[2]))
    }

    /// A whole tile, while so many cores work; `together` is the part of them that are at the same place
    /// in it.
    // The closures name the sizes once that the sums below share.
    fn pipes(&self, problem: &Problem, soc: &Soc, cores: u32, together: f64) -> Pipes {
        let (timing, traffic) = (&soc.timing, Traffic { soc, cores, busy: 0.0 });
        let [m, n] = [self.tile[0].min(problem.m), self.tile[1].min(problem.n)];
        let [a, _, c] = problem.matrices().map(|matrix| matrix.strides.row);
        let of_a = |depth: u32| part(m, depth, a, problem.dtype);
        let of_b = |depth: u32| self.rows_of_b(problem, depth);
        // Blocks that are made at the same time: a band's rows, and columns for the other cores.
        let rows_at_once = f64::from(self.swizzle.min(problem.m.div_ceil(self.block[0])).max(1));
        let cols_at_once =
            (f64::from(cores) / rows_at_once).min(f64::from(problem.n.div_ceil(self.block[1])));
        // Copies of `step` steps of the tile's depth each, the last one with what is left: MTE2 for the first
        // and for all, and a port of L2.
        let loads = |step: u32, of: &dyn Fn(u32) -> Rows, readers: f64| {
            let same_lines = together * same_lines(readers);
            let load = |depth: u32| match depth {
                0 => [0.0; 2],
                _ => [traffic.read_nd2nz(of(depth), same_lines), traffic.port_read(of(depth), same_lines)],
            };
            let depth = step.saturating_mul(self.tile[2]).clamp(1, problem.k);
            let (whole, rest) = (load(depth), load(problem.k % depth));
            let all = |i: usize| f64::from(problem.k / depth) * whole[i] + rest[i];
            [whole[0], all(0), all(1)]
        };
        let [first_a, mte2_a, port_a] = loads(self.step_k[0], &of_a, cols_at_once);
        let [first_b, mte2_b, port_b] = loads(self.step_k[1], &of_b, rows_at_once);

        let fractals = |extent: u32| f64::from(extent.div_ceil(16));
        let (rows, cols, depth) = (fractals(m), fractals(n), fractals(problem.k));
        let fractal = 512.0;
        let result = part(m, n, c, problem.dtype_out);
        let pipes = Pipes {
            m: self.mmads(problem) * timing.cube.head as f64 + rows * cols * depth,
            mte1: rows * depth * fractal / timing.local.l1_to_l0a.bytes_per_cycle
                + cols * depth * fractal / timing.local.l1_to_l0b.bytes_per_cycle,
            mte2: mte2_a + mte2_b,
            fix: traffic.write(&timing.gm.from_l0c, result, 1),
            first_load: first_a + first_b,
            port: port_a + port_b + traffic.port_write(result),
            buffers: 0.0,
        };
        Pipes { buffers: self.buffers(problem, soc, &pipes), ..pipes }
    }

    /// The time in which the buffers of L0 and of L1 come round: each is filled, read and given back.
    fn buffers(&self, problem: &Problem, soc: &Soc, pipes: &Pipes) -> f64 {
        let timing = &soc.timing;
        let flag = timing.control.flag;
        let latency = |cycles: u64| (cycles + flag) as f64;
        let mmads = self.mmads(problem);
        let (mte1, m) = (pipes.mte1 / mmads, pipes.m / mmads);
        let l0 = (mte1 + latency(timing.local.load3d_latency) + m + latency(timing.cube.latency))
            / f64::from(self.l0_buffers);
        let pace = mte1.max(m).max(l0);
        let step_k = self.step_k[0].max(self.step_k[1]);
        let chunks = f64::from(problem.k.div_ceil(step_k.saturating_mul(self.tile[2])));
        let turn =
            latency(timing.gm.to_l1_nd2nz.latency) + latency(timing.local.load3d_latency) + 2.0 * flag as f64;
        // A chunk is given back when its last piece has been loaded to L0.
        let l1 = pipes.mte2 + mmads * pace + chunks * (turn + mte1 - pace);
        (l1 / f64::from(self.l1_buffers)).max(mmads * l0)
    }
}

/// Rows of elements, `stride` elements apart.
fn part(rows: u32, cols: u32, stride: u64, dtype: DType) -> Rows {
    let size = dtype.size_bytes() as u64;
    let bytes = u32::try_from(u64::from(cols) * size).unwrap_or(u32::MAX);
    Rows { rows, bytes, pitch: stride.saturating_mul(size) }
}
