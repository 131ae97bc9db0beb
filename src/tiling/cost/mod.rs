//! The planner's prediction: model time of a plan, in cycles, from the rates of
//! [`Timing`](crate::soc::Timing) alone.
//!
//! Every hand-over of the busiest core is followed through the pipes of its Cube and of a vector core
//! ([`cube`], [`vector`]): how long a pipe is busy with a step comes from the same rules as the simulator's
//! model time, and a step starts when its data, its flag and the pipe are there. Not single instructions, so
//! a prediction takes microseconds. What all cores take from L2 and HBM together is a second bound
//! ([`traffic`]), and slows each transfer. `tests/attention/predictions.rs` compares predictions with the
//! simulator.

mod cube;
mod traffic;
mod vector;

use std::array;
use std::collections::VecDeque;
use std::ops::Range;

use super::candidate::Tiling;
use super::order::Class;
use super::traffic::overlapped;
use super::{FlashFwdTilingData, Shape};
use crate::Soc;
use cube::CubeClock;
pub(super) use vector::Ops;
use vector::VectorClock;

/// Row blocks are put into at most this many classes of equal cost; of more groups, so many stand for all.
const CLASSES: u32 = 32;
const GROUPS: u32 = 8;

/// Steps and items followed one by one; what is left goes on at the mean pace of these.
const FOLLOWED_STEPS: u32 = 96;
const FOLLOWED_ITEMS: u32 = 1024;

/// Entries of a pipe's queue: how far the scalar unit runs ahead (dav-c220.md 1.4).
const QUEUE_ENTRIES: f64 = 32.0;

/// Work of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CoreLoad {
    /// Work items.
    pub items: u64,
    /// Cycles of their slowest pipes, without what starting, ending and waiting cost.
    pub cycles: f64,
}

/// What costs are computed from.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    pub(super) tiling: &'a Tiling,
    pub(super) shape: &'a Shape,
    pub(super) soc: &'a Soc,
    pub(super) ops: Ops,
    /// Part of the launch for which L2 is busy: with all transfers, and with those of other pipes than the
    /// Cube's MTE2.
    busy: [f64; 2],
    /// Cores that work at the same time.
    active: u32,
}

/// One hand-over: `rows` x `keys` scores.
#[derive(Clone, Copy, Debug)]
struct Step {
    rows: u32,
    keys: u32,
    /// Rows of a vector core that the right and the left limit cut.
    cut: [u32; 2],
    first: bool,
    last: bool,
    /// Steps of its bundle, whose P V is handed over once.
    bundle: u32,
}

impl Step {
    /// Its part of what a bundle costs.
    fn share(&self) -> f64 {
        1.0 / f64::from(self.bundle)
    }
}

/// The steps of an item: the block of keys from `key`, of the keys `key..end` that are left.
struct Steps {
    rows: u32,
    /// Last key that row 0 sees less the first one of the range, and the same of the first key it sees.
    limits: [Option<i64>; 2],
    begin: u32,
    key: u32,
    end: u32,
    block_n: u32,
    bundle_steps: u32,
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.key >= self.end {
            return None;
        }
        let (key, keys) = (self.key, self.block_n.min(self.end - self.key));
        self.key += keys;
        let rows_v = rows_v(self.rows);
        let clip = |rows: i64| u32::try_from(rows.clamp(0, i64::from(rows_v))).unwrap_or(rows_v);
        let [right, left] = self.limits.map(|l| l.map(|l| l - i64::from(key)));
        let bundle_keys = self.block_n * self.bundle_steps;
        let left_of_bundle = self.end - self.begin - (key - self.begin) / bundle_keys * bundle_keys;
        Some(Step {
            rows: self.rows,
            keys,
            // Row i of the first vector core sees keys up to right + i; row i of the second one from left +
            // rows_v + i.
            cut: [
                right.map_or(0, |right| clip(i64::from(keys) - 1 - right)),
                left.map_or(0, |left| clip(left + i64::from(2 * rows_v))),
            ],
            first: key == self.begin,
            last: self.key == self.end,
            bundle: left_of_bundle.min(bundle_keys).div_ceil(self.block_n),
        })
    }
}

/// Rows of a step that the first vector core holds.
fn rows_v(rows: u32) -> u32 {
    rows.min(rows.div_ceil(2).next_multiple_of(8))
}

impl<'a> Model<'a> {
    pub(super) fn new(tiling: &'a Tiling, shape: &'a Shape, soc: &'a Soc, ops: Ops) -> Self {
        Self { tiling, shape, soc, ops, busy: [0.0; 2], active: tiling.order.num_cores }
    }
}

