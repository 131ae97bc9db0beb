//! Blocks: any of them give the same bits, the chosen ones are the best predicted, wrong ones are refused.

use fastattention::attention::Mask;
use fastattention::parallel::{plan, plan_with, Linear, Plan, Problem, Sequence, Sequences};
use fastattention::{DType, Soc};
use fastattention_testkit::compare::assert_same;
use fastrand::Rng;
use half::f16;

use crate::soc_of_devices;

use super::layer::Layer;
use super::{ranks, run, soc};

fn block_rows(plan: &Plan) -> Vec<u32> {
    plan.blocks().iter().map(|b| b.rows.end - b.rows.start).collect()
}

/// Every place where the layer may be cut, found by asking.
fn places(problem: &Problem, soc: &Soc) -> Vec<u32> {
    let rows = u32::try_from(problem.rows()).unwrap();
    (1..rows).filter(|&cut| plan_with(problem, soc, &[cut, rows - cut]).is_ok()).collect()
}

#[test]
fn any_blocks_give_the_same_bits() {
    let soc = soc_of_devices();
    let lengths = [(150, 190), (40, 40), (40, 40), (300, 300)];
    let sequences = lengths.map(|(seqlen_q, seqlen_k)| Sequence { seqlen_q, seqlen_k });
    for mask in [Mask::Causal, Mask::Window { left: Some(50), right: Some(10) }] {
        let problem = Problem::new(DType::F16, [1, 1, 4, 32], 64, 4).with_num_heads_k(2).with_mask(mask);
        let layer = Layer::<f16>::new(problem.with_sequences(sequences.to_vec()), 9);
        let chosen = plan(&layer.problem, soc).unwrap();
        let mut ranks = ranks(&layer, &chosen);
        let expected = run(&mut ranks, &chosen);
        layer.check(&expected[0]).unwrap();

        let places = places(&layer.problem, soc);
        assert!(places.len() >= 5, "{places:?}");
        let rng = &mut Rng::with_seed(4);
        for round in 0..6 {
            let mut cuts: Vec<u32> = places.iter().copied().filter(|_| round == 0 || rng.bool()).collect();
            cuts.push(530);
            let sizes: Vec<u32> =
                cuts.iter().scan(0, |at, &cut| Some(cut - std::mem::replace(at, cut))).collect();
            let plan = plan_with(&layer.problem, soc, &sizes).unwrap();
            assert_eq!(block_rows(&plan), sizes);
            assert_same(&run(&mut ranks, &plan).concat(), &expected.concat(), &format!("{mask}: {sizes:?}"));
        }
    }
}

#[test]
fn chosen_blocks_cover_the_rows_and_are_predicted_to_be_no_slower_than_one() {
    for (batch, seqlen) in [(1, 2048), (1, 8192), (1, 32768), (4, 8192), (16, 2048), (7, 300)] {
        for mask in [Mask::None, Mask::Causal] {
            let problem = Problem::new(DType::F16, [batch, seqlen, 40, 128], 5120, 8).with_mask(mask);
            let plan = plan(&problem, soc()).unwrap();
            let mut next = 0;
            for block in plan.blocks() {
                assert_eq!(block.rows.start, next);
                next = block.rows.end;
            }
            assert_eq!(u64::from(next), problem.rows());
            let serial = plan.serial();
            assert!(
                plan.predicted_us() <= (serial.compute_us + serial.transfer_us) * (1.0 + 1e-12),
                "{plan}"
            );
            assert!(plan.predicted_us() >= serial.compute_us.max(serial.transfer_us) * 0.99, "{plan}");
            let again = plan_with(&problem, soc(), &block_rows(&plan)).unwrap();
            assert_eq!(block_rows(&again), block_rows(&plan));
            assert_eq!(again.predicted_us(), plan.predicted_us(), "{again} instead of {plan}");
        }
    }
}

#[test]
fn no_other_blocks_of_a_short_layer_are_predicted_to_be_faster() {
    let rng = &mut Rng::with_seed(12);
    for (batch, seqlen) in [(1, 8192), (1, 4000), (3, 2048)] {
        let problem = Problem::new(DType::F16, [batch, seqlen, 40, 128], 5120, 8);
        let chosen = plan(&problem, soc()).unwrap();
        let (inner, rows) = (chosen.blocks().len() - 1, batch * seqlen);
        for _ in 0..200 {
            let count = (inner + 1).saturating_sub(rng.usize(0..3)).max(1);
            let mut cuts: Vec<u32> =
                (0..count).map(|_| rng.u32(0..batch) * seqlen + rng.u32(0..seqlen) / 128 * 128).collect();
            cuts.extend([0, rows]);
            cuts.sort_unstable();
            cuts.dedup();
            let sizes: Vec<u32> = cuts.windows(2).map(|w| w[1] - w[0]).collect();
            let other = plan_with(&problem, soc(), &sizes).unwrap();
            assert!(other.predicted_us() >= chosen.predicted_us() * (1.0 - 1e-12), "{other} beats {chosen}");
        }
    }
}

