//! Schedules computed by hand, and what holds for every schedule.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::engine::TransferTime;

fn timeline(devices: i32) -> Timeline {
    let timeline = Timeline::new();
    (0..devices).for_each(|id| timeline.add_device(id, "Ascend910B2", 1.15));
    timeline
}

fn kernel(launch_us: f64, core_us: f64) -> TimedWork {
    TimedWork::Kernel { name: "k".into(), launch_us, core_us }
}

fn transfer(meeting: u64, rank: u32, parties: u32, us: f64) -> TimedWork {
    queued_transfer(meeting, rank, parties, us, us)
}

fn queued_transfer(meeting: u64, rank: u32, parties: u32, alone_us: f64, queued_us: f64) -> TimedWork {
    let (communicator, time) = ("c".to_owned(), TransferTime { alone_us, queued_us });
    TimedWork::Transfer(Transfer { meeting, name: "AllReduce", communicator, rank, parties, bytes: 64, time })
}

fn event(event: u64) -> RecordId {
    RecordId { event, record: 1 }
}

/// A stream's spans as text.
fn spans(schedule: &Schedule, device: u32, stream: u32) -> Vec<String> {
    let text = |s: &Span| format!("{:?} {} {}..{}", s.kind, s.name, s.start_us, s.end_us);
    schedule.stream(device, stream).map(text).collect()
}

#[test]
fn an_event_holds_back_the_stream_that_waits_for_it() {
    let t = timeline(1);
    t.add_step(0, 7, kernel(2.0, 10.0));
    t.add_step(0, 7, TimedWork::Record(event(3)));
    t.add_step(0, 9, TimedWork::Wait(event(3)));
    t.add_step(0, 9, kernel(2.0, 5.0));
    let got = t.solve().unwrap();
    assert_eq!(spans(&got, 0, 0), ["Launch k 0..2", "Kernel k 2..12"]);
    assert_eq!(spans(&got, 0, 1), ["Wait event 0..12", "Launch k 12..14", "Kernel k 14..19"]);
    let point = |stream| Point { device: 0, stream, at_us: 12.0 };
    assert_eq!(got.edges, [Edge { record: point(0), wait: point(1) }]);
    assert_eq!(got.makespan_us, 19.0);
    let device = &got.devices[0];
    assert_eq!((device.computing_us, device.transferring_us, device.idle_us), (15.0, 0.0, 4.0));
}

#[test]
fn each_part_of_the_host_serves_one_stream_at_a_time() {
    let host = |part, us| TimedWork::Host { part, bytes: 8, us };
    let t = timeline(2);
    // q goes down, the host works, o comes up: two streams of one device, and one of another.
    for (device, stream) in [(0, 0), (0, 1), (1, 2)] {
        t.add_step(device, stream, host(HostPart::Down, 3.0));
        t.add_step(device, stream, host(HostPart::Function, 10.0));
        t.add_step(device, stream, host(HostPart::Up, 2.0));
    }
    // A second copy in each direction beside the function of the first stream.
    t.add_step(0, 3, host(HostPart::Up, 5.0));
    let got = t.solve().unwrap();
    assert_eq!(spans(&got, 0, 0), ["Copy copy 0..3", "Host function 3..13", "Copy copy 13..15"]);
    let second =
        ["Wait host 0..3", "Copy copy 3..6", "Wait host 6..13", "Host function 13..23", "Copy copy 23..25"];
    assert_eq!(spans(&got, 0, 1), second);
    assert_eq!(spans(&got, 0, 2), ["Copy copy 0..5"]);
    assert_eq!(spans(&got, 1, 0), ["Copy copy 0..3", "Host function 3..13", "Copy copy 13..15"]);
    assert_eq!((got.makespan_us, got.devices[0].idle_us), (25.0, 25.0));
}

