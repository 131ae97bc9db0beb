#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small numbers that the tests choose"
)]

use fastattention_tolerance::assert_same;

use super::super::transfer::tests::{expect_fault, expect_unsupported, gm_bytes, gm_with, random_bytes};
use crate::access::{AtomicOp, Elem, FaultKind, Space};
use crate::isa::harness::TestCore;

const UB_BYTES: usize = 64 << 10;

fn ub(at: u64) -> u64 {
    TestCore::at(Space::Ub, at)
}

/// A core whose UB holds random bytes, and those bytes.
fn core_with_ub(rng: &mut fastrand::Rng) -> (TestCore, Vec<u8>) {
    let mut core = TestCore::new();
    let data = random_bytes(rng, UB_BYTES);
    core.put(Space::Ub, 0, &data);
    (core, data)
}

#[test]
fn plain_copies_follow_the_burst_formula() {
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..60 {
        let (mut core, mut ub_model) = core_with_ub(&mut rng);
        let mut gm_model = random_bytes(&mut rng, 48 << 10);
        let gm = gm_with(&core, &gm_model);
        let (count, len) = (rng.u64(0..9), rng.u64(0..7));
        // Dense bursts every third round: the merged path.
        let (src_gap, dst_gap) = if round % 3 == 0 { (0, 0) } else { (rng.u64(0..5), rng.u64(0..5)) };
        let (gm_at, ub_at) = (rng.u64(0..100), rng.u64(0..64) * 32);
        let name = ["copy_gm_to_ubuf", "copy_ubuf_to_gm", "copy_ubuf_to_ubuf"][round % 3];
        // UB to UB reads its source 32 KiB further on.
        let (dst, src) = match name {
            "copy_gm_to_ubuf" => (ub(ub_at), gm + gm_at),
            "copy_ubuf_to_gm" => (gm + gm_at, ub(ub_at)),
            _ => (ub(ub_at), ub(ub_at + 32768)),
        };
        core.run(name, Elem::None, Elem::None, &[dst, src, 0, count, len, src_gap, dst_gap]).unwrap();
        for i in 0..count {
            for byte in 0..len * 32 {
                let from = (i * (len + src_gap) * 32 + byte) as usize;
                let to = (i * (len + dst_gap) * 32 + byte) as usize;
                let (gm_at, ub_at) = (gm_at as usize, ub_at as usize);
                match name {
                    "copy_gm_to_ubuf" => ub_model[ub_at + to] = gm_model[gm_at + from],
                    "copy_ubuf_to_gm" => gm_model[gm_at + to] = ub_model[ub_at + from],
                    _ => ub_model[ub_at + to] = ub_model[ub_at + 32768 + from],
                }
            }
        }
        assert_same(core.get(Space::Ub, 0, UB_BYTES), &ub_model, &format!("{name}, round {round}, UB"));
        assert_same(&gm_bytes(&core, gm, gm_model.len()), &gm_model, &format!("{name}, round {round}, GM"));
    }
}

