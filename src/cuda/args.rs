//! Operands of a launch: the caller's memory, checked before the driver gets it.

#![allow(unsafe_code, reason = "launches kernels on the caller's memory, and takes addresses of it")]

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};

use super::driver::Loaded;
use super::limits::ALIGNMENT_BYTES;
use super::params::Launch;
use super::{Addresses, Plan};
use crate::attention::operands::{given, written_given};
use crate::runtime::{refuse_with, MemoryRange, Named};
use crate::Result;

/// Device memory by its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawMemory {
    /// Of the first byte; 0 for none.
    pub address: u64,
    /// How many there are from there on.
    pub len_bytes: u64,
}

/// Operands of a launch and the stream that it is queued on. The caller owns all of them.
///
/// `q`, `k`, `v` and `o` are f16 in the plan's layout, each aligned to 16 bytes. `o`, `lse` and the workspace
/// share no byte with each other or with what is read. Slices of `cudarc` order themselves between streams as
/// they do with kernels of other crates: what they were written by is waited for on the stream, and what is
/// queued here is waited for where they are used or freed next.
#[derive(Debug)]
pub struct Args<'a> {
    stream: &'a CudaStream,
    q: Operand<'a>,
    k: Operand<'a>,
    v: Operand<'a>,
    o: Operand<'a>,
    lse: Option<Operand<'a>>,
    row_starts: Option<Operand<'a>>,
    lengths: Option<Operand<'a>>,
    block_table: Option<Operand<'a>>,
    workspace: Operand<'a>,
}

/// An operand, and what tells other streams about its use when it is dropped.
#[derive(Debug, Default)]
struct Operand<'a> {
    memory: RawMemory,
    /// Number of the device that it lies on, where that is known.
    ordinal: Option<usize>,
    _guard: Option<SyncOnDrop<'a>>,
}

impl<'a> Operand<'a> {
    fn read<T>(slice: &'a impl DevicePtr<T>, stream: &'a CudaStream) -> Self {
        let (len_bytes, ordinal) = (slice.num_bytes() as u64, slice.stream().context().ordinal());
        let (address, guard) = slice.device_ptr(stream);
        Self { memory: RawMemory { address, len_bytes }, ordinal: Some(ordinal), _guard: Some(guard) }
    }

    fn written<T>(slice: &'a mut impl DevicePtrMut<T>, stream: &'a CudaStream) -> Self {
        let (len_bytes, ordinal) = (slice.num_bytes() as u64, slice.stream().context().ordinal());
        let (address, guard) = slice.device_ptr_mut(stream);
        Self { memory: RawMemory { address, len_bytes }, ordinal: Some(ordinal), _guard: Some(guard) }
    }

    fn raw(memory: RawMemory) -> Self {
        Self { memory, ..Self::default() }
    }

    fn range(&self) -> MemoryRange {
        let RawMemory { address, len_bytes } = self.memory;
        MemoryRange { address, offset_bytes: 0, len_bytes }
    }
}

impl<'a> Args<'a> {
    /// Operands of a plan that writes no lse and needs no workspace.
    pub fn new<T>(
        stream: &'a CudaStream,
        q: &'a impl DevicePtr<T>,
        k: &'a impl DevicePtr<T>,
        v: &'a impl DevicePtr<T>,
        o: &'a mut impl DevicePtrMut<T>,
    ) -> Self {
        let (q, k, v) = (Operand::read(q, stream), Operand::read(k, stream), Operand::read(v, stream));
        Self::of(stream, [q, k, v, Operand::written(o, stream)])
    }

    /// As [`Self::new`], by addresses of q, k, v and o.
    ///
    /// # Safety
    /// Each is memory of the stream's context with so many bytes, and stays so until the work is done. From
    /// the launch until then nobody writes what is read, and nobody else reads or writes what is written.
    pub unsafe fn from_raw(stream: &'a CudaStream, [q, k, v, o]: [RawMemory; 4]) -> Self {
        Self::of(stream, [q, k, v, o].map(Operand::raw))
    }

