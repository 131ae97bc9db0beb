//! Exact attention on the host's own cores.
//!
//! `o = softmax(scale * q k^T + mask) v` in f16, bf16 or f32, with sums in f32, and `lse`, the natural
//! logarithm of each row's sum of exponentials. GQA and MQA, masks none, causal and windows, any strides,
//! sequences of different lengths, packed rows, and K and V in pages: [`Problem`] says which. The
//! algorithm is that of FlashAttention-2 (Dao, arXiv 2307.08691): blocks of rows and keys with an online
//! softmax, and decode steps that are also cut along keys.
//!
//! Kernels are written once over a thin layer for each instruction set ([`Isa`]), which is chosen at run
//! time. Results are bitwise the same for any number of threads; they differ between instruction sets within
//! rounding.
//!
//! ```
//! use fastattention_cpu::{Config, DType, Host, Problem, Slices};
//!
//! let host = Host::new(&Config::default())?;
//! let problem = Problem::new(DType::F32, [1, 2, 1, 8], 2).causal();
//! let (q, k) = ([0.5; 16], [0.25; 16]);
//! let v: Vec<f32> = (0..16u8).map(f32::from).collect();
//! let mut o = [0.0; 16];
//! host.attention_slices(&problem, Slices::new(&q, &k, &v, &mut o))?;
//! assert_eq!(o[..8], v[..8]); // the first row sees the first key only
//! assert!((o[8] - 4.0).abs() < 1e-6);
//! # Ok::<(), fastattention_cpu::Error>(())
//! ```

mod board;
mod buffer;
mod element;
mod error;
mod few;
mod host;
mod isa;
mod memory;
mod panel;
mod problem;
mod products;
mod simd;
mod slices;
mod threads;
mod work;

pub use element::{DType, Element};
pub use error::{Error, Result};
pub use host::{Config, Host};
pub use isa::{Isa, ISA_VARIABLE};
pub use memory::Operands;
pub use problem::{BlockTable, Pages, Pieces, Problem, MAX_HEAD_DIM, MAX_LENGTH};
pub use products::{Elements, PackedRows, Rows};
pub use slices::Slices;
