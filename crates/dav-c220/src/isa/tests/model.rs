//! Scalar arithmetic of the oracles: raw element bits in, raw element bits out.

use half::{bf16, f16};

use crate::access::Elem;

/// Bytes of an element in memory.
pub(super) fn size(elem: Elem) -> usize {
    match elem {
        Elem::S8 | Elem::U8 => 1,
        Elem::F16 | Elem::Bf16 | Elem::S16 | Elem::U16 => 2,
        Elem::F32 | Elem::S32 | Elem::U32 => 4,
        Elem::S64 | Elem::U64 => 8,
        Elem::None => panic!("no whole bytes"),
    }
}

/// Byte address of a lane (`dav-c220.md` 2.2).
pub(super) fn lane_address(start: usize, elem: Elem, r: usize, lane: usize, blk: u64, rep: u64) -> usize {
    let per_block = 32 / size(elem);
    start + 32 * (r * rep as usize + lane / per_block * blk as usize) + lane % per_block * size(elem)
}

pub(super) fn read(memory: &[u8], at: usize, elem: Elem) -> u64 {
    let mut raw = [0; 8];
    raw[..size(elem)].copy_from_slice(&memory[at..at + size(elem)]);
    u64::from_le_bytes(raw)
}

pub(super) fn write(memory: &mut [u8], at: usize, elem: Elem, raw: u64) {
    memory[at..at + size(elem)].copy_from_slice(&raw.to_le_bytes()[..size(elem)]);
}

pub(super) fn is_float(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::Bf16 | Elem::F32)
}

/// Value of a float's bits.
pub(super) fn value(elem: Elem, raw: u64) -> f64 {
    match elem {
        Elem::F16 => f16::from_bits(raw as u16).to_f64(),
        Elem::Bf16 => bf16::from_bits(raw as u16).to_f64(),
        Elem::F32 => f64::from(f32::from_bits(raw as u32)),
        _ => panic!("{elem:?} is no float"),
    }
}

/// Value of an integer's bits.
pub(super) fn integer(elem: Elem, raw: u64) -> i128 {
    let bits = 8 * size(elem) as u32;
    let raw = i128::from(raw) & ((1 << bits) - 1);
    let signed = matches!(elem, Elem::S8 | Elem::S16 | Elem::S32 | Elem::S64);
    if signed && raw >> (bits - 1) == 1 {
        raw - (1 << bits)
    } else {
        raw
    }
}

/// A float format: precision in bits, smallest normal exponent, infinity's bits.
fn format(elem: Elem) -> (i32, i32, u64) {
    match elem {
        Elem::F16 => (11, -14, 0x7c00),
        Elem::Bf16 => (8, -126, 0x7f80),
        _ => (24, -126, 0x7f80_0000),
    }
}

/// The two neighbours of a finite |x| in a format, as magnitudes' bits (consecutive), and whether the lower
/// is exact. The upper may be infinity.
pub(super) fn neighbours(elem: Elem, x: f64) -> (u64, u64, bool) {
    let (precision, min_exponent, infinity) = format(elem);
    let (mut low, mut high) = (0u64, infinity);
    let of = |bits: u64| {
        // Infinity's place in the sequence of magnitudes: the next power of two.
        let field = (bits >> (precision - 1)) as i32;
        let fraction = bits & ((1 << (precision - 1)) - 1);
        let (m, e) = if field == 0 {
            (fraction, min_exponent)
        } else {
            (fraction | 1 << (precision - 1), field - 1 + min_exponent)
        };
        m as f64 * 2f64.powi(e - precision + 1)
    };
    while high - low > 1 {
        let mid = (low + high) / 2;
        if of(mid) <= x.abs() {
            low = mid;
        } else {
            high = mid;
        }
    }
    (low, high, of(low) == x.abs())
}

/// Rounds to a float type in one of AscendC's modes; inf and NaN by the INF/NAN or the saturating rule.
pub(super) fn round_to(elem: Elem, x: f64, mode: char, inf_nan: bool) -> u64 {
    let (precision, _, infinity) = format(elem);
    let sign = if x.is_sign_negative() { 1 << (8 * size(elem) - 1) } else { 0u64 };
    let saturates = !inf_nan && size(elem) == 2;
    if x.is_nan() {
        return if saturates { 0 } else { infinity | 1 << (precision - 2) };
    }
    let magnitude = if x.is_infinite() {
        infinity
    } else {
        let (low, high, exact) = neighbours(elem, x);
        let (min_exponent, p) = (format(elem).1, precision);
        let value = |bits: u64| {
            let field = (bits >> (p - 1)) as i32;
            let fraction = bits & ((1 << (p - 1)) - 1);
            let (m, e) = if field == 0 {
                (fraction, min_exponent)
            } else {
                (fraction | 1 << (p - 1), field - 1 + min_exponent)
            };
            m as f64 * 2f64.powi(e - p + 1)
        };
        let beyond = x.abs() >= value(infinity);
        let up = match mode {
            'r' => {
                let (d, u) = (x.abs() - value(low), value(high) - x.abs());
                u < d || u == d && low & 1 == 1
            }
            'a' => value(high) - x.abs() <= x.abs() - value(low),
            'f' => x < 0.0,
            'c' => x > 0.0,
            'z' => false,
            'o' => low & 1 == 0,
            _ => panic!("mode {mode}"),
        };
        if beyond {
            infinity
        } else if !exact && up {
            high
        } else {
            low
        }
    };
    let magnitude = if magnitude == infinity && saturates { infinity - 1 } else { magnitude };
    sign | magnitude
}

/// Rounds to nearest even.
pub(super) fn nearest(elem: Elem, x: f64, inf_nan: bool) -> u64 {
    round_to(elem, x, 'r', inf_nan)
}

/// Bits of special values and of plain ones, mixed.
pub(super) fn random_element(rng: &mut fastrand::Rng, elem: Elem) -> u64 {
    let specials_f32: [u32; 12] = [
        0,
        0x8000_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0xffc1_2345,
        1,
        0x807f_ffff,
        0x7f7f_ffff,
        0xff7f_ffff,
        0x3f80_0000,
        0xbf80_0000,
    ];
    let specials_f16: [u16; 12] =
        [0, 0x8000, 0x7c00, 0xfc00, 0x7e00, 0xfe12, 1, 0x83ff, 0x7bff, 0xfbff, 0x3c00, 0xbc00];
    match (elem, rng.u32(0..8)) {
        (Elem::F32, 0) => u64::from(specials_f32[rng.usize(0..12)]),
        (Elem::F32, 1) => u64::from(rng.u32(..)),
        (Elem::F32, _) => u64::from(((rng.f32() - 0.5) * 10f32.powi(rng.i32(-3..4))).to_bits()),
        (Elem::F16, 0) => u64::from(specials_f16[rng.usize(0..12)]),
        (Elem::F16, 1) => u64::from(rng.u16(..)),
        (Elem::F16, _) => u64::from(f16::from_f32((rng.f32() - 0.5) * 100.0).to_bits()),
        (_, 0) => [0, u64::MAX, 1 << (8 * size(elem) - 1), (1 << (8 * size(elem) - 1)) - 1][rng.usize(0..4)],
        (_, 1..4) => (rng.i64(-100..100)).cast_unsigned(),
        _ => rng.u64(..),
    }
}

pub(super) fn random_bytes(rng: &mut fastrand::Rng, elem: Elem, len: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        data.extend_from_slice(&random_element(rng, elem).to_le_bytes()[..size(elem)]);
    }
    data.truncate(len);
    data
}
