//! The tensor instruction's maps, from the strides that CuTe gives for them (cutlass, `mma_traits_sm70.hpp`):
//! a map takes the digits of thread and value, lowest first, to an index of the matrix, column by column.

use std::array::from_fn;

use half::f16;

use crate::exec::mma::{mma, place_of_d, Sums};
use crate::exec::Lanes;

/// Sum of the binary digits of `number`, each times its stride.
fn strided(number: usize, strides: &[usize]) -> usize {
    strides.iter().enumerate().map(|(digit, stride)| (number >> digit & 1) * stride).sum()
}

/// `SM70_QuadPair = (4,2):(1,16)`, four of them 4 lanes apart.
fn lane(quadpair: usize, t: usize) -> usize {
    4 * quadpair + strided(t, &[1, 2, 16])
}

/// `SM70_8x4_Row = (T8,V4) -> (8,4): (1,8)`: index m + 8 k.
fn row_major(t: usize, v: usize) -> (usize, usize) {
    let index = strided(t, &[1, 2, 4]) + strided(v, &[8, 16]);
    (index % 8, index / 8)
}

/// `SM70_8x4_Col = ((4,2),4) : ((8,4),1)`.
fn column_major(t: usize, v: usize) -> (usize, usize) {
    let index = strided(t, &[8, 16, 4]) + strided(v, &[1, 2]);
    (index % 8, index / 8)
}

/// `SM70_8x8_32b = ((2,2,2),(2,2,2)) : ((1,16,4),(8,2,32))`.
fn sums(t: usize, v: usize) -> (usize, usize) {
    let index = strided(t, &[1, 16, 4]) + strided(v, &[8, 2, 32]);
    (index % 8, index / 8)
}

#[test]
fn the_map_of_the_sums_is_cutes_and_a_bijection() {
    let mut seen = [[false; 8]; 8];
    for t in 0..8 {
        for i in 0..8 {
            let (row, column) = place_of_d(t, i);
            assert_eq!((row, column), sums(t, i), "thread {t}, value {i}");
            seen[row][column] = true;
        }
    }
    assert!(seen.iter().flatten().all(|seen| *seen));
}

/// Matrices of small integers, others in each quadpair: every place wrong in a map is a wrong number.
#[test]
fn products_of_four_quadpairs_are_exact() {
    let mut random = fastrand::Rng::with_seed(70);
    for b_is_row in [false, true] {
        let mut number = || f32::from(random.i8(-100..100));
        let a: [[[f32; 4]; 8]; 4] = from_fn(|_| from_fn(|_| from_fn(|_| number())));
        let b: [[[f32; 8]; 4]; 4] = from_fn(|_| from_fn(|_| from_fn(|_| number())));
        let c: [[[f32; 8]; 8]; 4] = from_fn(|_| from_fn(|_| from_fn(|_| number())));
        let (mut a_words, mut b_words, mut c_words) = ([[0; 32]; 2], [[0; 32]; 2], [[0; 32]; 8]);
        let put = |words: &mut [Lanes<u32>; 2], lane: usize, v: usize, value: f32| {
            words[v / 2][lane] |= u32::from(f16::from_f32(value).to_bits()) << (16 * (v % 2));
        };
        for quadpair in 0..4 {
            for t in 0..8 {
                for v in 0..4 {
                    let (m, k) = row_major(t, v);
                    put(&mut a_words, lane(quadpair, t), v, a[quadpair][m][k]);
                    // b of `.col` is k-major, as a of `.row` is.
                    let (n, k) = if b_is_row { column_major(t, v) } else { row_major(t, v) };
                    put(&mut b_words, lane(quadpair, t), v, b[quadpair][k][n]);
                }
                for (v, words) in c_words.iter_mut().enumerate() {
                    let (m, n) = sums(t, v);
                    words[lane(quadpair, t)] = c[quadpair][m][n].to_bits();
                }
            }
        }
        for rounding in [Sums::Nearest, Sums::Truncated] {
            let d = mma(a_words.each_ref(), b_words.each_ref(), b_is_row, c_words.each_ref(), rounding);
            for quadpair in 0..4 {
                for (t, v) in (0..8).flat_map(|t| (0..8).map(move |v| (t, v))) {
                    let (m, n) = sums(t, v);
                    let product: f32 = (0..4).map(|k| a[quadpair][m][k] * b[quadpair][k][n]).sum();
                    let got = f32::from_bits(d[v][lane(quadpair, t)]);
                    let want = c[quadpair][m][n] + product;
                    assert_eq!(got, want, "quadpair {quadpair}, row {m}, column {n}");
                }
            }
        }
    }
}