#[test]
fn a_collective_starts_with_its_last_rank() {
    let t = timeline(2);
    for (rank, [before, after]) in [(0u32, [10.0, 10.0]), (1, [16.0, 1.0])] {
        let stream = u64::from(rank);
        let id = rank.cast_signed();
        t.add_step(id, stream, kernel(0.0, before));
        t.add_step(id, stream, transfer(5, rank, 2, 4.25));
        t.add_step(id, stream, kernel(0.0, after));
        t.add_step(id, stream, transfer(6, rank, 2, 0.5));
    }
    let got = t.solve().unwrap();
    let fast = [
        "Launch k 0..0",
        "Kernel k 0..10",
        "Wait ranks 10..16",
        "Transfer AllReduce 16..20.25",
        "Launch k 20.25..20.25",
        "Kernel k 20.25..30.25",
        "Transfer AllReduce 30.25..30.75",
    ];
    assert_eq!(spans(&got, 0, 0), fast);
    let slow = ["Kernel k 20.25..21.25", "Wait ranks 21.25..30.25", "Transfer AllReduce 30.25..30.75"];
    assert_eq!(spans(&got, 1, 0)[4..], slow);
}

#[test]
fn a_kernel_and_a_transfer_slow_each_other_down_while_both_run() {
    let t = timeline(2);
    t.add_step(0, 0, kernel(0.0, 100.0));
    t.add_step(0, 1, transfer(1, 0, 2, 46.0));
    t.add_step(1, 2, transfer(1, 1, 2, 46.0));
    // 46 at 1 / 1.15 take 52.9, in which the kernel does 46 of its 100 too.
    let got = t.solve().unwrap();
    assert_eq!(got.contention, 1.15);
    assert_eq!(spans(&got, 0, 0), ["Launch k 0..0", "Kernel k 0..106.9"]);
    assert_eq!(spans(&got, 0, 1), ["Transfer AllReduce 0..52.9"]);
    assert_eq!(spans(&got, 1, 0), ["Transfer AllReduce 0..52.9"]);
    let times: Vec<_> =
        got.devices.iter().map(|d| [d.computing_us, d.transferring_us, d.overlap_us, d.idle_us]).collect();
    assert_eq!(times, [[106.9, 52.9, 52.9, 0.0], [0.0, 52.9, 0.0, 54.0]]);
    let alone = t.solve_with_contention(1.0).unwrap();
    assert_eq!(spans(&alone, 0, 1), ["Transfer AllReduce 0..46"]);
    assert_eq!(alone.makespan_us, 100.0);
}

#[test]
fn a_collective_goes_at_the_speed_of_its_slowest_rank() {
    let t = timeline(2);
    t.add_step(0, 0, transfer(1, 0, 2, 46.0));
    t.add_step(1, 1, transfer(1, 1, 2, 46.0));
    t.add_step(1, 2, kernel(3.0, 10.0));
    // Alone for 3, then at half speed for 20, in which the kernel does its 10; 33 are left.
    let got = t.solve_with_contention(2.0).unwrap();
    assert_eq!(spans(&got, 1, 1), ["Launch k 0..3", "Kernel k 3..23"]);
    assert_eq!(spans(&got, 0, 0), ["Transfer AllReduce 0..56"]);
}

#[test]
fn a_collective_starts_up_beside_the_one_before_it() {
    // Three of one communicator each, 10 alone and 6 behind another; ready at 0, at 2 and at 9.
    let t = timeline(1);
    for (stream, ready) in [(0, 0.0), (1, 2.0), (2, 9.0)] {
        t.add_step(0, stream, TimedWork::Copy { name: "copy", bytes: 1, us: ready });
        t.add_step(0, stream, queued_transfer(stream, 0, 1, 10.0, 6.0));
    }
    let got = t.solve().unwrap();
    assert_eq!(spans(&got, 0, 0)[1..], ["Transfer AllReduce 0..10"]);
    // It has waited 8 for the links, longer than its start-up.
    assert_eq!(spans(&got, 0, 1)[1..], ["Wait links 2..10", "Transfer AllReduce 10..16"]);
    assert_eq!(spans(&got, 0, 2)[1..], ["Wait links 9..16", "Transfer AllReduce 16..22"]);

    // On one stream, behind an event that is reached, as on others.
    let t = timeline(1);
    t.add_step(0, 0, kernel(0.0, 1.0));
    t.add_step(0, 0, TimedWork::Record(event(1)));
    t.add_step(0, 0, kernel(0.0, 14.0));
    t.add_step(0, 0, TimedWork::Record(event(2)));
    for meeting in 0..3 {
        t.add_step(0, 1, queued_transfer(meeting, 0, 1, 10.0, 6.0));
        t.add_step(0, 1, TimedWork::Wait(event(1 + meeting)));
    }
    let got = t.solve_with_contention(1.0).unwrap();
    let transfers = ["Transfer AllReduce 0..10", "Transfer AllReduce 10..16", "Transfer AllReduce 16..25"];
    assert_eq!(spans(&got, 0, 1), transfers);

    // One that arrives shortly before the links are free ends as if they had been free.
    let t = timeline(1);
    for (stream, ready) in [(0, 0.0), (1, 9.0)] {
        t.add_step(0, stream, TimedWork::Copy { name: "copy", bytes: 1, us: ready });
        t.add_step(0, stream, queued_transfer(stream, 0, 1, 10.0, 6.0));
    }
    assert_eq!(spans(&t.solve().unwrap(), 0, 1)[1..], ["Wait links 9..10", "Transfer AllReduce 10..19"]);
}

