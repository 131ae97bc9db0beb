//! Binary, vector-scalar and unary instructions: random strides, masks and special values.

use super::model::{integer, is_float, lane_address, nearest, random_element, read, size, value, write};
use super::*;

pub(super) const COVERED: &[&str] = &[
    "vadd",
    "vsub",
    "vmul",
    "vdiv",
    "vmax",
    "vmin",
    "vand",
    "vor",
    "vaddrelu",
    "vsubrelu",
    "vmla",
    "vmadd",
    "vmaddrelu",
    "vadds",
    "vmuls",
    "vmaxs",
    "vmins",
    "vlrelu",
    "vaxpy",
    "vshl",
    "vshr",
    "vexp",
    "vln",
    "vabs",
    "vsqrt",
    "vrsqrt",
    "vrec",
    "vrelu",
    "vnot",
];

/// Maximum or minimum with the documented rules for NaN and zeros.
fn extreme(a: f64, b: f64, max: bool) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        let negative = (a.is_sign_negative() as u32 + b.is_sign_negative() as u32) >= if max { 2 } else { 1 };
        if negative {
            -0.0
        } else {
            0.0
        }
    } else if (a > b) == max {
        a
    } else {
        b
    }
}

/// The host's correctly rounded fused multiply-add, as an f64 that holds an f32.
fn fused(a: f64, b: f64, c: f64) -> f64 {
    f64::from((a as f32).mul_add(b as f32, c as f32))
}

/// Approximate instructions keep 11 bits of the f32 mantissa.
fn cut(x: f64) -> f64 {
    let x = x as f32;
    f64::from(if x.is_nan() { x } else { f32::from_bits(x.to_bits() >> 12 << 12) })
}

fn float(name: &str, d: f64, a: f64, b: f64) -> f64 {
    // Sums and products of f32 in f64 are exact or rounded innocuously (53 >= 2 * 24 + 2).
    match name {
        "vadd" | "vadds" => a + b,
        "vsub" => a - b,
        "vmul" | "vmuls" => a * b,
        "vdiv" => a / b,
        "vmax" | "vmaxs" => extreme(a, b, true),
        "vmin" | "vmins" => extreme(a, b, false),
        "vaddrelu" => extreme(f64::from((a + b) as f32), 0.0, true),
        "vsubrelu" => extreme(f64::from((a - b) as f32), 0.0, true),
        "vmla" => fused(a, b, d),
        "vmadd" => fused(a, d, b),
        "vmaddrelu" => extreme(fused(a, d, b), 0.0, true),
        "vlrelu" => {
            if a >= 0.0 {
                a
            } else {
                a * b
            }
        }
        "vaxpy" => fused(a, b, d),
        "vexp" => a.exp(),
        "vln" => {
            if a == 0.0 {
                f64::NEG_INFINITY
            } else {
                a.ln()
            }
        }
        "vabs" => a.abs(),
        "vsqrt" => a.sqrt(),
        "vrsqrt" => cut(1.0 / a.sqrt()),
        "vrec" => cut(1.0 / a),
        "vrelu" => extreme(a, 0.0, true),
        _ => panic!("{name}"),
    }
}

fn int(name: &str, elem: Elem, a: i128, b: i128, round: bool) -> i128 {
    match name {
        "vadd" | "vadds" | "vaddrelu" => a + b,
        "vsub" | "vsubrelu" => a - b,
        "vmul" | "vmuls" => a * b,
        "vmax" | "vmaxs" => a.max(b),
        "vmin" | "vmins" => a.min(b),
        "vand" => a & b,
        "vor" => a | b,
        "vrelu" => a.max(0),
        "vnot" => !a,
        "vshl" => a << b,
        "vshr" => {
            let signed = matches!(elem, Elem::S16 | Elem::S32);
            (a >> b) + if round && signed && b > 0 { a >> (b - 1) & 1 } else { 0 }
        }
        _ => panic!("{name}"),
    }
}

