//! The places of q, k and v in shared memory, read off the real kernels.
//!
//! A kernel's text is cut behind the barrier that opens a stage, where each thread copies its part of a
//! region of shared memory to o and returns. Every element of q, k and v has bits of its own, so the copy
//! says where each one is.

use std::collections::BTreeSet;

use fastattention_sm70::Sums;
use half::f16;

use super::launch::{kernel_of, ptx, run};
use super::problem::{problem, Inputs};

/// A kernel's shape (docs/volta.md; the last lines of cuda/flash_fwd_sm70.cu).
#[derive(Debug, Clone, Copy)]
struct Shape {
    head_dim: usize,
    head_dim_v: usize,
    groups: usize,
    k_slices: usize,
    v_slices: usize,
    slots: usize,
}

const fn shape(
    [head_dim, head_dim_v]: [usize; 2],
    groups: usize,
    [k_slices, v_slices, slots]: [usize; 3],
) -> Shape {
    Shape { head_dim, head_dim_v, groups, k_slices, v_slices, slots }
}

const SHAPES: [Shape; 8] = [
    shape([32, 32], 1, [1, 1, 2]),
    shape([64, 64], 1, [2, 2, 4]),
    shape([80, 80], 1, [5, 2, 7]),
    shape([96, 96], 1, [3, 2, 5]),
    shape([128, 128], 1, [4, 4, 4]),
    shape([256, 128], 1, [8, 4, 4]),
    shape([64, 64], 2, [4, 4, 4]),
    shape([128, 128], 2, [8, 8, 4]),
];
/// Of a group of warps.
const KEYS: usize = 64;

impl Shape {
    fn rows(self) -> usize {
        128 / self.groups
    }
}

/// The text that copies `bytes` from `start` of shared memory on to o.
fn dump(kernel: &str, start: usize, bytes: usize) -> String {
    format!(
        "{{ .reg .b32 at; .reg .b32 word; .reg .b64 o; .reg .b64 wide; .reg .b64 from; .reg .pred more;
         ld.param.u64 o, [{kernel}_param_3];
         mov.u32 at, %tid.x;
         shl.b32 at, at, 2;
         DUMP:
         cvt.u64.u32 wide, at;
         mov.u64 from, shared_memory;
         add.s64 from, from, wide;
         ld.shared.u32 word, [from+{start}];
         add.s64 wide, wide, o;
         st.global.u32 [wide], word;
         add.s32 at, at, 512;
         setp.lt.u32 more, at, {bytes};
         @more bra DUMP;
         ret; }}"
    )
}

/// Rows of numbers that count from 1.
fn numbered(rows: usize, dims: usize) -> Vec<Vec<f16>> {
    let bits = |row: usize, dim: usize| f16::from_bits(u16::try_from(row * dims + dim + 1).unwrap());
    (0..rows).map(|row| (0..dims).map(|dim| bits(row, dim)).collect()).collect()
}

/// Vectors of 16 bytes of a region behind barrier `barrier` of the text, each half as (row, dim) of a tensor
/// with `dims`.
fn vectors(
    shape: Shape,
    barrier: usize,
    start: usize,
    bytes: usize,
    dims: usize,
) -> Vec<Vec<(usize, usize)>> {
    let Shape { head_dim, head_dim_v, groups, .. } = shape;
    let (rows, keys) = (shape.rows(), KEYS * groups);
    let mut problem = problem("layout", head_dim).lengths(rows, keys);
    (problem.head_dim_v, problem.groups) = (head_dim_v, groups);
    let inputs = Inputs {
        q: vec![vec![numbered(rows, head_dim)]],
        k: vec![vec![numbered(keys, head_dim)]],
        v: vec![vec![numbered(keys, head_dim_v)]],
    };
    let kernel = kernel_of(&problem);
    let text = ptx(&kernel);
    let (at, found) = text.match_indices("bar.sync").nth(barrier).unwrap();
    let end = at + found.len() + text[at + found.len()..].find(';').unwrap() + 1;
    let cut = format!("{}{}{}", &text[..end], dump(&kernel, start, bytes), &text[end..]);
    let (tensors, _) =
        run(&problem, &inputs, &cut, Sums::Nearest).unwrap_or_else(|error| panic!("{kernel}: {error}"));
    let place = |bits: &u16| ((usize::from(*bits) - 1) / dims, (usize::from(*bits) - 1) % dims);
    tensors.outputs().o_bits()[..bytes / 2]
        .chunks_exact(8)
        .map(|vector| vector.iter().map(place).collect())
        .collect()
}

