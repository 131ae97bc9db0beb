//! Model of an NVIDIA V100: takes the machine code of a kernel, runs blocks of it, and says what the blocks
//! and a whole grid would take there. **Modelled on a V100, never measured.**
//!
//! Machine code comes from `ptxas` and text of it from `nvdisasm` ([`Tools`]); without them PTX must do
//! ([`Kernel::from_ptx`]), with an error that `docs/volta.md` states. A block of a kernel runs in an
//! interpreter ([`Kernel::run_block`]), which gives numbers and the instructions that each warp issued,
//! with wavefronts of shared memory and sectors of global memory. Blocks that share a multiprocessor then
//! run on a model of its four sub-cores ([`simulate`]), whose dependences are those that ptxas wrote into
//! the instructions. [`schedule`] makes a grid of that.
//!
//! Not modelled: rate of L2, TLB, register banks, power, launches. DRAM and instruction caches are,
//! roughly, if [`Parameters`] asks. `docs/volta.md` of the workspace says how far off the model is.
#![forbid(unsafe_code)]

mod cubin;
mod error;
mod exec;
mod ptx;
mod sass;
#[cfg(test)]
mod testing;
mod time;
mod tools;

pub use error::{Error, Result};
pub use exec::{Counts, Launch, Memory, Trace};
pub use sass::Kernel;
pub use time::{
    blocks_per_multiprocessor, schedule, simulate, Busy, Parameters, Refused, Report, CLOCK_HZ,
    MULTIPROCESSORS,
};
pub use tools::{Assembled, Tools};
