//! Transfers between GM and a core: requests, L2 and HBM.
//!
//! A transfer is cut into bursts and these at the lines of L2 into requests. A core's pipe sends requests one
//! after the other, with a limited number under way; each waits for its part (slice) of L2, and on a miss for
//! HBM. Slices and HBM are booked for the time at which a request gets there, so that cores compete for them.

use super::calendar::Calendar;
use super::l2::{mix, L2, LINE, SECTOR, SECTORS};
use ascend_soc::Soc;
use ascend_soc::{GmPath, SharedMemory, Timing};

/// Bursts of one transfer: `count` pieces of `len` bytes, `stride` bytes apart, from model address `at` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) at: u64,
    pub(crate) len: u64,
    pub(crate) stride: i64,
    pub(crate) count: u64,
}

/// A transfer between GM and a core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GmTransfer<'a> {
    pub(crate) path: GmPath,
    pub(crate) write: bool,
    pub(crate) pieces: &'a [Piece],
}

/// Traffic of a launch, in bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryTraffic {
    /// Bytes that transfers asked to read.
    pub read_bytes: u64,
    /// Bytes that transfers asked to write.
    pub written_bytes: u64,
    /// Requests to L2, each for at most one line of 512 bytes.
    pub requests: u64,
    /// Sectors of 128 bytes that reads asked for.
    pub read_sectors: u64,
    /// Those of them that L2 did not hold.
    pub missed_sectors: u64,
    /// Bytes read from HBM.
    pub hbm_read_bytes: u64,
    /// Bytes written to HBM.
    pub hbm_written_bytes: u64,
}

/// When a transfer has sent its last request, and when its last answer has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Done {
    pub(crate) sent: f64,
    pub(crate) complete: f64,
    /// What `complete` would be if nobody else used L2 and HBM and nothing missed.
    pub(crate) alone: f64,
}

/// The requests that one pipe has under way: when each will be answered.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    answers: Vec<f64>,
    next: usize,
    /// When HBM has delivered what this core asked for so far.
    hbm_free: f64,
}

impl Window {
    pub(crate) fn new(timing: &Timing) -> Self {
        Self { answers: vec![0.0; timing.gm.outstanding.max(1)], next: 0, hbm_free: 0.0 }
    }
}

/// L2 and HBM of one device.
#[derive(Debug)]
pub(crate) struct SharedGm {
    l2: L2,
    slices: Calendar,
    hbm: Calendar,
    fill: Calendar,
    /// Cycles of a slice for a read line; of HBM and of the fill path for a byte.
    read_line: f64,
    write_line: f64,
    hbm_byte: f64,
    fill_byte: f64,
    core_hbm_byte: f64,
    memory: SharedMemory,
    pub(crate) traffic: MemoryTraffic,
}

impl SharedGm {
    /// `None` when the host has no memory for it.
    pub(crate) fn new(soc: &Soc) -> Option<Self> {
        let memory = soc.timing.memory;
        let cycles_per_byte = |gbps: f64| f64::from(soc.clock_mhz) / (gbps * 1000.0);
        let read_line = cycles_per_byte(memory.l2_read_gbps) * LINE as f64 * memory.l2_slices as f64;
        Some(Self {
            l2: L2::new(soc.l2_bytes, memory.l2_ways)?,
            slices: Calendar::new(memory.l2_slices)?,
            hbm: Calendar::new(1)?,
            fill: Calendar::new(1)?,
            read_line,
            write_line: read_line * memory.l2_write_cost,
            hbm_byte: cycles_per_byte(memory.hbm_gbps),
            fill_byte: cycles_per_byte(memory.hbm_fill_gbps),
            core_hbm_byte: 1.0 / soc.timing.gm.hbm_bytes_per_cycle,
            memory,
            traffic: MemoryTraffic::default(),
        })
    }

    /// A launch begins: time starts at 0. What L2 holds stays.
    pub(crate) fn start_launch(&mut self) {
        self.slices.clear();
        self.hbm.clear();
        self.fill.clear();
        self.traffic = MemoryTraffic::default();
    }

    /// Carries out a transfer that starts at `start`.
    pub(crate) fn transfer(&mut self, window: &mut Window, start: f64, transfer: &GmTransfer<'_>) -> Done {
        let path = &transfer.path;
        let mut engine = start;
        let mut free_engine = start;
        let mut complete = start;
        for piece in transfer.pieces {
            for i in 0..piece.count {
                let mut at = piece.at.wrapping_add_signed(piece.stride.wrapping_mul(i.cast_signed()));
                let end = at + piece.len;
                while at < end {
                    let stop = end.min(at - at % LINE + LINE);
                    let pace = ((stop - at) as f64 / path.bytes_per_cycle).max(path.request);
                    let slot = window.next % window.answers.len();
                    let send = engine.max(window.answers[slot]);
                    let answer = self.request(window, send, at, stop, transfer);
                    window.answers[slot] = answer;
                    window.next += 1;
                    engine = send + pace;
                    free_engine += pace;
                    complete = complete.max(answer.max(engine + path.latency as f64));
                    at = stop;
                }
            }
        }
        let least = start + path.issue as f64;
        Done {
            sent: engine.max(least),
            complete: complete.max(least),
            alone: (free_engine + path.latency as f64).max(least),
        }
    }

