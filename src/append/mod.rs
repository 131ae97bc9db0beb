//! New keys and values into the cache of [`serving`](crate::serving): each row goes to the place that its
//! token has in device memory. Keys may be rotated on their way, and queries with them.
//!
//! | operand | shape | type |
//! | --- | --- | --- |
//! | `k`, `v` | `[tokens, num_heads_k, dim]` | f16 or bf16 |
//! | `places` | `[tokens]` | i32 or i64 |
//! | `k_cache`, `v_cache` | [`KvLayout`](crate::spec::KvLayout) | that of `k` and `v` |
//! | `positions` | `[tokens]`, where keys are rotated: [`Rotary`] | i32 or i64 |
//! | `table` | `[max_positions, 2, dims / 2]`: cosines, sines; likewise | f32 |
//! | `q`, `q_out` | `[tokens, num_heads, head_dim]`, likewise, if wanted | that of `k` and `v` |
//! | `status` | `[num_cores, 8]`, of a checked problem: [`Report`] | i32 |
//!
//! A *place* is room for one key in the cache \[slot, in the `slot_mapping` of other libraries\]: place `p`
//! is row `p % page_size` of page `p / page_size`, or with padded keys row `p % max_keys` of slot
//! `p / max_keys`.
//!
//! - *A place of -1* is none: the token is padding and nothing of it is written. So one plan serves every
//!   step of up to `tokens` tokens, and its launch can be captured in a graph.
//! - *A place that the cache does not have* is none, too: nothing outside the cache is ever written. A
//!   checked problem ([`Problem::checked`]) tells of it.
//! - *A place that several tokens have* gets the row of one of them, which one is not defined, and K and V
//!   may be those of different tokens. Nothing tells of it, but the simulator where it looks for races
//!   between cores.
//! - Rows are copied bit by bit. Head dimensions and strides are free; rows that start at multiples of 32
//!   bytes are faster.
//!
//! With [`Problem::with_rotary`]:
//!
//! - *A position* picks the row of the table. A token has one whatever its place: q is rotated though its key
//!   goes nowhere.
//! - *A position that the table does not have*, -1 included, reads nothing outside the table and makes what
//!   it rotates NaN, in the cache and in `q_out`; the rest of the row is copied. A row that is left as it was
//!   could pass for a right one. A checked problem tells of it.
//! - Elements behind `dims` are copied bit by bit.
//!
//! The design and figures: `docs/serving.md`. Never run on an NPU.
//!
//! ```
//! use fastattention::append::{plan, Append, Args, Problem};
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::serving::{self, KvLayout};
//! use fastattention::DType;
//! use half::f16;
//!
//! let device = Device::open("sim")?;
//! // What the decode steps read: 2 heads of 64 in 20 pages of 16 keys.
//! let decode = serving::Problem::new(DType::F16, [2, 1, 4, 64], 100, KvLayout::paged(16, 20));
//! let decode = decode.with_num_heads_k(2);
//! let plan = plan(&Problem::new(3, &decode), device.soc())?;
//!
//! let rows = Buffer::from_slice(&device, &[f16::ONE; 3 * 2 * 64])?;
//! let cache = || Buffer::from_slice(&device, &vec![f16::ZERO; 20 * 16 * 2 * 64]);
//! let (k_cache, v_cache) = (cache()?, cache()?);
//! // Row 5 of page 7, padding, and row 0 of page 19.
//! let places = Buffer::from_slice(&device, &[7 * 16 + 5, -1, 19 * 16])?;
//! let stream = Stream::new(&device)?;
//! let args = Args::new(&rows, &rows, &places, &k_cache, &v_cache);
//! Append::new(&device)?.launch(&stream, &plan, args)?;
//! stream.synchronize()?;
//! let keys = k_cache.to_vec::<f16>()?;
//! let written: Vec<usize> = (0..20 * 16).filter(|row| keys[row * 2 * 64] == f16::ONE).collect();
//! assert_eq!(written, [7 * 16 + 5, 19 * 16]);
//! # Ok::<(), fastattention::Error>(())
//! ```
//!
//! Keys and queries rotated as in Llama:
//!
//! ```
//! use fastattention::append::{plan, Append, Args, Pairing, Problem, Rotary, RotaryArgs};
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::serving::{self, KvLayout};
//! use fastattention::DType;
//! use half::f16;
//!
//! let device = Device::open("sim")?;
//! let decode = serving::Problem::new(DType::F16, [1, 1, 2, 64], 100, KvLayout::paged(16, 20));
//! let decode = decode.with_num_heads_k(1);
//! let rotary = Rotary::new(Pairing::Halves, 64, 100).with_q();
//! let plan = plan(&Problem::new(1, &decode).with_rotary(rotary), device.soc())?;
//!
//! let table = Rotary::table(&Rotary::frequencies(10_000.0, 64), 100, 1.0);
//! let table = Buffer::from_slice(&device, &table)?;
//! let ones = |heads: usize| Buffer::from_slice(&device, &vec![f16::ONE; heads * 64]);
//! let (k, q) = (ones(1)?, ones(2)?);
//! let cache = || Buffer::from_slice(&device, &vec![f16::ZERO; 20 * 16 * 64]);
//! let (k_cache, v_cache) = (cache()?, cache()?);
//! let (place, position) = (Buffer::from_slice(&device, &[33])?, Buffer::from_slice(&device, &[5])?);
//! let stream = Stream::new(&device)?;
//! let args = Args::new(&k, &k, &place, &k_cache, &v_cache)
//!     .with_rotary(RotaryArgs::new(&position, &table).with_q_in_place(&q));
//! Append::new(&device)?.launch(&stream, &plan, args)?;
//! stream.synchronize()?;
//! let turned = f16::from_f32(5f32.cos() - 5f32.sin());
//! assert_eq!(q.to_vec::<f16>()?[0], turned);
//! assert_eq!(k_cache.to_vec::<f16>()?[33 * 64], turned);
//! # Ok::<(), fastattention::Error>(())
//! ```

mod launch;
mod pieces;
mod plan;
mod problem;
mod report;
mod rotary;
mod tiling_data;

pub use launch::{Append, Args, RotaryArgs};
pub use plan::{plan, Plan};
pub use problem::{PlaceType, Problem, MAX_HEADS};
pub use report::{Mistake, Number, Report, STATUS_WORDS};
pub use rotary::{Pairing, Rotary, MAX_ROTARY_DIMS, MAX_ROTARY_HEAD_DIM};
pub use tiling_data::{KvAppendRotaryTilingData, KvAppendTilingData};

pub use crate::runtime::Operand;

use crate::{DType, Error, ErrorKind, Result};

/// Names of the kernels for rows of type `dtype`: of the one that copies, and of the one that rotates.
///
/// # Errors
/// `Unsupported` when there are none.
pub fn kernel_names(dtype: DType) -> Result<[&'static str; 2]> {
    match dtype {
        DType::F16 => Ok(["fa_kv_append_f16", "fa_kv_append_rotary_f16"]),
        DType::Bf16 => Ok(["fa_kv_append_bf16", "fa_kv_append_rotary_bf16"]),
        DType::F32 => {
            Err(Error::new(ErrorKind::Unsupported, "append: dtype = f32 has no kernel; supported: f16, bf16"))
        }
    }
}
