//! What is refused, and what a report is read from.

use fastattention::append::{
    plan, Args, Mistake, Number, Pairing, PlaceType, Plan, Problem, Report, Rotary, RotaryArgs,
};
use fastattention::runtime::Stream;
use fastattention::serving::{self, KvLayout};
use fastattention::{DType, ErrorKind, Soc};

use super::Cache::Paged;
use super::{append, case_of, upload, upload_places, Rows, OLD};

#[test]
fn what_cannot_be_appended_is_refused_with_all_reasons() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let refused = |problem: &Problem| plan(problem, soc).unwrap_err();
    let cache = serving::Problem::new(DType::F16, [1, 1, 2, 64], 1, KvLayout::paged(16, 10));
    let error = refused(&Problem::new(
        u32::MAX,
        &serving::Problem::new(DType::F32, [1, 1, 0, 0], 1, KvLayout::paged(0, 10)).with_num_heads_k(5000),
    ));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        error.to_string(),
        "append on Ascend910B2: dtype = f32 has no kernel; supported: f16, bf16; head_dim = 0, wanted at least 1; \
         head_dim_v = 0, wanted at least 1; num_heads_k = 5000 is more than 4095; tokens = 4294967295 is more than \
         2147483647; page_size = 0, wanted at least 1"
    );
    let good = Problem::new(5, &cache);
    let with = |k_stride| {
        let mut cache = cache;
        cache.k_stride = Some(k_stride);
        Problem::new(5, &cache)
    };
    let many = serving::Problem::new(DType::F16, [1, 1, 2, 64], 1, KvLayout::paged(1 << 16, 1 << 16));
    let paged = KvLayout::paged(16, 10);
    let pieces = |kv, [dim, dim_v]: [u32; 2]| {
        Problem::new(5, &serving::Problem::new(DType::F16, [1, 1, 2, dim], 1, kv).with_head_dim_v(dim_v))
    };
    let long = serving::Problem::new(DType::F16, [1, 1, 1, 40_000], 1, KvLayout::paged(16, 10));
    for (problem, wanted) in [
        (
            Problem::new(5, &many),
            "65536 pages or slots of 65536 keys are 4294967296 places; at most 2147483647",
        ),
        (Problem::new(5, &long), "takes 160000 bytes of UB for K and V of a token; at most 94048 supported"),
        (with([2048, 64, 64]), "k_cache_stride = [2048, 64, 64] (batch, row, head): rows overlap"),
        (
            with([1 << 40, 1 << 39, 1 << 32]),
            "k_cache_stride: head stride = 4294967296 leaves more than 2147483647",
        ),
        (
            good.with_strides([128, 0], [128, 64]),
            "k_stride: head stride = 0 is less than the 64 elements of a row",
        ),
        (
            good.with_strides([128, 64], [63, 64]),
            "v_stride: row stride = 63 is less than the 64 elements of a row",
        ),
        (good.with_strides([128, 1 << 31], [128, 64]), "k_stride: head stride = 2147483648 leaves more than"),
        (Problem::new(1 << 30, &cache), "operands take"),
        (pieces(KvLayout::padded().with_nz(), [64, 64]), "kv = padded, NZ has no kernel without pages"),
        (
            pieces(paged.with_nz(), [64, 40]),
            "head_dim_v = 40 is not a multiple of the 16 elements of a piece",
        ),
        (pieces(paged.with_vllm(), [20, 64]), "head_dim = 20 is not a multiple of the 8 elements of a piece"),
        (
            pieces(paged.with_vllm(), [64, 2048]),
            "num_heads_k = 2 with head_dim_v = 2048 is 4096 pieces of 1 elements; at most 4095 supported",
        ),
        (
            pieces(paged.with_nz(), [64, 64]).with_strides([160, 80], [128, 64]),
            "k_stride: head stride = 80 for pages in pieces; supported: 64",
        ),
    ] {
        let text = refused(&problem).to_string();
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
}

