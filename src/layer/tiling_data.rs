//! What kernels are told besides their tensors, made of `ascendc/include/fa/tiling_data.h` by the build.

include!(concat!(env!("OUT_DIR"), "/ActivationTilingData.rs"));
include!(concat!(env!("OUT_DIR"), "/ArgmaxTilingData.rs"));
include!(concat!(env!("OUT_DIR"), "/EmbeddingTilingData.rs"));
include!(concat!(env!("OUT_DIR"), "/NormTilingData.rs"));
