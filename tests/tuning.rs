//! Predictions against simulated model time, tuning results, and the command that makes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::Command;

use fastattention::attention::{plan, plan_tuned, plan_with, Args, FlashAttention, Layout, Mask, Problem};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::ModelTime;
use fastattention::tiling::{Candidate, Timed, Tuned};
use fastattention::{sim, DType, ErrorKind, Soc};

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

fn problem(seqlen: u32, heads: u32, head_dim: u32) -> Problem {
    Problem::new(DType::F16, [1, seqlen, heads, head_dim])
}

fn candidate(block_m: u32, block_n: u32, chunk_n: u32) -> Candidate {
    Candidate { block_m, block_n, chunk_n, num_stages: 4, preload: 2 }
}

/// Model time in microseconds of the second launch.
fn simulated(problem: &Problem, candidate: Candidate) -> f64 {
    let model_time = ModelTime::only();
    let mut config = sim::Config::new(soc());
    config.check_races = false;
    config.model_time = Some(model_time.clone());
    let device = Device::simulated(config).unwrap();
    let plan = plan_with(problem, soc(), candidate).unwrap();
    let alloc = |bytes: u64| Buffer::alloc(&device, usize::try_from(bytes.max(1)).unwrap()).unwrap();
    let [q, k, v, o, _] = plan.shape().operand_bytes().map(alloc);
    let workspace = alloc(plan.workspace_bytes());
    let attention = FlashAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    for _ in 0..2 {
        let (q, k, v, o) = ((&q).into(), (&k).into(), (&v).into(), (&o).into());
        let args = Args { q, k, v, o, lse: None, workspace: (&workspace).into() };
        attention.launch(&stream, &plan, args).unwrap();
        stream.synchronize().unwrap();
    }
    model_time.take_reports().pop().unwrap().core_us()
}

#[test]
fn predictions_are_near_simulated_model_time() {
    let cases = [
        (problem(512, 8, 64), candidate(128, 256, 128)),
        (problem(1024, 1, 128), candidate(64, 512, 512)),
        (problem(1024, 4, 128).with_layout(Layout::Bnsd), candidate(128, 512, 128)),
        (problem(1024, 8, 128).with_mask(Mask::Causal), candidate(128, 512, 256)),
        (problem(1000, 2, 256), candidate(64, 256, 128)),
        (
            problem(2048, 1, 64).with_mask(Mask::Window { left: Some(512), right: Some(0) }),
            candidate(64, 256, 256),
        ),
    ];
    let mut errors = Vec::new();
    for (problem, candidate) in cases {
        let predicted = plan_with(&problem, soc(), candidate).unwrap().predicted_us();
        let simulated = simulated(&problem, candidate);
        let error = (predicted / simulated - 1.0).abs();
        assert!(
            error < 0.35,
            "{problem:?}, {candidate}: predicted {predicted:.1}, simulated {simulated:.1} us"
        );
        errors.push(error);
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors[errors.len() / 2] < 0.2, "{errors:?}");
}

#[test]
fn the_choice_is_near_the_best_of_others() {
    let problem = problem(1024, 4, 128);
    let chosen = plan(&problem, soc()).unwrap().chosen();
    let of_choice = simulated(&problem, chosen);
    for other in
        [candidate(256, 512, 128), candidate(128, 256, 256), candidate(64, 512, 256), candidate(32, 512, 512)]
    {
        let of_other = simulated(&problem, other);
        assert!(of_choice < 1.2 * of_other, "{chosen}: {of_choice:.1} us, {other}: {of_other:.1} us");
    }
}

#[test]
fn predictions_follow_the_rates_of_the_soc() {
    let problem = problem(4096, 8, 128);
    let mut slow = soc().clone();
    slow.timing.memory.l2_read_gbps /= 4.0;
    let mut late = soc().clone();
    late.timing.control.cross_group *= 8;
    let us = |soc: &Soc| plan_with(&problem, soc, candidate(128, 512, 128)).unwrap().predicted_us();
    assert!(us(&slow) > 2.0 * us(soc()), "{} {}", us(&slow), us(soc()));
    assert!(us(&late) > us(soc()));
}

