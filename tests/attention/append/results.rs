//! Every type and layout against copies on the host, places that are none or wrong, and attention on a cache
//! that was filled so.

use fastattention::append::{plan, Append, Args, Mistake, Number, PlaceType, Problem, Report};
use fastattention::runtime::{Buffer, CaptureMode, Stream};
use fastattention::serving::{self, KvLayout};
use fastattention::{DType, ErrorKind};
use fastattention_testkit::compare::{assert_all, assert_same};
use fastattention_testkit::device::{device, simulator};
use fastattention_testkit::serving::launch;
use fastrand::Rng;
use half::f16;

use super::Cache::{Gaps, Nz, Padded, PaddedHeadsFirst, Paged, PagedHeadsFirst, Vllm};
use super::{append, case_of, old_caches, run, upload, upload_places, wanted, Case, Rows, OLD};
use crate::serving::case;

#[test]
fn every_layout_and_type_is_what_the_host_copies() {
    let operator = append(|_| ());
    let cases = [
        // Dense rows into each layout; one token, tails of tiles, more tokens than cores, several tiles.
        case_of(1, 1, [16, 16], Paged { pages: 1, size: 1 }, Rows::Dense),
        case_of(300, 8, [128, 128], Paged { pages: 40, size: 16 }, Rows::Dense),
        case_of(33, 2, [64, 64], PagedHeadsFirst { pages: 5, size: 8 }, Rows::Fused),
        case_of(50, 3, [80, 80], Padded { slots: 4, keys: 37 }, Rows::Gaps),
        case_of(49, 4, [32, 48], PaddedHeadsFirst { slots: 3, keys: 64 }, Rows::HeadsFirst),
        case_of(200, 2, [192, 128], Gaps { pages: 13, size: 17 }, Rows::TokenGaps),
        // Rows of a page in one copy, with a gap behind each row and behind the page.
        case_of(90, 1, [64, 40], Gaps { pages: 9, size: 12 }, Rows::Dense),
        // Heads that are no whole blocks, on both sides.
        case_of(40, 3, [20, 20], Paged { pages: 3, size: 16 }, Rows::Dense),
        case_of(40, 5, [7, 72], PagedHeadsFirst { pages: 6, size: 9 }, Rows::Dense),
        case_of(60, 2, [1, 3], Padded { slots: 2, keys: 70 }, Rows::TokenGaps),
        case_of(17, 3, [33, 40], Gaps { pages: 9, size: 2 }, Rows::Fused),
        case_of(90, 2, [24, 24], PaddedHeadsFirst { slots: 1, keys: 100 }, Rows::Gaps),
        // Long rows: one token a tile, with two and with three of them in UB.
        case_of(100, 128, [192, 128], Paged { pages: 1, size: 110 }, Rows::Dense),
        case_of(60, 1, [24000, 5000], PagedHeadsFirst { pages: 61, size: 1 }, Rows::HeadsFirst),
        // Pieces of heads.
        case_of(150, 8, [128, 64], Nz { pages: 40, size: 16 }, Rows::Fused),
        case_of(200, 1, [16, 80], Nz { pages: 2, size: 130 }, Rows::HeadsFirst),
        case_of(120, 8, [128, 128], Vllm { pages: 9, size: 16 }, Rows::Dense),
        case_of(33, 3, [40, 7], Vllm { pages: 12, size: 3 }, Rows::Fused),
        // Many heads, each a piece.
        case_of(97, 700, [16, 16], PagedHeadsFirst { pages: 25, size: 4 }, Rows::Gaps),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let wide = Case { dtype: DType::Bf16, place_type: PlaceType::I64, ..case };
        // Both types of the rows with both of the places over the table, half of it each.
        let types = if number % 2 == 0 {
            [case, wide]
        } else {
            [Case { place_type: PlaceType::I64, ..case }, Case { dtype: DType::Bf16, ..case }]
        };
        for (case, follow) in types.into_iter().zip([false, true]) {
            let mut rng = Rng::with_seed(number as u64);
            let rows = case.rows(&mut rng);
            let places = if follow { case.runs(&mut rng) } else { case.places(&mut rng) };
            let left = run(&operator, &case, &rows, &places);
            for (got, want) in left.caches.iter().zip(&wanted(&case, &rows, &places)) {
                assert_same(got, want, &format!("{case:?}, follow {follow}"));
            }
            assert_eq!(left.report, Report::default(), "{case:?}");
        }
    }
}

