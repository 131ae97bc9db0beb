//! Communicators: collectives and transfers between devices, over the HCCL functions.

#![allow(unsafe_code, reason = "calls C functions of the HCCL table")]

mod job;
mod setup;
mod types;

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

use super::handle::{names_variable, recent_text, Handle};
use super::keep::Keep;
use super::{Device, Operand, Stream};
use crate::driver::codes as acl_codes;
use crate::driver::hccl::{codes, HcclResult, HcclTable, COMM_NAME_BYTES};
use crate::{DriverCode, Error, ErrorKind, Result};

use job::Job;
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
            Error::invalid(format!("Communicator::init_all: {} devices given", devices.len()))
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

    /// `recv[i] = op over all ranks of send[i]`, for `count` elements, on every rank.
    ///
    /// # Errors
    /// `InvalidArgument` for an operand or stream of another device, or a range outside its buffer. `Driver`
    /// with an HCCL code when the operation is refused: 1 for arguments that differ from another rank's,
    /// 5 for a type or op that the chip does not have, others when the communicator has failed. Later
    /// failures are told by [`Stream::synchronize`].
    pub fn all_reduce<'a>(
        &self,
        stream: &Stream,
        send: impl Into<Operand<'a>>,
        recv: impl Into<Operand<'a>>,
        (count, dtype): (usize, impl Into<CommDType>),
        op: ReduceOp,
    ) -> Result<()> {
        let job = Job::new("HcclAllReduce", count, dtype.into());
        let (send, recv) = (job.side(self, send, 1)?, job.side(self, recv, 1)?);
        job.refuse_overlap(&send, &recv, 0)?;
        self.queue(stream, &job, vec![send.keep, recv.keep], |t, comm, stream| {
            let (send, recv) = (send.pointer, recv.pointer);
            // SAFETY: both ranges have `count` elements, checked above; `queue` keeps them until the stream
            // is done.
            unsafe { (t.HcclAllReduce)(send, recv, job.count, job.dtype, op.code(), comm, stream) }
        })
    }

    /// As [`Self::all_reduce`] of `ranks x count` elements in `send`, of which this rank gets part number
    /// `rank`: `count` elements, in `recv`.
    ///
    /// # Errors
    /// As [`Self::all_reduce`].
    pub fn reduce_scatter<'a>(
        &self,
        stream: &Stream,
        send: impl Into<Operand<'a>>,
        recv: impl Into<Operand<'a>>,
        (count, dtype): (usize, impl Into<CommDType>),
        op: ReduceOp,
    ) -> Result<()> {
        let job = Job::new("HcclReduceScatter", count, dtype.into());
        let (send, recv) = (job.side(self, send, self.ranks())?, job.side(self, recv, 1)?);
        job.refuse_overlap(&send, &recv, recv.bytes.wrapping_mul(u64::from(self.rank())))?;
        self.queue(stream, &job, vec![send.keep, recv.keep], |t, comm, stream| {
            let (send, recv) = (send.pointer, recv.pointer);
            // SAFETY: `ranks * count` and `count` elements, checked above; `queue` keeps them until the
            // stream is done.
            unsafe { (t.HcclReduceScatter)(send, recv, job.count, job.dtype, op.code(), comm, stream) }
        })
    }

    /// Puts the `count` elements of `send` of every rank behind each other in `recv`, in order of rank.
    ///
    /// # Errors
    /// As [`Self::all_reduce`].
    pub fn all_gather<'a>(
        &self,
        stream: &Stream,
        send: impl Into<Operand<'a>>,
        recv: impl Into<Operand<'a>>,
        (count, dtype): (usize, impl Into<CommDType>),
    ) -> Result<()> {
        let job = Job::new("HcclAllGather", count, dtype.into());
        let (send, recv) = (job.side(self, send, 1)?, job.side(self, recv, self.ranks())?);
        job.refuse_overlap(&send, &recv, send.bytes.wrapping_mul(u64::from(self.rank())))?;
        self.queue(stream, &job, vec![send.keep, recv.keep], |t, comm, stream| {
            let (send, recv) = (send.pointer, recv.pointer);
            // SAFETY: `count` and `ranks * count` elements, checked above; `queue` keeps them until the
            // stream is done.
            unsafe { (t.HcclAllGather)(send, recv, job.count, job.dtype, comm, stream) }
        })
    }

    /// Copies the `count` elements of `buffer` of rank `root` to the `buffer` of every rank.
    ///
    /// # Errors
    /// As [`Self::all_reduce`].
    pub fn broadcast<'a>(
        &self,
        stream: &Stream,
        buffer: impl Into<Operand<'a>>,
        (count, dtype): (usize, impl Into<CommDType>),
        root: u32,
    ) -> Result<()> {
        let job = Job::new("HcclBroadcast", count, dtype.into());
        let buffer = job.side(self, buffer, 1)?;
        self.queue(stream, &job, vec![buffer.keep], |t, comm, stream| {
            // SAFETY: the range has `count` elements, checked above; `queue` keeps it until the stream is
            // done.
            unsafe { (t.HcclBroadcast)(buffer.pointer, job.count, job.dtype, root, comm, stream) }
        })
    }

    /// Sends `count` elements to rank `to`, which receives as many. The stream goes on when they are there.
    ///
    /// # Errors
    /// As [`Self::all_reduce`].
    pub fn send<'a>(
        &self,
        stream: &Stream,
        buffer: impl Into<Operand<'a>>,
        (count, dtype): (usize, impl Into<CommDType>),
        to: u32,
    ) -> Result<()> {
        let job = Job::new("HcclSend", count, dtype.into());
        let buffer = job.side(self, buffer, 1)?;
        self.queue(stream, &job, vec![buffer.keep], |t, comm, stream| {
            // SAFETY: the range has `count` elements, checked above; `queue` keeps it until the stream is
            // done.
            unsafe { (t.HcclSend)(buffer.pointer, job.count, job.dtype, to, comm, stream) }
        })
    }

    /// Receives `count` elements from rank `from`, which sends as many.
    ///
    /// # Errors
    /// As [`Self::all_reduce`].
    pub fn recv<'a>(
        &self,
        stream: &Stream,
        buffer: impl Into<Operand<'a>>,
        (count, dtype): (usize, impl Into<CommDType>),
        from: u32,
    ) -> Result<()> {
        let job = Job::new("HcclRecv", count, dtype.into());
        let buffer = job.side(self, buffer, 1)?;
        self.queue(stream, &job, vec![buffer.keep], |t, comm, stream| {
            // SAFETY: the range has `count` elements, checked above; `queue` keeps it until the stream is
            // done.
            unsafe { (t.HcclRecv)(buffer.pointer, job.count, job.dtype, from, comm, stream) }
        })
    }

    /// Work that is queued behind this starts when the streams of all ranks are here.
    ///
    /// # Errors
    /// As [`Self::all_reduce`].
    pub fn barrier(&self, stream: &Stream) -> Result<()> {
        let job = Job::new("HcclBarrier", 0, CommDType::I8);
        self.queue(stream, &job, Vec::new(), |t, comm, stream| {
            // SAFETY: takes two handles that live during the call.
            unsafe { (t.HcclBarrier)(comm, stream) }
        })
    }

    /// Queues an operation, keeping its buffers and the communicator until the stream is done.
    fn queue(
        &self,
        stream: &Stream,
        job: &Job,
        mut keep: Vec<Keep>,
        f: impl FnOnce(&HcclTable, *mut c_void, *mut c_void) -> HcclResult,
    ) -> Result<()> {
        self.device().require_same(stream.device(), "a stream")?;
        keep.push(self.inner.clone());
        let mut result = codes::SUCCESS;
        stream.submit(job.name, keep, |_, stream| {
            result = f(self.inner.table, self.inner.handle.0, stream.0);
            acl_codes::SUCCESS
        })?;
        check(self.device(), job.name, result)
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
