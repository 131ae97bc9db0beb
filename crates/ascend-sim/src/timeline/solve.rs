//! Gives times to a log: discrete events, between which kernels and transfers progress at constant speeds.
//!
//! What is ready at the same time is taken by device, then by stream.

use std::collections::BTreeMap;

use super::error::{SolveError, SolveErrorKind};
use super::log::{Lane, Log, RecordId, TimedWork};
use super::schedule::{DeviceTime, Edge, Point, Schedule, Span, SpanKind};
use super::state::{full_speed, meetings, ps, us, Activity, Device, Left, Parties, Ps, Track, SLOW};

struct Solver<'a> {
    now: Ps,
    /// Speed without contention.
    full: u128,
    tracks: Vec<Track<'a>>,
    devices: Vec<Device>,
    meetings: Vec<Parties>,
    meeting_index: BTreeMap<u64, usize>,
    /// `None`: in the log, and not reached.
    records: BTreeMap<RecordId, Option<Point>>,
    spans: Vec<Span>,
    edges: Vec<Edge>,
}

/// Solves a log; `contention` is at least 1.
pub(super) fn solve(log: &Log, contention: f64) -> Result<Schedule, SolveError> {
    let lanes = log.lanes();
    let mut solver = Solver::new(&lanes, log.devices().count(), contention)?;
    solver.settle();
    while let Some(next) = solver.next_time() {
        solver.advance(next);
        solver.settle();
    }
    if let Some(track) = solver.tracks.iter().find(|t| t.state != Activity::Ended) {
        let (device, stream) = (track.lane.device, track.lane.stream);
        return Err(SolveError::new(
            SolveErrorKind::Unsupported,
            format!(
                "timeline: step {} of stream {stream} of device {device} waits for an event that is recorded behind it; wanted: \
                 each event recorded by one stream only",
                track.at
            ),
        ));
    }
    Ok(solver.schedule(log, contention))
}