/// d of row 0, column 0 for `c + products[0] + ..`, each product x times 1.
fn one(c: f32, products: [f32; 4], rounding: Sums) -> f32 {
    let half = |value: f32| {
        assert!(f16::from_f32(value).to_f32() == value, "{value} is no half");
        u32::from(f16::from_f32(value).to_bits())
    };
    let (mut a, mut b, mut sums) = ([[0; 32]; 2], [[0; 32]; 2], [[0; 32]; 8]);
    for word in 0..2 {
        a[word][0] = half(products[2 * word]) | half(products[2 * word + 1]) << 16;
        b[word][0] = half(1.0) | half(1.0) << 16;
    }
    sums[0][0] = c.to_bits();
    f32::from_bits(mma(a.each_ref(), b.each_ref(), false, sums.each_ref(), rounding)[0][0])
}

#[test]
fn sums_to_nearest_and_cut() {
    let tiny = f32::from(f16::MIN_POSITIVE_SUBNORMAL);
    let step = f32::EPSILON;
    for (c, products, nearest, truncated) in [
        (1.0, [2.0, 3.0, 4.0, -5.0], 5.0, 5.0),
        // Half of the last bit: a tie goes to the even neighbour, or is cut.
        (1.0 + step, [tiny, 0.0, 0.0, 0.0], 1.0 + 2.0 * step, 1.0 + step),
        (-1.0, [tiny, 0.0, 0.0, 0.0], -1.0 + tiny, -1.0),
        // Products are cut on their own, whatever their sum would be.
        (1.0, [tiny; 4], 1.0, 1.0),
        (0.0, [tiny; 4], 4.0 * tiny, 4.0 * tiny),
        (f32::MAX, [f32::from(f16::MAX); 4], f32::MAX, f32::MAX),
        (1.5, [f32::INFINITY, 0.0, 0.0, 1.0], f32::INFINITY, f32::INFINITY),
    ] {
        assert_eq!(one(c, products, Sums::Nearest), nearest, "{c} {products:?}");
        assert_eq!(one(c, products, Sums::Truncated), truncated, "{c} {products:?}");
    }
    for rounding in [Sums::Nearest, Sums::Truncated] {
        assert!(one(f32::NAN, [0.0; 4], rounding).is_nan());
        assert!(one(0.0, [f32::INFINITY, f32::NEG_INFINITY, 0.0, 0.0], rounding).is_nan());
    }
}

#[test]
fn every_half_is_read_exactly() {
    for bits in 0..=u16::MAX {
        let value = f16::from_bits(bits);
        let got = f16_of(bits);
        assert!(got == value.to_f32() || got.is_nan() && value.is_nan(), "{bits:#06x}: {got}");
    }
}

/// The half as d gets it: times 1, plus -0.
fn f16_of(bits: u16) -> f32 {
    let (mut a, mut b, mut c) = ([[0; 32]; 2], [[0; 32]; 2], [[0; 32]; 8]);
    a[0][0] = u32::from(bits);
    b[0][0] = u32::from(f16::ONE.to_bits());
    c[0][0] = (-0.0_f32).to_bits();
    f32::from_bits(mma(a.each_ref(), b.each_ref(), false, c.each_ref(), Sums::Nearest)[0][0])
}
