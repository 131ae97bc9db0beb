//! Device memory and pinned host memory.

#![allow(unsafe_code, reason = "calls C functions of the ACL table, and reads and writes pinned memory")]

use std::ffi::c_void;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytemuck::{AnyBitPattern, NoUninit};

use super::handle::Handle;
use super::keep::Keep;
use super::{Device, Operand};
use crate::driver::{memcpy_kind, MALLOC_HUGE_FIRST};
use crate::{Error, Result};

/// Device memory; see [the rules](super#memory-and-streams) for who may touch it when.
///
/// Dropping a buffer never frees memory that queued work uses: the stream keeps it until that work is done.
/// Copies without a stream do not wait for queued work: synchronise first.
///
/// A buffer of 0 bytes is one: it has a null address, takes no device memory, and is an operand of every
/// operator that has nothing to read or write there.
#[derive(Clone)]
pub struct Buffer {
    inner: Arc<BufferInner>,
}

struct BufferInner {
    device: Device,
    handle: Handle,
    len: usize,
    /// Is the memory this crate's to free?
    is_owned: bool,
}

impl Buffer {
    /// Allocates `len` bytes, uninitialised.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn alloc(device: &Device, len: usize) -> Result<Buffer> {
        let mut handle = Handle::NULL;
        if len == 0 {
            // A driver allocates no 0 bytes.
            return Ok(Buffer {
                inner: Arc::new(BufferInner { device: device.clone(), handle, len, is_owned: false }),
            });
        }
        device.driver().call("aclrtMalloc", |t| {
            // SAFETY: the pointer is to a live handle.
            unsafe { (t.aclrtMalloc)(&raw mut handle.0, len, MALLOC_HUGE_FIRST) }
        })?;
        Ok(Buffer { inner: Arc::new(BufferInner { device: device.clone(), handle, len, is_owned: true }) })
    }

    /// Device memory of another owner, for example of a tensor of another library. It is never freed here.
    ///
    /// # Errors
    /// `InvalidArgument` for a null address, unless the length is 0: other libraries have null for empty
    /// tensors.
    ///
    /// # Safety
    /// `address` is that of `len` bytes of device memory of this device, and stays so (no `aclrtFree`) until
    /// the buffer and its clones are dropped and the streams that were given it are synchronised. Nobody
    /// else writes there while work of this crate uses it, and nobody reads what this crate's work writes
    /// before that work is done; as between streams, events order.
    pub unsafe fn from_raw(device: &Device, address: *mut c_void, len: usize) -> Result<Buffer> {
        if address.is_null() && len > 0 {
            return Err(Error::invalid(format!(
                "Buffer::from_raw: {len} bytes at a null address given, an address of device memory wanted"
            )));
        }
        let handle = Handle(address);
        Ok(Buffer { inner: Arc::new(BufferInner { device: device.clone(), handle, len, is_owned: false }) })
    }

    /// Allocates memory for `data` and copies it there.
    ///
    /// # Errors
    /// As [`Self::alloc`] and [`Self::copy_from_host`].
    pub fn from_slice<T: NoUninit>(device: &Device, data: &[T]) -> Result<Buffer> {
        let buffer = Self::alloc(device, size_of_val(data))?;
        buffer.copy_from_host(data)?;
        Ok(buffer)
    }

    /// Copies `data` to the start of the buffer, and returns when it is there.
    ///
    /// # Errors
    /// `InvalidArgument` when the buffer is smaller.
    pub fn copy_from_host<T: NoUninit>(&self, data: &[T]) -> Result<()> {
        self.copy_from_host_at(0, data)
    }

    /// Copies `data` to byte `offset` of the buffer, and returns when it is there.
    ///
    /// # Errors
    /// `InvalidArgument` when the buffer ends before.
    pub fn copy_from_host_at<T: NoUninit>(&self, offset: usize, data: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        self.require_room("Buffer::copy_from_host", offset, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        let (dst, room) = (self.at(offset), self.inner.len - offset);
        self.device().driver().call("aclrtMemcpy", |t| {
            let src = bytes.as_ptr().cast();
            // SAFETY: `dst` has `room` bytes, and `bytes` lives during the call.
            unsafe { (t.aclrtMemcpy)(dst, room, src, bytes.len(), memcpy_kind::HOST_TO_DEVICE) }
        })
    }

    /// Copies the start of the buffer to `out`.
    ///
    /// # Errors
    /// `InvalidArgument` when the buffer is smaller.
    pub fn copy_to_host<T: NoUninit + AnyBitPattern>(&self, out: &mut [T]) -> Result<()> {
        self.copy_to_host_at(0, out)
    }

    /// Copies from byte `offset` of the buffer to `out`.
    ///
    /// # Errors
    /// `InvalidArgument` when the buffer ends before.
    pub fn copy_to_host_at<T: NoUninit + AnyBitPattern>(&self, offset: usize, out: &mut [T]) -> Result<()> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(out);
        self.require_room("Buffer::copy_to_host", offset, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        let src = self.at(offset);
        self.device().driver().call("aclrtMemcpy", |t| {
            let (dst, len) = (bytes.as_mut_ptr().cast(), bytes.len());
            // SAFETY: `src` has `len` bytes, checked above, and `bytes` is borrowed during the call.
            unsafe { (t.aclrtMemcpy)(dst, len, src, len, memcpy_kind::DEVICE_TO_HOST) }
        })
    }

    /// The whole buffer, as elements on the host.
    ///
    /// # Errors
    /// `InvalidArgument` when the buffer is not a whole number of elements.
    pub fn to_vec<T: NoUninit + AnyBitPattern>(&self) -> Result<Vec<T>> {
        let (len, size) = (self.inner.len, size_of::<T>());
        if size == 0 || len % size != 0 {
            return Err(Error::invalid(format!(
                "Buffer::to_vec: elements of {size} bytes given, ones that divide the {len} bytes of the buffer wanted"
            )));
        }
        let mut data = vec![T::zeroed(); len / size];
        self.copy_to_host(&mut data)?;
        Ok(data)
    }

    /// Fills the buffer with zeros.
    ///
    /// # Errors
    /// `Driver` when the driver fails.
    pub fn zero(&self) -> Result<()> {
        let (ptr, len) = (self.handle().0, self.inner.len);
        if len == 0 {
            return Ok(());
        }
        // SAFETY: the buffer has `len` bytes.
        self.device().driver().call("aclrtMemset", |t| unsafe { (t.aclrtMemset)(ptr, len, 0, len) })
    }

    /// Size in bytes.
    pub fn len_bytes(&self) -> usize {
        self.inner.len
    }

    /// Address on the device; 0 for an empty buffer.
    pub fn device_ptr(&self) -> u64 {
        self.handle().0.addr() as u64
    }

    /// Address on the device, null for an empty buffer, for other code that calls ACL. Freeing it is
    /// undefined behaviour of the driver.
    pub fn as_raw(&self) -> *mut c_void {
        self.handle().0
    }

    /// The device of the buffer.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    pub(super) fn handle(&self) -> Handle {
        self.inner.handle
    }

    pub(super) fn keep(&self) -> Keep {
        self.inner.clone()
    }

    /// Device address of a byte of the buffer; it is never dereferenced here.
    fn at(&self, offset: usize) -> *mut c_void {
        self.handle().0.wrapping_byte_add(offset)
    }

    /// Refuses a range that leaves the buffer.
    pub(super) fn require_room(&self, operation: &str, offset: usize, len: usize) -> Result<()> {
        Operand::at(self, offset).require_room(operation, len)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Buffer");
        out.field("device_ptr", &format_args!("{:#x}", self.device_ptr()));
        out.field("len_bytes", &self.inner.len).field("device", &self.device().name()).finish()
    }
}