#[test]
fn places_that_the_cache_does_not_have_are_told_and_nothing_of_them_is_written() {
    let operator = append(|_| ());
    let narrow = case_of(150, 2, [64, 64], Paged { pages: 10, size: 16 }, Rows::Dense);
    for case in [narrow, Case { place_type: PlaceType::I64, ..narrow }] {
        let mut rng = Rng::with_seed(5);
        let (rows, mut places) = (case.rows(&mut rng), case.places(&mut rng));
        let mut wrong = vec![160, -2, i32::MAX.into(), i32::MIN.into()];
        if case.place_type == PlaceType::I64 {
            // Their low words are places that the cache has.
            wrong.extend([1 << 32, -(1 << 32) + 5, i64::MIN, i64::MAX]);
        }
        let tokens: Vec<usize> = (0..wrong.len()).map(|i| i * 19 + i % 2).collect();
        tokens.iter().zip(&wrong).for_each(|(token, place)| places[*token] = *place);
        let left = run(&operator, &case, &rows, &places);
        for (got, want) in left.caches.iter().zip(&wanted(&case, &rows, &places)) {
            assert_same(got, want, &format!("{case:?}"));
        }
        assert_eq!(left.report.num_wrong, wrong.len() as u64);
        // The tokens lie so far apart that no core has two of them.
        let mistakes =
            tokens.iter().zip(&wrong).map(|(&token, &given)| Mistake { token, number: Number::Place, given });
        assert_eq!(left.report.mistakes, mistakes.collect::<Vec<_>>());
    }
    // Of several wrong places of a core the first is told, and their number.
    let case = case_of(1, 1, [16, 16], Paged { pages: 2, size: 4 }, Rows::Dense);
    let all = Case { tokens: 480, ..case };
    let left = run(&operator, &all, &all.rows(&mut Rng::with_seed(1)), &[8; 480]);
    let cores = operator.device().soc().vector_cores as usize;
    assert_eq!((left.report.num_wrong, left.report.mistakes.len()), (480, cores));
    let tokens: Vec<usize> = left.report.mistakes.iter().map(|mistake| mistake.token).collect();
    assert_eq!(tokens, (0..cores).map(|core| 480 * core / cores).collect::<Vec<_>>());
}

#[test]
fn no_place_at_all_writes_nothing_and_empty_plans_launch_nothing() {
    let operator = append(|_| ());
    let case = case_of(70, 2, [64, 32], Paged { pages: 5, size: 4 }, Rows::Dense);
    let left = run(&operator, &case, &case.rows(&mut Rng::with_seed(1)), &[-1; 70]);
    left.caches.iter().for_each(|cache| assert_all(cache, &OLD, "a cache"));
    assert_eq!(left.report, Report::default());
    let none = Case { tokens: 0, ..case };
    let none = plan(&none.problem(), operator.device().soc()).unwrap();
    assert_eq!((none.num_cores(), none.status_bytes(), none.places_bytes()), (0, 0, 0));
    // A cache without places has none of these.
    let empty = serving::Problem::new(DType::F16, [0, 1, 2, 64], 0, KvLayout::padded());
    let plan = plan(&Problem::new(3, &empty).checked(), operator.device().soc()).unwrap();
    let [rows, cache] = [3 * 2 * 64, 1].map(|len| upload(&operator, &vec![OLD; len]));
    let other = upload(&operator, &[OLD]);
    let places = upload_places(&operator, PlaceType::I32, &[0, -1, 1]);
    let status = Buffer::alloc(operator.device(), plan.status_bytes() as usize).unwrap();
    let stream = Stream::new(operator.device()).unwrap();
    operator
        .launch(&stream, &plan, Args::new(&rows, &rows, &places, &cache, &other).with_status(&status))
        .unwrap();
    stream.synchronize().unwrap();
    assert_eq!(Report::from_words(&status.to_vec().unwrap()).unwrap().num_wrong, 2);
}

#[test]
fn bits_are_the_same_in_every_interleaving() {
    let case = case_of(230, 3, [80, 20], Gaps { pages: 20, size: 16 }, Rows::Fused);
    let mut rng = Rng::with_seed(3);
    let (rows, places) = (case.rows(&mut rng), case.places(&mut rng));
    let want = wanted(&case, &rows, &places);
    for seed in 0..8 {
        let operator = append(|config| {
            config.seed = Some(seed);
            config.threads = 1 + seed as usize % 3;
        });
        let left = run(&operator, &case, &rows, &places);
        left.caches.iter().zip(&want).for_each(|(got, want)| assert_same(got, want, &format!("seed {seed}")));
    }
}