/// Each element of `rows` x `dims` is there once, and nothing else.
fn assert_bijection(
    vectors: &[Vec<(usize, usize)>],
    rows: std::ops::Range<usize>,
    dims: std::ops::Range<usize>,
) {
    let found: BTreeSet<_> = vectors.iter().flatten().copied().collect();
    assert_eq!(found.len(), 8 * vectors.len(), "an element is there twice");
    let wanted: BTreeSet<_> = rows.flat_map(|row| dims.clone().map(move |dim| (row, dim))).collect();
    assert_eq!(found, wanted);
}

/// A cell: the same four dims of rows r and r + 16.
fn assert_cells(vectors: &[Vec<(usize, usize)>]) {
    for vector in vectors {
        let (row, dim) = vector[0];
        let wanted = [row, row + 16].into_iter().flat_map(|row| (dim..dim + 4).map(move |dim| (row, dim)));
        assert_eq!(*vector, wanted.collect::<Vec<_>>());
    }
}

#[test]
fn q_lies_in_cells_each_element_once() {
    for shape in SHAPES {
        let (head_dim, rows) = (shape.head_dim, shape.rows());
        let vectors = vectors(shape, 0, 0, rows * head_dim * 2, head_dim);
        assert_bijection(&vectors, 0..rows, 0..head_dim);
        assert_cells(&vectors);
    }
}

#[test]
fn every_stage_lies_in_its_slot_each_element_once() {
    for shape in SHAPES {
        for group in 0..shape.groups {
            assert_stages(shape, group);
        }
    }
}

/// Of one group of warps: its slots lie behind those of the group before it, and its keys, too.
fn assert_stages(shape: Shape, group: usize) {
    let Shape { head_dim, head_dim_v, k_slices, v_slices, slots, .. } = shape;
    let (dims, keys) = (head_dim / k_slices, KEYS / v_slices);
    let (k_bytes, v_bytes) = (KEYS * dims * 2, keys * head_dim_v * 2);
    let stages = k_slices + v_slices;
    let slot = |stage: usize| match stage {
        _ if slots < stages => stage % slots * k_bytes,
        _ if stage < k_slices => stage * k_bytes,
        _ => k_slices * k_bytes + (stage - k_slices) * v_bytes,
    };
    let all = if slots < stages { slots * k_bytes } else { k_slices * k_bytes + v_slices * v_bytes };
    let start = |stage: usize| shape.rows() * head_dim * 2 + group * all + slot(stage);
    let first = group * KEYS;
    for stage in 0..k_slices {
        let vectors = vectors(shape, stage, start(stage), k_bytes, head_dim);
        assert_bijection(&vectors, first..first + KEYS, stage * dims..(stage + 1) * dims);
        assert_cells(&vectors);
    }
    for slice in 0..v_slices {
        let stage = k_slices + slice;
        let vectors = vectors(shape, stage, start(stage), v_bytes, head_dim_v);
        assert_bijection(&vectors, first + slice * keys..first + (slice + 1) * keys, 0..head_dim_v);
        for vector in vectors {
            let (key, dim) = vector[0];
            let wanted: Vec<_> = (dim..dim + 8).map(|dim| (key, dim)).collect();
            assert_eq!(vector, wanted, "eight dims of one key");
        }
    }
}