#[test]
fn wrong_operands_are_refused() {
    let operator = append(|_| ());
    let case = case_of(5, 2, [64, 64], Paged { pages: 2, size: 4 }, Rows::Dense);
    let own = |problem: &Problem| -> Plan { plan(problem, operator.device().soc()).unwrap() };
    let [rows, cache, small] = [5 * 128, 8 * 128, 3].map(|len| upload(&operator, &vec![OLD; len]));
    let places = upload_places(&operator, PlaceType::I64, &[0; 5]);
    let stream = Stream::new(operator.device()).unwrap();
    let refused = |plan: &Plan, args| operator.launch(&stream, plan, args).unwrap_err().to_string();
    let checked = own(&case.problem().with_place_type(PlaceType::I64));
    let text = refused(&checked, Args::new(&rows, &small, &small, &cache, &cache));
    assert_eq!(
        text,
        "append launch: v has 6 bytes, the plan needs 1280; places has 6 bytes, the plan needs 40; status is missing, but \
         the plan writes it"
    );
    let unchecked = own(&case.unchecked());
    let text = refused(&unchecked, Args::new(&rows, &rows, &places, &cache, &cache));
    assert!(text.contains("k_cache at") && text.contains("shares bytes with v_cache at"), "{text}");
    let text = refused(&unchecked, Args::new(&rows, &cache, &places, &cache, &rows).with_status(&small));
    assert!(text.contains("status is given, but the plan does not write it"), "{text}");
}

#[test]
fn what_cannot_be_rotated_is_refused_with_all_reasons() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let cache = |head_dim| serving::Problem::new(DType::F16, [1, 1, 2, head_dim], 1, KvLayout::paged(16, 10));
    let refused = |head_dim, rotary| {
        plan(&Problem::new(5, &cache(head_dim)).with_rotary(rotary), soc).unwrap_err().to_string()
    };
    let of = |dims, max_positions| Rotary::new(Pairing::Halves, dims, max_positions);
    for (head_dim, rotary, wanted) in [
        (
            64,
            of(24, 0),
            "rotary.dims = 24 is not a multiple of 16 from 16 to 64; nearest supported: 16 or 32; rotary.max_positions = \
             0, wanted at least 1",
        ),
        (64, of(80, 9), "rotary.dims = 80 is not a multiple of 16 from 16 to 64; nearest supported: 64"),
        (64, of(0, 9), "rotary.dims = 0 is not a multiple of 16"),
        (2048, of(528, 9), "rotary.dims = 528 is not a multiple of 16 from 16 to 512; nearest supported: 512"),
        (72, of(64, 9), "head_dim = 72 is not a multiple of 16 from 16 to 4080; nearest supported: 64 or 80"),
        (8, of(8, 9), "head_dim = 8 is not a multiple of 16 from 16 to 4080; nearest supported: 16"),
        (64, of(64, u32::MAX), "rotary.max_positions = 4294967295 is more than 2147483647"),
        (64, of(64, 1 << 30), "table 274877906944"),
        (64, of(64, 9).with_q_strides([128, 32], [128, 64]), "q_stride: head stride = 32 is less than the 64"),
        (64, of(64, 9).with_q_strides([128, 64], [100, 64]), "q_out_stride = [0, 100, 64] (batch, row, head): rows"),
    ] {
        let text = refused(head_dim, rotary);
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
    let heads = |heads| {
        let mut cache = cache(4080);
        cache.spec.num_heads = heads;
        plan(&Problem::new(5, &cache).with_rotary(of(64, 9).with_q()), soc).unwrap_err().to_string()
    };
    assert!(heads(0).contains("num_heads = 0 with q, wanted at least 1"), "{}", heads(0));
    assert!(heads(4096).contains("num_heads = 4096 is more than 4095"), "{}", heads(4096));
    let text = heads(40);
    assert!(text.contains("num_heads = 40, num_heads_k = 2 with head_dim = 4080"), "{text}");
    assert!(text.contains("bytes of UB for K, q and V of a token; at most"), "{text}");
}

