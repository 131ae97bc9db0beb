//! The table of problems: what `cuda/check.py` has, and a few more.

use super::problem::{problem, Layout, Problem, Values};

const VALUES: [Values; 6] =
    [Values::Rising, Values::Falling, Values::Equal, Values::Sink, Values::Spike, Values::Large];

/// Forward: many rows.
pub(crate) fn forward() -> Vec<Problem> {
    let mut all = Vec::new();
    for d in [8, 32, 40, 64, 72, 80, 88, 96, 104, 120, 128, 136, 192, 256] {
        all.push(problem(&format!("dim {d}"), d));
        all.push(problem(&format!("dim {d} causal tails"), d).lengths(77, 203).causal());
    }
    for (d, dv) in [(64, 128), (128, 64), (80, 96), (192, 128), (40, 24), (128, 256), (256, 8)] {
        all.push(problem(&format!("dim {d} and {dv}"), d).dv(dv).lengths(128, 150));
    }
    for d in [64, 80, 96, 128] {
        all.push(problem(&format!("longer {d}"), d).lengths(384, 640));
        all.push(problem(&format!("longer {d} causal"), d).lengths(384, 384).causal());
        all.push(problem(&format!("longer {d} window"), d).lengths(300, 500).window(Some(70), Some(9)));
    }
    for (rows, keys) in [(1, 1), (1, 64), (1, 65), (2, 63), (31, 33), (129, 127), (128, 1), (200, 5)] {
        let name = format!("lengths {rows} x {keys}");
        all.push(problem(&name, 128).lengths(rows, keys).heads(2, 2));
        all.push(problem(&(name + " causal"), 128).lengths(rows, keys).heads(2, 2).causal());
    }
    all.push(problem("empty: no keys", 128).lengths(5, 0));
    all.push(problem("empty: rows without keys", 128).lengths(200, 60).causal());
    all.push(problem("window of one key", 128).lengths(150, 150).window(Some(0), Some(0)));
    all.push(problem("window left only", 128).lengths(260, 260).window(Some(33), None));
    all.push(problem("window right only", 128).lengths(260, 260).window(None, Some(40)));
    all.push(problem("window beside the keys", 128).lengths(150, 150).window(Some(3), Some(2)));
    all.push(problem("heads gqa", 128).lengths(70, 90).heads(6, 2));
    all.push(problem("heads mqa causal", 128).lengths(70, 90).heads(4, 1).causal());
    all.push(problem("strides of batches", 128).lengths(40, 100).heads(2, 2).layout(3, Layout::Bhsd));
    all.push(problem("strides bshd", 64).lengths(50, 80).heads(3, 3).layout(2, Layout::Bshd));
    all.push(problem("strides padded", 80).lengths(50, 80).heads(4, 2).layout(2, Layout::Padded).causal());
    all.push(problem("ragged", 64).heads(2, 1).ragged(&[3, 0, 130, 64], &[70, 9, 200, 64]));
    all.push(problem("ragged causal", 128).heads(2, 2).ragged(&[130, 1, 0, 65], &[130, 90, 0, 20]).causal());
    all.push(problem("ragged 256", 256).ragged(&[20, 140], &[70, 1]));
    all.push(problem("scale negative", 128).lengths(128, 100).scale(-0.07));
    all.push(problem("scale zero", 128).lengths(128, 100).scale(0.0).causal());
    all.push(problem("scale large", 64).lengths(128, 300).scale(2.0));
    for values in VALUES {
        all.push(problem(&format!("values {values:?}"), 64).lengths(128, 520).values(values));
        all.push(
            problem(&format!("values {values:?} causal"), 128).lengths(140, 260).values(values).causal(),
        );
    }
    all.extend(grouped());
    all.extend(paged());
    all
}

/// The same, for the kernels with pages: rows, keys and pages of each batch from device memory.
fn paged() -> Vec<Problem> {
    let of = |name: &str, d: usize| problem(&format!("paged {d} {name}"), d);
    let mut all = Vec::new();
    for (d, page) in [(8, 8), (32, 64), (64, 16), (80, 8), (96, 32), (128, 16), (192, 128), (256, 8)] {
        all.push(of("square", d).paged(page, &[128], 0));
        all.push(of("longer", d).lengths(384, 0).paged(page, &[640], 0));
        let packed = of("packed causal", d).causal().paged(page, &[203, 9, 0, 33, 130], 0);
        all.push(packed.packed(&[77, 1, 3, 0, 130]));
        let packed = of("packed window", d).heads(2, 1).window(Some(70), Some(9)).paged(page, &[500, 70], 0);
        all.push(packed.packed(&[300, 150]));
    }
    for page in [8, 16, 32, 64, 128, 512] {
        let packed = of(&format!("pages of {page}"), 128).heads(4, 2).causal();
        all.push(packed.paged(page, &[520, 3, 131], 0).packed(&[40, 129, 131]));
    }
    for d in [64, 256] {
        let seen = of("page that no cache has, seen by some rows", d).lengths(40, 0).causal();
        all.push(seen.paged(16, &[30, 300], 0).lost());
        all.push(of("wild lengths", d).lengths(9, 0).causal().paged(16, &[0, 300, 77], 0).wild());
        all.push(of("scale negative", d).scale(-0.07).paged(16, &[300], 0));
        all.push(of("no keys", d).paged(16, &[0, 7], 0).packed(&[5, 130]));
    }
    all.push(of("and 256", 128).dv(256).lengths(128, 0).paged(16, &[150], 0));
    all.push(of("strides", 80).lengths(50, 0).heads(4, 2).layout(2, Layout::Padded).paged(8, &[80, 75], 0));
    for values in VALUES {
        all.push(of(&format!("values {values:?}"), 128).lengths(140, 0).values(values).paged(16, &[520], 0));
    }
    all
}

