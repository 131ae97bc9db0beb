//! What an instruction touches, and how that is checked: memories and addresses, one instruction in execution
//! ([`Exec`]), the order of accesses and their races, and what a stop says.
//!
//! The lowest of the machine's storeys: `access`, `isa`, `time`, `machine`, `image`. Each names only those
//! before it.

mod addr;
mod exec;
mod fault;
mod gm;
mod instr;
mod memory;
mod op;
mod order;
mod race;
mod shadow;

pub use addr::Space;
pub use exec::CubeAccumulate;
pub use fault::{AccessRecord, Fault, FaultKind, Site, Stop, Unsupported};
pub use instr::Pipe;
pub use memory::{Allocation, Contents, DeviceMemory, NoRoom};
pub use shadow::{Used, Uses};

pub(crate) use addr::Addr;
pub(crate) use exec::{Access, Exec, Mode, Touch, VectorState};
pub(crate) use fault::range_text;
pub(crate) use gm::Gm;
pub(crate) use instr::{AtomicOp, Elem, Instr, Registers, MAX_ARGS, QUEUE_DEPTH};
pub(crate) use memory::LocalMem;
pub(crate) use op::{Dispatch, OpInfo, Rate, Semantic, Strided, VectorOperands};
pub(crate) use order::{Clock, CoreOrder, GlobalClock, CORE_NAMES};
pub(crate) use race::{GmShadow, LocalShadow, OrderHandle};