/// One lane: raw bits to raw bits.
fn lane(name: &str, elem: Elem, elem_dst: Elem, [d, a, b]: [u64; 3], round: bool, inf_nan: bool) -> u64 {
    if is_float(elem) {
        let y = float(name, value(elem_dst, d), value(elem, a), value(elem, b));
        return nearest(elem_dst, y, inf_nan);
    }
    let b = if matches!(name, "vshl" | "vshr") { i128::from(b) } else { integer(elem, b) };
    let y = int(name, elem, integer(elem, a), b, round);
    let bits = 8 * size(elem) as u32;
    let bitwise = matches!(name, "vand" | "vor" | "vnot" | "vshl" | "vshr");
    let y = if inf_nan || bitwise { y } else { y.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) };
    let y = if name.ends_with("relu") { integer(elem, y as u64 & ((1 << bits) - 1)).max(0) } else { y };
    y as u64 & (((1u128 << bits) - 1) as u64)
}

fn types(name: &str) -> Vec<(Elem, Elem)> {
    use Elem::*;
    let same = |list: &[Elem]| list.iter().map(|e| (*e, *e)).collect::<Vec<_>>();
    match name {
        "vadd" | "vsub" | "vmul" | "vmax" | "vmin" | "vadds" | "vmuls" | "vmaxs" | "vmins" => {
            same(&[F16, F32, S16, S32])
        }
        "vaddrelu" | "vsubrelu" => same(&[F16, F32, S16]),
        "vand" | "vor" | "vnot" => same(&[S16, U16]),
        "vshl" | "vshr" => same(&[S16, U16, S32, U32]),
        "vrelu" => same(&[F16, F32, S32]),
        "vmla" | "vaxpy" => vec![(F16, F16), (F32, F32), (F16, F32)],
        _ => same(&[F16, F32]),
    }
}

fn kind(name: &str) -> usize {
    match name {
        "vadds" | "vmuls" | "vmaxs" | "vmins" | "vlrelu" | "vaxpy" | "vshl" | "vshr" => 1,
        "vexp" | "vln" | "vabs" | "vsqrt" | "vrsqrt" | "vrec" | "vrelu" | "vnot" => 0,
        _ => 2,
    }
}

/// Runs one random instruction and compares all of UB with the model.
fn check_one(rng: &mut fastrand::Rng, core: &mut TestCore, name: &'static str, elem: Elem, elem_dst: Elem) {
    let kind = kind(name);
    let lanes = 256 / size(elem_dst);
    let mask = Mask::random(rng);
    mask.apply(core);
    core.regs.ctrl = u64::from(rng.bool()) << 48;
    let inf_nan = core.regs.ctrl != 0;
    let repeat = if rng.u32(0..10) == 0 { 0 } else { rng.u64(1..12) };
    let dense = rng.bool();
    let narrow = (8 * size(elem) / size(elem_dst)) as u64;
    let blk = |rng: &mut fastrand::Rng, low| if dense { 1 } else { rng.u64(low..4) };
    // The destination's stride keeps repeats apart; sources may replay.
    let (db, sb0, sb1) = (blk(rng, 1), blk(rng, 0), blk(rng, 0));
    let (dr, sr0, sr1) =
        if dense { (8, narrow, narrow) } else { (rng.u64(0..30), rng.u64(0..30), rng.u64(0..30)) };
    let (dst, s0, s1) = (32 * rng.usize(0..9), 60_000 + 32 * rng.usize(0..9), 120_000 + 32 * rng.usize(0..9));
    let scalar = match name {
        "vshl" | "vshr" => rng.u64(0..=8 * size(elem) as u64),
        _ => random_element(rng, elem) & (((1u128 << (8 * size(elem))) - 1) as u64),
    };
    let round = rng.bool();
    let args: Vec<u64> = match kind {
        2 => vec![at(dst), at(s0), at(s1), repeat, db, sb0, sb1, dr, sr0, sr1],
        1 => {
            let mut args = vec![at(dst), at(s0), scalar, repeat, db, sb0, dr, sr0];
            if name == "vshr" {
                args.push(u64::from(round));
            }
            args
        }
        _ => vec![at(dst), at(s0), repeat, db, sb0, dr, sr0],
    };
    let mut want = ub(core);
    let elem_arg = if elem == elem_dst { Elem::None } else { elem_dst };
    core.run(name, elem, elem_arg, &args)
        .unwrap_or_else(|stop| panic!("{name} {elem:?} {args:?} {mask:?}: {stop}"));
    let got = ub(core);
    for (r, l) in mask.active(lanes, repeat) {
        let at = lane_address(dst, elem_dst, r, l, db, dr);
        let a = read(&want, lane_address(s0, elem, r, l, sb0, sr0), elem);
        let b = if kind == 2 { read(&want, lane_address(s1, elem, r, l, sb1, sr1), elem) } else { scalar };
        let d = read(&want, at, elem_dst);
        let w = lane(name, elem, elem_dst, [d, a, b], round, inf_nan);
        write(&mut want, at, elem_dst, w);
    }
    assert_same(&got, &want, &format!("{name} {elem:?}->{elem_dst:?} {mask:?} {args:x?} inf_nan {inf_nan}"));
}

