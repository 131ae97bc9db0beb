//! From a class of shapes to what the kernel is told. Pure: no device, no I/O.

use std::fmt;

use serde::Serialize;

use super::layout::{Tasks, Ub, Workspace, L1, MAX_SCORES, PRELOAD, TILE, UNIT_KEYS};
use super::{kernel_name, FlashDecodeTilingData, KvOrder, Problem};
use crate::record;
use crate::spec::Reason;
use crate::{Result, Soc};

/// How a key lies in the cache, as the kernel takes it (`fa/kv_cache.h`).
const FORMAT_ROWS: u32 = 0;
const FORMAT_NZ: u32 = 1;
const FORMAT_HALF_ROWS: u32 = 2;
const FORMAT_COLUMNS: u32 = 3;

/// A planned class of shapes; prints itself. It serves every launch of the class, whatever the lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    problem: Problem,
    soc: Soc,
    tasks: Tasks,
}

/// Plans a class of shapes.
///
/// # Errors
/// One error with **all** reasons, each with the argument, its value and the value wanted: `InvalidArgument`
/// if any argument can never be right, else `Unsupported`.
pub fn plan(problem: &Problem, soc: &Soc) -> Result<Plan> {
    Reason::refuse(&format!("serving on {}", soc.name), &problem.refusals(soc))?;
    Ok(Plan { problem: *problem, soc: soc.clone(), tasks: Tasks::of(problem, soc) })
}

/// Memories of a core that are too small for the buffers. Those of a 910B hold every problem that is not
/// refused for something else; a SoC of another description may be smaller.
pub(super) fn memory_reasons(problem: &Problem, soc: &Soc) -> impl Iterator<Item = Reason> {
    let (s, tasks) = (&problem.spec, Tasks::of(problem, soc));
    let used = [
        ("UB", Ub::of(&tasks, s.head_dim_v).used, soc.core.usable_ub_bytes()),
        ("L1", L1::of(&tasks, problem.score_depth(), s.head_dim_v).used(), soc.core.usable_l1_bytes()),
    ];
    used.into_iter().filter(|(_, used, capacity)| used > capacity).map(|(memory, used, capacity)| {
        Reason::unsupported(format!("the buffers take {used} bytes of {memory}, which has {capacity}"))
    })
}

impl Plan {
    /// What is planned.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The SoC.
    pub fn soc(&self) -> &Soc {
        &self.soc
    }

    /// Groups of an AIC and two AIVs that every launch takes. Lengths decide which of them have keys.
    pub fn num_cores(&self) -> u32 {
        self.tasks.cores
    }

    /// Bytes of the workspace, the same for every launch.
    pub fn workspace_bytes(&self) -> u64 {
        Workspace::of(&self.tasks, self.problem.spec.head_dim_v).all
    }

    /// Bytes that the buffers of q, k, v and o must hold, in this order.
    pub fn operand_bytes(&self) -> [u64; 4] {
        // `reasons` has found each to fit the device.
        self.problem.tensors().map(|tensor| tensor.span_bytes())
    }

    /// Bytes of `lse`: f32 `[slots, num_heads, rows]`, of packed q `[num_heads, total_rows]`.
    pub fn lse_bytes(&self) -> u64 {
        4 * u64::from(self.problem.spec.num_heads) * self.problem.all_rows()
    }

    /// Bytes of `row_starts`: i32 `[slots + 1]`; 0 unless q is packed.
    pub fn row_starts_bytes(&self) -> u64 {
        self.problem.total_rows.map_or(0, |_| 4 * (u64::from(self.problem.slots) + 1))
    }

    /// Bytes of `block_table`: 32-bit `[slots, table_width]`, or those of the list.
    pub fn table_bytes(&self) -> u64 {
        4 * self.problem.table_entries()
    }

    /// Bytes of `page_starts`: i32 `[slots + 1]`; 0 unless the block table is one list.
    pub fn page_starts_bytes(&self) -> u64 {
        self.problem.kv.csr_entries().map_or(0, |_| 4 * (u64::from(self.problem.slots) + 1))
    }

    /// Bytes of the tiling data.
    pub fn tiling_data_bytes(&self) -> u64 {
        size_of::<FlashDecodeTilingData>() as u64
    }