fn tuned() -> Tuned {
    let mut tuned = Tuned::new(soc());
    let results =
        [(90.0, candidate(16, 64, 64)), (20.0, candidate(32, 128, 128)), (10.0, candidate(256, 512, 128))];
    let results = results.map(|(model_us, candidate)| Timed { model_us, candidate });
    let shape = *plan(&problem(500, 2, 64), soc()).unwrap().shape();
    tuned.insert(&shape, results.to_vec());
    tuned
}

#[test]
fn the_planner_takes_the_fastest_result_that_works() {
    let tuned = tuned();
    let choice = |problem: &Problem| {
        let plan = plan_tuned(problem, soc(), &tuned).unwrap();
        (plan.chosen(), plan.tuned_us())
    };
    // 300 and 500 rows are of one class, 600 are not, nor is another head_dim.
    assert_eq!(choice(&problem(500, 2, 64)), (candidate(256, 512, 128), Some(10.0)));
    assert_eq!(choice(&problem(300, 2, 64).with_seqlen_k(500)).1, Some(10.0));
    assert_eq!(choice(&problem(600, 2, 64)), (plan(&problem(600, 2, 64), soc()).unwrap().chosen(), None));
    assert_eq!(choice(&problem(500, 2, 80)).1, None);
    assert!(plan_tuned(&problem(500, 2, 64), soc(), &tuned)
        .unwrap()
        .to_string()
        .contains("from tuning results"));
}

#[test]
fn a_result_that_does_not_fit_gives_way_to_the_next() {
    let mut tuned = Tuned::new(soc());
    let wide = problem(500, 2, 256);
    let shape = *plan(&wide, soc()).unwrap().shape();
    let timed = |model_us, candidate| Timed { model_us, candidate };
    // Two K buffers of 512 keys alone take all of L1.
    tuned.insert(&shape, vec![timed(2.0, candidate(64, 128, 128)), timed(1.0, candidate(64, 512, 512))]);
    assert_eq!(plan_tuned(&wide, soc(), &tuned).unwrap().chosen(), candidate(64, 128, 128));
}

#[test]
fn results_survive_text_and_are_refused_for_others() {
    let text = tuned().to_toml().unwrap();
    assert_eq!(Tuned::from_toml(&text, soc()).unwrap(), tuned());
    let refused = |text: &str, soc: &Soc| {
        let error = Tuned::from_toml(text, soc).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.to_string()
    };
    let other = Soc::by_name("Ascend910B3").unwrap();
    assert!(refused(&text, other).contains("made for soc = Ascend910B2, wanted Ascend910B3"));
    let old = text.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
    let wanted = concat!("made by version 0.0.0, wanted ", env!("CARGO_PKG_VERSION"));
    assert!(refused(&old, soc()).contains(wanted));
    assert!(refused("shape = 3", soc()).contains("tuning results"));
    assert_eq!(
        plan_tuned(&problem(500, 2, 64), other, &tuned()).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[cfg(feature = "cli")]
#[test]
fn tune_writes_what_plan_reads() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tuned.toml");
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fastattention")).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let path = file.to_str().unwrap();
    let shape = ["--num-heads", "1", "--head-dim", "64"];
    let tune = ["tune", "--seqlen-q", "128,300", "--candidates", "3", "--output", path];
    let printed = run(&[&tune[..], &shape].concat());
    assert!(printed.contains("seqlen_q 128") && printed.contains("seqlen_q 300"), "{printed}");
    let tuned = Tuned::from_toml(&fs::read_to_string(&file).unwrap(), soc()).unwrap();
    let shape_of = |seqlen| *plan(&problem(seqlen, 1, 64), soc()).unwrap().shape();
    for seqlen in [128, 300] {
        let results = tuned.results(&shape_of(seqlen));
        assert_eq!(results.len(), 3, "losers are kept, too");
        assert!(results.is_sorted_by(|a, b| a.model_us <= b.model_us));
    }
    let chosen = tuned.results(&shape_of(300))[0].candidate.to_string();
    let plan = run(&[&["plan", "--seqlen-q", "300", "--tuned", path][..], &shape].concat());
    assert!(plan.contains(&chosen) && plan.contains("from tuning results"), "{plan}");
}