    fn of(stream: &'a CudaStream, [q, k, v, o]: [Operand<'a>; 4]) -> Self {
        let workspace = Operand::default();
        Self { stream, q, k, v, o, lse: None, row_starts: None, lengths: None, block_table: None, workspace }
    }

    /// Adds the log-sum-exp, f32 `[batch, num_heads, seqlen_q]`, of packed q `[num_heads, total_rows]`: given
    /// exactly when the plan writes it.
    #[must_use]
    pub fn with_lse<T>(self, lse: &'a mut impl DevicePtrMut<T>) -> Self {
        Self { lse: Some(Operand::written(lse, self.stream)), ..self }
    }

    /// As [`Self::with_lse`], by its address.
    ///
    /// # Safety
    /// As for `o` of [`Self::from_raw`].
    #[must_use]
    pub unsafe fn with_raw_lse(self, lse: RawMemory) -> Self {
        Self { lse: Some(Operand::raw(lse)), ..self }
    }

    /// Adds the first row of each slot and the one behind the last, i32 `[slots + 1]`: given exactly when q
    /// is packed.
    #[must_use]
    pub fn with_row_starts<T>(self, row_starts: &'a impl DevicePtr<T>) -> Self {
        Self { row_starts: Some(Operand::read(row_starts, self.stream)), ..self }
    }

    /// As [`Self::with_row_starts`], by its address.
    ///
    /// # Safety
    /// As for `q` of [`Self::from_raw`].
    #[must_use]
    pub unsafe fn with_raw_row_starts(self, row_starts: RawMemory) -> Self {
        Self { row_starts: Some(Operand::raw(row_starts)), ..self }
    }

    /// Adds the keys of each slot, i32 `[slots]`: given exactly for a plan of slots.
    #[must_use]
    pub fn with_lengths<T>(self, lengths: &'a impl DevicePtr<T>) -> Self {
        Self { lengths: Some(Operand::read(lengths, self.stream)), ..self }
    }

    /// As [`Self::with_lengths`], by its address.
    ///
    /// # Safety
    /// As for `q` of [`Self::from_raw`].
    #[must_use]
    pub unsafe fn with_raw_lengths(self, lengths: RawMemory) -> Self {
        Self { lengths: Some(Operand::raw(lengths)), ..self }
    }

    /// Adds the pages of each slot, i32 or u32 `[slots, width]`: given exactly for a plan of slots with
    /// pages.
    #[must_use]
    pub fn with_block_table<T>(self, block_table: &'a impl DevicePtr<T>) -> Self {
        Self { block_table: Some(Operand::read(block_table, self.stream)), ..self }
    }

    /// As [`Self::with_block_table`], by its address.
    ///
    /// # Safety
    /// As for `q` of [`Self::from_raw`].
    #[must_use]
    pub unsafe fn with_raw_block_table(self, block_table: RawMemory) -> Self {
        Self { block_table: Some(Operand::raw(block_table)), ..self }
    }

    /// Adds [`Plan::workspace_bytes`] bytes; what is in them does not matter. Launches on one stream can
    /// share them, launches on two cannot.
    #[must_use]
    pub fn with_workspace<T>(self, workspace: &'a mut impl DevicePtrMut<T>) -> Self {
        Self { workspace: Operand::written(workspace, self.stream), ..self }
    }

    /// As [`Self::with_workspace`], by its address.
    ///
    /// # Safety
    /// As for `o` of [`Self::from_raw`].
    #[must_use]
    pub unsafe fn with_raw_workspace(self, workspace: RawMemory) -> Self {
        Self { workspace: Operand::raw(workspace), ..self }
    }

    /// Whether every operand is there, in this context, aligned, large enough and apart from those that are
    /// written; one error names all that is wrong.
    // One list of operands, so that one error can name all that is wrong.
    pub(super) fn check(&self, plan: &Plan, context: &Arc<CudaContext>) -> Result<()> {
        let mut found = Vec::new();
        if self.stream.context() != context {
            found.push(format!(
                "the stream is of another context (cuda:{}) than the device (cuda:{})",
                self.stream.context().ordinal(),
                context.ordinal()
            ));
        }
        found.extend(written_given("lse", self.lse.is_some(), plan.shape().want_lse));
        let slots = plan.request().slots;
        found.extend(given(
            "row_starts",
            self.row_starts.is_some(),
            plan.request().total_rows().is_some(),
            ["q is packed", "q is not packed"],
        ));
        found.extend(given(
            "lengths",
            self.lengths.is_some(),
            slots.is_some(),
            ["the plan is of slots", "the plan is not of slots"],
        ));
        let has_pages = slots.is_some_and(|slots| slots.pages.is_some());
        found.extend(given(
            "block_table",
            self.block_table.is_some(),
            has_pages,
            ["the plan has pages", "the plan has no pages"],
        ));
        let tensors = [("q", &self.q), ("k", &self.k), ("v", &self.v), ("o", &self.o)];
        let aligned = tensors.map(|(name, operand)| (name, operand, ALIGNMENT_BYTES)).into_iter();
        let aligned = aligned.chain([("workspace", &self.workspace, ALIGNMENT_BYTES)]);
        let [row_starts, lengths, table] = self.lists();
        let words = [("lse", &self.lse), row_starts, lengths, table];
        let words = words.into_iter().filter_map(|(name, given)| Some((name, given.as_ref()?, 4)));
        for (name, operand, alignment) in aligned.chain(words) {
            let address = operand.memory.address;
            if !address.is_multiple_of(alignment) {
                found
                    .push(format!("{name} starts at address {address:#x}, a multiple of {alignment} wanted"));
            }
            if address == 0 && operand.memory.len_bytes > 0 {
                found.push(format!("{name} has {} bytes at a null address", operand.memory.len_bytes));
            }
            if let Some(other) = operand.ordinal.filter(|&ordinal| ordinal != context.ordinal()) {
                found.push(format!(
                    "{name} lies on cuda:{other}, memory of cuda:{} wanted",
                    context.ordinal()
                ));
            }
        }
        refuse_with("attention launch", &self.named(plan), found)
    }

    /// What a plan of slots reads beside the tensors, in the order of `Request::slots_bytes`.
    fn lists(&self) -> [(&'static str, &Option<Operand<'a>>); 3] {
        [("row_starts", &self.row_starts), ("lengths", &self.lengths), ("block_table", &self.block_table)]
    }

    /// Their alignment is that of their addresses, and checked already.
    fn named(&self, plan: &Plan) -> Vec<Named> {
        let request = plan.request();
        let [q, k, v, o, lse] =
            request.footprints().map(|operand| u64::try_from(operand.span).unwrap_or(u64::MAX));
        let places = [(&self.q, q), (&self.k, k), (&self.v, v), (&self.o, o)];
        let of_tensors = request.tensors.iter().zip(places);
        let of_tensors =
            of_tensors.map(|(tensor, (place, bytes))| Named::tensor(tensor, place.range(), bytes));
        let mut operands: Vec<_> = of_tensors.collect();
        for ((name, list), bytes) in self.lists().into_iter().zip(request.slots_bytes()) {
            operands.extend(list.as_ref().map(|given| Named::read(name, given.range(), bytes, 1)));
        }
        operands.extend(self.lse.as_ref().map(|given| Named::written("lse", given.range(), lse, 1)));
        operands.push(Named::written("workspace", self.workspace.range(), plan.workspace_bytes(), 1));
        operands
    }

    pub(super) fn addresses(&self) -> Addresses {
        let of = |operand: &Operand<'_>| operand.memory.address;
        let given = [&self.lse, &self.row_starts, &self.lengths, &self.block_table];
        let [lse, row_starts, lengths, block_table] = given.map(|given| given.as_ref().map_or(0, of));
        let [q, k, v, o, workspace] = [&self.q, &self.k, &self.v, &self.o, &self.workspace].map(of);
        Addresses { q, k, v, o, lse, row_starts, lengths, block_table, workspace }
    }

    /// Queues a launch of the plan that [`Self::check`] was asked for, with [`Self::addresses`].
    pub(super) fn launch(&self, loaded: &Loaded, launch: &Launch) -> Result<()> {
        // SAFETY: `Device::launch` is the only caller. It has checked that the operands are of the stream's
        // context and as large and as apart as the plan needs. That they stay is the promise of `from_raw`
        // and its like; slices of `cudarc` are freed behind the work (their guards are dropped with `self`,
        // after this), and are borrowed for writing only by us.
        unsafe { loaded.launch(self.stream, launch) }
    }
}
