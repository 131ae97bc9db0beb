//! A vector core's side: softmax and update of a step through MTE2, V and MTE3.

use super::{rows_v, Model, Step, QUEUE_ENTRIES};
use crate::soc::{Timing, VectorOp};
use crate::tiling::candidate::is_narrow;
use crate::tiling::traffic::Rows;

/// The vector instructions of the kernel.
#[derive(Clone, Copy)]
pub(in crate::tiling) struct Ops {
    vadd: VectorOp,
    vadds: VectorOp,
    vbrcb: VectorOp,
    vcgadd: VectorOp,
    vcgmax: VectorOp,
    vconv: VectorOp,
    vdiv: VectorOp,
    vector_dup: VectorOp,
    vexp: VectorOp,
    vmax: VectorOp,
    vmul: VectorOp,
    vmuls: VectorOp,
    vsel: VectorOp,
    vsub: VectorOp,
}

impl Ops {
    pub(in crate::tiling) fn new(timing: &Timing) -> Self {
        let op = |name| {
            timing
                .vector
                .rate(name)
                .unwrap_or_else(|| unreachable!("cann.toml has {name}: the planner is tested with it"))
        };
        Self {
            vadd: op("vadd"),
            vadds: op("vadds"),
            vbrcb: op("vbrcb"),
            vcgadd: op("vcgadd"),
            vcgmax: op("vcgmax"),
            vconv: op("vconv"),
            vdiv: op("vdiv"),
            vector_dup: op("vector_dup"),
            vexp: op("vexp"),
            vmax: op("vmax"),
            vmul: op("vmul"),
            vmuls: op("vmuls"),
            vsel: op("vsel"),
            vsub: op("vsub"),
        }
    }
}

fn latency(op: VectorOp) -> f64 {
    op.latency as f64
}

/// When a vector core is free.
pub(super) struct VectorClock {
    /// When the scalar unit takes up what comes next.
    issue: f64,
    v: f64,
    /// When the last result is there.
    pub(super) end: f64,
}

impl VectorClock {
    pub(super) fn new(start: f64) -> Self {
        Self { issue: start, v: start, end: start }
    }
}

/// Slices of a step: rows of one, how many, and the cycles of V and of the scalar unit for one.
#[derive(Clone, Copy, Debug)]
struct Slices {
    rows: u32,
    count: f64,
    v: f64,
    /// Entries of a turn in the queue of V.
    entries: f64,
    /// Cycles that V waits at the barriers of a turn.
    waits: f64,
    /// Turns of a step beyond the number of its slices.
    drain: f64,
}

/// Slices of f32 that are under way at once, and barriers of a turn; the same of f16.
const UNDER_WAY: f64 = 4.0;
const BARRIERS: f64 = 3.0;
const UNDER_WAY_F16: f64 = 3.0;
const BARRIERS_F16: f64 = 6.0;
/// Vector instructions and register writes of a turn of the softmax besides those of the row-wise
/// subtraction.
const TURN_INSTRUCTIONS: f64 = 20.0;
const TURN_REGISTERS: f64 = 60.0;
/// Register writes of a row-wise instruction.
const ROW_REGISTERS: f64 = 4.0;

