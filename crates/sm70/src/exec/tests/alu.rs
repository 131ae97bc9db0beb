//! Instructions on registers.

use half::f16;

use crate::exec::alu::{bfi, bin32, bin64, compare32, compare64, mul_wide, tri32, un32, widen};
use crate::op::{Bin32, Bin64, Compare, Number, Tri32, Un32};

fn two(op: Bin32, a: u32, b: u32) -> u32 {
    bin32(op, &[a; 32], &[b; 32])[31]
}

fn three(op: Tri32, a: u32, b: u32, c: u32) -> u32 {
    tri32(op, &[a; 32], &[b; 32], &[c; 32])[31]
}

fn float(op: Bin32, a: f32, b: f32) -> f32 {
    f32::from_bits(two(op, a.to_bits(), b.to_bits()))
}

fn approximate(op: Un32, a: f32) -> f32 {
    f32::from_bits(un32(op, &[a.to_bits(); 32])[31])
}

const MINUS_ONE: u32 = u32::MAX;

#[test]
fn integers_wrap_and_shifts_stop_at_the_width() {
    for (op, a, b, wanted) in [
        (Bin32::Add, u32::MAX, 2, 1),
        (Bin32::Sub, 1, 2, MINUS_ONE),
        (Bin32::MulLo, 0x1_0001, 0x1_0001, 0x2_0001),
        (Bin32::Shl, 1, 31, 1 << 31),
        (Bin32::Shl, 1, 32, 0),
        (Bin32::Shl, 1, MINUS_ONE, 0),
        (Bin32::ShrU, 1 << 31, 31, 1),
        (Bin32::ShrU, 1 << 31, 32, 0),
        (Bin32::ShrS, 1 << 31, 40, MINUS_ONE),
        (Bin32::MinS, MINUS_ONE, 1, MINUS_ONE),
        (Bin32::MinU, MINUS_ONE, 1, 1),
        (Bin32::MaxS, MINUS_ONE, 1, 1),
        (Bin32::MaxU, MINUS_ONE, 1, MINUS_ONE),
        (Bin32::DivS, 7_u32.wrapping_neg(), 2, 3_u32.wrapping_neg()),
        (Bin32::DivS, 1 << 31, MINUS_ONE, 1 << 31),
        (Bin32::DivU, 7_u32.wrapping_neg(), 2, 0x7fff_fffc),
        (Bin32::RemS, 7_u32.wrapping_neg(), 2, MINUS_ONE),
        (Bin32::RemU, 7, 4, 3),
    ] {
        assert_eq!(two(op, a, b), wanted, "{op:?} {a:#x} {b:#x}");
    }
}

#[test]
fn numbers_of_64_bits() {
    let two = |op, a: u64, b: u64| bin64(op, &[a; 32], &[b; 32])[0];
    assert_eq!(two(Bin64::Add, u64::MAX, 1), 0);
    assert_eq!(two(Bin64::MulLo, 1 << 40, 1 << 30 | 1), 1 << 40);
    assert_eq!(two(Bin64::Shl, 1, 64), 0);
    assert_eq!(two(Bin64::ShrU, 1 << 63, 63), 1);
    assert_eq!(two(Bin64::ShrS, 1 << 63, 200), u64::MAX);
    assert_eq!(mul_wide(true, &[MINUS_ONE; 32], &[3; 32])[0], 3_u64.wrapping_neg());
    assert_eq!(mul_wide(false, &[MINUS_ONE; 32], &[MINUS_ONE; 32])[0], 0xffff_fffe_0000_0001);
    assert_eq!((widen(true, 1 << 31), widen(false, 1 << 31)), (0xffff_ffff_8000_0000, 1 << 31));
}

/// The example of the PTX ISA for `lop3`: the table is the function of 0xF0, 0xCC and 0xAA.
#[test]
fn tables_of_lop3() {
    let (a, b, c) = (0b1111_0000, 0b1100_1100, 0b1010_1010);
    let of = |table| three(Tri32::Lop3(table), a, b, c) & 255;
    for table in 0..=255_u8 {
        assert_eq!(of(table), u32::from(table), "the operands run through all cases");
    }
    assert_eq!(three(Tri32::Lop3(0xEA), 0xff00, 0x0ff0, 0x000f), 0xff00 & 0x0ff0 | 0x000f);
}

#[test]
fn bytes_and_fields() {
    let (a, b) = (0x0302_0180, 0x8706_0504);
    assert_eq!(three(Tri32::Prmt, a, b, 0x7632), 0x8706_0302);
    assert_eq!(three(Tri32::Prmt, a, b, 0x3210), a);
    // Bit 3 of a selector gives eight times the byte's sign.
    assert_eq!(three(Tri32::Prmt, a, b, 0x0f98), 0x80ff_00ff);
    let field = |field, into, start, length| bfi(&[field; 32], &[into; 32], &[start; 32], &[length; 32])[0];
    assert_eq!(field(0xabcd, MINUS_ONE, 8, 12), 0xfffb_cdff);
    assert_eq!(field(7, 0, 31, 4), 1 << 31);
    assert_eq!(field(7, 5, 32, 4), 5);
    assert_eq!(field(7, 5, 0, 0), 5);
    assert_eq!(field(7, 5, 0, 32), 7);
    assert_eq!(three(Tri32::MadLo, MINUS_ONE, 3, 4), 1);
}

