//! What kernels are told besides their tensors, made of `ascendc/include/fa/tiling_data.h` by the build.

include!(concat!(env!("OUT_DIR"), "/AddTilingData.rs"));
include!(concat!(env!("OUT_DIR"), "/ReadTilingData.rs"));
include!(concat!(env!("OUT_DIR"), "/ScorePassTilingData.rs"));
include!(concat!(env!("OUT_DIR"), "/SoftmaxTilingData.rs"));
include!(concat!(env!("OUT_DIR"), "/VectorStreamTilingData.rs"));
