//! Clocks, ranges and bounds of work in flight; whole programs are in `tests/runtime/operands`.

use super::*;
use crate::engine::Engine as _;
use crate::plain::Plain;

fn used(start: u64, end: u64, uses: Uses) -> Used {
    Used { start, end, uses }
}

fn part(ranges: Vec<Used>) -> Part {
    Part { allocation: (0, 0), len: 100, ranges, operands: Vec::new() }
}

/// Ranges of operands that overlap in every way, against one look at each byte.
#[test]
fn conflicts_are_those_of_the_bytes() {
    let ends: Vec<_> = (0..6).flat_map(|start| (start + 1..=6).map(move |end| (start, end))).collect();
    let at = |byte: u64, parts: &[Used]| {
        let here = parts.iter().filter(|u| u.start <= byte && byte < u.end);
        here.map(|u| u.uses).collect::<Vec<_>>()
    };
    for (&read, &written) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))) {
        let ranges = [used(read.0, read.1, Uses::READ), used(written.0, written.1, Uses::WRITE)];
        let both = merged(ranges.iter().map(|range| part(vec![*range])).collect());
        assert!(both[0].ranges.is_sorted_by(|a, b| a.end <= b.start), "{:?}", both[0].ranges);
        for &(start, end) in &ends {
            for uses in [Uses::READ, Uses::WRITE] {
                let other = merged(vec![part(vec![used(start, end, uses)])]);
                let meets = |byte: &u64| at(*byte, &ranges).iter().any(|own| own.conflict(uses));
                let want = (start..end).find(meets);
                for (a, b) in [(&both[0], &other[0]), (&other[0], &both[0])] {
                    let found = a.conflict(b).map(|(found, _)| found.start);
                    assert_eq!(found, want, "{read:?} read, {written:?} written, {start}..{end} {uses:?}");
                }
            }
        }
    }
}

#[test]
fn ranges_in_flight_are_bounded() {
    let engine = Plain::new(1 << 20);
    let allocation = engine.find(engine.alloc(64).unwrap()).unwrap();
    let base = allocation.base();
    let rows = (0..3 << 20).map(|row| base + 2 * row..base + 2 * row + 1);
    let large = Part::of_rows(0, allocation.as_ref(), rows, Uses::WRITE, "dst");
    assert_eq!(large.ranges.len(), MAX_RANGES);

    let mut air = Air::default();
    air.open.get_or_insert_default().entry(0).or_default().insert(0, 0);
    let ranges = vec![used(0, 1, Uses::WRITE); MAX_RANGES / 4];
    for number in 1..=6 {
        let name = String::new();
        let ended = Ended {
            stream: 1,
            number,
            ticket: number,
            ends: number,
            name,
            parts: vec![part(ranges.clone())],
        };
        air.ended.push_back(ended.into());
        air.forget();
    }
    let left: Vec<_> = air.ended.iter().map(|ended| ended.number).collect();
    assert_eq!(left, [3, 4, 5, 6], "the oldest is forgotten");
}

/// An event brings all that the other stream has ever waited for.
#[test]
fn clocks_do_not_grow_with_the_streams_that_they_have_met() {
    // Numbers that no stream of another test has.
    let stream = |i: u64| u64::MAX - i;
    let mut clock = Clock::default();
    for i in 0..1000 {
        let mut next = Clock::default();
        next.streams.insert(stream(i), 1);
        next.join(&clock, stream(i));
        clock = next;
    }
    assert_eq!(clock.streams, BTreeMap::from([(stream(999), 1)]));
}

#[test]
fn clocks_keep_what_is_compared_with() {
    let ended = |stream, number, ends| {
        let (name, parts) = (String::new(), Vec::new());
        Ended { stream, number, ticket: 0, ends, name, parts }
    };
    let (needed, later, known) = (ended(1, 3, 6), ended(2, 4, 7), ended(3, 2, 5));
    let mut clock = Clock { ends: 5, streams: (0..10).map(|stream| (stream, 3)).collect() };
    let all = [needed, later, known];
    let before = all.each_ref().map(|ended| clock.knows(ended));
    let mut air = Air::default();
    air.ended.extend(all.map(Arc::new));
    clock.forget(0, &air);
    assert_eq!(clock.streams, BTreeMap::from([(0, 3), (1, 3)]));
    assert_eq!(air.ended.iter().map(|ended| clock.knows(ended)).collect::<Vec<_>>(), before);
    assert_eq!(before, [true, false, true]);
}
