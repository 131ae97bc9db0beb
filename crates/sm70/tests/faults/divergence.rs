//! Warp instructions that not all of their lanes reach; and branches after which they do.

use fastattention_sm70::FaultKind::{Divergence, Endless};

use super::kernel::{assert_fault, fault, right};

const SHUFFLE: &str = "mov.u32 %r10, 1; mov.u32 %r11, 31; mov.u32 %r12, -1;\n";

#[test]
fn lanes_join_after_a_branch() {
    // A loop of as many turns as the lane's number, then an exchange of all.
    let body = format!(
        "{SHUFFLE}mov.u32 %r4, 0;\nL:\nadd.s32 %r4, %r4, 1;\nsetp.le.u32 %p1, %r4, %r2;\n@%p1 bra L;\n\
         shfl.sync.bfly.b32 %r5|%p2, %r4, %r10, %r11, %r12;\nst.global.u32 [%rd5], %r5;"
    );
    let (_, counters) = right(&body, 1, 32);
    let turns = counters.instructions.iter().find(|count| count.text.starts_with("add.s32 %r4")).unwrap();
    assert_eq!(turns.executed, 32);
    let (_, counters) = right(&body.replace("%r4, %r2;", "%r4, %r1;"), 1, 32);
    let turns = counters.instructions.iter().find(|count| count.text.starts_with("add.s32 %r4")).unwrap();
    assert_eq!(turns.executed, 6);
}

/// The branch goes back in the text: the lanes that wait are lower than those that come.
#[test]
fn lanes_join_at_a_lower_instruction() {
    let body = format!(
        "{SHUFFLE}setp.lt.u32 %p1, %r2, 9;\nbra START;\nJOIN:\n\
         shfl.sync.bfly.b32 %r5|%p2, %r2, %r10, %r11, %r12;\n\
         st.global.u32 [%rd5], %r5;\nret;\nSTART:\n@%p1 bra JOIN;\nmov.u32 %r6, 0;\nbra JOIN;"
    );
    right(&body, 1, 32);
}

#[test]
fn shuffle_that_some_lanes_do_not_reach() {
    let body = format!(
        "{SHUFFLE}setp.lt.u32 %p1, %r2, 16;\n@%p1 bra L;\n\
         shfl.sync.bfly.b32 %r5|%p2, %r2, %r10, %r11, %r12;\n\
         ret;\nL:\nshfl.sync.bfly.b32 %r5|%p2, %r2, %r10, %r11, %r12;"
    );
    let found = fault(&body, 1, 32);
    assert_fault(&found, Divergence, 6, Some(3), "lanes 0x0000ffff");
    // With the right masks the two halves are apart, and both right.
    let apart = body.replacen("%r12", "%r13", 4).replacen(
        "mov.u32 %r13, -1",
        "mov.u32 %r12, 0xffff; not.b32 %r13, %r12",
        1,
    );
    let apart = apart.replace(
        "L:\nshfl.sync.bfly.b32 %r5|%p2, %r2, %r10, %r11, %r13",
        "L:\nshfl.sync.bfly.b32 %r5|%p2, %r2, %r10, %r11, %r12",
    );
    right(&apart, 1, 32);
}

#[test]
fn lane_outside_of_its_own_mask() {
    let body = format!("{SHUFFLE}mov.u32 %r12, 0x7fffffff;\nshfl.sync.bfly.b32 %r5, %r2, %r10, %r11, %r12;");
    let found = fault(&body, 1, 32);
    assert_fault(&found, Divergence, 2, None, "lane 31 is not in its member mask");
}

/// Halves of a warp at one instruction, each with a mask of its own; and lanes whose masks overlap.
#[test]
fn several_member_masks_at_one_instruction() {
    let body = format!(
        "{SHUFFLE}setp.lt.u32 %p1, %r2, 16;\nselp.b32 %r12, 0xffff, 0xffff0000, %p1;\n\
         shfl.sync.bfly.b32 %r5|%p2, %r2, %r10, %r11, %r12;\n\
         setp.eq.s32 %p3, %r2, 3;\nvote.sync.any.pred %p4, %p3, %r12;\n@!%p4 bra END;\n\
         vote.sync.all.pred %p5, %p4, %r12;\nEND:"
    );
    right(&body, 1, 32);
    let found = fault(&body.replace("0xffff,", "0x1ffff,"), 1, 32);
    assert_fault(
        &found,
        Divergence,
        3,
        None,
        "the member mask of lane 0 is 0x0001ffff, of lane 16 0xffff0000",
    );
    // All lanes vote with the mask of the lower half.
    let found = fault(&body.replace("0xffff0000", "0xffff"), 1, 32);
    assert_fault(&found, Divergence, 3, None, "lane 16 is not in its member mask");
}

#[test]
fn lanes_that_ended_or_never_were() {
    let body = format!("{SHUFFLE}setp.eq.s32 %p1, %r2, 3;\n@%p1 ret;\nbar.sync 0;");
    assert_fault(&fault(&body, 1, 32), Divergence, 3, Some(2), "lane 3, which has ended");
    let body = format!("{SHUFFLE}vote.sync.any.pred %p1, %p2, %r12;")
        .replace("vote", "setp.eq.s32 %p2, %r2, 0; vote");
    assert_fault(&fault(&body, 1, 31), Divergence, 1, None, "lane 31, which is no thread");
    right(&body, 1, 32);
}

#[test]
fn tensor_instruction_in_a_branch() {
    let mma = "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5,%f6,%f7,%f8,%f9}, \
               {%r2,%r2}, {%r2,%r2}, {%f1,%f1,%f1,%f1,%f1,%f1,%f1,%f1};";
    let body = format!("mov.f32 %f1, 0f00000000; setp.lt.u32 %p1, %r2, LIMIT;\n@!%p1 bra L;\n{mma}\nL:");
    let found = fault(&body.replace("LIMIT", "31"), 1, 32);
    assert_fault(&found, Divergence, 2, Some(4), "needs lane 31");
    right(&body.replace("LIMIT", "32"), 1, 32);
    let guarded = format!("mov.f32 %f1, 0f00000000; setp.lt.u32 %p1, %r2, 8;\n@%p1 {mma}");
    assert_fault(&fault(&guarded, 1, 32), Divergence, 1, None, "lane 8 skips");
}

#[test]
fn barrier_that_half_a_warp_reaches() {
    let body = "setp.lt.u32 %p1, %r2, 48;\n@%p1 bra L;\nbar.sync 0;\nL:\nadd.s32 %r4, %r2, 1;";
    let found = fault(body, 1, 64);
    assert_fault(&found, Divergence, 2, Some(5), "which has ended");
    assert_eq!((found.at.warp, found.at.lane, found.other.unwrap().lane), (1, 16, 0));
    // Whole warps that end early are no mistake: a barrier waits for those that are left.
    right(&body.replace("48", "32"), 1, 64);
}

#[test]
fn endless_loop() {
    assert_fault(&fault("L:\nbra L;", 1, 1), Endless, 1, None, "instructions");
}
