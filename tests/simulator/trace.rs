//! Reports and traces of launches in model time: what must hold for every launch, whatever the rates.

use std::collections::{BTreeMap, BTreeSet};

use fastattention::attention::{plan, Buffers, FlashAttention, Mask, Plan, Problem};
use fastattention::runtime::{Device, Stream};
use fastattention::sim::time::{Cause, LaunchReport, ModelTime, TraceDialect, TraceOptions};
use fastattention::sim::{Config, Pipe};
use fastattention::{DType, Soc};
use fastattention_testkit::compare::assert_same_text;
use half::f16;
use proptest::prelude::*;
use serde_json::Value;

const PIPES: [Pipe; 7] = [Pipe::S, Pipe::V, Pipe::M, Pipe::Mte1, Pipe::Mte2, Pipe::Mte3, Pipe::Fix];

/// Rounding of sums of cycles.
const EPSILON: f64 = 1e-6;

fn problem([batch, seqlen_q, num_heads, head_dim]: [u32; 4], seqlen_k: u32, mask: Mask) -> Problem {
    Problem::new(DType::F16, [batch, seqlen_q, num_heads, head_dim]).with_seqlen_k(seqlen_k).with_mask(mask)
}

fn problems() -> Vec<Problem> {
    vec![
        problem([1, 128, 1, 64], 256, Mask::None),
        problem([2, 77, 2, 80], 150, Mask::Causal).with_num_heads_k(1),
        problem([1, 200, 3, 128], 200, Mask::Window { left: Some(40), right: Some(3) }),
    ]
}

/// The reports of `rounds` launches of a problem on a device of its own.
fn launch(problem: &Problem, model_time: &ModelTime, threads: usize, rounds: usize) -> Vec<LaunchReport> {
    let mut config = Config::new(Soc::by_name("Ascend910B2").unwrap());
    config.threads = threads;
    config.model_time = Some(model_time.clone());
    let device = Device::simulated(config).unwrap();
    let plan = plan(problem, device.soc()).unwrap();
    let buffers = Buffers::alloc(&device, &plan).unwrap();
    for buffer in [&buffers.q, &buffers.k, &buffers.v, &buffers.o] {
        buffer.copy_from_host(&vec![f16::from_f32(0.01); buffer.len_bytes() / 2]).unwrap();
    }
    let operator = FlashAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    for _ in 0..rounds {
        operator.launch(&stream, &plan, buffers.args()).unwrap();
        stream.synchronize().unwrap();
    }
    model_time.take_reports()
}

/// The report of one traced launch without results.
fn traced(problem: &Problem) -> LaunchReport {
    launch(problem, &ModelTime::only().with_trace(), 1, 1).remove(0)
}

/// Sums of the pipes fit the launch.
fn check_pipes(report: &LaunchReport) {
    assert_eq!(report.cores.iter().map(|core| core.end).fold(0.0, f64::max), report.cycles);
    for core in &report.cores {
        for pipe in PIPES {
            let r = &core.pipes[pipe as usize];
            let what = format!("{} {} {pipe}: {r:?}", core.group, core.core);
            // Waiting for memory is part of being busy; every other stall is not.
            let idle: f64 = r.stalls.iter().filter(|(c, _)| **c != Cause::Memory).map(|(_, s)| s).sum();
            assert!(r.busy >= 0.0 && r.stalls.values().all(|s| *s >= 0.0), "{what}");
            assert!(r.busy + idle <= core.end + EPSILON, "{what}, core ends at {}", core.end);
            assert!(r.occupied <= r.busy + EPSILON, "{what}");
            assert_eq!(r.instructions == 0, r.busy == 0.0, "{what}");
        }
    }
}

/// Events are in order, and are those that the reports count.
fn check_events(report: &LaunchReport) {
    let mut lanes: BTreeMap<(u32, &str, Pipe), (u64, f64, f64)> = BTreeMap::new();
    for (i, e) in report.trace.iter().enumerate() {
        assert!(0.0 <= e.start && e.start <= e.free && e.free <= e.done && e.done <= report.cycles, "{e:?}");
        let (count, free, occupied) = lanes.entry((e.group, e.core, e.pipe)).or_default();
        assert!(*free <= e.start, "the pipe is taken until {free}: {e:?}");
        (*count, *free, *occupied) = (*count + 1, e.free, *occupied + (e.free - e.start));
        if let Some(before) = e.before {
            assert!((before as usize) < i, "{e:?}");
            assert!(report.trace[before as usize].start <= e.start, "{e:?}");
        }
    }
    for core in &report.cores {
        // The scalar unit's instructions are no events.
        for pipe in PIPES.into_iter().filter(|p| *p != Pipe::S) {
            let (count, _, occupied) = lanes.get(&(core.group, core.core, pipe)).copied().unwrap_or_default();
            assert_eq!(core.pipes[pipe as usize].instructions, count);
            let of_pipe = core.pipes[pipe as usize].occupied;
            assert!((of_pipe - occupied).abs() < EPSILON, "{pipe:?}: {of_pipe}, of events {occupied}");
        }
    }
}

