//! The HCCL library of a CANN installation, loaded at run time: nothing is linked.

mod load;

pub use crate::driver::load::Attempt;
pub use load::{attempts, library, load_from, Library};
