//! Choosing blocks of rows, and what a chosen schedule answers. Pure: no device, no I/O.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use super::costs::{num_kernels, Costs, Cut, Launches, RankWork};
use super::problem::Problem;
use super::schedule::{self, Cost, Spans};
use crate::spec::Reason;
use crate::{Error, Result, Soc};

/// Places among which cuts are searched first: where there are more, at most this many, all of the first and
/// last few among them.
const SEARCHED: usize = 66;
const EDGE: usize = 6;

/// Where not all places are searched, the cuts may then move by so many of them in either direction.
const MOVES: usize = 4;

/// So often at most: a cut is seldom moved twice.
const MOST_MOVES: usize = 8;

/// Rows of the output that are computed and reduced together.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Rows of o and y.
    pub rows: Range<u32>,
    /// Predicted model time.
    pub cost: Cost,
    /// Predicted begin and end.
    pub spans: Spans,
    pub(super) launches: Launches,
}

impl Block {
    /// Kernels that are launched for it.
    pub fn num_launches(&self) -> usize {
        num_kernels(self.launches.attention.len(), self.launches.product.is_some())
    }
}

/// A layer with its blocks; prints itself with the predicted timeline. The same for all ranks.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(super) work: RankWork,
    pub(super) blocks: Vec<Block>,
    serial: Cost,
}

/// Plans a layer with the blocks that are predicted to end first.
///
/// # Errors
/// One error with **all** reasons, each with the argument, its value and the value wanted: `InvalidArgument`
/// if any argument can never be right, else `Unsupported`.
pub fn plan(problem: &Problem, soc: &Soc) -> Result<Plan> {
    let work = work(problem, soc)?;
    let places = work.places();
    let rows = searched(&places);
    let mut costs = Costs::new(&work);
    let mut cuts = best(&mut costs, &rows, |_| true)?;
    if rows.len() < places.len() {
        // A cut that has moved as far as it may can be better yet further on.
        for _ in 0..MOST_MOVES {
            let near = near(&places, &cuts);
            let rows: Vec<u32> =
                places.iter().copied().filter(|row| near.iter().any(|rows| rows.contains(row))).collect();
            let is_next = |[first, end]: [u32; 2]| {
                near.windows(2).any(|w| w[0].contains(&first) && w[1].contains(&end))
            };
            let moved = best(&mut costs, &rows, is_next)?;
            let is_same = moved.iter().map(|cut| cut.row).eq(cuts.iter().map(|cut| cut.row));
            cuts = moved;
            if is_same {
                break;
            }
        }
    }
    Plan::new(costs, &cuts)
}

/// The cuts that are predicted to end first, of all at `rows` whose blocks go from one row to another for
/// which `is_wanted`.
fn best(costs: &mut Costs, rows: &[u32], is_wanted: impl Fn([u32; 2]) -> bool) -> Result<Vec<Cut>> {
    let work = costs.work();
    let cuts = work.cuts(rows);
    let mut failed = None;
    let never = Cost { compute_us: f64::INFINITY, ..Cost::default() };
    let cost = |from: usize, to: usize| {
        let block = [cuts[from], cuts[to]];
        if !is_wanted(block.map(|cut| cut.row)) || !work.is_block(block) {
            return never;
        }
        costs.of(block).unwrap_or_else(|error| {
            failed.get_or_insert(error);
            never
        })
    };
    let chosen = schedule::choose(cuts.len(), cost, work.soc.links.contention);
    match failed {
        Some(error) => Err(error),
        None => Ok(chosen.into_iter().map(|cut| cuts[cut]).collect()),
    }
}

/// For each cut the rows to which it may move.
fn near(places: &[u32], cuts: &[Cut]) -> Vec<RangeInclusive<u32>> {
    let last = places.len() - 1;
    let around = |cut: &Cut| match places.partition_point(|&row| row < cut.row) {
        end if end == 0 || end >= last => cut.row..=cut.row,
        i => places[i.saturating_sub(MOVES).max(1)]..=places[(i + MOVES).min(last - 1)],
    };
    cuts.iter().map(around).collect()
}