/// Every cycle up to the last result is on the critical path once.
fn check_path(report: &LaunchReport) {
    let path = report.critical_path();
    let sum: f64 = path.iter().map(|step| step.cycles).sum();
    let last = report.trace.iter().map(|e| e.done).fold(0.0, f64::max);
    assert!((sum - last).abs() < 1e-3, "{sum} of {last}: {path:?}");
    assert!(path.iter().all(|step| step.cycles > 0.0 && step.count > 0), "{path:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reports_and_events_of_any_problem_fit_together(
        seqlen_q in 1u32..200,
        seqlen_k in 1u32..300,
        num_heads in 1u32..4,
        head_dim in (1u32..9).prop_map(|d| 16 * d),
        mask in prop_oneof![
            Just(Mask::None),
            Just(Mask::Causal),
            Just(Mask::Window { left: Some(30), right: Some(5) })
        ],
    ) {
        let report = traced(&problem([1, seqlen_q, num_heads, head_dim], seqlen_k, mask));
        check_pipes(&report);
        check_events(&report);
        check_path(&report);
        let rate = report.l2_hit_rate().unwrap();
        prop_assert!((0.0..=1.0).contains(&rate));
        let roofline = report.roofline();
        prop_assert!(roofline.tflops <= roofline.peak_tflops, "{roofline:?}");
    }
}

/// Bytes that `flash_fwd` has to move between GM and its cores without a mask, from the plan: by pipe, AIC
/// then AIV.
fn asked(plan: &Plan) -> BTreeMap<(&'static str, Pipe), u64> {
    let shape = plan.shape();
    let (d, d_v) = (u64::from(shape.head_dim), u64::from(shape.head_dim_v));
    let mut bytes = BTreeMap::new();
    for item in (0..plan.num_cores()).flat_map(|core| plan.work_items(core)) {
        let rows = item.rows().len() as u64;
        let keys = plan.key_range(item.rows()).len() as u64;
        let blocks = keys.div_ceil(u64::from(plan.chosen().block_n));
        let bundles = blocks.div_ceil(u64::from(plan.chosen().bundle_steps));
        let (scores, outputs) = (rows * keys, rows * d_v * bundles);
        // q, k, v and P are 16-bit; scores and the parts of o, one of each bundle, are f32, written by FIX
        // and read by MTE2 of the AIV.
        *bytes.entry(("AIC", Pipe::Mte2)).or_default() += 2 * (rows * d + keys * (d + d_v) + scores);
        *bytes.entry(("AIC", Pipe::Fix)).or_default() += 4 * (scores + outputs);
        *bytes.entry(("AIV", Pipe::Mte2)).or_default() += 4 * (scores + outputs);
        *bytes.entry(("AIV", Pipe::Mte3)).or_default() += 2 * (scores + rows * d_v);
    }
    bytes
}

#[test]
fn bytes_moved_are_those_that_the_plan_asks_for() {
    for problem in [
        problem([1, 128, 1, 64], 256, Mask::None),
        problem([2, 192, 4, 128], 1040, Mask::None).with_num_heads_k(2),
        problem([1, 320, 3, 128], 640, Mask::None).with_head_dim_v(64),
    ] {
        let report = traced(&problem);
        let plan = plan(&problem, Soc::by_name("Ascend910B2").unwrap()).unwrap();
        let asked = asked(&plan);
        let mut moved: BTreeMap<(&str, Pipe), u64> = BTreeMap::new();
        for event in report.trace.iter().filter(|e| e.gm_bytes > 0) {
            *moved.entry((&event.core[..3], event.pipe)).or_default() += event.gm_bytes;
        }
        assert_eq!(moved, asked, "{problem:?}");
        let sum = |is_read: bool| {
            asked.iter().filter(|((_, p), _)| (*p == Pipe::Mte2) == is_read).map(|(_, b)| b).sum::<u64>()
        };
        assert_eq!((report.traffic.read_bytes, report.traffic.written_bytes), (sum(true), sum(false)));
        assert_eq!(report.summary().pipe_gm_bytes.values().sum::<u64>(), report.gm_bytes());
        // All extents are multiples of 16, so that the Cube multiplies nothing else.
        let heads = u64::from(problem.batch * problem.spec.num_heads);
        let pairs = u64::from(problem.seqlen_q) * u64::from(problem.seqlen_k);
        let macs = heads * pairs * u64::from(problem.spec.head_dim + problem.spec.head_dim_v);
        assert_eq!(report.cube_macs, macs, "{problem:?}");
    }
}

