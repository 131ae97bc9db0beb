//! One rank's communicator, and its work on a stream.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::buffers::{Buffers, Seat};
use super::failure::{refuse, result, Failure};
use super::member::{Appointment, Membership};
use super::operation::{DataType, Kind, Operation};
use crate::driver::{codes, AclStream};
use crate::sim::acl::border::{Outcome, Refusal};
use crate::sim::acl::device::SimDevice;
use crate::sim::acl::stream::{self, Stream, Waited, Work};

/// What a handle of HCCL stands for. It belongs to its device, and ends with it.
pub(in crate::sim) struct Communicator {
    membership: Box<dyn Membership>,
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
        membership: Box<dyn Membership>,
        device: Arc<SimDevice>,
        exec_timeout: Option<Duration>,
    ) -> Communicator {
        Communicator { membership, device, exec_timeout, issuing: Mutex::new(()) }
    }

    pub(in crate::sim) fn device(&self) -> &SimDevice {
        &self.device
    }

    pub(super) fn rank(&self) -> u32 {
        self.membership.rank()
    }

    pub(super) fn ranks(&self) -> u32 {
        self.membership.ranks()
    }

    pub(super) fn name(&self) -> &str {
        self.membership.name()
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.membership.failure()
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
                    self.rank(),
                    self.name()
                ),
            );
        }
        let seat = Seat { rank: self.rank(), ranks: self.ranks() };
        let operation = Operation::new(kind, count, data_type, seat.ranks, seat.rank)?;
        let buffers = Buffers::new(&operation, pointers.send, pointers.recv, seat, &self.device)?;
        let _issuing = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let appointment = self.membership.issue(operation, buffers)?;
        let task = Task { appointment, timeout: self.exec_timeout };
        stream.submit(task).map(drop)
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        self.membership.leave();
    }
}

/// An operation in the queue of a stream.
struct Task {
    appointment: Box<dyn Appointment>,
    timeout: Option<Duration>,
}

impl Work for Task {
    fn run(self: Box<Self>, stream: &Stream) -> Outcome {
        let meeting = &self.appointment;
        meeting.arrive();
        let waited = stream.wait_unless_aborted(self.timeout, || meeting.has_ended());
        if waited == Waited::TimedOut {
            meeting.time_out(self.timeout.unwrap_or_default());
        }
        if waited == Waited::Aborted && meeting.is_open() {
            meeting.abandon(&Refusal { code: codes::RT_STREAM_ABORT, text: "its stream was aborted".into() });
        }
        // Another rank's thread may be writing to the buffers of this one: that ends by itself.
        meeting.wait_for_end();
        if waited == Waited::Aborted {
            return Ok(());
        }
        meeting.outcome()
    }

    fn abandon(self: Box<Self>, why: &Refusal) {
        self.appointment.abandon(why);
    }
}
