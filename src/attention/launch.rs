//! Launching a plan.

use super::operands::{AllGiven, Given};
use super::{kernel_name, Plan};
use crate::kernels;
use crate::runtime::{Buffer, Device, Kernel, KernelArgs, Module, Stream};
use crate::tiling::mask::{m_mask, MASK_DIM};
use crate::{DType, Error, Result};

/// The attention operator on one device: its kernels, and the M-mask that every masked launch cuts its windows from.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct FlashAttention {
    device: Device,
    f16: Kernel,
    bf16: Kernel,
    mask: Buffer,
}

/// A tensor in device memory: a buffer, from some byte on.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The memory.
    pub buffer: &'a Buffer,
    /// Where the tensor starts, a multiple of the element size.
    pub offset_bytes: usize,
}

impl<'a> From<&'a Buffer> for Operand<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self { buffer, offset_bytes: 0 }
    }
}

/// Operands of a launch. The caller owns all of them; `o`, `lse` and `workspace` overlap with nothing.
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
    /// [`Plan::workspace_bytes`] bytes; what is in it does not matter. Launches on one stream can share it.
    pub workspace: Operand<'a>,
}

impl FlashAttention {
    /// Loads the kernels and uploads the M-mask (512 KiB).
    ///
    /// # Errors
    /// `KernelsNotBuilt` when this build has no kernels for the device, `OutOfMemory`, `Driver`.
    pub fn new(device: &Device) -> Result<Self> {
        let module = kernels::load(device)?;
        Ok(Self {
            device: device.clone(),
            f16: module.kernel(kernel_name(DType::F16)?)?,
            bf16: module.kernel(kernel_name(DType::Bf16)?)?,
            mask: Buffer::from_slice(device, &m_mask(MASK_DIM))?,
        })
    }

    /// The same operator with the kernels of another image of the same device, which share the M-mask.
    ///
    /// # Errors
    /// `Driver` when the image lacks a kernel. Launches fail when the image is loaded on another device.
    pub fn with_kernels_of(&self, module: &Module) -> Result<Self> {
        Ok(Self {
            f16: module.kernel(kernel_name(DType::F16)?)?,
            bf16: module.kernel(kernel_name(DType::Bf16)?)?,
            ..self.clone()
        })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queues the operator on a stream and returns at once; nothing is allocated, copied or waited for.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are missing, misaligned, too small or of another
    /// device. What goes wrong while the kernel runs is told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        let soc = self.device.soc();
        if plan.soc() != soc {
            return Err(Error::invalid(format!(
                "attention launch: the plan is for {} with {} cores, {} is {} with {}",
                plan.soc().name,
                plan.soc().cube_cores,
                self.device.name(),
                soc.name,
                soc.cube_cores
            )));
        }
        given(&args).check(plan)?;
        if plan.num_items() == 0 {
            return Ok(());
        }
        let kernel = match plan.shape().dtype {
            DType::Bf16 => &self.bf16,
            // Plans exist for the two types only.
            DType::F16 | DType::F32 => &self.f16,
        };
        // The kernel touches no lse that the plan does not want; the workspace stands in as a valid address.
        let lse = args.lse.unwrap_or(args.workspace);
        let mut list = KernelArgs::new();
        for operand in [args.q, args.k, args.v, Operand::from(&self.mask), args.o, lse, args.workspace] {
            list = list.buffer_at(operand.buffer, operand.offset_bytes)?;
        }
        kernel.launch(stream, plan.num_cores(), &list.place_holder(plan.tiling_data().as_bytes()))
    }
}

fn given(args: &Args<'_>) -> AllGiven {
    let of = |operand: Operand<'_>| Given {
        offset_bytes: operand.offset_bytes as u64,
        len_bytes: operand.buffer.len_bytes() as u64,
    };
    AllGiven {
        q: of(args.q),
        k: of(args.k),
        v: of(args.v),
        o: of(args.o),
        lse: args.lse.map(of),
        workspace: of(args.workspace),
    }
}
