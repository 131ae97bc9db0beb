//! Conversions: all 16-bit inputs, a dense sample of f32 with every tie, random integers; and strides with
//! masks.

use super::model::{
    integer, is_float, lane_address, neighbours, random_bytes, read, round_to, size, value, write,
};
use super::*;

pub(super) const COVERED: &[&str] = &[
    "vconv_f322f16",
    "vconv_f322f16r",
    "vconv_f322f16f",
    "vconv_f322f16c",
    "vconv_f322f16a",
    "vconv_f322f16z",
    "vconv_f322f16o",
    "vconv_f322bf16r",
    "vconv_f322bf16f",
    "vconv_f322bf16c",
    "vconv_f322bf16a",
    "vconv_f322bf16z",
    "vconv_f322f32r",
    "vconv_f322f32f",
    "vconv_f322f32c",
    "vconv_f322f32a",
    "vconv_f322f32z",
    "vconv_f162f32",
    "vconv_bf162f32",
    "vconv_f322s32r",
    "vconv_f322s32f",
    "vconv_f322s32c",
    "vconv_f322s32a",
    "vconv_f322s32z",
    "vconv_f322s16r",
    "vconv_f322s16f",
    "vconv_f322s16c",
    "vconv_f322s16a",
    "vconv_f322s16z",
    "vconv_f322s64r",
    "vconv_f322s64f",
    "vconv_f322s64c",
    "vconv_f322s64a",
    "vconv_f322s64z",
    "vconv_f162s32r",
    "vconv_f162s32f",
    "vconv_f162s32c",
    "vconv_f162s32a",
    "vconv_f162s32z",
    "vconv_f162s16r",
    "vconv_f162s16f",
    "vconv_f162s16c",
    "vconv_f162s16a",
    "vconv_f162s16z",
    "vconv_f162s8",
    "vconv_f162s8r",
    "vconv_f162s8f",
    "vconv_f162s8c",
    "vconv_f162s8a",
    "vconv_f162s8z",
    "vconv_f162u8",
    "vconv_f162u8r",
    "vconv_f162u8f",
    "vconv_f162u8c",
    "vconv_f162u8a",
    "vconv_f162u8z",
    "vconv_bf162s32r",
    "vconv_bf162s32f",
    "vconv_bf162s32c",
    "vconv_bf162s32a",
    "vconv_bf162s32z",
    "vconv_s82f16",
    "vconv_u82f16",
    "vconv_s162f16",
    "vconv_s162f16r",
    "vconv_s162f16f",
    "vconv_s162f16c",
    "vconv_s162f16a",
    "vconv_s162f16z",
    "vconv_s162f32",
    "vconv_s322f32",
    "vconv_s322f32r",
    "vconv_s322f32f",
    "vconv_s322f32c",
    "vconv_s322f32a",
    "vconv_s322f32z",
    "vconv_s322s16",
    "vconv_s322s64",
    "vconv_s642s32",
    "vconv_s642f32r",
    "vconv_s642f32f",
    "vconv_s642f32c",
    "vconv_s642f32a",
    "vconv_s642f32z",
    "vconv_deq",
];

/// Source type, destination type and mode letter, from the name alone.
fn parse(name: &str) -> (Elem, Elem, char) {
    let types = [
        ("bf16", Elem::Bf16),
        ("f16", Elem::F16),
        ("f32", Elem::F32),
        ("s16", Elem::S16),
        ("s32", Elem::S32),
        ("s64", Elem::S64),
        ("s8", Elem::S8),
        ("u8", Elem::U8),
    ];
    let rest = name.strip_prefix("vconv_").unwrap();
    for (from_name, from) in types {
        for (to_name, to) in types {
            if let Some(mode) = rest.strip_prefix(&format!("{from_name}2{to_name}")) {
                match mode {
                    "" => return (from, to, 'r'),
                    "r" | "f" | "c" | "a" | "z" | "o" => return (from, to, mode.chars().next().unwrap()),
                    _ => {}
                }
            }
        }
    }
    panic!("{name}")
}

