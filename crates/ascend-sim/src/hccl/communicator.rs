//! One rank's communicator, and its work on a stream.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ascend_sys::{codes, AclStream};

use super::buffers::{Buffers, Seat};
use super::failure::{refuse, result, Failure};
use super::member::{Appointment, Membership};
use super::operation::{Kind, Operation};
use crate::acl::border::{Outcome, Refusal};
use crate::acl::device::SimDevice;
use crate::acl::flight::{Flight, Part};
use crate::acl::handles::Handled;
use crate::acl::stream::{self, Stream, Waited, Work};
use crate::reduce::DataType;
use crate::timeline::{TimedWork, Transfer};

/// What a handle of HCCL stands for. It belongs to its device, and ends with it.
pub(crate) struct Communicator {
    membership: Box<dyn Membership>,
    device: Arc<SimDevice>,
    /// `None`: no limit.
    exec_timeout: Option<Duration>,
    /// Held from numbering an operation to queueing it, so that a stream has them in the order of their
    /// numbers.
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
    // What can be refused comes in the order of genuine calls, before and after the number is given out.
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
        if let Err(refusal) = stream.refuse_in_capture("a collective") {
            return refuse(result::NOT_SUPPORT, refusal.text);
        }
        let buffers = Buffers::new(&operation, pointers.send, pointers.recv, seat, &self.device)?;
        let parts = buffers.parts(self.device.id());
        let _issuing = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let appointment = self.membership.issue(operation, buffers)?;
        let step = appointment.number().map(|number| self.step(&operation, number));
        if step.is_none() && self.device.config().timeline.is_some() {
            let text = "a device with a timeline is on a communicator of another process; ranks of one process wanted";
            appointment.abandon(&Refusal { code: codes::RT_FEATURE_NOT_SUPPORT, text: text.into() });
            return refuse(result::NOT_SUPPORT, text);
        }
        let name = operation.kind.name();
        let task = Task {
            appointment,
            timeout: self.exec_timeout,
            step,
            name,
            parts,
            flight: Flight::queue(&stream),
        };
        stream.submit_once("a collective", task)
    }

    /// This rank's part on a timeline.
    fn step(&self, operation: &Operation, meeting: u64) -> TimedWork {
        let (rank, ranks) = (self.rank(), self.ranks());
        let (send, recv) = operation.buffer_bytes(ranks, rank);
        let bytes = send.max(recv).unwrap_or(0);
        TimedWork::Transfer(Transfer {
            meeting,
            name: operation.kind.name(),
            communicator: self.name().to_owned(),
            rank,
            parties: if operation.kind.peer().is_some() { 2 } else { ranks },
            bytes,
            time: self.device.engine().transfer_time(operation.kind.collective(), bytes, ranks),
        })
    }
}

impl Handled for Communicator {
    fn kind() -> &'static str {
        "a communicator"
    }

    fn device(&self) -> Option<i32> {
        Some(self.device.id())
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
    /// `None` when the ranks meet in another process, whose timeline this one is not.
    step: Option<TimedWork>,
    name: &'static str,
    /// What it uses of the memory of this rank.
    parts: Vec<Part>,
    flight: Flight,
}

impl Work for Task {
    fn run(self: Box<Self>, stream: &Stream) -> Outcome {
        let Task { appointment: meeting, timeout, step, name, parts, flight } = *self;
        let flight = flight.start(stream);
        meeting.arrive();
        let waited = stream.wait_unless_aborted(timeout, || meeting.has_ended());
        if waited == Waited::TimedOut {
            meeting.time_out(timeout.unwrap_or_default());
        }
        if waited == Waited::Aborted && meeting.is_open() {
            meeting.abandon(&Refusal { code: codes::RT_STREAM_ABORT, text: "its stream was aborted".into() });
        }
        // Another rank's thread may be writing to the buffers of this one: that ends by itself.
        meeting.wait_for_end();
        if waited == Waited::Aborted {
            return Ok(());
        }
        meeting.outcome()?;
        flight.end_of(name, || parts)?;
        if let Some(step) = step {
            stream.log(|| step);
        }
        Ok(())
    }

    fn abandon(self: Box<Self>, why: &Refusal) {
        self.appointment.abandon(why);
    }
}
