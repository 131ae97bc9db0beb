//! Launching a plan.

use super::{kernel_name, MatmulTilingData, Operand, Plan};
use crate::kernels;
use crate::kernels::operands::MatmulOperands;
use crate::runtime::{refuse, tell, Device, Kernel, Module, Named, Stream};
use crate::{DType, Error, Result};

/// The operator on one device.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct Matmul {
    device: Device,
    /// Of f16 and bf16, each with the same type and with f32 out.
    kernels: [[Kernel; 2]; 2],
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
///
/// `c` shares no byte with `a` or `b`, which may lie on each other. Slices of one tensor are told apart where
/// their strides are regular; what cannot be told apart is refused.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// Left operand.
    pub a: Operand<'a>,
    /// Right operand.
    pub b: Operand<'a>,
    /// Result.
    pub c: Operand<'a>,
}

impl<'a> Args<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(a: impl Into<Operand<'a>>, b: impl Into<Operand<'a>>, c: impl Into<Operand<'a>>) -> Self {
        Self { a: a.into(), b: b.into(), c: c.into() }
    }
}

impl Matmul {
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
        let kernel = |dtype, dtype_out| module.kernel(kernel_name(dtype, dtype_out)?);
        let pair = |dtype| Ok::<_, Error>([kernel(dtype, dtype)?, kernel(dtype, DType::F32)?]);
        Ok(Self { device: module.device().clone(), kernels: [pair(DType::F16)?, pair(DType::Bf16)?] })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queues the product and returns at once; nothing is allocated, copied or waited for. A product without
    /// elements queues nothing. With `k = 0` C is filled with zeros, by one call of the driver for each part
    /// of C without gaps; if the product is added to C, it stays as it is.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are misaligned, too small, of
    /// another device, or written while another one lies there. What goes wrong while the kernel runs is
    /// told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        let tiling = plan.tiling_data();
        let list = self.operands(plan, &args, &tiling)?.args()?;
        tell("matmul launch", stream, || Ok(plan.to_string()), || named(plan, &args));
        let problem = plan.problem();
        if problem.is_empty() {
            return Ok(());
        }
        if problem.k == 0 && problem.accumulates {
            return Ok(());
        }
        if problem.k == 0 {
            return zero(stream, plan, args.c);
        }
        let kernel = &self.kernels[usize::from(problem.dtype == DType::Bf16)]
            [usize::from(problem.dtype_out == DType::F32)];
        kernel.launch(stream, plan.num_cores(), &list)
    }

    /// Checks a launch; what its kernel takes.
    pub(crate) fn operands<'a>(
        &self,
        plan: &Plan,
        args: &Args<'a>,
        tiling: &'a MatmulTilingData,
    ) -> Result<MatmulOperands<'a>> {
        self.device.require_planned_for(plan.soc(), "matmul launch")?;
        refuse("matmul launch", &named(plan, args))?;
        let Args { a, b, c } = *args;
        Ok(MatmulOperands { a, b, c, tiling })
    }
}

/// C of a product that sums nothing.
fn zero(stream: &Stream, plan: &Plan, c: Operand<'_>) -> Result<()> {
    let [.., matrix] = plan.problem().matrices();
    let (starts, len) = matrix.pieces();
    // `operands` has found the buffer to hold them all, so each fits.
    let fits = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    for start in starts {
        let offset_bytes = c.offset_bytes().saturating_add(fits(start));
        stream.zero_part(c.with_offset_bytes(offset_bytes), fits(len))?;
    }
    Ok(())
}

/// The operands with their names.
pub(crate) fn named(plan: &Plan, args: &Args<'_>) -> [Named; 3] {
    let [a, b, c] = plan.problem().matrices();
    [a.named(args.a), b.named(args.b), c.named(args.c)]
}
