use std::collections::HashSet;

use super::*;

fn at(offset_bytes: u64) -> MemoryRange {
    MemoryRange { address: 1 << 20, offset_bytes, len_bytes: 1 << 30 }
}

fn step(extent: u64, bytes: u64) -> Repeat {
    Repeat { extent, bytes }
}

/// Bytes that an operand uses, one by one.
fn bytes(start: u64, row: u64, steps: &[Repeat]) -> HashSet<u64> {
    let mut starts = vec![start];
    for step in steps {
        starts = starts.iter().flat_map(|s| (0..step.extent).map(move |i| s + i * step.bytes)).collect();
    }
    starts.into_iter().flat_map(|start| start..start + row).collect()
}

fn span(row: u64, steps: &[Repeat]) -> u64 {
    steps.iter().map(|s| (s.extent - 1) * s.bytes).sum::<u64>() + row
}

/// An output and an input with these rows.
fn pair(layouts: [(u64, u64, &[Repeat]); 2]) -> Vec<Named> {
    let [(start, row, steps), (start_q, row_q, steps_q)] = layouts;
    vec![
        Named::written("o", at(start), span(row, steps), 1).with_rows(row, steps.iter().copied()),
        Named::read("q", at(start_q), span(row_q, steps_q), 1).with_rows(row_q, steps_q.iter().copied()),
    ]
}

/// Against sets of bytes: rows that share one are never accepted.
#[test]
fn shared_bytes_are_always_found() {
    let rng = &mut fastrand::Rng::with_seed(5);
    let (mut refused, mut accepted_inside) = (0, 0);
    for _ in 0..20_000 {
        // Few different strides, so that both operands often have the same.
        let mut layout = || {
            let steps: Vec<Repeat> = (0..rng.usize(0..4))
                .map(|_| step(rng.u64(1..4), rng.u64(0..7) * [1, 4, 12][rng.usize(0..3)]))
                .collect();
            (rng.u64(0..40), rng.u64(1..9), steps)
        };
        let (a, b) = (layout(), layout());
        let share = !bytes(a.0, a.1, &a.2).is_disjoint(&bytes(b.0, b.1, &b.2));
        let is_apart = a.0 + span(a.1, &a.2) <= b.0 || b.0 + span(b.1, &b.2) <= a.0;
        let outcome = refuse("test", &pair([(a.0, a.1, &a.2), (b.0, b.1, &b.2)]));
        assert!(!share || outcome.is_err(), "{a:?} and {b:?} share bytes and are accepted");
        assert!(!is_apart || outcome.is_ok(), "{a:?} and {b:?} are apart and refused");
        refused += usize::from(share);
        accepted_inside += usize::from(outcome.is_ok() && !is_apart);
    }
    assert!(refused > 1000 && accepted_inside > 100, "{refused} share bytes, {accepted_inside} interleave");
}

#[test]
fn slices_of_one_tensor_are_told_apart() {
    let packed = |outer: &[Repeat], heads: u64, row: u64, start: u64| {
        let steps: Vec<Repeat> = outer.iter().copied().chain([step(heads, row)]).collect();
        (start, row, steps)
    };
    // [2 batches, 5 rows, q of 4 heads | o of 3 heads, 32 bytes].
    let outer = [step(2, 5 * 7 * 32), step(5, 7 * 32)];
    let (q, o) = (packed(&outer, 4, 32, 0), packed(&outer, 3, 32, 4 * 32));
    refuse("test", &pair([(o.0, o.1, &o.2), (q.0, q.1, &q.2)])).unwrap();
    // One head more, and it is q's of the next row.
    let o = packed(&outer, 4, 32, 4 * 32);
    refuse("test", &pair([(o.0, o.1, &o.2), (q.0, q.1, &q.2)])).unwrap_err();
    // [5 rows, 4 heads, q | o]: a head of one beside each of the other.
    let steps = [step(5, 4 * 64), step(4, 64)];
    refuse("test", &pair([(32, 32, &steps), (0, 32, &steps)])).unwrap();
    refuse("test", &pair([(31, 32, &steps), (0, 32, &steps)])).unwrap_err();
}

#[test]
fn a_refusal_names_both_and_their_ranges() {
    let buffer = |address, offset_bytes| MemoryRange { address, offset_bytes, len_bytes: 0x1000 };
    let operands = [
        Named::read("q", buffer(0x10_000, 0), 0x100, 2),
        Named::read("k", buffer(0x10_000, 0x80), 0x100, 2),
        Named::written("o", buffer(0x10_000, 0x17e), 0x100, 2),
        Named::written("workspace", buffer(0x10_200, 0), 0x40, 2),
    ];
    assert_eq!(
        refuse("launch", &operands).unwrap_err().to_string(),
        "launch: o at [0x1017e, 0x1027e) is written and shares bytes with k at [0x10080, 0x10180), memory of its own wanted; \
         o at [0x1017e, 0x1027e) is written and shares bytes with workspace at [0x10200, 0x10240), memory of its own wanted"
    );
    // What is read may lie anywhere, and what is empty overlaps with nothing.
    refuse("launch", &operands[..2]).unwrap();
    let empty = Named::written("lse", buffer(0x10_000, 0x20), 0, 2);
    refuse("launch", &[operands[0].clone(), empty]).unwrap();
}

#[test]
fn what_is_complete_may_be_read() {
    let o = Named::written("o", at(0), 64, 2);
    let lse = Named::written("lse", at(64), 64, 2);
    let a = |offset| Named::read("a", at(offset), 64, 2).behind("o");
    refuse("launch", &[o.clone(), lse.clone(), a(0)]).unwrap();
    refuse("launch", &[o, lse, a(32)]).unwrap_err();
}
