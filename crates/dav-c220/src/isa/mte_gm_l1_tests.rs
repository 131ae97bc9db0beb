#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small numbers that the tests choose"
)]

use fastattention_tolerance::assert_same;

use super::super::transfer::tests::{expect_fault, gm_bytes, gm_with, random_bytes};
use crate::access::{Elem, FaultKind, Space};
use crate::isa::harness::TestCore;

fn l1(at: u64) -> u64 {
    TestCore::at(Space::L1, at)
}

#[test]
fn copies_between_gm_and_l1() {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut core = TestCore::new();
    let data = random_bytes(&mut rng, 4096);
    let gm = gm_with(&core, &data);
    let before = random_bytes(&mut rng, 4096);
    core.put(Space::L1, 0, &before);
    core.run("copy_gm_to_cbuf", Elem::None, Elem::None, &[l1(64), gm + 1, 0, 3, 2, 5, 1, 0]).unwrap();
    let mut model = before;
    for i in 0..3 {
        for byte in 0..64 {
            model[64 + i * 96 + byte] = data[1 + i * 224 + byte];
        }
    }
    assert_eq!(core.get(Space::L1, 0, 4096), model);
    core.run("copy_cbuf_to_gm", Elem::None, Elem::None, &[gm, l1(32), 0, 4, 1, 2, 3]).unwrap();
    let mut stored = data;
    for i in 0..4 {
        stored[i * 128..i * 128 + 32].copy_from_slice(&model[32 + i * 96..][..32]);
    }
    assert_eq!(gm_bytes(&core, gm, 4096), stored);
    let pad = [l1(0), gm, 0, 1, 1, 0, 0, 1];
    expect_fault(
        core.run("copy_gm_to_cbuf", Elem::None, Elem::None, &pad),
        FaultKind::Operand,
        "padMode = 1; wanted 0..=0",
    );
    let fresh = [gm, l1(8192), 0, 1, 1, 0, 0];
    expect_fault(
        core.run("copy_cbuf_to_gm", Elem::None, Elem::None, &fresh),
        FaultKind::Uninitialised,
        "src uses byte 0x2000 of L1",
    );
}

#[test]
fn nd2nz_follows_the_index_formula() {
    let mut rng = fastrand::Rng::with_seed(12);
    let names = [
        (1, "copy_gm_to_cbuf_multi_nd2nz_b8"),
        (2, "copy_gm_to_cbuf_multi_nd2nz_b16"),
        (4, "copy_gm_to_cbuf_multi_nd2nz_b32s"),
    ];
    for round in 0..60 {
        let (size, name) = names[round % 3];
        let c0 = 32 / size;
        let mut core = TestCore::new();
        let mut model = random_bytes(&mut rng, 128 << 10);
        core.put(Space::L1, 0, &model);
        let (matrices, rows, cols) = (rng.usize(1..4), rng.usize(1..40), rng.usize(1..70));
        let pitch = cols + if round % 2 == 0 { 0 } else { rng.usize(0..9) };
        let src_matrix = rng.usize(0..rows * pitch + 5);
        let n_stride = if round % 4 == 3 { 2 } else { 1 };
        let c0_stride = rows.div_ceil(16) * 16 * n_stride + rng.usize(0..3);
        // In elements, and the next matrix must start on a block.
        let dst_matrix = cols.div_ceil(c0) * c0_stride * c0;
        let data = random_bytes(&mut rng, (3 * src_matrix + rows * pitch) * size + 8);
        let gm = gm_with(&core, &data);
        let list = [matrices, rows, cols, src_matrix, pitch, c0_stride, n_stride, dst_matrix];
        let mut args = vec![l1(96), gm + 1, 0];
        args.extend(list.map(|x| x as u64));
        core.run(name, Elem::None, Elem::None, &args).unwrap();
        for i in 0..matrices {
            for n in 0..rows {
                for d in 0..cols.div_ceil(c0) * c0 {
                    let to = 96
                        + i * dst_matrix * size
                        + d / c0 * c0_stride * 32
                        + n * n_stride * 32
                        + d % c0 * size;
                    for byte in 0..size {
                        let from = 1 + (i * src_matrix + n * pitch + d) * size + byte;
                        model[to + byte] = if d < cols { data[from] } else { 0 };
                    }
                }
            }
        }
        assert_same(core.get(Space::L1, 0, model.len()), &model, &format!("{name}, round {round}, {list:?}"));
    }
}

