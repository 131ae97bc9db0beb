//! What the planners hand to the kernels, byte for byte: made of `ascendc/include/fa/tiling_data.h` by the build.

include!(concat!(env!("OUT_DIR"), "/MatmulTilingData.rs"));
