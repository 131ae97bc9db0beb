//! Transfers with GM: what one costs its pipe, and what all of them together cost L2 and HBM.

use super::{rows_v, Model, Step};
use crate::soc::GmPath;
use crate::tiling::candidate::score_bytes;
use crate::tiling::order::Class;

/// Bytes of a line of L2: a request asks for one line at most (dav-c220.md 1.2).
const LINE: u64 = 512;

/// Bytes of a sector of a line.
const SECTOR: u64 = 128;

/// What lines cost when all cores ask at once, in times of their even share of L2: requests do not spread evenly over its parts.
/// ASSUMPTION(cost-crowding): fitted on simulated launches.
const CROWDING: f64 = 1.2;

/// What a line costs L2 in addition when all cores read it at once, in lines: they queue for one part of L2 while others idle.
/// ASSUMPTION(cost-same-line): fitted on simulated launches.
const SAME_LINE: f64 = 0.35;

/// Rows of `bytes` bytes, `pitch` bytes apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) rows: u32,
    pub(super) bytes: u32,
    pub(super) pitch: u64,
}

impl Rows {
    /// Rows without gaps between them.
    pub(super) fn dense(rows: u32, bytes: u32) -> Self {
        Self { rows, bytes, pitch: bytes.into() }
    }

    /// Runs of bytes without a gap: how many, and how long.
    fn runs(self) -> (u64, u64) {
        let (rows, bytes) = (u64::from(self.rows), u64::from(self.bytes));
        if self.pitch == bytes {
            (1, rows * bytes)
        } else {
            (rows, bytes)
        }
    }

    /// Requests, each for a line or a part of one, of rows that start on lines.
    pub(super) fn requests(self) -> f64 {
        let (runs, bytes) = self.runs();
        (runs * bytes.div_ceil(LINE)) as f64
    }

    /// What they cost L2, in lines: half of a line's time goes to the request, half to its sectors (docs/timing.md).
    fn lines(self) -> f64 {
        let (runs, bytes) = self.runs();
        let sectors = (bytes % LINE).div_ceil(SECTOR);
        let rest = if sectors > 0 { 0.5 + 0.5 * (sectors * SECTOR) as f64 / LINE as f64 } else { 0.0 };
        runs as f64 * ((bytes / LINE) as f64 + rest)
    }
}

