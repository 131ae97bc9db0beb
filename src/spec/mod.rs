//! The vocabulary that operators and engines share, below all of them: what a tensor, a mask and a shape are,
//! and how one is refused. Nothing here knows a chip, a kernel or a driver; only the classes of [`Error`]
//! read the codes of CANN's interfaces.

mod attention;
mod dtype;
mod error;
mod footprint;
mod kv;
mod mask;
mod reason;
mod refusals;
mod shape;
mod tensor;

pub(crate) use attention::spec_builders;
pub use attention::AttentionSpec;
pub use dtype::DType;
pub use error::{DriverCode, Error, ErrorKind, Result};
pub(crate) use footprint::{too_many_bytes, Footprint};
pub use kv::{BlockTable, KvLayout, KvOrder, Pages};
pub use mask::Mask;
pub use reason::Reason;
pub use shape::{dense_strides, Shape};
pub(crate) use tensor::Tensor;