impl Model<'_> {
    /// The steps of an item of these rows.
    fn steps(&self, rows: &Range<u32>) -> Steps {
        let (first, rows) = (rows.start, rows.end - rows.start);
        let keys = self.shape.visible_keys(first..first + rows);
        let begin = if keys.is_empty() { 0 } else { keys.start / 16 * 16 };
        let end = if keys.is_empty() { 0 } else { keys.end };
        let (left, right) = self.shape.limits();
        let diagonal = i64::from(first) + i64::from(self.shape.seqlen_k) - i64::from(self.shape.seqlen_q);
        Steps {
            rows,
            limits: [right.map(|r| diagonal + i64::from(r)), left.map(|l| diagonal - i64::from(l))],
            begin,
            key: begin,
            end,
            block_n: self.tiling.candidate.block_n,
            bundle_steps: self.tiling.candidate.bundle_steps,
        }
    }

    /// Sums of `of` over the steps of an item; whole bundles that no limit cuts cost the same.
    fn over_steps<const N: usize>(&self, rows: &Range<u32>, of: impl Fn(&Step) -> [f64; N]) -> [f64; N] {
        let sum = |steps: &mut dyn Iterator<Item = Step>| {
            steps.map(|s| of(&s)).fold([0.0; N], |all, one| array::from_fn(|i| all[i] + one[i]))
        };
        let mut steps = self.steps(rows);
        let blocks = steps.end.saturating_sub(steps.begin).div_ceil(steps.block_n);
        if blocks <= 16 {
            return sum(&mut steps);
        }
        let Steps { rows: height, block_n, bundle_steps, begin, .. } = steps;
        // Limits cut the blocks at both ends: a row block is at most as wide as 16 blocks of keys. The last
        // bundle may be shorter.
        let edge = (height / block_n + 2).max(bundle_steps).min(blocks / 2);
        let tail = Steps { key: begin + (blocks - edge) * block_n, ..self.steps(rows) };
        let middle = Step {
            rows: height,
            keys: block_n,
            cut: [0, 0],
            first: false,
            last: false,
            bundle: bundle_steps,
        };
        let (ends, middle) = (sum(&mut steps.take(edge as usize).chain(tail)), of(&middle));
        array::from_fn(|i| ends[i] + f64::from(blocks - 2 * edge) * middle[i])
    }

    /// Cycles of the slowest pipes of an item.
    pub(super) fn item(&self, rows: &Range<u32>) -> f64 {
        let [cycles] = self.over_steps(rows, |s| [self.bound(s)]);
        cycles
    }

    /// Cycles of the slowest pipe of a step.
    fn bound(&self, step: &Step) -> f64 {
        self.cube_bound(step).max(self.vector_bound(step))
    }

    /// Work of every core, from the groups that are dealt last, at most `groups`, with their row blocks in at
    /// most `blocks` classes; exact when that is all. The items of other groups cost as much in the mean.
    pub(super) fn core_loads(&self, blocks: u32, groups: u32) -> Vec<CoreLoad> {
        let order = &self.tiling.order;
        let mut loads = vec![CoreLoad::default(); order.num_cores as usize];
        for Class { positions, rows } in order.classes(blocks, groups) {
            let cycles = self.item(&rows);
            for (core, load) in (0..).zip(&mut loads) {
                let items =
                    order.dealt_before(positions.end, core) - order.dealt_before(positions.start, core);
                load.items += items;
                load.cycles += items as f64 * cycles;
            }
        }
        if order.num_groups() > groups {
            let known: u64 = loads.iter().map(|load| load.items).sum();
            let mean = loads.iter().map(|load| load.cycles).sum::<f64>() / known as f64;
            for (core, load) in (0..).zip(&mut loads) {
                let others = order.dealt_before(order.num_positions(), core) - load.items;
                load.items += others;
                load.cycles += others as f64 * mean;
            }
        }
        loads
    }

    /// Cycles from the start of a core of the launch to its last result.
    pub(super) fn predict(&self) -> f64 {
        let blocks = CLASSES / self.tiling.order.num_groups().clamp(1, GROUPS);
        let loads = self.core_loads(blocks, GROUPS);
        let busiest = (0..).zip(&loads).max_by(|a, b| a.1.cycles.total_cmp(&b.1.cycles));
        let Some((core, load)) = busiest.filter(|(_, load)| load.items > 0) else { return 0.0 };
        let [shared, others] = self.shared_bound(blocks, GROUPS);
        // All cores work until the mean of their loads; the busiest ones then have L2 for themselves.
        let num_cores = self.tiling.order.num_cores;
        let mean = loads.iter().map(|l| l.cycles).sum::<f64>() / f64::from(num_cores);
        let even = (mean / load.cycles).min(1.0);
        let busiest = loads.iter().filter(|l| l.cycles > mean).count();
        let few = u32::try_from(busiest).unwrap_or(num_cores).max(1);
        let cycles = |busy: f64| {
            let of = |active: u32| {
                let busy = busy * f64::from(active) / f64::from(num_cores);
                let model = Self { busy: [busy, busy * others / shared.max(1.0)], active, ..*self };
                model.follow(core, load.cycles)
            };
            let tail = if even < 1.0 { (1.0 - even) * of(few) } else { 0.0 };
            overlapped(even * of(num_cores), shared) + tail
        };
        // For how long L2 is busy depends on the time that this predicts.
        let alone = cycles(0.0);
        cycles((shared / alone).min(1.0))
    }

    /// The steps of a core one after the other; `load` is the sum of their bounds in a model of its own,
    /// where L2 is not busy and all cores work.
    fn follow(&self, core: u32, load: f64) -> f64 {
        let control = &self.soc.timing.control;
        let start = control.begin(true, size_of::<FlashFwdTilingData>());
        let mut window = Window::new(*self, start);
        let loads = Model::new(self.tiling, self.shape, self.soc, self.ops);
        let (mut followed, mut count) = (0.0, 0);
        let order = &self.tiling.order;
        let rounds = order.num_positions().div_ceil(order.num_cores);
        let mut is_whole = rounds <= FOLLOWED_ITEMS;
        'items: for item in order.of_core(core).take(FOLLOWED_ITEMS as usize) {
            for step in self.steps(&item.rows()) {
                if count == FOLLOWED_STEPS {
                    is_whole = false;
                    break 'items;
                }
                count += 1;
                followed += loads.bound(&step);
                window.push(step);
            }
        }
        if count == 0 {
            return start + self.empty_items(rounds.into());
        }
        let pace = (window.vector.end - start) / followed;
        let rest = if is_whole { 0.0 } else { (load - followed).max(0.0) * pace };
        window.drain() + rest
    }
}

