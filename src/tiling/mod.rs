//! The pure planner: from a problem and a SoC to a two-level tiling. (being written)

mod tiling_data;

pub use tiling_data::FlashFwdTilingData;
