//! The native kernels. Each takes the arguments and the tiling data of the kernel of the same name in
//! `ascendc/kernels`, whose header says what it computes.

mod activation;
mod append;
mod argmax;
mod attention;
mod elementwise;
mod embedding;
mod matmul;
mod merge;
mod norm;
mod numbers;
mod shift_keys;
mod softmax;

use ascend_sim::engine::Stopped;
use bytemuck::Pod;
use fastattention_cpu::Elements;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::call::{Call, Tensor};
use crate::kernels::operands::{
    ActivationArguments, AddArguments, ArgmaxArguments, CopyArguments, EmbeddingArguments,
    FlashDecodeArguments, FlashFwdArguments, FlashFwdMatmulArguments, KvAppendArguments,
    KvAppendRotaryArguments, MatmulArguments, MergeArguments, NormArguments, ScorePassArguments,
    SelfTestArguments, ShiftKeysArguments, SoftmaxArguments,
};

type Run = fn(&Call<'_>, &[u64]) -> Result<(), Stopped>;

/// A kernel.
pub(super) struct Native {
    pub(super) name: &'static str,
    pub(super) num_args: usize,
    pub(super) run: Run,
}

const fn native(name: &'static str, num_args: usize, run: Run) -> Native {
    Native { name, num_args, run }
}

/// All of them. There is none for `read_ub`, `read_l1` and `vector_stream`, which only pass time.
pub(super) static ALL: &[Native] = &[
    native("fa_copy", CopyArguments::COUNT, elementwise::copy),
    native("fa_add_f16", AddArguments::COUNT, elementwise::add::<f16>),
    native("fa_add_f32", AddArguments::COUNT, elementwise::add::<f32>),
    native("fa_self_test", SelfTestArguments::COUNT, elementwise::self_test),
    native("fa_flash_decode_f16", FlashDecodeArguments::COUNT, attention::flash_decode::<f16>),
    native("fa_flash_decode_bf16", FlashDecodeArguments::COUNT, attention::flash_decode::<bf16>),
    native("fa_flash_fwd_f16", FlashFwdArguments::COUNT, attention::flash_fwd::<f16>),
    native("fa_flash_fwd_bf16", FlashFwdArguments::COUNT, attention::flash_fwd::<bf16>),
    native("fa_flash_fwd_f16_scores_f16", FlashFwdArguments::COUNT, attention::flash_fwd::<f16>),
    native("fa_flash_fwd_matmul_f16", FlashFwdMatmulArguments::COUNT, attention::flash_fwd_matmul::<f16>),
    native("fa_flash_fwd_matmul_bf16", FlashFwdMatmulArguments::COUNT, attention::flash_fwd_matmul::<bf16>),
    native(
        "fa_flash_fwd_matmul_f16_scores_f16",
        FlashFwdMatmulArguments::COUNT,
        attention::flash_fwd_matmul::<f16>,
    ),
    native("fa_kv_append_f16", KvAppendArguments::COUNT, append::kv_append),
    native("fa_kv_append_bf16", KvAppendArguments::COUNT, append::kv_append),
    native("fa_kv_append_rotary_f16", KvAppendRotaryArguments::COUNT, append::kv_append_rotary::<f16>),
    native("fa_kv_append_rotary_bf16", KvAppendRotaryArguments::COUNT, append::kv_append_rotary::<bf16>),
    native("fa_shift_keys_f16", ShiftKeysArguments::COUNT, shift_keys::shift_keys),
    native("fa_merge_f16", MergeArguments::COUNT, merge::merge::<f16, f16>),
    native("fa_merge_bf16", MergeArguments::COUNT, merge::merge::<bf16, bf16>),
    native("fa_merge_f32", MergeArguments::COUNT, merge::merge::<f32, f32>),
    native("fa_merge_f32_f16", MergeArguments::COUNT, merge::merge::<f32, f16>),
    native("fa_merge_f32_bf16", MergeArguments::COUNT, merge::merge::<f32, bf16>),
    native("fa_activation_f16", ActivationArguments::COUNT, activation::activation::<f16>),
    native("fa_activation_bf16", ActivationArguments::COUNT, activation::activation::<bf16>),
    native("fa_activation_f32", ActivationArguments::COUNT, activation::activation::<f32>),
    native("fa_argmax_f16", ArgmaxArguments::COUNT, argmax::argmax::<f16>),
    native("fa_argmax_bf16", ArgmaxArguments::COUNT, argmax::argmax::<bf16>),
    native("fa_argmax_f32", ArgmaxArguments::COUNT, argmax::argmax::<f32>),
    native("fa_embedding_f16", EmbeddingArguments::COUNT, embedding::embedding_16),
    native("fa_embedding_bf16", EmbeddingArguments::COUNT, embedding::embedding_16),
    native("fa_embedding_f32", EmbeddingArguments::COUNT, embedding::embedding_32),
    native("fa_norm_f16", NormArguments::COUNT, norm::norm::<f16, f16, f16>),
    native("fa_norm_bf16", NormArguments::COUNT, norm::norm::<bf16, bf16, bf16>),
    native("fa_norm_f32", NormArguments::COUNT, norm::norm::<f32, f32, f32>),
    native("fa_norm_f16_f32", NormArguments::COUNT, norm::norm::<f16, f32, f16>),
    native("fa_norm_bf16_f32", NormArguments::COUNT, norm::norm::<bf16, f32, bf16>),
    native("fa_norm_f16_f16_f32", NormArguments::COUNT, norm::norm::<f16, f16, f32>),
    native("fa_norm_bf16_bf16_f32", NormArguments::COUNT, norm::norm::<bf16, bf16, f32>),
    native("fa_norm_f16_f32_f32", NormArguments::COUNT, norm::norm::<f16, f32, f32>),
    native("fa_norm_bf16_f32_f32", NormArguments::COUNT, norm::norm::<bf16, f32, f32>),
    native("fa_softmax_f16", SoftmaxArguments::COUNT, softmax::softmax::<f16, f16>),
    native("fa_softmax_bf16", SoftmaxArguments::COUNT, softmax::softmax::<bf16, bf16>),
    native("fa_softmax_f16_f32", SoftmaxArguments::COUNT, softmax::softmax::<f16, f32>),
    native("fa_softmax_bf16_f32", SoftmaxArguments::COUNT, softmax::softmax::<bf16, f32>),
    native("fa_softmax_f32", SoftmaxArguments::COUNT, softmax::softmax::<f32, f32>),
    native("fa_score_pass_f16", ScorePassArguments::COUNT, softmax::score_pass::<f16, f16>),
    native("fa_score_pass_bf16", ScorePassArguments::COUNT, softmax::score_pass::<bf16, bf16>),
    native("fa_score_pass_f16_f32", ScorePassArguments::COUNT, softmax::score_pass::<f16, f32>),
    native("fa_score_pass_bf16_f32", ScorePassArguments::COUNT, softmax::score_pass::<bf16, f32>),
    native("fa_score_pass_f32_f16", ScorePassArguments::COUNT, softmax::score_pass::<f32, f16>),
    native("fa_score_pass_f32_bf16", ScorePassArguments::COUNT, softmax::score_pass::<f32, bf16>),
    native("fa_matmul_f16", MatmulArguments::COUNT, matmul::matmul::<f16, f16>),
    native("fa_matmul_bf16", MatmulArguments::COUNT, matmul::matmul::<bf16, bf16>),
    native("fa_matmul_f16_f32", MatmulArguments::COUNT, matmul::matmul::<f16, f32>),
    native("fa_matmul_bf16_f32", MatmulArguments::COUNT, matmul::matmul::<bf16, f32>),
];

/// An element type of tensors. Sums and functions are computed in f32.
trait Real: Pod + Send + Sync {
    fn widen(from: &[Self], to: &mut [f32]);
    /// Rounds to nearest even.
    fn narrow(from: &[f32], to: &mut [Self]);
    /// The same elements, as products take them.
    fn elements(values: &[Self]) -> Elements<'_>;
}

impl Real for f32 {
    fn widen(from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    fn narrow(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }

    fn elements(values: &[Self]) -> Elements<'_> {
        Elements::F32(values)
    }
}

impl Real for f16 {
    fn widen(from: &[Self], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }

    fn narrow(from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }

    fn elements(values: &[Self]) -> Elements<'_> {
        Elements::F16(values)
    }
}

