//! Choosing a tiling, and what a chosen one answers.

use std::ops::Range;

use super::candidate::{self, Candidate, Rejected, Tiling};
use super::cost::{CoreLoad, Model, Ops};
use super::limits;
use super::mask::MASK_DIM;
use super::memory_map::MemoryMap;
use super::order::WorkItem;
use super::{FlashFwdTilingData, ShiftPlan, Timed, Tuned};
use crate::spec::{Reason, Shape};
use crate::{Error, ErrorKind, Result, Soc};

/// Row blocks up to which [`FlashFwdPlan::core_loads`] is exact.
const EXACT_CLASSES: u32 = 65536;

/// A candidate that works, with its prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimated {
    /// What was tried.
    pub candidate: Candidate,
    /// Predicted model time of a launch, from the start of a core to its last result, in cycles, operands in
    /// L2.
    pub cycles: f64,
}

/// A chosen tiling of `flash_fwd`; prints itself, with every buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct FlashFwdPlan {
    pub(super) shape: Shape,
    /// As `flash_fwd` reads it.
    read: Shape,
    pub(super) soc: Soc,
    pub(super) tiling: Tiling,
    /// The launch that shifts the keys.
    shift: Option<ShiftPlan>,
    pub(super) estimated: Vec<Estimated>,
    pub(super) rejected: Vec<Rejected>,
    /// Model time of the choice in microseconds, when it was made from earlier results.
    pub(super) tuned_us: Option<f64>,
}

/// Plans a problem for a SoC: the candidate with the shortest predicted model time, the earlier one of
/// equals. Plans do not depend on a device and may be made and kept anywhere.
///
/// # Errors
/// One error with **all** reasons, each with the argument, its value and the nearest supported one. The kind
/// is `InvalidArgument` if any argument can never be right, else `Unsupported`. For a good problem that no
/// candidate suits, the reason of every candidate.
pub fn plan(problem: impl Into<Shape>, soc: &Soc) -> Result<FlashFwdPlan> {
    let shape = &problem.into();
    Reason::refuse(&planning(soc), &limits::reasons(shape, soc))?;
    let (mut best, mut estimated, mut rejected) =
        (None::<(f64, Tiling)>, Vec::<Estimated>::new(), Vec::new());
    let ops = Ops::new(&soc.timing);
    let read = &shape.as_read();
    for candidate in candidate::all() {
        let same_blocks = |e: &Estimated| Candidate { num_stages: 0, preload: 0, ..e.candidate };
        if estimated
            .last()
            .is_some_and(|e| same_blocks(e) == Candidate { num_stages: 0, preload: 0, ..candidate })
        {
            let reason = "more stages fit the same blocks".to_owned();
            rejected.push(Rejected { candidate, reason });
            continue;
        }
        match candidate::suits(candidate, read).and_then(|()| Tiling::new(candidate, read, soc)) {
            Ok(tiling) => {
                let cycles = Model::new(&tiling, read, soc, ops).predict();
                estimated.push(Estimated { candidate, cycles });
                if best.as_ref().is_none_or(|(least, _)| cycles < *least) {
                    best = Some((cycles, tiling));
                }
            }
            Err(reason) => rejected.push(Rejected { candidate, reason }),
        }
    }
    match best {
        Some((_, tiling)) => {
            Ok(FlashFwdPlan { estimated, rejected, ..FlashFwdPlan::new(*shape, soc, tiling) })
        }
        None => Err(no_candidate(&rejected, soc)),
    }
}

