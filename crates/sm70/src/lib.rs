//! Interpreter of PTX for sm_70 (NVIDIA V100, "Volta"): runs a kernel's real text without a GPU and says what
//! is wrong with it.
//!
//! A warp executes 32 lanes at a time. Lanes that branched apart run one path after the other, lowest
//! instruction first, and join where they meet again; instructions of a whole warp (`mma.sync`, `shfl.sync`,
//! `vote.sync`, `bar.sync`) wait for the lanes that they name, and it is a fault if those cannot come.
//!
//! - [`Fault`]: the kernel is wrong. Access out of bounds or misaligned, read of what was never written
//!   (registers, shared and global memory), race in shared memory between barriers or in global memory,
//!   divergence at a warp instruction, barrier that not all warps reach, division by zero, no end.
//! - [`Unsupported`]: the interpreter lacks it. The instructions are those of this workspace's kernels and
//!   their near relatives.
//! - A panic: the interpreter is wrong.
//!
//! [`Counters`] hold, for each instruction, how often a warp executed it, its shared-memory wavefronts
//! and the fewest that its width allows, and the 32-byte sectors of global memory. No time is modelled:
//! [`Facts`] and [`Executed`] are what a model of time needs.
//!
//! Values. Integers, conversions, `add`, `mul`, `fma` are as documented, round to nearest even, subnormals
//! kept. `ex2`, `lg2`, `rcp` (`.approx`) are the exact value rounded to f32, which is within the documented
//! errors; the chip's bits differ. `ASSUMPTION(sm70-mma-sums)`: see [`Sums`].
//!
//! ```
//! use fastattention_sm70::{Launch, Memory, Module, Params};
//!
//! let module = Module::parse(
//!     ".version 6.4\n.target sm_70\n.address_size 64\n\
//!      .visible .entry twice(.param .u64 at) {\n\
//!      .reg .b32 %r<3>; .reg .b64 %rd<4>;\n\
//!      ld.param.u64 %rd1, [at];\n\
//!      mov.u32 %r1, %tid.x;\n\
//!      mul.wide.u32 %rd2, %r1, 4;\n\
//!      add.s64 %rd3, %rd1, %rd2;\n\
//!      shl.b32 %r2, %r1, 1;\n\
//!      st.global.u32 [%rd3], %r2;\n\
//!      ret; }",
//! )?;
//! let mut memory = Memory::new();
//! let out = memory.allocate("out", 128);
//! let params = Params::new().u64(out);
//! module.kernel("twice")?.launch(&mut memory, &Launch::new([1, 1, 1], [32, 1, 1], &params))?;
//! assert_eq!(memory.read(out).expect("written")[4..8], [2, 0, 0, 0]);
//! # Ok::<(), fastattention_sm70::Error>(())
//! ```
#![forbid(unsafe_code)]

mod counters;
mod exec;
mod facts;
mod fault;
mod launch;
mod memory;
mod op;
mod ptx;
mod race;

pub use counters::{Counters, InstructionCount, Kind};
pub use exec::mma::Sums;
pub use facts::{Executed, Facts, Register, Space, Work};
pub use fault::{Error, Fault, FaultKind, Site, Unsupported};
pub use launch::{Launch, Params};
pub use memory::Memory;
pub use ptx::{Kernel, Module};