#[test]
fn all_match_their_model() {
    let mut rng = fastrand::Rng::with_seed(1);
    for name in COVERED {
        for (elem, elem_dst) in types(name) {
            let mut core = filled(&mut rng, elem);
            for _ in 0..40 {
                check_one(&mut rng, &mut core, name, elem, elem_dst);
            }
        }
    }
}

#[test]
fn repeat_255_and_widest_strides() {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut core = filled(&mut rng, Elem::F32);
    let mut want = ub(&core);
    // 255 repeats of 256 bytes, and a source that stays on its first block.
    let args = [at(0), at(66_000 / 32 * 32), at(190_016), 255, 1, 1, 0, 8, 8, 0];
    core.run("vadd", Elem::F32, Elem::None, &args).unwrap();
    for i in 0..255 * 64 {
        let a = value(Elem::F32, read(&want, 65_984 + 4 * i, Elem::F32));
        let b = value(Elem::F32, read(&want, 190_016 + 4 * (i % 8), Elem::F32));
        write(&mut want, 4 * i, Elem::F32, nearest(Elem::F32, a + b, true));
    }
    assert_same(&ub(&core), &want, "vadd 255");
}

#[test]
fn accumulating_in_place_is_allowed_and_sequential() {
    let mut core = TestCore::new();
    let ones: Vec<u8> = (0..64 * 10).flat_map(|i: i32| (i as f32).to_le_bytes()).collect();
    core.put(Space::Ub, 1024, &ones);
    core.put(Space::Ub, 0, &[0; 256]);
    core.run("vadd", Elem::F32, Elem::None, &[at(0), at(1024), at(0), 10, 1, 1, 1, 0, 8, 0]).unwrap();
    for lane in 0..64 {
        let want: f32 = (0..10).map(|r| (r * 64 + lane) as f32).sum();
        let got = f32::from_le_bytes(core.get(Space::Ub, 4 * lane, 4).try_into().unwrap());
        assert_eq!(got, want);
    }
}

#[test]
fn marks_exactly_the_lanes_it_writes() {
    let mut core = TestCore::new();
    core.put(Space::Ub, 4096, &[0; 1024]);
    core.regs.mask = [0b1010_0000_0001, 0];
    core.run("vabs", Elem::F32, Elem::None, &[at(0), at(4096), 2, 2, 1, 16, 8]).unwrap();
    let init = &core.local[0].init;
    let want: Vec<usize> = [0, 64 + 4, 64 + 12].iter().flat_map(|a| [*a, a + 512]).collect();
    for byte in 0..2048 {
        // Lane 9 is lane 1 of block 1, lane 11 is lane 3; block stride 2 puts block 1 at byte 64.
        let inside = want.iter().any(|w| (*w..w + 4).contains(&byte));
        assert_eq!(init.get(byte), inside, "byte {byte}");
    }
}

/// exp of f32 within 1 ulp of f64, and monotone.
#[test]
fn exp_is_accurate_and_monotone() {
    let mut core = TestCore::new();
    let mut last = f32::NEG_INFINITY;
    let mut worst = 0;
    let mut x = -110f32;
    while x < 90.0 {
        let batch: Vec<f32> = (0..64 * 200).map(|i| x + i as f32 * 3.1e-4).collect();
        x = batch[batch.len() - 1];
        let bytes: Vec<u8> = batch.iter().flat_map(|x| x.to_le_bytes()).collect();
        core.put(Space::Ub, 0, &bytes);
        core.run("vexp", Elem::F32, Elem::None, &[at(65_536), at(0), 200, 1, 1, 8, 8]).unwrap();
        let out = core.get(Space::Ub, 65_536, bytes.len());
        for (x, y) in batch.iter().zip(out.chunks_exact(4)) {
            let y = f32::from_le_bytes(y.try_into().unwrap());
            let want = f64::from(*x).exp() as f32;
            worst = worst.max(y.to_bits().abs_diff(want.to_bits()));
            assert!(y >= last, "exp({x}) = {y} after {last}");
            last = y;
        }
    }
    // Correctly rounded except where f64 itself lies within 1e-15 of a tie.
    assert!(worst <= 1, "{worst} ulp");
    assert_eq!(last, f32::INFINITY);
}

