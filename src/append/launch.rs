//! Launching a plan.

use super::{kernel_name, KvAppendTilingData, Operand, Plan};
use crate::attention::operands::written_given;
use crate::kernels::{self, operands::KvAppendOperands};
use crate::runtime::{refuse_with, Device, Kernel, Module, Named, NamedList, PlacedTilingData, Stream};
use crate::{DType, Result};

/// The operator on one device.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct Append {
    device: Device,
    f16: Kernel,
    bf16: Kernel,
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
///
/// `k_cache`, `v_cache` and `status` share no byte with each other or with the rest. k and v may be parts of
/// one tensor, and `k_cache` and `v_cache` parts of one allocation.
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
    /// Which places are wrong, i32 `[num_cores, 8]`; given exactly when the plan writes it.
    pub status: Option<Operand<'a>>,
    /// The plan's tiling data ([`Plan::place_tiling_data`]); without them they travel with each launch.
    pub tiling_data: Option<&'a PlacedTilingData>,
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
        Self { k, v, places, k_cache, v_cache, status: None, tiling_data: None }
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
        named
    }

    /// A status that is missing, or that nothing would write, and tiling data of another plan.
    fn misplaced(&self, plan: &Plan, tiling: &KvAppendTilingData) -> Vec<String> {
        let status = written_given("status", self.status.is_some(), plan.problem().is_checked);
        let other = self.tiling_data.and_then(|placed| placed.wrong(tiling.as_bytes()));
        status.into_iter().chain(other).collect()
    }
}

impl Plan {
    /// Copies what the kernel receives to the start of `at`, [`Self::tiling_data_bytes`] bytes at a multiple
    /// of 8, for launches that read it there (`Args::with_tiling_data`). Returns when it is there.
    ///
    /// # Errors
    /// `InvalidArgument` for too few bytes and for a wrong alignment, `Driver`.
    pub fn place_tiling_data<'a>(&self, at: impl Into<Operand<'a>>) -> Result<PlacedTilingData> {
        PlacedTilingData::new("append Plan::place_tiling_data", self.tiling_data().as_bytes(), at.into())
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
        let kernel = |dtype| module.kernel(kernel_name(dtype)?);
        let (f16, bf16) = (kernel(DType::F16)?, kernel(DType::Bf16)?);
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
        let tiling = plan.tiling_data();
        refuse_with("append launch", &args.named(plan), args.misplaced(plan, &tiling))?;
        let Args { k, v, places, k_cache, v_cache, status, tiling_data } = args;
        // The kernel touches no status that the plan does not write; the places stand in as an address.
        let status = status.unwrap_or(places);
        let list = KvAppendOperands { k, v, places, k_cache, v_cache, status, tiling: &tiling }.args()?;
        let list = list.with_tiling_data_at(tiling_data);
        if plan.num_cores() == 0 {
            return Ok(());
        }
        let kernel = if plan.problem().cache.spec.dtype == DType::Bf16 { &self.bf16 } else { &self.f16 };
        kernel.launch(stream, plan.num_cores(), &list)
    }
}
