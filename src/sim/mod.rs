//! The simulator of the dav-c220 core (Ascend 910B), and the ACL functions on top of it.
//!
//! [`machine`](self) level: the kernels' scalar code runs natively; every AscendC call ends in one or more dav-c220
//! intrinsics, each of which enters [`isa`] through one function table ([`abi`]). The machine decodes, checks, orders
//! and executes it. Three words are never mixed: a [`Fault`] is the kernel's mistake, [`Unsupported`] is something the
//! simulator does not model, a panic is a defect of the simulator.

pub(crate) mod abi;
pub(crate) mod acl;
mod addr;
mod config;
mod fault;
mod image;
mod instr;
mod isa;
mod machine;
mod memory;

pub use addr::Space;
pub use config::{Config, CubeAccumulate};
pub use fault::{AccessRecord, Fault, FaultKind, Site, Stop, Unsupported};
pub use instr::Pipe;
