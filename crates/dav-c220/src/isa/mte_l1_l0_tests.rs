#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small numbers that the tests choose"
)]

use fastattention_tolerance::assert_same;

use super::super::transfer::tests::{expect_fault, expect_unsupported, random_bytes};
use crate::access::{Elem, FaultKind, Space};
use crate::isa::harness::TestCore;

fn l1(at: usize) -> u64 {
    TestCore::at(Space::L1, at as u64)
}

fn l0a(at: usize) -> u64 {
    TestCore::at(Space::L0a, at as u64)
}

fn l0b(at: usize) -> u64 {
    TestCore::at(Space::L0b, at as u64)
}

/// Element offsets of dav-c220.md 2.1 for 16-bit elements: L1 Nz of `rows` rows, L0A Zz of `cols` columns,
/// L0B Zn of `cols` columns.
fn nz(r: usize, c: usize, rows: usize) -> usize {
    (c / 16) * rows.div_ceil(16) * 16 * 16 + r * 16 + c % 16
}

fn zz(m: usize, k: usize, cols: usize) -> usize {
    ((m / 16) * cols.div_ceil(16) + k / 16) * 256 + (m % 16) * 16 + k % 16
}

fn zn(k: usize, n: usize, cols: usize) -> usize {
    ((k / 16) * cols.div_ceil(16) + n / 16) * 256 + (n % 16) * 16 + k % 16
}

fn value(r: usize, c: usize) -> u16 {
    (r * 1000 + c) as u16
}

/// Puts the matrix into L1 as Nz.
fn put_nz(core: &mut TestCore, rows: usize, cols: usize) {
    let mut bytes = vec![0; rows * cols * 2];
    for r in 0..rows {
        for c in 0..cols {
            bytes[nz(r, c, rows) * 2..][..2].copy_from_slice(&value(r, c).to_le_bytes());
        }
    }
    core.put(Space::L1, 0, &bytes);
}

fn element(core: &TestCore, space: Space, at: usize) -> u16 {
    let bytes = core.get(space, at * 2, 2);
    u16::from_le_bytes([bytes[0], bytes[1]])
}

#[test]
fn recipes_of_load_2d_bring_whole_matrices() {
    let (rows, cols) = (48, 80);
    let (r1, c1) = (3u64, 5u64);
    let mut core = TestCore::new();
    put_nz(&mut core, rows, cols);
    let (f16, none) = (Elem::F16, Elem::None);
    // A (M x K) to L0A.
    for mb in 0..r1 {
        let args = [l0a(mb as usize * 5 * 512), l1(0), mb, c1, r1, 0, 0, 0, 0];
        core.run("load_cbuf_to_ca", f16, none, &args).unwrap();
    }
    for r in 0..rows {
        for c in 0..cols {
            assert_eq!(element(&core, Space::L0a, zz(r, c, cols)), value(r, c), "A[{r}, {c}]");
        }
    }
    // K (N x D) to L0B as its transpose: one copy.
    core.run("load_cbuf_to_cb", f16, none, &[l0b(0), l1(0), 0, r1 * c1, 1, 0, 0, 0, 0]).unwrap();
    for n in 0..rows {
        for d in 0..cols {
            assert_eq!(element(&core, Space::L0b, zn(d, n, rows)), value(n, d), "K[{n}, {d}]");
        }
    }
    // V (K x N) to L0B.
    for kb in 0..r1 {
        let args = [l0b(kb as usize * 5 * 512), l1(0), kb, c1, r1, 0, 0, 1, 0];
        core.run("load_cbuf_to_cb", f16, none, &args).unwrap();
    }
    for k in 0..rows {
        for n in 0..cols {
            assert_eq!(element(&core, Space::L0b, zn(k, n, cols)), value(k, n), "V[{k}, {n}]");
        }
    }
    // A stored as its transpose (K x M) to L0A.
    for mb in 0..c1 {
        let args = [l0a((mb * r1) as usize * 512), l1(0), mb * r1, r1, 1, 0, 0, 1, 0];
        core.run("load_cbuf_to_ca", f16, none, &args).unwrap();
    }
    for m in 0..cols {
        for k in 0..rows {
            assert_eq!(element(&core, Space::L0a, zz(m, k, rows)), value(k, m), "A^T[{m}, {k}]");
        }
    }
}

