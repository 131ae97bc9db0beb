//! The Cube's side: QK^T and PV of a step through MTE2, MTE1, M and FIX.

use super::{Model, Step, QUEUE_ENTRIES};
use crate::soc::GmPath;
use crate::tiling::candidate::{score_bytes, TILE};
use crate::tiling::traffic::{Rows, Traffic};

/// Entries of a tile in the queue of MTE1: one load of each operand, and three flags of their buffers.
const ENTRIES: f64 = 5.0;

/// When the pipes of a Cube are free.
pub(super) struct CubeClock {
    /// When the scalar unit takes up what comes next.
    issue: f64,
    mte2: f64,
    mte1: f64,
    mmad: f64,
    fix: f64,
    /// When the buffers of values may be written again.
    values: f64,
}

impl CubeClock {
    pub(super) fn new(start: f64) -> Self {
        Self { issue: start, mte2: start, mte1: start, mmad: start, fix: start, values: start }
    }
}

/// A product in tiles: each is loaded into L0 and multiplied, `depth` of them make one accumulator.
#[derive(Clone, Copy, Debug)]
struct Product {
    tiles: f64,
    depth: f64,
    /// Cycles of a tile on MTE1 and on M, and of an accumulator on FIX.
    mte1: f64,
    mmad: f64,
    fix: f64,
    /// Accumulators that are filled together.
    together: f64,
}

