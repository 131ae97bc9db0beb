//! Launching a plan.

use super::{index_of, Operand, Plan, KERNELS};
use crate::kernels;
use crate::kernels::operands::MergeOperands;
use crate::runtime::{refuse, tell, Device, Kernel, Module, Named, Repeat, Stream};
use crate::{Error, Result};

/// The operator on one device.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct Merge {
    device: Device,
    /// In the order of [`KERNELS`].
    kernels: Vec<Kernel>,
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
///
/// o and lse share no byte with each other or with a part; parts may lie on each other.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// o of each source, in the order of [`Problem::sources`](super::Problem::sources).
    pub o_parts: &'a [Operand<'a>],
    /// lse of each source.
    pub lse_parts: &'a [Operand<'a>],
    /// Merged result.
    pub o: Operand<'a>,
    /// Its lse.
    pub lse: Operand<'a>,
}

impl<'a> Args<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(
        o_parts: &'a [Operand<'a>],
        lse_parts: &'a [Operand<'a>],
        o: impl Into<Operand<'a>>,
        lse: impl Into<Operand<'a>>,
    ) -> Self {
        Self { o_parts, lse_parts, o: o.into(), lse: lse.into() }
    }
}

impl Merge {
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
        let kernels = KERNELS.iter().map(|(.., name)| module.kernel(name)).collect::<Result<_>>()?;
        Ok(Self { device: module.device().clone(), kernels })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queues the merge and returns at once; nothing is allocated, copied or waited for. A plan without rows
    /// queues nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, for another number of sources than it has, and for
    /// operands that are misaligned, too small, of another device, or written while another one lies there.
    /// What goes wrong while the kernel runs is told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        self.device.require_planned_for(plan.soc(), "merge launch")?;
        let problem = plan.problem();
        for (name, given) in [("o_parts", args.o_parts.len()), ("lse_parts", args.lse_parts.len())] {
            let wanted = problem.sources.len();
            if given != wanted {
                return Err(Error::invalid(format!(
                    "merge launch: {given} {name} given, the plan has {wanted} sources"
                )));
            }
        }
        refuse("merge launch", &named(plan, &args))?;
        tell("merge launch", stream, || Ok(plan.to_string()), || named(plan, &args));
        let addresses: Vec<[u64; 2]> = args
            .o_parts
            .iter()
            .zip(args.lse_parts)
            .map(|(o, lse)| [o.device_ptr(), lse.device_ptr()])
            .collect();
        let Some(tiling) = plan.tiling_data(&addresses) else { return Ok(()) };
        let sources = args.o_parts.iter().chain(args.lse_parts);
        let operands = MergeOperands { o: args.o, lse: args.lse, tiling: &tiling };
        // The kernel has the addresses of the sources from its tiling data.
        let list = sources.fold(operands.args()?, |list, source| list.keeping(*source));
        self.kernels[index_of(problem.dtype, problem.dtype_out)?].launch(stream, tiling.num_cores, &list)
    }
}

/// The operands with their names.
fn named(plan: &Plan, args: &Args<'_>) -> Vec<Named> {
    let problem = plan.problem();
    let mut operands = Vec::new();
    let sources = args.o_parts.iter().zip(args.lse_parts).zip(problem.source_bytes()).zip(&problem.sources);
    for (((&o, &lse), bytes), source) in sources {
        let steps = problem.source_strides(source).map(|[part, ..]| part);
        let tensors = problem.part_tensors(source);
        for (((tensor, operand), bytes), step) in tensors.iter().zip([o, lse]).zip(bytes).zip(steps) {
            let parts = Repeat { extent: source.parts.into(), bytes: step.saturating_mul(tensor.size) };
            operands.push(Named::tensor(tensor, operand, bytes).repeated(parts));
        }
    }
    let results = problem.tensors().into_iter().zip([args.o, args.lse]).zip(problem.operand_bytes());
    operands.extend(results.map(|((tensor, operand), bytes)| Named::tensor(&tensor, operand, bytes)));
    operands
}