#[test]
fn cores_go_to_the_kernel_that_is_ready_first_and_then_to_the_older_stream() {
    let t = timeline(1);
    t.add_step(0, 0, kernel(3.0, 10.0));
    t.add_step(0, 1, kernel(2.0, 10.0));
    t.add_step(0, 2, kernel(3.0, 1.0));
    let got = t.solve().unwrap();
    assert_eq!(spans(&got, 0, 1), ["Launch k 0..2", "Kernel k 2..12"]);
    assert_eq!(spans(&got, 0, 0), ["Launch k 0..3", "Wait cores 3..12", "Kernel k 12..22"]);
    assert_eq!(spans(&got, 0, 2), ["Launch k 0..3", "Wait cores 3..22", "Kernel k 22..23"]);
}

#[test]
fn links_of_a_device_carry_one_transfer_at_a_time() {
    let t = timeline(3);
    // Ranks 0 and 1 exchange something, then 1 and 2; 2 is there from the start.
    t.add_step(0, 0, transfer(1, 0, 2, 5.0));
    t.add_step(1, 1, transfer(1, 1, 2, 5.0));
    t.add_step(1, 2, transfer(2, 1, 2, 7.0));
    t.add_step(2, 3, transfer(2, 2, 2, 7.0));
    let got = t.solve().unwrap();
    assert_eq!(spans(&got, 1, 1), ["Wait links 0..5", "Transfer AllReduce 5..12"]);
    assert_eq!(spans(&got, 2, 0), ["Wait links 0..5", "Transfer AllReduce 5..12"]);
}

#[test]
fn work_of_one_stream_adds_up() {
    let t = timeline(1);
    t.add_step(0, 0, TimedWork::Copy { name: "fill", bytes: 8, us: 1.5 });
    t.add_step(0, 0, kernel(9.0, 0.25));
    t.add_step(0, 0, transfer(1, 0, 1, 0.0));
    t.add_step(0, 0, kernel(9.0, 1e3));
    t.add_step(0, 0, TimedWork::Record(event(1)));
    assert_eq!(t.solve().unwrap().makespan_us, 1019.75);
    t.clear();
    t.add_step(0, 0, TimedWork::Wait(event(1)));
    let cleared = t.solve().unwrap();
    assert_eq!((cleared.makespan_us, cleared.spans.len(), cleared.edges.len()), (0.0, 0, 0));
    assert_eq!(cleared.devices.len(), 1);
}

#[test]
fn what_cannot_be_solved_is_refused_with_the_reason() {
    let t = timeline(2);
    t.add_step(0, 0, transfer(1, 1, 2, 1.0));
    let text = t.solve().unwrap_err().to_string();
    assert!(text.contains("AllReduce of communicator c of ranks [1] only, 2 ranks wanted"), "{text}");
    t.clear();
    t.add_step(0, 0, TimedWork::Wait(event(1)));
    t.add_step(0, 0, TimedWork::Record(event(1)));
    let text = t.solve().unwrap_err().to_string();
    assert!(
        text.contains("step 0 of stream 0 of device 0 waits for an event that is recorded behind it"),
        "{text}"
    );
    for wrong in [0.99, f64::NAN, f64::INFINITY] {
        assert!(t.solve_with_contention(wrong).is_err());
    }
}

