//! Softmax of scores as an eager framework computes it: each thing that is done to the scores is a kernel
//! that reads all of them from device memory and writes them back.

use super::score_pass::{self, score_pass_kernel_name, Pass};
use super::softmax::{self, softmax_kernel_name, Scores};
use super::{ScorePassTilingData, SoftmaxTilingData};
use crate::kernels::operands::{ScorePassOperands, SoftmaxOperands};
use crate::runtime::{Kernel, Module, Operand, Stream};
use crate::{DType, Result, Soc};

/// The launches between the two products.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Passes {
    dtype: DType,
    scale: ScorePassTilingData,
    mask: Option<ScorePassTilingData>,
    widen: ScorePassTilingData,
    softmax: SoftmaxTilingData,
    narrow: ScorePassTilingData,
}

impl Passes {
    /// For scores that a product has stored in the type of the operands.
    pub(super) fn plan(scores: Scores, has_mask: bool, softmax_scale: f32, soc: &Soc) -> Self {
        let dtype = scores.dtype;
        let shape = [scores.num_heads, scores.rows, scores.cols, scores.pitch];
        let pass = |types, pass| score_pass::tiling(shape, types, pass, soc);
        let wide = Scores { dtype: DType::F32, dtype_p: DType::F32, ..scores };
        Self {
            dtype,
            scale: pass([dtype; 2], Pass::Scale(softmax_scale)),
            mask: has_mask.then(|| pass([dtype; 2], Pass::AddMask)),
            widen: pass([dtype, DType::F32], Pass::Cast),
            softmax: softmax::tiling(wide, false, 1.0, soc),
            narrow: pass([DType::F32, dtype], Pass::Cast),
        }
    }
}

/// Where the passes read and write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// Scores of the product, then P, in the operands' type.
    pub(super) scores: Operand<'a>,
    /// Scores in f32.
    pub(super) wide: Operand<'a>,
    /// Scaled scores, then probabilities in f32.
    pub(super) other: Operand<'a>,
    pub(super) mask: Option<Operand<'a>>,
}

/// The kernels for one type of operands.
#[derive(Clone, Debug)]
pub(super) struct PassKernels {
    same: Kernel,
    widen: Kernel,
    softmax: Kernel,
    narrow: Kernel,
}

impl PassKernels {
    pub(super) fn load(module: &Module, dtype: DType) -> Result<Self> {
        let pass = |from, to| module.kernel(score_pass_kernel_name(from, to)?);
        Ok(Self {
            same: pass(dtype, dtype)?,
            widen: pass(dtype, DType::F32)?,
            softmax: module.kernel(softmax_kernel_name(DType::F32, DType::F32)?)?,
            narrow: pass(DType::F32, dtype)?,
        })
    }

    /// Queues the passes: scores become P.
    pub(super) fn launch(&self, stream: &Stream, plan: &Passes, at: Places<'_>) -> Result<()> {
        let pass = |kernel: &Kernel, tiling: &ScorePassTilingData, x, mask, y| {
            let operands = ScorePassOperands { x, mask, y, tiling };
            kernel.launch(stream, tiling.num_cores, &operands.args()?)
        };
        // A kernel touches no mask that its tiling does not name; the scores stand in as a valid address.
        pass(&self.same, &plan.scale, at.scores, at.scores, at.other)?;
        let masked = match (&plan.mask, at.mask) {
            (Some(tiling), Some(mask)) => {
                pass(&self.same, tiling, at.other, mask, at.scores)?;
                at.scores
            }
            _ => at.other,
        };
        pass(&self.widen, &plan.widen, masked, masked, at.wide)?;
        let tiling = &plan.softmax;
        let operands = SoftmaxOperands { scores: at.wide, mask: at.wide, p: at.other, tiling };
        self.softmax.launch(stream, tiling.num_cores, &operands.args()?)?;
        pass(&self.narrow, &plan.narrow, at.other, at.other, at.scores)
    }
}