#[test]
fn a_second_launch_finds_l2_filled() {
    let problem = problem([1, 256, 1, 128], 512, Mask::None);
    let reports = launch(&problem, &ModelTime::only(), 1, 2);
    assert!(reports[0].traffic.hbm_read_bytes > 0, "{:?}", reports[0].traffic);
    assert_eq!(reports[1].traffic.hbm_read_bytes, 0);
    assert_eq!(reports[1].l2_hit_rate(), Some(1.0));
    let [cold, warm] = [&reports[0], &reports[1]].map(|report| report.cycles);
    assert!(warm < cold, "{warm} cycles, {cold} with L2 empty");
    assert_eq!(reports[1].roofline().hbm.flops_per_byte, None);
}

/// All that a report says.
fn text(report: &LaunchReport) -> String {
    format!("{report:#?}")
}

#[test]
fn runs_threads_and_results_do_not_change_the_time() {
    for problem in problems() {
        let reference = traced(&problem);
        for threads in [1, 2, 5] {
            let again = launch(&problem, &ModelTime::only().with_trace(), threads, 1).remove(0);
            assert_same_text(&text(&again), &text(&reference), &format!("{threads} threads: {problem:?}"));
        }
        let with_results = launch(&problem, &ModelTime::with_results().with_trace(), 1, 1).remove(0);
        assert_eq!(with_results.cycles, reference.cycles, "{problem:?}");
        assert_same_text(&text(&with_results), &text(&reference), &format!("{problem:?}"));
    }
}

/// The JSON of a report, and how many instructions and arrows it holds.
fn chrome(report: &LaunchReport, options: &TraceOptions) -> (Vec<u8>, [u64; 2], Option<String>) {
    let mut bytes = Vec::new();
    let mut last = 0;
    let written = report
        .write_trace(&mut bytes, options, &mut |done| {
            assert!(done >= last, "{done} behind {last}");
            last = done;
        })
        .unwrap();
    assert_eq!(last, report.trace.len() as u64);
    (bytes, [written.instructions, written.flows], written.left_out)
}

/// Checks the events of a trace; returns the numbers of bars and of arrows.
fn check_chrome(events: &[Value], dialect: TraceDialect) -> [u64; 2] {
    let id = |event: &Value, key: &str| match (dialect, &event[key]) {
        (TraceDialect::Vendor, Value::String(text)) => text.clone(),
        (TraceDialect::Integer, Value::Number(number)) if number.is_u64() => number.to_string(),
        (_, other) => panic!("{key} is {other}"),
    };
    let lane = |event: &Value| (id(event, "pid"), id(event, "tid"));
    let ns = |event: &Value, key: &str| event[key].as_f64().unwrap() * 1000.0;
    let mut named = BTreeSet::new();
    let mut bars: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
    let mut starts: BTreeMap<_, &Value> = BTreeMap::new();
    let mut ends: BTreeMap<_, &Value> = BTreeMap::new();
    for event in events {
        let key = || (event["id"].as_u64().unwrap(), event["cat"].to_string(), event["name"].to_string());
        match event["ph"].as_str().unwrap() {
            "M" => drop(named.insert(lane(event))),
            "X" => bars.entry(lane(event)).or_default().push((ns(event, "ts"), ns(event, "dur"))),
            "s" => assert!(starts.insert(key(), event).is_none(), "{event}"),
            "t" if dialect == TraceDialect::Vendor => assert!(ends.insert(key(), event).is_none(), "{event}"),
            "f" if dialect == TraceDialect::Integer => {
                assert_eq!(event["bp"], "e", "{event}");
                assert!(ends.insert(key(), event).is_none(), "{event}");
            }
            _ => panic!("{event}"),
        }
    }
    for (lane, bars) in &bars {
        assert!(named.contains(lane), "{lane:?} has no metadata");
        assert!(bars.iter().all(|(ts, dur)| *ts >= 0.0 && *dur > 0.0), "{lane:?}: {bars:?}");
        // In the order of the file: later bars start later, and behind the end of the one before.
        for pair in bars.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0 + 1e-6, "{lane:?}: {pair:?}");
        }
    }
    assert_eq!(starts.keys().collect::<Vec<_>>(), ends.keys().collect::<Vec<_>>());
    for (key, start) in &starts {
        let end = ends[key];
        assert!(ns(start, "ts") <= ns(end, "ts"), "{start} {end}");
        for event in [*start, end] {
            let at = ns(event, "ts");
            let is_on_a_bar = |bar: &(f64, f64)| bar.0 - 1e-6 <= at && at <= bar.0 + bar.1 + 1e-6;
            assert!(bars[&lane(event)].iter().any(is_on_a_bar), "{event} is fastened to nothing");
        }
    }
    [bars.values().map(|b| b.len() as u64).sum(), starts.len() as u64]
}

