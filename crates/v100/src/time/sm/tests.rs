//! Cycles by hand, from the rules at the head of the module.

use super::*;
use crate::testing::{kernel, Code, PLAIN};
use crate::{Launch, Memory};

const EXIT: (&str, Code) = ("EXIT", PLAIN);

/// Of `blocks` blocks of `warps` warps each.
fn report(lines: &[(&str, Code)], warps: u32, blocks: usize, parameters: &Parameters) -> Report {
    let kernel = kernel(lines, 0);
    let launch = Launch { grid: [1; 3], threads: [32 * warps, 1], shared_bytes: 4096, params: Vec::new() };
    let trace = kernel.run_block(&mut Memory::new(), &launch, [0; 3]).unwrap();
    simulate(&vec![(&kernel, &trace); blocks], parameters).unwrap()
}

fn cycles(lines: &[(&str, Code)], warps: u32, blocks: usize) -> u64 {
    report(lines, warps, blocks, &Parameters::default()).cycles
}

#[test]
fn stalls_and_pipes_hold_instructions_back() {
    let add = ("IADD3 R1, R1, R1, RZ", PLAIN);
    // Issued in cycles 0, 2, 4 (the pipe takes 16 lanes a cycle), the end in 5: six cycles.
    assert_eq!(cycles(&[add, add, add, EXIT], 1, 1), 6);
    // A stall count of 5: 0, 5, and the end in 10.
    let slow = ("IADD3 R1, R1, R1, RZ", (5, 7, 0));
    assert_eq!(cycles(&[slow, slow, EXIT], 1, 1), 11);
    // Four warps are on four sub-cores, eight share them.
    assert_eq!(cycles(&[add, add, add, EXIT], 4, 1), 6);
    assert_eq!(cycles(&[add, add, add, EXIT], 8, 1), 12);
    // Different pipes of one sub-core do not hold each other back.
    assert_eq!(cycles(&[add, ("FADD R2, R2, R2", PLAIN), EXIT], 1, 1), 3);
}

#[test]
fn tensor_cores_take_two_cycles_a_step() {
    let step = |n: u32| format!("HMMA.884.F32.F32.STEP{n} R4, R8.ROW, R10.COL, R4");
    let steps: Vec<String> = (0..4).map(step).collect();
    let mut lines: Vec<(&str, Code)> = steps.iter().map(|text| (text.as_str(), PLAIN)).collect();
    lines.push(EXIT);
    let one = report(&lines, 4, 1, &Parameters::default());
    // 0, 2, 4, 6, the end in 7. Of the 8 cycles all are taken.
    assert_eq!((one.cycles, one.busy.tensor, one.issued), (8, 32, 20));
    assert!((one.tensor_share() - 1.0).abs() < 1e-12);
}

#[test]
fn scoreboards_wait_for_shared_memory() {
    let wait = ("IADD3 R2, R1, RZ, RZ", (1, 7, 1));
    let load = |text| [(text, (1, 0, 0)), wait, EXIT];
    // Issued in 0, served in 4, there 24 - 4 cycles after its one wavefront: the sum in 25, the end in 26.
    assert_eq!(cycles(&load("LDS.U R1, [0x10]"), 1, 1), 27);
    // All lanes in one bank: 31 wavefronts more.
    let lanes = ("S2R R0, SR_LANEID", (1, 1, 0));
    let all =
        [lanes, ("IMAD.SHL.U32 R0, R0, 0x80, RZ", (4, 7, 2)), ("LDS.U R1, [R0]", (1, 0, 0)), wait, EXIT];
    let one = [lanes, ("IMAD.SHL.U32 R0, R0, 0x4, RZ", (4, 7, 2)), ("LDS.U R1, [R0]", (1, 0, 0)), wait, EXIT];
    assert_eq!(cycles(&all, 1, 1), cycles(&one, 1, 1) + 31);
}

#[test]
fn a_barrier_opens_after_the_last() {
    // Both arrive in cycle 0, go on in 6: the end in 6.
    assert_eq!(cycles(&[("BAR.SYNC 0x0", PLAIN), EXIT], 2, 1), 7);
    // Two blocks do not wait for each other, and nobody waits for one that has ended.
    assert_eq!(cycles(&[("BAR.SYNC 0x0", PLAIN), EXIT], 2, 2), 7);
}

#[test]
fn instruction_caches_and_dram_slow_down_if_asked() {
    let mut lines = vec![("IADD3 R1, R1, R1, RZ", PLAIN); 4000];
    lines.push(EXIT);
    let all = Parameters::default();
    let fetched = Parameters { fetch_bytes: 4, ..all };
    // 64000 bytes at 4 a cycle, against 8000 cycles without.
    let (fast, slow) = (report(&lines, 1, 1, &all).cycles, report(&lines, 1, 1, &fetched).cycles);
    assert_eq!(fast, 8000);
    assert!((16_000..16_200).contains(&slow), "{slow}");
    // A loop that fits is fetched once: all but its first round are as without.
    let wide = Parameters { fetch_bytes: 64, ..all };
    let prefetched = report(&lines, 1, 1, &wide).cycles;
    assert!((8000..8100).contains(&prefetched), "{prefetched}");
}
