//! The pure planner: from a problem and a SoC to a two-level tiling.
//!
//! [`plan`] checks the [`Shape`] against what the kernels can do, tries every [`Candidate`] tiling, keeps the
//! reason of each one that does not work, and takes the one with the shortest predicted model time, or, with
//! [`plan_tuned`], the fastest one of earlier simulations. No I/O, no device, no unsafe.
//!
//! Level 1 is what one Cube/Vector hand-over covers: `block_m` rows by `block_n` keys of scores. Level 2 is
//! what fits next to the arithmetic: Mmads of 128 x 128 x 128 on the Cube, slices of whole rows on a vector
//! core. (FastAttention §4.)

mod buffers;
mod candidate;
mod cost;
mod display;
mod limits;
pub mod mask;
mod memory_map;
mod order;
mod plan;
mod shift;
mod text;
mod tiling_data;
pub(crate) mod traffic;
mod tuned;

pub use candidate::{Candidate, Rejected};
pub use cost::CoreLoad;
pub use limits::{MAX_BURSTS, MAX_GM_GAP_BYTES, MAX_HEAD_DIM, MAX_SEQLEN};
pub use memory_map::{MemoryMap, Region};
pub use order::WorkItem;
pub use plan::{plan, plan_tuned, plan_with, Estimated, FlashFwdPlan};
pub use shift::ShiftPlan;
pub use tiling_data::{FlashFwdTilingData, ShiftKeysTilingData};
pub use tuned::{ShapeClass, Timed, Tuned};

pub use crate::spec::{dense_strides, Mask, Reason, Shape};
