//! Predictions against simulated model time, and tuning results.

use fastattention::attention::{plan, plan_tuned, plan_with, Buffers, FlashAttention, Layout, Mask, Problem};
use fastattention::runtime::{Device, Stream};
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
    Candidate { block_m, block_n, chunk_n, num_stages: 4, preload: 2, bundle_steps: 1 }
}

/// Model time in microseconds of the second launch.
fn simulated(problem: &Problem, candidate: Candidate) -> f64 {
    let model_time = ModelTime::only();
    let mut config = sim::Config::new(soc());
    config.check_races = false;
    config.model_time = Some(model_time.clone());
    let device = Device::simulated(config).unwrap();
    let plan = plan_with(problem, soc(), candidate).unwrap();
    let buffers = Buffers::alloc(&device, &plan).unwrap();
    let attention = FlashAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    for _ in 0..2 {
        attention.launch(&stream, &plan, buffers.args()).unwrap();
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
    assert!(us(&late) > us(soc()), "{} {}", us(&late), us(soc()));
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
    assert!(refused(&text, other).contains("soc = Ascend910B2 given, Ascend910B3 wanted"));
    let old = text.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
    let wanted = concat!("version = 0.0.0 given, ", env!("CARGO_PKG_VERSION"), " wanted");
    assert!(refused(&old, soc()).contains(wanted));
    assert!(refused("shape = 3", soc()).contains("tuning results"));
    assert_eq!(
        plan_tuned(&problem(500, 2, 64), other, &tuned()).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn results_of_one_class_do_not_replace_those_of_another() {
    let base = || problem(512, 8, 64);
    let with_stride = |set: fn(&mut Problem, [u64; 3]), row: u64| {
        let mut problem = base();
        set(&mut problem, [512 * row, row, 64]);
        problem
    };
    let wide = 8 * 64 + 1;
    let others = [
        ("score_dtype", base().with_score_dtype(DType::F16)),
        ("dtype", Problem::new(DType::Bf16, [1, 512, 8, 64])),
        ("heads of k that share", base().with_num_heads_k(2)),
        ("no heads that share", base().with_num_heads_k(1)),
        ("batch", Problem::new(DType::F16, [2, 512, 8, 64])),
        ("head_dim_v", base().with_head_dim_v(80)),
        ("rows without gaps", base().with_layout(Layout::Bnsd)),
        ("unaligned rows of q", with_stride(|p, s| p.q_stride = Some(s), wide)),
        ("unaligned rows of k", with_stride(|p, s| p.k_stride = Some(s), wide)),
        ("unaligned rows of v", with_stride(|p, s| p.v_stride = Some(s), wide)),
        ("unaligned rows of o", with_stride(|p, s| p.o_stride = Some(s), wide)),
        ("mask", base().with_mask(Mask::Causal)),
    ];
    // A time of its own for each shows whose results are found.
    let shapes: Vec<_> = [("base", base())]
        .into_iter()
        .chain(others)
        .map(|(what, problem)| (what, *plan(&problem, soc()).unwrap().shape()))
        .collect();
    let mut tuned = Tuned::new(soc());
    let mut model_us = 0.0;
    for (_, shape) in &shapes {
        model_us += 1.0;
        tuned.insert(shape, vec![Timed { model_us, candidate: candidate(128, 256, 128) }]);
    }
    let tuned = Tuned::from_toml(&tuned.to_toml().unwrap(), soc()).unwrap();
    let mut want = 0.0;
    for (what, shape) in &shapes {
        want += 1.0;
        let [Timed { model_us, .. }] = tuned.results(shape) else {
            panic!("{what}: {:?}", tuned.results(shape))
        };
        assert_eq!(*model_us, want, "{what}");
    }
    // What takes no time makes no class: the factor, and the log-sum-exp.
    for same in [base().with_softmax_scale(0.3), base().with_lse()] {
        let shape = *plan(&same, soc()).unwrap().shape();
        assert_eq!(tuned.results(&shape)[0].model_us, 1.0);
    }
}

/// Message of results in which `from` stands as `to`, with the line where that is.
fn spoilt(from: &str, to: &str) -> (usize, String) {
    let text = tuned().to_toml().unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    let line = 1 + text[..text.find(from).unwrap()].matches('\n').count();
    let error = Tuned::from_toml(&text.replacen(from, to, 1), soc()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    (line, error.to_string())
}

#[test]
fn every_value_of_a_file_is_checked() {
    // What no tuning could have found: field and value given, value wanted.
    for (from, to, given, wanted) in [
        ("model_us = 10.0", "model_us = nan", "model_us = NaN given", "a finite number above 0 wanted"),
        ("model_us = 10.0", "model_us = inf", "model_us = inf given", "a finite number above 0 wanted"),
        ("model_us = 20.0", "model_us = -1.0", "model_us = -1 given", "a finite number above 0 wanted"),
        ("model_us = 90.0", "model_us = 0.0", "model_us = 0 given", "a finite number above 0 wanted"),
        ("block_m = 256", "block_m = 255", "block_m = 255", "none of [256, 128, 96, 64, 32, 16]"),
        ("block_n = 512", "block_n = 0", "block_n = 0", "none of [1024, 512, 256, 128, 64]"),
        ("chunk_n = 64", "chunk_n = 48", "chunk_n = 48", "a multiple of 64 that divides block_n = 64"),
        ("num_stages = 4", "num_stages = 9", "num_stages = 9", "from preload + 1 = 3 to 8"),
        ("preload = 2", "preload = 0", "preload = 0", "from 1 to 3"),
        ("bundle_steps = 1", "bundle_steps = 5", "bundle_steps = 5", "from 1 to 4"),
        ("dtype = \"f16\"", "dtype = \"f32\"", "dtype = f32 given", "f16 or bf16 wanted"),
        ("score_dtype = \"f32\"", "score_dtype = \"bf16\"", "score_dtype = bf16 given", "f32 (or, with"),
        ("heads = 2", "heads = 3", "heads = 3 given", "a power of two wanted"),
        ("seqlen_q = 512", "seqlen_q = 0", "seqlen_q = 0 given", "a power of two wanted"),
        ("seqlen_k = 512", "seqlen_k = 500", "seqlen_k = 500 given", "a power of two wanted"),
        ("head_dim = 64", "left = 5\nhead_dim = 64", "left = 5 given", "0 or a power of two wanted"),
        ("head_dim = 64", "right = 6\nhead_dim = 64", "right = 6 given", "0 or a power of two wanted"),
        ("gqa_ratio = 1", "gqa_ratio = 0", "gqa_ratio = 0 given", "at least 1 wanted"),
        ("head_dim = 64", "head_dim = 65", "head_dim = 65", "a multiple of 16 from 16 to 256"),
        ("head_dim_v = 64", "head_dim_v = 272", "head_dim_v = 272", "a multiple of 16 from 16 to 256"),
        (
            "row_alignment_bytes = [128,",
            "row_alignment_bytes = [1024,",
            "row_alignment_bytes = 1024 given",
            "from 2 to 512",
        ),
    ] {
        let (line, message) = spoilt(from, to);
        // The line of the table that has the value.
        let (at, text) =
            message.split_once(": ").unwrap().1.split_once(": ").unwrap_or_else(|| panic!("{message}"));
        let at: usize = at.strip_prefix("line ").unwrap_or_else(|| panic!("{message}")).parse().unwrap();
        assert!(at <= line && line - at < 12, "{to}: line {line}, {message}");
        assert!(text.contains(given) && text.contains(wanted), "{to}: {message}");
    }
    // What is no such file at all, and files from before a field existed, are told with their line, too.
    for (from, to, why) in [
        ("model_us = 10.0", "model_us = \"10\"", "invalid type: string \"10\", expected f64"),
        ("block_m = 256", "block_m = -1", "invalid value: integer `-1`, expected u32"),
        ("block_m = 256", "block_m = 256\nblock_k = 1", "unknown field `block_k`"),
        ("gqa_ratio = 1\n", "", "missing field `gqa_ratio`"),
        ("score_dtype = \"f32\"\n", "", "missing field `score_dtype`"),
        ("gqa_ratio = 1", "gqa_ratio = 1\ndense_rows = true", "unknown field `dense_rows`"),
        ("version = ", "extra = 1\nversion = ", "unknown field `extra`"),
    ] {
        let (_, message) = spoilt(from, to);
        assert!(message.contains(why) && message.contains("TOML parse error at line "), "{to}: {message}");
        assert!(message.ends_with("write the file again with `fastattention tune`"), "{message}");
    }
}

#[test]
fn a_file_has_each_class_once_and_its_order_does_not_matter() {
    let text = tuned().to_toml().unwrap();
    let (head, shape) = text.split_at(text.find("[[shape]]").unwrap());
    let error = Tuned::from_toml(&format!("{head}{shape}\n{shape}"), soc()).unwrap_err();
    assert!(error.to_string().contains("shape of the same class as an earlier one given"), "{error}");

    let slower = text.replacen("model_us = 10.0", "model_us = 30.0", 1);
    let read = Tuned::from_toml(&slower, soc()).unwrap();
    let shape = *plan(&problem(500, 2, 64), soc()).unwrap().shape();
    let times: Vec<f64> = read.results(&shape).iter().map(|timed| timed.model_us).collect();
    assert_eq!(times, [20.0, 30.0, 90.0], "the fastest first, however the file has them");
}
