//! What a micro-batch has of its own: streams, and room for what crosses the link.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::host::HostLane;
use super::sizes::Sizes;
use super::step::Part;
use crate::runtime::{Buffer, Device, Event, Operand, Rows, Staging, Stream};
use crate::{Error, Result};

/// A micro-batch: steps and prompts of one lane follow each other, those of different lanes run side by side.
///
/// It has a stream of the caller, for the device's part. Copies and the host's part are queued on streams of
/// its own, with events between them and the caller's stream.
#[derive(Clone, Debug)]
pub struct Lane {
    pub(super) inner: Arc<LaneInner>,
}

impl Lane {
    /// The stream that was given for it.
    pub fn stream(&self) -> &Stream {
        &self.inner.stream
    }
}

#[derive(Debug)]
pub(super) struct LaneInner {
    /// Which division of the store it was made for.
    pub(super) generation: u64,
    /// Of the caller.
    pub(super) stream: Stream,
    /// That one, and those of the link. A sequence keeps them, not the lane, to come behind them.
    pub(super) streams: Arc<[Stream]>,
    pub(super) workspace: Buffer,
    pub(super) prefill_workspace: Buffer,
    numbers: Buffer,
    /// o of both parts, lse of both parts, lse merged.
    pub(super) parts: [Buffer; 5],
    /// `None`: all K and V lie on the device.
    pub(super) link: Option<Link>,
    /// Pinned numbers of steps under way, each with the event behind its copy.
    pinned_numbers: Mutex<Vec<(Staging, Event)>>,
    /// The step that it is in. One caller queues at a time.
    turn: Mutex<u64>,
}

/// The way to the host and back.
#[derive(Debug)]
pub(super) struct Link {
    /// Copies, and the host's part of steps.
    pub(super) copies: Stream,
    /// The host takes the chunks of a prompt, while the next one comes.
    pub(super) takes: Stream,
    /// The caller's stream has got so far.
    pub(super) forked: Event,
    /// Results of the host have come up.
    pub(super) joined: Event,
    /// A chunk has come down, into each of two places.
    pub(super) filled: [Event; 2],
    /// The host has taken it.
    pub(super) taken: [Event; 2],
    /// Everything of the host's that was queued.
    pub(super) done: Event,
    /// Chunks so far.
    pub(super) chunks: Mutex<usize>,
    pub(super) host: Arc<HostLane>,
}

pub(super) fn bytes(count: u64) -> usize {
    // Sizes are those of a plan whose bytes fit a memory.
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl LaneInner {
    pub(super) fn new(
        device: &Device,
        host: Option<&Device>,
        stream: &Stream,
        sizes: &Sizes,
        generation: u64,
    ) -> Result<Self> {
        let alloc = |len: u64| Buffer::alloc(device, bytes(len));
        let link = match host {
            None => None,
            Some(host) => {
                let event = || Event::new(device);
                Some(Link {
                    copies: Stream::new(device)?,
                    takes: Stream::new(device)?,
                    forked: event()?,
                    joined: event()?,
                    filled: [event()?, event()?],
                    taken: [event()?, event()?],
                    done: event()?,
                    chunks: Mutex::new(0),
                    host: Arc::new(HostLane::new(device, host, sizes)?),
                })
            }
        };
        let of_link = link.iter().flat_map(|link| [link.copies.clone(), link.takes.clone()]);
        Ok(Self {
            generation,
            stream: stream.clone(),
            streams: std::iter::once(stream.clone()).chain(of_link).collect(),
            workspace: alloc(sizes.workspace[0])?,
            prefill_workspace: alloc(sizes.prefill_workspace)?,
            numbers: alloc(sizes.numbers[0])?,
            parts: [
                alloc(sizes.part_o)?,
                alloc(sizes.part_o)?,
                alloc(sizes.part_lse)?,
                alloc(sizes.part_lse)?,
                alloc(sizes.part_lse)?,
            ],
            link,
            pinned_numbers: Mutex::default(),
            turn: Mutex::default(),
        })
    }

    pub(super) fn turn(&self) -> MutexGuard<'_, u64> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a copy of the numbers of a step to the device, and waits for nothing: each step under way has
    /// pinned memory of its own.
    pub(super) fn send_numbers(&self, part: &Part) -> Result<()> {
        let mut all = self.pinned_numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = None;
        for (i, (_, sent)) in all.iter().enumerate() {
            if sent.query()? {
                free = Some(i);
                break;
            }
        }
        let device = self.stream.device();
        let at = match free {
            Some(at) => at,
            None => {
                all.push((Staging::alloc(device, self.numbers.len_bytes())?, Event::new(device)?));
                all.len() - 1
            }
        };
        let (staging, sent) = &all[at];
        staging.write(0, &part.numbers)?;
        let len = size_of_val(part.numbers.as_slice());
        let rows = Rows { count: 1, bytes: len, pitch: len };
        self.stream.copy_up((staging, 0), rows, Operand::from(&self.numbers))?;
        sent.record(&self.stream)
    }

    /// Numbers of the step under way, from byte `at` on.
    pub(super) fn numbers(&self, at: u64) -> Operand<'_> {
        Operand::at(&self.numbers, bytes(at))
    }

    /// Makes everything that is queued on this lane from now on wait for what is queued on the streams of
    /// another one. Behind a stream that has failed no event can be recorded: its work is waited for here.
    pub(super) fn wait_for(&self, others: &[Stream]) -> Result<()> {
        for before in others {
            let event = Event::new(self.stream.device())?;
            if event.record(before).is_err() {
                settle(std::slice::from_ref(before));
                continue;
            }
            for behind in self.streams.iter() {
                behind.wait_event(&event)?;
            }
        }
        Ok(())
    }
}

/// Waits until everything queued on some streams is done.
pub(super) fn settle(streams: &[Stream]) {
    for stream in streams {
        // Its error is told by the calls of its owner.
        let _ = stream.synchronize();
    }
}

/// Refuses a lane of another division.
pub(super) fn require_generation(lane: &LaneInner, generation: u64) -> Result<()> {
    if lane.generation == generation {
        return Ok(());
    }
    Err(Error::invalid("a lane from before the budget changed given, one that was made since wanted"))
}
