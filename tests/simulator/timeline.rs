//! Model time of several streams and devices: what programs get that run through ACL and HCCL, whatever the
//! host's threads do.

use std::collections::BTreeMap;
use std::time::Duration;

use fastattention::baseline::MemoryCopy;
use fastattention::runtime::{Buffer, CaptureMode, CommDType, Communicator, Device, Event, ReduceOp, Stream};
use fastattention::sim::time::{LaunchReport, ModelTime, Schedule, Span, SpanKind, Timeline};
use fastattention::sim::Config;
use fastattention::soc::Collective;
use fastattention::{DType, Soc};
use serde_json::Value;

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

/// Bytes of the row blocks of the test program; all are made of f16.
const BLOCK_BYTES: [usize; 4] = [64 << 10, 1 << 20, 1 << 20, 16 << 10];

/// One rank of the test program: kernels on one stream, collectives of their results on another one.
struct Rank {
    compute: Stream,
    communication: Stream,
    comm: Communicator,
    /// Source and destination of each block.
    blocks: Vec<(Buffer, Buffer)>,
    copy: MemoryCopy,
    /// Cores that the kernels use: ranks are of different speed.
    cores: u32,
    model_time: ModelTime,
    device: Device,
}

fn ranks(count: u32, timeline: &Timeline, model_time: impl Fn() -> ModelTime) -> Vec<Rank> {
    let model_times: Vec<ModelTime> = (0..count).map(|_| model_time()).collect();
    let devices: Vec<Device> = model_times
        .iter()
        .map(|model_time| {
            let mut config = Config::new(soc());
            config.model_time = Some(model_time.clone());
            config.timeline = Some(timeline.clone());
            Device::simulated(config).unwrap()
        })
        .collect();
    let comms = Communicator::init_all(&devices).unwrap();
    let mut ranks = Vec::new();
    for ((device, comm), model_time) in devices.into_iter().zip(comms).zip(model_times) {
        let buffer = |bytes: usize| Buffer::from_slice(&device, &vec![0u8; bytes]).unwrap();
        ranks.push(Rank {
            compute: Stream::new(&device).unwrap(),
            communication: Stream::new(&device).unwrap(),
            blocks: BLOCK_BYTES.iter().map(|bytes| (buffer(*bytes), buffer(*bytes))).collect(),
            copy: MemoryCopy::new(&device).unwrap(),
            cores: 8 >> comm.rank(),
            comm,
            model_time,
            device,
        });
    }
    ranks
}

impl Rank {
    fn launch(&self, stream: &Stream, block: usize) {
        let (src, dst) = &self.blocks[block];
        self.copy.launch(stream, self.cores, BLOCK_BYTES[block] as u64, dst.into(), src.into()).unwrap();
    }

    fn all_reduce(&self, stream: &Stream, block: usize) {
        let dst = &self.blocks[block].1;
        let count = (BLOCK_BYTES[block] / 2, DType::F16);
        self.comm.all_reduce(stream, dst, dst, count, ReduceOp::Sum).unwrap();
    }

    /// The collective of a block runs beside the kernels of later ones.
    fn overlapped(&self) {
        for block in 0..BLOCK_BYTES.len() {
            self.launch(&self.compute, block);
            let event = Event::new(&self.device).unwrap();
            event.record(&self.compute).unwrap();
            self.communication.wait_event(&event).unwrap();
            self.all_reduce(&self.communication, block);
        }
        self.communication.synchronize().unwrap();
    }

    /// Everything on one stream.
    fn serial(&self) {
        for block in 0..BLOCK_BYTES.len() {
            self.launch(&self.compute, block);
            self.all_reduce(&self.compute, block);
        }
        self.compute.synchronize().unwrap();
    }
}

fn on_threads(ranks: &[Rank], body: impl Fn(&Rank) + Sync) {
    let body = &body;
    std::thread::scope(|scope| {
        for rank in ranks {
            scope.spawn(move || body(rank));
        }
    });
}