impl Real for bf16 {
    fn widen(from: &[Self], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }

    fn narrow(from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }

    fn elements(values: &[Self]) -> Elements<'_> {
        Elements::Bf16(values)
    }
}

/// A row that is read in its own type and used in f32.
struct Row<T> {
    raw: Vec<T>,
    values: Vec<f32>,
}

impl<T: Real> Row<T> {
    fn new(len: usize) -> Self {
        Self { raw: vec![T::zeroed(); len], values: vec![0.0; len] }
    }

    /// The values that are kept are of no use.
    fn resize(&mut self, len: usize) {
        self.raw.resize(len, T::zeroed());
        self.values.resize(len, 0.0);
    }

    fn read(&mut self, from: &Tensor<T>, at: u64) -> &[f32] {
        from.read(at, &mut self.raw);
        T::widen(&self.raw, &mut self.values);
        &self.values
    }

    /// Rounds the values and writes them.
    fn write(&mut self, to: &Tensor<T>, at: u64) {
        T::narrow(&self.values, &mut self.raw);
        to.write(at, &self.raw);
    }

    /// Rounds others, as many, and writes them.
    fn write_from(&mut self, values: &[f32], to: &Tensor<T>, at: u64) {
        T::narrow(values, &mut self.raw);
        to.write(at, &self.raw);
    }
}

/// Rows that a thread takes at a time: few are not worth waking another one.
const ROW_GRAIN: u64 = 16;
