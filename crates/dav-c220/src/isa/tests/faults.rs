//! Each fault: kind and text.

use super::*;
use crate::access::{FaultKind, Stop};

#[track_caller]
fn assert_fault(result: Result<(), Stop>, kind: FaultKind, text: &str) {
    match result.unwrap_err() {
        Stop::Fault(fault) => {
            assert_eq!(fault.kind, kind, "{}", fault.detail);
            assert!(fault.detail.contains(text), "{:?} does not contain {text:?}", fault.detail);
        }
        other => panic!("{other}"),
    }
}

fn full() -> TestCore {
    filled(&mut fastrand::Rng::with_seed(9), Elem::F32)
}

#[test]
fn misaligned() {
    let mut core = full();
    let r = core.run("vadd", Elem::F32, Elem::None, &[at(0), at(512), at(1040), 1, 1, 1, 1, 8, 8, 8]);
    assert_fault(r, FaultKind::Misaligned, "src1 at UB+0x410 is not a multiple of 32 bytes");
    let r = core.run("vcgadd", Elem::F32, Elem::None, &[at(16), at(512), 1, 1, 1, 8]);
    assert_fault(r, FaultKind::Misaligned, "dst at UB+0x10 is not a multiple of 32 bytes");
    core.run("vcgadd", Elem::F16, Elem::None, &[at(16), at(512), 1, 1, 1, 8]).unwrap();
    let r = core.run("vcmax", Elem::F32, Elem::None, &[at(4), at(512), 1, 1, 1, 8, 0]);
    assert_fault(r, FaultKind::Misaligned, "dst at UB+0x4 is not a multiple of 8 bytes");
    core.run("vcadd", Elem::F32, Elem::None, &[at(4), at(512), 1, 1, 1, 8, 0]).unwrap();
}

#[test]
fn overlap_within_a_repeat() {
    let mut core = full();
    let r = core.run("vexp", Elem::F32, Elem::None, &[at(32), at(0), 1, 1, 1, 8, 8]);
    assert_fault(
        r,
        FaultKind::Overlap,
        "dst and src overlap without being equal in repeat 0: UB[0x20..0x40)",
    );
    core.run("vexp", Elem::F32, Elem::None, &[at(0), at(0), 4, 1, 1, 8, 8]).unwrap();
}

#[test]
fn overlap_with_the_next_repeat() {
    let mut core = full();
    let r = core.run("vexp", Elem::F32, Elem::None, &[at(256), at(0), 2, 1, 1, 8, 8]);
    assert_fault(r, FaultKind::Overlap, "dst of repeat 0 is src of repeat 1: UB[0x100..0x120)");
    // The accumulation idiom holds for src1 only, and not for every operation.
    let r = core.run("vadd", Elem::F32, Elem::None, &[at(0), at(0), at(1024), 2, 1, 1, 1, 0, 0, 8]);
    assert_fault(r, FaultKind::Overlap, "dst of repeat 0 is src0 of repeat 1");
    let r = core.run("vdiv", Elem::F32, Elem::None, &[at(0), at(1024), at(0), 2, 1, 1, 1, 0, 8, 0]);
    assert_fault(r, FaultKind::Overlap, "dst of repeat 0 is src1 of repeat 1");
    let r = core.run("vcadd", Elem::F32, Elem::None, &[at(256), at(0), 2, 1, 1, 8, 0]);
    assert_fault(r, FaultKind::Overlap, "dst of repeat 0, UB[0x100..0x104), is src of repeat 1");
    core.run("vcadd", Elem::F32, Elem::None, &[at(0), at(0), 4, 1, 1, 8, 0]).unwrap();
}

#[test]
fn operands_that_must_be_disjoint() {
    let mut core = full();
    let r = core.run("vbrcb", Elem::F32, Elem::None, &[at(0), at(0), 1, 8, 1]);
    assert_fault(r, FaultKind::Overlap, "vbrcb takes disjoint operands");
    let r = core.run("vtranspose", Elem::U16, Elem::None, &[at(0), at(256)]);
    assert_fault(r, FaultKind::Overlap, "the instruction takes disjoint operands");
    let r = core.run("vcmpv_lt", Elem::F32, Elem::None, &[at(0), at(0), at(1024), 1, 1, 1, 1, 8, 8, 8]);
    assert_fault(r, FaultKind::Overlap, "overlaps src0 in repeat 0");
    core.put(Space::Ub, 2048, &[0; 512]);
    let r = core.run("vgather", Elem::U32, Elem::None, &[at(0), at(2048), 128, 8, 1]);
    assert_fault(r, FaultKind::Overlap, "dst of repeat 0 overlaps the gathered UB[0x80..0x84)");
}

#[test]
fn uninitialised() {
    let mut core = TestCore::new();
    core.put(Space::Ub, 0, &[0; 252]);
    let args = [at(1024), at(0), 1, 1, 1, 8, 8];
    let r = core.run("vabs", Elem::F32, Elem::None, &args);
    assert_fault(r, FaultKind::Uninitialised, "src uses byte 0xfc of UB, which nothing has written");
    core.regs.mask = [(1 << 63) - 1, 0];
    core.run("vabs", Elem::F32, Elem::None, &args).unwrap();
    // An accumulating destination is a source.
    let r = core.run("vaxpy", Elem::F32, Elem::None, &[at(4096), at(0), 0, 1, 1, 1, 8, 8]);
    assert_fault(r, FaultKind::Uninitialised, "dst uses byte 0x1000");
}

