//! K and V move from one division to another, through the host, page by page.

use std::ops::Range;

use super::host::Cache;
use super::lane::bytes;
use super::plan::Placement;
use super::share::{Share, Side};
use super::Problem;
use crate::Result;

/// A sequence that moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) slot: u32,
    pub(super) keys: u32,
    /// First key of the device's window, before and after.
    pub(super) window_starts: [u32; 2],
}

/// Caches of all layers, on the device and on the host.
type Caches = [[Option<Cache>; 2]];

/// Copies the keys of all sequences from the caches of one placement to those of another. Caches that are in
/// both are as they should be.
pub(super) fn relocate(
    [old, new]: [&Placement; 2],
    [from, to]: [&Caches; 2],
    sequences: &[Sequence],
) -> Result<()> {
    let problem = old.problem();
    for (layer, (from, to)) in (0..).zip(from.iter().zip(to)) {
        let [from, to] = [(old, from), (new, to)].map(|(placement, caches)| {
            let sides = [Side::Device, Side::Host].into_iter().zip(caches);
            let held = sides
                .filter_map(|(side, cache)| Some((side, placement.share(side, layer)?, cache.as_ref()?)));
            held.collect::<Vec<_>>()
        });
        let moved: Vec<_> =
            to.iter().filter(|(.., to)| !from.iter().any(|(.., from)| is_same(from, to))).collect();
        if moved.is_empty() {
            continue;
        }
        for sequence in sequences {
            for first in (0..sequence.keys).step_by(problem.page_size as usize) {
                let keys = first..sequence.keys.min(first.saturating_add(problem.page_size));
                let mut page = Page::new(problem, keys.len());
                for (side, share, cache) in &from {
                    if holds(*side, share, sequence.slot, &keys, sequence.window_starts[0]) {
                        page.read(problem, share, cache, sequence.slot, &keys)?;
                    }
                }
                for (side, share, cache) in &moved {
                    if holds(*side, share, sequence.slot, &keys, sequence.window_starts[1]) {
                        page.write(problem, share, cache, sequence.slot, &keys)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn is_same(a: &Cache, b: &Cache) -> bool {
    a.k.device_ptr() == b.k.device_ptr() && a.k.device().name() == b.k.device().name()
}

fn holds(side: Side, share: &Share, slot: u32, keys: &Range<u32>, window_start: u32) -> bool {
    let is_in_window = side == Side::Host || keys.start >= window_start;
    share.slots.contains(&slot) && is_in_window
}

/// K and V of a page, all heads.
struct Page {
    k: Vec<u8>,
    v: Vec<u8>,
}

impl Page {
    fn new(problem: &Problem, keys: usize) -> Self {
        let len = |dim: u32| keys * problem.spec.num_heads_k as usize * 2 * dim as usize;
        Self { k: vec![0; len(problem.spec.head_dim)], v: vec![0; len(problem.spec.head_dim_v)] }
    }

    fn read(
        &mut self,
        problem: &Problem,
        share: &Share,
        cache: &Cache,
        slot: u32,
        keys: &Range<u32>,
    ) -> Result<()> {
        let spec = &problem.spec;
        for (all, buffer, dim) in
            [(&mut self.k, &cache.k, spec.head_dim), (&mut self.v, &cache.v, spec.head_dim_v)]
        {
            let heads = Heads::of(problem, share, dim);
            let mut own = vec![0u8; keys.len() * heads.own];
            let at = u64::from(share.place(problem, slot, keys.start)) * heads.own as u64;
            buffer.copy_to_host_at(bytes(at), &mut own)?;
            for (row, own) in all.chunks_exact_mut(heads.all).zip(own.chunks_exact(heads.own)) {
                row[heads.start..heads.start + heads.own].copy_from_slice(own);
            }
        }
        Ok(())
    }

    fn write(
        &self,
        problem: &Problem,
        share: &Share,
        cache: &Cache,
        slot: u32,
        keys: &Range<u32>,
    ) -> Result<()> {
        let spec = &problem.spec;
        for (all, buffer, dim) in [(&self.k, &cache.k, spec.head_dim), (&self.v, &cache.v, spec.head_dim_v)] {
            let heads = Heads::of(problem, share, dim);
            let rows = all.chunks_exact(heads.all).flat_map(|row| &row[heads.start..heads.start + heads.own]);
            let own: Vec<u8> = rows.copied().collect();
            let at = u64::from(share.place(problem, slot, keys.start)) * heads.own as u64;
            buffer.copy_from_host_at(bytes(at), &own)?;
        }
        Ok(())
    }
}

/// Bytes of the heads of a key.
struct Heads {
    all: usize,
    start: usize,
    own: usize,
}

impl Heads {
    fn of(problem: &Problem, share: &Share, dim: u32) -> Self {
        let len = |heads: u32| heads as usize * 2 * dim as usize;
        Self {
            all: len(problem.spec.num_heads_k),
            start: len(share.heads_k.start),
            own: len(share.num_heads_k()),
        }
    }
}