/// Steps on their way between the Cube and a vector core, in the order in which the kernel takes them up:
/// QK^T runs `preload` steps ahead of PV, and the update of a bundle follows the softmax of the next one.
struct Window<'a> {
    model: Model<'a>,
    cube: CubeClock,
    vector: VectorClock,
    /// Steps without PV, with the time at which their scores are there.
    behind: VecDeque<(Step, f64)>,
    /// Steps of the bundle whose probabilities are made, as one.
    bundle: Option<Step>,
    /// The bundle whose output is to be added, with the time at which it is there.
    output: Option<(Step, f64)>,
}

impl<'a> Window<'a> {
    fn new(model: Model<'a>, start: f64) -> Self {
        Self {
            model,
            cube: CubeClock::new(start),
            vector: VectorClock::new(start),
            behind: VecDeque::new(),
            bundle: None,
            output: None,
        }
    }

    fn push(&mut self, step: Step) {
        let is_full = self.behind.len() == self.model.tiling.candidate.preload as usize;
        let next_pv = self.behind.front().filter(|_| is_full).map(|(s, _)| self.joined(s));
        let next_pv = next_pv.filter(|s| self.is_whole(s));
        let scores = self.model.multiply_qk(&mut self.cube, &step, next_pv.as_ref());
        self.behind.push_back((step, scores));
        if is_full {
            self.finish_one(true);
        }
    }

    /// Softmax and PV of the oldest step, the update of the one before.
    fn finish_one(&mut self, has_values: bool) {
        let Some((step, scores)) = self.behind.pop_front() else { return };
        let ready = self.model.softmax(&mut self.vector, &step, scores);
        let bundle = self.joined(&step);
        if !self.is_whole(&bundle) {
            self.bundle = Some(bundle);
            return;
        }
        self.bundle = None;
        self.update();
        let output = self.model.multiply_pv(&mut self.cube, &bundle, ready, has_values);
        self.output = Some((bundle, output));
    }

    /// A step with those of its bundle before it.
    fn joined(&self, step: &Step) -> Step {
        self.bundle.map_or(*step, |before| Step {
            first: before.first,
            keys: before.keys + step.keys,
            ..*step
        })
    }

    fn is_whole(&self, bundle: &Step) -> bool {
        bundle.keys.div_ceil(self.model.tiling.candidate.block_n) == bundle.bundle
    }

    fn update(&mut self) {
        if let Some((step, output)) = self.output.take() {
            self.model.update(&mut self.vector, &step, output);
        }
    }

    /// Finishes every step; the time of the last result.
    fn drain(mut self) -> f64 {
        while !self.behind.is_empty() {
            self.finish_one(false);
        }
        self.update();
        self.vector.end
    }
}
