//! Where rows may be cut, what a block of them launches, and what that is predicted to take.

use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::ops::Range;

use super::problem::{Batch, Linear, Problem};
use super::schedule::Cost;
use crate::soc::Collective;
use crate::{attention, matmul, Error, Result, Soc};

/// Rows between two places where a sequence may be cut: what a tile of the projection has.
const ROWS: u32 = 128;

/// Where one block ends and the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cut {
    /// The first row behind it.
    pub(super) row: u32,
    /// Items behind it are launched before it, up to what fills a round on the cores; rounds are counted
    /// from the first item of a batch.
    pub(super) fills_round: bool,
}

/// A batch with its plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlannedBatch {
    pub(super) batch: Batch,
    pub(super) plan: attention::Plan,
}

impl PlannedBatch {
    fn rows(&self) -> Range<u32> {
        self.batch.first_row..self.batch.first_row + self.batch.count * self.batch.sequence.seqlen_q
    }

    fn block_m(&self) -> u32 {
        self.plan.chosen().block_m
    }

    /// The items of a sequence.
    fn sequence_items(&self) -> u64 {
        u64::from(self.plan.num_blocks_m()) * u64::from(self.plan.shape().num_heads)
    }

    /// Items that are launched before a cut: all that the rows before it need, and what else of this batch is
    /// to fill the round.
    fn items_before(&self, cut: Cut) -> u64 {
        let own = self.rows();
        let (row, seqlen) = (cut.row.clamp(own.start, own.end) - own.start, self.batch.sequence.seqlen_q);
        let blocks = u64::from((row % seqlen).div_ceil(self.block_m()));
        let needed =
            u64::from(row / seqlen) * self.sequence_items() + blocks * u64::from(self.plan.shape().num_heads);
        let round = if cut.fills_round { self.plan.even_items() } else { 1 };
        needed.next_multiple_of(round).min(self.plan.num_items())
    }

    /// What to launch between two cuts; `None` when that has been computed before.
    fn items(&self, cuts: [Cut; 2]) -> Option<Range<u64>> {
        let [first, end] = cuts.map(|cut| self.items_before(cut));
        Some(first..end).filter(|items| !items.is_empty())
    }

    /// The plan itself for all items: it may take them in an order that is better for L2.
    fn part(&self, items: Range<u64>) -> Result<attention::Plan> {
        if items == (0..self.plan.num_items()) {
            return Ok(self.plan.clone());
        }
        self.plan.part(items)
    }
}

/// What one rank launches.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RankWork {
    pub(super) problem: Problem,
    pub(super) soc: Soc,
    pub(super) batches: Vec<PlannedBatch>,
    /// Tiling of the projection of all rows.
    pub(super) tiling: Option<matmul::Tiling>,
}

/// Launches of one block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Launches {
    /// Each with the place of its batch.
    pub(super) attention: Vec<(usize, attention::Plan)>,
    pub(super) product: Option<matmul::Plan>,
}

/// Kernels of a block: the product goes with the attention where that is one launch.
pub(super) fn num_kernels(attention_launches: usize, has_product: bool) -> usize {
    match (attention_launches, has_product) {
        (1, true) => 1,
        (launches, product) => launches + usize::from(product),
    }
}

impl RankWork {
    pub(super) fn new(problem: &Problem, soc: &Soc) -> Result<Self> {
        let planned = |batch: Batch| {
            Ok(PlannedBatch { batch, plan: attention::plan(&problem.attention(&batch), soc)? })
        };
        let batches = if problem.has_attention { problem.batches() } else { Vec::new() };
        let tiling = match problem.product(problem.planned_rows()) {
            Some(product) => Some(matmul::plan(&product, soc)?.tiling()),
            None => None,
        };
        Ok(Self {
            problem: problem.clone(),
            soc: soc.clone(),
            batches: batches.into_iter().map(planned).collect::<Result<_>>()?,
            tiling,
        })
    }

    pub(super) fn rows(&self) -> u32 {
        // `Problem::refusals` bounds them.
        u32::try_from(self.problem.rows()).unwrap_or(u32::MAX)
    }