#[test]
fn align_loads_pad_each_burst_to_blocks() {
    let mut rng = fastrand::Rng::with_seed(2);
    let names = ["copy_gm_to_ubuf_align_b8", "copy_gm_to_ubuf_align_b16", "copy_gm_to_ubuf_align_b32"];
    for round in 0..90 {
        let (mut core, mut model) = core_with_ub(&mut rng);
        let data = random_bytes(&mut rng, 8192);
        let gm = gm_with(&core, &data);
        let size = 1usize << (round % 3);
        core.regs.mov_pad_val = rng.u64(..);
        let pattern = core.regs.mov_pad_val.to_le_bytes();
        let (count, len) = (rng.usize(1..6), rng.usize(1..40) * size);
        let padded = round % 2 == 0;
        let (left, right) =
            if padded { (rng.usize(0..=32 / size), rng.usize(1..=32 / size)) } else { (0, 0) };
        // A gap back over the burst re-reads its start: 2^32 - len.
        let src_gap = if round % 5 == 0 { (len as u32).wrapping_neg() } else { rng.u32(0..50) };
        let dst_gap = rng.usize(0..4);
        let args = [
            ub(64),
            gm + 3,
            0,
            count as u64,
            len as u64,
            left as u64,
            right as u64,
            u64::from(src_gap),
            dst_gap as u64,
        ];
        core.run(names[round % 3], Elem::None, Elem::None, &args).unwrap();
        let footprint = ((left + right) * size + len).div_ceil(32) * 32;
        for i in 0..count {
            let from = 3 + (i as i64 * (len as i64 + i64::from(src_gap as i32))) as usize;
            let to = 64 + i * (footprint + dst_gap * 32);
            for byte in 0..footprint {
                model[to + byte] = match byte.checked_sub(left * size) {
                    Some(at) if at < len => data[from + at],
                    Some(at) if padded => pattern[(at - len) % size],
                    Some(at) => data[from + (at - len) % size],
                    None => pattern[byte % size],
                };
            }
        }
        assert_same(core.get(Space::Ub, 0, UB_BYTES), &model, &format!("round {round}"));
    }
}

#[test]
fn align_stores_write_exactly_their_bytes() {
    let mut rng = fastrand::Rng::with_seed(3);
    let names = ["copy_ubuf_to_gm_align_b8", "copy_ubuf_to_gm_align_b16", "copy_ubuf_to_gm_align_b32"];
    for round in 0..60 {
        let (mut core, data) = core_with_ub(&mut rng);
        let mut model = random_bytes(&mut rng, 4096);
        let gm = gm_with(&core, &model);
        let (count, len) = (rng.usize(0..6), rng.usize(0..150));
        let (src_gap, dst_gap) = (rng.usize(0..4), rng.usize(0..60));
        let args = [gm + 5, ub(96), 0, count as u64, len as u64, 0, 0, src_gap as u64, dst_gap as u64];
        core.run(names[round % 3], Elem::None, Elem::None, &args).unwrap();
        for i in 0..count {
            for byte in 0..len {
                model[5 + i * (len + dst_gap) + byte] =
                    data[96 + i * (len.div_ceil(32) * 32 + src_gap * 32) + byte];
            }
        }
        assert_eq!(gm_bytes(&core, gm, model.len()), model, "round {round}");
    }
}

/// One 32-byte block stored over another under an atomic mode.
fn atomic_store(core: &mut TestCore, old: &[u8], new: &[u8]) -> Vec<u8> {
    let gm = gm_with(core, old);
    core.put(Space::Ub, 0, new);
    let blocks = old.len() as u64 / 32;
    core.run("copy_ubuf_to_gm", Elem::None, Elem::None, &[gm, ub(0), 0, 1, blocks, 0, 0]).unwrap();
    gm_bytes(core, gm, old.len())
}

#[test]
fn atomic_stores_combine_with_gm() {
    let mut core = TestCore::new();
    let f32s = |values: [f32; 8]| values.map(f32::to_le_bytes).concat();
    let old = f32s([1.0, -2.0, 0.5, 1e30, f32::INFINITY, 3.0, 0.0, 1.0]);
    let new = f32s([2.0, 5.0, 0.25, 1e38, 1.0, f32::NAN, -0.0, -1.0]);
    core.regs.atomic = Some((AtomicOp::Add, Elem::F32));
    let sums = f32s([3.0, 3.0, 0.75, 1e30 + 1e38, f32::INFINITY, f32::NAN, 0.0, 0.0]);
    assert_eq!(atomic_store(&mut core, &old, &new), sums);
    core.regs.atomic = Some((AtomicOp::Max, Elem::F32));
    let maxima = atomic_store(&mut core, &old, &new);
    assert_eq!(maxima[..16], f32s([2.0, 5.0, 0.5, 1e38, 0.0, 0.0, 0.0, 0.0])[..16]);
    core.regs.atomic = Some((AtomicOp::Min, Elem::S8));
    assert_eq!(atomic_store(&mut core, &[5; 32], &[0xff; 32]), [0xff; 32]);
    core.regs.atomic = Some((AtomicOp::Max, Elem::S8));
    assert_eq!(atomic_store(&mut core, &[5; 32], &[0xff; 32]), [5; 32]);
}

