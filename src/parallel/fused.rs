//! Attention, and the product that reads its output, in one launch.

use crate::attention::{self, FlashAttention, Variants};
use crate::kernels::operands::{FlashFwdMatmulOperands, FlashFwdOperands, MatmulOperands};
use crate::matmul::{self, Matmul};
use crate::runtime::{refuse, tell, Device, Module, Schedule, Stream};
use crate::{kernels, DType, Error, ErrorKind, Result};

/// Attention, a matrix product, and both in one launch: the product's cores wait for each other inside the
/// kernel, which costs a fraction of a launch.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct AttentionMatmul {
    attention: FlashAttention,
    matmul: Matmul,
    kernels: Variants,
}

/// Name of the kernel for operands of type `dtype` and scores handed over as `score_dtype`.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn kernel_name(dtype: DType, score_dtype: DType) -> Result<&'static str> {
    match (dtype, score_dtype) {
        (DType::F16, DType::F32) => Ok("fa_flash_fwd_matmul_f16"),
        (DType::F16, DType::F16) => Ok("fa_flash_fwd_matmul_f16_scores_f16"),
        (DType::Bf16, DType::F32) => Ok("fa_flash_fwd_matmul_bf16"),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "attention and matmul: dtype = {dtype} with score_dtype = {score_dtype} has no kernel; supported: \
                 score_dtype = f32 with dtype = f16 or bf16, score_dtype = f16 with dtype = f16"
            ),
        )),
    }
}

impl AttentionMatmul {
    /// Loads the kernels; as [`FlashAttention::new`], with a second self-test in which all cores meet.
    ///
    /// # Errors
    /// As [`FlashAttention::new`].
    pub fn new(device: &Device) -> Result<Self> {
        Self::from_module(device, &kernels::load(device)?)
    }

    /// As [`Self::new`], with the kernels of an image that was built elsewhere.
    ///
    /// # Errors
    /// As [`FlashAttention::with_kernels`]. Launches fail when the image is loaded on another device.
    pub fn from_module(device: &Device, module: &Module) -> Result<Self> {
        let attention = FlashAttention::with_kernels(device, |name| module.kernel(name))?;
        attention.require_cross_all()?;
        Ok(Self { attention, matmul: Matmul::from_module(module)?, kernels: fused(module)? })
    }

    /// As [`FlashAttention::self_test`], with the flag at which all cores meet.
    ///
    /// # Errors
    /// As [`FlashAttention::self_test`].
    pub fn self_test(&self) -> Result<()> {
        self.attention.self_test_cross_all()
    }

    /// The same operator with the kernels of another image of the same device.
    ///
    /// # Errors
    /// `Driver` when the image lacks a kernel. Launches fail when the image is loaded on another device.
    pub fn with_kernels_of(&self, module: &Module) -> Result<Self> {
        Ok(Self {
            attention: self.attention.with_kernels_of(module)?,
            matmul: Matmul::from_module(module)?,
            kernels: fused(module)?,
        })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.attention.device()
    }

    /// The attention alone.
    pub fn attention(&self) -> &FlashAttention {
        &self.attention
    }

    /// The product alone.
    pub fn matmul(&self) -> &Matmul {
        &self.matmul
    }

    /// Queues both on a stream, as one kernel, behind that which shifts keys if the plan has one, and returns
    /// at once; nothing is allocated, copied or waited for. The bits are those of a launch of the attention
    /// and one of the product behind it: `a` may lie on `o`, which the attention has written by then. `b` and
    /// `c` share no byte with what the attention writes, nor `c` with what it reads.
    ///
    /// # Errors
    /// As [`FlashAttention::launch`] and [`Matmul::launch`]; `InvalidArgument` when operands and result of
    /// the product are not of the attention's type.
    pub fn launch(
        &self,
        stream: &Stream,
        (attention, attention_args): (&attention::Plan, attention::Args<'_>),
        (product, product_args): (&matmul::Plan, matmul::Args<'_>),
    ) -> Result<()> {
        let (dtype, problem) = (attention.shape().dtype, product.problem());
        if [problem.dtype, problem.dtype_out] != [dtype; 2] {
            return Err(Error::invalid(format!(
                "attention and matmul launch: a product with dtype = {} and dtype_out = {} given, {dtype} wanted for both, \
                 as dtype of the attention is",
                problem.dtype, problem.dtype_out
            )));
        }
        let (tiling, matmul_tiling) = (attention.tiling_data(), product.tiling_data());
        let FlashFwdOperands { q, k, v, mask, o, lse, workspace, tiling } =
            self.attention.operands(attention, &attention_args, &tiling)?;
        let MatmulOperands { a, b, c, tiling: matmul_tiling } =
            self.matmul.operands(product, &product_args, &matmul_tiling)?;
        let args =
            FlashFwdMatmulOperands { q, k, v, mask, o, lse, workspace, a, b, c, tiling, matmul_tiling }
                .args()?;
        let mut named = self.attention.places(&attention_args).named(attention);
        let [a, b, c] = matmul::named(product, &product_args);
        // The cores meet between the two.
        named.extend([a.behind("o"), b, c]);
        refuse("attention and matmul launch", &named)?;
        if attention.num_items() == 0 || problem.is_empty() || problem.k == 0 {
            self.attention.launch(stream, attention, attention_args)?;
            return self.matmul.launch(stream, product, product_args);
        }
        tell("attention and matmul launch", stream, || Ok(format!("{attention}{product}")), || named);
        self.attention.shift_keys(stream, attention, &attention_args)?;
        let groups = attention.num_cores().max(product.num_cores());
        self.kernels.of(attention).launch(stream, groups, &args)
    }
}

/// Their groups wait for each other.
fn fused(module: &Module) -> Result<Variants> {
    Variants::new(|dtype, scores| {
        Ok(module.kernel(kernel_name(dtype, scores)?)?.with_schedule(Schedule::Batch))
    })
}
