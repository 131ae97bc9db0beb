//! Launching a plan.

use super::plan::joined;
use super::{kernel_names, KvAppendRotaryTilingData, KvAppendTilingData, Operand, Plan};
use crate::attention::operands::{given, written_given};
use crate::kernels::{
    self,
    operands::{KvAppendOperands, KvAppendRotaryOperands},
};
use crate::runtime::{refuse_with, tell, Device, Kernel, Module, Named, NamedList, PlacedTilingData, Stream};
use crate::spec::Tensor;
use crate::{DType, Result};

/// The operator on one device.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct Append {
    device: Device,
    /// That copy, and that rotate.
    f16: [Kernel; 2],
    bf16: [Kernel; 2],
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
///
/// `k_cache`, `v_cache`, `q_out` and `status` share no byte with each other or with the rest. k and v may be
/// parts of one tensor, with q, too, unless q is rotated in place; and `k_cache` and `v_cache` parts of one
/// allocation.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// Keys of the tokens.
    pub k: Operand<'a>,
    /// Values of the tokens.
    pub v: Operand<'a>,
    /// Place of each token, i32 or i64 `[tokens]`, in device memory.
    pub places: Operand<'a>,
    /// Keys of the cache.
    pub k_cache: Operand<'a>,
    /// Values of the cache.
    pub v_cache: Operand<'a>,
    /// Which places and positions are wrong, i32 `[num_cores, 8]`; given exactly when the plan writes it.
    pub status: Option<Operand<'a>>,
    /// The plan's tiling data ([`Plan::place_tiling_data`]); without them they travel with each launch.
    pub tiling_data: Option<&'a PlacedTilingData>,
    /// What rotation needs; given exactly when the plan rotates.
    pub rotary: Option<RotaryArgs<'a>>,
}

/// Operands of a rotation.
#[derive(Clone, Copy, Debug)]
pub struct RotaryArgs<'a> {
    /// Position of each token, i32 or i64 `[tokens]`, in device memory.
    pub positions: Operand<'a>,
    /// Cosines and sines of each position, f32 `[max_positions, 2, dims / 2]` \[`cos_sin_cache`\]; made by
    /// [`Rotary::table`](super::Rotary::table), or by the caller.
    pub table: Operand<'a>,
    /// Queries of the tokens; given exactly when the plan rotates them.
    pub q: Option<Operand<'a>>,
    /// Where they go; q itself unless given.
    pub q_out: Option<Operand<'a>>,
}

impl<'a> RotaryArgs<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(positions: impl Into<Operand<'a>>, table: impl Into<Operand<'a>>) -> Self {
        Self { positions: positions.into(), table: table.into(), q: None, q_out: None }
    }

    /// Adds q, and where it goes.
    #[must_use]
    pub fn with_q(self, q: impl Into<Operand<'a>>, q_out: impl Into<Operand<'a>>) -> Self {
        Self { q: Some(q.into()), q_out: Some(q_out.into()), ..self }
    }

    /// Adds q, which is rotated in place. Strides of q and `q_out` must be the same: then each row is written
    /// by the core that has read it, and behind that.
    #[must_use]
    pub fn with_q_in_place(self, q: impl Into<Operand<'a>>) -> Self {
        Self { q: Some(q.into()), q_out: None, ..self }
    }

    /// The operands with their names.
    fn add_named(&self, plan: &Plan, named: &mut NamedList) {
        let Some(rotary) = plan.problem().rotary else { return };
        let word_bytes = 4 * u64::from(rotary.position_type.words());
        named.push(Named::read("positions", self.positions, plan.positions_bytes(), word_bytes));
        named.push(Named::read("table", self.table, plan.table_bytes(), 4));
        let ([q_bytes, q_out_bytes], queries) = (plan.query_bytes(), rotary.queries(plan.problem()));
        if let (Some([q_tensor, q_out_tensor]), Some(q)) = (queries, self.q) {
            // One operand in place, and that is written.
            let q_tensor = Tensor { is_output: self.q_out.is_none(), ..q_tensor };
            named.push(Named::tensor(&q_tensor, q, q_bytes));
            named.extend(self.q_out.map(|place| Named::tensor(&q_out_tensor, place, q_out_bytes)));
        }
    }

    /// A query that is missing or not wanted, or that cannot be rotated in place.
    fn misplaced(&self, plan: &Plan) -> Option<String> {
        let queries = plan.problem().rotary.and_then(|rotary| rotary.queries(plan.problem()));
        let why = ["the plan rotates it", "the plan does not rotate it"];
        given("q", self.q.is_some() || self.q_out.is_some(), queries.is_some(), why).or_else(|| {
            let [from, to] = queries?.map(|tensor| [tensor.stride[1], tensor.stride[2]]);
            (self.q_out.is_none() && from != to).then(|| {
                format!("q is rotated in place, but q_stride = {from:?} and q_out_stride = {to:?}; the same wanted")
            })
        })
    }
}