/// Too many places for one search: the cuts that it finds are moved afterwards.
#[test]
fn moving_a_cut_of_a_long_layer_is_not_predicted_to_be_faster() {
    for (batch, seqlen) in [(1, 32768), (4, 8192)] {
        let problem = Problem::new(DType::F16, [batch, seqlen, 40, 128], 5120, 8);
        let chosen = plan(&problem, soc()).unwrap();
        let sizes = block_rows(&chosen);
        for cut in 1..sizes.len() {
            for (longer, shorter) in [(cut - 1, cut), (cut, cut - 1)] {
                let mut moved = sizes.clone();
                moved[longer] += 128;
                moved[shorter] -= 128;
                moved.retain(|&rows| rows > 0);
                let other = plan_with(&problem, soc(), &moved).unwrap();
                assert!(
                    other.predicted_us() >= chosen.predicted_us() * (1.0 - 1e-12),
                    "{other} beats {chosen}"
                );
            }
        }
    }
}

#[test]
fn without_transfers_every_block_computes_the_same() {
    for (seqlen, mask) in [(8192, Mask::None), (6000, Mask::Causal)] {
        let problem = Problem::new(DType::F16, [1, seqlen, 40, 128], 5120, 8).with_mask(mask);
        let plan = plan(&problem, soc()).unwrap();
        assert!(plan.blocks().len() > 1, "{plan}");
        let alone = plan.without_transfers();
        assert_eq!(alone.predicted_overlap_us(), 0.0);
        assert_eq!((alone.problem().ranks, alone.problem().spec.num_heads), (1, 5));
        assert_eq!(alone.blocks().len(), plan.blocks().len());
        for (own, block) in alone.blocks().iter().zip(plan.blocks()) {
            assert_eq!((&own.rows, own.num_launches()), (&block.rows, block.num_launches()));
            assert_eq!((own.cost.compute_us, own.cost.transfer_us), (block.cost.compute_us, 0.0));
        }
    }
}

/// The vendor's fused product and AllReduce (paper.md 6): 4096 x 8192, 803 us of computing, with the
/// published blocks and the published time of an AllReduce.
#[test]
fn the_published_fused_product_takes_its_published_time() {
    let linear = Linear::Caller { launch_us: 0.0, row_us: 803.0 / 4096.0 };
    let problem = Problem::new(DType::F16, [1, 4096, 64, 128], 8192, 8);
    let problem = problem.without_attention().with_linear(linear);
    let plan = plan_with(&problem, soc(), &[512, 896, 896, 896, 896]).unwrap();
    let (predicted, published) = (plan.predicted_us(), 1262.0);
    assert!((predicted / published - 1.0).abs() < 0.05, "{published} us published\n{plan}");
}

#[test]
fn one_rank_has_one_block() {
    let plan = plan(&Problem::new(DType::F16, [1, 4096, 4, 128], 512, 1), soc()).unwrap();
    assert_eq!(block_rows(&plan), [4096]);
    assert_eq!(plan.serial().transfer_us, 0.0);
}