impl<'a> Solver<'a> {
    fn new(lanes: &'a [Lane<'a>], devices: usize, contention: f64) -> Result<Self, SolveError> {
        let full = full_speed(contention);
        let (meetings, meeting_index) = meetings(lanes, full)?;
        let steps = lanes.iter().flat_map(|lane| lane.steps);
        let records = steps.filter_map(|step| match step {
            TimedWork::Record(id) => Some((*id, None)),
            _ => None,
        });
        Ok(Self {
            now: 0,
            full,
            tracks: lanes.iter().map(Track::new).collect(),
            devices: (0..devices).map(|_| Device::default()).collect(),
            meetings,
            meeting_index,
            records: records.collect(),
            spans: Vec::new(),
            edges: Vec::new(),
        })
    }

    fn enter(&mut self, track: usize, state: Activity) {
        let t = &mut self.tracks[track];
        let Some((kind, name, bytes)) = t.description() else {
            (t.state, t.since) = (state, self.now);
            return;
        };
        if kind != SpanKind::Wait || self.now > t.since {
            self.spans.push(Span {
                device: t.lane.device,
                stream: t.lane.stream,
                kind,
                name: name.to_owned(),
                start_us: us(t.since),
                end_us: us(self.now),
                bytes,
            });
        }
        (t.state, t.since) = (state, self.now);
    }

    /// Ends the step of a track.
    fn finish(&mut self, track: usize) {
        self.enter(track, Activity::Free);
        self.tracks[track].at += 1;
    }

    /// Does everything that happens now.
    fn settle(&mut self) {
        loop {
            let mut moved = self.complete();
            for track in 0..self.tracks.len() {
                while self.go_on(track) || self.announce(track) {
                    moved = true;
                }
            }
            // Who is ready now is known when nobody goes on by itself.
            if !moved && !self.grant() {
                return;
            }
        }
    }

    /// Ends kernels and transfers of which nothing is left.
    fn complete(&mut self) -> bool {
        let mut moved = false;
        for device in 0..self.devices.len() {
            if let Some((track, 0)) = self.devices[device].kernel {
                self.devices[device].kernel = None;
                self.finish(track);
                moved = true;
            }
            let Some(meeting) = self.devices[device].meeting.filter(|m| self.meetings[*m].left == 0) else {
                continue;
            };
            for track in self.meetings[meeting].tracks.clone() {
                let device = &mut self.devices[self.tracks[track].device()];
                device.meeting = None;
                device.queue.retain(|m| *m != meeting);
                self.finish(track);
            }
            moved = true;
        }
        moved
    }

    /// What a track does by itself; false when it waits.
    fn go_on(&mut self, track: usize) -> bool {
        let t = &self.tracks[track];
        match (t.state, t.step()) {
            (Activity::Free, None) => self.tracks[track].state = Activity::Ended,
            (Activity::Free, Some(step)) => self.begin(track, step),
            (Activity::Launching { until }, _) if until <= self.now => {
                self.enter(track, Activity::AwaitsCores)
            }
            (Activity::Copying { until }, _) if until <= self.now => self.finish(track),
            (Activity::OnHost { until }, Some(TimedWork::Host { part, .. })) if until <= self.now => {
                self.devices[t.device()].host[*part as usize] = None;
                self.finish(track);
            }
            (Activity::AwaitsEvent, Some(TimedWork::Wait(id))) => return self.pass(track, *id),
            (Activity::AwaitsRanks, Some(TimedWork::Transfer(transfer))) => {
                let meeting = &self.meetings[self.meeting_index[&transfer.meeting]];
                if meeting.present < meeting.tracks.len() {
                    return false;
                }
                self.enter(track, Activity::AwaitsLinks);
            }
            _ => return false,
        }
        true
    }

    fn begin(&mut self, track: usize, step: &TimedWork) {
        match step {
            TimedWork::Kernel { launch_us, .. } => {
                self.enter(track, Activity::Launching { until: self.now.saturating_add(ps(*launch_us)) });
            }
            TimedWork::Copy { us, .. } => {
                self.enter(track, Activity::Copying { until: self.now.saturating_add(ps(*us)) });
            }
            TimedWork::Host { .. } => self.enter(track, Activity::AwaitsHost),
            TimedWork::Record(id) => {
                let point = self.point(track);
                self.records.insert(*id, Some(point));
                self.finish(track);
            }
            TimedWork::Wait(_) => self.enter(track, Activity::AwaitsEvent),
            TimedWork::Transfer(transfer) => {
                let meeting = self.meeting_index[&transfer.meeting];
                self.meetings[meeting].present += 1;
                self.meetings[meeting].ready = self.now;
                if self.tracks[track].announced <= self.tracks[track].at {
                    self.tracks[track].announced = self.tracks[track].at + 1;
                    self.arrive(meeting);
                }
                self.enter(track, Activity::AwaitsRanks);
            }
        }
    }

    /// A rank is there, or has only the transfer before this one to wait for; with the last one it is known
    /// what the meeting still takes behind those before it.
    ///
    /// ASSUMPTION(link-queue): it ends no earlier than `alone` from now, and no earlier than `queued` after
    /// those before it.
    fn arrive(&mut self, meeting: usize) {
        self.meetings[meeting].arrived += 1;
        let own = &self.meetings[meeting];
        if own.arrived < own.tracks.len() {
            return;
        }
        let mut devices: Vec<usize> = own.tracks.iter().map(|t| self.tracks[*t].device()).collect();
        devices.sort_unstable();
        devices.dedup();
        let before = |d: &usize| self.devices[*d].queue.iter().map(|m| self.meetings[*m].left).sum();
        let ahead: Left = devices.iter().map(before).max().unwrap_or(0);
        self.meetings[meeting].left = (ahead + own.queued).max(own.alone) - ahead;
        devices.into_iter().for_each(|d| self.devices[d].queue.push(meeting));
    }

    /// A track in a transfer arrives at the next one, too, when only events that are reached lie between.
    fn announce(&mut self, track: usize) -> bool {
        let t = &self.tracks[track];
        if !matches!(t.state, Activity::AwaitsLinks | Activity::Transferring) {
            return false;
        }
        let lies_behind = |step: &&TimedWork| match step {
            TimedWork::Wait(id) => !matches!(self.records.get(id), Some(None)),
            _ => false,
        };
        let steps = t.lane.steps.get(t.announced..).unwrap_or_default();
        let waits = steps.iter().take_while(lies_behind).count();
        let Some(TimedWork::Transfer(next)) = steps.get(waits) else { return false };
        self.tracks[track].announced += waits + 1;
        self.arrive(self.meeting_index[&next.meeting]);
        true
    }

    fn point(&self, track: usize) -> Point {
        let lane = self.tracks[track].lane;
        Point { device: lane.device, stream: lane.stream, at_us: us(self.now) }
    }

    /// Passes a wait whose record is reached, or was forgotten.
    fn pass(&mut self, track: usize, id: RecordId) -> bool {
        let record = match self.records.get(&id) {
            Some(None) => return false,
            Some(Some(record)) => Some(*record),
            None => None,
        };
        self.edges.extend(record.map(|record| Edge { record, wait: self.point(track) }));
        self.finish(track);
        true
    }

    /// Gives free cores and links to who has waited longest.
    ///
    /// ASSUMPTION(timeline-cores): a kernel takes all cores; those of other streams wait.
    /// ASSUMPTION(timeline-links): a device takes part in one collective or transfer at a time.
    fn grant(&mut self) -> bool {
        let mut moved = self.grant_hosts();
        for device in 0..self.devices.len() {
            if self.devices[device].kernel.is_some() {
                continue;
            }
            let waiting = self.tracks.iter().enumerate();
            let waiting = waiting.filter(|(_, t)| t.device() == device && t.state == Activity::AwaitsCores);
            let Some((track, t)) = waiting.min_by_key(|(_, t)| t.since) else { continue };
            let Some(TimedWork::Kernel { core_us, .. }) = t.step() else { continue };
            self.devices[device].kernel = Some((track, u128::from(ps(*core_us)) * self.full));
            self.enter(track, Activity::Computing);
            moved = true;
        }
        for meeting in self.ready_meetings() {
            let tracks = self.meetings[meeting].tracks.clone();
            if tracks.iter().any(|t| self.devices[self.tracks[*t].device()].meeting.is_some()) {
                continue;
            }
            for track in tracks {
                self.devices[self.tracks[track].device()].meeting = Some(meeting);
                self.enter(track, Activity::Transferring);
            }
            moved = true;
        }
        moved
    }

    /// Gives the parts of hosts that are free.
    fn grant_hosts(&mut self) -> bool {
        let waiting = self.tracks.iter().enumerate().filter(|(_, t)| t.state == Activity::AwaitsHost);
        let mut waiting: Vec<_> = waiting.map(|(track, t)| (t.since, track)).collect();
        waiting.sort_unstable();
        let mut moved = false;
        for (_, track) in waiting {
            let Some(TimedWork::Host { part, us, .. }) = self.tracks[track].step() else { continue };
            let place = &mut self.devices[self.tracks[track].device()].host[*part as usize];
            if place.is_none() {
                *place = Some(track);
                self.enter(track, Activity::OnHost { until: self.now.saturating_add(ps(*us)) });
                moved = true;
            }
        }
        moved
    }

    /// Meetings whose ranks are all there and wait for the links, the longest first.
    fn ready_meetings(&self) -> Vec<usize> {
        let waiting = self.tracks.iter().filter(|t| t.state == Activity::AwaitsLinks);
        let mut ready: Vec<usize> = waiting
            .filter_map(|t| match t.step() {
                Some(TimedWork::Transfer(transfer)) => Some(self.meeting_index[&transfer.meeting]),
                _ => None,
            })
            .collect();
        ready.sort_unstable_by_key(|m| (self.meetings[*m].ready, *m));
        ready.dedup();
        ready
    }

    /// ASSUMPTION(timeline-contention): both are slowed down by the same factor, whatever they do.
    fn kernel_speed(&self, device: usize) -> u128 {
        match self.devices[device].meeting {
            Some(_) => SLOW,
            None => self.full,
        }
    }

    /// That of the slowest rank.
    fn transfer_speed(&self, meeting: usize) -> u128 {
        let mut devices = self.meetings[meeting].tracks.iter().map(|t| self.tracks[*t].device());
        match devices.any(|device| self.devices[device].kernel.is_some()) {
            true => SLOW,
            false => self.full,
        }
    }

    /// Meetings that have the links, each once.
    fn active_meetings(&self) -> Vec<usize> {
        let mut active: Vec<usize> = self.devices.iter().filter_map(|d| d.meeting).collect();
        active.sort_unstable();
        active.dedup();
        active
    }

    /// When something ends; `None` when nothing is on its way.
    fn next_time(&self) -> Option<Ps> {
        let fixed = self.tracks.iter().filter_map(|t| match t.state {
            Activity::Launching { until } | Activity::Copying { until } | Activity::OnHost { until } => {
                Some(until)
            }
            _ => None,
        });
        let end = |left: Left, speed: u128| {
            self.now.saturating_add(Ps::try_from(left.div_ceil(speed)).unwrap_or(Ps::MAX))
        };
        let kernels = (0..self.devices.len())
            .filter_map(|d| self.devices[d].kernel.map(|(_, left)| end(left, self.kernel_speed(d))));
        let transfers =
            self.active_meetings().into_iter().map(|m| end(self.meetings[m].left, self.transfer_speed(m)));
        fixed.chain(kernels).chain(transfers).min()
    }

    fn advance(&mut self, next: Ps) {
        let passed = next - self.now;
        let done = |speed: u128| u128::from(passed) * speed;
        let transfers = self.active_meetings();
        let transfer_speeds: Vec<u128> = transfers.iter().map(|m| self.transfer_speed(*m)).collect();
        for d in 0..self.devices.len() {
            let speed = self.kernel_speed(d);
            let device = &mut self.devices[d];
            let (computes, transfers) = (device.kernel.is_some(), device.meeting.is_some());
            device.computing += if computes { passed } else { 0 };
            device.transferring += if transfers { passed } else { 0 };
            device.overlap += if computes && transfers { passed } else { 0 };
            if let Some((_, left)) = &mut device.kernel {
                *left = left.saturating_sub(done(speed));
            }
        }
        for (meeting, speed) in transfers.into_iter().zip(transfer_speeds) {
            let left = &mut self.meetings[meeting].left;
            *left = left.saturating_sub(done(speed));
        }
        self.now = next;
    }

    fn schedule(mut self, log: &Log, contention: f64) -> Schedule {
        // Stable: spans without duration stay where they were.
        self.spans.sort_by_key(|span| (span.device, span.stream));
        let streams = |device| {
            let own = self.tracks.iter().filter(|t| t.lane.device == device).count();
            u32::try_from(own).unwrap_or(u32::MAX)
        };
        let devices = (0..).zip(&self.devices).zip(log.devices()).map(|((device, d), about)| DeviceTime {
            device,
            soc: about.soc,
            streams: streams(device),
            computing_us: us(d.computing),
            transferring_us: us(d.transferring),
            overlap_us: us(d.overlap),
            idle_us: us(self.now - (d.computing + d.transferring - d.overlap)),
        });
        Schedule {
            devices: devices.collect(),
            makespan_us: us(self.now),
            contention,
            spans: self.spans,
            edges: self.edges,
        }
    }
}
