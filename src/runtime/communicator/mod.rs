//! Communicators: collectives and transfers between devices, over the HCCL functions.

#![allow(unsafe_code, reason = "calls C functions of the HCCL table")]

mod collectives;
mod job;
mod setup;
mod types;

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

use super::handle::{names_variable, recent_text, Handle};
use super::Device;
use crate::driver::codes as acl_codes;
use crate::driver::hccl::{codes, HcclResult, HcclTable, COMM_NAME_BYTES};
use crate::{DriverCode, Error, ErrorKind, Result};

pub use setup::{CommunicatorOptions, RootInfo};
pub use types::{CommDType, ReduceOp};

/// One rank of a group of devices that exchange data.
///
/// All ranks issue the same operations in the same order, with the same counts, types and roots, one
/// communicator on one stream at a time. An operation is queued on the stream like a kernel, and happens when
/// the streams of all ranks are there. Counts are in elements; 0 is one. The buffers of an operation share no
/// byte, or it is in place: both start at the same byte, or the smaller one is this rank's own part of the
/// larger one. Anything else is refused.
///
/// A rank that asks for something else than the others, that fails or does not come in time
/// (`HCCL_EXEC_TIMEOUT`) ends the communicator: calls and streams of all ranks then fail, buffers stay valid,
/// and new streams and a new communicator are needed. On an NPU a mismatch may show only when time has run
/// out.
///
/// Dropping a communicator tells the other ranks that this one issues nothing more; queued work keeps it
/// alive. Drop the communicators of a thread before its streams, which wait for their work.
///
/// ```
/// use fastattention::runtime::{Buffer, Communicator, Device, ReduceOp, Stream};
/// use fastattention::sim::Config;
/// use fastattention::{DType, Soc};
///
/// let soc = Soc::by_name("Ascend910B2")?;
/// let devices = [Device::simulated(Config::new(soc))?, Device::simulated(Config::new(soc))?];
/// let mut work = Vec::new();
/// for (comm, value) in Communicator::init_all(&devices)?.into_iter().zip([1.0f32, 2.0]) {
///     let stream = Stream::new(comm.device())?;
///     let buffer = Buffer::from_slice(comm.device(), &[value; 100])?;
///     comm.all_reduce(&stream, &buffer, &buffer, (100, DType::F32), ReduceOp::Sum)?;
///     work.push((comm, stream, buffer));
/// }
/// for (_, stream, buffer) in &work {
///     stream.synchronize()?;
///     let mut sum = [0.0f32; 100];
///     buffer.copy_to_host(&mut sum)?;
///     assert_eq!(sum, [3.0; 100]);
/// }
/// # Ok::<(), fastattention::Error>(())
/// ```
///
/// Not verified on hardware.
#[derive(Clone)]
pub struct Communicator {
    inner: Arc<Inner>,
}

struct Inner {
    device: Device,
    table: &'static HcclTable,
    handle: Handle,
    rank: u32,
    ranks: u32,
}

/// Calls an HCCL function with the device's context current.
fn call(device: &Device, name: &str, f: impl FnOnce() -> HcclResult) -> Result<()> {
    let mut result = codes::SUCCESS;
    device.driver().call(name, |_| {
        result = f();
        acl_codes::SUCCESS
    })?;
    check(device, name, result)
}

/// Turns a result into an error with the text that the driver has for this thread.
fn check(device: &Device, name: &str, result: HcclResult) -> Result<()> {
    if result == codes::SUCCESS {
        return Ok(());
    }
    let acl = device.driver().acl;
    let text = recent_text(acl.table);
    let kind = match result {
        codes::MEMORY => ErrorKind::OutOfMemory,
        codes::TIMEOUT => ErrorKind::Timeout,
        codes::INTERNAL if acl.explains_stops => ErrorKind::Internal,
        codes::PARA if acl.explains_stops && names_variable(&text) => ErrorKind::InvalidArgument,
        _ => ErrorKind::Driver,
    };
    let meaning = codes::meaning(result).unwrap_or("a code unknown to this version");
    let mut message = format!("{name} failed with HCCL code {result} ({meaning})");
    if !text.is_empty() {
        message.push_str(": ");
        message.push_str(&text);
    }
    Err(Error::driver(kind, DriverCode::Hccl(result), message))
}

impl Communicator {
    /// Joins a communicator as `rank` of `ranks`, and waits for the others: each calls this with the same
    /// root info, from a thread or process of its own, with a device of its own.
    ///
    /// # Errors
    /// `LibraryNotFound` without HCCL. With an HCCL code: `Driver`, 1 when ranks disagree; `Timeout`, 9, when
    /// one does not come in time (`HCCL_CONNECT_TIMEOUT`).
    pub fn new(device: &Device, root: &RootInfo, rank: u32, ranks: u32) -> Result<Communicator> {
        Self::with_options(device, root, rank, ranks, &CommunicatorOptions::default())
    }

