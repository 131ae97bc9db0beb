//! 2^x over its whole range, and conversions of every 16-bit value, for each instruction set that is here.

use half::{bf16, f16};

use super::{exp2, Op, Simd, MAX_LANES};
use crate::element::Load;
use crate::isa::Isa;

/// Largest relative error of `exp2`.
const BOUND: f64 = 1.5 / 8_388_608.0;

struct Exp2<'a>(&'a [f32]);

impl Op for Exp2<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> Vec<f32> {
        let mut out = vec![0.0; self.0.len()];
        for (x, out) in self.0.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
            s.store(out, exp2(s, s.load(x)));
        }
        out
    }
}

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

#[test]
fn exp2_is_within_its_bound_over_the_whole_range() {
    // From -0 down to -126.5, 1 of 677 floats, and around every half.
    let mut xs: Vec<f32> = (0x8000_0000..(-126.5f32).to_bits()).step_by(677).map(f32::from_bits).collect();
    for half in 0..253u16 {
        let half = -f32::from(half) / 2.0;
        xs.extend([half.next_down(), half, half.next_up().min(0.0)].map(|x| x.max(-126.5)));
    }
    xs.truncate(xs.len() / MAX_LANES * MAX_LANES);
    for isa in available() {
        let mut largest = (0.0, 0.0);
        for (x, got) in xs.iter().zip(isa.dispatch(Exp2(&xs))) {
            let want = f64::from(*x).exp2();
            let error = (f64::from(got) - want).abs() / want;
            if error > largest.0 {
                largest = (error, *x);
            }
        }
        assert!(largest.0 <= BOUND, "{isa}: error {:.3e} at {}, {BOUND:.3e} wanted", largest.0, largest.1);
    }
}

#[test]
fn exp2_at_the_edges() {
    let xs = [0.0, -0.0, f32::NEG_INFINITY, f32::MIN, -127.0, -126.6, f32::NAN, -1.0, -2.0, -126.0, -1e-30];
    let mut padded = xs.to_vec();
    padded.resize(MAX_LANES, 0.0);
    for isa in available() {
        let got = isa.dispatch(Exp2(&padded));
        assert!(got[6].is_nan(), "{isa}: {got:?}");
        let want = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.25, f32::MIN_POSITIVE, 1.0];
        for (i, want) in want.into_iter().enumerate().filter(|(i, _)| *i != 6) {
            assert!(got[i] == want, "{isa}: 2^{} = {}, {want} wanted", xs[i], got[i]);
        }
    }
}

struct Widen<'a, T>(&'a [T]);

impl<T: Load> Op for Widen<'_, T> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.0.len().next_multiple_of(MAX_LANES)];
        T::widen(s, self.0, &mut out);
        out
    }
}

#[test]
fn every_16_bit_value_becomes_its_f32() {
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    // An odd number: the last ones come as a tail.
    let f16s: Vec<f16> = (0..u16::MAX).map(f16::from_bits).collect();
    let bf16s: Vec<bf16> = (0..u16::MAX).map(bf16::from_bits).collect();
    for isa in available() {
        for (x, got) in f16s.iter().zip(isa.dispatch(Widen(&f16s))) {
            assert!(same(x.to_f32(), got), "{isa}: f16 {:#x} became {got}", x.to_bits());
        }
        for (x, got) in bf16s.iter().zip(isa.dispatch(Widen(&bf16s))) {
            assert!(same(x.to_f32(), got), "{isa}: bf16 {:#x} became {got}", x.to_bits());
        }
    }
}

struct Sums([[f32; MAX_LANES]; 8]);

impl Op for Sums {
    type Output = ([f32; 8], usize);

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> ([f32; 8], usize) {
        let mut v = [s.splat(0.0); 8];
        for (v, from) in v.iter_mut().zip(&self.0) {
            *v = s.load(from);
        }
        (s.sums(v), S::LANES)
    }
}

#[test]
fn sums_are_those_of_each_vector() {
    let mut next = 1.0;
    let rows = [(); 8].map(|()| {
        [(); MAX_LANES].map(|()| {
            next = (next * 7.0) % 1009.0;
            next
        })
    });
    for isa in available() {
        let (got, lanes) = isa.dispatch(Sums(rows));
        assert_eq!(got, rows.map(|row| row[..lanes].iter().sum::<f32>()), "{isa}");
    }
}
