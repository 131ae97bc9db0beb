//! Bytes that C callers give.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;

use ascend_sys::codes;

use crate::acl::border::{refuse, Outcome};

/// Bytes that a C caller points to. Nothing is read before the size is known to be right: whoever gives a
/// wrong one has less.
pub(in crate::acl) struct Given<'a> {
    start: NonNull<u8>,
    len: usize,
    _lifetime: PhantomData<&'a [u8]>,
}

impl<'a> Given<'a> {
    /// # Safety
    /// `data` is null or readable for `len` bytes during `'a`.
    pub(in crate::acl) unsafe fn new(data: *const c_void, len: usize, name: &str) -> Outcome<Given<'a>> {
        match NonNull::new(data.cast_mut().cast()) {
            Some(start) if len > 0 => Ok(Given { start, len, _lifetime: PhantomData }),
            _ => refuse(
                codes::INVALID_PARAM,
                format!("{name} = {:#x} with {len} bytes given, at least 1 byte wanted", data.addr()),
            ),
        }
    }

    pub(in crate::acl) fn len(&self) -> usize {
        self.len
    }

    /// Refuses more than `most` bytes, before they are read.
    pub(in crate::acl) fn at_most(self, most: usize, name: &str) -> Outcome<Given<'a>> {
        if self.len <= most {
            return Ok(self);
        }
        refuse(codes::RT_PARAM_INVALID, format!("{name} = {} given, at most {most} wanted", self.len))
    }

    /// Reads them.
    pub(in crate::acl) fn bytes(&self) -> &'a [u8] {
        // SAFETY: not null, so readable by the contract of `new`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(super) fn words(&self) -> Vec<u64> {
        self.bytes().chunks(8).map(word).collect()
    }
}

/// Up to 8 bytes as a slot, padded with zeros.
pub(super) fn word(bytes: &[u8]) -> u64 {
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(padded)
}
