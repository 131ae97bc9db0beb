//! Devices, streams, events, memory and kernels: a safe layer over the ACL functions.
//!
//! The layer is the same code on an NPU and on the simulator. Every handle keeps its [`Device`] and is
//! released when it is dropped; work that is queued keeps the buffers and kernels it uses. Dropping never
//! panics: an error on the way is kept and returned by the next call on the device.
//!
//! ```
//! use fastattention::runtime::{Buffer, Device, Stream};
//!
//! let device = Device::open("sim")?;
//! let buffer = Buffer::alloc(&device, 16)?;
//! buffer.copy_from_host(&[1.0f32, 2.0, 3.0, 4.0])?;
//! let mut back = [0.0f32; 4];
//! buffer.copy_to_host(&mut back)?;
//! assert_eq!(back, [1.0, 2.0, 3.0, 4.0]);
//! Stream::new(&device)?.synchronize()?;
//! # Ok::<(), fastattention::Error>(())
//! ```
//!
//! Everything here is `Send` and `Sync`: clones of one stream, buffer or kernel may be used by several
//! threads. A program that uses ACL itself can give its streams and memory ([`Stream::from_raw`],
//! [`Buffer::from_raw`], [`Operand::from_raw`]) and its device ([`Device::attach`]); the current context of
//! a thread is never changed for longer than a call.
//!
//! # Memory and streams
//!
//! A launch returns before its work runs. Who keeps which memory alive and unshared, until when:
//!
//! - **Alive: the stream.** Work that is queued keeps the buffers, kernels, events and communicators that it
//!   uses, so all of them may be dropped at any time. A stream lets go of them when the work is done: when it
//!   is synchronised, or at later submissions. Memory of another owner ([`Buffer::from_raw`],
//!   [`Operand::from_raw`]) is kept by that owner: `aclrtFree` or `aclrtFreeHost` of it, as of anything that
//!   [`Buffer::as_raw`] gave away, is legal only when the streams that were given it are synchronised, or an
//!   event behind the work is reached. Neither the driver nor the simulator has to notice an earlier one.
//! - **Unshared: the caller.** From the submission until the work is done, anybody may read its inputs and
//!   nobody may write them. Nobody else may read or write its outputs and workspace. This holds for the host,
//!   for other streams and for other libraries. Work of one stream runs in order, so launches of one stream
//!   may share a workspace, and one may read what the one before has written. Two streams need a workspace
//!   each, or an event between them ([`Event::record`], [`Stream::wait_event`]).
//! - **Within one launch**, what is written shares no byte with any other operand. Every operator and
//!   collective refuses operands that do.
//! - **In a graph** ([`Stream::begin_capture`]) launches are kept with their addresses. The graph keeps alive
//!   what they use, and its launches follow the rules above, each time. A stream of another owner that its
//!   owner captures with the C functions cannot tell when the graph is destroyed: what launches on it use is
//!   then never freed by this crate.
//! - **Done** is what [`Stream::synchronize`], [`Stream::query`], [`Event::synchronize`] or [`Event::query`]
//!   say. A time-out says nothing: the work goes on.
//!
//! The simulator finds launches, copies and collectives of different streams that use the same bytes, one of
//! them writing, while neither an event nor the host orders them: the stream of the one that ends last fails
//! with a race that names both, unless [`Config::check_races`](crate::sim::Config::check_races) is off. Where
//! one had ended before the other was queued it counts as ordered, so a program that is wrong may pass. An
//! NPU finds nothing.
//!
//! Not verified on hardware: everything here ran on the simulator and on a library that records calls only.

mod communicator;
mod device;
mod devices;
mod event;
mod graph;
mod handle;
mod keep;
mod kernel;
mod kinds;
mod launches;
mod memory;
mod operand;
mod placed;
mod rendezvous;
mod stream;

pub use communicator::{CommDType, Communicator, CommunicatorOptions, ReduceOp, RootInfo};
pub use device::{Device, MemoryInfo};
pub use devices::{devices, DeviceReport};
pub use event::Event;
pub use graph::{Capture, CaptureMode, Graph};
pub use kernel::{Kernel, KernelArgs, Module, Schedule};
pub(crate) use kinds::Kernels;
pub(crate) use launches::tell;
pub(crate) use memory::Staging;
pub use memory::{Buffer, HostBuffer};
pub use operand::Operand;
pub(crate) use operand::{refuse, refuse_with, MemoryRange, Named, NamedList, Repeat};
pub use placed::PlacedTilingData;
pub use rendezvous::{MeetingPoint, Rendezvous};
pub(crate) use stream::Rows;
pub use stream::{PendingCopy, Stream};