impl Drop for BufferInner {
    fn drop(&mut self) {
        if !self.is_owned {
            return;
        }
        let ptr = self.handle.0;
        // SAFETY: the last use of the memory: streams that use it keep it.
        self.device.driver().release("aclrtFree", |t| unsafe { (t.aclrtFree)(ptr) });
    }
}

/// Pinned host memory: copies from and to it are asynchronous. Reads and writes as a slice of bytes.
pub struct HostBuffer {
    inner: Arc<HostInner>,
}

struct HostInner {
    device: Device,
    address: Handle,
    len: usize,
}

/// Aligned as pinned memory is.
#[repr(align(4096))]
struct Page;

impl HostBuffer {
    /// Allocates `len` bytes, zeroed.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn alloc(device: &Device, len: usize) -> Result<HostBuffer> {
        // For no bytes, which a driver does not allocate: a slice needs an address that is not null, and one
        // of numbers an aligned one.
        let mut address = Handle(std::ptr::dangling_mut::<Page>().cast());
        if len == 0 {
            return Ok(HostBuffer { inner: Arc::new(HostInner { device: device.clone(), address, len }) });
        }
        device.driver().call("aclrtMallocHost", |t| {
            // SAFETY: the pointer is to a live handle.
            unsafe { (t.aclrtMallocHost)(&raw mut address.0, len) }
        })?;
        // SAFETY: the memory is new and has `len` bytes; a slice of it needs them initialised.
        unsafe { address.0.cast::<u8>().write_bytes(0, len) };
        Ok(HostBuffer { inner: Arc::new(HostInner { device: device.clone(), address, len }) })
    }

    /// The device that the memory is pinned for.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    pub(super) fn address(&self) -> Handle {
        self.inner.address
    }

    /// Keeps the memory, without giving access to it.
    pub(super) fn keep(&self) -> Keep {
        self.inner.clone()
    }
}

impl Deref for HostBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes. The driver writes them only while a `PendingCopy` owns this value,
        // and it gives the value back after it has synchronised.
        unsafe { std::slice::from_raw_parts(self.inner.address.0.cast::<u8>(), self.inner.len) }
    }
}