#[test]
fn atomic_overflow_follows_the_saturation_bit() {
    let mut core = TestCore::new();
    let halves = |x: f32| half::f16::from_f32(x).to_le_bytes().repeat(16);
    let brains = |x: f32| half::bf16::from_f32(x).to_le_bytes().repeat(16);
    // Element; old, new, result with INF/NAN, result when saturating.
    let cases: [(Elem, [Vec<u8>; 4]); 5] = [
        (Elem::F16, [halves(60000.0), halves(60000.0), halves(f32::INFINITY), halves(65504.0)]),
        (
            Elem::Bf16,
            [
                brains(-3e38),
                brains(-3e38),
                brains(f32::NEG_INFINITY),
                half::bf16::MIN.to_le_bytes().repeat(16),
            ],
        ),
        (Elem::S8, [vec![100; 32], vec![100; 32], vec![200; 32], vec![127; 32]]),
        (
            Elem::S16,
            [
                (-30000i16).to_le_bytes().repeat(16),
                (-30000i16).to_le_bytes().repeat(16),
                5536i16.to_le_bytes().repeat(16),
                i16::MIN.to_le_bytes().repeat(16),
            ],
        ),
        (
            Elem::S32,
            [
                i32::MAX.to_le_bytes().repeat(8),
                1i32.to_le_bytes().repeat(8),
                i32::MIN.to_le_bytes().repeat(8),
                i32::MAX.to_le_bytes().repeat(8),
            ],
        ),
    ];
    for (elem, [old, new, wrapped, saturated]) in cases {
        core.regs.atomic = Some((AtomicOp::Add, elem));
        core.regs.ctrl = 1 << 48;
        assert_eq!(atomic_store(&mut core, &old, &new), wrapped, "{elem:?}");
        core.regs.ctrl = 0;
        assert_eq!(atomic_store(&mut core, &old, &new), saturated, "{elem:?}");
    }
}

#[test]
fn atomic_stores_need_whole_known_elements() {
    let mut core = TestCore::new();
    core.put(Space::Ub, 0, &[0; 64]);
    core.regs.atomic = Some((AtomicOp::Add, Elem::F32));
    let fresh = core.memory.alloc(64).unwrap();
    let known = gm_with(&core, &[0; 64]);
    let plain = |dst| [dst, ub(0), 0, 1, 1, 0, 0];
    let mut store = |args: &[u64]| core.run("copy_ubuf_to_gm", Elem::None, Elem::None, args);
    expect_fault(store(&plain(fresh)), FaultKind::Uninitialised, "dst uses byte 0x0 of GM");
    expect_fault(store(&plain(known + 2)), FaultKind::Misaligned, "not a multiple of 4 bytes");
    let name = "copy_ubuf_to_gm_align_b8";
    let odd = [known, ub(0), 0, 1, 6, 0, 0, 0, 0];
    expect_fault(core.run(name, Elem::None, Elem::None, &odd), FaultKind::Operand, "6 bytes");
}