fn task_us(ranks: &[Rank]) -> Vec<Vec<f64>> {
    let of = |rank: &Rank| rank.model_time.take_reports().iter().map(LaunchReport::task_us).collect();
    ranks.iter().map(of).collect()
}

/// Of each block alone, and behind another one.
fn transfer_us(ranks: usize) -> Vec<[f64; 2]> {
    let (links, ranks) = (&soc().links, u32::try_from(ranks).unwrap());
    let us = |bytes: u64| {
        [
            links.microseconds(Collective::AllReduce, bytes, ranks),
            links.queued_microseconds(Collective::AllReduce, bytes, ranks),
        ]
    };
    BLOCK_BYTES.iter().map(|bytes| us(*bytes as u64)).collect()
}

/// Each time in a schedule is rounded to a picosecond.
const EPSILON: f64 = 1e-4;

#[track_caller]
fn assert_close(got: f64, wanted: f64) {
    assert!((got - wanted).abs() < EPSILON, "{got}, {wanted} wanted");
}

#[test]
fn the_end_of_every_block_is_that_of_the_recurrence() {
    for count in [2, 4] {
        let timeline = Timeline::new();
        let ranks = ranks(count, &timeline, ModelTime::only);
        on_threads(&ranks, Rank::overlapped);
        let schedule = timeline.solve_with_contention(1.0).unwrap();
        let kernels = task_us(&ranks);
        // A transfer starts up when all ranks have computed its block, and begins when the one before has
        // ended.
        let (mut computed, mut end) = (vec![0.0; ranks.len()], 0.0f64);
        let mut ends = Vec::new();
        for (block, [alone, queued]) in transfer_us(ranks.len()).into_iter().enumerate() {
            computed.iter_mut().zip(&kernels).for_each(|(sum, own)| *sum += own[block]);
            let ready = computed.iter().copied().fold(0.0, f64::max);
            end = f64::max(ready + alone, end + queued);
            ends.push(end);
        }
        assert!(kernels[0][1] < kernels[1][1], "ranks of different speed were wanted: {kernels:?}");
        assert_close(schedule.makespan_us, end);
        for device in 0..count {
            let transfers = schedule.stream(device, 1).filter(|s| s.kind == SpanKind::Transfer);
            let got: Vec<f64> = transfers.map(|s| s.end_us).collect();
            assert_eq!(got.len(), ends.len());
            got.into_iter().zip(&ends).for_each(|(got, wanted)| assert_close(got, *wanted));
        }
        let contended = timeline.solve().unwrap();
        assert_eq!(contended.contention, soc().links.contention);
        let (took, most) = (contended.makespan_us, end * contended.contention);
        assert!(took > end && took < most, "{took} us, between {end} and {most} wanted");
    }
}

#[test]
fn one_stream_takes_the_sum() {
    let timeline = Timeline::new();
    let ranks = ranks(1, &timeline, ModelTime::only);
    // Data that a program prepares is not part of what is timed.
    ranks[0].overlapped();
    ranks[0].model_time.take_reports();
    timeline.clear();
    ranks[0].serial();
    let wanted: f64 = task_us(&ranks)[0].iter().sum();
    let schedule = timeline.solve().unwrap();
    assert_close(schedule.makespan_us, wanted);
    assert_close(schedule.devices[0].idle_us, soc().timing.control.launch_us * BLOCK_BYTES.len() as f64);

    let timeline = Timeline::new();
    let ranks = self::ranks(2, &timeline, ModelTime::only);
    on_threads(&ranks, Rank::serial);
    let kernels = task_us(&ranks);
    let slowest = (0..BLOCK_BYTES.len()).map(|block| f64::max(kernels[0][block], kernels[1][block]));
    assert_close(
        timeline.solve().unwrap().makespan_us,
        slowest.chain(transfer_us(2).into_iter().map(|[alone, _]| alone)).sum(),
    );
}

