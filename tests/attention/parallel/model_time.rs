//! Model time of all ranks on one clock: blocks against one block, against the two engines of the planner's
//! model, and against their bound.

use fastattention::attention::Mask;
use fastattention::parallel::schedule::{bound, end, follow, Cost};
use fastattention::parallel::{plan, plan_with, Plan, Problem, TilingAllReduce};
use fastattention::runtime::{Communicator, Device, Stream};
use fastattention::sim::time::{ModelTime, Schedule, Span, SpanKind, Timeline};
use fastattention::sim::Config;
use fastattention::DType;

use super::{soc, Buffers, Rank};

/// All ranks, time only; the schedule with and without contention.
fn simulate(plan: &Plan) -> [Schedule; 2] {
    let timeline = Timeline::new();
    let config = || {
        let mut config = Config::new(soc());
        config.check_races = false;
        config.model_time = Some(ModelTime::only());
        config.timeline = Some(timeline.clone());
        config
    };
    let devices: Vec<Device> =
        (0..plan.problem().ranks).map(|_| Device::simulated(config()).unwrap()).collect();
    let operators: Vec<TilingAllReduce> = match devices.as_slice() {
        [device] => vec![TilingAllReduce::alone(device).unwrap()],
        devices => Communicator::init_all(devices)
            .unwrap()
            .into_iter()
            .map(|c| TilingAllReduce::new(c).unwrap())
            .collect(),
    };
    let mut ranks: Vec<Rank> = operators
        .into_iter()
        .map(|operator| Rank {
            buffers: Buffers::without_data(operator.device(), plan),
            stream: Stream::new(operator.device()).unwrap(),
            operator,
        })
        .collect();
    ranks.iter_mut().for_each(|rank| rank.launch(plan).unwrap());
    ranks.iter().for_each(|rank| rank.stream.synchronize().unwrap());
    [timeline.solve().unwrap(), timeline.solve_with_contention(1.0).unwrap()]
}

/// What the blocks of rank 0 took on its cores, from a schedule without contention, with their transfers.
fn costs(plan: &Plan, schedule: &Schedule) -> Vec<Cost> {
    let of = |kinds: &[SpanKind]| -> Vec<f64> {
        let spans = schedule.spans.iter().filter(|span| span.device == 0 && kinds.contains(&span.kind));
        spans.map(Span::duration_us).collect()
    };
    let [launches, kernels] = [SpanKind::Launch, SpanKind::Kernel].map(|kind| of(&[kind]));
    let transfers = of(&[SpanKind::Transfer]);
    assert_eq!(transfers.len(), plan.blocks().len());
    let count = plan.blocks().iter().map(|block| block.num_launches()).sum::<usize>();
    assert_eq!([launches.len(), kernels.len()], [count; 2]);
    let (mut launches, mut kernels) = (launches.into_iter(), kernels.into_iter());
    let blocks = plan.blocks().iter().zip(transfers);
    blocks
        .map(|(block, transfer_us)| {
            let Cost { transfer_us: alone_us, queued_us, .. } = block.cost;
            assert!((queued_us - 1e-5..=alone_us + 1e-5).contains(&transfer_us), "{transfer_us}: {block:?}");
            let launch_us: f64 = launches.by_ref().take(block.num_launches()).sum();
            let kernels_us: f64 = kernels.by_ref().take(block.num_launches()).sum();
            Cost { compute_us: launch_us + kernels_us, launch_us, ..block.cost }
        })
        .collect()
}

/// Layers in which computing takes longer, in which the transfer does, and in which both take about the same.
fn layers() -> [Problem; 5] {
    let layer = |batch, seqlen, heads, hidden, ranks| {
        Problem::new(DType::F16, [batch, seqlen, heads, 128], hidden, ranks)
    };
    [
        layer(1, 4096, 4, 512, 2),
        layer(1, 2048, 4, 4096, 4).with_mask(Mask::Causal),
        layer(2, 2048, 8, 3072, 4),
        layer(3, 1000, 8, 1024, 8).with_num_heads_k(2),
        layer(4, 700, 16, 2048, 8).with_mask(Mask::Causal),
    ]
}