#[test]
fn load_2d_follows_the_fractal_formula() {
    let mut rng = fastrand::Rng::with_seed(21);
    for round in 0..40 {
        let mut core = TestCore::new();
        let data = random_bytes(&mut rng, 128 << 10);
        core.put(Space::L1, 0, &data);
        let mut model = random_bytes(&mut rng, 32 << 10);
        let (name, space) = [("load_cbuf_to_ca", Space::L0a), ("load_cbuf_to_cb", Space::L0b)][round % 2];
        core.put(space, 0, &model);
        let (count, stride, gap) = (rng.usize(0..14), rng.usize(0..8), rng.usize(0..3));
        let backwards = round % 5 == 4;
        let transpose = round % 3 == 0;
        let first = if backwards { 100 } else { rng.usize(0..50) };
        let list = [first, count, stride, gap, 0, usize::from(transpose), usize::from(backwards)];
        let mut args = vec![TestCore::at(space, 512), l1(96)];
        args.extend(list.map(|x| x as u64));
        core.run(name, Elem::Bf16, Elem::None, &args).unwrap();
        for i in 0..count {
            let step = if backwards { first - i * stride } else { first + i * stride };
            let (from, to) = (96 + step * 512, 512 + i * (gap + 1) * 512);
            for at in 0..256 {
                let source = if transpose { at % 16 * 16 + at / 16 } else { at };
                model[to + at * 2..][..2].copy_from_slice(&data[from + source * 2..][..2]);
            }
        }
        assert_same(core.get(space, 0, model.len()), &model, &format!("{name} {list:?}"));
    }
}

#[test]
fn squares_turn_as_wholes() {
    let mut rng = fastrand::Rng::with_seed(22);
    for round in 0..36 {
        let elem = [Elem::S8, Elem::F16, Elem::F32][round % 3];
        let size = elem.bytes();
        let (side, fractals) = ([32, 16, 16][round % 3], [2, 1, 2][round % 3]);
        let mut core = TestCore::new();
        let data = random_bytes(&mut rng, 128 << 10);
        core.put(Space::L1, 0, &data);
        let mut model = random_bytes(&mut rng, 48 << 10);
        let (name, space) =
            [("load_cbuf_to_ca_transpose", Space::L0a), ("load_cbuf_to_cb_transpose", Space::L0b)]
                [round / 3 % 2];
        core.put(space, 0, &model);
        let backwards = round % 4 == 3;
        let first = if backwards { 50 } else { rng.usize(0..9) };
        let (count, stride) = (rng.usize(0..8), rng.usize(0..5));
        let (gap, frac_gap) = (rng.usize(1..4), rng.usize(0..6));
        let list = [first, count, stride, gap, usize::from(backwards), frac_gap];
        let mut args = vec![TestCore::at(space, 0), l1(32)];
        args.extend(list.map(|x| x as u64));
        core.run(name, elem, Elem::None, &args).unwrap();
        // The fractals of a square of 8-bit elements lie one below the other, those of 32 bits side by side.
        let place = |r: usize, c: usize, frac: usize| {
            let per_row = 32 / size;
            let index = if size == 1 { r / 16 } else { c / per_row };
            index * frac + (r % 16) * 32 + c % per_row * size
        };
        for i in 0..count {
            let step = if backwards { first - i * stride } else { first + i * stride };
            let (from, to) = (32 + step * fractals * 512, i * (gap + 1) * 512);
            for r in 0..side {
                for c in 0..side {
                    for byte in 0..size {
                        let target = to + place(r, c, 512 * (frac_gap + 1)) + byte;
                        model[target] = data[from + place(c, r, 512) + byte];
                    }
                }
            }
        }
        assert_same(core.get(space, 0, model.len()), &model, &format!("{name} {elem:?} {list:?}"));
    }
}

#[test]
fn unwritten_elements_turn_with_their_square() {
    let mut core = TestCore::new();
    core.put(Space::L1, 0, &[1; 2 * 512]);
    core.local[Space::L1.local_index()].init.set((3 * 16 + 5) * 2, 2, false);
    let args = [l0a(0), l1(0), 0, 2, 1, 0, 0, 1, 0];
    core.run("load_cbuf_to_ca", Elem::F16, Elem::None, &args).unwrap();
    let map = &core.local[Space::L0a.local_index()].init;
    let hole = (5 * 16 + 3) * 2;
    assert_eq!(map.first_unset(0, 1024), Some(hole));
    assert_eq!(map.first_unset(hole + 2, 1024 - hole - 2), None);
}

