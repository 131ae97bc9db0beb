//! What streams did, each in its own order.

use std::collections::BTreeMap;

use crate::Soc;

/// A record of an event; numbers of events are not used twice in a process, records of an event count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) struct RecordId {
    pub(in crate::sim) event: u64,
    pub(in crate::sim) record: u64,
}

/// One rank's part in a collective, or in a transfer between two ranks.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sim) struct Transfer {
    /// What all parts have in common; not used twice in a process.
    pub(in crate::sim) meeting: u64,
    /// `AllReduce` and so on.
    pub(in crate::sim) name: &'static str,
    /// Name of the communicator.
    pub(in crate::sim) communicator: String,
    pub(in crate::sim) rank: u32,
    /// Ranks that take part.
    pub(in crate::sim) parties: u32,
    /// In the larger buffer of a rank.
    pub(in crate::sim) bytes: u64,
    /// On links that nobody else uses.
    pub(in crate::sim) us: f64,
}

/// A piece of work that a stream has done. Work that is not listed takes no model time.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sim) enum Step {
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
}

/// What one stream did.
pub(super) struct Lane<'a> {
    /// Numbers as a schedule has them.
    pub(super) device: u32,
    pub(super) stream: u32,
    pub(super) steps: &'a [Step],
}

/// What all streams did.
#[derive(Default)]
pub(super) struct Log {
    devices: BTreeMap<i32, &'static Soc>,
    /// By device and stream, whose numbers increase in the order in which they were made.
    steps: BTreeMap<(i32, u64), Vec<Step>>,
}

impl Log {
    pub(super) fn add_device(&mut self, id: i32, soc: &'static Soc) {
        self.devices.insert(id, soc);
    }

    pub(super) fn add_step(&mut self, device: i32, stream: u64, step: Step) {
        self.steps.entry((device, stream)).or_default().push(step);
    }

    pub(super) fn clear(&mut self) {
        self.steps.clear();
    }

    pub(super) fn socs(&self) -> impl Iterator<Item = &'static Soc> + '_ {
        self.devices.values().copied()
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
