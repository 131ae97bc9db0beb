//! The planner's prediction for kernels that stream rows through the vector cores: model time in cycles, from
//! the rates of [`Timing`](crate::soc::Timing).

use crate::soc::GmPath;
use crate::tiling::traffic::{overlapped, Rows, Traffic};
use crate::Soc;

/// What one core does, tile by tile.
pub(super) struct Work<'a> {
    /// Bytes of tiling data.
    pub(super) tiling_bytes: usize,
    /// Vector cores that work.
    pub(super) num_cores: u32,
    /// Tiles of the core that has most.
    pub(super) tiles: f64,
    /// Vector instructions of a tile.
    pub(super) vector: Vector,
    /// What a tile reads and writes.
    pub(super) reads: &'a [Rows],
    pub(super) writes: &'a [Rows],
    /// Bytes that all cores read, and write. What L2 does not hold goes to HBM.
    pub(super) bytes: [u64; 2],
}

/// Vector instructions: their repeats, at the cycles of each, and how many wait for the one before.
#[derive(Clone, Copy, Default)]
pub(super) struct Vector {
    pub(super) repeats: f64,
    pub(super) steps: f64,
}

impl Vector {
    /// Instructions of `cycles` cycles a repeat, on so many repeats, one behind the other.
    pub(super) fn step(self, repeats: f64, cycles: f64) -> Self {
        Self { repeats: self.repeats + repeats * cycles, steps: self.steps + 1.0 }
    }

    fn cycles(self, soc: &Soc) -> f64 {
        self.repeats + self.steps * soc.timing.vector.other.latency as f64
    }
}

impl Work<'_> {
    /// Predicted cycles of the slowest core.
    pub(super) fn cycles(&self, soc: &Soc) -> f64 {
        let timing = &soc.timing;
        let groups = self.num_cores.div_ceil(2).max(1);
        let sharers = self.num_cores.div_ceil(groups).max(1);
        let traffic = Traffic { soc, cores: groups, busy: 0.0 };
        let all = |path: &GmPath, rows: &[Rows], is_read: bool| -> f64 {
            let one = |rows: &Rows| match is_read {
                true => traffic.read(path, *rows, sharers),
                false => traffic.write(path, *rows, sharers),
            };
            rows.iter().map(one).sum()
        };
        let (reads, writes) =
            (all(&timing.gm.to_ub, self.reads, true), all(&timing.gm.from_ub, self.writes, false));
        let vector = self.vector.cycles(soc);
        let latency = |cycles: u64| (cycles + timing.control.flag) as f64;
        let begin = timing.control.begin(false, self.tiling_bytes) + latency(timing.gm.to_ub.latency) + reads;
        let end = latency(timing.gm.from_ub.latency) + writes;
        // The first tile is read, and the last one written, with nothing beside it.
        let own = vector + (self.tiles - 1.0).max(0.0) * vector.max(reads).max(writes);
        begin + overlapped(own, self.hbm_cycles(soc)) + end
    }

    /// Cycles of HBM for what L2 does not hold from one launch to the next.
    fn hbm_cycles(&self, soc: &Soc) -> f64 {
        let [read, written] = self.bytes.map(|bytes| bytes as f64);
        if read + written <= soc.l2_bytes as f64 {
            return 0.0;
        }
        let memory = &soc.timing.memory;
        let cycles = |bytes: f64, gbps: f64| bytes * f64::from(soc.clock_mhz) / (gbps * 1000.0);
        cycles(read, memory.hbm_fill_gbps) + cycles(written * soc.timing.hbm.write_cost, memory.hbm_gbps)
    }
}