#[test]
fn out_of_bounds_and_reserved() {
    let mut core = full();
    let r = core.run("vabs", Elem::F32, Elem::None, &[at(0), at(196_608 - 256), 1, 1, 1, 8, 8]);
    assert_fault(r, FaultKind::Reserved, "src reads UB[0x2ff00..0x30000)");
    let r = core.run("vabs", Elem::F32, Elem::None, &[at(196_608), at(0), 1, 1, 1, 8, 8]);
    assert_fault(r, FaultKind::OutOfBounds, "dst writes UB[0x30000..0x30100) of 0x30000 bytes");
    // Masked-off lanes are not accessed.
    core.regs.mask = [1, 0];
    core.run("vabs", Elem::F32, Elem::None, &[at(0), at(196_608 - 256 - 32), 1, 1, 1, 8, 8]).unwrap();
}

#[test]
fn types_and_values_that_do_not_exist() {
    let mut core = full();
    let r = core.run("vadd", Elem::Bf16, Elem::None, &[at(0), at(512), at(1024), 1, 1, 1, 1, 8, 8, 8]);
    assert_fault(r, FaultKind::NoSuchPath, "vadd has no form for Bf16; it takes F16, F32, S16, S32");
    let r = core.run("vexp", Elem::S32, Elem::None, &[at(0), at(512), 1, 1, 1, 8, 8]);
    assert_fault(r, FaultKind::NoSuchPath, "vexp has no form for S32; it takes F16, F32");
    let r = core.run("vmla", Elem::F32, Elem::F16, &[at(0), at(512), at(1024), 1, 1, 1, 1, 8, 8, 8]);
    assert_fault(r, FaultKind::NoSuchPath, "vmla has no form for F32 to F16");
    let r = core.run("vcmpv_lt", Elem::S32, Elem::None, &[at(0), at(512), at(1024), 1, 1, 1, 1, 8, 8, 8]);
    assert_fault(r, FaultKind::NoSuchPath, "vcmpv_lt has no form for S32");
    let r = core.run("vabs", Elem::F32, Elem::None, &[TestCore::at(Space::L1, 0), at(0), 1, 1, 1, 8, 8]);
    assert_fault(r, FaultKind::NoSuchPath, "dst lies in L1; the instruction takes UB");
    let r = core.run("vcmax", Elem::F32, Elem::None, &[at(0), at(512), 1, 1, 1, 8, 4]);
    assert_fault(r, FaultKind::Operand, "order = 4 is no Order_t");
    let r = core.run("vsel", Elem::F32, Elem::None, &[at(0), at(512), at(1024), 1, 1, 1, 1, 8, 8, 8, 3]);
    assert_fault(r, FaultKind::Operand, "selectMode = 3 is no SELMODE");
    let r = core.run("vreducev2", Elem::U32, Elem::None, &[at(0), at(512), at(1024), 1, 1, 8, 8, 0]);
    assert_fault(r, FaultKind::Operand, "patternMode = 8");
    let r = core.run("vabs", Elem::F32, Elem::None, &[at(0), at(512), 1, 0, 1, 8, 8]);
    assert_fault(r, FaultKind::Operand, "dst: block stride 0");
}

#[test]
fn nothing_to_do_touches_nothing() {
    let mut core = TestCore::new();
    // Uninitialised sources and a destination outside UB: no repeat, no access.
    core.run("vabs", Elem::F32, Elem::None, &[at(196_608), at(0), 0, 1, 1, 8, 8]).unwrap();
    core.regs.mask = [0, u64::MAX];
    core.run("vabs", Elem::F32, Elem::None, &[at(196_608), at(0), 9, 1, 1, 8, 8]).unwrap();
    core.regs.counter_mode = true;
    core.run("vabs", Elem::F32, Elem::None, &[at(196_608), at(0), 9, 1, 1, 8, 8]).unwrap();
}

/// Whatever a kernel leaves in the registers is at most a fault.
#[test]
fn absurd_registers_do_not_panic() {
    let mut core = full();
    core.regs.counter_mode = true;
    core.regs.mask = [u64::MAX; 2];
    let r = core.run("vabs", Elem::F32, Elem::None, &[at(0), at(512), 1, 65_535, 65_535, 65_535, 65_535]);
    assert_fault(r, FaultKind::OutOfBounds, "src reads UB");
    let r = core.run("vcmpvs_lt", Elem::F32, Elem::None, &[at(0), at(512), 0, 1, 1, 1, 8, 65_535]);
    assert!(r.is_err());
    let r = core.run(
        "vreducev2",
        Elem::U32,
        Elem::None,
        &[at(0), at(512), at(1024), 65_535, 255, 7, 65_535, 255],
    );
    assert_fault(r, FaultKind::Reserved, "src0 reads UB");
    // Source strides of 0: 2^32 elements out of one block.
    let args = [at(0), at(512), at(1024), 65_535, 0, 7, 0, 0];
    let r = core.run("vreducev2", Elem::U32, Elem::None, &args);
    assert_fault(r, FaultKind::OutOfBounds, "dst writes UB");
    let r = core.run("vcadd", Elem::F16, Elem::None, &[at(0), at(512), 1, 65_535, 65_535, 65_535, 0]);
    assert!(r.is_err());
}
