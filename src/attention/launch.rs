//! Launching a plan.

use super::operands::Places;
use super::{kernel_name, self_test, Flags, Plan};
use crate::kernels::{
    self,
    operands::{FlashFwdOperands, ShiftKeysOperands},
};
use crate::runtime::{tell, Buffer, Device, Kernel, Module, Stream};
use crate::tiling::mask::{m_mask, MASK_DIM};
use crate::tiling::FlashFwdTilingData;
use crate::{DType, Error, Result};

pub use crate::runtime::Operand;

/// The attention operator on one device: its kernels, and the M-mask that every masked launch cuts its
/// windows from.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct FlashAttention {
    device: Device,
    kernels: Variants,
    shift_keys: Kernel,
    self_test: Kernel,
    mask: Buffer,
}

/// Name of the kernel that shifts keys.
const SHIFT_KERNEL: &str = "fa_shift_keys_f16";

/// Kernels for the three combinations of types that plans exist for.
#[derive(Clone, Debug)]
pub(crate) struct Variants {
    f16: Kernel,
    f16_scores_f16: Kernel,
    bf16: Kernel,
}

impl Variants {
    /// `kernel` finds a kernel by the types of operands and of scores.
    pub(crate) fn new(kernel: impl Fn(DType, DType) -> Result<Kernel>) -> Result<Self> {
        Ok(Self {
            f16: kernel(DType::F16, DType::F32)?,
            f16_scores_f16: kernel(DType::F16, DType::F16)?,
            bf16: kernel(DType::Bf16, DType::F32)?,
        })
    }

    pub(crate) fn of(&self, plan: &Plan) -> &Kernel {
        match (plan.shape().dtype, plan.shape().score_dtype) {
            (DType::Bf16, _) => &self.bf16,
            (_, DType::F16) => &self.f16_scores_f16,
            _ => &self.f16,
        }
    }
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
///
/// `o`, `lse` and `workspace` must share no byte with each other or with an input; `o` on `q` is refused,
/// too. Inputs may overlap. Slices of one tensor, as q, k, v and o packed in rows, are accepted where regular
/// strides show that they share nothing.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// Queries.
    pub q: Operand<'a>,
    /// Keys.
    pub k: Operand<'a>,
    /// Values.
    pub v: Operand<'a>,
    /// Output.
    pub o: Operand<'a>,
    /// Log-sum-exp, f32 `[batch, num_heads, seqlen_q]`; given exactly when the plan writes it.
    pub lse: Option<Operand<'a>>,
    /// [`Plan::workspace_bytes`] bytes; what is in it does not matter. Launches on one stream can share it,
    /// launches on two cannot.
    pub workspace: Operand<'a>,
}

impl<'a> Args<'a> {
    /// Operands of a plan that writes no lse. Each is a buffer, or an [`Operand`] that starts somewhere in
    /// one.
    pub fn new(
        q: impl Into<Operand<'a>>,
        k: impl Into<Operand<'a>>,
        v: impl Into<Operand<'a>>,
        o: impl Into<Operand<'a>>,
        workspace: impl Into<Operand<'a>>,
    ) -> Self {
        Self { q: q.into(), k: k.into(), v: v.into(), o: o.into(), lse: None, workspace: workspace.into() }
    }

    /// Adds the log-sum-exp.
    #[must_use]
    pub fn with_lse(self, lse: impl Into<Operand<'a>>) -> Self {
        Self { lse: Some(lse.into()), ..self }
    }
}

/// The keys that `flash_fwd` reads instead of k, in a workspace that was found large enough.
fn shifted_keys<'a>(plan: &Plan, args: &Args<'a>) -> Result<Operand<'a>> {
    let behind = usize::try_from(plan.shifted_keys_offset_bytes())
        .map_err(|_| Error::invalid("attention launch: workspace is more than this host addresses"))?;
    Ok(args.workspace.with_offset_bytes(args.workspace.offset_bytes() + behind))
}

impl FlashAttention {
    /// Loads the kernels and uploads the M-mask (512 KiB). On an NPU the first call for an opened device
    /// launches the self-test and waits for it; on the simulator, whose kernels and runtime are of one
    /// build, it is left to [`Self::self_test`].
    ///
    /// # Errors
    /// `KernelsNotBuilt` when this build has no kernels for the device, `SelfTest` when the first launch goes
    /// wrong, `OutOfMemory`, `Driver`.
    pub fn new(device: &Device) -> Result<Self> {
        let module = kernels::load(device)?;
        Self::with_kernels(device, |name| module.kernel(name))
    }

