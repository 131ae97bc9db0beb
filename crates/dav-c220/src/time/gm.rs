//! Transfers between GM and a core: requests, L2 and HBM.
//!
//! A transfer is cut into bursts and these at the lines of L2 into requests. A core's pipe sends requests one
//! after the other, with a limited number under way; each waits for its part (slice) of L2, and on a miss for
//! HBM. Slices and HBM are booked for the time at which a request gets there, so that cores compete for them.

use super::calendar::Calendar;
use super::l2::{mix, Readers, L2, LINE, SECTOR, SECTORS};
use ascend_soc::{GmPath, HbmRules, L2Rules, SharedMemory, Soc, Timing};

/// Bytes that the layout change from ND to NZ writes as one.
const BLOCK: u64 = 32;

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
    pub(crate) way: GmWay,
    pub(crate) pieces: &'a [Piece],
    /// Number of the core on the chip, and of its AI core: it decides the port of L2.
    pub(crate) core: usize,
    pub(crate) ai_core: usize,
}

/// How a transfer goes between GM and a core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GmWay {
    pub(crate) path: GmPath,
    pub(crate) write: bool,
    /// Bytes per cycle of a row that does not start at a block, where the path changes ND to NZ.
    pub(crate) unaligned: Option<f64>,
    /// Bytes per cycle that the core gets from HBM.
    pub(crate) hbm_bytes_per_cycle: f64,
    /// L2 is left out.
    pub(crate) is_past_l2: bool,
}

impl GmWay {
    /// Largest request for a row of `len` bytes at `at`, and the rate of the path for it.
    fn requests(&self, at: u64, len: u64) -> (u64, f64) {
        let Some(unaligned) = self.unaligned else { return (LINE, self.path.bytes_per_cycle) };
        if !at.is_multiple_of(BLOCK) {
            return (LINE, self.path.bytes_per_cycle.min(unaligned));
        }
        // ASSUMPTION(nd2nz-requests): a row is read in requests of one size, the largest of 512, 256 and 128
        // bytes that its address and its length are multiples of.
        let fits = |size: &u64| at.is_multiple_of(*size) && len.is_multiple_of(*size);
        ([LINE, LINE / 2].into_iter().find(fits).unwrap_or(SECTOR), self.path.bytes_per_cycle)
    }
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
    readers: Readers,
    ports: Calendar,
    slices: Calendar,
    hbm: Calendar,
    fill: Calendar,
    /// Cycles of a slice for a read line; of a port, of HBM and of the fill path for a read byte.
    slice_line: f64,
    port_byte: f64,
    hbm_byte: f64,
    fill_byte: f64,
    memory: SharedMemory,
    l2_rules: L2Rules,
    hbm_rules: HbmRules,
    pub(crate) traffic: MemoryTraffic,
}

impl SharedGm {
    /// `None` when the host has no memory for it.
    pub(crate) fn new(soc: &Soc) -> Option<Self> {
        let memory = soc.timing.memory;
        let cycles_per_byte = |gbps: f64| f64::from(soc.clock_mhz) / (gbps * 1000.0);
        let (ports, slices) = (memory.l2_ports.max(1), memory.l2_slices.max(1));
        Some(Self {
            l2: L2::new(soc.l2_bytes, memory.l2_ways)?,
            readers: Readers::new()?,
            ports: Calendar::new(ports)?,
            slices: Calendar::new(slices)?,
            hbm: Calendar::new(1)?,
            fill: Calendar::new(1)?,
            slice_line: cycles_per_byte(memory.l2_slice_gbps) * LINE as f64 * slices as f64,
            port_byte: cycles_per_byte(memory.l2_read_gbps) * ports as f64,
            hbm_byte: cycles_per_byte(memory.hbm_gbps),
            fill_byte: cycles_per_byte(memory.hbm_fill_gbps),
            memory: SharedMemory { l2_ports: ports, l2_slices: slices, ..memory },
            l2_rules: soc.timing.l2,
            hbm_rules: soc.timing.hbm,
            traffic: MemoryTraffic::default(),
        })
    }

    /// A launch begins: time starts at 0. What L2 holds stays.
    pub(crate) fn start_launch(&mut self) {
        self.readers.clear();
        self.ports.clear();
        self.slices.clear();
        self.hbm.clear();
        self.fill.clear();
        self.traffic = MemoryTraffic::default();
    }