impl<'a> Args<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(
        k: impl Into<Operand<'a>>,
        v: impl Into<Operand<'a>>,
        places: impl Into<Operand<'a>>,
        k_cache: impl Into<Operand<'a>>,
        v_cache: impl Into<Operand<'a>>,
    ) -> Self {
        let (k, v, places) = (k.into(), v.into(), places.into());
        let (k_cache, v_cache) = (k_cache.into(), v_cache.into());
        Self { k, v, places, k_cache, v_cache, status: None, tiling_data: None, rotary: None }
    }

    /// Adds the status.
    #[must_use]
    pub fn with_status(self, status: impl Into<Operand<'a>>) -> Self {
        Self { status: Some(status.into()), ..self }
    }

    /// Lets the launch read the plan's tiling data where they were placed.
    #[must_use]
    pub fn with_tiling_data(self, placed: &'a PlacedTilingData) -> Self {
        Self { tiling_data: Some(placed), ..self }
    }

    /// Adds what rotation needs.
    #[must_use]
    pub fn with_rotary(self, rotary: RotaryArgs<'a>) -> Self {
        Self { rotary: Some(rotary), ..self }
    }

    /// The operands with their names.
    fn named(&self, plan: &Plan) -> NamedList {
        let (problem, bytes) = (plan.problem(), plan.operand_bytes());
        let places = [self.k, self.v, self.k_cache, self.v_cache];
        let tensors = problem.rows().into_iter().chain(problem.caches());
        let mut named = NamedList::new();
        named.extend(tensors.zip(places).zip(bytes).map(|((t, place), n)| Named::tensor(&t, place, n)));
        let word_bytes = 4 * u64::from(problem.place_type.words());
        named.push(Named::read("places", self.places, plan.places_bytes(), word_bytes));
        named.extend(self.status.map(|place| Named::written("status", place, plan.status_bytes(), 32)));
        named.extend(self.tiling_data.map(PlacedTilingData::named));
        if let Some(rotary) = self.rotary {
            rotary.add_named(plan, &mut named);
        }
        named
    }

    /// What is missing, what nothing would read or write, and tiling data of another plan.
    fn misplaced(
        &self,
        plan: &Plan,
        tiling: &KvAppendTilingData,
        rotary_tiling: Option<&KvAppendRotaryTilingData>,
    ) -> Vec<String> {
        let problem = plan.problem();
        let status = written_given("status", self.status.is_some(), problem.is_checked);
        let why = ["the plan rotates keys", "the plan rotates nothing"];
        let rotary = given("what rotation needs", self.rotary.is_some(), problem.rotary.is_some(), why);
        let q = self.rotary.filter(|_| problem.rotary.is_some()).and_then(|rotary| rotary.misplaced(plan));
        let other = self.tiling_data.and_then(|placed| placed.wrong(&joined(tiling, rotary_tiling)));
        status.into_iter().chain(rotary).chain(q).chain(other).collect()
    }
}

impl Plan {
    /// Copies what the kernel receives to the start of `at`, [`Self::tiling_data_bytes`] bytes at a multiple
    /// of 8, for launches that read it there (`Args::with_tiling_data`). Returns when it is there.
    ///
    /// # Errors
    /// `InvalidArgument` for too few bytes and for a wrong alignment, `Driver`.
    pub fn place_tiling_data<'a>(&self, at: impl Into<Operand<'a>>) -> Result<PlacedTilingData> {
        PlacedTilingData::new("append Plan::place_tiling_data", &self.all_tiling_data(), at.into())
    }
}

impl Append {
    /// Loads the kernels.
    ///
    /// # Errors
    /// `KernelsNotBuilt` when this build has no kernels for the device, `Driver`.
    pub fn new(device: &Device) -> Result<Self> {
        Self::from_module(&kernels::load(device)?)
    }

    /// As [`Self::new`], with the kernels of an image that was built elsewhere.
    ///
    /// # Errors
    /// `Driver` when the image lacks a kernel.
    pub fn from_module(module: &Module) -> Result<Self> {
        let kernels = |dtype| -> Result<[Kernel; 2]> {
            let [copies, rotates] = kernel_names(dtype)?;
            Ok([module.kernel(copies)?, module.kernel(rotates)?])
        };
        let (f16, bf16) = (kernels(DType::F16)?, kernels(DType::Bf16)?);
        Ok(Self { device: module.device().clone(), f16, bf16 })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queues the append and returns at once; nothing is allocated, copied or waited for, and no device
    /// memory is read by the host. A plan without tokens queues nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are missing, misaligned, too small,
    /// of another device, or written while another one lies there. What goes wrong while the kernel runs
    /// is told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        self.device.require_planned_for(plan.soc(), "append launch")?;
        let (tiling, rotary_tiling) = (plan.tiling_data(), plan.rotary_tiling_data());
        let misplaced = args.misplaced(plan, &tiling, rotary_tiling.as_ref());
        refuse_with("append launch", &args.named(plan), misplaced)?;
        tell("append launch", stream, || plan.to_json(), || args.named(plan));
        let Args { k, v, places, k_cache, v_cache, status, rotary, tiling_data } = args;
        // The kernel touches no status that the plan does not write; the places stand in as an address.
        let status = status.unwrap_or(places);
        let is_bf16 = plan.problem().cache.spec.dtype == DType::Bf16;
        let [copies, rotates] = if is_bf16 { &self.bf16 } else { &self.f16 };
        let (kernel, list) = match rotary.zip(rotary_tiling.as_ref()) {
            None => {
                let tiling = &tiling;
                (copies, KvAppendOperands { k, v, places, k_cache, v_cache, status, tiling }.args()?)
            }
            Some((RotaryArgs { positions, table, q, q_out }, rotary_tiling)) => {
                // As with the status.
                let q = q.unwrap_or(k);
                let operands = KvAppendRotaryOperands {
                    q,
                    k,
                    v,
                    places,
                    positions,
                    table,
                    q_out: q_out.unwrap_or(q),
                    k_cache,
                    v_cache,
                    status,
                    tiling: &tiling,
                    rotary_tiling,
                };
                (rotates, operands.args()?)
            }
        };
        let list = list.with_tiling_data_at(tiling_data);
        if plan.num_cores() == 0 {
            return Ok(());
        }
        kernel.launch(stream, plan.num_cores(), &list)
    }
}