/// Rounds a value to an integer.
fn to_integer(x: f64, mode: char) -> f64 {
    let floor = x.floor();
    let part = x - floor;
    match mode {
        'f' => floor,
        'c' => -((-x).floor()),
        'z' => {
            if x < 0.0 {
                -((-x).floor())
            } else {
                floor
            }
        }
        'a' => {
            if part > 0.5 || part == 0.5 && x > 0.0 {
                floor + 1.0
            } else {
                floor
            }
        }
        _ => {
            if part > 0.5 || part == 0.5 && floor % 2.0 != 0.0 {
                floor + 1.0
            } else {
                floor
            }
        }
    }
}

/// An exact integer to a float type: `round_to` on the integer, where f64 holds it, else by neighbours.
fn integer_to_float(to: Elem, x: i128, mode: char, inf_nan: bool) -> u64 {
    if x.unsigned_abs() < 1 << 53 {
        return round_to(to, x as f64, mode, inf_nan);
    }
    // Beyond 2^53 an f32 is a multiple of 2^30: the two neighbours as integers.
    let (low, _, _) = neighbours(to, (x.unsigned_abs() >> 30 << 30) as f64);
    let of = |bits: u64| f32::from_bits(bits as u32) as i128;
    let (d, u) = (x.abs() - of(low), of(low + 1) - x.abs());
    let up = d > 0
        && match mode {
            'r' => u < d || u == d && low & 1 == 1,
            'a' => u <= d,
            'f' => x < 0,
            'c' => x > 0,
            _ => false,
        };
    (u64::from(x < 0) << 31) | (low + u64::from(up))
}

/// One element: raw bits to raw bits.
fn convert(from: Elem, to: Elem, mode: char, raw: u64, inf_nan: bool) -> u64 {
    let mask = |x: i128| (x as u128 & ((1u128 << (8 * size(to))) - 1)) as u64;
    let (min, max) = match to {
        Elem::U8 => (0, 255),
        _ if is_float(to) => (0, 0),
        _ => (-(1i128 << (8 * size(to) - 1)), (1i128 << (8 * size(to) - 1)) - 1),
    };
    if is_float(from) {
        let x = value(from, raw);
        if is_float(to) {
            let x = if x == 0.0 { 0.0 } else { x };
            if from == to && x.is_finite() {
                let y = to_integer(x, mode);
                return round_to(to, if y == 0.0 { 0.0f64.copysign(x) } else { y }, 'r', inf_nan);
            }
            return round_to(to, x, mode, inf_nan);
        }
        let y = if x.is_nan() {
            0
        } else if x.is_infinite() {
            if x > 0.0 {
                max
            } else {
                min
            }
        } else {
            to_integer(x, mode) as i128
        };
        return mask(y.clamp(min, max));
    }
    let x = integer(from, raw);
    if is_float(to) {
        integer_to_float(to, x, mode, inf_nan)
    } else {
        mask(x.clamp(min, max))
    }
}

/// Packed bits of element `i`.
fn get(data: &[u8], elem: Elem, i: usize) -> u64 {
    read(data, i * size(elem), elem)
}

fn bits(elem: Elem) -> usize {
    8 * size(elem)
}