/// Plans a problem with the fastest tiling that `tuned` has for problems like it and that works for this one;
/// as [`plan`] when it has none.
///
/// # Errors
/// As [`plan`], and `InvalidArgument` when the results are for another SoC.
pub fn plan_tuned(problem: impl Into<Shape>, soc: &Soc, tuned: &Tuned) -> Result<FlashFwdPlan> {
    tuned.check(soc)?;
    let shape = &problem.into();
    let mut plan = plan(*shape, soc)?;
    let read = &shape.as_read();
    let tiling = |timed: &Timed| {
        let tiling =
            candidate::suits(timed.candidate, read).and_then(|()| Tiling::new(timed.candidate, read, soc));
        tiling.ok().map(|tiling| (timed.model_us, tiling))
    };
    if let Some((model_us, tiling)) = tuned.results(shape).iter().find_map(tiling) {
        (plan.tiling, plan.tuned_us) = (tiling, Some(model_us));
    }
    Ok(plan)
}

/// Plans a problem with this tiling instead of the planner's choice, whatever it costs.
///
/// # Errors
/// As [`plan`], and `Unsupported` with the reason why the tiling cannot be used.
pub fn plan_with(problem: impl Into<Shape>, soc: &Soc, candidate: Candidate) -> Result<FlashFwdPlan> {
    let shape = &problem.into();
    Reason::refuse(&planning(soc), &limits::reasons(shape, soc))?;
    let read = shape.as_read();
    match Tiling::new(candidate, &read, soc) {
        Ok(tiling) => {
            let cycles = Model::new(&tiling, &read, soc, Ops::new(&soc.timing)).predict();
            let estimated = vec![Estimated { candidate, cycles }];
            Ok(FlashFwdPlan { estimated, ..FlashFwdPlan::new(*shape, soc, tiling) })
        }
        Err(reason) => Err(no_candidate(&[Rejected { candidate, reason }], soc)),
    }
}

/// How errors of planning begin.
fn planning(soc: &Soc) -> String {
    format!("attention on {}", soc.name)
}

fn no_candidate(rejected: &[Rejected], soc: &Soc) -> Error {
    let reasons: Vec<String> = rejected.iter().map(Rejected::to_string).collect();
    Error::new(ErrorKind::Unsupported, format!("{}: {}", planning(soc), reasons.join("; ")))
}

impl FlashFwdPlan {
    /// A tiling of this shape, without candidates that it was compared with.
    fn new(shape: Shape, soc: &Soc, tiling: Tiling) -> Self {
        Self {
            shape,
            read: shape.as_read(),
            soc: soc.clone(),
            tiling,
            shift: ShiftPlan::new(&shape, soc),
            estimated: Vec::new(),
            rejected: Vec::new(),
            tuned_us: None,
        }
    }

    /// What was planned.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What it was planned for.
    pub fn soc(&self) -> &Soc {
        &self.soc
    }

    /// The chosen candidate.
    pub fn chosen(&self) -> Candidate {
        self.tiling.candidate
    }

    /// Candidates that work, with their estimates.
    pub fn candidates(&self) -> &[Estimated] {
        &self.estimated
    }

    /// Candidates that do not, with their reasons.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// The launch that shifts the keys, before that of the attention; `None` when there is none.
    pub fn shift(&self) -> Option<&ShiftPlan> {
        self.shift.as_ref()
    }

    /// Where the shifted keys start in the workspace.
    pub(crate) fn shifted_keys_offset_bytes(&self) -> u64 {
        self.tiling.workspace_core_bytes * u64::from(self.tiling.order.num_cores)
    }

    /// Predicted model time of a launch in microseconds, from the start of a core to its last result,
    /// operands in L2; without the launch that shifts the keys ([`ShiftPlan::predicted_us`]).
    pub fn predicted_us(&self) -> f64 {
        self.model().predict() / f64::from(self.soc.clock_mhz)
    }

    /// Model time of the choice in microseconds, when it was made from earlier results ([`plan_tuned`]).
    pub fn tuned_us(&self) -> Option<f64> {
        self.tuned_us
    }