#[test]
fn launches_of_a_graph_take_the_time_of_launches() {
    let timeline = Timeline::new();
    let ranks = ranks(1, &timeline, ModelTime::only);
    let rank = &ranks[0];
    let blocks = 0..BLOCK_BYTES.len();
    // L2 holds the same before each round.
    blocks.clone().for_each(|block| rank.launch(&rank.compute, block));
    let capture = {
        rank.compute.synchronize().unwrap();
        rank.compute.begin_capture(CaptureMode::Global).unwrap()
    };
    blocks.clone().for_each(|block| rank.launch(&rank.compute, block));
    let graph = capture.end().unwrap();
    rank.model_time.take_reports();
    timeline.clear();
    for _ in 0..3 {
        graph.launch(&rank.compute).unwrap();
    }
    rank.compute.synchronize().unwrap();
    let tasks = task_us(&ranks).remove(0);
    assert_eq!(tasks.len(), 3 * blocks.len());
    assert_close(timeline.solve().unwrap().makespan_us, tasks.iter().sum());
}

/// The same program, disturbed: ranks start at different times, and another thread uses a stream of its own.
fn disturbed(round: u64) -> Schedule {
    let timeline = Timeline::new();
    let ranks = ranks(2, &timeline, ModelTime::only);
    let side: Vec<Stream> = ranks.iter().map(|rank| Stream::new(&rank.device).unwrap()).collect();
    let nap = |n: u64| std::thread::sleep(Duration::from_micros(n % 7 * 300));
    std::thread::scope(|scope| {
        for ((i, rank), side) in (0..).zip(&ranks).zip(&side) {
            scope.spawn(move || {
                nap(round * 3 + i * 5);
                rank.overlapped();
            });
            scope.spawn(move || {
                nap(round * 5 + i);
                let (src, own) = (&rank.blocks[1].0, Buffer::alloc(&rank.device, BLOCK_BYTES[1]).unwrap());
                for _ in 0..2 {
                    let bytes = BLOCK_BYTES[1] as u64;
                    rank.copy.launch(side, rank.cores, bytes, (&own).into(), src.into()).unwrap();
                }
                side.synchronize().unwrap();
            });
        }
    });
    timeline.solve().unwrap()
}

#[test]
fn schedules_do_not_depend_on_host_threads() {
    let first = disturbed(0);
    assert!(first.spans.iter().any(|span| span.name == "cores"), "nobody waited for the cores: {first:?}");
    for round in 1..20 {
        assert_eq!(disturbed(round), first, "round {round}");
    }
}

#[test]
fn without_results_collectives_move_nothing_and_take_as_long() {
    let run = |model_time: fn() -> ModelTime| {
        let timeline = Timeline::new();
        let ranks = ranks(2, &timeline, model_time);
        on_threads(&ranks, |rank| {
            let fill = |byte: u8| Buffer::from_slice(&rank.device, &[byte; 64]).unwrap();
            let (send, recv) = (fill(1), fill(7));
            rank.comm
                .all_reduce(&rank.communication, &send, &recv, (64, CommDType::I8), ReduceOp::Sum)
                .unwrap();
            rank.communication.synchronize().unwrap();
            let mut got = [0u8; 64];
            recv.copy_to_host(&mut got).unwrap();
            assert_eq!(got, [if rank.model_time.has_results() { 2 } else { 7 }; 64]);
            // Never written.
            let fresh = Buffer::alloc(&rank.device, 64).unwrap();
            rank.comm
                .all_gather(
                    &rank.communication,
                    &fresh,
                    &Buffer::alloc(&rank.device, 128).unwrap(),
                    (32, DType::F16),
                )
                .unwrap();
            rank.communication.synchronize().unwrap();
            rank.overlapped();
        });
        timeline.solve().unwrap()
    };
    assert_eq!(run(ModelTime::only), run(ModelTime::with_results));
}

#[test]
fn a_timeline_without_model_time_is_refused() {
    let mut config = Config::new(soc());
    config.timeline = Some(Timeline::new());
    let text = Device::simulated(config).unwrap_err().to_string();
    assert!(text.contains("timeline given without model_time"), "{text}");
}