impl Model<'_> {
    fn fractals(extent: u32) -> f64 {
        f64::from(extent.div_ceil(16))
    }

    /// A product of `rows` x `inner` x `cols`; `fix` gives the store of a tile of rows x columns, `size`
    /// bytes an element.
    fn product(
        &self,
        [rows, inner, cols]: [u32; 3],
        together: f64,
        fix: impl Fn(u32, u32) -> Rows,
        size: u32,
    ) -> Product {
        let timing = &self.soc.timing;
        let [m, n, k] = [(rows, self.tiling.tile_m), (cols, TILE), (inner, TILE)].map(|(all, tile)| {
            let tiles = all.div_ceil(tile).max(1);
            (f64::from(tiles), Self::fractals(all) / f64::from(tiles))
        });
        let fractal = 512.0;
        let (m1, n1, k1) = (m.1, n.1, k.1);
        let l0a = m1 * (k1 * fractal / timing.local.l1_to_l0a.bytes_per_cycle).max(1.0);
        let l0b = n1 * k1 * fractal / timing.local.l1_to_l0b.bytes_per_cycle;
        let tile = |all: u32, tile: u32| all.min(tile);
        Product {
            tiles: m.0 * n.0 * k.0,
            depth: k.0,
            mte1: l0a + l0b,
            mmad: timing.cube.head as f64 + m1 * n1 * k1,
            fix: self.store(fix(tile(rows, self.tiling.tile_m), tile(cols, TILE)), size),
            together,
        }
    }

    /// Cycles from a tile to the next one: the slowest pipe, or a round through two L0 buffers or two
    /// accumulators.
    fn pace(&self, p: &Product) -> f64 {
        let (l0, l0c, store) = self.latencies();
        let buffers = (p.mte1 + l0 + p.mmad + l0c) / 2.0;
        let fill = p.depth * p.mmad * p.together;
        let accumulators = (fill + l0c + p.fix * p.together + store) / 2.0 / p.together;
        p.mte1.max(p.mmad).max(buffers).max(p.fix.max(accumulators) / p.depth)
    }

    /// Latencies behind MTE1, M and FIX, with that of the flag to the next pipe.
    fn latencies(&self) -> (f64, f64, f64) {
        let timing = &self.soc.timing;
        let flag = timing.control.flag;
        let latency = |cycles: u64| (cycles + flag) as f64;
        (
            latency(timing.local.load3d_latency),
            latency(timing.cube.latency),
            latency(timing.gm.from_l0c.latency),
        )
    }

    /// Loads `load` cycles of data, of which the first `piece` are needed to begin, and multiplies.
    fn multiply(&self, clock: &mut CubeClock, [load, piece]: [f64; 2], p: &Product, ready: f64) -> f64 {
        let (l0, l0c, store) = self.latencies();
        let gm = (self.soc.timing.gm.to_l1_nd2nz.latency + self.soc.timing.control.flag) as f64;
        let pace = self.pace(p);
        let start = clock.mte2.max(clock.issue).max(ready);
        clock.mte2 = start + load;
        let mte1 = clock.mte1.max(start + piece + gm);
        let mmad = clock.mmad.max(mte1 + p.mte1 + l0);
        // Behind the last piece of data at least a tile is left.
        clock.mmad = (mmad + p.tiles * pace).max(clock.mte2 + gm + p.mte1 + l0 + pace);
        clock.mte1 = clock.mmad - p.mmad - l0;
        let fix = clock.fix.max(mmad + p.depth * p.mmad + l0c);
        clock.fix = (fix + p.tiles / p.depth * p.fix).max(clock.mmad + l0c + p.fix);
        // The queue of MTE1 holds the scalar unit back.
        let lead = (QUEUE_ENTRIES / ENTRIES).min(p.tiles) * pace;
        clock.issue = (clock.mte1 - lead).max(clock.issue.max(ready));
        clock.fix + store
    }

    fn qk_product(&self, rows: u32, keys: u32) -> Product {
        self.product(
            [rows, self.shape.head_dim, keys],
            1.0,
            |rows, cols| self.score_rows(rows, cols),
            score_bytes(self.shape),
        )
    }

    /// The store of a tile; its pipe counts bytes of L0C, 4 an element, whatever is stored.
    fn store(&self, rows: Rows, size: u32) -> f64 {
        let path = self.soc.timing.gm.from_l0c;
        let bytes_per_cycle = path.bytes_per_cycle * f64::from(size) / 4.0;
        self.write(&GmPath { bytes_per_cycle, ..path }, rows, 1)
    }

    fn pv_product(&self, rows: u32, keys: u32) -> Product {
        let together = self.shape.head_dim_v.div_ceil(TILE);
        let tile = |rows, cols| Rows { rows, bytes: cols * 4, pitch: u64::from(self.shape.head_dim_v) * 4 };
        self.product([rows, keys, self.shape.head_dim_v], f64::from(together), tile, 4)
    }

    /// Transfers of the Cube's MTE2, which compete with those of the other pipes.
    fn traffic_to_l1(&self) -> Traffic<'_> {
        Traffic { busy: self.busy[1], ..self.traffic() }
    }

    fn load(&self, rows: Rows) -> f64 {
        self.traffic_to_l1().read_nd2nz(rows, 0.0)
    }

    /// The same for K or V.
    fn load_kv(&self, rows: Rows) -> f64 {
        self.traffic_to_l1().read_nd2nz(rows, self.same_lines())
    }

    /// The same for P.
    fn load_p(&self, step: &Step) -> f64 {
        self.over_p(step, |rows| self.load(rows))
    }

    /// QK^T of a step and, behind the first chunk of K, the values of `next_pv`; when the vector cores see
    /// the scores.
    pub(super) fn multiply_qk(&self, clock: &mut CubeClock, step: &Step, next_pv: Option<&Step>) -> f64 {
        let chunk = self.tiling.candidate.chunk_n.min(step.keys);
        let q = if step.first { self.load(self.q_rows(step.rows)) } else { 0.0 };
        let first = q + self.load_kv(self.k_rows(chunk));
        let mut done = self.multiply(clock, [first, first], &self.qk_product(step.rows, chunk), 0.0);
        let values = next_pv.map_or(0.0, |s| self.load_kv(self.v_rows(self.early_values(s))));
        if next_pv.is_some() {
            clock.mte2 = clock.mte2.max(clock.values);
        }
        if step.keys > chunk {
            let piece = self.load_kv(self.k_rows(chunk.min(step.keys - chunk)));
            let rest = self.load_kv(self.k_rows(step.keys - chunk));
            done = self.multiply(
                clock,
                [values + rest, values + piece],
                &self.qk_product(step.rows, step.keys - chunk),
                0.0,
            );
        } else {
            clock.mte2 = clock.mte2.max(clock.issue) + values;
        }
        done + self.soc.timing.control.cross_group as f64
    }

    /// Values that are loaded before PV: two buffers of them.
    fn early_values(&self, step: &Step) -> u32 {
        step.keys.min(2 * self.tiling.chunk_p)
    }

    /// PV of a bundle whose P is there at `ready`; when the vector cores see the output.
    pub(super) fn multiply_pv(
        &self,
        clock: &mut CubeClock,
        step: &Step,
        ready: f64,
        has_values: bool,
    ) -> f64 {
        let early = if has_values { self.early_values(step) } else { 0 };
        let values = if early < step.keys { self.load_kv(self.v_rows(step.keys - early)) } else { 0.0 };
        let piece = self.load(self.slot_rows(
            step.rows.min(self.tiling.tile_m),
            self.tiling.chunk_p.min(step.keys),
            2,
        ));
        let p = self.load_p(step);
        let product = self.pv_product(step.rows, step.keys);
        let done = self.multiply(clock, [p + values, piece], &product, ready);
        clock.values = clock.mte1 + self.soc.timing.control.flag as f64;
        done + self.soc.timing.control.cross_group as f64
    }

    /// The slowest pipe of the Cube.
    pub(super) fn cube_bound(&self, step: &Step) -> f64 {
        let qk = self.qk_product(step.rows, step.keys);
        let pv = self.pv_product(step.rows, step.keys * step.bundle);
        let pv_tiles = pv.tiles * step.share();
        let k_v = self.load_kv(self.k_rows(step.keys)) + self.load_kv(self.v_rows(step.keys));
        let mte2 = k_v + self.load_p(step);
        let fix = qk.tiles / qk.depth * qk.fix + pv_tiles / pv.depth * pv.fix;
        (qk.tiles * self.pace(&qk) + pv_tiles * self.pace(&pv)).max(mte2).max(fix)
    }
}
