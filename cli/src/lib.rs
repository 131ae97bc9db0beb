//! Parts of the command line tool that the laboratory (`lab/`) needs, too. They follow the needs of both and
//! are no interface for others: what programs call is crate `fastattention`.

pub mod chip;
pub mod kernels;
pub mod mask;
pub mod output;
pub mod pool;
pub mod progress;
#[cfg(feature = "sim")]
pub mod ranks;
pub mod shape;
#[cfg(feature = "sim")]
pub mod sweep;
#[cfg(feature = "sim")]
pub mod table;
mod terminal;
pub mod tiling;
#[cfg(feature = "sim")]
pub mod workload;

pub use terminal::{main_of, print, told};