/// Two cores write one row: the simulator tells what the documentation forbids.
#[test]
fn a_place_of_two_tokens_is_a_race_on_the_simulator() {
    let operator = Append::new(&simulator(|config| config.threads = 1)).unwrap();
    let case = case_of(2, 1, [64, 64], Paged { pages: 1, size: 4 }, Rows::Dense);
    let plan = plan(&case.unchecked(), operator.device().soc()).unwrap();
    let [rows, k_cache, v_cache] = [2 * 64, 4 * 64, 4 * 64].map(|len| upload(&operator, &vec![OLD; len]));
    let places = upload_places(&operator, PlaceType::I32, &[3, 3]);
    let stream = Stream::new(operator.device()).unwrap();
    let args = Args::new(&rows, &rows, &places, &k_cache, &v_cache);
    let error = operator.launch(&stream, &plan, args).and_then(|()| stream.synchronize()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SimFault, "{error}");
    assert!(error.to_string().contains("Fault: Race"), "{error}");
}

/// A launch that was captured serves other places and other rows.
#[test]
fn a_captured_launch_reads_the_places_of_each_replay() {
    let operator = append(|_| ());
    let case = case_of(20, 2, [64, 64], Paged { pages: 4, size: 16 }, Rows::Dense);
    let plan = plan(&case.unchecked(), operator.device().soc()).unwrap();
    let (mut rng, stream) = (Rng::with_seed(9), Stream::new(operator.device()).unwrap());
    let first = case.rows(&mut rng);
    let [k, v] = [&first[0], &first[1]].map(|data| upload(&operator, data));
    let places = upload_places(&operator, case.place_type, &[-1; 20]);
    let caches = old_caches(&operator, &case);
    let capture = stream.begin_capture(CaptureMode::Relaxed).unwrap();
    operator.launch(&stream, &plan, Args::new(&k, &v, &places, &caches[0], &caches[1])).unwrap();
    let graph = capture.end().unwrap();
    for _ in 0..3 {
        let (rows, now) = (case.rows(&mut rng), case.places(&mut rng));
        let narrow: Vec<i32> = now.iter().map(|place| i32::try_from(*place).unwrap()).collect();
        k.copy_from_host(&rows[0]).unwrap();
        v.copy_from_host(&rows[1]).unwrap();
        places.copy_from_host(&narrow).unwrap();
        caches.iter().for_each(|c| c.copy_from_host(&vec![OLD; c.len_bytes() / 2]).unwrap());
        graph.launch(&stream).unwrap();
        stream.synchronize().unwrap();
        let want = wanted(&case, &rows, &now);
        for (cache, want) in caches.iter().zip(&want) {
            assert_same(&cache.to_vec::<u16>().unwrap(), want, "replay");
        }
    }
}

/// The serving operator on a cache that was appended to, in each order: the same bits as on one that the
/// host has filled.
#[test]
fn what_is_appended_is_what_attention_reads() {
    let paged = KvLayout::paged(16, 40);
    let orders = [paged.with_heads_first(), paged.with_nz(), paged.with_vllm()];
    for kv in [paged, KvLayout::padded()].into_iter().chain(orders) {
        let attention = serving::ServingAttention::new(&device(|_| ())).unwrap();
        let operator = Append::new(attention.device()).unwrap();
        let case = case(&[150, 0, 33], kv);
        let mut tensors = case.tensors::<f16>();
        let want = launch(&attention, &case, &tensors).unwrap();
        let width = case.problem().table_width() as usize;
        let (mut k, mut v, mut places) = (Vec::new(), Vec::new(), Vec::<i32>::new());
        for (slot, (sequence, [_, keys, values])) in tensors.slots.iter().enumerate() {
            for key in 0..sequence.seqlen_k as usize {
                let place = match kv.pages {
                    Some(_) => tensors.table[slot * width + key / 16] * 16 + key as i32 % 16,
                    None => (slot * 150 + key) as i32,
                };
                places.push(place);
            }
            k.extend(&keys.data);
            v.extend(&values.data);
        }
        let plan =
            plan(&Problem::new(places.len() as u32, &case.problem()), operator.device().soc()).unwrap();
        let nan = vec![f16::NAN; tensors.k.len()];
        let on_device = |data: &[f16]| Buffer::from_slice(operator.device(), data).unwrap();
        let (k, v, k_cache, v_cache) = (on_device(&k), on_device(&v), on_device(&nan), on_device(&nan));
        let places = Buffer::from_slice(operator.device(), &places).unwrap();
        let stream = Stream::new(operator.device()).unwrap();
        operator.launch(&stream, &plan, Args::new(&k, &v, &places, &k_cache, &v_cache)).unwrap();
        stream.synchronize().unwrap();
        (tensors.k, tensors.v) = (k_cache.to_vec().unwrap(), v_cache.to_vec().unwrap());
        let got = launch(&attention, &case, &tensors).unwrap();
        assert_same(&got.o, &want.o, "o");
    }
}