#[test]
fn wrong_operands_of_rotations_are_refused() {
    let operator = append(|_| ());
    let case = case_of(5, 2, [64, 64], Paged { pages: 2, size: 4 }, Rows::Dense);
    let own = |problem: Problem| -> Plan { plan(&problem, operator.device().soc()).unwrap() };
    let [rows, other, k_cache, v_cache, small] =
        [5 * 128, 5 * 128, 8 * 128, 8 * 128, 3].map(|len| upload(&operator, &vec![OLD; len]));
    let places = upload_places(&operator, PlaceType::I64, &[0; 5]);
    let table = upload(&operator, &[0; 9 * 64 * 2]);
    let stream = Stream::new(operator.device()).unwrap();
    let args = Args::new(&rows, &rows, &places, &k_cache, &v_cache);
    let refused = |plan: &Plan, args| operator.launch(&stream, plan, args).unwrap_err().to_string();
    let rotary = Rotary::new(Pairing::Adjacent, 64, 9);
    let (plain, keys) = (own(case.unchecked()), own(case.unchecked().with_rotary(rotary)));
    let both = own(case.unchecked().with_rotary(rotary.with_q()));
    let apart = own(case.unchecked().with_rotary(rotary.with_q_strides([128, 64], [256, 64])));
    let operands = RotaryArgs::new(&places, &table);
    for (plan, rotary, wanted) in [
        (&plain, Some(operands), "what rotation needs is given, but the plan rotates nothing"),
        (&keys, None, "what rotation needs is missing, but the plan rotates keys"),
        (&keys, Some(operands.with_q_in_place(&other)), "q is given, but the plan does not rotate it"),
        (&both, Some(operands), "q is missing, but the plan rotates it"),
        (
            &keys,
            Some(RotaryArgs::new(&small, &small)),
            "positions has 6 bytes, the plan needs 20; table has 6 bytes",
        ),
        (&both, Some(operands.with_q(&small, &other)), "q has 6 bytes, the plan needs 1280"),
        (&both, Some(operands.with_q(&other, &other)), "q_out at"),
        (&both, Some(operands.with_q_in_place(&rows)), "q at"),
        (&both, Some(operands.with_q(&rows, &k_cache)), "k_cache at"),
        (
            &apart,
            Some(operands.with_q_in_place(&other)),
            "q is rotated in place, but q_stride = [128, 64] and q_out_stride = [256, 64]; the same wanted",
        ),
    ] {
        let text = refused(plan, Args { rotary, ..args });
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
}

#[test]
fn reports_are_read_and_others_refused() {
    let words = [0, 0, 0, 0, 0, 0, 0, 0, 2, 7, 5, -1, 0, 0, 0, 0];
    let report = Report::from_words(&words).unwrap();
    let mistake = Mistake { token: 7, number: Number::Place, given: -(1 << 32) + 5 };
    assert_eq!(report, Report { num_wrong: 2, mistakes: vec![mistake] });
    assert_eq!(mistake.to_string(), "token 7 has place -4294967291");
    let position = Mistake { token: 3, number: Number::Position, given: 9 };
    let report = Report::from_words(&[2, 7, 5, -1, 3, 3, 9, 0]).unwrap();
    assert_eq!(report, Report { num_wrong: 5, mistakes: vec![position, mistake] });
    assert_eq!(position.to_string(), "token 3 has position 9");
    for words in
        [&[0, 1, 0, 0, 0, 0, 0, 0][..], &[-1; 8], &[1, 0, 0, 0, 0, 0, 0, 9], &[0, 0, 0, 0, -1, 0, 0, 0]]
    {
        let text = Report::from_words(words).unwrap_err().to_string();
        assert!(text.contains("what a launch has left in `status` wanted"), "{text}");
    }
    let text = Report::from_words(&[0; 9]).unwrap_err().to_string();
    assert_eq!(text, "append report: 9 words given, a multiple of 8 wanted");
}