/// Plans a layer with blocks of these numbers of rows, from the first row to the last.
///
/// # Errors
/// As [`plan`]; `InvalidArgument` when they are not all rows, or end where rows cannot be cut: that is at
/// every 128th row of a sequence, and at its end.
pub fn plan_with(problem: &Problem, soc: &Soc, block_rows: &[u32]) -> Result<Plan> {
    let work = work(problem, soc)?;
    let total: u64 = block_rows.iter().map(|&rows| u64::from(rows)).sum();
    if total != problem.rows() {
        return Err(Error::invalid(format!(
            "tiling-AllReduce: block_rows with a sum of {total} given, {} wanted, the rows of all sequences",
            problem.rows()
        )));
    }
    let places = work.places();
    let mut cuts = vec![0];
    for &rows in block_rows {
        let cut = cuts.last().copied().unwrap_or(0) + rows;
        if let Err(next) = places.binary_search(&cut) {
            let [before, behind] = [next.saturating_sub(1), next.min(places.len() - 1)].map(|i| places[i]);
            return Err(Error::invalid(format!(
                "tiling-AllReduce: block_rows = {block_rows:?} given, where a block starts at row {cut}; wanted: a row at which \
                 a block can start, nearest {before} and {behind}"
            )));
        }
        if rows == 0 {
            return Err(Error::invalid(format!(
                "tiling-AllReduce: block_rows = {block_rows:?} given, at least 1 row in each wanted"
            )));
        }
        cuts.push(cut);
    }
    let is_given = |[first, end]: [u32; 2]| {
        cuts.partition_point(|&cut| cut <= first) == cuts.partition_point(|&cut| cut < end)
    };
    let mut costs = Costs::new(&work);
    let cuts = best(&mut costs, &cuts, is_given)?;
    Plan::new(costs, &cuts)
}

fn work(problem: &Problem, soc: &Soc) -> Result<RankWork> {
    Reason::refuse(&format!("tiling-AllReduce on {}", soc.name), &problem.refusals(soc))?;
    RankWork::new(problem, soc)
}

/// All places when they are few; else the first and last ones, where blocks are short, and some of the
/// others.
fn searched(places: &[u32]) -> Vec<u32> {
    if places.len() <= SEARCHED {
        return places.to_vec();
    }
    let inner = places.len() - 2 * EDGE;
    let step = inner.div_ceil(SEARCHED - 2 * EDGE);
    let is_kept = |i: &usize| *i < EDGE || *i >= places.len() - EDGE || (i - EDGE).is_multiple_of(step);
    (0..places.len()).filter(is_kept).map(|i| places[i]).collect()
}

impl Plan {
    fn new(mut costs: Costs, cuts: &[Cut]) -> Result<Self> {
        let work = costs.work();
        let serial = match work.rows() {
            0 => Cost::default(),
            rows => costs.of([0, rows].map(|row| Cut { row, fills_round: false }))?,
        };
        let mut parts = Vec::new();
        for cut in cuts.windows(2) {
            let block = [cut[0], cut[1]];
            parts.push((costs.of(block)?, work.launches(block)?, cut[0].row..cut[1].row));
        }
        let costs: Vec<Cost> = parts.iter().map(|(cost, ..)| *cost).collect();
        let spans = schedule::follow(&costs, work.soc.links.contention);
        let blocks = parts.into_iter().zip(spans);
        let blocks =
            blocks.map(|((cost, launches, rows), spans)| Block { rows, cost, spans, launches }).collect();
        Ok(Self { work: work.clone(), blocks, serial })
    }