impl Model<'_> {
    /// Cycles of L2 for a line that is read.
    fn line(&self) -> f64 {
        LINE as f64 * f64::from(self.soc.clock_mhz) / (self.soc.timing.memory.l2_read_gbps * 1000.0)
    }

    /// Cycles for which a read keeps its pipe busy. Cores do the same at about the same time, `sharers` of each group, so
    /// each gets no more than its part of L2.
    pub(super) fn read(&self, path: &GmPath, rows: Rows, sharers: u32) -> f64 {
        self.transfer(path, rows, f64::from(sharers * self.tiling.num_cores) * self.line())
    }

    /// The same for a write.
    pub(super) fn write(&self, path: &GmPath, rows: Rows, sharers: u32) -> f64 {
        let line = self.line() * self.soc.timing.memory.l2_write_cost;
        self.transfer(path, rows, f64::from(sharers * self.tiling.num_cores) * line)
    }

    /// Cost of a line of K or V, in lines that one core reads: heads that several cores work on are read by all of them at once.
    fn same_line(&self) -> f64 {
        1.0 + SAME_LINE
            * (1.0 - f64::from(self.tiling.order.group_heads) / f64::from(self.tiling.num_cores)).max(0.0)
    }

    /// `share`: cycles that L2 needs for one line of every sharer.
    fn transfer(&self, path: &GmPath, rows: Rows, share: f64) -> f64 {
        let (runs, bytes) = rows.runs();
        let pace = |bytes: u64| (bytes as f64 / path.bytes_per_cycle).max(path.request).max(share * CROWDING);
        let rest = bytes % LINE;
        let run = (bytes / LINE) as f64 * pace(LINE) + if rest > 0 { pace(rest) } else { 0.0 };
        let answers = rows.requests() * path.latency as f64 / self.soc.timing.gm.outstanding.max(1) as f64;
        (runs as f64 * run).max(answers).max(path.issue as f64)
    }

    pub(super) fn q_rows(&self, rows: u32) -> Rows {
        Rows { rows, bytes: self.shape.head_dim * 2, pitch: self.shape.q_stride[1].saturating_mul(2) }
    }

    pub(super) fn k_rows(&self, keys: u32) -> Rows {
        Rows { rows: keys, bytes: self.shape.head_dim * 2, pitch: self.shape.k_stride[1].saturating_mul(2) }
    }

    pub(super) fn v_rows(&self, keys: u32) -> Rows {
        Rows { rows: keys, bytes: self.shape.head_dim_v * 2, pitch: self.shape.v_stride[1].saturating_mul(2) }
    }

    pub(super) fn o_rows(&self, rows: u32) -> Rows {
        Rows { rows, bytes: self.shape.head_dim_v * 2, pitch: self.shape.o_stride[1].saturating_mul(2) }
    }

    /// `rows` rows of `keys` elements of `size` bytes in a workspace slot of scores or probabilities.
    pub(super) fn slot_rows(&self, rows: u32, keys: u32, size: u32) -> Rows {
        Rows { rows, bytes: keys * size, pitch: u64::from(self.tiling.candidate.block_n) * u64::from(size) }
    }

    /// `rows` rows of `keys` scores in the workspace, where a tile of them has no gaps.
    pub(super) fn score_rows(&self, rows: u32, keys: u32) -> Rows {
        Rows::dense(rows, keys * score_bytes(self.shape))
    }

    /// `rows` rows of the output of a step in the workspace.
    pub(super) fn output_rows(&self, rows: u32) -> Rows {
        Rows::dense(rows, self.shape.head_dim_v * 4)
    }

    /// What a step costs L2, in lines read.
    fn lines(&self, step: &Step) -> f64 {
        let write = self.soc.timing.memory.l2_write_cost;
        let t = self.tiling;
        let (rows, keys) = (step.rows, step.keys);
        let parts = |all: u32, part: u32, size: u32| {
            let (whole, rest) = (all / part, all % part);
            let whole_lines = self.slot_rows(rows, part, size).lines() * f64::from(whole);
            whole_lines + if rest > 0 { self.slot_rows(rows, rest, size).lines() } else { 0.0 }
        };
        let scores = (write + 1.0) * self.score_rows(rows, keys).lines();
        let probabilities = write * self.slot_rows(rows, keys, 2).lines() + parts(keys, t.chunk_p, 2);
        let output = (write + 1.0) * self.output_rows(rows).lines();
        let ends = if step.first { self.q_rows(rows).lines() } else { 0.0 }
            + if step.last { write * self.o_rows(rows).lines() } else { 0.0 };
        let cut = f64::from((step.cut[0] + step.cut[1]).min(2 * rows_v(rows)));
        let keys_values = self.k_rows(keys).lines() + self.v_rows(keys).lines();
        self.same_line() * keys_values + scores + probabilities + output + ends + 2.0 * cut
    }

    /// Bytes that HBM moves when the operands do not stay in L2: every row of q, o and lse once, k and v once for a group that L2
    /// holds, else once for all cores that read them at the same time.
    fn hbm_bytes(&self, workspace: f64) -> f64 {
        let order = &self.tiling.order;
        let heads = f64::from(order.heads).max(1.0);
        let sharers = f64::from(self.shape.num_heads) / f64::from(self.shape.num_heads_k).max(1.0);
        let [q, k, v, o, lse] = self.shape.operand_bytes().map(|bytes| bytes as f64);
        let head_k = self.shape.head_k_bytes() as f64;
        let rows = f64::from(order.num_items) / (heads * f64::from(order.num_blocks_m)).max(1.0);
        let once = (k + v) * f64::from(order.num_heads_read()) / heads;
        let group = f64::from(order.group_heads) / sharers;
        let keys_values = if group * head_k + workspace > self.soc.l2_bytes as f64 {
            let cores = f64::from(self.tiling.num_cores);
            let together = (cores / sharers).min(group).max(1.0);
            (f64::from(order.num_items) / cores * together * head_k).max(once)
        } else {
            once
        };
        keys_values + rows * (q + o + lse)
    }

    /// Cycles that L2 needs for the launch, and HBM where the operands do not stay in L2; classes as in [`Self::core_loads`].
    pub(super) fn shared_bound(&self, blocks: u32, groups: u32) -> f64 {
        let memory = &self.soc.timing.memory;
        let per_byte = |gbps: f64| f64::from(self.soc.clock_mhz) / (gbps * 1000.0);
        let (mut lines, mut known) = (0.0, 0);
        for Class { positions, block } in self.tiling.order.classes(blocks, groups) {
            let items = positions.end - positions.start;
            known += items;
            lines += f64::from(items) * self.over_steps(block, |s| self.lines(s));
        }
        let all = f64::from(self.tiling.order.num_items) / f64::from(known.max(1));
        let workspace = (self.tiling.workspace_core_bytes * u64::from(self.tiling.num_cores)) as f64;
        let bytes: f64 = self.shape.operand_bytes().iter().map(|&bytes| bytes as f64).sum();
        let is_resident = bytes + workspace <= self.soc.l2_bytes as f64;
        let hbm = if is_resident { 0.0 } else { self.hbm_bytes(workspace) * per_byte(memory.hbm_gbps) };
        (lines * all * self.line()).max(hbm)
    }
}
