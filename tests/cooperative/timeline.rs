//! Steps on the simulator's clock, with given rates of the host and of its link.

use fastattention::cooperative::{Division, LayerOrder, Problem};
use fastattention::runtime::Device;
use fastattention::sim::time::{HostLink, ModelTime, Schedule, Span, SpanKind, Timeline};
use fastattention::DType;
use fastattention_testkit::device::simulator;

use crate::run::{host, placed, Run, GIVEN};

/// Two layers, of which the host has the first, with heads for K of 2 * 32 elements.
fn problem() -> Problem {
    let division = Division::Layers { order: LayerOrder::HostFirst, host: Some(1) };
    Problem::new(DType::F16, 2, [2, 64, 4, 32], division)
        .with_num_heads_k(2)
        .with_page_size(16)
        .with_rows(1, 40)
}

const LINK: HostLink =
    HostLink { up_bytes_per_s: GIVEN.up_bytes_per_s, down_bytes_per_s: GIVEN.down_bytes_per_s / 4.0 };

fn run(timeline: &Timeline) -> Run {
    let device = simulator(|config| {
        config.model_time = Some(ModelTime::with_results());
        config.timeline = Some(timeline.clone());
        config.host_link = Some(LINK);
    });
    let mut run = Run::new(&device, &host(), &placed(&problem())).unwrap();
    // A sequence that changed its lane would come behind all of the other one.
    for (lane, slot) in [(0, 0), (1, 1)] {
        run.run(lane, &[(slot, 40)], true).unwrap().check(&problem());
        // A step comes behind everything that the host has to take over.
        run.run(lane, &[(slot, 1)], false).unwrap().check(&problem());
    }
    run
}

/// Spans of some kind, by their start.
fn spans(schedule: &Schedule, kind: SpanKind) -> Vec<&Span> {
    let mut spans: Vec<&Span> = schedule.spans.iter().filter(|span| span.kind == kind).collect();
    spans.sort_by(|a, b| a.start_us.total_cmp(&b.start_us));
    spans
}

fn assert_close(got: f64, wanted: f64, what: &str) {
    assert!((got - wanted).abs() < 1e-5, "{what}: {got} us, {wanted} wanted");
}

/// Time of the host's function for a sequence with so many keys.
fn function_us(keys: f64) -> f64 {
    (GIVEN.latency_s + keys * 2.0 * 2.0 * 32.0 * 2.0 / GIVEN.host_bytes_per_s) * 1e6
}

#[test]
fn a_step_takes_what_the_rates_of_the_host_and_of_its_link_say() {
    let timeline = Timeline::new();
    let mut run = run(&timeline);
    timeline.clear();
    run.run(0, &[(0, 1)], false).unwrap().check(&problem());
    let schedule = timeline.solve().unwrap();
    let functions = spans(&schedule, SpanKind::Host);
    assert_eq!(functions.len(), 1, "{schedule:?}");
    assert_close(functions[0].duration_us(), function_us(42.0), "the host's function");
    // The numbers of the device's part go up, k, v and q go down, o comes up.
    let copies = spans(&schedule, SpanKind::Copy);
    let (before, behind): (Vec<&Span>, Vec<&Span>) = copies
        .iter()
        .filter(|span| span.stream == functions[0].stream)
        .partition(|span| span.end_us <= functions[0].start_us);
    let bytes = |spans: &[&Span]| spans.iter().map(|span| span.bytes).collect::<Vec<_>>();
    assert_eq!((bytes(&before), bytes(&behind)), (vec![128, 128, 256], vec![256]));
    let us = |spans: &[&Span]| spans.iter().map(|span| span.duration_us()).sum::<f64>();
    assert_close(us(&before), 512.0 / LINK.down_bytes_per_s * 1e6, "copies down");
    assert_close(us(&behind), 256.0 / LINK.up_bytes_per_s * 1e6, "the copy up");
    // The second layer is the device's, and comes behind.
    let kernels = spans(&schedule, SpanKind::Kernel);
    assert!(
        !kernels.is_empty() && kernels.iter().all(|kernel| kernel.start_us >= behind[0].end_us),
        "{kernels:?}"
    );
}

#[test]
fn lanes_share_the_host_and_the_device_works_beside_it() {
    let timeline = Timeline::new();
    let mut run = run(&timeline);
    timeline.clear();
    let (a, b) = (run.queue(0, &[(0, 1)], false).unwrap(), run.queue(1, &[(1, 1)], false).unwrap());
    run.finish(a).unwrap().check(&problem());
    run.finish(b).unwrap().check(&problem());
    let schedule = timeline.solve().unwrap();
    let functions = spans(&schedule, SpanKind::Host);
    assert_eq!(functions.len(), 2);
    assert_close(functions[1].start_us, functions[0].end_us, "the second function begins");
    let beside = spans(&schedule, SpanKind::Kernel)
        .into_iter()
        .filter(|kernel| kernel.start_us < functions[1].end_us && kernel.end_us > functions[1].start_us);
    assert!(beside.count() > 0, "the device waits for the second lane: {schedule:?}");
}

#[test]
fn rates_that_nothing_can_have_or_use_are_refused() {
    let open = |timeline: Option<Timeline>, link| {
        let mut config = fastattention::sim::Config::new(crate::run::soc());
        config.model_time = Some(ModelTime::with_results());
        config.timeline = timeline;
        config.host_link = Some(link);
        Device::simulated(config).unwrap_err().to_string()
    };
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e16] {
        let text = open(Some(Timeline::new()), HostLink { up_bytes_per_s: rate, ..LINK });
        assert!(
            text.contains(&format!("host_link.up_bytes_per_s = {rate} given, 1 to 1e15 wanted")),
            "{text}"
        );
    }
    let text = open(None, LINK);
    assert!(text.contains("host_link given without timeline"), "{text}");
}
