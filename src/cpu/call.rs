//! What a native kernel is called with, and the tensors that its addresses stand for.

#![allow(unsafe_code, reason = "tensors lie in memory that is reached by address")]

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use ascend_sim::engine::Stopped;
use ascend_sim::{HostBlock, HostMemory};
use bytemuck::Pod;
use fastattention_cpu::Host;

/// A launch of a kernel.
pub(super) struct Call<'a> {
    /// The kernel.
    pub(super) name: &'static str,
    /// Of an NPU. Only the self-test counts them.
    pub(super) blocks: u32,
    pub(super) memory: &'a HostMemory,
    pub(super) host: &'a Host,
}

/// Elements of an operand, which lie in one allocation.
///
/// Elements are copied in and out: operands may overlap, and their addresses may be unaligned. Who may use
/// which bytes when is the contract of a launch (module `runtime`).
pub(super) struct Tensor<T> {
    start: *mut u8,
    /// Elements.
    len: u64,
    /// `None`: there are no elements.
    _block: Option<Arc<HostBlock>>,
    _type: PhantomData<T>,
}

// SAFETY: the block lives as long as the tensor. Threads of a kernel use disjoint elements, or read.
unsafe impl<T> Send for Tensor<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Tensor<T> {}

/// The elements of strided data: for each dimension its extent and stride, with rows of `row` elements.
pub(super) fn span(dims: &[(u64, u64)], row: u64) -> Option<u64> {
    if row == 0 || dims.iter().any(|(extent, _)| *extent == 0) {
        return Some(0);
    }
    dims.iter().try_fold(row, |all, (extent, stride)| all.checked_add((extent - 1).checked_mul(*stride)?))
}

/// A number of elements or an index of data that lies in memory.
pub(super) fn index(value: u64) -> usize {
    usize::try_from(value).expect("memory of this host has no more elements than its addresses count")
}

impl Call<'_> {
    /// Calls `work` for each number below `count`, on the threads of the device. A thread takes `grain` of
    /// them at a time, and has a state of its own. One grain stays on the thread of the stream.
    pub(super) fn each<S>(
        &self,
        count: u64,
        grain: u64,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, u64) + Sync,
    ) {
        self.host.share(index(count.div_ceil(grain)), state, |state, i| {
            let first = i as u64 * grain;
            (first..count.min(first + grain)).for_each(|number| work(state, number));
        });
    }

    /// A mistake of the arguments.
    pub(super) fn wrong(&self, text: impl std::fmt::Display) -> Stopped {
        Stopped::Exception(format!("kernel {}: {text}", self.name))
    }

    /// The arguments as the kernel names them; `of` makes them from a list of the right length.
    pub(super) fn arguments<A>(&self, list: &[u64], of: fn(&[u64]) -> Option<A>) -> Result<A, Stopped> {
        of(list).ok_or_else(|| self.wrong(format!("{} arguments given, another number wanted", list.len())))
    }

    /// Tiling data.
    pub(super) fn tiling<T: Pod>(&self, address: u64) -> Result<T, Stopped> {
        let tensor = self.tensor::<T>("tiling", address, Some(1))?;
        Ok(tensor.get(0))
    }

    /// `len` elements from an address; `None` for a number beyond 64 bits. No element has any address.
    pub(super) fn tensor<T: Pod>(
        &self,
        name: &str,
        address: u64,
        len: Option<u64>,
    ) -> Result<Tensor<T>, Stopped> {
        let bytes = len.and_then(|len| len.checked_mul(size_of::<T>() as u64));
        if bytes == Some(0) {
            return Ok(Tensor {
                start: NonNull::<T>::dangling().as_ptr().cast(),
                len: 0,
                _block: None,
                _type: PhantomData,
            });
        }
        let found = || {
            let block = self.memory.find(address)?;
            let (start, left) = block.at(address)?;
            (bytes? <= left as u64).then_some((start, block))
        };
        let (start, block) = match (bytes, found()) {
            (_, Some(found)) => found,
            (bytes, None) => {
                let bytes = bytes.map_or_else(|| "more than 2^64".to_owned(), |bytes| bytes.to_string());
                return Err(self.wrong(format!(
                    "{name} at {address:#x} given, {bytes} bytes inside one allocation of the device wanted"
                )));
            }
        };
        Ok(Tensor { start, len: len.unwrap_or(0), _block: Some(block), _type: PhantomData })
    }
}

impl<T: Pod> Tensor<T> {
    /// The first element.
    pub(super) fn start(&self) -> *mut T {
        self.start.cast()
    }

    /// The place of `count` elements from element `at`.
    fn place(&self, at: u64, count: usize) -> *mut u8 {
        let inside = at.checked_add(count as u64).is_some_and(|end| end <= self.len);
        assert!(inside, "elements {at} to {at} + {count} of {}", self.len);
        self.start.wrapping_add(index(at) * size_of::<T>())
    }

    /// Copies elements out.
    pub(super) fn read(&self, at: u64, out: &mut [T]) {
        let out: &mut [u8] = bytemuck::cast_slice_mut(out);
        let place = self.place(at, out.len() / size_of::<T>()).cast_const();
        // SAFETY: `place` has checked the range, which lies in the block; `out` is this thread's.
        unsafe { place.copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) };
    }

    /// Copies elements in.
    pub(super) fn write(&self, at: u64, data: &[T]) {
        let place = self.place(at, data.len());
        let data: &[u8] = bytemuck::cast_slice(data);
        // SAFETY: `place` has checked the range, which lies in the block; `data` is this thread's.
        unsafe { place.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
    }

    /// All elements: where they lie, or a copy if they lie at an address that is none of `T`.
    ///
    /// # Safety
    /// Nobody writes them while they are borrowed.
    pub(super) unsafe fn elements(&self) -> Cow<'_, [T]> {
        let len = index(self.len);
        if self.start().is_aligned() {
            // SAFETY: the elements lie in the block, initialised and aligned; the caller sees to writes.
            return Cow::Borrowed(unsafe { std::slice::from_raw_parts(self.start(), len) });
        }
        let mut copy = vec![T::zeroed(); len];
        self.read(0, &mut copy);
        Cow::Owned(copy)
    }

    /// One element.
    pub(super) fn get(&self, at: u64) -> T {
        let mut element = [T::zeroed()];
        self.read(at, &mut element);
        element[0]
    }
}
