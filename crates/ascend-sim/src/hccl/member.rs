//! What a rank does in its communicator, wherever the communicator is kept: in this process ([`Member`]), or
//! in that of another rank (`processes`).

use std::sync::Arc;
use std::time::Duration;

use super::buffers::Buffers;
use super::failure::Failure;
use super::group::{Meeting, RankGroup};
use super::operation::Operation;
use crate::acl::border::{Outcome, Refusal};
use crate::acl::wait::wait_until;

/// One rank's place in a communicator.
pub(super) trait Membership: Send + Sync {
    fn rank(&self) -> u32;

    fn ranks(&self) -> u32;

    /// Name of the communicator.
    fn name(&self) -> &str;

    fn failure(&self) -> Option<Failure>;

    /// Announces an operation, which the rank's stream will reach later.
    fn issue(&self, operation: Operation, buffers: Buffers) -> Outcome<Box<dyn Appointment>>;

    /// The rank has destroyed its communicator. What it issued before still happens.
    fn leave(&self);
}

/// One rank's part in the meeting of an operation.
pub(super) trait Appointment: Send + Sync {
    /// The same for all ranks of this process that meet, and for no other operation; `None` when another
    /// process knows it.
    fn number(&self) -> Option<u64>;

    /// The stream is here. Executes the operation when it is the last one.
    fn arrive(&self);

    fn has_ended(&self) -> bool;

    /// Is nobody known to execute it, so that it may be given up?
    fn is_open(&self) -> bool;

    /// The stream waited in vain.
    fn time_out(&self, waited: Duration);

    /// The work was dropped.
    fn abandon(&self, why: &Refusal);

    /// Waits for an end that is certain: the operation is being executed, or was given up.
    fn wait_for_end(&self);

    /// What the stream gets when it has ended.
    fn outcome(&self) -> Outcome;
}

/// A rank whose communicator is kept in this process.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) group: Arc<RankGroup>,
    pub(super) rank: u32,
}

impl Membership for Member {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn ranks(&self) -> u32 {
        self.group.ranks()
    }

    fn name(&self) -> &str {
        &self.group.name
    }

    fn failure(&self) -> Option<Failure> {
        self.group.failure()
    }

    fn issue(&self, operation: Operation, buffers: Buffers) -> Outcome<Box<dyn Appointment>> {
        let meeting = self.group.issue(self.rank, operation, buffers)?;
        Ok(Box::new(Attendance { member: self.clone(), meeting }))
    }

    fn leave(&self) {
        self.group.leave(self.rank);
    }
}

struct Attendance {
    member: Member,
    meeting: Arc<Meeting>,
}

impl Appointment for Attendance {
    fn number(&self) -> Option<u64> {
        Some(self.meeting.number)
    }

    fn arrive(&self) {
        let Member { group, rank } = &self.member;
        if group.arrive(*rank, &self.meeting) {
            group.execute(&self.meeting);
        }
    }

    fn has_ended(&self) -> bool {
        self.meeting.has_ended()
    }

    fn is_open(&self) -> bool {
        self.meeting.is_open()
    }

    fn time_out(&self, waited: Duration) {
        self.member.group.time_out(self.member.rank, &self.meeting, waited);
    }

    fn abandon(&self, why: &Refusal) {
        self.member.group.lose(self.member.rank, &format!("dropped its work: {}", why.text));
    }

    fn wait_for_end(&self) {
        wait_until(None, || self.meeting.has_ended());
    }

    fn outcome(&self) -> Outcome {
        self.member.group.outcome(&self.meeting)
    }
}