#[test]
fn unwritten_bytes_travel_but_are_not_stored() {
    let mut core = TestCore::new();
    let gm = core.memory.alloc(64).unwrap();
    core.memory.find(gm).unwrap().write(gm, &[7; 40]);
    core.run("copy_gm_to_ubuf", Elem::None, Elem::None, &[ub(0), gm, 0, 1, 2, 0, 0]).unwrap();
    let map = &core.local[Space::Ub.local_index()].init;
    assert_eq!((map.first_unset(0, 40), map.first_unset(0, 64)), (None, Some(40)));
    core.run("copy_ubuf_to_ubuf", Elem::None, Elem::None, &[ub(128), ub(0), 0, 1, 2, 0, 0]).unwrap();
    assert_eq!(core.local[Space::Ub.local_index()].init.first_unset(128, 64), Some(168));
    let store = [gm, ub(128), 0, 1, 2, 0, 0];
    expect_fault(
        core.run("copy_ubuf_to_gm", Elem::None, Elem::None, &store),
        FaultKind::Uninitialised,
        "src uses byte 0xa8 of UB",
    );
}

#[test]
fn limits_are_faults() {
    let mut core = TestCore::new();
    let gm = gm_with(&core, &[1; 256]);
    let mut load = |args: &[u64]| core.run("copy_gm_to_ubuf", Elem::None, Elem::None, args);
    expect_fault(
        load(&[ub(16), gm, 0, 1, 1, 0, 0]),
        FaultKind::Misaligned,
        "dst at UB+0x10 is not a multiple of 32",
    );
    expect_fault(load(&[ub(0), gm, 0, 4096, 1, 0, 0]), FaultKind::Operand, "nBurst = 4096; wanted 0..=4095");
    expect_fault(
        load(&[ub(0), gm + 240, 0, 1, 1, 0, 0]),
        FaultKind::OutOfBounds,
        "src reads 32 bytes at byte 240",
    );
    expect_fault(load(&[ub(196_608 - 32), gm, 0, 1, 2, 0, 0]), FaultKind::OutOfBounds, "dst writes UB[");
    expect_fault(
        load(&[ub(196_608 - 256), gm, 0, 1, 1, 0, 0]),
        FaultKind::Reserved,
        "belong to the framework",
    );
    expect_fault(
        load(&[TestCore::at(Space::L1, 0), gm, 0, 1, 1, 0, 0]),
        FaultKind::NoSuchPath,
        "dst lies in L1",
    );
    expect_unsupported(load(&[ub(0), gm, 0]), "3 operands");
    load(&[ub(0), gm, 0, 0, 9, 0, 0]).unwrap();
    let name = "copy_gm_to_ubuf_align_b32";
    let padded = [ub(0), gm, 0, 1, 4, 9, 0, 0, 0];
    expect_fault(
        core.run(name, Elem::None, Elem::None, &padded),
        FaultKind::Operand,
        "leftPaddingNum = 9; wanted 0..=8",
    );
}

/// Two rows that lie a gap of 2^31 bytes apart, as attention stored them once: the gap's top bit leads down.
#[test]
fn a_row_does_not_reach_another_allocation() {
    let (len, gap) = (128, 1u64 << 31);
    let mut core = TestCore::new();
    core.memory = crate::access::DeviceMemory::new(1 << 40);
    let [other, own] = core.memory.alloc_adjacent(gap + 256);
    core.put(Space::Ub, 0, &[7; 256]);
    let store = |core: &mut TestCore, gap| {
        let args = [own, ub(0), 0, 2, len, 0, 0, 0, gap];
        core.run("copy_ubuf_to_gm_align_b16", Elem::None, Elem::None, &args)
    };
    store(&mut core, gap - 2).unwrap();
    let text = "dst writes 128 bytes at byte 384 of the allocation of 2147483904 bytes that no argument points into, but starts at \
                byte 0 of the allocation of 2147483904 bytes of argument 0";
    expect_fault(store(&mut core, gap), FaultKind::OutOfBounds, text);
    assert!(!core.memory.find(other).unwrap().is_set(other + 384), "nothing is written before the fault");
    let load = [ub(0), own, 0, 2, len, 0, 0, gap, 0];
    let result = core.run("copy_gm_to_ubuf_align_b16", Elem::None, Elem::None, &load);
    expect_fault(
        result,
        FaultKind::OutOfBounds,
        "src reads 128 bytes at byte 384 of the allocation of 2147483904 bytes that",
    );
}