    /// Rows before which the output may be cut, from 0 to the number of rows.
    pub(super) fn places(&self) -> Vec<u32> {
        let rows = self.rows();
        let mut places: Vec<u32> = if self.problem.has_attention {
            let of_batch = |r: &PlannedBatch| {
                let (own, seqlen) = (r.rows(), r.batch.sequence.seqlen_q);
                let sequences = own.step_by(seqlen as usize);
                sequences
                    .flat_map(move |first| (0..seqlen).step_by(ROWS as usize).map(move |row| first + row))
                    .collect::<Vec<_>>()
            };
            self.batches.iter().flat_map(of_batch).collect()
        } else {
            (0..rows).step_by(ROWS as usize).collect()
        };
        places.push(rows);
        places
    }

    /// The ways to cut at these rows: filling rounds is one only where it launches other items.
    pub(super) fn cuts(&self, rows: &[u32]) -> Vec<Cut> {
        let differs = |row: u32| {
            let items = |fills_round| {
                self.batches.iter().map(move |batch| batch.items_before(Cut { row, fills_round }))
            };
            items(false).ne(items(true))
        };
        let of_row = |&row: &u32| {
            let filled = differs(row).then_some(Cut { row, fills_round: true });
            std::iter::once(Cut { row, fills_round: false }).chain(filled)
        };
        rows.iter().flat_map(of_row).collect()
    }

    /// Whether a block can lie between two cuts: it has rows, and what is launched before its begin is not
    /// more than before its end.
    pub(super) fn is_block(&self, [first, end]: [Cut; 2]) -> bool {
        first.row < end.row
            && self.batches.iter().all(|batch| batch.items_before(first) <= batch.items_before(end))
    }

    pub(super) fn launches(&self, cuts: [Cut; 2]) -> Result<Launches> {
        let mut attention = Vec::new();
        for (place, batch) in self.batches.iter().enumerate() {
            if let Some(items) = batch.items(cuts) {
                attention.push((place, batch.part(items)?));
            }
        }
        Ok(Launches { attention, product: self.product(cuts[1].row - cuts[0].row)? })
    }

    /// One tile for any number of rows: the order of its sums never changes. unitFlag does not touch it.
    fn product(&self, rows: u32) -> Result<Option<matmul::Plan>> {
        let (Some(product), Some(tiling)) = (self.problem.product(rows), self.tiling) else {
            return Ok(None);
        };
        let unit_flag = tiling.unit_flag && product.m.is_multiple_of(16);
        matmul::plan_with(&product, &self.soc, matmul::Tiling { unit_flag, ..tiling }).map(Some)
    }

    /// What kernels of a block take beside their work: launches; and on the cores their starts and, in the
    /// place of a launch, the barrier of attention and product.
    fn launches_and_begins_us(&self, attention_launches: usize, has_product: bool) -> [f64; 2] {
        let (control, kernels) = (&self.soc.timing.control, num_kernels(attention_launches, has_product));
        let barriers = attention_launches + usize::from(has_product) - kernels;
        // The product that shares a launch has no prologue of its own, which its prediction counts.
        let barrier = (control.cross_group + control.cross_all) as f64 - control.aic_prologue as f64;
        let starts_us = kernels as f64 * control.starts_us(self.soc.cube_cores);
        let attention_us = attention_launches as f64 * control.task_launch_us(true);
        let products_us = (kernels - attention_launches) as f64 * control.task_launch_us(false);
        let barriers_us = barriers as f64 * barrier / f64::from(self.soc.clock_mhz);
        [attention_us + products_us, starts_us + barriers_us]
    }

    /// Bytes of a row of y.
    pub(super) fn row_bytes(&self) -> u64 {
        u64::from(self.problem.hidden) * self.problem.spec.dtype.size_bytes() as u64
    }
}

/// Predicted model times of blocks. What blocks have in common is computed once.
pub(super) struct Costs<'a> {
    work: &'a RankWork,
    /// Of launches of a batch: its place, and items of it.
    parts: HashMap<(usize, Range<u64>), f64>,
    /// Of the projection of so many rows.
    products: HashMap<u32, f64>,
}

impl<'a> Costs<'a> {
    pub(super) fn new(work: &'a RankWork) -> Self {
        Self { work, parts: HashMap::new(), products: HashMap::new() }
    }

