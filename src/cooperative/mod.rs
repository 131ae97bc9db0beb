//! K and V that do not fit the device, attended to where they lie: on the device and on the host.
//!
//! A [`Store`] keeps K and V of all layers of a model. A [`Division`] says who has what: whole layers
//! (FastAttention's cooperative strategy), heads, sequences, or positions. In a decode step q, k and v of the
//! new tokens go down to the host, which attends to its part of the cache, and o comes back; K and V stay
//! where they are. A prompt is attended to on the device, and K and V of the host's part go down behind it.
//!
//! ```text
//! lane's stream   o-- append, attend (device's part) -----------------------o-- merge (positions) --
//!                  \ forked                                          joined /
//! copies            o-- q k v down --[ host: append, attend ]-- o lse up --o
//!
//! takes                         [ host: takes chunk 0 ]   [ takes chunk 1 ]      (prompts only)
//!                              / filled           taken \
//! copies            o-- k v down --------- k v down ------o------ k v down --
//! ```
//!
//! - *Sides.* The device is `npu:N`, `sim:N`, or `cpu:N` in tests. The host's side is a device `cpu:N` with
//!   the same operators. Each side has pages of its own for each layer, which [`serving`](crate::serving)
//!   reads and [`append`](crate::append) writes. Pages of a slot lie together, with room for its longest
//!   sequence.
//! - *Lanes.* A [`Lane`] is a micro-batch. While the host attends for one, the device runs the other. A lane
//!   has the caller's stream, and two streams of its own for the link. The lines above are the events between
//!   them.
//! - *The host's part* is a function that the stream `copies` calls (`aclrtLaunchHostFunc`, CANN 8.3 or
//!   later). It launches the operators on the host's device and waits for them there. So work of the device
//!   waits for the host exactly where it needs its result, and the caller's thread waits for nothing.
//! - *Failure.* An error or a panic of that function is returned when the lane's stream is synchronised, and
//!   by everything that is queued behind it. A device that fails ends the lane's stream, too. The store
//!   stays: [`Store::truncate`] drops the rows of the failed step, and a new lane goes on.
//! - *Positions.* The device has the last keys of each sequence, in a ring of pages. The host has all keys,
//!   and attends to those before the window. Each side gives o and lse, and [`merge`](crate::merge) joins
//!   them.
//! - *Bits.* With [`Problem::batch_invariant`] and the same kernels on both sides, results do not depend on
//!   the division by layers, heads or sequences. An NPU and the host are not the same kernels: both keep the
//!   rule of tolerances.
//! - *Rates* are measured ([`Rates::measure`]) or given. Times by them are predicted.
//!
//! The design, and what is not there yet: `docs/cooperative.md`. Never run on an NPU.
//!
//! ```
//! use fastattention::cooperative::{plan, Args, Budget, Division, LayerOrder, Problem, Rates, Store};
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::DType;
//! use half::f16;
//!
//! let (device, host) = (Device::open("sim")?, Device::open("cpu")?);
//! // 4 layers with 2 heads of 32, one sequence of at most 64 keys; as many layers on the device as fit.
//! let division = Division::Layers { order: LayerOrder::HostFirst, host: None };
//! let problem = Problem::new(DType::F16, 4, [1, 64, 2, 32], division).with_page_size(16);
//! let rates = Rates {
//!     down_bytes_per_s: 2e10,
//!     up_bytes_per_s: 2e10,
//!     latency_s: 3e-5,
//!     host_bytes_per_s: 8e10,
//!     device_bytes_per_s: 1e12,
//!     device_flops_per_s: 1e14,
//! };
//! let all = plan(&problem, device.soc(), Budget { device_bytes: 1 << 30, host_bytes: 0 }, &rates)?;
//! let device_bytes = all.device_bytes().total() - all.device_bytes().kv / 2;
//! let placement = plan(&problem, device.soc(), Budget { device_bytes, host_bytes: 1 << 30 }, &rates)?;
//! println!("{placement}");
//! assert_eq!(placement.division(), Division::Layers { order: LayerOrder::HostFirst, host: Some(2) });
//!
//! let mut store = Store::new(&device, &host, &placement)?;
//! let stream = Stream::new(&device)?;
//! let lane = store.lane(&stream)?;
//! let rows = |count: usize| Buffer::from_slice(&device, &vec![f16::ONE; count * 2 * 32]);
//! // A prompt of 20 rows, then one row.
//! for count in [20, 1] {
//!     let (qkv, o) = (rows(count)?, Buffer::alloc(&device, count * 2 * 32 * 2)?);
//!     let mut step = match count {
//!         20 => store.prefill(&lane, 0, 20)?,
//!         _ => store.step(&lane, &[(0, 1)])?,
//!     };
//!     for layer in 0..4 {
//!         store.attend(&mut step, layer, Args::new(&qkv, &qkv, &qkv, &o))?;
//!     }
//!     stream.synchronize()?;
//!     assert!(o.to_vec::<f16>()?.iter().all(|&x| x == f16::ONE));
//! }
//! assert_eq!(store.keys(0)?, 21);
//! # Ok::<(), fastattention::Error>(())
//! ```

mod host;
mod lane;
mod measure;
mod plan;
mod problem;
mod queue;
mod rates;
mod relocate;
mod share;
mod sizes;
mod step;
mod store;
#[cfg(all(test, feature = "cpu"))]
mod tests;

pub use lane::Lane;
pub use plan::{plan, Budget, Placement, SideBytes};
pub use problem::{Division, LayerOrder, Problem, MAX_CHUNK_BYTES};
pub use queue::{Args, Step};
pub use rates::{PrefillTimes, Rates, StepTimes};
pub use share::{Share, Side};
pub use store::Store;

pub use crate::runtime::Operand;
pub use crate::spec::{AttentionSpec, Mask, Reason};
