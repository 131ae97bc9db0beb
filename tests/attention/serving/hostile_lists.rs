//! Lists in device memory in which any numbers stand: each mistake is reported, nothing outside the operands
//! is touched, and slots whose own numbers are right have right results.

use std::cell::Cell;

use fastattention::serving::{KvLayout, Mask, Mistake};
use fastattention_testkit::serving::{launch, results, ServingCase, Tensors};
use half::f16;
use proptest::prelude::*;

use super::{case, serving};
use crate::hostile_plans::runner;

/// One number of a list becomes another.
#[derive(Clone, Debug)]
struct Spoilt {
    list: usize,
    at: usize,
    value: i32,
}

fn spoilt() -> impl Strategy<Value = Spoilt> {
    let value = prop_oneof![
        4 => -2i32..30,
        2 => 30i32..400,
        1 => any::<i32>(),
        1 => Just(i32::MIN),
        1 => Just(i32::MAX),
    ];
    (0..4usize, any::<usize>(), value).prop_map(|(list, at, value)| Spoilt { list, at, value })
}

fn cases() -> impl Strategy<Value = ServingCase> {
    let slots = prop::collection::vec((0u32..20, 0u32..150), 1..6);
    let limit = || prop_oneof![Just(None), (0u32..60).prop_map(Some)];
    let mask = prop_oneof![
        Just(Mask::None),
        Just(Mask::Causal),
        (limit(), limit()).prop_map(|(left, right)| Mask::Window { left, right }),
    ];
    (slots, prop::option::of(1u32..5), mask, (0..4usize, any::<bool>()), any::<u64>()).prop_map(
        |(slots, same_rows, mask, (kv, is_listed), seed)| {
            let (rows, lengths): (Vec<u32>, Vec<u32>) = slots.into_iter().unzip();
            let page_size = [0, 8, 16, 64][kv];
            let pages = |keys: &u32| keys.div_ceil(page_size);
            let kv = match page_size {
                0 => KvLayout::padded(),
                _ => KvLayout::paged(page_size, lengths.iter().map(pages).sum::<u32>() + 2),
            };
            // There is room for the longest sequence that the class may have.
            let kv = match kv.pages {
                Some(pages) if is_listed => kv.with_csr_table(pages.num_pages + 20),
                _ => kv,
            };
            let kv = match seed % 4 {
                1 => kv.with_heads_first(),
                2 if page_size > 0 => kv.with_nz(),
                3 if page_size.is_multiple_of(16) && page_size > 0 => kv.with_vllm(),
                _ => kv,
            };
            let mut case = case(&lengths, kv);
            (case.base.num_heads, case.base.head_dim, case.base.head_dim_v) = (4, 32, 16);
            (case.base.mask, case.base.seed) = (mask, seed >> 32);
            // The class has room for longer sequences than those that there are.
            case.base.seqlen_k += 9;
            case.base.seqlen_q = same_rows.unwrap_or(20);
            case.rows = same_rows.is_none().then_some(rows);
            case
        },
    )
}

/// What is to be reported of spoilt lists.
fn mistakes(case: &ServingCase, tensors: &Tensors<f16>) -> Vec<Mistake> {
    let width = case.problem().table_width() as usize;
    let (most, max_keys) = (i64::from(case.base.seqlen_q), case.base.seqlen_k);
    let total = case.rows.as_ref().map_or(0, |rows| i64::from(rows.iter().sum::<u32>()));
    let mut last = 0;
    let mut found = Vec::new();
    for (slot, &given) in tensors.lengths.iter().enumerate() {
        let mut now_rows = None;
        if let Some(&[start, end]) = tensors.row_starts.get(slot..slot + 2) {
            now_rows = Some(i64::from(end) - i64::from(start));
            let (from, to) = (i64::from(start), i64::from(end));
            let are_right = last <= from && from <= to && to <= total && to - from <= most;
            let first = from.clamp(last, total);
            last = to.clamp(first, total.min(first + most));
            if !are_right {
                found.push(Mistake::Rows { slot, start, end });
                continue;
            }
        }
        let Some(keys) = u32::try_from(given).ok().filter(|keys| *keys <= max_keys) else {
            found.push(Mistake::Length { slot, given });
            continue;
        };
        let Some(pages) = case.kv.pages else { continue };
        let num_needed = keys.div_ceil(pages.page_size) as usize;
        let mut first = slot * width;
        if let Some(&[start, end]) = tensors.page_starts.get(slot..slot + 2) {
            let own = start..end;
            let inside = usize::try_from(start)
                .ok()
                .filter(|_| end >= start && usize::try_from(end).is_ok_and(|end| end <= tensors.table.len()));
            if num_needed > inside.map_or(0, |_| own.len()) {
                found.push(Mistake::PageStarts { slot, start, end });
                continue;
            }
            first = inside.unwrap_or(0);
        }
        let needed = &tensors.table[first..][..num_needed];
        let rows = now_rows.unwrap_or(i64::from(case.base.seqlen_q));
        let unseen = first_seen(case.base.mask, i64::from(keys) - rows) / pages.page_size as usize;
        let wrong = |page: &i32| u32::try_from(*page).map_or(true, |page| page >= pages.num_pages);
        let found_at = needed.iter().skip(unseen).position(wrong);
        if let Some(entry) = found_at.map(|entry| entry + unseen) {
            found.push(Mistake::Page { slot, entry, given: needed[entry] });
        }
    }
    found
}