impl Model<'_> {
    /// Cycles of one vector instruction.
    fn instruction(&self, op: VectorOp, repeats: f64) -> f64 {
        (op.b32 * repeats).max(self.soc.timing.vector.min_occupancy as f64)
    }

    /// A value for each row against the row, in columns of 64: a replayed block meets one of the row's in
    /// half of the repeats, and where rows are a multiple of 16 blocks apart, the write of a repeat meets
    /// the read of the next (dav-c220.md 1.5).
    fn row_wise(&self, op: VectorOp, rows: u32, cols: u32) -> f64 {
        let reads = op.b32.max(1.5);
        let slope = if cols.next_multiple_of(8).is_multiple_of(128) { reads + 1.0 } else { reads };
        f64::from(cols.div_ceil(64))
            * (slope * f64::from(rows)).max(self.soc.timing.vector.min_occupancy as f64)
    }

    /// Cycles and levels of a row reduction.
    fn reduction(&self, op: VectorOp, combine: VectorOp, rows: u32, pitch: u32) -> (f64, f64) {
        let (mut blocks, mut cycles, mut levels) = (pitch / 8, 0.0, 1.0);
        let groups = f64::from(rows.div_ceil(8));
        while blocks > 1 {
            if blocks.is_multiple_of(8) {
                blocks /= 8;
                cycles += self.instruction(op, f64::from(rows * blocks));
            } else {
                let half = blocks.div_ceil(2);
                // Blocks of one column, a row apart: they meet in few groups of banks.
                cycles += f64::from(blocks - half) * self.instruction(combine, 4.0 * groups);
                blocks = half;
            }
            levels += 1.0;
        }
        (cycles + self.instruction(op, groups), levels)
    }

    /// Rows of `row_bytes` in a slice.
    fn rows_per_slice(&self, row_bytes: u32) -> u32 {
        self.tiling.slice_rows.min(self.tiling.slice_bytes / row_bytes / 8 * 8).max(8)
    }

    fn issue_cycles(&self, instructions: f64, registers: f64) -> f64 {
        let control = &self.soc.timing.control;
        instructions * control.issue as f64 + registers * control.register as f64
    }

    /// Columns that a row of a slice takes.
    fn pitch(&self, step: &Step) -> u32 {
        if is_narrow(self.shape) {
            step.keys.next_power_of_two().max(64)
        } else {
            step.keys.next_multiple_of(64)
        }
    }

    fn slices(&self, step: &Step) -> Slices {
        if is_narrow(self.shape) {
            return self.slices_f16(step);
        }
        let pitch = self.pitch(step);
        let total = rows_v(step.rows);
        let rows = self.rows_per_slice(4 * pitch).min(total);
        let count = f64::from(total.div_ceil(rows));
        let mean = total.div_ceil(total.div_ceil(rows));
        let repeats = f64::from(mean * (pitch / 64));
        let one = self.instruction(self.ops.vmuls, 1.0);
        let (max, levels) = self.reduction(self.ops.vcgmax, self.ops.vmax, mean, pitch);
        let (sum, _) = self.reduction(self.ops.vcgadd, self.ops.vadd, mean, pitch);
        let whole = self.instruction(self.ops.vmuls, repeats)
            + self.instruction(self.ops.vexp, repeats)
            + self.instruction(self.ops.vconv, repeats)
            + self.row_wise(self.ops.vsub, mean, pitch);
        let tails = if step.keys < pitch {
            2.0 * (self.instruction(self.ops.vector_dup, f64::from(mean)) + latency(self.ops.vector_dup))
        } else {
            0.0
        };
        let drains = 2.0 * (levels - BARRIERS).max(0.0) * latency(self.ops.vcgmax);
        let subs = f64::from(pitch / 64);
        Slices {
            rows,
            count,
            v: whole + max + sum + 8.0 * one + tails + drains,
            entries: TURN_INSTRUCTIONS + subs + BARRIERS,
            waits: latency(self.ops.vcgadd) + latency(self.ops.vexp) + latency(self.ops.vconv),
            drain: UNDER_WAY - 1.0,
        }
    }

    /// Cycles of a row reduction in f16: folds down to 64 columns, which are widened and reduced.
    fn reduction_f16(&self, op: VectorOp, combine: VectorOp, rows: u32, pitch: u32) -> f64 {
        let mut cycles = 0.0;
        let mut width = pitch;
        while width > 64 {
            width /= 2;
            cycles += self.instruction_f16(combine, f64::from((rows * width).div_ceil(128)));
        }
        cycles
            + self.instruction(self.ops.vconv, f64::from(rows))
            + self.instruction(op, f64::from(rows))
            + self.instruction(op, f64::from(rows.div_ceil(8)))
    }

    /// Cycles of one vector instruction on 16-bit elements.
    fn instruction_f16(&self, op: VectorOp, repeats: f64) -> f64 {
        (op.b16 * repeats).max(self.soc.timing.vector.min_occupancy as f64)
    }

    fn slices_f16(&self, step: &Step) -> Slices {
        let pitch = self.pitch(step);
        let total = rows_v(step.rows);
        let rows = self.rows_per_slice(2 * pitch.max(256)).min(total);
        let count = f64::from(total.div_ceil(rows));
        let mean = total.div_ceil(total.div_ceil(rows));
        let repeats = f64::from((mean * pitch).div_ceil(128));
        let groups = f64::from(pitch.div_ceil(128));
        let subs = if groups > 2.0 { f64::from(mean) } else { groups };
        // A replayed block meets one of the row's in half of the repeats.
        let subtract = subs * self.instruction_f16(self.ops.vsub, 1.5 * repeats / subs);
        let v = self.reduction_f16(self.ops.vcgmax, self.ops.vmax, mean, pitch)
            + self.reduction_f16(self.ops.vcgadd, self.ops.vadd, mean, pitch)
            + subtract
            + self.instruction_f16(self.ops.vmuls, repeats)
            + self.instruction_f16(self.ops.vexp, repeats)
            + 10.0 * self.instruction(self.ops.vmuls, 1.0);
        let levels = 3.0 + f64::from(pitch / 64).log2();
        let barriers = levels.max(BARRIERS_F16);
        let tails = if step.keys < pitch {
            self.instruction_f16(self.ops.vector_dup, f64::from(mean)) + latency(self.ops.vector_dup)
        } else {
            0.0
        };
        Slices {
            rows,
            count,
            v: v + tails,
            entries: TURN_INSTRUCTIONS + subs + 2.0 * (levels - 3.0) + barriers,
            waits: (barriers - 1.0) * latency(self.ops.vmax) + latency(self.ops.vexp),
            drain: UNDER_WAY_F16 - 1.0,
        }
    }

    /// Cycles of V for a slice that a limit cuts, beyond those of another: the bits come while V waits.
    fn mask(&self, rows: u32, pitch: u32) -> f64 {
        let path = &self.soc.timing.gm.to_ub;
        let bits = Rows { rows, bytes: pitch / 8, pitch: u64::MAX };
        let wait = self.read(path, bits, 2) + (path.latency + 2 * self.soc.timing.control.flag) as f64;
        let select = self.instruction(self.ops.vsel, f64::from(rows * (pitch / 64)));
        let by_row =
            if pitch.is_multiple_of(256) { 0.0 } else { f64::from(rows) * self.issue_cycles(2.0, 8.0) };
        wait + select.max(by_row) + 2.0 * latency(self.ops.vsel)
    }

    /// Cycles of a turn: V with its barriers, the scalar unit, or the way of a slice in and out.
    fn turn(&self, s: &Slices, step: &Step) -> f64 {
        let (timing, pitch) = (&self.soc.timing, self.pitch(step));
        let flag = timing.control.flag as f64;
        let v = s.v + s.waits;
        let subs = f64::from(pitch / 64);
        let scalar = self.issue_cycles(s.entries, TURN_REGISTERS + ROW_REGISTERS * subs);
        let load = self.load_slice(s.rows, step.keys) + timing.gm.to_ub.latency as f64 + flag;
        let store = self.store_slice(s.rows, step.keys) + timing.gm.from_ub.latency as f64 + 2.0 * flag;
        // In f16 a slice leaves from where it is, beside two other slices.
        let cast = if is_narrow(self.shape) {
            0.0
        } else {
            self.instruction(self.ops.vconv, f64::from(s.rows * (pitch / 64))) + latency(self.ops.vconv)
        };
        v.max(scalar).max(load).max(store + cast)
    }

    fn load_slice(&self, rows: u32, keys: u32) -> f64 {
        self.read(&self.soc.timing.gm.to_ub, self.score_rows(rows, keys), 2)
    }

    fn store_slice(&self, rows: u32, keys: u32) -> f64 {
        self.write(&self.soc.timing.gm.from_ub, self.slot_rows(rows, keys, 2), 2)
    }

    fn masked(&self, s: &Slices, step: &Step) -> f64 {
        let slices = |rows: u32| f64::from(rows.div_ceil(s.rows));
        let [right, left] = step.cut;
        (slices(right) + slices(left)).min(s.count) * self.mask(s.rows, self.pitch(step))
    }

    /// Softmax of a step whose scores are there at `ready`; when the Cube sees P.
    pub(super) fn softmax(&self, clock: &mut VectorClock, step: &Step, ready: f64) -> f64 {
        let timing = &self.soc.timing;
        let s = self.slices(step);
        let turn = self.turn(&s, step);
        let load =
            self.load_slice(s.rows, step.keys) + (timing.gm.to_ub.latency + timing.control.flag) as f64;
        let issue = clock.issue.max(ready);
        let start = clock.v.max(issue + load);
        // The last slices leave one after the other.
        let rest = s.drain * s.waits.max(self.issue_cycles(TURN_INSTRUCTIONS / 2.0, TURN_REGISTERS / 2.0));
        clock.v = start + s.count * turn + rest + self.masked(&s, step);
        let lead = (QUEUE_ENTRIES / s.entries).min(s.count) * turn;
        clock.issue = (clock.v - lead).max(issue);
        let store = self.store_slice(s.rows, step.keys) + timing.gm.from_ub.latency as f64;
        clock.end = clock.v;
        clock.v - s.waits + store + (timing.control.flag + timing.control.cross_group) as f64
    }

    /// Rows and number of the pieces of an update.
    fn pieces(&self, step: &Step) -> (u32, f64) {
        let total = rows_v(step.rows);
        let rows = self.rows_per_slice(4 * self.shape.head_dim_v).min(total);
        (rows, f64::from(total.div_ceil(rows)))
    }

    fn update_v(&self, step: &Step) -> f64 {
        let (total, columns) = (rows_v(step.rows), self.shape.head_dim_v);
        let repeats = f64::from(total * columns.div_ceil(64));
        // Both sources of the addition lie in the same groups of banks.
        let add = if step.first { self.ops.vadds.b32 } else { self.ops.vadd.b32.max(2.0) } * repeats;
        let rescale = if step.first { 0.0 } else { self.row_wise(self.ops.vmul, total, columns) };
        add + rescale
    }

    /// Cycles for which V divides and converts, with its barriers.
    fn finish_v(&self, step: &Step) -> f64 {
        let (rows, count) = self.pieces(step);
        let repeats = f64::from(rows_v(step.rows) * self.shape.head_dim_v.div_ceil(64));
        let divide = self.row_wise(self.ops.vdiv, rows_v(step.rows), self.shape.head_dim_v);
        let wait = latency(self.ops.vbrcb) + latency(self.ops.vdiv);
        let store = self.write(&self.soc.timing.gm.from_ub, self.o_rows(rows), 2)
            + self.soc.timing.gm.from_ub.latency as f64;
        let v = divide + self.ops.vconv.b32 * repeats + count * wait;
        v.max(count * store)
    }

    /// Adds the output of a bundle, which is there at `ready`, and finishes its item.
    pub(super) fn update(&self, clock: &mut VectorClock, step: &Step, ready: f64) {
        let timing = &self.soc.timing;
        let (rows, count) = self.pieces(step);
        let load = self.read(&timing.gm.to_ub, self.output_rows(rows), 2);
        let first = load + (timing.gm.to_ub.latency + timing.control.flag) as f64;
        let issue = clock.issue.max(ready);
        let start = clock.v.max(issue + first);
        let v = self.update_v(step) + (count + 1.0) * latency(self.ops.vadd);
        clock.v = start + v.max((count - 1.0) * load);
        clock.issue = clock.issue.max(issue).max(clock.v - v);
        clock.end = clock.v;
        if step.last {
            clock.v += self.finish_v(step);
            let store =
                self.write(&timing.gm.from_ub, self.o_rows(rows), 2) + timing.gm.from_ub.latency as f64;
            clock.end = clock.v + store;
        }
    }

    /// The slowest pipe of a vector core.
    pub(super) fn vector_bound(&self, step: &Step) -> f64 {
        let s = self.slices(step);
        let finish = if step.last { self.finish_v(step) } else { 0.0 };
        s.count * self.turn(&s, step) + self.masked(&s, step) + self.update_v(step) * step.share() + finish
    }

    /// Output of `items` items that see no key.
    pub(super) fn empty_items(&self, items: u64) -> f64 {
        let rows = self.tiling.candidate.block_m.min(self.shape.seqlen_q);
        let step = Step { rows, keys: 0, cut: [0, 0], first: true, last: true, bundle: 1 };
        items as f64 * if rows == 0 { 0.0 } else { self.finish_v(&step) }
    }
}
