//! The buffers of one rank's part of an operation: in memory of this process, or of another.

use std::ffi::c_void;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::failure::{refuse, result, Failure};
use super::operation::{Kind, Operation};
use crate::acl::border::Outcome;
use crate::acl::device::SimDevice;
use crate::acl::flight::Part;
use crate::acl::memory::find_device;
use crate::engine::{Allocation, Contents, Uses};

/// A range of device memory. Nothing else knows where it is.
#[derive(Debug)]
pub(super) enum Region {
    Here(LocalMemory),
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "ranks are of one process there"))]
    Elsewhere(Box<dyn Distant>),
}

/// Device memory of a rank in another process.
pub(super) trait Distant: fmt::Debug + Send + Sync {
    /// # Errors
    /// When that rank is lost, or the host has no memory for the data.
    fn load(&self, range: Range<u64>) -> Result<Contents, Failure>;

    /// # Errors
    /// As for `load`.
    fn store(&self, at: u64, contents: &Contents) -> Result<(), Failure>;
}

impl Region {
    /// Bytes of a region of this process.
    #[cfg(target_os = "linux")]
    pub(super) fn len(&self) -> u64 {
        match self {
            Region::Here(own) => own.len,
            Region::Elsewhere(_) => 0,
        }
    }

    pub(super) fn load(&self, range: Range<u64>) -> Result<Contents, Failure> {
        match self {
            Region::Here(own) => own.load(range),
            Region::Elsewhere(distant) => distant.load(range),
        }
    }

    pub(super) fn store(&self, at: u64, contents: &Contents) -> Result<(), Failure> {
        match self {
            Region::Here(own) => {
                own.store(at, contents);
                Ok(())
            }
            Region::Elsewhere(distant) => distant.store(at, contents),
        }
    }
}

/// A range of device memory of this process, which it keeps alive.
#[derive(Debug)]
pub(super) struct LocalMemory {
    allocation: Arc<dyn Allocation>,
    address: u64,
    len: u64,
}

impl LocalMemory {
    /// Finds and checks `len` bytes at `pointer` on `device`.
    fn new(
        name: &str,
        pointer: *mut c_void,
        len: u64,
        alignment: u64,
        device: &SimDevice,
    ) -> Outcome<LocalMemory> {
        let address = pointer.addr() as u64;
        if pointer.is_null() {
            return refuse(result::PTR, format!("{name} = NULL given, {len} bytes of device memory wanted"));
        }
        let Some((owner, allocation)) = find_device(address) else {
            return refuse(
                result::PARA,
                format!("{name} = {address:#x} given, where no device memory is allocated (freed?); device memory wanted"),
            );
        };
        if owner.id() != device.id() {
            return refuse(
                result::PARA,
                format!(
                    "{name} = {address:#x} of device {} given, memory of device {} wanted",
                    owner.id(),
                    device.id()
                ),
            );
        }
        let at = address - allocation.base();
        if len > allocation.size() - at {
            return refuse(
                result::PARA,
                format!("{name}: {len} bytes at byte {at} of an allocation of {} bytes", allocation.size()),
            );
        }
        if !address.is_multiple_of(alignment) {
            return refuse(
                result::PARA,
                format!("{name} = {address:#x} given, an address aligned to {alignment} bytes wanted"),
            );
        }
        Ok(LocalMemory { allocation, address, len })
    }

    fn part(&self, device: i32, uses: Uses, name: &'static str) -> Part {
        Part::of_range(device, self.allocation.as_ref(), self.address..self.address + self.len, uses, name)
    }

    fn load(&self, range: Range<u64>) -> Result<Contents, Failure> {
        let len = bytes(range.end - range.start);
        self.allocation.load(self.address + range.start, len).ok_or_else(|| Failure::no_memory(len))
    }

    fn store(&self, at: u64, contents: &Contents) {
        self.allocation.store(self.address + at, contents);
    }
}

/// A number of bytes for the host.
pub(super) fn bytes(len: u64) -> usize {
    usize::try_from(len).unwrap_or_else(|_| unreachable!("a range inside an allocation fits usize"))
}

/// The buffers of one rank; a buffer of 0 bytes is absent.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Is data moved? Not on a device that keeps time only.
    pub(super) has_data: bool,
    pub(super) send: Option<Region>,
    pub(super) recv: Option<Region>,
}

/// Who uses the buffers: a rank of so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) rank: u32,
    pub(super) ranks: u32,
}

impl Buffers {
    /// What an operation uses of the memory of this process.
    pub(super) fn parts(&self, device: i32) -> Vec<Part> {
        let part = |region: &Option<Region>, uses, name| match region {
            Some(Region::Here(own)) => Some(own.part(device, uses, name)),
            _ => None,
        };
        let [send, recv] = [(&self.send, Uses::READ, "sendBuf"), (&self.recv, Uses::WRITE, "recvBuf")]
            .map(|(region, uses, name)| part(region, uses, name));
        send.into_iter().chain(recv).collect()
    }

    /// Checks the buffers of `operation`. A pointer that the operation does not use is not looked at.
    pub(super) fn new(
        operation: &Operation,
        send: *mut c_void,
        recv: *mut c_void,
        seat: Seat,
        device: &SimDevice,
    ) -> Outcome<Buffers> {
        let (send_bytes, recv_bytes) = operation.buffer_bytes(seat.ranks, seat.rank);
        let region = |name: &str, pointer, len: Option<u64>| match len {
            None | Some(0) => Ok(None),
            Some(len) => LocalMemory::new(name, pointer, len, operation.alignment(), device).map(Some),
        };
        let (one_name, other_name) = match operation.kind {
            Kind::Broadcast { .. } => ("buf", "buf"),
            _ => ("sendBuf", "recvBuf"),
        };
        let (send, recv) = (region(one_name, send, send_bytes)?, region(other_name, recv, recv_bytes)?);
        if let (Some(send), Some(recv)) = (&send, &recv) {
            check_overlap(operation, seat, send, recv)?;
        }
        let has_data = device.engine().has_results();
        Ok(Buffers { has_data, send: send.map(Region::Here), recv: recv.map(Region::Here) })
    }
}

/// ASSUMPTION(hccl-in-place): in place is allowed with equal addresses, and with the rank's own part of the
/// larger buffer; any other overlap is refused. The API reference does not say.
fn check_overlap(operation: &Operation, seat: Seat, send: &LocalMemory, recv: &LocalMemory) -> Outcome {
    let (a, b) = (send.address, recv.address);
    let apart = a + send.len <= b || b + recv.len <= a;
    let own = u64::from(seat.rank) * operation.count * operation.data_type.size_bytes();
    let in_place = match operation.kind {
        Kind::AllGather => a == b || a == b + own,
        Kind::ReduceScatter(_) => a == b || b == a + own,
        _ => a == b,
    };
    if apart || in_place {
        return Ok(());
    }
    refuse(
        result::PARA,
        format!(
            "sendBuf [{a:#x}, {:#x}) and recvBuf [{b:#x}, {:#x}) given, buffers apart or in place wanted",
            a + send.len,
            b + recv.len
        ),
    )
}