/// Work as a program issues it: everything waits for what is before it only.
#[derive(Clone, Debug)]
enum Issued {
    Kernel {
        device: usize,
        stream: usize,
        launch: u32,
        core: u32,
    },
    Record {
        device: usize,
        stream: usize,
    },
    /// Of the newest record but some.
    Wait {
        device: usize,
        stream: usize,
        back: usize,
    },
    Collective {
        streams: Vec<usize>,
        us: u32,
    },
}

const STREAMS: usize = 3;

fn issued(devices: usize) -> impl Strategy<Value = Issued> {
    let place = || (0..devices, 0..STREAMS);
    prop_oneof![
        3 => (place(), 0..20u32, 0..2000u32)
            .prop_map(|((device, stream), launch, core)| Issued::Kernel { device, stream, launch, core }),
        1 => place().prop_map(|(device, stream)| Issued::Record { device, stream }),
        1 => (place(), 0..3usize).prop_map(|((device, stream), back)| Issued::Wait { device, stream, back }),
        2 => (proptest::collection::vec(0..STREAMS, devices), 0..900u32)
            .prop_map(|(streams, us)| Issued::Collective { streams, us }),
    ]
}

fn programs() -> impl Strategy<Value = (usize, Vec<Issued>)> {
    (1..4usize).prop_flat_map(|devices| (Just(devices), proptest::collection::vec(issued(devices), 1..40)))
}

/// The steps of every stream, and how long everything takes at least: each step after those that it waits
/// for.
struct Program {
    steps: BTreeMap<(usize, usize), Vec<TimedWork>>,
    critical_us: f64,
    serial_us: f64,
}

/// Tenths of a microsecond.
fn tenths(us: u32) -> f64 {
    f64::from(us) / 10.0
}

fn program(devices: usize, work: &[Issued]) -> Program {
    let mut steps: BTreeMap<_, Vec<TimedWork>> = BTreeMap::new();
    let mut ends: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    let mut records: Vec<(RecordId, f64)> = Vec::new();
    let (mut serial_us, mut meetings) = (0.0, 0);
    for issued in work {
        match issued {
            &Issued::Kernel { device, stream, launch, core } => {
                let step = kernel(tenths(launch), tenths(core));
                steps.entry((device, stream)).or_default().push(step);
                *ends.entry((device, stream)).or_default() += tenths(launch + core);
                serial_us += tenths(launch + core);
            }
            &Issued::Record { device, stream } => {
                let id = RecordId { event: 0, record: records.len() as u64 + 1 };
                steps.entry((device, stream)).or_default().push(TimedWork::Record(id));
                records.push((id, *ends.entry((device, stream)).or_default()));
            }
            &Issued::Wait { device, stream, back } => {
                let Some((id, at)) = records.iter().rev().nth(back) else { continue };
                steps.entry((device, stream)).or_default().push(TimedWork::Wait(*id));
                let end = ends.entry((device, stream)).or_default();
                *end = end.max(*at);
            }
            Issued::Collective { streams, us } => {
                meetings += 1;
                let us = if devices > 1 { tenths(*us) } else { 0.0 };
                let places: Vec<_> = streams.iter().copied().enumerate().collect();
                let end = places.iter().map(|p| ends.get(p).copied().unwrap_or(0.0)).fold(0.0, f64::max);
                for (rank, place) in (0..).zip(places) {
                    let parties = u32::try_from(devices).unwrap();
                    steps.entry(place).or_default().push(transfer(meetings, rank, parties, us));
                    ends.insert(place, end + us);
                }
                serial_us += us;
            }
        }
    }
    Program { steps, critical_us: ends.into_values().fold(0.0, f64::max), serial_us }
}

