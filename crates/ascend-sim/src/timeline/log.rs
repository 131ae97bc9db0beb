//! What streams did, each in its own order.

use std::collections::BTreeMap;

use super::host::HostPart;
use crate::engine::TransferTime;

/// A record of an event; numbers of events are not used twice in a process, records of an event count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordId {
    pub(crate) event: u64,
    pub(crate) record: u64,
}

/// One rank's part in a collective, or in a transfer between two ranks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transfer {
    /// What all parts have in common; not used twice in a process.
    pub(crate) meeting: u64,
    /// `AllReduce` and so on.
    pub(crate) name: &'static str,
    /// Name of the communicator.
    pub(crate) communicator: String,
    pub(crate) rank: u32,
    /// Ranks that take part.
    pub(crate) parties: u32,
    /// In the larger buffer of a rank.
    pub(crate) bytes: u64,
    pub(crate) time: TransferTime,
}

/// A piece of work that a stream has done. Work that is not listed takes no model time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TimedWork {
    Kernel {
        name: String,
        /// Before the cores are needed.
        launch_us: f64,
        /// On cores that have GM for themselves.
        core_us: f64,
    },
    Record(RecordId),
    Wait(RecordId),
    Transfer(Transfer),
    Copy {
        name: &'static str,
        bytes: u64,
        us: f64,
    },
    Host {
        part: HostPart,
        bytes: u64,
        us: f64,
    },
}

/// What one stream did.
pub(super) struct Lane<'a> {
    /// Numbers as a schedule has them.
    pub(super) device: u32,
    pub(super) stream: u32,
    pub(super) steps: &'a [TimedWork],
}

/// What is known of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    /// Name of its SoC.
    pub(super) soc: &'static str,
    /// Factor on the time of a kernel and of a transfer while both run on it.
    pub(super) contention: f64,
}

/// What all streams did.
#[derive(Default)]
pub(super) struct Log {
    devices: BTreeMap<i32, Device>,
    /// By device and stream, whose numbers increase in the order in which they were made.
    steps: BTreeMap<(i32, u64), Vec<TimedWork>>,
}

impl Log {
    pub(super) fn add_device(&mut self, id: i32, device: Device) {
        self.devices.insert(id, device);
    }

    pub(super) fn add_step(&mut self, device: i32, stream: u64, step: TimedWork) {
        self.steps.entry((device, stream)).or_default().push(step);
    }

    pub(super) fn clear(&mut self) {
        self.steps.clear();
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &Device> + '_ {
        self.devices.values()
    }

    /// Streams that did something, by device.
    pub(super) fn lanes(&self) -> Vec<Lane<'_>> {
        let mut lanes: Vec<Lane<'_>> = Vec::new();
        for (device, &id) in (0..).zip(self.devices.keys()) {
            let own = self.steps.range((id, 0)..=(id, u64::MAX));
            lanes.extend((0..).zip(own).map(|(stream, (_, steps))| Lane { device, stream, steps }));
        }
        lanes
    }
}
