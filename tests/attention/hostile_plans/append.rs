//! Appends.

use std::collections::HashSet;

use fastattention::append::{plan, Append, Args, PlaceType, Plan, Problem, Report};
use fastattention::runtime::{Buffer, Stream};
use fastattention::Soc;
use fastattention_testkit::device::device;
use proptest::prelude::*;

use super::{filled, launch_small, plan_or_refuse, size, strides, ONE, SMALL, UNTOUCHED};

const NAMES: &[&str] = &[
    "dtype",
    "num_heads_k",
    "head_dim",
    "tokens",
    "kv = ",
    "pages or slots of",
    "page_size",
    "k_stride",
    "v_stride",
    "k_cache_stride",
    "v_cache_stride",
    "operands take",
];

fn problem() -> impl Strategy<Value = Problem> {
    let own = (strides::<2>(), strides::<2>());
    (super::problem(), size(0..=40), own, any::<bool>(), any::<bool>(), size(1..=50)).prop_map(
        |(mut cache, tokens, own, is_wide, is_checked, any_dim)| {
            // Appends take any head dimension.
            if is_wide == is_checked {
                cache.spec.head_dim = any_dim;
            }
            let mut problem = Problem::new(tokens, &cache);
            problem = problem.with_place_type(if is_wide { PlaceType::I64 } else { PlaceType::I32 });
            (problem.k_stride, problem.v_stride) = own;
            problem.is_checked = is_checked;
            problem
        },
    )
}

/// What can be asked of a plan: nothing overflows.
fn ask(plan: &Plan, soc: &Soc) {
    let data = plan.tiling_data();
    assert!(data.num_cores <= soc.vector_cores, "{} cores: {plan}", data.num_cores);
    let (end, usable) = (u64::from(data.ub_status_offset_bytes) + 32, u64::from(soc.core.usable_ub_bytes()));
    assert!(end <= usable, "{end} bytes of UB, {usable} are usable: {plan}");
    assert_ne!(plan.to_string(), "");
    let _ = (plan.operand_bytes(), plan.places_bytes(), plan.status_bytes());
}

#[test]
fn every_problem_is_planned_or_refused_by_name() {
    plan_or_refuse(problem(), NAMES, Problem::refusals, plan, ask);
}

/// Any numbers, mostly of small caches.
fn places() -> impl Strategy<Value = Vec<i64>> {
    const EDGES: [i64; 8] = [-1, -2, i64::MIN, i64::MAX, 1 << 31, 1 << 32, -(1 << 32), (1 << 32) + 5];
    let place = prop_oneof![8 => 0i64..700, 2 => prop::sample::select(&EDGES[..]), 1 => any::<i64>()];
    prop::collection::vec(place, 40)
}

fn is_small(plan: &Plan) -> bool {
    plan.operand_bytes().into_iter().chain([plan.places_bytes()]).all(|bytes| bytes <= SMALL)
}

/// Operands of exactly the bytes that the plan needs: each element of the cache is one of the rows or
/// untouched, as many as the places that the cache has want, and the report counts the others.
fn launch(plan: &Plan, places: &[i64]) {
    let operator = Append::new(&device(|config| config.threads = 1)).unwrap();
    let (device, problem) = (operator.device(), plan.problem());
    let count = problem.num_places();
    let (mut taken, mut num_wrong) = (HashSet::new(), 0);
    let mut places: Vec<i64> = places.iter().copied().cycle().take(problem.tokens as usize).collect();
    for place in &mut places {
        if problem.place_type == PlaceType::I32 {
            *place = i64::from(*place as i32);
        }
        match u64::try_from(*place) {
            Ok(there) if there < count && taken.insert(there) => {}
            // Two tokens in one place are a race.
            Ok(there) if there < count => *place = -1,
            _ => num_wrong += u64::from(*place != -1),
        }
    }
    let [k, v, k_cache, v_cache] = plan.operand_bytes();
    let [k, v] = [k, v].map(|bytes| filled(device, bytes, ONE));
    let caches = [k_cache, v_cache].map(|bytes| filled(device, bytes, UNTOUCHED));
    let places = match problem.place_type {
        _ if places.is_empty() => filled(device, 8, 0),
        PlaceType::I64 => Buffer::from_slice(device, &places).unwrap(),
        _ => {
            let places: Vec<i32> = places.iter().map(|place| *place as i32).collect();
            Buffer::from_slice(device, &places).unwrap()
        }
    };
    let status = filled(device, plan.status_bytes().max(32), 0);
    let mut args = Args::new(&k, &v, &places, &caches[0], &caches[1]);
    args.status = problem.is_checked.then_some((&status).into());
    let stream = Stream::new(device).unwrap();
    operator.launch(&stream, plan, args).unwrap_or_else(|e| panic!("{plan}: {e}"));
    stream.synchronize().unwrap_or_else(|e| panic!("{plan}\n{problem:?}: {e}"));
    let report = Report::from_words(&status.to_vec::<i32>().unwrap()).unwrap();
    assert_eq!(report.num_wrong, if problem.is_checked { num_wrong } else { 0 }, "{plan}");
    let spec = &problem.cache.spec;
    for (cache, dim) in caches.iter().zip([spec.head_dim, spec.head_dim_v]) {
        let cache = cache.to_vec::<u16>().unwrap();
        let written = cache.iter().filter(|bits| **bits == ONE).count();
        assert_eq!(written, taken.len() * (spec.num_heads_k * dim) as usize, "{plan}\n{problem:?}");
        assert!(cache.iter().all(|bits| [ONE, UNTOUCHED].contains(bits)), "{plan}\n{problem:?}");
    }
}

#[test]
fn every_small_plan_takes_any_places() {
    launch_small(400, 100, (problem(), places()), plan, is_small, |plan, places| launch(plan, places));
}