/// The first key that a row sees which has so many keys before it. What else a fractal of vLLM's order has is
/// of the same page.
fn first_seen(mask: Mask, before: i64) -> usize {
    match mask {
        Mask::Window { left: Some(left), .. } => usize::try_from(before - i64::from(left)).unwrap_or(0),
        _ => 0,
    }
}

fn slot_of(mistake: &Mistake) -> usize {
    match *mistake {
        Mistake::Rows { slot, .. }
        | Mistake::Length { slot, .. }
        | Mistake::PageStarts { slot, .. }
        | Mistake::Page { slot, .. } => slot,
        _ => unreachable!("there is no other mistake"),
    }
}

/// Are the numbers of a slot those that were right?
fn is_untouched(case: &ServingCase, slot: usize, [now, good]: [&Tensors<f16>; 2]) -> bool {
    let width = case.problem().table_width() as usize;
    let needed = case.kv.pages.map_or(0, |pages| case.lengths[slot].div_ceil(pages.page_size) as usize);
    let of = |tensors: &Tensors<f16>| {
        let starts = tensors.row_starts.get(slot..slot + 2).map(<[i32]>::to_vec);
        let listed = tensors.page_starts.get(slot..slot + 2).map(<[i32]>::to_vec);
        // Where those that were right are.
        let first = good.page_starts.get(slot).map_or(slot * width, |start| usize::try_from(*start).unwrap());
        (starts, listed, tensors.lengths[slot], tensors.table[first..][..needed].to_vec())
    };
    of(now) == of(good)
}

#[test]
fn right_slots_stay_right_and_the_others_are_reported() {
    let (num_right, num_wrong) = (Cell::new(0), Cell::new(0));
    runner(150)
        .run(&(cases(), prop::collection::vec(spoilt(), 1..5)), |(case, all_spoilt)| {
            let good = case.tensors::<f16>();
            let mut tensors = good.clone();
            for Spoilt { list, at, value } in all_spoilt {
                let lists = [
                    &mut tensors.row_starts,
                    &mut tensors.lengths,
                    &mut tensors.table,
                    &mut tensors.page_starts,
                ];
                let list = lists.into_iter().nth(list);
                let Some(list) = list.filter(|list| !list.is_empty()) else { continue };
                let at = at % list.len();
                list[at] = value;
            }
            let out = launch(&serving(|config| config.threads = 1), &case, &tensors).unwrap();
            let wanted = mistakes(&case, &tensors);
            prop_assert_eq!(&out.report.mistakes, &wanted);
            let wrong: Vec<usize> = wanted.iter().map(slot_of).collect();
            num_wrong.set(num_wrong.get() + wrong.len());
            let slots = (0..case.lengths.len()).filter(|slot| case.rows_of(*slot) > 0);
            for (slot, result) in slots.zip(results(&case, &good, &out)) {
                if !wrong.contains(&slot) && is_untouched(&case, slot, [&tensors, &good]) {
                    result.check().map_err(|why| TestCaseError::fail(format!("slot {slot}: {why}")))?;
                    num_right.set(num_right.get() + 1);
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(num_right.get() > 100 && num_wrong.get() > 100, "{num_right:?} {num_wrong:?}");
}
