//! Transfers with GM: what one costs its pipe, and what all of them together cost L2 and HBM.

use super::{rows_v, Model, Step};
use crate::soc::GmPath;
use crate::tiling::candidate::score_bytes;
use crate::tiling::order::Class;
use crate::tiling::traffic::{same_lines, Rows, Traffic};

impl Model<'_> {
    pub(super) fn traffic(&self) -> Traffic<'_> {
        Traffic { soc: self.soc, cores: self.active, busy: self.busy[0] }
    }

    /// Cycles for which a read keeps its pipe busy, `sharers` of each group at the same time.
    pub(super) fn read(&self, path: &GmPath, rows: Rows, sharers: u32) -> f64 {
        self.traffic().read(path, rows, sharers)
    }

    /// The same for a write.
    pub(super) fn write(&self, path: &GmPath, rows: Rows, sharers: u32) -> f64 {
        self.traffic().write(path, rows, sharers)
    }

    /// Of the reads of keys and values, the part that meets those of other cores that work on the same head.
    pub(super) fn same_lines(&self) -> f64 {
        same_lines(f64::from(self.active) / f64::from(self.tiling.order.group_heads).max(1.0))
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

    /// Sum of `of` over the pieces in which the Cube reads P: as many columns as a buffer of L1 holds.
    pub(super) fn over_p(&self, step: &Step, of: impl Fn(Rows) -> f64) -> f64 {
        let part = self.tiling.chunk_p.min(step.keys);
        let piece = |keys: u32| if keys > 0 { of(self.slot_rows(step.rows, keys, 2)) } else { 0.0 };
        f64::from(step.keys / part) * piece(part) + piece(step.keys % part)
    }

    /// What a step costs L2, in lines read: by MTE2 of the Cube, and by the other pipes. A line of K or V
    /// costs `same` times one that only one core reads; `request_share` as in [`Rows::lines`].
    fn lines(&self, step: &Step, same: f64, request_share: f64) -> [f64; 2] {
        let write = self.soc.timing.memory.l2_write_cost;
        let lines = |rows: Rows| rows.lines(request_share);
        let (rows, keys) = (step.rows, step.keys);
        let scores = (write + 1.0) * lines(self.score_rows(rows, keys));
        let (probabilities, read) = (write * lines(self.slot_rows(rows, keys, 2)), self.over_p(step, lines));
        let output = (write + 1.0) * lines(self.output_rows(rows)) * step.share();
        let ends = if step.first { lines(self.q_rows(rows)) } else { 0.0 }
            + if step.last { write * lines(self.o_rows(rows)) } else { 0.0 };
        let cut = f64::from((step.cut[0] + step.cut[1]).min(2 * rows_v(rows)));
        let keys_values = lines(self.k_rows(keys)) + lines(self.v_rows(keys));
        let to_l1 = same * keys_values + read;
        [to_l1, scores + probabilities + output + ends + 2.0 * cut]
    }

    /// Bytes that HBM moves when the operands do not stay in L2: every row of q, o and lse once, k and v once
    /// for a group that L2 holds, else once for all cores that read them at the same time.
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
            let cores = f64::from(order.num_cores);
            let together = (cores / sharers).min(group).max(1.0);
            (f64::from(order.num_items) / cores * together * head_k).max(once)
        } else {
            once
        };
        keys_values + rows * (q + o + lse)
    }

    /// Cycles that L2 needs for the launch, and HBM where the operands do not stay in L2; and those of L2
    /// without what the Cube's MTE2 reads. Classes as in [`Self::core_loads`].
    pub(super) fn shared_bound(&self, blocks: u32, groups: u32) -> [f64; 2] {
        let memory = &self.soc.timing.memory;
        let per_byte = |gbps: f64| f64::from(self.soc.clock_mhz) / (gbps * 1000.0);
        let order = &self.tiling.order;
        let traffic = self.traffic();
        // Ports and slices: cycles of a line of each core, what a shared line costs, what a request costs.
        let parts = [
            (traffic.port_line(), traffic.same_line(self.same_lines()), 0.0),
            (traffic.slice_line(), 1.0, self.soc.timing.l2.request_share),
        ];
        let (mut cycles, mut known) = ([[0.0; 2]; 2], 0);
        for Class { positions, rows } in order.classes(blocks, groups) {
            let items = positions.end - positions.start;
            known += items;
            for (cycles, (line, same, request_share)) in cycles.iter_mut().zip(parts) {
                let lines = self.over_steps(&rows, |s| self.lines(s, same, request_share));
                for (cycles, lines) in cycles.iter_mut().zip(lines) {
                    *cycles += f64::from(items) / f64::from(order.num_cores) * line * lines;
                }
            }
        }
        let is_part = order.num_groups() > groups;
        let all = if is_part { f64::from(order.num_positions()) / f64::from(known) } else { 1.0 };
        let workspace = (self.tiling.workspace_core_bytes * u64::from(order.num_cores)) as f64;
        let bytes: f64 = self.shape.operand_bytes().iter().map(|&bytes| bytes as f64).sum();
        let is_resident = bytes + workspace <= self.soc.l2_bytes as f64;
        let hbm = if is_resident { 0.0 } else { self.hbm_bytes(workspace) * per_byte(memory.hbm_gbps) };
        let [[port_l1, port], [slice_l1, slice]] = cycles.map(|c| c.map(|c| c * all));
        [(port_l1 + port).max(slice_l1 + slice).max(hbm), port.max(slice)]
    }
}