    /// As [`Self::new`], with settings.
    ///
    /// # Errors
    /// As [`Self::new`]; `InvalidArgument` for a setting out of range, `Unsupported` when the library takes
    /// none.
    pub fn with_options(
        device: &Device,
        root: &RootInfo,
        rank: u32,
        ranks: u32,
        options: &CommunicatorOptions,
    ) -> Result<Communicator> {
        let table = device.hccl()?;
        let mut handle = Handle::NULL;
        let root = &raw const *root.inner;
        if *options == CommunicatorOptions::default() {
            call(device, "HcclCommInitRootInfo", || {
                // SAFETY: root info and handle live during the call.
                unsafe { (table.HcclCommInitRootInfo)(ranks, root, rank, &raw mut handle.0) }
            })?;
        } else {
            let Some(init) = table.HcclCommInitRootInfoConfig else {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "Communicator::with_options: this HCCL library lacks HcclCommInitRootInfoConfig; default options work",
                ));
            };
            let config = options.config()?;
            call(device, "HcclCommInitRootInfoConfig", || {
                // SAFETY: root info, configuration and handle live during the call.
                unsafe { init(ranks, root, rank, &raw const config, &raw mut handle.0) }
            })?;
        }
        Ok(Self::of_handle(device, table, handle, rank, ranks))
    }

    /// A communicator of all the devices, in one process: the value at place `i` is rank `i`, on
    /// `devices[i]`.
    ///
    /// On an NPU each rank then needs a thread of its own: HCCL may wait for the other ranks in the first
    /// operations.
    ///
    /// # Errors
    /// `InvalidArgument` without devices, or when they are not all simulated or all NPUs; else as
    /// [`Self::new`].
    pub fn init_all(devices: &[Device]) -> Result<Vec<Communicator>> {
        let Some(first) = devices.first() else {
            return Err(Error::invalid("Communicator::init_all: no device given, at least 1 wanted"));
        };
        if let Some(other) = devices.iter().find(|d| !first.has_library_of(d)) {
            return Err(Error::invalid(format!(
                "Communicator::init_all: devices {} and {} given, all simulated or all NPUs wanted",
                first.name(),
                other.name()
            )));
        }
        let ranks = u32::try_from(devices.len()).map_err(|_| {
            let (given, most) = (devices.len(), u32::MAX);
            Error::invalid(format!("Communicator::init_all: {given} devices given, at most {most} wanted"))
        })?;
        let table = first.hccl()?;
        let mut numbers: Vec<i32> = devices.iter().map(Device::number).collect();
        let mut handles: Vec<*mut c_void> = vec![std::ptr::null_mut(); devices.len()];
        call(first, "HcclCommInitAll", || {
            // SAFETY: both arrays have `ranks` entries and live during the call.
            unsafe { (table.HcclCommInitAll)(ranks, numbers.as_mut_ptr(), handles.as_mut_ptr()) }
        })?;
        let parts = (0..ranks).zip(devices).zip(handles);
        Ok(parts
            .map(|((rank, device), handle)| Self::of_handle(device, table, Handle(handle), rank, ranks))
            .collect())
    }

    fn of_handle(
        device: &Device,
        table: &'static HcclTable,
        handle: Handle,
        rank: u32,
        ranks: u32,
    ) -> Communicator {
        Communicator { inner: Arc::new(Inner { device: device.clone(), table, handle, rank, ranks }) }
    }

    /// This rank.
    pub fn rank(&self) -> u32 {
        self.inner.rank
    }

    /// Number of ranks.
    pub fn ranks(&self) -> u32 {
        self.inner.ranks
    }

    /// The device of this rank.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// Name of the communicator.
    ///
    /// # Errors
    /// `Driver` when HCCL cannot tell.
    pub fn name(&self) -> Result<String> {
        let mut bytes = [0u8; COMM_NAME_BYTES];
        call(self.device(), "HcclGetCommName", || {
            // SAFETY: the array has the size of a name.
            unsafe { (self.inner.table.HcclGetCommName)(self.inner.handle.0, bytes.as_mut_ptr().cast()) }
        })?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Has something gone wrong since the communicator was made? Nothing can be queued after that.
    ///
    /// # Errors
    /// `Driver` with the HCCL code of what went wrong.
    pub fn async_error(&self) -> Result<()> {
        let mut state = codes::SUCCESS;
        call(self.device(), "HcclGetCommAsyncError", || {
            // SAFETY: the pointer is to a live integer.
            unsafe { (self.inner.table.HcclGetCommAsyncError)(self.inner.handle.0, &raw mut state) }
        })?;
        check(self.device(), "the communicator", state)
    }
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Communicator");
        out.field("rank", &self.rank()).field("ranks", &self.ranks());
        out.field("device", &self.device().name()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (table, handle) = (self.table, self.handle.0);
        self.device.driver().release_with(|_| {
            // SAFETY: the last use of the communicator: streams that use it keep it.
            let result = unsafe { (table.HcclCommDestroy)(handle) };
            check(&self.device, "HcclCommDestroy", result)
        });
    }
}