    /// This plan for some of its work items, numbered in the order of the rows of o: row block `i` of head
    /// `h` in batch `b` is item `(b * num_blocks_m + i) * num_heads + h`. A launch takes the same operands
    /// and leaves the rest of o and lse as it is. What it computes gets the same bits as from a launch of the
    /// whole plan. Multiples of [`Self::even_items`] keep all cores busy to the end. Where keys are shifted,
    /// a launch of a part shifts all of them, as that of the whole does.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty range, and for one that ends behind the last item.
    pub fn part(&self, items: Range<u64>) -> Result<Self> {
        let all = u64::from(self.num_blocks_m()) * u64::from(self.tiling.order.heads);
        let narrow = |item: u64| u32::try_from(item).ok().filter(|_| item <= all);
        let range = narrow(items.start).zip(narrow(items.end)).filter(|(start, end)| start < end);
        let Some((start, end)) = range else {
            return Err(Error::invalid(format!(
                "part of a plan: items = {items:?} given, at least one item inside 0..{all} wanted"
            )));
        };
        let order = self.tiling.order.part(start..end);
        // Other candidates were compared, and results found, for the whole.
        Ok(Self::new(self.shape, &self.soc, Tiling { order, ..self.tiling.clone() }))
    }

    /// Row blocks of a head, whatever part of them is launched.
    pub fn num_blocks_m(&self) -> u32 {
        self.tiling.order.num_blocks_m
    }

    /// Groups to launch.
    pub fn num_cores(&self) -> u32 {
        self.tiling.order.num_cores
    }

    /// Work items of the launch: row blocks times heads. If the last round has few items, each is cut into
    /// parts, so that more cores have work.
    pub fn num_items(&self) -> u64 {
        self.tiling.order.num_items.into()
    }

    /// The same plan with every item on one core, whatever the last round leaves idle: for comparison.
    #[must_use]
    pub fn with_whole_items(mut self) -> Self {
        self.tiling.order = self.tiling.order.with_tail_parts(1);
        self
    }

    /// A launch of a multiple of this many items leaves no core idle in its last round.
    pub fn even_items(&self) -> u64 {
        self.tiling.order.even_items().into()
    }

    /// Heads of q, over all batches, in one group. Cores work on one group at a time, so that its K and V
    /// stay in L2.
    pub fn group_heads(&self) -> u32 {
        self.tiling.order.group_heads
    }

    /// Device memory that a launch needs besides its operands: what the cores hand over, and behind it the
    /// shifted keys.
    pub fn workspace_bytes(&self) -> u64 {
        self.shifted_keys_offset_bytes() + self.shift().map_or(0, |shift| shift.bytes)
    }

    /// What one core works on, in its order; [`FlashFwdTilingData`] has the formula.
    pub fn work_items(&self, core: u32) -> impl Iterator<Item = WorkItem> {
        self.tiling.order.of_core(core)
    }

    /// Rows of q in a row block.
    pub fn rows(&self, block_m_index: u32) -> Range<u32> {
        let block_m = self.tiling.candidate.block_m;
        let first = block_m_index.saturating_mul(block_m).min(self.shape.seqlen_q);
        first..first.saturating_add(block_m).min(self.shape.seqlen_q)
    }

    /// Keys that an item of these rows visits: all that one of them sees, the begin rounded down to a
    /// multiple of 16.
    pub fn key_range(&self, rows: Range<u32>) -> Range<u32> {
        let seen = self.shape.visible_keys(rows);
        if seen.is_empty() {
            return 0..0;
        }
        seen.start / 16 * 16..seen.end
    }