/// Converts all of `data` densely, in instructions of up to 64 repeats, and compares each element.
fn check_all(name: &'static str, data: &[u8], inf_nan: bool) {
    let (from, to, mode) = parse(name);
    let mut core = TestCore::new();
    core.regs.ctrl = u64::from(inf_nan) << 48;
    let lanes = 2048 / bits(from).max(bits(to)).max(16);
    let (from_blocks, to_blocks) = (lanes * bits(from) / 256, lanes * bits(to) / 256);
    for chunk in data.chunks(64 * from_blocks * 32) {
        let repeat = chunk.len() / (from_blocks * 32);
        core.put(Space::Ub, 0, chunk);
        let args = [at(100_000 / 32 * 32), at(0), repeat as u64, 1, 1, to_blocks as u64, from_blocks as u64];
        core.run(name, Elem::None, Elem::None, &args).unwrap();
        let out = core.get(Space::Ub, 100_000 / 32 * 32, repeat * to_blocks * 32);
        for i in 0..repeat * lanes {
            let raw = get(chunk, from, i);
            let (g, w) = (get(out, to, i), convert(from, to, mode, raw, inf_nan));
            assert_eq!(g, w, "{name}({raw:#x}) = {g:#x}, want {w:#x}, inf_nan {inf_nan}");
        }
    }
}

fn names(from: impl Fn(Elem) -> bool) -> impl Iterator<Item = &'static str> {
    COVERED.iter().copied().filter(move |n| *n != "vconv_deq" && from(parse(n).0))
}

#[test]
fn all_16_bit_and_narrower_inputs() {
    let data: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for name in names(|e| size(e) <= 2) {
        check_all(name, &data, true);
        check_all(name, &data, false);
    }
}

/// Every f16 and bf16 value, every midpoint between two, and the f32 just beside each.
#[test]
fn f32_inputs_with_every_tie() {
    let mut data = Vec::new();
    for i in 0..=u16::MAX {
        let f16_low = half::f16::from_bits(i).to_f32();
        let f16_next = half::f16::from_bits(i.wrapping_add(1)).to_f32();
        let tie = (f16_low + f16_next) / 2.0;
        for x in [f16_low, tie, f32::from_bits(u32::from(i) << 16 | 0x8000)] {
            let b = x.to_bits();
            data.extend([b.wrapping_sub(1), b, b.wrapping_add(1)].iter().flat_map(|b| b.to_le_bytes()));
        }
        data.extend((u32::from(i) << 16).to_le_bytes());
    }
    data.truncate(data.len() / 256 * 256);
    for name in names(|e| e == Elem::F32).filter(|n| matches!(parse(n).1, Elem::F16 | Elem::Bf16)) {
        check_all(name, &data, true);
        check_all(name, &data, false);
    }
}

#[test]
fn other_f32_and_integer_inputs() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut floats = Vec::new();
    for i in -70_000..70_000i32 {
        floats.extend((i as f32 * 0.5).to_le_bytes());
    }
    for e in 0..=255u32 {
        for m in [0, 1, 0x40_0000, 0x7f_ffff, rng.u32(0..1 << 23)] {
            floats.extend((e << 23 | m).to_le_bytes());
            floats.extend((1 << 31 | e << 23 | m).to_le_bytes());
        }
    }
    floats.truncate(floats.len() / 256 * 256);
    for name in names(|e| e == Elem::F32) {
        check_all(name, &floats, true);
    }
    for name in names(|e| matches!(e, Elem::S32 | Elem::S64)) {
        let mut data = random_bytes(&mut rng, parse(name).0, 256 * 1024);
        // Ties of the f32 grid.
        for (i, x) in data.chunks_exact_mut(8).enumerate().take(4096) {
            let m = (1u64 << 24 | rng.u64(0..1 << 24)) * 2 + 1;
            let x64 = (m << (i % 38)).wrapping_mul(if i % 2 == 0 { 1 } else { u64::MAX });
            if parse(name).0 == Elem::S64 {
                x.copy_from_slice(&x64.to_le_bytes());
            } else {
                x[..4].copy_from_slice(&((m as u32) << (i % 6)).to_le_bytes());
            }
        }
        check_all(name, &data, true);
    }
}

