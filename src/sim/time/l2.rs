//! What L2 holds: a set-associative cache of 512-byte lines with four sectors each, written back, oldest line out first.
//!
//! Line length and write-allocation: dav-c220.md 1.2, 5.5; misses are counted in sectors of 128 bytes there.
//! ASSUMPTION(l2-replacement): sets, ways and least-recently-used replacement; neither is published.

/// Bytes of a line.
pub(super) const LINE: u64 = 512;
/// Bytes of a sector.
pub(super) const SECTOR: u64 = 128;
/// Sectors of a line.
pub(super) const SECTORS: u64 = LINE / SECTOR;

#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// Line number + 1; 0 when empty.
    tag: u64,
    used: u64,
    valid: u8,
    dirty: u8,
}

/// The cache's directory.
#[derive(Debug)]
pub(super) struct L2 {
    ways: usize,
    sets: u64,
    lines: Vec<Way>,
    clock: u64,
}

/// What an access costs in traffic with HBM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Bytes filled from HBM.
    pub(super) fill: u64,
    /// Bytes of a line that had to go and had been written.
    pub(super) write_back: u64,
}

/// Spreads line numbers whose low bits agree: pitches that are powers of two would otherwise meet in few sets.
pub(super) fn mix(line: u64) -> u64 {
    (line ^ line >> 17).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

impl L2 {
    pub(super) fn new(bytes: u64, ways: usize) -> Self {
        let ways = ways.max(1);
        let sets = (bytes / LINE / ways as u64).max(1);
        Self { ways, sets, lines: vec![Way::default(); sets as usize * ways], clock: 0 }
    }

    /// Reads or writes `sectors` (a bit each) of a line.
    pub(super) fn access(&mut self, line: u64, sectors: u8, write: bool) -> Traffic {
        self.clock += 1;
        #[allow(clippy::cast_possible_truncation, reason = "sets have been allocated")]
        let set = (mix(line) % self.sets) as usize * self.ways;
        let ways = &mut self.lines[set..set + self.ways];
        let tag = line + 1;
        let mut traffic = Traffic::default();
        let at = match ways.iter().position(|w| w.tag == tag) {
            Some(at) => at,
            None => {
                let oldest = (0..ways.len()).min_by_key(|i| ways[*i].used).unwrap_or(0);
                traffic.write_back = u64::from(ways[oldest].dirty.count_ones()) * SECTOR;
                ways[oldest] = Way { tag, ..Way::default() };
                oldest
            }
        };
        let way = &mut ways[at];
        way.used = self.clock;
        if write {
            // Whole sectors are written without reading them first.
            way.dirty |= sectors;
        } else {
            traffic.fill = u64::from((sectors & !way.valid).count_ones()) * SECTOR;
        }
        way.valid |= sectors;
        traffic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fill_sectors_once_and_written_lines_go_back_when_they_leave() {
        let mut l2 = L2::new(4 * LINE, 4);
        assert_eq!(l2.access(0, 0b0011, false), Traffic { fill: 256, write_back: 0 });
        assert_eq!(l2.access(0, 0b0111, false), Traffic { fill: 128, write_back: 0 });
        assert_eq!(l2.access(1, 0b1111, true), Traffic::default());
        assert_eq!(l2.access(1, 0b0001, false), Traffic::default(), "written sectors are there");
        for line in 2..4 {
            l2.access(line, 0b1111, false);
        }
        assert_eq!(l2.access(4, 0b1111, false), Traffic { fill: 512, write_back: 0 }, "line 0 leaves");
        assert_eq!(l2.access(5, 0b1111, false), Traffic { fill: 512, write_back: 512 }, "line 1 leaves");
    }
}
