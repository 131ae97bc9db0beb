//! Conflicts of L1 banks: loads to L0 against writes to L1.
//!
//! L1 has eight groups of two banks, of 32 bytes a row. A bank does one read or one write in a cycle, and a
//! group one read and one write in its two banks (dav-c220.md 1.5). The two banks of a group lie in the two
//! halves of L1, so only accesses within a half meet.
//!
//! ASSUMPTION(l1-banks): a write of 256 bytes takes a cycle of all groups from the loads of that half. The
//! load loses it, not the write. Rows and fractals are not followed one by one: both are taken as even over
//! their time.

use crate::access::{Access, Space, Touch};

/// Bytes of a half of L1; bit 18 of the address names the bank of a group.
const HALF_BYTES: i64 = 256 << 10;

/// Bytes in the two halves.
type Halves = [f64; 2];

/// Accesses that later ones may meet. A copy to L1 lasts as long as some tens of loads.
const KEPT: usize = 64;

/// An access in model time, and its bytes in each half.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from: f64,
    until: f64,
    bytes: Halves,
}

impl Span {
    /// Bytes of the half that it moves within another's time.
    fn within(&self, other: &Span, half: usize) -> f64 {
        let common = self.until.min(other.until) - self.from.max(other.from);
        if common <= 0.0 {
            return 0.0;
        }
        self.bytes[half] * common / (self.until - self.from)
    }
}

/// The last accesses of one kind.
#[derive(Debug)]
struct Recent {
    spans: [Span; KEPT],
    next: usize,
}

impl Recent {
    fn new() -> Self {
        Self { spans: [Span::default(); KEPT], next: 0 }
    }

    fn push(&mut self, span: Span) {
        self.spans[self.next % KEPT] = span;
        self.next += 1;
    }
}

/// L1 of one core.
#[derive(Debug)]
pub(crate) struct L1Banks {
    /// Bytes of a row of all bank groups.
    row: f64,
    writes: Recent,
    loads: Recent,
    /// Cycles that loads lost to writes whose time was found later.
    owed: f64,
}

impl L1Banks {
    pub(crate) fn new(row_bytes: u64) -> Self {
        Self { row: row_bytes as f64, writes: Recent::new(), loads: Recent::new(), owed: 0.0 }
    }

    /// Cycles that a load loses which reads `touched` from `from` to `until`.
    ///
    /// Loads and writes are timed in no common order. What they cost each other is counted by the one that
    /// is timed last; a load that was timed first leaves it to the next one.
    pub(crate) fn load(&mut self, touched: &[Touch], from: f64, until: f64) -> f64 {
        let Some(load) = span(touched, Access::Read, from, until) else { return 0.0 };
        let met: f64 = self.writes.spans.iter().map(|write| self.rows(write, &load)).sum();
        self.loads.push(load);
        met + std::mem::take(&mut self.owed)
    }

    /// A write of `touched` from `from` to `until`.
    pub(crate) fn write(&mut self, touched: &[Touch], from: f64, until: f64) {
        let Some(write) = span(touched, Access::Write, from, until) else { return };
        self.owed += self.loads.spans.iter().map(|load| self.rows(&write, load)).sum::<f64>();
        self.writes.push(write);
    }

    /// Rows that the write brings to a half while the load reads it: in the share of the load's bytes there.
    fn rows(&self, write: &Span, load: &Span) -> f64 {
        let read: f64 = load.bytes.iter().sum();
        (0..2).map(|half| write.within(load, half) / self.row * load.bytes[half] / read.max(1.0)).sum()
    }
}

/// Accesses to L1 of an instruction.
fn span(touched: &[Touch], access: Access, from: f64, until: f64) -> Option<Span> {
    let mut bytes = Halves::default();
    let is_wanted = |t: &&Touch| t.addr.space == Space::L1 && t.access == access;
    for touch in touched.iter().filter(is_wanted) {
        let below = share_below(touch);
        let all = (touch.len * touch.count) as f64;
        bytes[0] += all * below;
        bytes[1] += all * (1.0 - below);
    }
    (until > from && bytes.iter().sum::<f64>() > 0.0).then_some(Span { from, until, bytes })
}

/// Share of the range of an access that lies in the lower half.
fn share_below(touch: &Touch) -> f64 {
    let (first, last) = (touch.addr.offset, touch.stride * (touch.count.cast_signed() - 1).max(0));
    let (start, end) = (first + last.min(0), first + last.max(0) + touch.len.cast_signed());
    ((HALF_BYTES - start) as f64 / (end - start).max(1) as f64).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Addr;

    fn touch(offset: i64, len: u64, access: Access) -> [Touch; 1] {
        [Touch { addr: Addr { space: Space::L1, offset }, len, stride: 0, count: 1, access }]
    }

    fn read(offset: i64) -> [Touch; 1] {
        touch(offset, 16384, Access::Read)
    }

    fn write(offset: i64) -> [Touch; 1] {
        touch(offset, 32768, Access::Write)
    }

    #[test]
    fn a_load_loses_a_cycle_for_each_row_written_to_its_half_meanwhile() {
        let mut l1 = L1Banks::new(256);
        // 32 bytes a cycle for 1024 cycles.
        l1.write(&write(0), 0.0, 1024.0);
        assert_eq!(l1.load(&read(65536), 0.0, 64.0), 64.0 * 32.0 / 256.0);
        assert_eq!(l1.load(&read(65536), 992.0, 1056.0), 32.0 * 32.0 / 256.0, "half of it is over");
        assert_eq!(l1.load(&read(65536), 1024.0, 1088.0), 0.0, "all of it is over");
        assert_eq!(l1.load(&read(HALF_BYTES), 0.0, 64.0), 0.0, "the other half");
        let half_and_half = l1.load(&read(HALF_BYTES - 8192), 0.0, 64.0);
        assert_eq!(half_and_half, 64.0 * 32.0 / 256.0 / 2.0);
    }

    #[test]
    fn what_a_write_that_is_timed_later_takes_is_paid_by_the_next_load() {
        let mut l1 = L1Banks::new(256);
        assert_eq!(l1.load(&read(0), 0.0, 64.0), 0.0);
        l1.write(&write(65536), 0.0, 1024.0);
        l1.write(&write(HALF_BYTES), 0.0, 1024.0);
        assert_eq!(l1.load(&read(0), 2000.0, 2064.0), 8.0);
        assert_eq!(l1.load(&read(0), 2064.0, 2128.0), 0.0, "once");
    }

    #[test]
    fn accesses_of_other_memories_do_not_count() {
        let mut l1 = L1Banks::new(256);
        let elsewhere = |offset, access| {
            let mut touch = touch(offset, 16384, access);
            touch[0].addr.space = Space::L0a;
            touch
        };
        l1.write(&elsewhere(0, Access::Write), 0.0, 1024.0);
        assert_eq!(l1.load(&read(0), 0.0, 64.0), 0.0);
        l1.write(&write(0), 0.0, 1024.0);
        assert_eq!(l1.load(&elsewhere(0, Access::Read), 0.0, 64.0), 0.0);
    }
}
