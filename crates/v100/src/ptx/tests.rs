//! Small texts by hand.

use std::fmt::Write as _;

use crate::sass::Unit;
use crate::{simulate, Kernel, Launch, Memory, Parameters};

/// A kernel of one warp with this body, which reads and writes 4 KiB at %rd1.
fn kernel(body: &str) -> Kernel {
    let text = format!(
        ".version 6.4\n.target sm_70\n.address_size 64\n.extern .shared .align 16 .b8 room[];\n\
         .visible .entry one(.param .u64 at)\n.maxntid 32, 1, 1\n.minnctapersm 2\n{{\n.reg .pred %p<9>; .reg .b32 \
         %r<99>; .reg .f32 %f<99>; .reg .b64 %rd<9>;\nld.param.u64 %rd1, [at];\nmov.u32 %r1, %tid.x;\n{body}\nret;\n}}"
    );
    Kernel::from_ptx(&text, "one").unwrap()
}

fn units(kernel: &Kernel) -> Vec<Unit> {
    kernel.code.iter().map(|instruction| instruction.unit).collect()
}

/// Cycles of a block on its own, and the instructions that it issued.
fn cycles(kernel: &Kernel) -> (u64, u64) {
    let mut memory = Memory::new();
    let at = memory.upload(&[0; 4096]);
    let launch =
        Launch { grid: [1; 3], threads: [32, 1], shared_bytes: 4096, params: at.to_le_bytes().to_vec() };
    let trace = kernel.run_block(&mut memory, &launch, [0; 3]).unwrap();
    let report = simulate(&[(kernel, &trace)], &Parameters::default()).unwrap();
    (report.cycles, report.issued)
}

#[test]
fn sums_that_wait_for_each_other_take_four_cycles_each() {
    let chain = "add.s32 %r2, %r1, %r1;\n".to_owned() + &"add.s32 %r2, %r2, %r1;\n".repeat(100);
    let kernel = kernel(&chain);
    assert_eq!(units(&kernel).iter().filter(|unit| **unit == Unit::Alu).count(), 101);
    let (cycles, issued) = cycles(&kernel);
    // One for the place of the thread and 22 until it is there, 100 times 4, the end.
    assert!((400..440).contains(&cycles), "{cycles}");
    assert_eq!(issued, 103);
}

#[test]
fn tensor_instructions_follow_each_other_and_whoever_reads_a_sum_waits() {
    let mut body = String::from("mov.b32 %r2, 0;\nmov.b32 %r3, 0;\n");
    let sums = |first: u32| (first..first + 8).map(|n| format!("%f{n}")).collect::<Vec<_>>().join(",");
    (0..16).for_each(|n| writeln!(body, "mov.f32 %f{n}, 0f00000000;").unwrap());
    for n in 0..40 {
        let d = sums(8 * (n % 2));
        writeln!(
            body,
            "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {{{d}}}, {{%r2,%r3}}, {{%r2,%r3}}, {{{d}}};"
        )
        .unwrap();
    }
    let alone = kernel(&body);
    assert_eq!(units(&alone).iter().filter(|unit| **unit == Unit::Tensor).count(), 160);
    let (least, _) = cycles(&alone);
    // 160 steps of 2 cycles; 16 numbers are cleared two at a time.
    assert!((320..360).contains(&least), "{least}");
    let (read, _) = cycles(&kernel(&(body + "add.f32 %f20, %f8, %f0;\n")));
    assert!((20..40).contains(&(read - least)), "{read} {least}");
}

#[test]
fn addresses_of_shared_memory_cost_nothing_and_loads_have_scoreboards() {
    let kernel = kernel(
        "shl.b32 %r2, %r1, 2;\nadd.s32 %r3, %r2, 1024;\ncvt.u64.u32 %rd2, %r3;\nmov.u64 %rd3, room;\nadd.s64 %rd4, \
         %rd3, %rd2;\nst.shared.u32 [%rd4], %r1;\nbar.sync 0;\nld.shared.u32 %r4, [%rd4];\nadd.s32 %r5, %r4, %r1;\n\
         st.shared.u32 [%rd4], %r5;",
    );
    use Unit::{Alu, Barrier, Branch, SharedLoad, SharedStore, Slow};
    assert_eq!(
        units(&kernel),
        [Slow, Alu, SharedStore, Barrier, SharedLoad, Alu, SharedStore, Branch, Branch]
            [..units(&kernel).len()]
    );
    let (load, sum) = (kernel.code[4].control, kernel.code[5].control);
    assert!(load.write < 6 && sum.wait == 1 << load.write, "{load:?} {sum:?}");
    // The shift waits for the place of the thread.
    assert_eq!(kernel.code[1].control.wait, 1 << kernel.code[0].control.write);
}

#[test]
fn a_short_branch_becomes_a_guard_and_a_loop_stays_one() {
    let kernel = kernel(
        "mov.u32 %r2, 0;\nLOOP:\nadd.s32 %r2, %r2, 1;\nsetp.lt.u32 %p1, %r1, 16;\n@%p1 bra SKIP;\nadd.s32 %r2, \
         %r2, 0;\nSKIP:\nsetp.lt.u32 %p2, %r2, 10;\n@%p2 bra LOOP;",
    );
    let branches = units(&kernel).iter().filter(|unit| **unit == Unit::Branch).count();
    // The one of the loop, and the end.
    assert!((2..=3).contains(&branches), "{:?}", units(&kernel));
    let (_, issued) = cycles(&kernel);
    // The guarded sum, two others, two comparisons less what is folded, and the branch, ten times.
    assert!((40..=60).contains(&issued), "{issued}");
}

#[test]
fn texts_that_nobody_knows_are_errors() {
    let error = Kernel::from_ptx("no PTX", "one").unwrap_err();
    assert!(matches!(error, crate::Error::Ptx(_)), "{error}");
    let text = ".version 6.4\n.target sm_70\n.address_size 64\n.visible .entry one() { ret; }";
    let error = Kernel::from_ptx(text, "other").unwrap_err();
    assert!(error.to_string().contains("other"), "{error}");
}
