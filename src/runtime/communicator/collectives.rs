//! The operations of a communicator: each checks its buffers, and is queued on a stream like a kernel.

use std::ffi::c_void;

use super::job::Job;
use super::{check, CommDType, Communicator, ReduceOp};
use crate::driver::codes as acl_codes;
use crate::driver::hccl::{codes, HcclDataType, HcclResult, HcclTable};
use crate::runtime::keep::Keeps;
use crate::runtime::{Operand, Stream};
use crate::Result;

/// `HcclBroadcast`, `HcclSend` and `HcclRecv`.
type OneBuffer =
    unsafe extern "C" fn(*mut c_void, u64, HcclDataType, u32, *mut c_void, *mut c_void) -> HcclResult;

impl Communicator {
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
        self.queue(stream, &job, send.keep.into_iter().chain(recv.keep).collect(), |t, comm, stream| {
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
        self.queue(stream, &job, send.keep.into_iter().chain(recv.keep).collect(), |t, comm, stream| {
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
        self.queue(stream, &job, send.keep.into_iter().chain(recv.keep).collect(), |t, comm, stream| {
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
        self.queue_with_rank(stream, &job, buffer.into(), root, |t| t.HcclBroadcast)
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
        self.queue_with_rank(stream, &job, buffer.into(), to, |t| t.HcclSend)
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
        self.queue_with_rank(stream, &job, buffer.into(), from, |t| t.HcclRecv)
    }

    /// Work that is queued behind this starts when the streams of all ranks are here.
    ///
    /// # Errors
    /// As [`Self::all_reduce`].
    pub fn barrier(&self, stream: &Stream) -> Result<()> {
        let job = Job::new("HcclBarrier", 0, CommDType::I8);
        self.queue(stream, &job, Keeps::new(), |t, comm, stream| {
            // SAFETY: takes two handles that live during the call.
            unsafe { (t.HcclBarrier)(comm, stream) }
        })
    }

    /// Queues an operation of one buffer and another rank.
    fn queue_with_rank(
        &self,
        stream: &Stream,
        job: &Job,
        buffer: Operand<'_>,
        rank: u32,
        function: impl FnOnce(&HcclTable) -> OneBuffer,
    ) -> Result<()> {
        let buffer = job.side(self, buffer, 1)?;
        self.queue(stream, job, buffer.keep.into_iter().collect(), |t, comm, stream| {
            // SAFETY: the range has `count` elements, checked above; `queue` keeps it until the stream is
            // done.
            unsafe { function(t)(buffer.pointer, job.count, job.dtype, rank, comm, stream) }
        })
    }

    /// Queues an operation, keeping its buffers and the communicator until the stream is done.
    fn queue(
        &self,
        stream: &Stream,
        job: &Job,
        mut keep: Keeps,
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
