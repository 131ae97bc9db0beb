//! Continuous batching over one paged cache, as an engine does it: arrivals, chunks of prompts, decode,
//! speculative steps with rejection, eviction, re-admission, shared prefixes, forks and copy-on-write. New
//! keys and values come in by `append`, one plan of each operator serves all steps, and every row of every
//! step is compared with attention in f64 over the sequence's logical history, which the host keeps.

mod device;
mod engine;
mod events;
mod pages;
mod sequence;

use std::sync::Mutex;

use fastattention::append::PlaceType;
use fastattention::attention::host;
use fastattention::reference::Element;
use fastattention::serving::{KvLayout, Mask, Problem};
use fastattention::DType;
use fastattention_testkit::device::device;
use fastattention_testkit::run::check_all;
use fastrand::Rng;
use half::{bf16, f16};

use device::OnDevice;
use engine::ServingEngine;
use events::Events;

const SLOTS: usize = 6;
/// Most rows of a slot.
const ROWS: usize = 16;
const TOTAL_ROWS: usize = 24;
const MAX_KEYS: usize = 150;

/// A class of shapes, and the cache.
#[derive(Clone, Copy, Debug)]
struct Class {
    dtype: DType,
    /// Of q, of k and v.
    heads: [u32; 2],
    /// Of q and k, of v and o.
    dims: [u32; 2],
    page_size: u32,
    /// Too few for all sequences.
    num_pages: u32,
    is_heads_first: bool,
    mask: Mask,
    is_batch_invariant: bool,
    place_type: PlaceType,
}

const CLASSES: [Class; 8] = {
    const WINDOW: Mask = Mask::Window { left: Some(21), right: Some(0) };
    const BASE: Class = Class {
        dtype: DType::F16,
        heads: [4, 2],
        dims: [32, 32],
        page_size: 8,
        num_pages: 44,
        is_heads_first: false,
        mask: Mask::Causal,
        is_batch_invariant: false,
        place_type: PlaceType::I32,
    };
    [
        BASE,
        Class { heads: [8, 2], dims: [64, 48], page_size: 16, num_pages: 24, ..BASE },
        Class { dtype: DType::Bf16, dims: [16, 16], is_heads_first: true, ..BASE },
        Class {
            heads: [8, 2],
            page_size: 16,
            num_pages: 20,
            mask: WINDOW,
            place_type: PlaceType::I64,
            ..BASE
        },
        Class { dims: [48, 64], is_batch_invariant: true, num_pages: 36, ..BASE },
        Class { dtype: DType::Bf16, heads: [8, 2], place_type: PlaceType::I64, num_pages: 32, ..BASE },
        Class { page_size: 16, num_pages: 18, is_heads_first: true, is_batch_invariant: true, ..BASE },
        Class { dims: [64, 16], mask: WINDOW, num_pages: 28, ..BASE },
    ]
};

impl Class {
    fn problem(&self) -> Problem {
        let kv = KvLayout::paged(self.page_size, self.num_pages);
        let kv = if self.is_heads_first { kv.with_heads_first() } else { kv };
        let shape = [TOTAL_ROWS as u32, self.heads[0], self.dims[0]];
        let mut problem =
            Problem::packed(self.dtype, shape, [SLOTS as u32, ROWS as u32], MAX_KEYS as u32, kv)
                .with_num_heads_k(self.heads[1])
                .with_head_dim_v(self.dims[1])
                .with_mask(self.mask)
                .with_lse()
                .checked();
        problem.is_batch_invariant = self.is_batch_invariant;
        problem
    }

    /// Elements of a token's key and value.
    fn row_lens(&self) -> [usize; 2] {
        self.dims.map(|dim| (self.heads[1] * dim) as usize)
    }

    /// Tokens of an append: all rows, and for each slot those of a page that it must not share.
    fn tokens(&self) -> usize {
        TOTAL_ROWS + SLOTS * (self.page_size as usize - 1)
    }
}

/// What an engine may do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    WritesToSharedPages,
    FreesSharedPages,
    LosesToken,
}

/// Runs so many steps.
fn run(seed: u64, steps: usize, bug: Option<Bug>) -> Result<Events, String> {
    let class = CLASSES[seed as usize % CLASSES.len()];
    match class.dtype {
        DType::Bf16 => run_typed::<bf16>(class, seed, steps, bug),
        _ => run_typed::<f16>(class, seed, steps, bug),
    }
}

fn run_typed<T: Element + host::Element>(
    class: Class,
    seed: u64,
    steps: usize,
    bug: Option<Bug>,
) -> Result<Events, String> {
    let device = device(|config| {
        config.threads = 1;
        // Some have other interleavings of pipes and cores, some replay one graph.
        config.seed = seed.is_multiple_of(3).then_some(seed);
    });
    let on_device = OnDevice::new(class, &device, seed / 8 % 2 == 1)?;
    let mut engine = ServingEngine::<T>::new(class, seed, bug);
    let mut rng = Rng::with_seed(!seed);
    for number in 1..=steps {
        let step = engine.schedule();
        on_device.run(&mut engine, &step, &mut rng).map_err(|why| {
            format!(
                "seed {seed}, step {number}: {why}\n{class:?}\n{:?}\n{}",
                step.work,
                engine.events.story()
            )
        })?;
        engine.commit(&step);
    }
    Ok(engine.events)
}

/// All seeds; what happened in each, and in all.
fn run_all(seeds: std::ops::Range<u64>, steps: usize) -> (Vec<(u64, Events)>, Events) {
    let done = Mutex::new(Vec::new());
    let seeds: Vec<u64> = seeds.collect();
    check_all(
        &seeds,
        || (),
        |(), &seed| {
            let events = run(seed, steps, None)?;
            done.lock().unwrap().push((seed, events));
            Ok(())
        },
    );
    let done = done.into_inner().unwrap();
    let mut all = Events::default();
    done.iter().for_each(|(_, events)| all.merge(events));
    eprintln!("{} scenarios of {steps} steps: {}", done.len(), all.counts());
    (done, all)
}

#[test]
fn every_step_is_right() {
    let (_, all) = run_all(0..16, 20);
    assert_eq!(all.missing(), [], "never happened");
}

/// 10000 steps; in every scenario everything happens.
#[test]
#[ignore = "minutes: cargo test --test attention serving::scenario -- --ignored --nocapture"]
fn every_step_of_long_scenarios_is_right() {
    let (done, _) = run_all(100..150, 200);
    let missing = done.into_iter().map(|(seed, events)| (seed, events.missing()));
    let missing: Vec<_> = missing.filter(|(_, events)| !events.is_empty()).collect();
    assert_eq!(missing, [], "seeds, and what never happened");
}

/// The scenario finds what an engine or a kernel does wrong.
#[test]
fn mistakes_of_an_engine_are_found() {
    for bug in [Bug::WritesToSharedPages, Bug::FreesSharedPages, Bug::LosesToken] {
        let found = (0..8).find_map(|seed| run(seed, 20, Some(bug)).err());
        assert!(found.is_some(), "{bug:?}");
    }
}