/// The same, for the kernels with two groups of warps.
fn grouped() -> Vec<Problem> {
    let of = |name: &str, d: usize| problem(&format!("groups {d} {name}"), d).groups();
    let mut all = Vec::new();
    for d in [8, 40, 64, 72, 128] {
        all.push(of("square", d));
        all.push(of("causal tails", d).lengths(77, 203).causal());
        all.push(of("window", d).lengths(300, 500).heads(2, 1).window(Some(70), Some(9)));
    }
    for d in [64, 128] {
        all.push(of("longer", d).lengths(384, 640));
        for (rows, keys) in [(1, 1), (2, 64), (33, 65), (65, 129), (200, 5), (5, 0)] {
            all.push(of(&format!("lengths {rows} x {keys}"), d).lengths(rows, keys).heads(2, 2).causal());
        }
        for values in VALUES {
            all.push(of(&format!("values {values:?}"), d).lengths(140, 520).values(values));
        }
    }
    all.push(of("and 128", 64).dv(128).lengths(128, 150));
    all.push(of("padded", 80).lengths(40, 300).heads(4, 2).layout(3, Layout::Padded).causal());
    all.push(of("ragged", 64).heads(2, 1).ragged(&[3, 0, 130, 64], &[70, 9, 200, 64]));
    all.push(of("scale negative", 128).lengths(128, 300).scale(-0.07));
    all.push(of("scale zero", 128).lengths(128, 300).scale(0.0).causal());
    all
}

/// Decode: few rows on many keys, split over blocks, K and V contiguous or in pages.
pub(crate) fn decode() -> Vec<Problem> {
    let one = |name: &str, d: usize, rows: usize, keys: usize| {
        problem(&format!("decode {name}"), d).lengths(rows, keys)
    };
    let mut all = Vec::new();
    for d in [8, 40, 64, 72, 80, 96, 128, 136, 256] {
        all.push(one(&format!("dim {d}"), d, 1, 200).heads(2, 2).splits(1));
        all.push(one(&format!("dim {d} gqa split causal"), d, 3, 333).heads(8, 2).causal().splits(3));
    }
    for (d, dv) in [(64, 128), (128, 64), (256, 64), (72, 136)] {
        all.push(one(&format!("dim {d} and {dv}"), d, 2, 100).dv(dv).heads(4, 1).splits(2));
    }
    for page in [8, 16, 128, 512] {
        let name = format!("pages of {page}");
        all.push(one(&name, 128, 1, 0).heads(8, 2).paged(page, &[520, 3, 131], 2));
        all.push(one(&(name + " causal"), 64, 5, 0).heads(4, 2).causal().paged(page, &[300, 77], 4));
    }
    all.push(one("page that no cache has", 128, 1, 0).heads(2, 1).paged(16, &[100], 2).lost());
    for splits in [1, 3] {
        let paged = |name: &str, heads, used: &[usize]| {
            one(&format!("{name} {splits}"), 128, 8, 0).heads(heads, 1).causal().paged(16, used, splits)
        };
        all.push(paged("page that no cache has, seen by some rows,", 2, &[20, 300]).lost());
        all.push(paged("wild lengths", 1, &[0, 300, 77]).wild());
        let nan = one(&format!("NaN {splits}"), 128, 3, 600).heads(2, 1).values(Values::Nan);
        all.push(nan.splits(splits));
    }
    for (rows, keys) in [(1, 1), (1, 7), (1, 8), (1, 9), (16, 5), (16, 31), (4, 33), (1, 0), (7, 64)] {
        all.push(one(&format!("lengths {rows} x {keys}"), 64, rows, keys).heads(2, 2).causal().splits(2));
    }
    all.push(one("mha 16 rows", 128, 16, 150).heads(2, 2).causal().splits(2));
    all.push(one("mqa 32 heads", 128, 1, 300).heads(32, 1).splits(3));
    all.push(one("group of 5", 128, 3, 130).heads(10, 2).causal().splits(2));
    all.push(one("window", 128, 4, 400).heads(4, 1).window(Some(70), Some(0)).splits(3));
    all.push(one("window of some splits", 64, 4, 900).heads(4, 1).window(Some(500), Some(0)).splits(5));
    all.push(one("window beside the keys", 128, 16, 4).heads(2, 1).window(Some(3), Some(0)).splits(2));
    all.push(one("more splits than keys", 128, 1, 20).heads(2, 1).splits(40));
    all.push(one("batches", 128, 2, 90).heads(4, 2).layout(4, Layout::Bshd).causal().splits(2));
    all.push(one("padded", 80, 2, 90).heads(4, 2).layout(2, Layout::Padded).splits(2));
    let packed = one("packed", 64, 1, 0).heads(4, 2).causal().paged(16, &[70, 9, 200, 0], 2);
    all.push(packed.packed(&[1, 0, 4, 2]));
    all.push(one("ragged", 128, 1, 1).heads(4, 2).ragged(&[1, 0, 4, 2], &[70, 9, 200, 0]).causal().splits(2));
    all.push(one("scale negative", 128, 1, 100).heads(2, 2).scale(-0.07).splits(2));
    all.push(one("scale zero", 128, 2, 100).heads(2, 2).scale(0.0).splits(1));
    all.push(one("scale large", 64, 2, 300).heads(2, 2).scale(2.0).splits(2));
    for values in VALUES {
        all.push(one(&format!("values {values:?}"), 128, 2, 700).heads(4, 4).values(values).splits(3));
    }
    all
}