#[test]
fn floats_round_once_and_keep_subnormals() {
    let tiny = f32::from_bits(1);
    assert_eq!(float(Bin32::AddF, tiny, tiny), f32::from_bits(2));
    assert_eq!(float(Bin32::MulF, 1e-30, 1e-10), 1e-40);
    // 1 - e^2 with e = 2^-23: the product alone would round to 1.
    let (a, b) = (1.0 + f32::EPSILON, 1.0 - f32::EPSILON);
    let fused = f32::from_bits(three(Tri32::Fma, a.to_bits(), b.to_bits(), (-1.0_f32).to_bits()));
    assert_eq!(fused, -f32::EPSILON * f32::EPSILON);
}

#[test]
fn least_and_greatest_of_zeros_and_nans() {
    for (a, b) in [(0.0, -0.0), (-0.0, 0.0)] {
        assert!(float(Bin32::MinF, a, b).is_sign_negative());
        assert!(float(Bin32::MaxF, a, b).is_sign_positive());
    }
    for op in [Bin32::MinF, Bin32::MaxF] {
        assert!(float(op, f32::NAN, 3.0) == 3.0 && float(op, 3.0, f32::NAN) == 3.0);
        assert!(float(op, f32::NAN, f32::NAN).is_nan());
    }
    assert!(float(Bin32::MinF, 2.0, -3.0) == -3.0 && float(Bin32::MaxF, f32::NEG_INFINITY, -3.0) == -3.0);
}

/// PTX ISA: ex2 within 2^-22.5, rcp within 1 ulp, lg2 within 2^-22 of the exact values, and the tables of
/// special cases.
#[test]
fn approximations() {
    let exact = Un32::Ex2 { ftz: true };
    for (op, a, wanted) in [
        (exact, -0.0, 1.0),
        (exact, 10.0, 1024.0),
        (exact, f32::NEG_INFINITY, 0.0),
        (exact, f32::INFINITY, f32::INFINITY),
        (exact, 128.0, f32::INFINITY),
        (exact, -126.0, f32::MIN_POSITIVE),
        (exact, -127.0, 0.0),
        (Un32::Ex2 { ftz: false }, -127.0, f32::MIN_POSITIVE / 2.0),
        (Un32::Lg2, 8.0, 3.0),
        (Un32::Lg2, 0.0, f32::NEG_INFINITY),
        (Un32::Rcp, 4.0, 0.25),
        (Un32::Rcp, -0.0, f32::NEG_INFINITY),
        (Un32::Rcp, f32::NEG_INFINITY, -0.0),
    ] {
        assert!(approximate(op, a).to_bits() == wanted.to_bits(), "{op:?} {a}: {}", approximate(op, a));
    }
    assert!(approximate(Un32::Lg2, -1.0).is_nan());
    for n in 1..100 {
        let x = f32::from(u8::try_from(n).expect("below 100")) / 7.0;
        let near = |got: f32, wanted: f64| (f64::from(got) - wanted).abs() <= wanted.abs() * 2_f64.powi(-24);
        assert!(near(approximate(exact, x), f64::from(x).exp2()));
        assert!(near(approximate(Un32::Rcp, x), 1.0 / f64::from(x)));
    }
}

#[test]
fn conversions() {
    let convert = |op, a: u32| un32(op, &[a; 32])[0];
    for value in [0.0, 1.0 / 3.0, 65504.0, 65520.0, 1e-8, -2.5, f32::INFINITY] {
        let wanted = f16::from_f32(value);
        assert_eq!(convert(Un32::HalfFromFloat, value.to_bits()), u32::from(wanted.to_bits()));
        assert_eq!(convert(Un32::FloatFromHalf, u32::from(wanted.to_bits())), wanted.to_f32().to_bits());
    }
    // Ties go to the even half.
    assert_eq!(
        convert(Un32::HalfFromFloat, 2049.0_f32.to_bits()),
        u32::from(f16::from_f32(2048.0).to_bits())
    );
    assert_eq!(
        convert(Un32::HalfFromFloat, 2051.0_f32.to_bits()),
        u32::from(f16::from_f32(2052.0).to_bits())
    );
    assert_eq!(convert(Un32::FloatFromS, MINUS_ONE), (-1.0_f32).to_bits());
    assert_eq!(convert(Un32::FloatFromU, MINUS_ONE), 4_294_967_296.0_f32.to_bits());
    for (x, wanted) in [(-2.9, -2), (2.9, 2), (3e9, i32::MAX), (-3e9, i32::MIN), (f32::NAN, 0)] {
        assert_eq!(convert(Un32::SFromFloat, x.to_bits()), wanted.cast_unsigned(), "{x}");
    }
    assert_eq!(convert(Un32::NegF, 0), 1 << 31);
}

#[test]
fn comparisons() {
    let all = |compare, number, a: u32, b: u32| compare32(compare, number, &[a; 32], &[b; 32]) == u32::MAX;
    assert!(
        all(Compare::Lt, Number::Signed, MINUS_ONE, 0) && !all(Compare::Lt, Number::Unsigned, MINUS_ONE, 0)
    );
    assert!(all(Compare::Ne, Number::Unsigned, 1, 2) && !all(Compare::Ne, Number::Unsigned, 2, 2));
    assert!(all(Compare::Eq, Number::Float, 0, 1 << 31), "-0 equals 0");
    let nan = f32::NAN.to_bits();
    for compare in [Compare::Eq, Compare::Ne, Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge] {
        assert_eq!(
            compare32(compare, Number::Float, &[nan; 32], &[0; 32]),
            0,
            "{compare:?} with NaN is false"
        );
    }
    assert_eq!(compare64(Compare::Ge, true, &[u64::MAX; 32], &[0; 32]), 0);
    assert_eq!(compare64(Compare::Ge, false, &[u64::MAX; 32], &[0; 32]), u32::MAX);
}