#[test]
fn bias_table_and_fixpipe_buffer() {
    let mut rng = fastrand::Rng::with_seed(23);
    let mut core = TestCore::new();
    let data = random_bytes(&mut rng, 4096);
    core.put(Space::L1, 0, &data);
    core.put(Space::Bt, 0, &[0; 1024]);
    let bt = TestCore::at(Space::Bt, 64);
    core.run("copy_cbuf_to_bt", Elem::F32, Elem::None, &[bt, l1(32), 0, 2, 3, 1, 2]).unwrap();
    assert_eq!(core.get(Space::Bt, 64, 192), &data[32..224]);
    assert_eq!(core.get(Space::Bt, 64 + 192 + 128, 192), &data[32 + 192 + 32..][..192]);
    let halves: Vec<u8> = (0..32).flat_map(|i| half::f16::from_f32(i as f32 - 7.5).to_le_bytes()).collect();
    core.put(Space::L1, 0, &halves);
    core.run("copy_cbuf_to_bt", Elem::F16, Elem::F32, &[bt, l1(0), 1, 1, 1, 0, 0]).unwrap();
    for i in 0..32 {
        let bytes: [u8; 4] = core.get(Space::Bt, 64 + 4 * i, 4).try_into().unwrap();
        assert_eq!(f32::from_le_bytes(bytes), i as f32 - 7.5);
    }
    let fb = TestCore::at(Space::Fb, 128);
    core.put(Space::L1, 0, &data);
    // Both strides of this copy run from start to start.
    core.run("copy_cbuf_to_fbuf", Elem::U64, Elem::None, &[fb, l1(64), 2, 1, 6, 3]).unwrap();
    assert_eq!(core.get(Space::Fb, 128, 128), &data[64..192]);
    assert_eq!(core.get(Space::Fb, 128 + 384, 128), &data[64 + 192..][..128]);
    let odd = [TestCore::at(Space::Fb, 64), l1(0), 1, 1, 0, 0];
    expect_fault(
        core.run("copy_cbuf_to_fbuf", Elem::U64, Elem::None, &odd),
        FaultKind::Misaligned,
        "dst at FB+0x40 is not a multiple of 128",
    );
}

#[test]
fn fills() {
    let cases = [
        ("create_cbuf_matrix", Space::L1, 32, Elem::F16),
        ("create_cbuf_matrix_bf16", Space::L1, 32, Elem::Bf16),
        ("create_ca_matrix", Space::L0a, 512, Elem::S32),
        ("create_ca_matrix_bf16", Space::L0a, 512, Elem::Bf16),
        ("create_cb_matrix", Space::L0b, 512, Elem::F32),
        ("create_cb_matrix_bf16", Space::L0b, 512, Elem::Bf16),
    ];
    for (name, space, unit, elem) in cases {
        let mut core = TestCore::new();
        let mut model = vec![9; 24 * unit];
        core.put(space, 0, &model);
        let config = 3 | 2 << 16 | 4 << 32;
        core.run(name, elem, Elem::None, &[TestCore::at(space, unit as u64), config, 0x1122_3344]).unwrap();
        for i in 0..3 {
            for byte in 0..2 * unit {
                model[unit + i * 6 * unit + byte] = [0x44, 0x33, 0x22, 0x11][byte % elem.bytes()];
            }
        }
        assert_eq!(core.get(space, 0, model.len()), model, "{name}");
    }
}

#[test]
fn limits_are_faults() {
    let mut core = TestCore::new();
    core.put(Space::L1, 0, &[0; 8192]);
    let mut load = |elem, args: &[u64]| core.run("load_cbuf_to_ca", elem, Elem::None, args);
    let base = [l0a(0), l1(0), 0, 1, 1, 0, 0, 0, 0];
    let with = |at: usize, value: u64| {
        let mut args = base;
        args[at] = value;
        args
    };
    expect_fault(load(Elem::F16, &with(0, l0a(256))), FaultKind::Misaligned, "dst at L0A+0x100");
    expect_fault(
        load(Elem::F16, &with(0, l0b(0))),
        FaultKind::NoSuchPath,
        "dst lies in L0B; the instruction takes L0A",
    );
    expect_fault(load(Elem::F16, &with(1, l1(16))), FaultKind::Misaligned, "src at L1+0x10");
    expect_fault(load(Elem::F16, &with(3, 256)), FaultKind::Operand, "repeat = 256; wanted 0..=255");
    expect_fault(load(Elem::F32, &with(7, 1)), FaultKind::Operand, "F32 is not 16 bits wide");
    expect_fault(load(Elem::F16, &with(0, l0a(65536))), FaultKind::OutOfBounds, "dst writes L0A");
    expect_fault(load(Elem::F16, &with(2, 1024)), FaultKind::OutOfBounds, "src reads L1");
    let squares = [l0b(0), l1(0), 0, 1, 1, 0, 0, 0];
    expect_unsupported(core.run("load_cbuf_to_cb_transpose", Elem::S64, Elem::None, &squares), "S64");
}