    /// What the kernel receives.
    // One line for each field of the structure.
    pub fn tiling_data(&self) -> FlashDecodeTilingData {
        let (p, s, t) = (&self.problem, &self.problem.spec, &self.tasks);
        let ub = Ub::of(t, s.head_dim_v);
        let l1 = L1::of(t, p.score_depth(), s.head_dim_v);
        let workspace = Workspace::of(t, s.head_dim_v);
        let strides = p.strides();
        let formats = match p.kv.order {
            KvOrder::Nz => [FORMAT_NZ; 2],
            KvOrder::Vllm => [FORMAT_HALF_ROWS, FORMAT_COLUMNS],
            _ => [FORMAT_ROWS; 2],
        };
        // Values by columns come in whole fractals.
        let key_align = match (p.is_batch_invariant, formats[1]) {
            (true, _) => UNIT_KEYS,
            (false, FORMAT_COLUMNS) => 16,
            (false, _) => 1,
        };
        let (window_left, window_right) = s.mask.limits(p.rows, p.max_keys);
        // Keys and rows are at most `MAX_SEQLEN`.
        let limit = |keys: Option<u32>| keys.map_or(-1, u32::cast_signed);
        let own = |stride: [u64; 3]| match p.total_rows {
            Some(_) => [0, stride[1], stride[2]],
            None => stride,
        };
        FlashDecodeTilingData {
            slots: p.slots,
            num_heads: s.num_heads,
            num_heads_k: s.num_heads_k,
            head_dim: s.head_dim,
            head_dim_v: s.head_dim_v,
            rows: p.rows,
            is_packed: u32::from(p.total_rows.is_some()),
            total_rows: p.total_rows.unwrap_or(0),
            window_left: limit(window_left),
            window_right: limit(window_right),
            max_keys: p.max_keys,
            page_size: p.kv.pages.map_or(1, |pages| pages.page_size),
            num_pages: p.kv.pages.map_or(0, |pages| pages.num_pages),
            table_width: p.table_width(),
            is_csr: u32::from(p.kv.csr_entries().is_some()),
            table_entries: p.kv.csr_entries().unwrap_or(0),
            k_format: formats[0],
            v_format: formats[1],
            score_depth: p.score_depth(),
            key_align,
            task_heads: t.heads,
            task_rows: t.rows,
            block_rows: t.block_rows,
            row_parts: t.row_parts,
            unit_keys: UNIT_KEYS,
            is_invariant: u32::from(p.is_batch_invariant),
            block_n: t.block_n,
            max_scores: MAX_SCORES,
            stage_scores: t.stage_scores,
            chunk_n: t.chunk_n,
            tile: TILE,
            num_stages: PRELOAD + 1,
            preload: PRELOAD,
            num_cores: t.cores,
            rows_v: t.rows_v,
            softmax_scale: p.softmax_scale(),
            want_lse: u32::from(p.want_lse),
            want_status: u32::from(p.is_checked),
            l1_q_bytes: l1.q,
            l1_p_bytes: l1.p,
            l1_kv_bytes: l1.kv,
            ub_s_bytes: ub.scores,
            ub_p_offset_bytes: ub.p_offset,
            ub_out_offset_bytes: ub.out_offset,
            ub_acc_offset_bytes: ub.acc_offset,
            ub_o_offset_bytes: ub.o_offset,
            ub_tmp_offset_bytes: ub.tmp_offset,
            ub_blocks_offset_bytes: ub.blocks_offset,
            ub_blocks_bytes: ub.blocks,
            ub_stats_offset_bytes: ub.stats_offset,
            workspace_core_bytes: workspace.core,
            workspace_p_offset_bytes: workspace.p_offset,
            workspace_o_offset_bytes: workspace.o_offset,
            workspace_parts_offset_bytes: workspace.parts_offset,
            workspace_max_offset_bytes: workspace.max_offset,
            workspace_sum_offset_bytes: workspace.sum_offset,
            q_stride: own(strides.q),
            k_stride: strides.k,
            v_stride: strides.v,
            o_stride: own(strides.o),
            lse_stride: match p.total_rows {
                Some(rows) => [0, u64::from(rows)],
                None => [u64::from(s.num_heads) * u64::from(p.rows), u64::from(p.rows)],
            },
        }
    }
}

record::json_of_problem!(Plan, "serving", Problem, Chosen);

/// What the planner chose.
#[derive(Serialize)]
pub(crate) struct Chosen {
    kernel: &'static str,
    num_cores: u32,
    workspace_bytes: u64,
    tiling_data_bytes: u64,
    tasks: Tasks,
}

impl Plan {
    /// For readers of the plan's text.
    fn to_chosen(&self) -> Result<Chosen> {
        Ok(Chosen {
            kernel: kernel_name(self.problem.spec.dtype)?,
            num_cores: self.num_cores(),
            workspace_bytes: self.workspace_bytes(),
            tiling_data_bytes: self.tiling_data_bytes(),
            tasks: self.tasks,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p, s, t) = (&self.problem, &self.problem.spec, &self.tasks);
        writeln!(
            f,
            "serving {} on {}: slots {}, rows {}, num_heads {}, num_heads_k {}, head_dim {}, head_dim_v {}, max_keys {}, \
             {}, mask {}, softmax_scale {}, lse {}",
            s.dtype,
            self.soc.name,
            p.slots,
            Rows(p),
            s.num_heads,
            s.num_heads_k,
            s.head_dim,
            s.head_dim_v,
            p.max_keys,
            p.kv,
            s.mask,
            p.softmax_scale(),
            if p.want_lse { "yes" } else { "no" }
        )?;
        writeln!(
            f,
            "task: {} K/V heads x {} packed rows; steps of up to {} keys in chunks of {}, dealt in units of {}",
            t.heads, t.rows, t.block_n, t.chunk_n, UNIT_KEYS
        )?;
        write!(f, "launches {} groups, workspace {} bytes", t.cores, self.workspace_bytes())
    }
}

/// Query rows of a problem.
struct Rows<'a>(&'a Problem);

impl fmt::Display for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.total_rows {
            Some(total) => write!(f, "up to {} (packed, {total} in all)", self.0.rows),
            None => write!(f, "{}", self.0.rows),
        }
    }
}
