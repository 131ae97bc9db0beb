//! Comparisons and selection.

use super::model::{integer, lane_address, random_element, read, size, value, write};
use super::*;

pub(super) const COVERED: &[&str] = &[
    "vcmp_lt",
    "vcmp_le",
    "vcmp_gt",
    "vcmp_ge",
    "vcmp_eq",
    "vcmp_ne",
    "vcmpv_lt",
    "vcmpv_le",
    "vcmpv_gt",
    "vcmpv_ge",
    "vcmpv_eq",
    "vcmpv_ne",
    "vcmpvs_lt",
    "vcmpvs_le",
    "vcmpvs_gt",
    "vcmpvs_ge",
    "vcmpvs_eq",
    "vcmpvs_ne",
    "set_cmpmask",
    "get_cmpmask",
    "vsel",
];

fn holds(name: &str, elem: Elem, a: u64, b: u64) -> bool {
    if elem == Elem::S32 {
        return integer(elem, a) == integer(elem, b);
    }
    let Some(order) = value(elem, a).partial_cmp(&value(elem, b)) else { return false };
    match &name[name.len() - 2..] {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        "ge" => order.is_ge(),
        "eq" => order.is_eq(),
        _ => order.is_ne(),
    }
}

fn set_bit(memory: &mut [u8], start: usize, bit: usize, on: bool) {
    let byte = &mut memory[start + bit / 8];
    *byte = *byte & !(1 << (bit % 8)) | u8::from(on) << (bit % 8);
}

/// Makes equal pairs likely.
fn with_equals(rng: &mut fastrand::Rng, elem: Elem) -> TestCore {
    let mut core = filled(rng, elem);
    let values: Vec<u64> = (0..6).map(|_| random_element(rng, elem)).collect();
    for i in 0..UB / size(elem) {
        if rng.bool() {
            let raw = values[rng.usize(0..6)].to_le_bytes();
            core.put(Space::Ub, i * size(elem), &raw[..size(elem)]);
        }
    }
    core
}

#[test]
fn comparisons_match_their_model() {
    let mut rng = fastrand::Rng::with_seed(7);
    for name in COVERED.iter().copied().filter(|n| n.starts_with("vcmp")) {
        let types: &[Elem] =
            if name.ends_with("eq") { &[Elem::F16, Elem::F32, Elem::S32] } else { &[Elem::F16, Elem::F32] };
        for &elem in types {
            let mut core = with_equals(&mut rng, elem);
            for _ in 0..12 {
                check_comparison(&mut rng, &mut core, name, elem);
            }
        }
    }
}

fn check_comparison(rng: &mut fastrand::Rng, core: &mut TestCore, name: &str, elem: Elem) {
    let lanes = 256 / size(elem);
    let (repeat, sb0, sb1, sr0, sr1) =
        (rng.u64(0..12), rng.u64(0..4), rng.u64(0..4), rng.u64(0..30), rng.u64(0..30));
    let (dst, s0, s1) = (32 * rng.usize(0..9), 60_000, 120_000);
    let scalar = read(&ub(core), 512, elem);
    let mut want = ub(core);
    if name.starts_with("vcmp_") {
        // Into the register, under the mask; other bits stay.
        let old = [rng.u64(..), rng.u64(..)];
        core.vector.cmpmask = old;
        core.regs.mask = [rng.u64(..), rng.u64(..)];
        let mask = core.regs.mask;
        core.run(name, elem, Elem::None, &[at(s0), at(s1), 1, 1, sb0, sb1, 8, sr0, sr1]).unwrap();
        for bit in 0..128 {
            let active = bit < lanes && mask[bit / 64] >> (bit % 64) & 1 == 1;
            let w = if active {
                let a = read(&want, lane_address(s0, elem, 0, bit, sb0, 0), elem);
                holds(name, elem, a, read(&want, lane_address(s1, elem, 0, bit, sb1, 0), elem))
            } else {
                old[bit / 64] >> (bit % 64) & 1 == 1
            };
            assert_eq!(core.vector.cmpmask[bit / 64] >> (bit % 64) & 1 == 1, w, "{name} {elem:?} bit {bit}");
        }
        return;
    }
    // The mask is ignored.
    core.regs.mask = [rng.u64(..), 0];
    let args = if name.starts_with("vcmpvs") {
        vec![at(dst), at(s0), scalar, repeat, 1, sb0, 8, sr0]
    } else {
        vec![at(dst), at(s0), at(s1), repeat, 1, sb0, sb1, 8, sr0, sr1]
    };
    core.run(name, elem, Elem::None, &args).unwrap();
    for r in 0..repeat as usize {
        for l in 0..lanes {
            let a = read(&want, lane_address(s0, elem, r, l, sb0, sr0), elem);
            let b = if name.starts_with("vcmpvs") {
                scalar
            } else {
                read(&want, lane_address(s1, elem, r, l, sb1, sr1), elem)
            };
            set_bit(&mut want, dst, r * lanes + l, holds(name, elem, a, b));
        }
    }
    assert_same(&ub(core), &want, &format!("{name} {elem:?} {args:x?}"));
}