    /// As [`Self::new`], with kernels that `kernel` finds by their name: those of images that were built
    /// elsewhere.
    ///
    /// # Errors
    /// As [`Self::new`], and what `kernel` says.
    pub fn with_kernels(device: &Device, kernel: impl Fn(&str) -> Result<Kernel>) -> Result<Self> {
        let self_test = kernel(self_test::KERNEL)?;
        self_test::before_first_launch(&self_test, device, Flags::OfGroups)?;
        // Blocks of these kernels never wait for each other, so none of them needs `Schedule::Batch`.
        Ok(Self {
            device: device.clone(),
            kernels: Variants::new(|dtype, scores| kernel(kernel_name(dtype, scores)?))?,
            shift_keys: kernel(SHIFT_KERNEL)?,
            self_test,
            mask: Buffer::from_slice(device, &m_mask(MASK_DIM))?,
        })
    }

    /// Before the first launch of a kernel in which all cores meet.
    pub(crate) fn require_cross_all(&self) -> Result<()> {
        self_test::before_first_launch(&self.self_test, &self.device, Flags::OfAllCores)
    }

    /// As [`Self::self_test`], with the flag at which all cores meet.
    pub(crate) fn self_test_cross_all(&self) -> Result<()> {
        self_test::run(&self.self_test, &self.device, Flags::OfAllCores)
    }

    /// Launches a kernel on every core that crosses the flags between Cube and vector cores both ways, waits
    /// for it at most one second, and compares its result.
    ///
    /// # Errors
    /// `SelfTest` when the launch fails, does not end or leaves something else, with what to send back;
    /// `OutOfMemory`, `Driver`.
    pub fn self_test(&self) -> Result<()> {
        self_test::run(&self.self_test, &self.device, Flags::OfGroups)
    }

    /// The same operator with the kernels of another image of the same device, which share the M-mask.
    ///
    /// # Errors
    /// `Driver` when the image lacks a kernel. Launches fail when the image is loaded on another device.
    pub fn with_kernels_of(&self, module: &Module) -> Result<Self> {
        Ok(Self {
            kernels: Variants::new(|dtype, scores| module.kernel(kernel_name(dtype, scores)?))?,
            shift_keys: module.kernel(SHIFT_KERNEL)?,
            ..self.clone()
        })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queues the operator on a stream and returns at once; nothing is allocated, copied or waited for. With
    /// shifted keys it is two launches.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are missing, misaligned, too small,
    /// of another device, or written while another one lies there. What goes wrong while the kernel runs
    /// is told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        let tiling = plan.tiling_data();
        let operands = self.operands(plan, &args, &tiling)?.args()?;
        tell("attention launch", stream, || plan.to_json(), || self.places(&args).named(plan));
        if plan.num_items() == 0 {
            return Ok(());
        }
        self.shift_keys(stream, plan, &args)?;
        self.kernels.of(plan).launch(stream, plan.num_cores(), &operands)
    }

    /// Queues what shifts the keys of a plan, if anything does.
    pub(crate) fn shift_keys(&self, stream: &Stream, plan: &Plan, args: &Args<'_>) -> Result<()> {
        let Some(shift) = plan.shift() else { return Ok(()) };
        let shifted = shifted_keys(plan, args)?;
        let operands = ShiftKeysOperands { k: args.k, shifted, tiling: &shift.tiling };
        self.shift_keys.launch(stream, shift.num_cores, &operands.args()?)
    }

    /// Checks a launch; what its kernel takes.
    pub(crate) fn operands<'a>(
        &'a self,
        plan: &Plan,
        args: &Args<'a>,
        tiling: &'a FlashFwdTilingData,
    ) -> Result<FlashFwdOperands<'a>> {
        self.device.require_planned_for(plan.soc(), "attention launch")?;
        self.places(args).check(plan)?;
        // The kernel touches no lse that the plan does not want; the workspace stands in as a valid address.
        let lse = args.lse.unwrap_or(args.workspace);
        let mask = Operand::from(&self.mask);
        let Args { q, v, o, workspace, .. } = *args;
        let k = if plan.shape().shift_keys { shifted_keys(plan, args)? } else { args.k };
        Ok(FlashFwdOperands { q, k, v, mask, o, lse, workspace, tiling })
    }

    /// Where the operands of a launch lie.
    pub(crate) fn places(&self, args: &Args<'_>) -> Places {
        Places::new(args, Operand::from(&self.mask))
    }
}