#[test]
fn nd2nz_leaves_what_it_does_not_write_unwritten() {
    let mut core = TestCore::new();
    let gm = core.memory.alloc(5 * 20 * 2).unwrap();
    // All but the last element of row 2.
    core.memory.find(gm).unwrap().write(gm, &[3; 59 * 2]);
    core.memory.find(gm).unwrap().write(gm + 120, &[3; 80]);
    let args = [l1(0), gm, 0, 1, 5, 20, 0, 20, 16, 1, 0];
    core.run("copy_gm_to_cbuf_multi_nd2nz_b16", Elem::F16, Elem::None, &args).unwrap();
    let map = &core.local[Space::L1.local_index()].init;
    assert_eq!(map.first_unset(0, 5 * 32), None);
    assert_eq!(map.first_unset(0, 6 * 32), Some(5 * 32));
    // Element (2, 19) lies in strip 1; the zeros after it are specified.
    assert_eq!(map.first_unset(512, 160), Some(512 + 2 * 32 + 3 * 2));
    assert_eq!(map.first_unset(512 + 2 * 32 + 8, 64), None);
}

#[test]
fn nd2nz_limits() {
    let mut core = TestCore::new();
    let gm = gm_with(&core, &[0; 1024]);
    let name = "copy_gm_to_cbuf_multi_nd2nz_b16";
    let base = [l1(0), gm, 0, 1, 4, 16, 0, 16, 16, 1, 0];
    let cases = [
        (3, 4096, "ndNum = 4096; wanted 0..=4095"),
        (4, 16385, "nValue = 16385; wanted 0..=16384"),
        (7, 65536, "srcDValue = 65536; wanted 1..=65535"),
        (7, 0, "srcDValue = 0"),
        (8, 16385, "dstNzC0Stride = 16385; wanted 1..=16384"),
        (9, 0, "dstNzNStride = 0; wanted 1..=16384"),
    ];
    for (at, value, text) in cases {
        let mut args = base;
        args[at] = value;
        expect_fault(core.run(name, Elem::F16, Elem::None, &args), FaultKind::Operand, text);
    }
    let mut odd = base;
    odd[0] = l1(8);
    expect_fault(core.run(name, Elem::F16, Elem::None, &odd), FaultKind::Misaligned, "dst at L1+0x8");
    let mut long = base;
    long[4] = 200;
    expect_fault(core.run(name, Elem::F16, Elem::None, &long), FaultKind::OutOfBounds, "src reads");
    for at in [3, 4, 5] {
        let mut nothing = base;
        nothing[at] = 0;
        core.run(name, Elem::F16, Elem::None, &nothing).unwrap();
    }
}

#[test]
fn fractals_from_gm() {
    let mut rng = fastrand::Rng::with_seed(13);
    let data = random_bytes(&mut rng, 40 * 512);
    let targets = [
        ("load_gm_to_cbuf", Space::L1, 32),
        ("load_gm_to_ca", Space::L0a, 1024),
        ("load_gm_to_cb", Space::L0b, 512),
    ];
    for (name, space, at) in targets {
        for (first, count, stride, gap, backwards) in
            [(0, 9, 1, 0, 0), (3, 7, 4, 2, 0), (30, 6, 5, 1, 1), (2, 4, 0, 0, 0)]
        {
            let mut core = TestCore::new();
            let gm = gm_with(&core, &data);
            let mut model = random_bytes(&mut rng, 32 * 512);
            core.put(space, 0, &model);
            let args = [TestCore::at(space, at), gm, first, count, stride, gap, 0, backwards];
            core.run(name, Elem::F16, Elem::None, &args).unwrap();
            for i in 0..count {
                let from =
                    if backwards == 1 { first - i * stride } else { first + i * stride } as usize * 512;
                let to = at as usize + (i * (gap + 1)) as usize * 512;
                model[to..to + 512].copy_from_slice(&data[from..from + 512]);
            }
            assert_same(core.get(space, 0, model.len()), &model, name);
        }
    }
    let mut core = TestCore::new();
    let gm = gm_with(&core, &data);
    let odd = [TestCore::at(Space::L0a, 256), gm, 0, 1, 1, 0, 0, 0];
    expect_fault(
        core.run("load_gm_to_ca", Elem::F16, Elem::None, &odd),
        FaultKind::Misaligned,
        "not a multiple of 512 bytes",
    );
}
