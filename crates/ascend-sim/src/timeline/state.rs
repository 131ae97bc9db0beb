//! What a solver knows of streams, devices and collectives at one moment.
//!
//! Times are whole picoseconds and speeds whole numbers, so that the order in which things are added up
//! cannot matter.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` from a float saturates, which is wanted for times beyond every limit"
)]

use std::collections::BTreeMap;

use super::error::SolveError;
use super::host::HostPart;
use super::log::{Lane, TimedWork, Transfer};
use super::schedule::SpanKind;

/// Picoseconds.
pub(super) type Ps = u64;

pub(super) fn ps(us: f64) -> Ps {
    (us * 1e6).round() as Ps
}

pub(super) fn us(ps: Ps) -> f64 {
    ps as f64 / 1e6
}

/// Speed of what contention slows down.
pub(super) const SLOW: u128 = 1_000_000;

/// Speed without contention, `contention` times [`SLOW`].
pub(super) fn full_speed(contention: f64) -> u128 {
    (contention * SLOW as f64).round() as u128
}

/// What is left of a kernel or of a transfer: picoseconds at full speed, times the full speed.
pub(super) type Left = u128;

/// What a stream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// Its next step has not begun.
    Free,
    Launching {
        until: Ps,
    },
    Copying {
        until: Ps,
    },
    AwaitsEvent,
    AwaitsHost,
    OnHost {
        until: Ps,
    },
    AwaitsCores,
    Computing,
    AwaitsRanks,
    AwaitsLinks,
    Transferring,
    Ended,
}

pub(super) struct Track<'a> {
    pub(super) lane: &'a Lane<'a>,
    /// Index of its step.
    pub(super) at: usize,
    pub(super) state: Activity,
    /// When the state began.
    pub(super) since: Ps,
    /// Steps whose meetings it has arrived at end before this one.
    pub(super) announced: usize,
}

impl<'a> Track<'a> {
    pub(super) fn new(lane: &'a Lane<'a>) -> Self {
        Self { lane, at: 0, state: Activity::Free, since: 0, announced: 0 }
    }

    pub(super) fn step(&self) -> Option<&'a TimedWork> {
        self.lane.steps.get(self.at)
    }

    pub(super) fn device(&self) -> usize {
        self.lane.device as usize
    }

    /// Kind, name and bytes of the span that the state makes; `None` for states without duration.
    pub(super) fn description(&self) -> Option<(SpanKind, &'a str, u64)> {
        let wait = |name| Some((SpanKind::Wait, name, 0));
        match (self.state, self.step()?) {
            (Activity::Launching { .. }, TimedWork::Kernel { name, .. }) => Some((SpanKind::Launch, name, 0)),
            (Activity::Computing, TimedWork::Kernel { name, .. }) => Some((SpanKind::Kernel, name, 0)),
            (Activity::Copying { .. }, TimedWork::Copy { name, bytes, .. }) => {
                Some((SpanKind::Copy, name, *bytes))
            }
            (Activity::OnHost { .. }, TimedWork::Host { part: HostPart::Function, .. }) => {
                Some((SpanKind::Host, "function", 0))
            }
            (Activity::OnHost { .. }, TimedWork::Host { bytes, .. }) => {
                Some((SpanKind::Copy, "copy", *bytes))
            }
            (Activity::AwaitsHost, _) => wait("host"),
            (Activity::Transferring, TimedWork::Transfer(x)) => Some((SpanKind::Transfer, x.name, x.bytes)),
            (Activity::AwaitsEvent, _) => wait("event"),
            (Activity::AwaitsCores, _) => wait("cores"),
            (Activity::AwaitsRanks, _) => wait("ranks"),
            (Activity::AwaitsLinks, _) => wait("links"),
            _ => None,
        }
    }
}

#[derive(Default)]
pub(super) struct Device {
    /// The track whose kernel has the cores, and what is left of the kernel.
    pub(super) kernel: Option<(usize, Left)>,
    /// The tracks that have the parts of its host, by [`HostPart`].
    pub(super) host: [Option<usize>; HostPart::COUNT],
    /// The meeting that has the links.
    pub(super) meeting: Option<usize>,
    /// It, and those whose ranks have all arrived.
    pub(super) queue: Vec<usize>,
    pub(super) computing: Ps,
    pub(super) transferring: Ps,
    pub(super) overlap: Ps,
}

/// A collective or a transfer.
#[derive(Default)]
pub(super) struct Parties {
    /// Tracks of its ranks.
    pub(super) tracks: Vec<usize>,
    /// Ranks that are there, or have only the transfer before to wait for.
    pub(super) arrived: usize,
    /// Ranks that are there.
    pub(super) present: usize,
    /// When the last one came.
    pub(super) ready: Ps,
    /// On links that nobody else uses, and behind another meeting.
    pub(super) alone: Left,
    pub(super) queued: Left,
    /// From when the last rank has arrived.
    pub(super) left: Left,
}

/// The collectives of all streams, and where each is by its number.
///
/// # Errors
/// `InvalidArgument` when a rank of one is missing.
pub(super) fn meetings(
    lanes: &[Lane<'_>],
    full: u128,
) -> Result<(Vec<Parties>, BTreeMap<u64, usize>), SolveError> {
    let mut meetings: Vec<Parties> = Vec::new();
    let mut parts: Vec<Vec<&Transfer>> = Vec::new();
    let mut index = BTreeMap::new();
    for (track, lane) in lanes.iter().enumerate() {
        for step in lane.steps {
            let TimedWork::Transfer(transfer) = step else { continue };
            let at = *index.entry(transfer.meeting).or_insert(meetings.len());
            if at == meetings.len() {
                meetings.push(Parties::default());
                parts.push(Vec::new());
            }
            meetings[at].tracks.push(track);
            // Where the ranks' links differ, the slowest decides.
            let [alone, queued] =
                [transfer.time.alone_us, transfer.time.queued_us].map(|us| Left::from(ps(us)) * full);
            let meeting = &mut meetings[at];
            (meeting.alone, meeting.queued) = (meeting.alone.max(alone), meeting.queued.max(queued));
            parts[at].push(transfer);
        }
    }
    parts.iter().try_for_each(|parts| check_parts(parts))?;
    Ok((meetings, index))
}

/// Are all ranks of a collective here?
fn check_parts(parts: &[&Transfer]) -> Result<(), SolveError> {
    let Some(first) = parts.iter().find(|part| part.parties as usize != parts.len()) else { return Ok(()) };
    let mut ranks: Vec<u32> = parts.iter().map(|part| part.rank).collect();
    ranks.sort_unstable();
    Err(SolveError::invalid(format!(
        "timeline: {} of communicator {} of ranks {ranks:?} only, {} ranks wanted: synchronise the streams of all ranks first, and set the timeline in all their devices",
        first.name, first.communicator, first.parties
    )))
}
