//! Ranks that fail, leave, or ask for something else.

use std::time::{Duration, Instant};

use fastattention::parallel::{plan, plan_with, Args, Linear, LinearArgs, Problem};
use fastattention::runtime::Stream;
use fastattention::{DType, Error, Result};
use fastattention_testkit::compare::{assert_all, assert_same};
use half::f16;

use super::layer::Layer;
use super::{simulated_ranks, soc, Rank, PATIENT};

fn layer(ranks: u32) -> Layer<f16> {
    Layer::new(Problem::new(DType::F16, [1, 300, 4, 32], 64, ranks), 2)
}

/// The buffers hold what they held, and can be used.
fn buffers_are_valid(rank: &Rank, layer: &Layer<f16>, number: u32) {
    let mut q = vec![f16::ZERO; layer.shard(number).q.len()];
    rank.buffers.q.copy_to_host(&mut q).unwrap();
    assert_same(&q, &layer.shard(number).q, &format!("q of rank {number}"));
    rank.buffers.y.zero().unwrap();
    assert_all(&rank.y(), &0, &format!("y of rank {number}"));
}

/// What a rank was told, at the launch or when it waited.
fn told(rank: &Rank, launched: Result<()>, number: u32) -> Error {
    let waited = rank.stream.synchronize();
    launched.and(waited).err().unwrap_or_else(|| panic!("rank {number} was told nothing"))
}

#[test]
fn ranks_with_other_blocks_all_get_an_error() {
    let layer = layer(4);
    let [same, other] = [&[128, 172], &[256, 44]].map(|rows| plan_with(&layer.problem, soc(), rows).unwrap());
    // The larger workspace is that of the larger block.
    let mut ranks = simulated_ranks(&layer, &other, PATIENT);
    let start = Instant::now();
    let launched: Vec<_> = ranks
        .iter_mut()
        .zip(0..)
        .map(|(rank, number)| rank.launch(if number == 2 { &other } else { &same }))
        .collect();
    for ((rank, launched), number) in ranks.iter().zip(launched).zip(0..) {
        let text = told(rank, launched, number).to_string();
        assert!(text.contains("count") && text.contains("rank 2"), "rank {number}: {text}");
        buffers_are_valid(rank, &layer, number);
    }
    assert!(start.elapsed() < PATIENT, "{:?}", start.elapsed());
}

#[test]
fn a_rank_that_leaves_is_missed_at_once() {
    let layer = layer(2);
    let plan = plan_with(&layer.problem, soc(), &[128, 172]).unwrap();
    let mut ranks = simulated_ranks(&layer, &plan, PATIENT);
    let start = Instant::now();
    drop(ranks.pop());
    let launched = ranks[0].launch(&plan);
    let text = told(&ranks[0], launched, 0).to_string();
    assert!(text.contains("rank 1") && text.contains("destroyed its communicator"), "{text}");
    buffers_are_valid(&ranks[0], &layer, 0);
    assert!(start.elapsed() < PATIENT, "{:?}", start.elapsed());
}

#[test]
fn a_rank_that_does_not_come_is_waited_for_no_longer_than_the_timeout() {
    let layer = layer(2);
    let plan = plan(&layer.problem, soc()).unwrap();
    let mut ranks = simulated_ranks(&layer, &plan, Duration::from_millis(300));
    let launched = ranks[0].launch(&plan);
    let error = told(&ranks[0], launched, 0);
    assert!(error.to_string().contains("rank 1") && error.to_string().contains("not issued"), "{error}");
    buffers_are_valid(&ranks[0], &layer, 0);
    // The other rank comes too late, and is told so.
    let launched = ranks[1].launch(&plan);
    let late = told(&ranks[1], launched, 1);
    assert!(late.to_string().contains("has failed"), "{late}");
    buffers_are_valid(&ranks[1], &layer, 1);
}

#[test]
fn an_error_of_the_callers_projection_comes_back_and_the_other_rank_gets_one_too() {
    let layer =
        Layer::<f16>::new(layer(2).problem.with_linear(Linear::Caller { launch_us: 1.0, row_us: 0.0 }), 2);
    let plan = plan_with(&layer.problem, soc(), &[128, 172]).unwrap();
    let mut ranks = simulated_ranks(&layer, &plan, Duration::from_secs(5));
    for (number, last) in [(0, 128), (1, 300)] {
        let mut linear = |_: &Stream, rows: std::ops::Range<u32>| {
            if rows.end <= last {
                return Ok(());
            }
            Err(Error::invalid("no weight today"))
        };
        let Rank { operator, buffers, stream } = &mut ranks[number];
        buffers.y.zero().unwrap();
        let args = Args { linear: LinearArgs::Caller(&mut linear), ..buffers.args(&plan) };
        let launched = operator.launch(stream, &plan, args);
        assert_eq!(
            launched.err().map(|e| e.to_string()),
            (number == 0).then(|| "no weight today".to_owned())
        );
    }
    // Block 0 was reduced within the time; block 1 is waited for in vain.
    ranks[0].stream.synchronize().unwrap();
    let text = ranks[1].stream.synchronize().unwrap_err().to_string();
    assert!(text.contains("rank 0") && text.contains("number 2"), "{text}");
}

#[test]
fn wrong_operands_are_refused_before_anything_is_queued() {
    let layer = layer(2);
    let plan = plan(&layer.problem, soc()).unwrap();
    let mut ranks = simulated_ranks(&layer, &plan, PATIENT);
    let rank = &mut ranks[0];
    let alone = fastattention::parallel::plan(&self::layer(1).problem, soc()).unwrap();
    let refusal = |rank: &mut Rank, plan, change: fn(&mut Args<'_>)| {
        let Rank { operator, buffers, stream } = rank;
        let mut args = buffers.args(plan);
        change(&mut args);
        operator.launch(stream, plan, args).unwrap_err().to_string()
    };
    assert!(refusal(rank, &alone, |_| {})
        .contains("a plan for 1 ranks given, one for 2 wanted, the ranks of the operator"));
    assert!(refusal(rank, &plan, |a| a.attention = None).contains("attention = None given, Some wanted"));
    assert!(refusal(rank, &plan, |a| a.y = a.y.with_offset_bytes(1)).contains("y starts at byte 1"));
    assert!(refusal(rank, &plan, |a| a.o = a.o.with_offset_bytes(2)).contains("o has"));
}
