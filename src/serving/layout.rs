//! Sizes of tasks, steps and buffers, from upper bounds alone.

use serde::Serialize;

use super::{KvOrder, Problem};
use crate::Soc;

/// Keys of a unit, what is dealt to cores. A unit of one task takes a core some 0.3 us from HBM.
pub(super) const UNIT_KEYS: u32 = 128;

/// Packed rows of a decode task: what one accumulator in L0C holds of `MAX_TASK_COLS` columns.
const SHORT_TASK_ROWS: u32 = 64;
/// Packed rows of a task where the rows of a slot fill it and both dimensions are at most `LONG_TASK_DIM`:
/// then L0C and UB have room for twice as many.
const LONG_TASK_ROWS: u32 = 128;
const LONG_TASK_DIM: u32 = 128;
/// Columns of the K or V heads of a task: a line of L2.
const MAX_TASK_COLS: u32 = 256;
/// Scores of a step on one AIV.
pub(super) const MAX_SCORES: u32 = 8192;
/// Keys of a step.
const MAX_BLOCK_N: u32 = 512;
/// Bytes of a K or V buffer in L1.
const CHUNK_BYTES: u32 = 65536;
/// Keys and depth of one Mmad.
pub(super) const TILE: u32 = 128;
/// Steps that QK^T runs ahead: with two, the way through the vector cores hides behind one step's keys.
pub(super) const PRELOAD: u32 = 2;
/// Cores that the combination of parts has room for.
const MAX_CORES: u32 = 64;

/// What a problem is cut into. All of it is bounded: head dimensions, heads and rows are what `reasons` lets
/// through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Tasks {
    /// K/V heads of a task.
    pub(super) heads: u32,
    /// Packed query rows of one K/V head in a task.
    pub(super) rows: u32,
    /// Query rows of a row block.
    pub(super) block_rows: u32,
    /// Tasks that share the heads of one query row.
    pub(super) row_parts: u32,
    /// Rows that one AIV holds.
    pub(super) rows_v: u32,
    /// Most keys of a step.
    pub(super) block_n: u32,
    /// Most scores of a step, in the workspace.
    pub(super) stage_scores: u32,
    /// Most probabilities of a step, in L1.
    pub(super) l1_scores: u32,
    /// Keys of a buffer in L1.
    pub(super) chunk_n: u32,
    /// Groups launched.
    pub(super) cores: u32,
}

impl Tasks {
    pub(super) fn of(problem: &Problem, soc: &Soc) -> Self {
        let (s, strides) = (&problem.spec, problem.strides());
        let group = s.num_heads / s.num_heads_k;
        let dim = s.head_dim.max(s.head_dim_v);
        let is_long =
            dim <= LONG_TASK_DIM && u64::from(problem.rows) * u64::from(group) > u64::from(SHORT_TASK_ROWS);
        let most = if is_long { LONG_TASK_ROWS } else { SHORT_TASK_ROWS };
        // Of one head; long tasks have two, or one with as many rows as two: K and V serve at least 64.
        let mut cut = row_blocks(problem.rows, group, SHORT_TASK_ROWS);
        let are_side_by_side = match problem.kv.order {
            KvOrder::Nz => true,
            KvOrder::Vllm => false,
            _ => strides.k[2] == u64::from(s.head_dim) && strides.v[2] == u64::from(s.head_dim_v),
        };
        let widest = problem.score_depth().max(s.head_dim_v);
        let rows16 = cut.rows.next_multiple_of(16);
        let fits = |heads: &u32| s.num_heads_k.is_multiple_of(*heads) && heads * rows16 <= most;
        let columns = if are_side_by_side { MAX_TASK_COLS / dim } else { 1 };
        let heads = (1..=columns).rev().find(fits).unwrap_or(1);
        if heads == 1 {
            cut = row_blocks(problem.rows, group, most);
        }
        let RowBlocks { block_rows, row_parts, rows } = cut;
        let rows_v = (heads * rows).div_ceil(2);
        let block_n = if problem.is_batch_invariant { UNIT_KEYS } else { MAX_BLOCK_N };
        let steps = (1..=rows).map(|rows| (rows, keys_of_step((heads * rows).div_ceil(2), block_n)));
        let chunk_n = (0..3).map(|i| block_n >> i).find(|n| n * heads * widest * 2 <= CHUNK_BYTES);
        let blocks = problem.all_rows().div_ceil(u64::from(block_rows)) + u64::from(problem.slots);
        let tasks = blocks.saturating_mul(u64::from(row_parts * (s.num_heads_k / heads)));
        let units = tasks.saturating_mul(u64::from(problem.max_keys.div_ceil(UNIT_KEYS)));
        let cores = soc.cube_cores.min(MAX_CORES);
        Self {
            heads,
            rows,
            block_rows,
            row_parts,
            rows_v,
            block_n,
            stage_scores: steps.clone().map(|(rows, keys)| heads * rows * keys).max().unwrap_or(0),
            l1_scores: steps.map(|(rows, keys)| heads * rows.next_multiple_of(16) * keys).max().unwrap_or(0),
            chunk_n: chunk_n.unwrap_or(TILE).max(TILE),
            cores: u32::try_from(units).map_or(cores, |units| cores.min(units)).max(1),
        }
    }

    /// Rows of a task, of all its heads.
    pub(super) fn all_rows(&self) -> u32 {
        self.heads * self.rows
    }