    /// Carries out a transfer that starts at `start`.
    pub(crate) fn transfer(&mut self, window: &mut Window, start: f64, transfer: &GmTransfer<'_>) -> Done {
        let path = &transfer.way.path;
        let mut engine = start;
        let mut free_engine = start;
        let mut complete = start;
        for piece in transfer.pieces {
            for i in 0..piece.count {
                let mut at = piece.at.wrapping_add_signed(piece.stride.wrapping_mul(i.cast_signed()));
                let end = at + piece.len;
                let (size, bytes_per_cycle) = transfer.way.requests(at, piece.len);
                while at < end {
                    let stop = end.min(at - at % size + size);
                    let pace = ((stop - at) as f64 / bytes_per_cycle).max(path.request);
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

    /// One request, `at..stop` within a line, sent at `send`; returns when it is answered. The steps stand in
    /// the order of its way: port, slice of L2, HBM.
    fn request(
        &mut self,
        window: &mut Window,
        send: f64,
        at: u64,
        stop: u64,
        transfer: &GmTransfer<'_>,
    ) -> f64 {
        let way = &transfer.way;
        let line = at / LINE;
        let (first, last) = (at % LINE / SECTOR, (stop - 1) % LINE / SECTOR);
        let sectors = last - first + 1;
        let moved = stop - at;
        self.count(way, moved, sectors);
        let half = way.path.latency as f64 / 2.0;
        let mut port_cycles = (sectors * SECTOR) as f64 * self.port_byte;
        let mut conflict = 1.0;
        if way.write {
            port_cycles *= self.memory.l2_write_cost;
        } else if self.readers.conflict(line, transfer.core, send, self.l2_rules.same_line_cycles) {
            conflict = self.l2_rules.same_line_cost;
            port_cycles *= conflict;
        }
        // Service is part of the latency of a lone request.
        let arrives =
            self.ports.book(transfer.ai_core % self.memory.l2_ports, send, port_cycles) - port_cycles + half;
        if way.is_past_l2 {
            let bytes = ((sectors * SECTOR) as f64).max(self.hbm_rules.past_l2_bytes) * conflict;
            return self.past_l2(window, arrives, moved, bytes, way) + half;
        }
        let bits = (first..=last).fold(0u8, |bits, s| bits | 1 << s);
        let found = self.l2.access(line, bits, way.write);
        // ASSUMPTION(l2-slices): a part of a line's time goes to the request, the rest to its sectors.
        let share = self.l2_rules.request_share;
        let mut cycles = self.slice_line * (share + (1.0 - share) * sectors as f64 / SECTORS as f64);
        if way.write {
            cycles *= self.memory.l2_write_cost;
        }
        let slice = usize::try_from(mix(line) % self.memory.l2_slices as u64).unwrap_or(0);
        let served = self.slices.book(slice, arrives, cycles);
        let mut answer = (served - cycles + half).max(send + way.path.latency as f64);
        if found.write_back > 0 {
            answer = answer.max(self.write_back(served, found.write_back, !way.write));
        }
        if found.fill > 0 {
            // ASSUMPTION(unaligned-miss): a miss of a request that ends within a sector takes HBM as long as
            // a whole line.
            let is_whole = at.is_multiple_of(SECTOR) && stop.is_multiple_of(SECTOR);
            let bytes = if is_whole { found.fill } else { LINE } as f64;
            let filled = self.fill.book(0, served, bytes * self.fill_byte);
            let there = self.read_hbm(window, served, bytes, way).max(filled);
            answer = answer.max(there + half);
            self.traffic.missed_sectors += found.fill / SECTOR;
            self.traffic.hbm_read_bytes += found.fill;
        }
        answer
    }

    /// Counts a request of `moved` bytes in so many sectors.
    fn count(&mut self, way: &GmWay, moved: u64, sectors: u64) {
        self.traffic.requests += 1;
        if way.write {
            self.traffic.written_bytes += moved;
        } else {
            self.traffic.read_bytes += moved;
            self.traffic.read_sectors += sectors;
        }
    }

    /// HBM gives a core `bytes`, asked for at `at`; when they are at L2.
    fn read_hbm(&mut self, window: &mut Window, at: f64, bytes: f64, way: &GmWay) -> f64 {
        let read = self.hbm.book(0, at, bytes * self.hbm_byte);
        window.hbm_free = window.hbm_free.max(at) + bytes / way.hbm_bytes_per_cycle;
        read.max(window.hbm_free) + self.memory.miss_latency as f64
    }

    /// A line leaves L2 for HBM at `at`; when what drove it out may go on.
    fn write_back(&mut self, at: f64, bytes: u64, by_read: bool) -> f64 {
        let HbmRules { write_cost, turn_cost, write_back_bytes, .. } = self.hbm_rules;
        self.traffic.hbm_written_bytes += bytes;
        let cost = write_cost + if by_read { turn_cost } else { 0.0 };
        self.hbm.book(0, at, bytes as f64 * cost * self.hbm_byte) - write_back_bytes * self.hbm_byte
    }

    /// A request that leaves L2 out gets to HBM at `at`; when it is done there.
    fn past_l2(&mut self, window: &mut Window, at: f64, moved: u64, bytes: f64, way: &GmWay) -> f64 {
        if way.write {
            self.traffic.hbm_written_bytes += moved;
            return self.hbm.book(0, at, bytes * self.hbm_rules.write_cost * self.hbm_byte);
        }
        self.traffic.hbm_read_bytes += moved;
        self.read_hbm(window, at, bytes, way) + self.hbm_rules.past_l2_latency as f64
    }
}

#[cfg(test)]
#[path = "gm_tests.rs"]
mod tests;
