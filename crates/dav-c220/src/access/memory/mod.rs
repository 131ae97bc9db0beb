//! Memories: bytes, which of them were ever written, and who touched them last.

mod gm;
mod init;
mod local;
mod words;

pub use gm::{Allocation, Contents, DeviceMemory, NoRoom};
pub(crate) use init::InitMap;
pub(crate) use local::LocalMem;
