//! Moves: every byte of UB after the instruction.

use super::model::{lane_address, read, size, write};
use super::*;

pub(super) const COVERED: &[&str] =
    &["vector_dup", "vcopy", "vbrcb", "vgather", "vgatherb", "vreducev2", "vtranspose"];

const TYPES: [Elem; 4] = [Elem::U16, Elem::U32, Elem::F16, Elem::F32];

#[test]
fn dup_and_copy() {
    let mut rng = fastrand::Rng::with_seed(10);
    for i in 0..200 {
        let elem = if i % 5 == 4 { Elem::Bf16 } else { TYPES[i % 4] };
        let mut core = filled(&mut rng, Elem::U32);
        let mask = Mask::random(&mut rng);
        mask.apply(&mut core);
        let (repeat, db, sb, dr, sr) =
            (rng.u64(0..9), rng.u64(1..4), rng.u64(0..4), rng.u64(0..20), rng.u64(0..20));
        let (dst, src, scalar) = (32 * rng.usize(0..9), 98_304, rng.u64(..));
        let mut want = ub(&core);
        let dup = i % 2 == 0;
        if dup {
            core.run("vector_dup", elem, Elem::None, &[at(dst), scalar, repeat, db, 1, dr, 0]).unwrap();
        } else {
            core.run("vcopy", elem, Elem::None, &[at(dst), at(src), repeat, db, sb, dr, sr]).unwrap();
        }
        for (r, l) in mask.active(256 / size(elem), repeat) {
            let x = if dup { scalar } else { read(&want, lane_address(src, elem, r, l, sb, sr), elem) };
            write(&mut want, lane_address(dst, elem, r, l, db, dr), elem, x);
        }
        assert_same(&ub(&core), &want, &format!("dup {dup} {elem:?} {mask:?}"));
    }
}

#[test]
fn brcb_fills_blocks_and_ignores_the_mask() {
    let mut rng = fastrand::Rng::with_seed(11);
    for i in 0..40 {
        let elem = TYPES[i % 4];
        let mut core = filled(&mut rng, Elem::U32);
        Mask::random(&mut rng).apply(&mut core);
        let (db, dr, repeat) = (rng.u64(1..4), rng.u64(0..20), rng.u64(0..20));
        let (dst, src) = (64, 98_304);
        let mut want = ub(&core);
        core.run("vbrcb", elem, Elem::None, &[at(dst), at(src), db, dr, repeat]).unwrap();
        for r in 0..repeat as usize {
            for block in 0..8 {
                let x = read(&want, src + (8 * r + block) * size(elem), elem);
                for e in 0..32 / size(elem) {
                    let to = dst + 32 * (r * dr as usize + block * db as usize) + e * size(elem);
                    write(&mut want, to, elem, x);
                }
            }
        }
        assert_same(&ub(&core), &want, &format!("vbrcb {elem:?} {db} {dr} {repeat}"));
    }
}

#[test]
fn gather_elements_and_blocks() {
    let mut rng = fastrand::Rng::with_seed(12);
    for i in 0..60 {
        let elem = TYPES[i % 2];
        let mut core = filled(&mut rng, Elem::U32);
        let (dst, offsets, base) = (0usize, 65_536, 98_304u64);
        let unit = if i % 4 < 2 { size(elem) } else { 32 };
        for k in 0..4096 {
            let offset = (rng.usize(0..60_000) / unit * unit) as u32;
            core.put(Space::Ub, offsets + 4 * k, &offset.to_le_bytes());
        }
        let mut want = ub(&core);
        let (repeat, dr) = (rng.u64(0..6), rng.u64(0..20));
        let offset = |k: usize, want: &[u8]| base as usize + read(want, offsets + 4 * k, Elem::U32) as usize;
        if unit == 32 {
            let db = rng.u64(0..4);
            core.run("vgatherb", elem, Elem::None, &[at(dst), at(offsets), base, dr, db, repeat]).unwrap();
            for k in 0..8 * repeat as usize {
                let to = dst + 32 * (k / 8 * dr as usize + k % 8 * db.max(1) as usize);
                let from = offset(k, &want);
                want.copy_within(from..from + 32, to);
            }
        } else {
            let mask = Mask::random(&mut rng);
            mask.apply(&mut core);
            core.run("vgather", elem, Elem::None, &[at(dst), at(offsets), base, dr, repeat]).unwrap();
            let lanes = 256 / size(elem);
            for (r, l) in mask.active(lanes, repeat) {
                let x = read(&want, offset(r * lanes + l, &want), elem);
                write(&mut want, lane_address(dst, elem, r, l, 1, dr), elem, x);
            }
        }
        assert_same(&ub(&core), &want, &format!("gather {elem:?} unit {unit}"));
    }
}

#[test]
fn compress_by_pattern_and_by_bits() {
    let mut rng = fastrand::Rng::with_seed(13);
    for i in 0..160 {
        let elem = TYPES[i % 2];
        let pattern = (i % 8) as u64;
        let mut core = filled(&mut rng, Elem::U32);
        let counter = rng.bool();
        let n = if counter { rng.u64(1..300) } else { 256 / size(elem) as u64 };
        core.regs.counter_mode = counter;
        core.regs.mask = if counter { [n, 0] } else { [u64::MAX; 2] };
        let (repeat, sb, sr, br) = (rng.u64(0..6), rng.u64(1..3), rng.u64(0..30), rng.u64(0..4));
        let (dst, src, bits) = (0, 65_536, 131_072);
        let mut want = ub(&core);
        let args = [at(dst), at(src), at(bits), repeat, sb, pattern, sr, br];
        core.run("vreducev2", elem, Elem::None, &args).unwrap();
        let mut kept = 0;
        for r in 0..repeat as usize {
            for k in 0..n as usize {
                let keep = match pattern {
                    0 => want[bits + 32 * r * br as usize + k / 8] >> (k % 8) & 1 == 1,
                    1 => k % 2 == 0,
                    2 => k % 2 == 1,
                    3 => k % 4 == 0,
                    4 => k % 4 == 1,
                    5 => k % 4 == 2,
                    6 => k % 4 == 3,
                    _ => true,
                };
                if keep {
                    let x = read(&want, lane_address(src, elem, r, k, sb, sr), elem);
                    write(&mut want, dst + kept * size(elem), elem, x);
                    kept += 1;
                }
            }
        }
        assert_eq!(core.vector.rsvd_cnt, kept as u64);
        assert_same(&ub(&core), &want, &format!("vreducev2 {elem:?} counter {counter} {args:x?}"));
    }
}

#[test]
fn transpose_of_a_tile() {
    let mut core = TestCore::new();
    let data: Vec<u8> = (0..256u16).flat_map(u16::to_le_bytes).collect();
    core.put(Space::Ub, 512, &data);
    core.run("vtranspose", Elem::U16, Elem::None, &[at(0), at(512)]).unwrap();
    for i in 0..16 {
        for j in 0..16 {
            let x = read(core.get(Space::Ub, 2 * (16 * i + j), 2), 0, Elem::U16);
            assert_eq!(x, 16 * j as u64 + i as u64);
        }
    }
}
