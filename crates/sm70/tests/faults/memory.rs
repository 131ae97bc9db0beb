//! Bounds, alignment, what nobody wrote.

use fastattention_sm70::FaultKind::{DivisionByZero, Misaligned, OutOfBounds, Uninitialised};

use super::kernel::{assert_fault, fault, right};

#[test]
fn a_copy_is_right() {
    let (out, counters) = right("ld.global.u32 %r4, [%rd4];\nst.global.u32 [%rd5], %r4;", 1, 256);
    assert_eq!(out.unwrap(), (0..256).map(|word| word * word).collect::<Vec<u32>>());
    assert_eq!(counters.sectors(fastattention_sm70::Kind::GlobalLoad), 8 * 4);
}

#[test]
fn global_access_out_of_bounds() {
    let load = fault("ld.global.u32 %r4, [%rd4+964];", 1, 32);
    assert_fault(&load, OutOfBounds, 0, None, "byte 1024 of in, which has 1024");
    assert_eq!((load.at.block, load.at.warp, load.at.lane), ([0, 0, 0], 0, 15));
    let store = fault("st.global.u32 [%rd5+-4], %r2;", 1, 64);
    assert_fault(&store, OutOfBounds, 0, None, "4 bytes before out");
    // A vector that begins within and ends outside.
    let vector = fault("ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd1+1020];", 1, 1);
    assert_fault(&vector, Misaligned, 0, None, "16 bytes");
    assert_fault(&fault("mov.u64 %rd6, 0;\nld.global.u32 %r4, [%rd6];", 1, 1), OutOfBounds, 1, None, "0x0");
}

#[test]
fn shared_access_out_of_bounds() {
    let body = "mov.u64 %rd6, tile; add.s64 %rd7, %rd6, %rd3;\nst.shared.u32 [%rd7+904], %r2;";
    let found = fault(body, 1, 32);
    assert_fault(&found, OutOfBounds, 1, None, "0x400 of shared memory; the block has 1024");
    assert_eq!(found.at.lane, 30);
    right(&body.replace("904", "896"), 1, 32);
}

#[test]
fn misaligned() {
    let body =
        "mov.u64 %rd6, tile; add.s64 %rd7, %rd6, %rd3;\nst.shared.v4.u32 [%rd7], {%r2, %r2, %r2, %r2};";
    let found = fault(body, 1, 32);
    assert_fault(&found, Misaligned, 1, None, "16 bytes at 0x4,");
    assert_eq!((found.at.lane, found.at.source.clone()), (1, Some(("kernel.cu".to_owned(), 7))));
    assert_fault(&fault("ld.global.v2.u32 {%r4, %r5}, [%rd4];", 1, 2), Misaligned, 0, None, "8 bytes");
}

#[test]
fn never_written() {
    assert_fault(&fault("ld.global.u32 %r4, [%rd5+8];", 1, 1), Uninitialised, 0, None, "byte 8 of out");
    let shared = fault("mov.u64 %rd6, tile;\nld.shared.u32 %r4, [%rd6+16];", 1, 1);
    assert_fault(&shared, Uninitialised, 1, None, "0x10 of shared memory");
    assert_fault(&fault("add.s32 %r5, %r4, 1;", 1, 1), Uninitialised, 0, None, "register");
    assert_fault(
        &fault("setp.eq.s32 %p1, %r2, 0;\n@%p2 bra L;\nL:", 1, 1),
        Uninitialised,
        1,
        None,
        "register",
    );
    // Written by some lanes only.
    let some = "setp.lt.u32 %p1, %r2, 7;\n@%p1 mov.u32 %r4, 1;\nst.global.u32 [%rd5], %r4;";
    let found = fault(some, 1, 32);
    assert_fault(&found, Uninitialised, 2, None, "register");
    assert_eq!(found.at.lane, 7);
}

/// Each block begins with shared memory that nobody wrote.
#[test]
fn shared_memory_of_another_block_does_not_show() {
    let body = "mov.u64 %rd6, tile; setp.ne.s32 %p1, %r3, 0;\n@%p1 ld.shared.u32 %r4, [%rd6];\n\
                st.shared.u32 [%rd6], %r2;";
    let found = fault(body, 2, 1);
    assert_fault(&found, Uninitialised, 1, None, "shared");
    assert_eq!(found.at.block, [1, 0, 0]);
}

#[test]
fn division_by_zero() {
    let found = fault("sub.s32 %r4, %r2, 3;\ndiv.s32 %r5, %r1, %r4;", 1, 32);
    assert_fault(&found, DivisionByZero, 1, None, "");
    assert_eq!(found.at.lane, 3);
}