#[test]
fn a_plan_prints_its_blocks_and_times() {
    let problem = Problem::new(DType::F16, [1, 8192, 40, 128], 5120, 8).with_mask(Mask::Causal);
    let text = plan(&problem, soc()).unwrap().to_string();
    for part in [
        "8 x Ascend910B2",
        "5 of 40 heads (5 of 40 kv)",
        "hidden 5120",
        "predicted model time",
        "transfer us",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn wrong_layers_and_blocks_are_refused_with_every_reason() {
    let refusal = |problem: &Problem| plan(problem, soc()).unwrap_err().to_string();
    let good = Problem::new(DType::F16, [1, 300, 8, 64], 128, 4);
    assert_eq!(
        refusal(&Problem::new(DType::F16, [1, 300, 8, 64], 0, 3).with_num_heads_k(2)),
        "tiling-AllReduce on Ascend910B2: hidden = 0, wanted at least 1; num_heads = 8, a multiple of ranks = 3 wanted; \
         num_heads_k = 2, a multiple or a divisor of ranks = 3 wanted"
    );
    assert!(refusal(&Problem::new(DType::F16, [1, 300, 8, 20], 128, 4)).contains("attention: head_dim = 20"));
    let endless = good.clone().with_linear(Linear::Caller { launch_us: 1e308, row_us: 1e308 });
    let text = refusal(&endless);
    assert!(text.contains("linear = Caller") && text.contains("a finite time wanted"), "{text}");
    assert_eq!(plan_with(&endless, soc(), &[128, 172]).unwrap_err().to_string(), text);
    let blocks = |rows: &[u32]| plan_with(&good, soc(), rows).unwrap_err().to_string();
    assert_eq!(
        blocks(&[128, 128]),
        "tiling-AllReduce: block_rows with a sum of 256 given, 300 wanted, the rows of all sequences"
    );
    assert!(
        blocks(&[100, 200])
            .contains("where a block starts at row 100; wanted: a row at which a block can start, nearest"),
        "{}",
        blocks(&[100, 200])
    );
    assert!(blocks(&[0, 300]).contains("given, at least 1 row in each wanted"));
}

#[test]
fn a_layer_without_rows_has_no_blocks_and_takes_no_time() {
    let good = Problem::new(DType::F16, [1, 300, 8, 64], 128, 4);
    let keys_only = Sequence { seqlen_q: 0, seqlen_k: 70 };
    for problem in [
        good.clone().with_sequences(Vec::new()),
        good.clone().with_sequences(vec![keys_only; 2]),
        Problem::new(DType::F16, [0, 300, 8, 64], 128, 4),
        good.clone().with_sequences(Vec::new()).without_attention(),
    ] {
        for plan in [plan(&problem, soc()).unwrap(), plan_with(&problem, soc(), &[]).unwrap()] {
            assert!(plan.blocks().is_empty());
            assert_eq!((plan.predicted_us(), plan.serial().compute_us), (0.0, 0.0));
            assert_eq!((plan.workspace_bytes(), plan.weight_bytes()), (0, 2 * 64 * 128 * 2));
            assert!(plan.to_string().contains(" 0 rows,"), "{plan}");
        }
    }
    // What else is wrong is told as ever.
    let wrong = Problem::new(DType::F16, [0, 300, 8, 64], 0, 3);
    assert_eq!(
        plan(&wrong, soc()).unwrap_err().to_string(),
        "tiling-AllReduce on Ascend910B2: hidden = 0, wanted at least 1; num_heads = 8, a multiple of ranks = 3 wanted; \
         num_heads_k = 8, a multiple or a divisor of ranks = 3 wanted"
    );
}

#[test]
fn sequences_take_the_place_of_their_kinds() {
    let [long, short] = [70, 3].map(|seqlen| Sequence { seqlen_q: seqlen, seqlen_k: seqlen });
    let list = vec![long, long, short, long];
    let sequences = Sequences::from(list.clone());
    assert_eq!((sequences.len(), sequences.iter().collect::<Vec<_>>()), (4, list));
    assert_eq!(Sequences::repeated(long, 3), Sequences::from(vec![long; 3]));
    assert_eq!(Sequences::repeated(long, 0), Sequences::from(Vec::new()));
    // As a list it would take 34 GB.
    assert_eq!(Sequences::repeated(long, u32::MAX).len(), u64::from(u32::MAX));
}

#[test]
fn numbers_beyond_64_bits_are_refused_and_not_saturated() {
    let refusal = |problem: &Problem| plan(problem, soc()).unwrap_err().to_string();
    let many = |seqlen: u32| Problem::new(DType::F16, [u32::MAX, seqlen, 8, 64], 128, 4);
    assert!(refusal(&many(1)).contains("sequences have 4294967295 rows, at most 2147483647 wanted"));
    assert!(refusal(&many(u32::MAX)).contains("sequences have 18446744065119617025 keys, at most"));
    assert_eq!(many(u32::MAX).rows(), 18446744065119617025);

    let wide = Problem::new(DType::F16, [1, 8, u32::MAX, 64], 128, 1).with_head_dim_v(u32::MAX);
    let text = refusal(&wide);
    assert!(text.contains("heads of a rank * head_dim_v = 4294967295 * 4294967295 is more than"), "{text}");
    assert!(!text.contains("projection"), "{text}");

    // y of a caller's projection is in no other check.
    let caller = Linear::Caller { launch_us: 1.0, row_us: 1.0 };
    let rows = vec![Sequence { seqlen_q: i32::MAX as u32, seqlen_k: 1 }];
    let large = Problem::new(DType::F16, [1, 1, 8, 64], u32::MAX, 8).with_linear(caller).with_sequences(rows);
    let text = refusal(&large.without_attention());
    assert!(text.contains("y 18446744060824649730), Ascend910B2 has 68719476736"), "{text}");

    // The stride of a sequence with one row is not used by it, but says where the next one lies.
    let ones = [5, 6, 7].map(|seqlen_k| Sequence { seqlen_q: 1, seqlen_k }).to_vec();
    let mut far = Problem::new(DType::F16, [1, 1, 8, 64], 128, 4).with_sequences(ones);
    far.q_stride = Some([u64::MAX - 1, 64]);
    let text = refusal(&far);
    assert!(text.contains("(q 73786976294838206712, k "), "{text}");

    // Ranks that there are not hold nothing.
    let good = Problem::new(DType::F16, [1, 300, 8, 64], 128, 4).with_num_heads_k(2);
    assert_eq!((good.heads_of(3), good.heads_k_of(3)), (6..8, 1..2));
    for rank in [4, u32::MAX] {
        assert!(good.heads_of(rank).is_empty() && good.heads_k_of(rank).is_empty());
    }
}