    fn model(&self) -> Model<'_> {
        Model::new(&self.tiling, &self.read, &self.soc, Ops::new(&self.soc.timing))
    }

    /// Estimated cycles of a work item of these rows.
    pub fn item_cycles(&self, rows: Range<u32>) -> f64 {
        self.model().item(&rows)
    }

    /// Work of every core; exact up to 65536 row blocks in all groups, beyond that from as many samples.
    pub fn core_loads(&self) -> Vec<CoreLoad> {
        self.model().core_loads(EXACT_CLASSES, (EXACT_CLASSES / self.num_blocks_m().max(1)).max(1))
    }

    /// The on-chip memories with their buffers.
    pub fn memory_maps(&self) -> [MemoryMap; 5] {
        let (tile, tile_m) = (candidate::TILE, self.tiling.tile_m);
        let core = self.soc.core;
        let level_2 = |memory, capacity, name, bytes| {
            let mut map = MemoryMap::new(memory, capacity);
            map.push(name, bytes, 2);
            map
        };
        [
            self.tiling.l1.map.clone(),
            level_2("L0A", core.l0a_bytes, "q or p tile", tile_m * tile * 2),
            level_2("L0B", core.l0b_bytes, "k or v tile", tile * tile * 2),
            level_2("L0C", core.l0c_bytes, "s or o tile", tile_m * tile * 4),
            self.tiling.ub.map.clone(),
        ]
    }

    /// What the kernel receives.
    // One line for each field of the structure.
    pub fn tiling_data(&self) -> FlashFwdTilingData {
        let (s, t, c) = (&self.read, &self.tiling, &self.tiling.candidate);
        let limit = |limit: Option<u32>| limit.and_then(|l| i32::try_from(l).ok()).unwrap_or(-1);
        let (left, right) = s.limits();
        let (l1, ub) = (&t.l1, &t.ub);
        FlashFwdTilingData {
            batch: s.batch,
            num_heads: s.num_heads,
            num_heads_k: s.num_heads_k,
            head_dim: s.head_dim,
            head_dim_v: s.head_dim_v,
            seqlen_q: s.seqlen_q,
            seqlen_k: s.seqlen_k,
            block_m: c.block_m,
            block_n: c.block_n,
            chunk_n: c.chunk_n,
            chunk_p: t.chunk_p,
            tile_m: t.tile_m,
            tile_n: candidate::TILE,
            tile_k: candidate::TILE,
            slice_rows: t.slice_rows,
            slice_bytes: t.slice_bytes,
            num_stages: c.num_stages,
            preload: c.preload,
            bundle_steps: c.bundle_steps,
            headroom: candidate::headroom(s),
            num_cores: t.order.num_cores,
            num_blocks_m: t.order.num_blocks_m,
            window_left: limit(left),
            window_right: limit(right),
            softmax_scale: s.softmax_scale,
            want_lse: u32::from(s.want_lse),
            mask_dim: MASK_DIM,
            rows_v: t.rows_v,
            l1_q_offset_bytes: l1.q.offset_bytes,
            l1_q_bytes: l1.q.bytes,
            l1_k_offset_bytes: l1.k.offset_bytes,
            l1_k_bytes: l1.k.bytes,
            l1_v_offset_bytes: l1.v.offset_bytes,
            l1_v_bytes: l1.v.bytes,
            l1_p_offset_bytes: l1.p.offset_bytes,
            l1_p_bytes: l1.p.bytes,
            ub_s_offset_bytes: ub.s.offset_bytes,
            ub_p_offset_bytes: ub.p.offset_bytes,
            ub_acc_offset_bytes: ub.acc.offset_bytes,
            ub_tmp_offset_bytes: ub.tmp.offset_bytes,
            ub_tmp_bytes: ub.tmp.bytes,
            ub_brcb_offset_bytes: ub.brcb.offset_bytes,
            ub_stats_offset_bytes: ub.stats.offset_bytes,
            ub_mask_offset_bytes: ub.mask.offset_bytes,
            ub_mask_bytes: ub.mask.bytes,
            group_heads: t.order.group_heads,
            first_item: t.order.first_item,
            num_items: t.order.num_items,
            tail_parts: t.order.tail_parts,
            adds_mean: u32::from(s.adds_mean()),
            workspace_core_bytes: t.workspace_core_bytes,
            workspace_p_offset_bytes: t.workspace_p_offset_bytes,
            workspace_o_offset_bytes: t.workspace_o_offset_bytes,
            workspace_mean_offset_bytes: t.workspace_mean_offset_bytes,
            q_stride: s.q_stride,
            k_stride: s.k_stride,
            v_stride: s.v_stride,
            o_stride: s.o_stride,
        }
    }
}