    /// Most scores of one AIV.
    fn scores_v(&self) -> u32 {
        (1..=self.rows_v).map(|rows| rows * keys_of_step(rows, self.block_n)).max().unwrap_or(0)
    }
}

/// How the query rows of a slot are dealt to tasks.
#[derive(Clone, Copy, Debug)]
struct RowBlocks {
    /// Query rows of a block.
    block_rows: u32,
    /// Tasks that share the heads of one query row.
    row_parts: u32,
    /// Packed rows of a task.
    rows: u32,
}

/// Blocks of at most `most` packed rows hold whole query rows, as alike as can be, or a query row is dealt to
/// tasks.
fn row_blocks(rows: u32, group: u32, most: u32) -> RowBlocks {
    if group > most {
        let row_parts = group.div_ceil(most);
        return RowBlocks { block_rows: 1, row_parts, rows: group.div_ceil(row_parts) };
    }
    let rows = rows.max(1);
    let block_rows = rows.div_ceil(rows.div_ceil(most / group));
    RowBlocks { block_rows, row_parts: 1, rows: block_rows * group }
}

/// Keys of a step whose tasks have `rows` rows on one AIV, as the kernel finds them.
fn keys_of_step(rows: u32, most: u32) -> u32 {
    (0..3).map(|i| most >> i).find(|keys| rows * keys <= MAX_SCORES).unwrap_or(TILE)
}

/// Buffers one behind the other; each starts at a multiple of 512 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stack {
    used: u64,
}

impl Stack {
    /// Where the next `bytes` bytes lie.
    pub(super) fn push(&mut self, bytes: u64) -> u64 {
        let at = self.used.next_multiple_of(512);
        self.used = at + bytes;
        at
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }
}

/// Buffers of an AIV in UB, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ub {
    pub(super) scores: u32,
    pub(super) p_offset: u32,
    pub(super) out_offset: u32,
    pub(super) acc_offset: u32,
    pub(super) o_offset: u32,
    pub(super) tmp_offset: u32,
    pub(super) blocks_offset: u32,
    pub(super) blocks: u32,
    pub(super) stats_offset: u32,
    pub(super) used: u32,
}

impl Ub {
    #[allow(clippy::cast_possible_truncation, reason = "sums of buffers that UB holds")]
    pub(super) fn of(tasks: &Tasks, head_dim_v: u32) -> Self {
        let rows = tasks.rows_v;
        let scores = (tasks.scores_v() * 4).next_multiple_of(512);
        let rows8 = rows.next_multiple_of(8);
        // fa/row_ops.h: two copies of a block for each row, the second a half row of banks further on.
        let blocks = (rows.next_multiple_of(16) * 32 + 256 + rows8 * 32).next_multiple_of(512);
        let wide = (scores / 8).max(rows8 * 32);
        let narrow = (scores / 64).max(rows8 * 32);
        let arrays = 3 * (PRELOAD + 1) + 4;
        let mut ub = Stack::default();
        let mut push = |bytes: u32| ub.push(u64::from(bytes)) as u32;
        push(2 * scores);
        Self {
            scores,
            p_offset: push(scores / 2),
            out_offset: push(rows * head_dim_v * 2),
            acc_offset: push(rows * head_dim_v * 4),
            o_offset: push(rows * head_dim_v * 4),
            tmp_offset: push(wide + narrow),
            blocks_offset: push(3 * blocks),
            blocks,
            stats_offset: push(arrays * rows.next_multiple_of(64) * 4),
            used: ub.used() as u32,
        }
    }
}

/// Buffers of an AIC in L1, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct L1 {
    pub(super) q: u32,
    pub(super) p: u32,
    pub(super) kv: u32,
}

impl L1 {
    pub(super) fn of(tasks: &Tasks, score_depth: u32, head_dim_v: u32) -> Self {
        let rows = tasks.heads * tasks.rows.next_multiple_of(16);
        Self {
            q: rows * score_depth * 2,
            p: tasks.l1_scores * 2,
            kv: tasks.chunk_n * tasks.heads * score_depth.max(head_dim_v) * 2,
        }
    }

    pub(super) fn used(&self) -> u32 {
        2 * self.q + 2 * self.p + 4 * self.kv
    }
}

/// Rings and parts in the workspace, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Workspace {
    pub(super) core: u64,
    pub(super) p_offset: u64,
    pub(super) o_offset: u64,
    pub(super) parts_offset: u64,
    pub(super) max_offset: u64,
    pub(super) sum_offset: u64,
    pub(super) all: u64,
}

impl Workspace {
    pub(super) fn of(tasks: &Tasks, head_dim_v: u32) -> Self {
        let [rows, scores, dim, cores] =
            [tasks.all_rows(), tasks.stage_scores, head_dim_v, tasks.cores].map(u64::from);
        let stages = u64::from(PRELOAD + 1);
        let mut ring = Stack::default();
        ring.push(stages * scores * 4);
        let p_offset = ring.push(stages * scores * 2);
        let o_offset = ring.push(stages * rows * dim * 4);
        let core = ring.used().next_multiple_of(512);
        let mut all = Stack::default();
        all.push(cores * core);
        let parts_offset = all.push(2 * cores * rows * dim * 4);
        let max_offset = all.push(2 * cores * rows * 32);
        let sum_offset = all.push(2 * cores * rows * 32);
        Self { core, p_offset, o_offset, parts_offset, max_offset, sum_offset, all: all.used() }
    }
}