/// The copies compiled for wider vectors compute the same bits as the baseline's.
#[test]
fn wide_copies_agree() {
    use super::super::vec_float::{exp, fused, ln, maximum, to_f32, to_f32_odd};
    use super::super::vec_wide::{on_widest, Repeated};

    struct All<'a>(&'a [f32], &'a mut Vec<u32>);
    impl Repeated for All<'_> {
        #[inline(always)]
        fn run(self) {
            for w in self.0.windows(3) {
                let (x, y) = (f64::from(w[0]), f64::from(w[1]));
                let results = [
                    to_f32(exp(x)),
                    to_f32_odd(exp(x)),
                    to_f32(ln(y)),
                    fused(w[0], w[1], w[2]),
                    maximum(w[0], w[1]),
                ];
                self.1.extend(results.map(|x| if x.is_nan() { 1 } else { x.to_bits() }));
            }
        }
    }
    let mut rng = fastrand::Rng::with_seed(14);
    let data: Vec<f32> =
        (0..100_000).map(|_| f32::from_bits(random_element(&mut rng, Elem::F32) as u32)).collect();
    let (mut base, mut wide) = (Vec::new(), Vec::new());
    All(&data, &mut base).run();
    on_widest(All(&data, &mut wide));
    assert_eq!(base.len(), wide.len());
    let differ = base.iter().zip(&wide).position(|(base, wide)| base != wide);
    assert_eq!(differ.map(|at| (at, base[at], wide[at])), None, "place, and bits on both sides");
}

/// Sources are required, and destinations marked, exactly on active lanes: only those of the source are
/// written before.
#[test]
fn reads_and_marks_exactly_the_active_lanes() {
    let mut rng = fastrand::Rng::with_seed(15);
    let forms = [
        ("vabs", Elem::F32, Elem::F32),
        ("vabs", Elem::F16, Elem::F16),
        ("vconv_f322f16", Elem::F32, Elem::F16),
        ("vconv_f162f32", Elem::F16, Elem::F32),
        ("vconv_s642s32", Elem::S64, Elem::S32),
    ];
    for i in 0..300 {
        let (name, from, to) = forms[i % forms.len()];
        let mask = Mask::random(&mut rng);
        let lanes = 256 / size(from).max(size(to));
        let (repeat, db, sb) = (rng.u64(0..9), rng.u64(1..4), rng.u64(0..4));
        let (dr, sr) = if i % 2 == 0 {
            ((lanes * size(to) / 32) as u64, (lanes * size(from) / 32) as u64)
        } else {
            (rng.u64(0..30), rng.u64(0..30))
        };
        let (dst, src) = (64, 98_304);
        let mut core = TestCore::new();
        mask.apply(&mut core);
        let mut written = vec![false; UB];
        for (r, l) in mask.active(lanes, repeat) {
            core.put(Space::Ub, lane_address(src, from, r, l, sb, sr), &[0; 8][..size(from)]);
            written[lane_address(dst, to, r, l, db, dr)..][..size(to)].fill(true);
        }
        let args = [at(dst), at(src), repeat, db, sb, dr, sr];
        core.run(name, from, Elem::None, &args).unwrap_or_else(|stop| panic!("{mask:?} {args:x?}: {stop}"));
        for (byte, want) in written[..src].iter().enumerate() {
            assert_eq!(
                core.local[0].init.get(byte),
                *want,
                "{name} {from:?} byte {byte:#x} {mask:?} {args:x?}"
            );
        }
        // Without any one source lane, the instruction must not run.
        let active = mask.active(lanes, repeat);
        if let Some((r, l)) = rng.choice(&active) {
            let hole = lane_address(src, from, *r, *l, sb, sr) + rng.usize(0..size(from));
            core.local[0].init.set(hole, 1, false);
            let stop = core.run(name, from, Elem::None, &args).unwrap_err();
            assert!(stop.to_string().contains(&format!("src uses byte {hole:#x}")), "{stop}");
        }
    }
}