    pub(super) fn work(&self) -> &'a RankWork {
        self.work
    }

    pub(super) fn of(&mut self, cuts: [Cut; 2]) -> Result<Cost> {
        let work = self.work;
        let mut compute_us = 0.0;
        let mut attention_launches = 0;
        for (place, batch) in work.batches.iter().enumerate() {
            let Some(items) = batch.items(cuts) else { continue };
            // Every sequence of a batch costs the same.
            let first = items.start % batch.sequence_items();
            let items = first..first + (items.end - items.start);
            compute_us += match self.parts.entry((place, items.clone())) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(slot) => *slot.insert(batch.part(items)?.predicted_us()),
            };
            attention_launches += 1;
        }
        let rows = cuts[1].row - cuts[0].row;
        let mut launch_us = 0.0;
        let has_product = match work.problem.linear {
            Linear::Caller { launch_us: own_us, row_us } => {
                launch_us += own_us;
                compute_us += row_us * f64::from(rows);
                false
            }
            Linear::Weight(_) => {
                compute_us += match self.products.entry(rows) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(slot) => {
                        *slot.insert(work.product(rows)?.map_or(0.0, |p| p.predicted_us()))
                    }
                };
                true
            }
        };
        let [launches_us, begins_us] = work.launches_and_begins_us(attention_launches, has_product);
        launch_us += launches_us;
        compute_us += launch_us + begins_us;
        let bytes = u64::from(rows) * work.row_bytes();
        let (links, ranks) = (&work.soc.links, work.problem.ranks);
        let transfer_us = links.microseconds(Collective::AllReduce, bytes, ranks);
        let queued_us = links.queued_microseconds(Collective::AllReduce, bytes, ranks);
        if !compute_us.is_finite() {
            return Err(Error::invalid(format!(
                "tiling-AllReduce: linear = {} takes {compute_us} us for {rows} rows, a finite time wanted",
                work.problem.linear
            )));
        }
        Ok(Cost { compute_us, launch_us, transfer_us, queued_us })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::Mask;
    use crate::parallel::Sequence;
    use crate::DType;

    /// Items that the rows before `row` need, counted one by one.
    fn needed(batch: &PlannedBatch, row: u32) -> u64 {
        let heads = u64::from(batch.plan.shape().num_heads);
        let blocks = |first: u32| {
            let starts = (0..batch.batch.sequence.seqlen_q).step_by(batch.block_m() as usize);
            starts.filter(|start| first + start < row).count() as u64
        };
        batch.rows().step_by(batch.batch.sequence.seqlen_q as usize).map(|first| blocks(first) * heads).sum()
    }

    #[test]
    fn blocks_launch_each_item_once_and_before_its_rows_are_projected() {
        let lengths = [(3000, 3000), (3000, 3000), (700, 900), (64, 64), (64, 64), (5000, 5000)];
        let sequences = lengths.map(|(seqlen_q, seqlen_k)| Sequence { seqlen_q, seqlen_k });
        let problem = Problem::new(DType::F16, [1, 1, 40, 128], 5120, 8).with_mask(Mask::Causal);
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let work = RankWork::new(&problem.with_sequences(sequences.to_vec()), soc).unwrap();
        assert_eq!(work.batches.len(), 4);
        let cuts = work.cuts(&work.places());
        assert!(cuts.iter().filter(|cut| cut.fills_round).count() > 10, "{cuts:?}");
        let mut filled = 0;
        for seed in 0..100 {
            let rng = &mut fastrand::Rng::with_seed(seed);
            let mut launched = vec![0; work.batches.len()];
            let mut at = 0;
            while at + 1 < cuts.len() {
                let to = (at + 1 + rng.usize(0..30)).min(cuts.len() - 1);
                let Some(to) = (to..cuts.len()).find(|&to| work.is_block([cuts[at], cuts[to]])) else {
                    panic!("no block leads on from {:?}", cuts[at]);
                };
                for (batch, launched) in work.batches.iter().zip(&mut launched) {
                    if let Some(items) = batch.items([cuts[at], cuts[to]]) {
                        assert_eq!(items.start, *launched);
                        *launched = items.end;
                    }
                    let needed = needed(batch, cuts[to].row);
                    assert!(*launched >= needed, "{:?}: {launched} of {needed} items", cuts[to]);
                    filled += u32::from(*launched > needed);
                }
                at = to;
            }
            let all: Vec<u64> = work.batches.iter().map(|batch| batch.plan.num_items()).collect();
            assert_eq!(launched, all);
        }
        assert!(filled > 100, "{filled}");
    }
}
