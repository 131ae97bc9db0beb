//! Launching a plan.

use super::{kernel_name, Operand, Plan};
use crate::attention::operands::written_given;
use crate::kernels::{self, operands::KvAppendOperands};
use crate::runtime::{refuse_with, Device, Kernel, Module, Named, Stream};
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
        Self { k, v, places, k_cache: k_cache.into(), v_cache: v_cache.into(), status: None }
    }

    /// Adds the status.
    #[must_use]
    pub fn with_status(self, status: impl Into<Operand<'a>>) -> Self {
        Self { status: Some(status.into()), ..self }
    }

    /// The operands with their names.
    fn named(&self, plan: &Plan) -> Vec<Named> {
        let (problem, bytes) = (plan.problem(), plan.operand_bytes());
        let places = [self.k, self.v, self.k_cache, self.v_cache];
        let tensors = problem.rows().into_iter().chain(problem.caches());
        let mut named: Vec<Named> = Vec::with_capacity(6);
        named.extend(tensors.zip(places).zip(bytes).map(|((t, place), n)| Named::tensor(&t, place, n)));
        let word_bytes = 4 * u64::from(problem.place_type.words());
        named.push(Named::read("places", self.places, plan.places_bytes(), word_bytes));
        named.extend(self.status.map(|place| Named::written("status", place, plan.status_bytes(), 32)));
        named
    }

    /// A status that is missing, or that nothing would write.
    fn misplaced(&self, plan: &Plan) -> Option<String> {
        written_given("status", self.status.is_some(), plan.problem().is_checked)
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
        refuse_with("append launch", &args.named(plan), Vec::from_iter(args.misplaced(plan)))?;
        let tiling = plan.tiling_data();
        let Args { k, v, places, k_cache, v_cache, status } = args;
        // The kernel touches no status that the plan does not write; the places stand in as an address.
        let status = status.unwrap_or(places);
        let list = KvAppendOperands { k, v, places, k_cache, v_cache, status, tiling: &tiling }.args()?;
        if plan.num_cores() == 0 {
            return Ok(());
        }
        let kernel = if plan.problem().cache.spec.dtype == DType::Bf16 { &self.bf16 } else { &self.f16 };
        kernel.launch(stream, plan.num_cores(), &list)
    }
}
