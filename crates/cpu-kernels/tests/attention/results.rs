//! What launches give.

use std::num::NonZeroUsize;

use fastattention_cpu::{Config, DType, Host, Isa};
use fastattention_tolerance::assert_same;
use half::{bf16, f16};

use crate::case::{int, Built, Case, Layout, Results, Value};
use crate::table::cases;

fn host(threads: usize, isa: Isa) -> Host {
    let config = Config { threads: NonZeroUsize::new(threads), isa: Some(isa), ..Config::default() };
    Host::new(&config).unwrap()
}

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

fn bits(results: &Results) -> Vec<u32> {
    results.o.iter().chain(&results.lse).map(|x| x.to_bits()).collect()
}

/// On every instruction set against f64, and with 1 to 4 threads against one.
fn check<T: Value>(case: &Case, hosts: &[[Host; 4]]) {
    let built: Built<T> = case.build(7);
    for hosts in hosts {
        let isa = hosts[0].isa();
        let one = built.run(&hosts[0]);
        built.check(&one, &isa.to_string());
        for host in &hosts[1..] {
            let many = built.run(host);
            let what = format!("{isa}, {} threads against one, {case:?}", host.threads());
            assert_same(&bits(&many), &bits(&one), &what);
        }
    }
}

#[test]
fn every_case_is_right_with_any_instructions_and_threads() {
    let hosts: Vec<_> = available().map(|isa| [1, 2, 3, 4].map(|threads| host(threads, isa))).collect();
    for case in cases() {
        match case.dtype {
            DType::F16 => check::<f16>(&case, &hosts),
            DType::Bf16 => check::<bf16>(&case, &hosts),
            DType::F32 => check::<f32>(&case, &hosts),
        }
    }
}

/// Bits of a slot depend on the slot alone: not on others of the launch, nor on where its keys lie.
#[test]
fn a_slot_has_the_same_bits_in_any_company() {
    let host = host(2, Isa::best());
    let mut alone = cases().into_iter().find(|c| c.why == "decode, keys cut").unwrap();
    let first: Built<f16> = alone.build(3);
    alone.slots.extend([(1, 40), (1, 900)]);
    let mut together: Built<f16> = alone.build(4);
    together.q[..first.q.len()].copy_from_slice(&first.q);
    together.k[..first.k.len()].copy_from_slice(&first.k);
    together.v[..first.v.len()].copy_from_slice(&first.v);
    let (first, together) = (first.run(&host), together.run(&host));
    assert_eq!(bits(&first)[..first.o.len()], bits(&together)[..first.o.len()]);
}

/// f32 of all instruction sets within 2^-16, where |v| is up to 4: products are rounded once or twice, and
/// sums of 128 products go in other orders.
#[test]
fn instruction_sets_agree() {
    for case in cases().into_iter().filter(|case| case.dtype == DType::F32) {
        let built: Built<f32> = case.build(5);
        let portable = built.run(&host(1, Isa::Portable));
        for isa in available() {
            let other = built.run(&host(1, isa));
            for (a, b) in portable.o.iter().zip(&other.o) {
                assert!((a - b).abs() <= 4.0 / 262_144.0, "{isa}: {b}, portable {a}, {case:?}");
            }
            for (a, b) in portable.lse.iter().zip(&other.lse) {
                assert!(a == b || (a - b).abs() <= 4.0 / 262_144.0, "{isa}: lse {b}, portable {a}, {case:?}");
            }
        }
    }
}

/// Rows that see a key whose page the cache lacks become NaN, the others stay right.
#[test]
fn a_page_that_is_not_there_makes_nan_of_the_rows_that_see_it() {
    for (rows, wrong) in [(1, -1), (1, 1000), (40, -5), (40, i32::MAX)] {
        let mut case = cases().into_iter().find(|c| matches!(c.layout, Layout::Paged(16))).unwrap();
        case.slots = vec![(rows, 100), (rows, 100)];
        for isa in available() {
            let mut built: Built<f16> = case.build(9);
            let right = built.run(&host(2, isa));
            // Keys 80 to 95 of the second slot.
            // A row of the table has an entry more than 100 keys need.
            built.table[8 + 5] = wrong;
            let got = built.run(&host(2, isa));
            for (slot, row, head) in places(&case) {
                let at = built.row(slot, row, head, built.problem.o_stride);
                let sees = slot == 1 && row + 100 - rows >= 80;
                let (o, want) = (&got.o[at..at + case.dim_v], &right.o[at..at + case.dim_v]);
                let lse = got.lse[built.lse(slot, row, head)];
                if sees {
                    assert!(
                        lse.is_nan() && o.iter().all(|o| o.is_nan()),
                        "{isa}: row {row} gives {o:?}, {lse}"
                    );
                } else {
                    assert_eq!(o, want, "{isa}: row {row} of slot {slot}");
                }
            }
        }
    }
}

