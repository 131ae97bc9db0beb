//! What is sampled.

use super::*;

#[test]
fn a_sample_has_the_tiling_of_the_whole_and_as_many_items_on_every_core() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    for (heads, seqlen) in [(32, 32768), (8, 32768), (5, 65536)] {
        let problem = Problem::new(DType::F16, [1, seqlen, heads, 128]);
        let whole = Workload { is_warm: false, ..Workload::new(Op::FlashFwd, problem, soc) };
        let sample = whole.sample().unwrap();
        assert!(sample.is_sample());
        assert!(sample.flops() < whole.flops(), "{} of {}", sample.flops(), whole.flops());
        let (whole, sample) = (whole.plan().unwrap(), sample.plan().unwrap());
        assert_eq!(whole.chosen(), sample.chosen());
        let items: Vec<_> = (0..soc.cube_cores).map(|core| sample.work_items(core).count()).collect();
        assert!(items[0] >= 16 && items.iter().all(|n| *n == items[0]), "{items:?}");
        let keys = sample.key_range(sample.rows(0));
        assert_eq!(keys, whole.key_range(whole.rows(0)), "each item reads what it reads in the whole");
    }
    let short = Problem::new(DType::F16, [1, 512, 1, 128]);
    let short = Workload::new(Op::FlashFwd, short, soc);
    assert_eq!(short.sample().unwrap(), short, "too short to be sampled");
}

#[test]
fn only_what_costs_the_same_in_every_row_is_sampled() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let problem = Problem::new(DType::F16, [1, 32768, 8, 128]);
    for (op, mask) in [(Op::FlashFwd, Mask::Causal), (Op::Standard, Mask::None)] {
        let error = Workload::new(op, problem.with_mask(mask), soc).sample().unwrap_err().to_string();
        assert!(error.contains("a sample wanted; only rows of flash_fwd without a mask"), "{error}");
    }
}
