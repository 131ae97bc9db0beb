//! Time of a V100, modelled: one multiprocessor cycle by cycle, then a grid.

mod fetch;
mod grid;
mod parameters;
mod sm;

pub(crate) use grid::SHARED_BYTES;
pub use grid::{blocks_per_multiprocessor, schedule, CLOCK_HZ, MULTIPROCESSORS};
pub use parameters::Parameters;
pub use sm::{simulate, Busy, Refused, Report};
