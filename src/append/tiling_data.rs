//! What kernels are told besides their tensors, made of `ascendc/include/fa/tiling_data.h` by the build.

include!(concat!(env!("OUT_DIR"), "/KvAppendTilingData.rs"));
include!(concat!(env!("OUT_DIR"), "/KvAppendRotaryTilingData.rs"));