    /// The part of the layer that one rank computes, with the same blocks and launches, and without any
    /// AllReduce.
    #[must_use]
    pub fn without_transfers(&self) -> Self {
        let mut plan = self.clone();
        let own = &mut plan.work.problem;
        (own.spec.num_heads, own.spec.num_heads_k, own.ranks) = (own.local_heads(), own.local_heads_k(), 1);
        (plan.serial.transfer_us, plan.serial.queued_us) = (0.0, 0.0);
        for block in &mut plan.blocks {
            (block.cost.transfer_us, block.cost.queued_us) = (0.0, 0.0);
        }
        let costs: Vec<Cost> = plan.blocks.iter().map(|block| block.cost).collect();
        let spans = schedule::follow(&costs, plan.work.soc.links.contention);
        for (block, spans) in plan.blocks.iter_mut().zip(spans) {
            block.spans = spans;
        }
        plan
    }

    /// What is planned.
    pub fn problem(&self) -> &Problem {
        &self.work.problem
    }

    /// What it is planned for.
    pub fn soc(&self) -> &Soc {
        &self.work.soc
    }

    /// The blocks, in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Device memory that a launch needs besides its operands.
    pub fn workspace_bytes(&self) -> u64 {
        let parts = self.blocks.iter().flat_map(|block| &block.launches.attention);
        parts.map(|(_, part)| part.workspace_bytes()).max().unwrap_or(0)
    }

    /// Bytes that the buffers of this rank's q, k, v, o and y must hold, in this order; q, k and v are not
    /// used without attention.
    pub fn operand_bytes(&self) -> [u64; 5] {
        self.problem().operand_bytes().map(narrow)
    }

    pub(super) fn has_weight(&self) -> bool {
        self.work.tiling.is_some()
    }

    /// Bytes of this rank's part of the weight.
    pub fn weight_bytes(&self) -> u64 {
        u64::from(self.problem().in_features()) * self.work.row_bytes()
    }

    /// Predicted model time of the layer as it is planned, in microseconds.
    pub fn predicted_us(&self) -> f64 {
        schedule::end(&self.blocks.iter().map(|b| b.spans).collect::<Vec<_>>())
    }

    /// Predicted model time for which cores and links work side by side, in microseconds.
    pub fn predicted_overlap_us(&self) -> f64 {
        schedule::overlap(&self.blocks.iter().map(|b| b.spans).collect::<Vec<_>>())
    }

    /// Predicted model time of everything as one block: computing, and then the transfer.
    pub fn serial(&self) -> Cost {
        self.serial
    }
}

impl RankWork {
    /// Bytes at which the q, k, v and o of a batch start.
    pub(super) fn batch_offsets(&self, planned: &super::costs::PlannedBatch) -> [u64; 4] {
        self.problem.offsets(&planned.batch, planned.plan.shape()).map(narrow)
    }
}

/// `Problem::refusals` has bounded all bytes by the device's memory.
fn narrow(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = self.problem();
        writeln!(
            f,
            "tiling-AllReduce {} on {} x {}: {} sequences, {} rows, {} of {} heads ({} of {} kv), hidden {}, mask {}",
            p.spec.dtype,
            p.ranks,
            self.soc().name,
            p.sequences.len(),
            p.rows(),
            p.local_heads(),
            p.spec.num_heads,
            p.local_heads_k(),
            p.spec.num_heads_k,
            p.hidden,
            p.spec.mask
        )?;
        writeln!(f, "block       rows  launches   compute us  transfer us  computed from .. to   transferred from .. to")?;
        for (i, block) in self.blocks.iter().enumerate() {
            let Block { rows, cost, spans, .. } = block;
            writeln!(
                f,
                "{i:>5} {:>10} {:>9} {:>12.1} {:>12.1} {:>10.1} .. {:<9.1} {:>10.1} .. {:<9.1}",
                rows.end - rows.start,
                block.num_launches(),
                cost.compute_us,
                cost.transfer_us,
                spans.compute[0],
                spans.compute[1],
                spans.transfer[0],
                spans.transfer[1]
            )?;
        }
        let Cost { compute_us, transfer_us, .. } = self.serial;
        writeln!(
            f,
            "predicted model time {:.1} us; one block {:.1} us = {compute_us:.1} computing + {transfer_us:.1} transfer; the longer alone {:.1} us",
            self.predicted_us(),
            compute_us + transfer_us,
            compute_us.max(transfer_us)
        )
    }
}
