//! What each family of kernels takes: made of `ascendc/kernels/families.h` by the build.
//!
//! The operators of this crate launch its kernels with these; so can who loads an image of the same kernels.

use super::SelfTestTilingData;
use crate::append::{KvAppendRotaryTilingData, KvAppendTilingData};
use crate::baseline::{
    AddTilingData, ReadTilingData, ScorePassTilingData, SoftmaxTilingData, VectorStreamTilingData,
};
use crate::layer::{ActivationTilingData, ArgmaxTilingData, EmbeddingTilingData, NormTilingData};
use crate::matmul::MatmulTilingData;
use crate::merge::MergeTilingData;
use crate::runtime::{KernelArgs, Operand};
use crate::serving::FlashDecodeTilingData;
use crate::tiling::{FlashFwdTilingData, ShiftKeysTilingData};
use crate::Result;

include!(concat!(env!("OUT_DIR"), "/operands.rs"));

#[cfg(feature = "cpu")]
include!(concat!(env!("OUT_DIR"), "/arguments.rs"));
