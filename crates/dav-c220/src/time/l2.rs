//! What L2 holds: a set-associative cache of 512-byte lines with four sectors each, written back, oldest line
//! out first.
//!
//! Line length and write-allocation: dav-c220.md 1.2, 5.5; misses are counted in sectors of 128 bytes there.
//! ASSUMPTION(l2-replacement): sets, ways and least-recently-used replacement; neither is published.

use bytemuck::allocation::try_zeroed_slice_box;

/// Bytes of a line.
pub(super) const LINE: u64 = 512;
/// Bytes of a sector.
pub(super) const SECTOR: u64 = 128;
/// Sectors of a line.
pub(super) const SECTORS: u64 = LINE / SECTOR;

/// A line in the directory: its number + 1, four bits of sectors that were written, four bits of sectors that
/// are there; 0 when empty.
type Way = u64;

fn way(line: u64, dirty: u8, valid: u8) -> Way {
    (line + 1) << 8 | u64::from(dirty << 4 | valid)
}

/// The cache's directory.
#[derive(Debug)]
pub(super) struct L2 {
    ways: usize,
    sets: u64,
    /// The ways of each set, the one that was used last first: most accesses then touch one cache line of
    /// the host.
    lines: Vec<Way>,
}

/// What an access costs in traffic with HBM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LineTraffic {
    /// Bytes filled from HBM.
    pub(super) fill: u64,
    /// Bytes of a line that had to go and had been written.
    pub(super) write_back: u64,
}

/// Spreads line numbers whose low bits agree: pitches that are powers of two would otherwise meet in few
/// sets.
pub(super) fn mix(line: u64) -> u64 {
    (line ^ line >> 17).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

impl L2 {
    /// `None` when the host has no memory for it.
    pub(super) fn new(bytes: u64, ways: usize) -> Option<Self> {
        let ways = ways.max(1);
        let sets = (bytes / LINE / ways as u64).max(1);
        let lines = try_zeroed_slice_box(sets as usize * ways).ok()?.into_vec();
        Some(Self { ways, sets, lines })
    }

    /// Reads or writes `sectors` (a bit each) of a line.
    pub(super) fn access(&mut self, line: u64, sectors: u8, write: bool) -> LineTraffic {
        let set = usize::try_from(mix(line) % self.sets).unwrap_or(0) * self.ways;
        let ways = &mut self.lines[set..set + self.ways];
        let (last, tag) = (ways.len() - 1, way(line, 0, 0) >> 8);
        let found = ways.iter().position(|w| w >> 8 == tag);
        let mut traffic = LineTraffic::default();
        let [mut dirty, mut valid] = [0; 2];
        match found {
            Some(at) => (dirty, valid) = ((ways[at] >> 4 & 0xf) as u8, (ways[at] & 0xf) as u8),
            None => traffic.write_back = u64::from((ways[last] >> 4 & 0xf).count_ones()) * SECTOR,
        }
        if write {
            // Whole sectors are written without reading them first.
            dirty |= sectors;
        } else {
            traffic.fill = u64::from((sectors & !valid).count_ones()) * SECTOR;
        }
        valid |= sectors;
        ways.copy_within(..found.unwrap_or(last), 1);
        ways[0] = way(line, dirty, valid);
        traffic
    }
}

/// Entries of [`Readers`].
const READERS: usize = 1 << 15;

/// Who read a line last, and when. A line that another one replaces here is forgotten.
#[derive(Debug)]
pub(super) struct Readers(Vec<Reader>);

#[derive(Clone, Copy, Debug, bytemuck::Zeroable)]
struct Reader {
    /// Number of the line + 1; 0 for none.
    line: u64,
    at: f64,
    core: u64,
}

impl Readers {
    /// `None` when the host has no memory for it.
    pub(super) fn new() -> Option<Self> {
        Some(Self(try_zeroed_slice_box(READERS).ok()?.into_vec()))
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(bytemuck::Zeroable::zeroed());
    }

    /// `core` reads `line` at `at`. Did another core do so within `cycles` of that?
    pub(super) fn conflict(&mut self, line: u64, core: usize, at: f64, cycles: f64) -> bool {
        let slot = usize::try_from(mix(line) % READERS as u64).unwrap_or(0);
        let reader = Reader { line: line + 1, at, core: core as u64 };
        let last = std::mem::replace(&mut self.0[slot], reader);
        last.line == reader.line && last.core != reader.core && (at - last.at).abs() < cycles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fill_sectors_once_and_written_lines_go_back_when_they_leave() {
        let mut l2 = L2::new(4 * LINE, 4).unwrap();
        assert_eq!(l2.access(0, 0b0011, false), LineTraffic { fill: 256, write_back: 0 });
        assert_eq!(l2.access(0, 0b0111, false), LineTraffic { fill: 128, write_back: 0 });
        assert_eq!(l2.access(1, 0b1111, true), LineTraffic::default());
        assert_eq!(l2.access(1, 0b0001, false), LineTraffic::default(), "written sectors are there");
        for line in 2..4 {
            l2.access(line, 0b1111, false);
        }
        assert_eq!(l2.access(4, 0b1111, false), LineTraffic { fill: 512, write_back: 0 }, "line 0 leaves");
        assert_eq!(l2.access(5, 0b1111, false), LineTraffic { fill: 512, write_back: 512 }, "line 1 leaves");
    }
}
