//! Reductions against sums over explicit binary trees and plain searches.

use super::model::{lane_address, nearest, read, size, value, write};
use super::*;

pub(super) const COVERED: &[&str] = &["vcadd", "vcmax", "vcmin", "vcgadd", "vcgmax", "vcgmin", "vcpadd"];

/// Sum of the active lanes of `lanes[from..to]`, halves first; `None` without one.
fn sum(elem: Elem, lanes: &[Option<f64>]) -> Option<f64> {
    if lanes.len() == 1 {
        return lanes[0];
    }
    let (a, b) = lanes.split_at(lanes.len() / 2);
    match (sum(elem, a), sum(elem, b)) {
        (Some(a), Some(b)) => Some(value(elem, nearest(elem, a + b, true))),
        (a, b) => a.or(b),
    }
}

/// Extreme value and its first lane; a NaN is the most extreme.
fn extreme(lanes: &[Option<f64>], max: bool) -> Option<(f64, usize)> {
    let active = || lanes.iter().enumerate().filter_map(|(i, x)| x.map(|x| (x, i)));
    if let Some(nan) = active().find(|(x, _)| x.is_nan()) {
        return Some(nan);
    }
    let best = active().map(|(x, _)| x).reduce(|a, b| if (a > b) == max { a } else { b })?;
    active().find(|(x, _)| *x == best)
}

/// Bits of the extreme, where zeros of both signs count by the rule for the maximum.
fn group_extreme(elem: Elem, lanes: &[Option<f64>], max: bool, inf_nan: bool) -> Option<u64> {
    let (x, _) = extreme(lanes, max)?;
    let negative = lanes.iter().flatten().filter(|x| **x == 0.0 && x.is_sign_negative()).count();
    let zeros = lanes.iter().flatten().filter(|x| **x == 0.0).count();
    let x = if x != 0.0 {
        x
    } else if if max { negative == zeros } else { negative > 0 } {
        -0.0
    } else {
        0.0
    };
    Some(nearest(elem, x, inf_nan))
}

fn check_one(rng: &mut fastrand::Rng, core: &mut TestCore, name: &str, elem: Elem) {
    let lanes = 256 / size(elem);
    let mask = Mask::random(rng);
    mask.apply(core);
    core.regs.ctrl = u64::from(rng.bool()) << 48;
    let inf_nan = core.regs.ctrl != 0;
    let (repeat, dr, sb, sr) = (rng.u64(0..12), rng.u64(0..5), rng.u64(0..4), rng.u64(0..30));
    let (dst, src) = (64 * rng.usize(0..9), 98_304 + 32 * rng.usize(0..9));
    let order = rng.u64(0..4);
    let mut args = vec![at(dst), at(src), repeat, dr, sb, sr];
    match name {
        "vcmax" | "vcmin" => args.push(order),
        "vcadd" => args.push(0),
        _ => {}
    }
    let mut want = ub(core);
    core.run(name, elem, Elem::None, &args).unwrap();
    let mut repeats: Vec<Vec<Option<f64>>> = Vec::new();
    for (r, l) in mask.active(lanes, repeat) {
        if repeats.len() <= r {
            repeats.resize(r + 1, vec![None; lanes]);
        }
        repeats[r][l] = Some(value(elem, read(&want, lane_address(src, elem, r, l, sb, sr), elem)));
    }
    let index = if size(elem) == 2 { Elem::U16 } else { Elem::U32 };
    for (r, x) in repeats.iter().enumerate() {
        let step = |unit: usize| dst + r * dr as usize * unit;
        match name {
            "vcadd" => {
                let y = nearest(elem, sum(elem, x).unwrap(), inf_nan);
                write(&mut want, step(size(elem)), elem, y);
            }
            "vcmax" | "vcmin" => {
                let (y, i) = extreme(x, name == "vcmax").unwrap();
                let (y, i) = (nearest(elem, y, inf_nan), i as u64);
                match order {
                    0 => {
                        write(&mut want, step(2 * size(elem)), elem, y);
                        write(&mut want, step(2 * size(elem)) + size(elem), index, i);
                    }
                    1 => {
                        write(&mut want, step(2 * size(elem)), index, i);
                        write(&mut want, step(2 * size(elem)) + size(elem), elem, y);
                    }
                    2 => write(&mut want, step(size(elem)), elem, y),
                    _ => write(&mut want, step(4), Elem::U32, i),
                }
            }
            _ => {
                let group = if name == "vcpadd" { 2 } else { 32 / size(elem) };
                let unit = lanes / group * size(elem);
                for (g, x) in x.chunks(group).enumerate() {
                    let y = match name {
                        "vcgmax" | "vcgmin" => group_extreme(elem, x, name == "vcgmax", inf_nan),
                        _ => sum(elem, x).map(|y| nearest(elem, y, inf_nan)),
                    };
                    if let Some(y) = y {
                        write(&mut want, step(unit) + g * size(elem), elem, y);
                    }
                }
            }
        }
    }
    assert_same(&ub(core), &want, &format!("{name} {elem:?} {mask:?} {args:x?} inf_nan {inf_nan}"));
}

#[test]
fn all_match_their_model() {
    let mut rng = fastrand::Rng::with_seed(6);
    for name in COVERED {
        for elem in [Elem::F16, Elem::F32] {
            let mut core = filled(&mut rng, elem);
            for _ in 0..60 {
                check_one(&mut rng, &mut core, name, elem);
            }
        }
    }
}

#[test]
fn mode_1_sums_into_the_register() {
    let mut core = TestCore::new();
    let data: Vec<u8> = (0..128).flat_map(|i: i32| (i as f32).to_le_bytes()).collect();
    core.put(Space::Ub, 256, &data);
    core.run("vcadd", Elem::F32, Elem::None, &[at(0), at(256), 2, 1, 1, 8, 1]).unwrap();
    assert_eq!(core.vector.acc_val, u64::from((127f32 * 64.0).to_bits()));
    assert!(!core.local[0].init.get(0), "mode 1 stores nothing");
}

#[test]
fn running_maximum_and_its_index() {
    let mut core = TestCore::new();
    let mut data: Vec<f32> = (0..192).map(|i| (i % 10) as f32).collect();
    data[100] = 50.0;
    data[150] = 50.0;
    let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    core.put(Space::Ub, 1024, &bytes);
    core.run("vcmax", Elem::F32, Elem::None, &[at(0), at(1024), 3, 1, 1, 8, 0]).unwrap();
    assert_eq!(core.vector.max_min_cnt, 100 << 32 | u64::from(50f32.to_bits()));
    core.run("vcmin", Elem::F32, Elem::None, &[at(0), at(1024), 3, 1, 1, 8, 0]).unwrap();
    assert_eq!(core.vector.max_min_cnt, 0);
}
