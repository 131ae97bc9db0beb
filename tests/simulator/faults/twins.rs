//! What the correct kernels compute, in plain Rust. All inputs are small integers (or halves of them), so
//! that every result is exact in f32 and in half, in whatever order it is summed.

use half::f16;

/// A correct kernel: its inputs and the elements of `c`, `None` where it writes nothing that is looked at.
pub(crate) struct Twin {
    pub(crate) name: &'static str,
    pub(crate) input: fn() -> [Vec<u8>; 2],
    pub(crate) want: fn(&[Vec<u8>; 2]) -> Vec<Option<f32>>,
}

const WORDS: usize = super::BUFFER_BYTES / 4;

pub(crate) const ALL: &[Twin] = &[
    Twin { name: "ok_queues", input: floats, want: sum_of_both },
    Twin { name: "ok_flags", input: floats, want: |x| a(x).map(|v| Some(2.0 * (v + 1.0))).collect() },
    Twin { name: "ok_scalar", input: floats, want: scalar },
    Twin { name: "ok_small_mmad_chain", input: halves, want: small_chain },
    Twin { name: "ok_matmul_ping_pong", input: halves, want: matmul },
    Twin { name: "ok_hand_over", input: halves, want: hand_over },
    Twin { name: "ok_sync_all", input: floats, want: sync_all },
    Twin { name: "ok_atomic_add", input: floats, want: |x| sum_of_parts(x, 8) },
    Twin { name: "ok_mix_sync_all", input: floats, want: mix_sync_all },
    Twin { name: "ok_gm_pointers", input: floats, want: |x| words(&x[1]).take(128).map(Some).collect() },
];

fn number(i: usize, salt: usize) -> f32 {
    ((i * 7 + i / 5 + salt) % 11) as f32 - 5.0
}

fn floats() -> [Vec<u8>; 2] {
    [1, 4].map(|salt| (0..WORDS).flat_map(|i| number(i, salt).to_le_bytes()).collect())
}

/// Small enough that two products in a row stay exact in half.
fn halves() -> [Vec<u8>; 2] {
    let small = |i, salt| f16::from_f32(number(i, salt).clamp(-2.0, 2.0));
    [2, 3].map(|salt| (0..2 * WORDS).flat_map(|i| small(i, salt).to_le_bytes()).collect())
}

fn words(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap()))
}

fn a(input: &[Vec<u8>; 2]) -> impl Iterator<Item = f32> + '_ {
    words(&input[0])
}

fn half_at(bytes: &[u8], i: usize) -> f32 {
    f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32()
}

fn sum_of_both(input: &[Vec<u8>; 2]) -> Vec<Option<f32>> {
    a(input).zip(words(&input[1])).map(|(x, y)| Some(x + y)).collect()
}

fn scalar(input: &[Vec<u8>; 2]) -> Vec<Option<f32>> {
    let mut x: Vec<f32> = a(input).take(64).collect();
    x[3] = x[2] + 5.0;
    let first = x[0] + 1.0;
    let y = x.iter().map(|v| Some(v + 1.0 + first));
    y.clone().chain(y).collect()
}

/// c[i][j] = sum over kk of a(i, kk) b(j, kk).
fn product(
    m: usize,
    n: usize,
    k: usize,
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    (0..m * n).map(|at| (0..k).map(|kk| a(at / n, kk) * b(at % n, kk)).sum()).collect()
}

/// Both operands lie in GM as four fractals of 16 rows and 16 columns.
fn small_chain(input: &[Vec<u8>; 2]) -> Vec<Option<f32>> {
    let at = |row: usize, kk: usize| kk / 16 * 256 + row * 16 + kk % 16;
    let c = product(16, 16, 64, |i, kk| half_at(&input[0], at(i, kk)), |j, kk| half_at(&input[1], at(j, kk)));
    c.into_iter().map(Some).collect()
}

fn matmul(input: &[Vec<u8>; 2]) -> Vec<Option<f32>> {
    let c = product(
        64,
        128,
        128,
        |i, kk| half_at(&input[0], i * 128 + kk),
        |j, kk| half_at(&input[1], j * 128 + kk),
    );
    c.into_iter().map(Some).collect()
}

fn hand_over(input: &[Vec<u8>; 2]) -> Vec<Option<f32>> {
    let mut all = Vec::new();
    for block in 0..2 {
        let b = |j: usize, kk: usize| half_at(&input[1], block * 256 + j * 16 + kk);
        let s = product(16, 16, 16, |i, kk| half_at(&input[0], block * 256 + i * 16 + kk), b);
        let o = product(16, 16, 16, |i, kk| s[i * 16 + kk].max(0.0), b);
        all.extend(s.into_iter().chain(o).map(Some));
    }
    all
}

/// Sum of `parts` pieces of 64 elements.
fn sum_of_parts(input: &[Vec<u8>; 2], parts: usize) -> Vec<Option<f32>> {
    let x: Vec<f32> = a(input).collect();
    (0..64).map(|i| Some((0..parts).map(|part| x[part * 64 + i]).sum())).collect()
}

fn sync_all(input: &[Vec<u8>; 2]) -> Vec<Option<f32>> {
    let mut c = vec![None; 1024];
    for (to, from) in c.iter_mut().zip(a(input)).take(4 * 64) {
        *to = Some(from);
    }
    for _ in 0..4 {
        c.extend(sum_of_parts(input, 4));
    }
    c
}

fn mix_sync_all(input: &[Vec<u8>; 2]) -> Vec<Option<f32>> {
    let x: Vec<f32> = a(input).collect();
    let mut c = vec![None; 1024];
    for (to, from) in c.iter_mut().zip(&x).take(6 * 64) {
        *to = Some(*from);
    }
    for _ in 0..3 {
        c.extend(x[5 * 64..6 * 64].iter().copied().map(Some));
    }
    c
}
