//! One rank's communicator, and its work on a stream.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::failure::{refuse, result, Failure};
use super::group::{Group, Meeting};
use super::operation::{DataType, Kind, Operation};
use super::transfer::{Buffers, Seat};
use crate::driver::{codes, AclStream};
use crate::sim::acl::border::{Outcome, Refusal};
use crate::sim::acl::device::SimDevice;
use crate::sim::acl::stream::{self, wait_until, Stream, Waited, Work};
use crate::sim::time::timeline::{Step, Transfer};

/// What a handle of HCCL stands for. It belongs to its device, and ends with it.
pub(in crate::sim) struct Communicator {
    group: Arc<Group>,
    rank: u32,
    device: Arc<SimDevice>,
    /// `None`: no limit.
    exec_timeout: Option<Duration>,
    /// Held from numbering an operation to queueing it, so that a stream has them in the order of their numbers.
    issuing: Mutex<()>,
}

/// The buffers of a call, as its caller names them.
#[derive(Clone, Copy)]
pub(super) struct Pointers {
    pub(super) send: *mut c_void,
    pub(super) recv: *mut c_void,
}

impl Communicator {
    pub(super) fn new(
        group: Arc<Group>,
        rank: u32,
        device: Arc<SimDevice>,
        exec_timeout: Option<Duration>,
    ) -> Communicator {
        Communicator { group, rank, device, exec_timeout, issuing: Mutex::new(()) }
    }

    pub(in crate::sim) fn device(&self) -> &SimDevice {
        &self.device
    }

    pub(super) fn rank(&self) -> u32 {
        self.rank
    }

    pub(super) fn ranks(&self) -> u32 {
        self.group.ranks()
    }

    pub(super) fn name(&self) -> &str {
        &self.group.name
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.group.failure()
    }

    /// Queues an operation on a stream of the current context.
    pub(super) fn queue(
        &self,
        kind: Kind,
        count: u64,
        data_type: DataType,
        pointers: Pointers,
        handle: AclStream,
    ) -> Outcome {
        if handle.is_null() {
            return refuse(result::PTR, "stream = NULL given, a stream of aclrtCreateStream wanted");
        }
        let stream = stream::of(handle)?;
        if stream.device.id() != self.device.id() {
            return refuse(
                result::PARA,
                format!(
                    "a stream of device {} given, one of device {} wanted, which rank {} of communicator {} is on",
                    stream.device.id(),
                    self.device.id(),
                    self.rank,
                    self.name()
                ),
            );
        }
        let seat = Seat { rank: self.rank, ranks: self.ranks() };
        let operation = Operation::new(kind, count, data_type, seat.ranks, seat.rank)?;
        let buffers = Buffers::new(&operation, pointers.send, pointers.recv, seat, &self.device)?;
        let _issuing = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let meeting = self.group.issue(self.rank, operation, buffers)?;
        let group = Arc::clone(&self.group);
        let step = self.step(&operation, meeting.number);
        let task = Task { group, meeting, rank: self.rank, timeout: self.exec_timeout, step };
        stream.submit(task).map(drop)
    }

    /// This rank's part on a timeline.
    fn step(&self, operation: &Operation, meeting: u64) -> Step {
        let (rank, ranks) = (self.rank, self.ranks());
        let (send, recv) = operation.buffer_bytes(ranks, rank);
        let bytes = send.max(recv).unwrap_or(0);
        Step::Transfer(Transfer {
            meeting,
            name: operation.kind.name(),
            communicator: self.name().to_owned(),
            rank,
            parties: if operation.kind.peer().is_some() { 2 } else { ranks },
            bytes,
            us: self.device.config().soc.links.microseconds(operation.kind.collective(), bytes, ranks),
        })
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        self.group.leave(self.rank);
    }
}

/// An operation in the queue of a stream.
struct Task {
    group: Arc<Group>,
    meeting: Arc<Meeting>,
    rank: u32,
    timeout: Option<Duration>,
    step: Step,
}

impl Work for Task {
    fn run(self: Box<Self>, stream: &Stream) -> Outcome {
        if self.group.arrive(self.rank, &self.meeting) {
            self.group.execute(&self.meeting);
        }
        let waited = stream.wait_unless_aborted(self.timeout, || self.meeting.has_ended());
        if waited == Waited::TimedOut {
            self.group.time_out(self.rank, &self.meeting, self.timeout.unwrap_or_default());
        }
        if waited == Waited::Aborted && self.meeting.is_open() {
            self.group.abandon(
                self.rank,
                &Refusal { code: codes::RT_STREAM_ABORT, text: "its stream was aborted".into() },
            );
        }
        // Another rank's thread may be writing to the buffers of this one: that ends by itself.
        wait_until(None, || self.meeting.has_ended());
        if waited == Waited::Aborted {
            return Ok(());
        }
        self.group.outcome(&self.meeting)?;
        stream.log(|| self.step);
        Ok(())
    }

    fn abandon(self: Box<Self>, why: &Refusal) {
        self.group.abandon(self.rank, why);
    }
}