    /// One request, `at..stop` within a line, sent at `send`; returns when it is answered.
    fn request(
        &mut self,
        window: &mut Window,
        send: f64,
        at: u64,
        stop: u64,
        transfer: &GmTransfer<'_>,
    ) -> f64 {
        let line = at / LINE;
        let (first, last) = (at % LINE / SECTOR, (stop - 1) % LINE / SECTOR);
        let sectors = (first..=last).fold(0u8, |bits, s| bits | 1 << s);
        let found = self.l2.access(line, sectors, transfer.write);
        let whole_line = if transfer.write { self.write_line } else { self.read_line };
        // ASSUMPTION(l2-slices): half of a line's time goes to the request, half to its sectors.
        let cost = whole_line * (0.5 + 0.5 * (last - first + 1) as f64 / SECTORS as f64);
        let slice = usize::try_from(mix(line) % self.memory.l2_slices as u64).unwrap_or(0);
        let half = transfer.path.latency as f64 / 2.0;
        let served = self.slices.book(slice, send + half, cost);
        // Service is part of the latency of a lone request.
        let mut answer = (served - cost + half).max(send + transfer.path.latency as f64);
        let moved = stop - at;
        self.traffic.requests += 1;
        if transfer.write {
            self.traffic.written_bytes += moved;
        } else {
            self.traffic.read_bytes += moved;
            self.traffic.read_sectors += last - first + 1;
        }
        if found.write_back > 0 {
            self.traffic.hbm_written_bytes += found.write_back;
            let written = self.hbm.book(0, served, found.write_back as f64 * self.hbm_byte);
            answer = answer.max(written);
        }
        if found.fill > 0 {
            self.traffic.missed_sectors += found.fill / SECTOR;
            self.traffic.hbm_read_bytes += found.fill;
            // ASSUMPTION(unaligned-miss): a miss of a request that ends within a sector takes HBM as long as
            // a whole line.
            let is_whole = at.is_multiple_of(SECTOR) && stop.is_multiple_of(SECTOR);
            let bytes = if is_whole { found.fill } else { LINE } as f64;
            let read = self.hbm.book(0, served, bytes * self.hbm_byte);
            let filled = self.fill.book(0, served, bytes * self.fill_byte);
            window.hbm_free = window.hbm_free.max(served) + bytes * self.core_hbm_byte;
            let there = read.max(filled).max(window.hbm_free);
            answer = answer.max(there + half + self.memory.miss_latency as f64);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soc() -> &'static Soc {
        Soc::by_name("Ascend910B1").unwrap()
    }

    /// Cycles of one core that reads `count` rows of `len` bytes, 512 bytes apart, on a chip where nothing
    /// else runs.
    fn read(gm: &mut SharedGm, len: u64, count: u64) -> f64 {
        let timing = &soc().timing;
        let pieces = [Piece { at: 1 << 20, len, stride: 512, count }];
        let transfer = GmTransfer { path: timing.gm.to_ub, write: false, pieces: &pieces };
        gm.start_launch();
        gm.transfer(&mut Window::new(timing), 0.0, &transfer).complete
    }

    #[test]
    fn lines_that_l2_holds_come_at_the_rate_of_the_path() {
        let mut gm = SharedGm::new(soc()).unwrap();
        let cold = read(&mut gm, 512, 128);
        assert_eq!(gm.traffic.missed_sectors, 512);
        // 64 KiB at 128 bytes a cycle, and the latency.
        let path = soc().timing.gm.to_ub;
        let alone = 65536.0 / path.bytes_per_cycle + path.latency as f64;
        let warm = read(&mut gm, 512, 128);
        assert_eq!(gm.traffic.missed_sectors, 0);
        assert!((alone..1.05 * alone).contains(&warm), "{warm} instead of {alone}");
        let from_hbm = 65536.0 / soc().timing.gm.hbm_bytes_per_cycle;
        assert!(cold > from_hbm, "{cold} with {from_hbm} for the lone core's share of HBM");
    }

    #[test]
    fn a_miss_that_ends_within_a_sector_costs_a_line_and_one_of_whole_sectors_does_not() {
        let cold = |len| read(&mut SharedGm::new(soc()).unwrap(), len, 64);
        let (ragged, sector, line) = (cold(100), cold(128), cold(512));
        assert!(ragged > 0.9 * line, "{ragged} for 100 bytes, {line} for 512");
        assert!(sector < 0.6 * line, "{sector} for 128 bytes, {line} for 512");
    }
}
