//! The operator that a serving engine calls: attention of prompts, chunks of prompts, decode and speculative
//! steps over a cache of keys and values, paged or not.
//!
//! A [`Problem`] is a *class of shapes*: how many sequences a launch has room for (*slots*), how many query
//! rows each has, or may have, and how many keys at most. It is planned once. The [`Plan`] then serves every
//! step, because the kernel reads rows, lengths and block table from device memory and balances its own work.
//! A launch allocates, copies and waits for nothing, and what it is told besides its operands never changes.
//!
//! | operand | shape | type |
//! | --- | --- | --- |
//! | `q`, `o` | `[slots, rows, num_heads, dim]`, packed `[total_rows, num_heads, dim]` | f16 or bf16 |
//! | `k`, `v` | [`KvLayout`] | the same |
//! | `row_starts` | `[slots + 1]`, of packed q: first row of each slot, and the one behind the last | i32 |
//! | `lengths` | `[slots]`: keys of each slot, those of its query rows included | i32 |
//! | `block_table` | `[slots, width]`, or one list for all slots; with pages; entries behind the last key are never read | i32 or u32 |
//! | `page_starts` | `[slots + 1]`, of such a list: first entry of each slot, and the one behind the last | i32 |
//! | `lse` | `[slots, num_heads, rows]`, packed `[num_heads, total_rows]` | f32 |
//! | `status` | `[slots, 8]`, of a checked problem: [`Report`] | i32 |
//!
//! - *A slot without keys* (length 0: padding of a captured batch) gives `o = 0`, `lse = -inf`. Nothing of it
//!   is read.
//! - *With [`Mask::Causal`]* the last query row of a slot sees every key, the one before all but the last,
//!   and so on; windows likewise. A row that sees no key gives `o = 0`, `lse = -inf`. Rows of packed o that
//!   are no slot's are left as they are.
//! - *Wrong numbers in device memory* never lead to a read outside the operands. A length below 0 counts as
//!   0, one above `max_keys` as `max_keys`. A page that the cache does not have makes the rows that see its
//!   keys NaN. Wrong `row_starts` count as the nearest that are right, and what their slots are left with
//!   becomes NaN. Wrong `page_starts` count as a slot without pages, and a page that the slot does not have
//!   as one that the cache does not have. A checked problem ([`Problem::checked`]) tells of all.
//! - *Bits* depend on the lengths of all slots and on the number of cores, because keys are split where that
//!   balances best, unless [`Problem::batch_invariant`] is asked for; they do not depend on where pages lie,
//!   nor on the time of anything.
//!
//! The design, and what is not there yet: `docs/serving.md`. Never run on an NPU.
//!
//! ```
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::serving::{plan, Args, KvLayout, Problem, ServingAttention};
//! use fastattention::DType;
//! use half::f16;
//!
//! let device = Device::open("sim")?;
//! let attention = ServingAttention::new(&device)?;
//! // Two slots, one query row each, 4 heads of 64 that share 2 heads of K and V; at most 100 keys each.
//! let problem = Problem::new(DType::F16, [2, 1, 4, 64], 100, KvLayout::paged(16, 20)).with_num_heads_k(2);
//! let plan = plan(&problem, device.soc())?;
//!
//! let q = Buffer::from_slice(&device, &[f16::ONE; 2 * 4 * 64])?;
//! let cache = Buffer::from_slice(&device, &vec![f16::ONE; 20 * 16 * 2 * 64])?;
//! let o = Buffer::alloc(&device, 2 * 4 * 64 * 2)?;
//! let workspace = Buffer::alloc(&device, usize::try_from(plan.workspace_bytes()).unwrap())?;
//! // Slot 0 has 20 keys, in pages 7 and 3; slot 1 is padding.
//! let lengths = Buffer::from_slice(&device, &[20i32, 0])?;
//! let mut table = [-1i32; 2 * 7];
//! table[..2].copy_from_slice(&[7, 3]);
//! let table = Buffer::from_slice(&device, &table)?;
//!
//! let stream = Stream::new(&device)?;
//! let args = Args::new(&q, &cache, &cache, &lengths, &o, &workspace).with_block_table(&table);
//! attention.launch(&stream, &plan, args)?;
//! stream.synchronize()?;
//! let out = o.to_vec::<f16>()?;
//! assert!(out[..4 * 64].iter().all(|&x| x == f16::ONE) && out[4 * 64..].iter().all(|&x| x == f16::ZERO));
//! # Ok::<(), fastattention::Error>(())
//! ```

mod launch;
mod layout;
mod plan;
mod problem;
mod reasons;
mod report;
#[cfg(test)]
mod tests;
mod tiling_data;

pub use launch::{Args, ServingAttention};
pub use plan::{plan, Plan};
pub use problem::Problem;
pub use report::{Mistake, Report, STATUS_WORDS};
pub use tiling_data::FlashDecodeTilingData;

pub use crate::runtime::Operand;
pub use crate::spec::{AttentionSpec, BlockTable, KvLayout, KvOrder, Mask, Pages, Reason};

use crate::{DType, Error, ErrorKind, Result};

/// Name of the kernel for operands of type `dtype`.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn kernel_name(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F16 => Ok("fa_flash_decode_f16"),
        DType::Bf16 => Ok("fa_flash_decode_bf16"),
        DType::F32 => Err(Error::new(
            ErrorKind::Unsupported,
            "serving: dtype = f32 has no kernel; supported: f16, bf16",
        )),
    }
}
