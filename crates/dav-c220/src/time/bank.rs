//! Conflicts of UB banks (dav-c220.md 1.5).
//!
//! UB has 16 bank groups of 3 banks. In a cycle a group serves one read and one write, and these not in the
//! same bank. The write of a repeat comes one repeat after its reads.

/// Blocks of 32 bytes of one operand: start, and distances between blocks and between repeats, in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) start: i64,
    pub(super) block_stride: i64,
    pub(super) repeat_stride: i64,
    /// Blocks in a repeat.
    pub(super) count: i64,
}

impl Blocks {
    fn at(&self, repeat: i64) -> impl Iterator<Item = i64> + '_ {
        (0..self.count).map(move |i| self.start + repeat * self.repeat_stride + i * self.block_stride)
    }

    /// Does it stay in one bank of each group?
    fn is_in_one_bank(&self, repeats: u64) -> bool {
        let repeats = i64::try_from(repeats).unwrap_or(i64::MAX);
        let steps = |stride: i64, count: i64| stride.saturating_mul((count - 1).max(0));
        let of_repeats = steps(self.repeat_stride, repeats);
        let of_blocks = steps(self.block_stride, self.count);
        let first = self.start.saturating_add(of_repeats.min(0)).saturating_add(of_blocks.min(0));
        let last = self.start.saturating_add(of_repeats.max(0)).saturating_add(of_blocks.max(0));
        bank(first) == bank(last)
    }
}

const GROUPS: usize = 16;
/// Groups come round after this many repeats, whatever the strides.
const PERIOD: u64 = GROUPS as u64;
/// Repeats of 256 bytes that fill UB.
const MOST: u64 = 768;

#[allow(clippy::cast_possible_truncation, reason = "less than 16")]
fn group(block: i64) -> usize {
    usize::try_from(block.rem_euclid(GROUPS as i64)).unwrap_or(0)
}

/// Bank within the group: address bits 16 and 17.
fn bank(block: i64) -> i64 {
    block.div_euclid(2048)
}

/// Most different blocks in one group.
fn busiest(blocks: impl Iterator<Item = i64>) -> u64 {
    let mut seen = [[i64::MIN; 24]; GROUPS];
    let mut counts = [0usize; GROUPS];
    for block in blocks {
        let g = group(block);
        let known = &mut seen[g];
        if !known[..counts[g]].contains(&block) && counts[g] < known.len() {
            known[counts[g]] = block;
            counts[g] += 1;
        }
    }
    counts.into_iter().max().unwrap_or(0) as u64
}

/// Cycles of `repeats` repeats of which each takes `slope` cycles without conflicts.
pub(super) fn cycles(dst: Option<Blocks>, sources: &[Blocks], repeats: u64, slope: f64) -> f64 {
    // All of them where an operand goes on to the next bank: what a write meets changes there.
    let is_periodic = sources.iter().chain(&dst).all(|operand| operand.is_in_one_bank(repeats));
    let counted = repeats.min(if is_periodic { PERIOD } else { MOST });
    let mut sum = 0.0;
    for r in 0..counted.cast_signed() {
        let reads = busiest(sources.iter().flat_map(|s| s.at(r)));
        let mut cycles = slope.max(reads as f64);
        if let Some(dst) = dst {
            cycles = cycles.max(busiest(dst.at(r)) as f64);
            // A cycle in which the reads leave the bank alone is enough for the write.
            let meets = |w: i64| {
                let read = sources.iter().flat_map(|s| s.at(r));
                let there = read.filter(|b| group(*b) == group(w) && bank(*b) == bank(w) && *b != w);
                busiest(there) as f64 >= cycles
            };
            if r > 0 && dst.at(r - 1).any(meets) {
                cycles += 1.0;
            }
        }
        sum += cycles;
    }
    if counted == 0 {
        return 0.0;
    }
    sum * repeats as f64 / counted as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: i64) -> Blocks {
        Blocks { start: address / 32, block_stride: 1, repeat_stride: 8, count: 8 }
    }

    /// Cycles per repeat of an addition of 64 repeats, for the scenarios of the vendor's bank conflict
    /// example.
    fn per_repeat(src0: Blocks, src1: Blocks, dst: Blocks) -> f64 {
        cycles(Some(dst), &[src0, src1], 64, 1.0) / 64.0
    }

    #[test]
    fn the_vendors_scenarios() {
        assert_eq!(per_repeat(at(0), at(0x10100), at(0x20000)), 1.0);
        assert_eq!(per_repeat(at(0), at(0x4000), at(0x10000)), 2.0, "one bank");
        assert_eq!(per_repeat(at(0), at(0x10000), at(0x14100)), 2.0, "one group");
        assert_eq!(per_repeat(at(0), at(0x10100), at(0x4000)), 1.0, "the write comes a repeat later");
        let met = per_repeat(at(0), at(0x10100), at(0x4020));
        assert!(met > 1.5, "the write meets the next read: {met}");
        assert_eq!(per_repeat(at(0), at(0x10100), at(0x10100)), 1.0, "in place");
        let replayed = |repeat_stride| Blocks { block_stride: 0, repeat_stride, ..at(0) };
        assert_eq!(per_repeat(replayed(1), at(0x10100), at(0x10100)), 1.5);
        assert_eq!(per_repeat(replayed(8), at(0x10100), at(0x10100)), 1.0);
    }

    #[test]
    fn a_write_that_goes_on_to_a_bank_without_reads_meets_none_there() {
        // Of 122 repeats the writes of 11 lie in the bank of both sources, and each meets a read.
        let [src0, src1, dst] = [0, 0x7b00, 0xf500].map(at);
        assert_eq!(cycles(Some(dst), &[src0, src1], 122, 1.0), 122.0 + 11.0);
        // All of them within the bank of the sources, where the first 16 stand for all; and in another one.
        assert_eq!(cycles(Some(at(0x8100)), &[src0, src1], 122, 1.0), 122.0 * 31.0 / 16.0);
        assert_eq!(cycles(Some(at(0x10100)), &[src0, src1], 122, 1.0), 122.0);
    }

    #[test]
    fn repeats_beyond_ub_are_not_counted_one_by_one() {
        let [src, dst] = [at(0), at(0x10000)];
        assert_eq!(cycles(Some(dst), &[src], 1 << 26, 1.0), f64::from(1 << 26));
    }

    #[test]
    fn a_stride_of_a_whole_row_serialises_a_repeat() {
        let column = Blocks { block_stride: 16, ..at(0) };
        assert_eq!(cycles(Some(at(0x10000)), &[column], 4, 1.0), 32.0);
        let padded = Blocks { block_stride: 17, ..at(0) };
        assert_eq!(cycles(Some(at(0x10000)), &[padded], 4, 1.0), 4.0);
    }
}