/// A slot whose entries fall or leave the list has none; one with too few lacks the keys behind.
#[test]
fn page_starts_that_cannot_be_make_nan_of_the_rows_that_see_what_is_missing() {
    // Of the list of 14 pages and one more the first slot has entries 0 to 7, the second 7 to 14.
    for (wrong, first_missing) in
        [([-1, 14], 0), ([7, 6], 0), ([7, 16], 0), ([7, i32::MAX], 0), ([7, 12], 80)]
    {
        for rows in [1, 40] {
            let mut case = cases().into_iter().find(|c| matches!(c.layout, Layout::Listed(16))).unwrap();
            case.slots = vec![(rows, 100), (rows, 100)];
            let mut built: Built<f16> = case.build(9);
            let right = built.run(&host(2, Isa::best()));
            assert_eq!(built.page_starts, [0, 7, 14]);
            built.page_starts[1..].copy_from_slice(&wrong);
            let got = built.run(&host(2, Isa::best()));
            for (slot, row, head) in places(&case).into_iter().filter(|place| place.0 == 1) {
                let at = built.row(slot, row, head, built.problem.o_stride);
                let (o, want) = (&got.o[at..at + case.dim_v], &right.o[at..at + case.dim_v]);
                if row + 100 - rows >= first_missing {
                    assert!(o.iter().all(|o| o.is_nan()), "{wrong:?}: row {row} gives {o:?}");
                } else {
                    assert_eq!(o, want, "{wrong:?}: row {row}");
                }
            }
        }
    }
}

fn places(case: &Case) -> Vec<(usize, usize, usize)> {
    let rows = |(slot, (rows, _)): (usize, &(usize, usize))| {
        (0..*rows).flat_map(move |row| (0..4).map(move |head| (slot, row, head)))
    };
    case.slots.iter().enumerate().flat_map(rows).filter(|place| place.2 < case.heads).collect()
}

/// As docs/serving.md says: entries count as the nearest that are right.
#[test]
fn row_starts_that_cannot_be_never_share_a_row() {
    let case = cases().into_iter().find(|c| c.why == "packed, gaps").unwrap();
    let mut built: Built<f32> = case.build(11);
    let host = host(2, Isa::best());
    let right = built.run(&host);
    // The second slot begins in the first one: it gets the row behind it, as before, and NaN.
    built.starts = vec![0, 17, 5];
    let got = built.run(&host);
    let at = |row: usize| row * built.problem.o_stride[1];
    assert_eq!(bits(&right)[..at(17)], bits(&got)[..at(17)]);
    assert_eq!(got.o[at(17)].to_bits(), 77f32.to_bits(), "no row is left");
    // Beyond q, and more rows than a slot can have.
    for starts in [[-3, 17, 18], [0, 17, int(built.problem.total_rows.unwrap()) + 1], [0, 18, 18]] {
        built.starts = starts.to_vec();
        let got = built.run(&host);
        let is_nan = |row: usize| got.o[at(row)].is_nan();
        let wrong = if starts[2] > 18 { 17 } else { 0 };
        assert!(is_nan(wrong), "{starts:?}: {:?}", got.o[at(wrong)]);
    }
}

#[test]
fn lengths_that_cannot_be_count_as_the_nearest() {
    let case = cases().into_iter().find(|c| c.why == "lengths of every kind, decode").unwrap();
    let mut built: Built<f16> = case.build(13);
    let host = host(1, Isa::best());
    let right = built.run(&host);
    built.lengths[0] = -4;
    built.lengths[2] = 5000;
    assert_eq!(bits(&right), bits(&built.run(&host)));
}

#[test]
fn nan_and_infinity_in_k_reach_the_rows_that_see_them() {
    for bad in [f32::NAN, f32::INFINITY] {
        for rows in [4, 40] {
            let mut case = cases().into_iter().find(|c| c.why == "causal, square").unwrap();
            case.slots = vec![(rows, rows)];
            for isa in available() {
                let mut built: Built<f16> = case.build(15);
                let at = built.key(0, rows - 2, 0, built.problem.k_stride);
                built.k[at] = f16::from_f32(bad);
                let got = built.run(&host(1, isa));
                let first = |row: usize| got.o[built.row(0, row, 0, built.problem.o_stride)];
                assert!(first(rows - 3).is_finite(), "{isa}: a row before the key");
                // Minus infinity times a key's weight is no NaN: the key then counts nothing.
                let q = built.q[built.row(0, rows - 1, 0, built.problem.q_stride)].to_f32();
                assert!(first(rows - 1).is_nan() || (bad.is_infinite() && q <= 0.0), "{isa}: {bad} in k");
            }
        }
    }
}
