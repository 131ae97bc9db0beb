//! Launching a plan.

use super::super::rows::index_of;
use super::{Plan, KERNELS};
use crate::attention::operands::written_given;
use crate::kernels;
use crate::kernels::operands::EmbeddingOperands;
use crate::runtime::{refuse_with, Device, Kernel, Module, Named, NamedList, Operand, Stream};
use crate::Result;

/// The operator on one device.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct Embedding {
    device: Device,
    /// In the order of [`KERNELS`].
    kernels: Vec<Kernel>,
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
///
/// y and status share no byte with each other or with the rest.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// Rows of all ids.
    pub table: Operand<'a>,
    /// Id of each token, i32 or i64 `[tokens]`, in device memory.
    pub ids: Operand<'a>,
    /// Rows of the tokens.
    pub y: Operand<'a>,
    /// Which ids are wrong, i32 `[num_cores, 8]`; given exactly when the plan writes it.
    pub status: Option<Operand<'a>>,
}

impl<'a> Args<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(
        table: impl Into<Operand<'a>>,
        ids: impl Into<Operand<'a>>,
        y: impl Into<Operand<'a>>,
    ) -> Self {
        Self { table: table.into(), ids: ids.into(), y: y.into(), status: None }
    }

    /// Adds the status.
    #[must_use]
    pub fn with_status(self, status: impl Into<Operand<'a>>) -> Self {
        Self { status: Some(status.into()), ..self }
    }

    /// The operands with their names.
    fn named(&self, plan: &Plan) -> NamedList {
        let problem = plan.problem();
        let tensors = problem.tensors().into_iter().zip([self.table, self.y]).zip(problem.operand_bytes());
        let mut named: NamedList =
            tensors.map(|((tensor, place), bytes)| Named::tensor(&tensor, place, bytes)).collect();
        let word_bytes = 4 * u64::from(problem.id_type.words());
        named.push(Named::read("ids", self.ids, problem.id_bytes(), word_bytes));
        named.extend(self.status.map(|place| Named::written("status", place, plan.status_bytes(), 32)));
        named
    }
}

impl Embedding {
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
        let kernels = KERNELS.iter().map(|(_, name)| module.kernel(name)).collect::<Result<_>>()?;
        Ok(Self { device: module.device().clone(), kernels })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queues the copies and returns at once; nothing is allocated, copied or waited for, and no device
    /// memory is read by the host. A plan without tokens queues nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are missing, misaligned, too small,
    /// of another device, or written while another one lies there. What goes wrong while the kernel runs
    /// is told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        self.device.require_planned_for(plan.soc(), "embedding launch")?;
        let problem = plan.problem();
        let misplaced = written_given("status", args.status.is_some(), problem.is_checked);
        refuse_with("embedding launch", &args.named(plan), misplaced.into_iter().collect())?;
        let Args { table, ids, y, status } = args;
        // The kernel touches no status that the plan does not write; the ids stand in as an address.
        let (status, tiling) = (status.unwrap_or(ids), plan.tiling_data());
        let list = EmbeddingOperands { table, ids, y, status, tiling: &tiling }.args()?;
        if plan.num_cores() == 0 {
            return Ok(());
        }
        self.kernels[index_of(problem.dtype)].launch(stream, plan.num_cores(), &list)
    }
}