#[test]
fn cmpmask_round_trip() {
    let mut core = TestCore::new();
    let data: Vec<u8> = (1..=16).collect();
    core.put(Space::Ub, 64, &data);
    core.run("set_cmpmask", Elem::None, Elem::None, &[at(64)]).unwrap();
    assert_eq!(core.vector.cmpmask, [0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09]);
    core.run("get_cmpmask", Elem::None, Elem::None, &[at(128)]).unwrap();
    assert_eq!(core.get(Space::Ub, 128, 16), data);
}

#[test]
fn select_in_three_modes() {
    let mut rng = fastrand::Rng::with_seed(8);
    for elem in [Elem::F16, Elem::F32] {
        let mut core = filled(&mut rng, elem);
        for i in 0..90 {
            check_select(&mut rng, &mut core, elem, i % 3);
        }
    }
}

fn check_select(rng: &mut fastrand::Rng, core: &mut TestCore, elem: Elem, mode: u64) {
    let lanes = 256 / size(elem);
    let mask = Mask::random(rng);
    let (repeat, db, sb0, sb1) = (rng.u64(0..9), rng.u64(1..3), rng.u64(0..3), rng.u64(0..3));
    let (dr, sr0, sr1) = (rng.u64(0..20), rng.u64(0..20), rng.u64(0..20));
    let (dst, s0, s1, bits) = (0, 60_000, 120_000, 180_000);
    let scalar = random_element(rng, elem) & (u64::MAX >> (64 - 8 * size(elem)));
    // What AscendC prepares: the scalar, or the address of the bits, in a block; then set_cmpmask.
    let block: Vec<u8> = match mode {
        0 => (0..16).map(|_| rng.u8(..)).collect(),
        1 => scalar.to_le_bytes()[..size(elem)].repeat(16 / size(elem)),
        _ => (bits as u32).to_le_bytes().repeat(4),
    };
    core.put(Space::Ub, 190_016, &block);
    core.run("set_cmpmask", Elem::None, Elem::None, &[at(190_016)]).unwrap();
    mask.apply(core);
    let mut want = ub(core);
    let src1 = if mode == 1 { at(bits) } else { at(s1) };
    let args = [at(dst), at(s0), src1, repeat, db, sb0, sb1, dr, sr0, sr1, mode];
    core.run("vsel", elem, Elem::None, &args[..if mode == 0 { 10 } else { 11 }]).unwrap();
    for (r, l) in mask.active(lanes, repeat) {
        let bit = if mode == 0 {
            block[l / 8] >> (l % 8)
        } else {
            let n = r * lanes + l;
            want[bits + n / 8] >> (n % 8)
        } & 1
            == 1;
        let y = match (bit, mode) {
            (true, _) => read(&want, lane_address(s0, elem, r, l, sb0, sr0), elem),
            (false, 1) => scalar,
            _ => read(&want, lane_address(s1, elem, r, l, sb1, sr1), elem),
        };
        write(&mut want, lane_address(dst, elem, r, l, db, dr), elem, y);
    }
    assert_same(&ub(core), &want, &format!("vsel {elem:?} {mask:?} {args:x?}"));
}