#[test]
fn strides_and_masks() {
    let mut rng = fastrand::Rng::with_seed(4);
    for name in COVERED.iter().copied().filter(|n| *n != "vconv_deq") {
        let (from, to, mode) = parse(name);
        let mut core = filled(&mut rng, from);
        for _ in 0..10 {
            let mask = Mask::random(&mut rng);
            mask.apply(&mut core);
            let lanes = 256 / size(from).max(size(to));
            let (repeat, db, sb, dr, sr) =
                (rng.u64(0..9), rng.u64(1..4), rng.u64(0..4), rng.u64(0..30), rng.u64(0..30));
            let (dst, src) = (32 * rng.usize(0..9), 98_304 + 32 * rng.usize(0..9));
            let mut want = ub(&core);
            let args = [at(dst), at(src), repeat, db, sb, dr, sr];
            core.run(name, Elem::None, Elem::None, &args).unwrap();
            for (r, l) in mask.active(lanes, repeat) {
                let raw = read(&want, lane_address(src, from, r, l, sb, sr), from);
                let y = convert(from, to, mode, raw, true);
                write(&mut want, lane_address(dst, to, r, l, db, dr), to, y);
            }
            assert_same(&ub(&core), &want, &format!("{name} {mask:?} {args:x?}"));
        }
    }
}

/// To elements of 64 bits a repeat has 32 lanes: of f32 four blocks, here the last ones of UB.
#[test]
fn a_source_of_half_a_repeat_is_read_no_further() {
    let mut rng = fastrand::Rng::with_seed(6);
    for name in names(|e| e == Elem::F32).filter(|name| parse(name).1 == Elem::S64) {
        let mut core = filled(&mut rng, Elem::F32);
        core.regs.mask = [u64::MAX; 2];
        let (src, stride) = (UB - 32 * (3 * 16 + 1), 16);
        let mut want = ub(&core);
        core.run(name, Elem::None, Elem::None, &[at(0), at(src), 1, 1, stride, 8, 8]).unwrap();
        for lane in 0..32 {
            let raw = read(&want, lane_address(src, Elem::F32, 0, lane, stride, 8), Elem::F32);
            let y = convert(Elem::F32, Elem::S64, parse(name).2, raw, true);
            write(&mut want, 8 * lane, Elem::S64, y);
        }
        assert_same(&ub(&core), &want, name);
    }
}

#[test]
fn deq_multiplies_by_the_scale() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut core = TestCore::new();
    let scale = half::f16::from_f32(0.0371);
    core.run("set_deqscale", Elem::F16, Elem::None, &[u64::from(scale.to_bits())]).unwrap();
    let data = random_bytes(&mut rng, Elem::S32, 64 * 256);
    core.put(Space::Ub, 0, &data);
    core.run("vconv_deq", Elem::S32, Elem::F16, &[at(65_536), at(0), 64, 1, 1, 4, 8]).unwrap();
    for i in 0..64 * 64 {
        let x = i32::from_le_bytes(data[4 * i..4 * i + 4].try_into().unwrap());
        let want = round_to(Elem::F16, f64::from(x) * scale.to_f64(), 'r', true);
        assert_eq!(read(core.get(Space::Ub, 65_536 + 2 * i, 2), 0, Elem::F16), want, "{x}");
    }
}

#[test]
fn narrowing_in_place_is_allowed_widening_is_not() {
    let mut core = TestCore::new();
    let data: Vec<u8> = (0..256).flat_map(|i: i32| (i as f32).to_le_bytes()).collect();
    core.put(Space::Ub, 0, &data);
    core.run("vconv_f322f16", Elem::None, Elem::None, &[at(0), at(0), 4, 1, 1, 4, 8]).unwrap();
    assert_eq!(
        read(core.get(Space::Ub, 2 * 200, 2), 0, Elem::F16),
        u64::from(half::f16::from_f32(200.0).to_bits())
    );
    let stop = core.run("vconv_f162f32", Elem::None, Elem::None, &[at(0), at(0), 1, 1, 1, 8, 4]).unwrap_err();
    assert!(stop.to_string().contains("Overlap"), "{stop}");
}
