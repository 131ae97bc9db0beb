//! Devices, streams, events, memory and kernels: a safe layer over the ACL functions.
//!
//! The layer is the same code on an NPU and on the simulator. Every handle keeps its [`Device`] and is released when it
//! is dropped; work that is queued keeps the buffers and kernels it uses. Dropping never panics: an error on the way is
//! kept and returned by the next call on the device.
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
//! Everything here is `Send` and `Sync`: clones of one stream, buffer or kernel may be used by several threads. A program that
//! uses ACL itself can give its streams and memory ([`Stream::from_raw`], [`Buffer::from_raw`]) and its device
//! ([`Device::attach`]); the current context of a thread is never changed for longer than a call.
//!
//! Not verified on hardware: everything here ran on the simulator and on a library that records calls only.

mod communicator;
mod device;
mod event;
mod handle;
mod kernel;
mod memory;
mod operand;
mod rendezvous;
mod stream;

pub use communicator::{CommDType, Communicator, CommunicatorOptions, ReduceOp, RootInfo};
pub use device::{devices, Device, DeviceReport, MemoryInfo};
pub use event::Event;
pub use kernel::{Kernel, KernelArgs, Module, Schedule};
pub use memory::{Buffer, HostBuffer};
pub use operand::Operand;
pub(crate) use operand::{refuse, refuse_with, Named, Place, Step};
pub use rendezvous::{MeetingPoint, Rendezvous};
pub use stream::{PendingCopy, Stream};
