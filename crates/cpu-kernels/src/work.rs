//! How a launch is cut into tasks. All of it follows from sizes and lengths of one slot, never from the
//! number of threads nor from other slots.
//!
//! Query rows of the `G` heads of q that share a head of k and v are packed: packed row `r` of a slot is
//! query row `r / G` of the `r % G`-th of them. A task is a block of packed rows and a range of keys.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;

use crate::element::Load;
use crate::memory::{Memory, Slot};
use crate::problem::Problem;
use crate::simd::Simd;

/// Up to so many packed rows of a slot, each row of K meets them one after the other (`few.rs`). More lie in
/// the lanes of panels (`panel.rs`).
pub(crate) const FEW_ROWS: usize = 16;

/// Least and most keys of a part of few rows. K and V of 512 are 256 KiB at 128 f16, and what a part leaves
/// 2 KiB for 4 rows.
const FEW_KEYS: [usize; 2] = [256, 512];

/// Elements of q of a task of few rows: 32 KiB in f32.
const FEW_ELEMENTS: usize = 8192;

/// Keys of a part of a panel task, where a slot has too few blocks for many threads.
const PANEL_KEYS: usize = 2048;

/// A slot with this many tasks is not cut along keys.
const ENOUGH_TASKS: usize = 16;

/// Most packed rows of a block: q and o are 196 KiB each at 128, K and V of a block of keys 144 KiB.
const MAX_BLOCK_ROWS: usize = 384;

/// Rows that are finished together.
pub(crate) struct Job {
    pub(crate) slot: Slot,
    /// Of k and v.
    pub(crate) head: usize,
    /// Packed rows.
    pub(crate) rows: Range<usize>,
    parts: Vec<OnceLock<Part>>,
    open: AtomicUsize,
}

/// Some keys of one job; or of several of few rows, that differ in their head.
pub(crate) struct Task {
    pub(crate) jobs: Range<usize>,
    part: usize,
    pub(crate) keys: Range<usize>,
}

/// What some keys give for the rows of a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    /// Greatest score of each row, times log2(e).
    pub(crate) max: Vec<f32>,
    /// Sum of 2^(score - max) of each row.
    pub(crate) sum: Vec<f32>,
    /// Sum of 2^(score - max) * v of each row, `head_dim_v` elements each.
    pub(crate) o: Vec<f32>,
}

/// Keys that packed row `row` of a slot sees; an empty range if it sees none.
pub(crate) fn visible(problem: &Problem, slot: &Slot, row: usize) -> Range<usize> {
    // The diagonal may be left of the first key. All numbers are below 2^31.
    let behind = row / problem.group() + slot.keys;
    let rows = slot.rows.saturating_add(problem.rows_behind);
    let first = problem.window_left.map_or(0, |left| behind.saturating_sub(rows.saturating_add(left)));
    let end = problem
        .window_right
        .map_or(slot.keys, |right| behind.saturating_add(right).saturating_add(1).saturating_sub(rows));
    let end = end.min(slot.keys);
    first.min(end)..end
}

/// Jobs and tasks of all slots, for panels of `panel` rows.
pub(crate) fn cut<T: Load>(memory: &Memory<'_, T>, panel: usize) -> (Vec<Job>, Vec<Task>) {
    let problem = memory.problem;
    let (mut jobs, mut tasks) = (Vec::new(), Vec::new());
    for slot in memory.slots() {
        let first = jobs.len();
        let rows = slot.rows * problem.group();
        let (block_rows, part_keys) = block(rows, &slot, problem, panel);
        let together = heads_together(rows, &slot, problem);
        // Last blocks first: under a causal mask they see the most keys.
        for begin in (0..rows).step_by(block_rows).rev() {
            for head in 0..problem.num_heads_k {
                let rows = begin..(begin + block_rows).min(rows);
                jobs.push(Job { slot, head, rows, parts: Vec::new(), open: AtomicUsize::new(0) });
            }
        }
        for keys in parts(slot.keys, part_keys) {
            for (n, entries) in jobs[first..].chunks_mut(together).enumerate() {
                // That of all of them: they differ in their head, or there is one.
                let seen = if slot.are_rows_known { seen_by(problem, &entries[0]) } else { 0..0 };
                let keys = keys.start.max(seen.start)..keys.end.min(seen.end);
                let part = entries[0].parts.len();
                if keys.is_empty() && (part > 0 || !seen.is_empty()) {
                    continue;
                }
                let jobs = first + n * together;
                tasks.push(Task { jobs: jobs..jobs + entries.len(), part, keys });
                for entry in entries {
                    entry.parts.push(OnceLock::new());
                    *entry.open.get_mut() += 1;
                }
            }
        }
    }
    (jobs, tasks)
}

/// Has a slot as few rows as `few.rs` takes?
fn are_few(problem: &Problem, slot: &Slot) -> bool {
    slot.rows * problem.group() <= FEW_ROWS && !problem.is_row_invariant
}

