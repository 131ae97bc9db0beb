//! The pure planner: from a problem and a SoC to a two-level tiling. (being written)

pub mod mask;
mod tiling_data;

pub use mask::Mask;
pub use tiling_data::FlashFwdTilingData;