#[test]
fn blocks_are_never_slower_than_one_and_end_as_the_model_of_two_engines_says() {
    for problem in layers() {
        let chosen = plan(&problem, soc()).unwrap();
        let rows = u32::try_from(problem.rows()).unwrap();
        let [blocks, blocks_free] = simulate(&chosen);
        let [one, _] = simulate(&plan_with(&problem, soc(), &[rows]).unwrap());
        assert!(
            blocks.makespan_us <= one.makespan_us * 1.02,
            "{} us in blocks, {} us as one\n{chosen}",
            blocks.makespan_us,
            one.makespan_us
        );
        let costs = costs(&chosen, &blocks_free);
        for (schedule, contention) in [(&blocks, soc().links.contention), (&blocks_free, 1.0)] {
            let modelled = end(&follow(&costs, contention));
            let error = modelled / schedule.makespan_us - 1.0;
            assert!(error.abs() < 1e-6, "{modelled} us, {} us on the clock\n{chosen}", schedule.makespan_us);
        }
        for device in &blocks.devices {
            let most = device.computing_us.min(device.transferring_us) + 1e-9;
            assert!(device.overlap_us <= most, "{device:?}");
        }
    }
}

#[test]
fn without_contention_blocks_end_at_their_bound() {
    for problem in layers() {
        let chosen = plan(&problem, soc()).unwrap();
        let [_, free] = simulate(&chosen);
        let bound = bound(&costs(&chosen, &free));
        assert!(free.makespan_us >= bound - 1e-3, "{} us, bound {bound} us\n{chosen}", free.makespan_us);
        assert!(free.makespan_us <= bound * 1.05, "{} us, bound {bound} us\n{chosen}", free.makespan_us);
    }
}

#[test]
fn transfers_of_all_ranks_are_one_and_run_beside_kernels() {
    let problem = Problem::new(DType::F16, [1, 2048, 8, 128], 4096, 4);
    let chosen = plan_with(&problem, soc(), &[512, 1024, 512]).unwrap();
    let [schedule, _] = simulate(&chosen);
    let transfers = |device: u32| -> Vec<(f64, f64)> {
        let spans = schedule.spans.iter().filter(|s| s.device == device && s.kind == SpanKind::Transfer);
        spans.map(|s| (s.start_us, s.end_us)).collect()
    };
    assert_eq!(transfers(0).len(), 3);
    (1..4).for_each(|device| assert_eq!(transfers(device), transfers(0), "device {device}"));
    schedule.devices.iter().for_each(|device| assert!(device.overlap_us > 0.0, "{device:?}"));

    let mut trace = Vec::new();
    schedule.write_trace(&mut trace).unwrap();
    let trace: serde_json::Value = serde_json::from_slice(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let processes: std::collections::BTreeSet<u64> =
        events.iter().filter_map(|e| e["pid"].as_u64()).collect();
    assert_eq!(processes.len(), 4, "one for each rank");
    let reductions = events
        .iter()
        .filter(|e| e["ph"] == "X" && e["name"].as_str().is_some_and(|n| n.contains("AllReduce")));
    assert_eq!(reductions.count(), 4 * 3);
}

#[test]
fn one_rank_only_computes() {
    let problem = Problem::new(DType::F16, [1, 1024, 4, 128], 512, 1);
    let chosen = plan(&problem, soc()).unwrap();
    let [schedule, _] = simulate(&chosen);
    let kinds: Vec<SpanKind> = schedule.spans.iter().map(|span| span.kind).collect();
    assert_eq!(kinds, [SpanKind::Launch, SpanKind::Kernel], "attention and projection are one kernel");
}
