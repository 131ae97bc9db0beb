//! Launching a plan.

use super::super::rows::index_of;
use super::{Plan, KERNELS};
use crate::kernels;
use crate::kernels::operands::ArgmaxOperands;
use crate::runtime::{refuse, Device, Kernel, Module, Named, Operand, Stream};
use crate::Result;

/// The operator on one device.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct Argmax {
    device: Device,
    /// In the order of [`KERNELS`].
    kernels: Vec<Kernel>,
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// Rows.
    pub x: Operand<'a>,
    /// Where the indices go; shares no byte with x.
    pub index: Operand<'a>,
}

impl<'a> Args<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(x: impl Into<Operand<'a>>, index: impl Into<Operand<'a>>) -> Self {
        Self { x: x.into(), index: index.into() }
    }
}

impl Argmax {
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

    /// Queues the search and returns at once; nothing is allocated, copied or waited for. A plan without rows
    /// queues nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are misaligned, too small, of
    /// another device, or written while the other one lies there. What goes wrong while the kernel runs is
    /// told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        self.device.require_planned_for(plan.soc(), "argmax launch")?;
        let (problem, Args { x, index }) = (plan.problem(), args);
        let named = [
            Named::tensor(&problem.x(), x, problem.x_bytes()),
            Named::written("index", index, problem.index_bytes(), 4),
        ];
        refuse("argmax launch", &named)?;
        let tiling = plan.tiling_data();
        let list = ArgmaxOperands { x, index, tiling: &tiling }.args()?;
        if plan.num_cores() == 0 {
            return Ok(());
        }
        self.kernels[index_of(problem.dtype)].launch(stream, plan.num_cores(), &list)
    }
}
