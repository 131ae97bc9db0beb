//! What an operation asks for, and its buffers.

use std::ffi::c_void;

use super::{CommDType, Communicator};
use crate::driver::hccl::HcclDataType;
use crate::runtime::keep::Keep;
use crate::runtime::{refuse, MemoryRange, Named, Operand};
use crate::{Error, Result};

/// What the operations of a communicator have in common.
pub(super) struct Job {
    pub(super) name: &'static str,
    pub(super) count: u64,
    element_bytes: usize,
    pub(super) dtype: HcclDataType,
}

impl Job {
    pub(super) fn new(name: &'static str, count: usize, dtype: CommDType) -> Job {
        Job { name, count: count as u64, element_bytes: dtype.size_bytes(), dtype: dtype.code() }
    }

    /// A buffer of `parts * count` elements.
    pub(super) fn side<'a>(
        &self,
        communicator: &Communicator,
        operand: impl Into<Operand<'a>>,
        parts: u32,
    ) -> Result<Side> {
        let operand = operand.into();
        communicator.device().require_same(operand.device(), "a buffer")?;
        let bytes = u128::from(self.count) * u128::from(parts) * self.element_bytes as u128;
        let room = usize::try_from(bytes).map_err(|_| {
            Error::invalid(format!(
                "{}: {parts} * {} elements of {} bytes given, a range inside {} bytes wanted",
                self.name,
                self.count,
                self.element_bytes,
                operand.len_bytes()
            ))
        })?;
        operand.require_room(self.name, room)?;
        Ok(Side { pointer: operand.pointer(), bytes: room as u64, keep: operand.keep() })
    }

    /// Refuses buffers that share bytes unless the operation is in place: the smaller one starts with the
    /// larger one, or `own` bytes behind, where this rank's part is.
    pub(super) fn refuse_overlap(&self, send: &Side, recv: &Side, own: u64) -> Result<()> {
        let (larger, smaller) = if send.bytes > recv.bytes { (send, recv) } else { (recv, send) };
        let starts = [larger.address(), larger.address().wrapping_add(own)];
        if starts.contains(&smaller.address()) {
            return Ok(());
        }
        let place =
            |side: &Side| MemoryRange { address: side.address(), offset_bytes: 0, len_bytes: side.bytes };
        let send = Named::read("send", place(send), send.bytes, 1);
        refuse(self.name, &[Named::written("recv", place(recv), recv.bytes, 1), send])
    }
}

/// A buffer of an operation, and what keeps it.
pub(super) struct Side {
    pub(super) pointer: *mut c_void,
    pub(super) bytes: u64,
    /// Nothing where its owner keeps it.
    pub(super) keep: Option<Keep>,
}

impl Side {
    fn address(&self) -> u64 {
        self.pointer.addr() as u64
    }
}
