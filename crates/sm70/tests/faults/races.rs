//! Races in shared memory between barriers, and in global memory between blocks and within one.

use fastattention_sm70::FaultKind::{Deadlock, GlobalRace, SharedRace};

use super::kernel::{assert_fault, fault, right};

/// Each thread writes its word and reads that of its neighbour.
const EXCHANGE: &str = "\
mov.u64 %rd6, tile; xor.b32 %r4, %r2, NEIGHBOUR; mul.wide.u32 %rd7, %r4, 4; \
add.s64 %rd8, %rd6, %rd3; add.s64 %rd9, %rd6, %rd7;
st.shared.u32 [%rd8], %r2;
bar.sync 0;
ld.shared.u32 %r5, [%rd9];
st.global.u32 [%rd5], %r5;";

fn exchange(neighbour: u32) -> String {
    EXCHANGE.replace("NEIGHBOUR", &neighbour.to_string())
}

#[test]
fn a_barrier_orders() {
    let (out, _) = right(&exchange(32), 1, 256);
    assert_eq!(out.unwrap(), (0..256).map(|thread| thread ^ 32).collect::<Vec<u32>>());
    right(&exchange(1), 1, 64);
}

#[test]
fn read_after_write_without_barrier() {
    let found = fault(&exchange(32).replace("bar.sync 0;", ""), 1, 64);
    // Warps run in turn: the second one's write comes after the first one's read, which found nothing yet.
    assert_fault(&found, fastattention_sm70::FaultKind::Uninitialised, 3, None, "shared");
    let filled = format!("{}\n", &exchange(32))
        .replace("st.shared", "st.shared.u32 [%rd9], %r2;\nbar.sync 0;\nst.shared");
    right(&filled, 1, 64);
    let missing = filled.replacen("bar.sync 0;\nld", "ld", 1);
    let found = fault(&missing, 1, 64);
    assert_fault(&found, SharedRace, 3, Some(4), "write (1) and read (2)");
    let other = found.other.unwrap();
    assert_eq!((found.at.warp, found.at.lane, other.warp, other.lane), (1, 0, 0, 0));
}

#[test]
fn lanes_of_one_warp_are_not_ordered_either() {
    let found = fault(&exchange(1).replace("bar.sync 0;", ""), 1, 32);
    assert_fault(&found, SharedRace, 3, Some(1), "read (1) and write (2)");
    assert_eq!((found.at.lane, found.other.unwrap().lane), (0, 1));
}

#[test]
fn two_writes() {
    let found = fault("mov.u64 %rd6, tile;\nst.shared.u32 [%rd6+4], %r2;", 1, 2);
    assert_fault(&found, SharedRace, 1, Some(1), "0x4,");
}

/// The second of two readers is found too: it is another thread's word that is written after.
#[test]
fn write_after_the_reads_of_two_threads() {
    let body = "\
mov.u64 %rd6, tile; setp.eq.s32 %p1, %r2, 0;
@%p1 st.shared.u32 [%rd6], %r2;
bar.sync 0;
ld.shared.u32 %r5, [%rd6];
@%p1 st.shared.u32 [%rd6], %r5;";
    let found = fault(body, 1, 64);
    assert_fault(&found, SharedRace, 4, Some(3), "write (1) and read (2)");
    assert_eq!((found.at.warp, found.at.lane), (0, 0));
    right(&body.replace("%r5, [%rd6];", "%r5, [%rd6];\nbar.sync 0;"), 1, 64);
}

#[test]
fn blocks_that_write_one_word() {
    let found = fault("st.global.u32 [%rd5], %r3;", 2, 32);
    assert_fault(&found, GlobalRace, 0, Some(0), "byte 0 of out");
    assert_eq!((found.at.block, found.other.unwrap().block), ([1, 0, 0], [0, 0, 0]));
}

/// Block 1 reads what block 0 writes; also where the order of the blocks would hide it.
#[test]
fn a_block_that_reads_what_another_writes() {
    let body = "setp.eq.s32 %p1, %r3, BLOCK;\n@%p1 st.global.u32 [%rd1+64], %r2;\n\
                @!%p1 ld.global.u32 %r4, [%rd1+64];";
    for writer in [0, 1] {
        let found = fault(&body.replace("BLOCK", &writer.to_string()), 2, 1);
        assert_fault(&found, GlobalRace, 2, Some(1), "byte 64 of in");
        assert_eq!((found.at.block[0], found.other.unwrap().block[0]), (1 - writer, writer));
    }
    right(&body.replace("%r4, [%rd1+64]", "%r4, [%rd1+68]").replace("BLOCK", "0"), 2, 1);
}

#[test]
fn threads_of_a_block_in_global_memory() {
    let exchange = "\
xor.b32 %r4, %r2, 32; mul.wide.u32 %rd7, %r4, 4; add.s64 %rd9, %rd1, %rd7;
st.global.u32 [%rd4], %r2;
bar.sync 0;
ld.global.u32 %r5, [%rd9];
st.global.u32 [%rd5], %r5;";
    let (out, _) = right(exchange, 1, 256);
    assert_eq!(out.unwrap()[..2], [32, 33]);
    let found = fault(&exchange.replace("bar.sync 0;", ""), 1, 256);
    assert_fault(&found, GlobalRace, 3, Some(1), "read (1) and write (2)");
}

/// The read comes first and finds the old value: only a second run, which follows the words that were
/// written, shows it.
#[test]
fn a_write_after_the_read_of_another_thread() {
    let body = "setp.lt.u32 %p1, %r2, 32;\n@%p1 ld.global.u32 %r4, [%rd4];\nSYNC\n\
                @!%p1 st.global.u32 [%rd4+-128], %r2;";
    let found = fault(&body.replace("SYNC", ""), 1, 64);
    assert_fault(&found, GlobalRace, 3, Some(1), "write (1) and read (2)");
    assert_eq!((found.at.warp, found.at.lane, found.other.unwrap().warp), (1, 0, 0));
    right(&body.replace("SYNC", "bar.sync 0;"), 1, 64);
}

#[test]
fn warps_at_different_barriers() {
    let body = "setp.lt.u32 %p1, %r2, 32;\n@%p1 bra L;\nbar.sync 1;\nbra M;\nL:\nbar.sync 0;\nM:";
    let found = fault(body, 1, 64);
    assert_fault(&found, Deadlock, 2, Some(5), "barrier 1 (1) and at barrier 0 (2)");
    assert_eq!((found.at.warp, found.other.unwrap().warp), (1, 0));
    right(&body.replace("bar.sync 1", "bar.sync 0"), 1, 64);
}
