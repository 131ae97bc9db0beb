//! One vector instruction many times: what single instructions cost.

use super::VectorStreamTilingData;
use crate::attention::Operand;
use crate::kernels;
use crate::kernels::operands::VectorStreamOperands;
use crate::runtime::{refuse, Device, Kernel, Module, Named, Stream};
use crate::{DType, Error, Result, Soc};

/// The instruction, in the order of `ascendc/kernels/vector_stream.cpp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum VectorOp {
    /// `src0 + src1`
    Add,
    /// `src0 - src1`
    Sub,
    /// `src0 * src1`
    Mul,
    /// `src0 / src1`
    Div,
    /// `max(src0, src1)`
    Max,
    /// `src0 * scalar`
    Muls,
    /// `max(src0, scalar)`
    Maxs,
    /// `exp(src0)`
    Exp,
    /// `ln(src0)`
    Ln,
    /// `max(src0, 0)`
    Relu,
    /// `1 / sqrt(src0)`, approximate
    Rsqrt,
}

impl VectorOp {
    /// Every instruction.
    pub const ALL: [VectorOp; 11] = [
        VectorOp::Add,
        VectorOp::Sub,
        VectorOp::Mul,
        VectorOp::Div,
        VectorOp::Max,
        VectorOp::Muls,
        VectorOp::Maxs,
        VectorOp::Exp,
        VectorOp::Ln,
        VectorOp::Relu,
        VectorOp::Rsqrt,
    ];
}

/// Where an operand lies in UB; strides are blocks of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorOperand {
    /// Byte address of the first block.
    pub offset_bytes: u32,
    /// Between the 8 blocks of a repeat.
    pub block_stride: u8,
    /// Between repeats.
    pub repeat_stride: u8,
}

impl VectorOperand {
    /// Contiguous from `offset_bytes` on.
    pub fn contiguous(offset_bytes: u32) -> Self {
        Self { offset_bytes, block_stride: 1, repeat_stride: 8 }
    }

    fn end(&self, repeat: u8) -> u64 {
        let repeats = u64::from(repeat.max(1)) - 1;
        let blocks = repeats * u64::from(self.repeat_stride) + 7 * u64::from(self.block_stride) + 1;
        u64::from(self.offset_bytes) + 32 * blocks
    }
}

/// What is issued.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorStreamTiling {
    /// The instruction.
    pub op: VectorOp,
    /// How often it is issued.
    pub count: u32,
    /// Repeats of 256 bytes of one.
    pub repeat: u8,
    /// Whether a barrier follows each. Without it instructions on the same bytes race, which a simulated
    /// device reports unless [`crate::sim::Config::check_races`] is off.
    pub barrier: bool,
    /// Scalar operand, where the instruction has one.
    pub scalar: f32,
    /// Destination; what goes out starts here and is contiguous.
    pub dst: VectorOperand,
    /// First source.
    pub src0: VectorOperand,
    /// Second source, where the instruction has one.
    pub src1: VectorOperand,
}

impl VectorStreamTiling {
    /// Bytes that go out: 256 for each repeat.
    pub fn out_bytes(&self) -> u64 {
        256 * u64::from(self.repeat)
    }

    fn tiling_data(&self, soc: &Soc) -> Result<VectorStreamTilingData> {
        let usable = u64::from(soc.core.usable_ub_bytes());
        if self.repeat == 0 {
            return Err(Error::invalid("vector stream: repeat = 0 given, at least 1 wanted"));
        }
        let out_end = u64::from(self.dst.offset_bytes) + self.out_bytes();
        for (name, operand, least_end) in
            [("dst", self.dst, out_end), ("src0", self.src0, 0), ("src1", self.src1, 0)]
        {
            let (start, end) = (operand.offset_bytes, operand.end(self.repeat).max(least_end));
            if !start.is_multiple_of(32) {
                return Err(Error::invalid(format!(
                    "vector stream: offset_bytes of {name} = {start} given, a multiple of 32 wanted"
                )));
            }
            if end > usable {
                return Err(Error::invalid(format!(
                    "vector stream: {name} ends at byte {end} of UB, at most {usable} wanted"
                )));
            }
        }
        Ok(VectorStreamTilingData {
            op: self.op as u32,
            count: self.count,
            repeat: u32::from(self.repeat),
            barrier: u32::from(self.barrier),
            scalar: self.scalar,
            dst_offset_bytes: self.dst.offset_bytes,
            src0_offset_bytes: self.src0.offset_bytes,
            src1_offset_bytes: self.src1.offset_bytes,
            block_stride: [self.dst, self.src0, self.src1].map(|o| u32::from(o.block_stride)),
            repeat_stride: [self.dst, self.src0, self.src1].map(|o| u32::from(o.repeat_stride)),
        })
    }
}

/// Issues one vector instruction many times, on ones (`ascendc/kernels/vector_stream.cpp`).
#[derive(Clone, Debug)]
pub struct VectorStream {
    device: Device,
    f16: Kernel,
    f32: Kernel,
}

impl VectorStream {
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
        Ok(Self {
            device: module.device().clone(),
            f16: module.kernel("fa_vector_stream_f16")?,
            f32: module.kernel("fa_vector_stream_f32")?,
        })
    }

    /// Queues the instructions on one vector core; `out` takes [`VectorStreamTiling::out_bytes`] bytes.
    ///
    /// # Errors
    /// `InvalidArgument` for another type than f16 and f32, for operands outside UB, and for `out` that is
    /// misaligned, too small or of another device.
    pub fn launch(
        &self,
        stream: &Stream,
        tiling: &VectorStreamTiling,
        dtype: DType,
        out: Operand<'_>,
    ) -> Result<()> {
        let kernel = match dtype {
            DType::F16 => &self.f16,
            DType::F32 => &self.f32,
            DType::Bf16 => {
                return Err(Error::invalid("vector stream: dtype = bf16 given, f16 or f32 wanted"))
            }
        };
        let data = tiling.tiling_data(self.device.soc())?;
        refuse("vector stream launch", &[Named::written("out", out, tiling.out_bytes(), 32)])?;
        kernel.launch(stream, 1, &VectorStreamOperands { out, tiling: &data }.args()?)
    }
}