/// Packed rows of a block, and keys of a part.
fn block(rows: usize, slot: &Slot, problem: &Problem, panel: usize) -> (usize, usize) {
    let heads = problem.num_heads_k;
    if are_few(problem, slot) {
        let even = (slot.keys / ENOUGH_TASKS).next_multiple_of(FEW_KEYS[0]);
        return (rows.max(1), even.clamp(FEW_KEYS[0], FEW_KEYS[1]));
    }
    let panels = (rows.saturating_mul(heads) / (ENOUGH_TASKS * panel)).clamp(1, MAX_BLOCK_ROWS / panel);
    let block_rows = panels * panel;
    let enough = rows.div_ceil(block_rows) * heads >= ENOUGH_TASKS || problem.is_row_invariant;
    (block_rows, if enough { usize::MAX } else { PANEL_KEYS })
}

/// Heads of k and v of a task. Of few rows, where heads lie close together between the keys, many: memory is
/// then read in its order.
fn heads_together(rows: usize, slot: &Slot, problem: &Problem) -> usize {
    let are_close = |stride: [usize; 3], dim: usize| stride[2] < stride[1] && stride[2] <= 2 * dim;
    let are_close =
        are_close(problem.k_stride, problem.head_dim) && are_close(problem.v_stride, problem.head_dim_v);
    if !are_few(problem, slot) || !are_close {
        return 1;
    }
    (FEW_ELEMENTS / (rows.max(1) * problem.head_dim.max(problem.head_dim_v))).max(1)
}

/// Ranges of `part` keys, at least one.
fn parts(keys: usize, part: usize) -> impl Iterator<Item = Range<usize>> {
    (0..keys.max(1)).step_by(part).map(move |first| first..first.saturating_add(part).min(keys))
}

/// Keys that any row of a job sees.
fn seen_by(problem: &Problem, job: &Job) -> Range<usize> {
    let first = visible(problem, &job.slot, job.rows.start);
    let last = visible(problem, &job.slot, job.rows.end - 1);
    // The first rows may see nothing.
    if first.is_empty() && !last.is_empty() {
        return 0..last.end;
    }
    first.start..last.end.max(first.start)
}

impl Job {
    /// Whether the rows have as few as `few.rs` takes.
    pub(crate) fn has_few_rows(&self, problem: &Problem) -> bool {
        are_few(problem, &self.slot)
    }

    /// Query row and head of q of a packed row.
    pub(crate) fn row_and_head(&self, problem: &Problem, row: usize) -> (usize, usize) {
        let group = problem.group();
        (row / group, self.head * group + row % group)
    }

    /// Takes the result of a task. The thread that brings the last one joins all, in the order of the
    /// keys, and writes the rows.
    #[inline(always)]
    pub(crate) fn take<S: Simd, T: Load>(&self, s: S, memory: &Memory<'_, T>, task: &Task, part: &mut Part) {
        if self.parts.len() == 1 {
            self.write(s, memory, part);
            return;
        }
        let is_new = self.parts[task.part].set(std::mem::take(part)).is_ok();
        debug_assert!(is_new, "each task runs once");
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.write(
                s,
                memory,
                &join(self.parts.iter().filter_map(OnceLock::get), memory.problem.head_dim_v),
            );
        }
    }

    #[inline(always)]
    #[allow(unsafe_code, reason = "rows of o are written by several threads")]
    fn write<S: Simd, T: Load>(&self, s: S, memory: &Memory<'_, T>, part: &Part) {
        let dim = memory.problem.head_dim_v;
        let mut o = vec![0.0; dim];
        for (i, row) in self.rows.clone().enumerate() {
            let (mut sum, mut max) = (part.sum[i], part.max[i]);
            if !self.slot.are_rows_known {
                (sum, max) = (f32::NAN, f32::NAN);
            }
            let scale = if sum == 0.0 { 0.0 } else { 1.0 / sum };
            for (o, part) in o.iter_mut().zip(&part.o[i * dim..][..dim]) {
                *o = part * scale;
            }
            let lse =
                if sum == 0.0 { f32::NEG_INFINITY } else { (max + sum.log2()) * std::f32::consts::LN_2 };
            let (row, head) = self.row_and_head(memory.problem, row);
            // SAFETY: each row belongs to one job, and one thread finishes a job.
            unsafe { memory.write(s, (&self.slot, row, head), &o, lse) };
        }
    }
}

/// One part of several, taken in their order.
fn join<'a>(mut parts: impl Iterator<Item = &'a Part>, dim: usize) -> Part {
    let mut all = parts.next().cloned().unwrap_or_default();
    for part in parts {
        for row in 0..all.max.len() {
            // Where one is a NaN the sum is one already, and stays.
            let max = all.max[row].max(part.max[row]);
            let shift = if max == f32::NEG_INFINITY { 0.0 } else { max };
            let (old, new) = ((all.max[row] - shift).exp2(), (part.max[row] - shift).exp2());
            all.sum[row] = all.sum[row] * old + part.sum[row] * new;
            all.max[row] = max;
            for (a, b) in all.o[row * dim..][..dim].iter_mut().zip(&part.o[row * dim..][..dim]) {
                *a = *a * old + b * new;
            }
        }
    }
    all
}