#[test]
fn traces_parse_bars_do_not_overlap_and_arrows_pair_up() {
    let report = traced(&problems()[1]);
    for dialect in [TraceDialect::Vendor, TraceDialect::Integer] {
        let options = TraceOptions { dialect, ..TraceOptions::default() };
        let (bytes, counts, left_out) = chrome(&report, &options);
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((json["schemaVersion"].as_u64(), json["profilingType"].as_str()), (Some(2), Some("op")));
        assert!(json["otherData"]["time"].as_str().unwrap().contains("model time"));
        assert_eq!((left_out, &json["otherData"]["left_out"]), (None, &Value::from("nothing")));
        assert_eq!(check_chrome(json["traceEvents"].as_array().unwrap(), dialect), counts);
        assert_eq!(counts[0], report.trace.len() as u64);
        assert_ne!(counts[1], 0);
    }
}

#[test]
fn what_a_trace_leaves_out_it_says() {
    let report = traced(&problem([1, 512, 1, 64], 64, Mask::None));
    let groups: BTreeSet<u32> = report.trace.iter().map(|e| e.group).collect();
    assert!(groups.len() > 2, "{groups:?}");
    let of = |group: u32| report.trace.iter().filter(|e| e.group == group).count() as u64;

    let one = TraceOptions { groups: Some(vec![1]), ..TraceOptions::default() };
    let (bytes, [instructions, _], left_out) = chrome(&report, &one);
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(instructions, of(1));
    assert!(json["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .all(|e| e["pid"].as_str().unwrap().starts_with("core1.")));
    let text = left_out.unwrap();
    assert!(text.starts_with("cores 0, 2"), "{text}");
    assert_eq!(json["otherData"]["left_out"], text);

    for max_bytes in [bytes.len() as u64 / 2, 2 * bytes.len() as u64] {
        let limited = TraceOptions { max_bytes, ..TraceOptions::default() };
        let (bytes, [instructions, _], left_out) = chrome(&report, &limited);
        let text = left_out.unwrap();
        assert!(bytes.len() as u64 <= max_bytes, "{} of {max_bytes}", bytes.len());
        assert!(instructions > 0 && instructions < report.trace.len() as u64, "{text}");
        assert_eq!(instructions < of(0), text.contains(" us on"), "{text}");
        check_chrome(
            serde_json::from_slice::<Value>(&bytes).unwrap()["traceEvents"].as_array().unwrap(),
            TraceDialect::Vendor,
        );
    }

    for max_bytes in [0, 100] {
        let none = TraceOptions { max_bytes, ..TraceOptions::default() };
        let (mut bytes, mut step) = (Vec::new(), |_| {});
        let error = report.write_trace(&mut bytes, &none, &mut step).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("max_bytes = {max_bytes} is too few for any instruction of the launch")
        );
        assert!(bytes.is_empty());
    }

    let wrong = TraceOptions { groups: Some(vec![99]), ..TraceOptions::default() };
    let error = report.write_trace(&mut Vec::new(), &wrong, &mut |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("the launch has no core 99; it ran on cores 0-"), "{error}");
    let untraced = launch(&problems()[0], &ModelTime::only(), 1, 1).remove(0);
    let error = untraced.write_trace(&mut Vec::new(), &TraceOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("was not traced"), "{error}");
}

#[test]
fn the_summary_is_complete_as_json_and_a_table_for_people() {
    let report = traced(&problems()[0]);
    let summary = report.summary();
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["cores"].as_array().unwrap().len(), report.cores.len());
    let aic = &json["cores"][0];
    assert_eq!(aic["core"], "AIC");
    assert_eq!(aic["pipes"]["M"]["busy_cycles"].as_f64().unwrap(), report.cores[0].pipes[2].busy);
    let stalls = aic["pipes"]["M"]["stall_cycles"]["flag from MTE1"].as_f64().unwrap();
    assert!(stalls > 0.0, "{stalls}");
    assert!(aic["pipes"].get("V").is_none(), "an AIC has no vector unit");
    assert_eq!(json["read_bytes"].as_u64().unwrap(), report.traffic.read_bytes);
    let text = summary.to_string();
    for wanted in
        ["model time of the simulator, not measured", "flag from MTE1", "critical path", "of its peak"]
    {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}