impl Program {
    /// The log, told stream by stream.
    fn timeline(&self, devices: usize, is_reversed: bool) -> Timeline {
        let timeline = timeline(i32::try_from(devices).unwrap());
        let mut lanes: Vec<_> = self.steps.iter().collect();
        if is_reversed {
            lanes.reverse();
        }
        for (&(device, stream), steps) in lanes {
            for step in steps {
                timeline.add_step(i32::try_from(device).unwrap(), stream as u64, step.clone());
            }
        }
        timeline
    }
}

/// Time of a span in which one of the others runs; the others do not overlap each other on a device.
fn covered(span: &Span, others: &[(f64, f64)]) -> f64 {
    // Borders of everything, and what is covered between two of them.
    let mut borders: Vec<f64> = others.iter().flat_map(|(a, b)| [*a, *b]).collect();
    borders.extend([span.start_us, span.end_us]);
    borders.retain(|b| (span.start_us..=span.end_us).contains(b));
    borders.sort_by(f64::total_cmp);
    let is_covered = |at: f64| others.iter().any(|(a, b)| (*a..*b).contains(&at));
    borders.windows(2).filter(|w| is_covered((w[0] + w[1]) / 2.0)).map(|w| w[1] - w[0]).sum()
}

/// A span is rounded up to a picosecond.
const EPSILON: f64 = 2e-6;

fn check(program: &Program, devices: usize, contention: f64) {
    let schedule = program.timeline(devices, false).solve_with_contention(contention).unwrap();
    assert_eq!(schedule, program.timeline(devices, true).solve_with_contention(contention).unwrap());
    let slack = EPSILON * schedule.spans.len() as f64;
    let (least, most) = (program.critical_us - slack, program.serial_us * contention + slack);
    let took = schedule.makespan_us;
    assert!((least..=most).contains(&took), "{took} us, from {least} to {most} wanted");
    for edge in &schedule.edges {
        assert!(edge.wait.at_us >= edge.record.at_us, "{edge:?}");
    }
    for window in schedule.spans.windows(2) {
        let same = (window[0].device, window[0].stream) == (window[1].device, window[1].stream);
        assert!(!same || window[0].end_us == window[1].start_us, "{window:?}");
    }
    let of = |device: Option<u32>, kind: SpanKind| -> Vec<(f64, f64)> {
        let spans = schedule.spans.iter().filter(|s| s.kind == kind && device.is_none_or(|d| d == s.device));
        spans.map(|s| (s.start_us, s.end_us)).collect()
    };
    let steps = program.steps.values().flatten();
    let mut lengths = steps.filter_map(|step| match step {
        TimedWork::Kernel { core_us, .. } => Some((SpanKind::Kernel, *core_us)),
        TimedWork::Transfer(transfer) => Some((SpanKind::Transfer, transfer.time.alone_us)),
        _ => None,
    });
    for span in schedule.spans.iter().filter(|s| matches!(s.kind, SpanKind::Kernel | SpanKind::Transfer)) {
        // A collective has a part on every device.
        let slowing = match span.kind {
            SpanKind::Kernel => of(Some(span.device), SpanKind::Transfer),
            _ => of(None, SpanKind::Kernel),
        };
        let (kind, wanted) = lengths.next().unwrap();
        assert_eq!(kind, span.kind);
        let slow = covered(span, &slowing);
        let done = (span.duration_us() - slow) + slow / contention;
        assert!((done - wanted).abs() < EPSILON * 50.0, "{span:?} did {done} of {wanted}");
        let own = of(Some(span.device), span.kind);
        let overlapping = own.iter().filter(|(a, b)| *a < span.end_us && *b > span.start_us).count();
        assert!(overlapping <= 1, "{span:?} is not alone");
    }
    for span in schedule.spans.iter().filter(|s| (s.kind, s.name.as_str()) == (SpanKind::Wait, "cores")) {
        let used = covered(span, &of(Some(span.device), SpanKind::Kernel));
        assert!((used - span.duration_us()).abs() < EPSILON, "{span:?}, cores used for {used}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_keeps_the_rules((devices, work) in programs()) {
        let program = program(devices, &work);
        for contention in [1.0, 1.15, 3.0] {
            check(&program, devices, contention);
        }
    }
}
