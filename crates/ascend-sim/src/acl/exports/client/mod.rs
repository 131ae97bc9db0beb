//! C functions that the crate itself does not call: the drop-in library offers them to other people's
//! programs.

mod device;
mod memory;
mod stream;
mod values;

pub(in crate::acl) use device::*;
pub(in crate::acl) use memory::*;
pub(in crate::acl) use stream::*;
pub(in crate::acl) use values::*;