impl DerefMut for HostBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the value is not `Clone`, and the other owners of `inner` are streams, which
        // only keep it.
        unsafe { std::slice::from_raw_parts_mut(self.inner.address.0.cast::<u8>(), self.inner.len) }
    }
}

impl fmt::Debug for HostBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBuffer").field("len_bytes", &self.inner.len).finish_non_exhaustive()
    }
}

impl Drop for HostInner {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        let address = self.address.0;
        // SAFETY: the last use of the memory: streams that copy from or to it keep it.
        self.device.driver().release("aclrtFreeHost", |t| unsafe { (t.aclrtFreeHost)(address) });
    }
}

/// Pinned host memory that queued copies and functions of the host share ([`super::Stream::call_host`]). It
/// is reached by calls of a driver alone, like device memory: who touches which bytes when is the caller's to
/// order.
#[derive(Clone)]
pub(crate) struct Staging {
    inner: Arc<HostInner>,
}

impl Staging {
    /// Allocates `len` bytes, zeroed.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn alloc(device: &Device, len: usize) -> Result<Staging> {
        Ok(Staging { inner: HostBuffer::alloc(device, len)?.inner })
    }

    pub(super) fn device(&self) -> &Device {
        &self.inner.device
    }

    pub(super) fn keep(&self) -> Keep {
        self.inner.clone()
    }

    /// Address of a byte; it is never dereferenced here.
    pub(super) fn at(&self, offset: usize) -> *mut c_void {
        self.inner.address.0.wrapping_byte_add(offset)
    }

    /// Refuses a range that leaves the memory.
    pub(super) fn require_room(&self, operation: &str, offset: usize, len: usize) -> Result<()> {
        if offset.checked_add(len).is_some_and(|end| end <= self.inner.len) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{operation}: {len} bytes at byte {offset} given, a range inside {} bytes of pinned memory wanted",
            self.inner.len
        )))
    }

    /// Copies `data` to byte `offset`.
    ///
    /// # Errors
    /// `InvalidArgument` when the memory ends before.
    pub(crate) fn write<T: NoUninit>(&self, offset: usize, data: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        self.require_room("Staging::write", offset, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        let (dst, len) = (self.at(offset), bytes.len());
        self.device().driver().call("aclrtMemcpy", |t| {
            let src = bytes.as_ptr().cast();
            // SAFETY: `dst` has `len` bytes, checked above, and `bytes` lives during the call.
            unsafe { (t.aclrtMemcpy)(dst, len, src, len, memcpy_kind::HOST_TO_HOST) }
        })
    }
}

impl fmt::Debug for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staging").field("len_bytes", &self.inner.len).finish_non_exhaustive()
    }
}

impl Buffer {
    /// Copies `len` bytes of pinned memory, of any device, to byte `offset`, and returns when they are there.
    ///
    /// # Errors
    /// `InvalidArgument` when one of them ends before.
    pub(crate) fn copy_from_staging(
        &self,
        offset: usize,
        (staging, from): (&Staging, usize),
        len: usize,
    ) -> Result<()> {
        self.require_room("Buffer::copy_from_staging", offset, len)?;
        staging.require_room("Buffer::copy_from_staging", from, len)?;
        if len == 0 {
            return Ok(());
        }
        let (dst, src) = (self.at(offset), staging.at(from).cast_const());
        self.device().driver().call("aclrtMemcpy", |t| {
            // SAFETY: both ranges have `len` bytes, checked above, and live during the call.
            unsafe { (t.aclrtMemcpy)(dst, len, src, len, memcpy_kind::HOST_TO_DEVICE) }
        })
    }

    /// Copies the first `len` bytes to pinned memory, of any device, and returns when they are there.
    ///
    /// # Errors
    /// As [`Self::copy_from_staging`].
    pub(crate) fn copy_to_staging(&self, (staging, to): (&Staging, usize), len: usize) -> Result<()> {
        self.require_room("Buffer::copy_to_staging", 0, len)?;
        staging.require_room("Buffer::copy_to_staging", to, len)?;
        if len == 0 {
            return Ok(());
        }
        let (dst, src) = (staging.at(to), self.handle().0.cast_const());
        self.device().driver().call("aclrtMemcpy", |t| {
            // SAFETY: as in `copy_from_staging`.
            unsafe { (t.aclrtMemcpy)(dst, len, src, len, memcpy_kind::DEVICE_TO_HOST) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_a_whole_number_of_elements_or_refused() {
        let buffer = Buffer::from_slice(&Device::open("sim").unwrap(), &[1u16, 2, 3]).unwrap();
        assert_eq!(buffer.to_vec::<u16>().unwrap(), [1, 2, 3]);
        let error = buffer.to_vec::<f32>().unwrap_err();
        let text =
            "Buffer::to_vec: elements of 4 bytes given, ones that divide the 6 bytes of the buffer wanted";
        assert_eq!(error.to_string(), text);
        assert!(buffer.to_vec::<()>().is_err());
    }
}