#[test]
fn copies_take_the_time_of_the_memory_that_they_cross() {
    let timeline = Timeline::new();
    let ranks = ranks(1, &timeline, ModelTime::with_results);
    let rank = &ranks[0];
    let (src, dst) = &rank.blocks[1];
    rank.communication.copy(src, dst).unwrap();
    rank.communication.zero(dst).unwrap();
    rank.communication.synchronize().unwrap();
    let schedule = timeline.solve().unwrap();
    // Read and written once each, then written.
    let us = BLOCK_BYTES[1] as f64 / (soc().timing.memory.hbm_gbps * 1e3);
    let got: Vec<_> = schedule.spans.iter().map(|s| (s.name.as_str(), s.bytes)).collect();
    assert_eq!(got, [("copy", BLOCK_BYTES[1] as u64), ("fill", BLOCK_BYTES[1] as u64)]);
    assert_close(schedule.spans[0].duration_us(), 2.0 * us);
    assert_close(schedule.makespan_us, 3.0 * us);
}

fn number(event: &Value, key: &str) -> f64 {
    event[key].as_f64().unwrap_or_else(|| panic!("{key} of {event}"))
}

/// Process and track.
fn place(event: &Value) -> (u64, u64) {
    (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap())
}

#[test]
fn a_trace_tells_what_the_schedule_does() {
    let timeline = Timeline::new();
    let ranks = ranks(2, &timeline, ModelTime::only);
    on_threads(&ranks, Rank::overlapped);
    let schedule = timeline.solve().unwrap();
    let mut file = Vec::new();
    schedule.write_trace(&mut file).unwrap();
    let trace: Value = serde_json::from_slice(&file).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str| events.iter().filter(move |e| e["ph"] == *phase).collect::<Vec<_>>();

    let names: BTreeMap<String, (u64, u64)> = of("M")
        .into_iter()
        .filter_map(|e| Some((e["args"]["name"].as_str()?.to_owned() + &format!(" {}", e["pid"]), place(e))))
        .collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert_eq!((names["device 1 2"], names["stream 0 2"], names["stream 1 1"]), ((2, 0), (2, 1), (1, 2)));

    let bars = of("X");
    let spans: Vec<&Span> = schedule.spans.iter().filter(|s| s.duration_us() > 0.0).collect();
    assert_eq!(bars.len(), spans.len());
    let mut ends: BTreeMap<(u64, u64), f64> = BTreeMap::new();
    for (bar, span) in bars.iter().zip(spans) {
        assert_eq!(place(bar), (u64::from(span.device) + 1, u64::from(span.stream) + 1));
        assert!(bar["name"].as_str().unwrap().ends_with(&span.name), "{bar}");
        let (start, end) = (number(bar, "ts"), number(bar, "ts") + number(bar, "dur"));
        assert_close(start, span.start_us);
        assert_close(end, span.end_us);
        let last = ends.insert(place(bar), end).unwrap_or(0.0);
        assert!(start > last - 1e-9, "{bar} begins before {last}");
    }

    // An arrow leads from the inside of a bar to the start of one, and never back in time.
    let (tails, heads) = (of("s"), of("f"));
    assert_eq!((tails.len(), heads.len()), (schedule.edges.len(), schedule.edges.len()));
    assert_eq!(schedule.edges.len(), 2 * BLOCK_BYTES.len());
    for (tail, head) in tails.iter().zip(&heads) {
        assert_eq!(tail["id"], head["id"]);
        assert_eq!((place(tail).1, place(head).1, place(tail).0), (1, 2, place(head).0));
        assert!(number(tail, "ts") <= number(head, "ts"), "{tail} {head}");
        let has_bar = |event: &Value, holds: fn(f64, f64, f64) -> bool| {
            let at = number(event, "ts");
            let mut own = bars.iter().filter(|b| place(b) == place(event));
            own.any(|b| holds(at, number(b, "ts"), number(b, "ts") + number(b, "dur")))
        };
        assert!(has_bar(tail, |at, start, end| start <= at && at < end), "{tail}");
        assert!(has_bar(head, |at, start, _| at == start), "{head}");
    }
}
