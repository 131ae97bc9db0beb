//! Transfers between GM and cores as planners see them: what one costs its pipe while all cores do the same.

use crate::soc::GmPath;
use crate::Soc;

/// Bytes of a line of L2: a request asks for one line at most (dav-c220.md 1.2).
pub(super) const LINE: u64 = 512;

/// Bytes of a sector of a line.
const SECTOR: u64 = 128;

/// Bytes that the layout change from ND to NZ writes as one.
const BLOCK: u64 = 32;

/// What lines cost when all cores ask at once, in times of their even share of L2: requests do not spread
/// evenly over its parts. ASSUMPTION(cost-crowding): fitted on simulated launches.
const CROWDING: f64 = 1.2;

/// Exponent of the norm that joins the times of two bounds. ASSUMPTION(cost-overlap): fitted on simulated
/// launches.
const OVERLAP: f64 = 10.0;

/// Time of what is bound by two things side by side: that of either alone when the other is far below,
/// 2^(1/10) = 1.07 times both when they are equal.
pub(crate) fn overlapped(a: f64, b: f64) -> f64 {
    let longer = a.max(b);
    if longer <= 0.0 {
        return 0.0;
    }
    longer * ((a / longer).powf(OVERLAP) + (b / longer).powf(OVERLAP)).powf(1.0 / OVERLAP)
}

/// Rows of `bytes` bytes, `pitch` bytes apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) rows: u32,
    pub(crate) bytes: u32,
    pub(crate) pitch: u64,
}

impl Rows {
    /// Rows without gaps between them.
    pub(crate) fn dense(rows: u32, bytes: u32) -> Self {
        Self { rows, bytes, pitch: bytes.into() }
    }

    /// Runs of bytes without a gap: how many, and how long.
    fn runs(self) -> (u64, u64) {
        let (rows, bytes) = (u64::from(self.rows), u64::from(self.bytes));
        if self.pitch == bytes {
            (1, rows * bytes)
        } else {
            (rows, bytes)
        }
    }

    /// Lines of a run, in the mean, beyond those that its bytes fill: the first row starts on a line, others
    /// where the pitch puts them.
    fn straddled(self) -> f64 {
        let (runs, bytes) = self.runs();
        if runs == 1 || bytes == 0 {
            return 0.0;
        }
        let step = [self.pitch, bytes].into_iter().fold(LINE, gcd);
        (bytes + LINE - step) as f64 / LINE as f64 - bytes.div_ceil(LINE) as f64
    }

    /// Requests, each for a line or a part of one.
    fn requests(self) -> f64 {
        let (runs, bytes) = self.runs();
        runs as f64 * (bytes.div_ceil(LINE) as f64 + self.straddled()).max(0.0)
    }

    /// What they cost L2, in lines: `request_share` of a line's time goes to the request, the rest to its
    /// sectors (docs/timing.md).
    pub(crate) fn lines(self, request_share: f64) -> f64 {
        let (runs, bytes) = self.runs();
        let rest = bytes % LINE;
        let rest = if rest > 0 { part_of_line(rest.next_multiple_of(SECTOR), request_share) } else { 0.0 };
        runs as f64 * ((bytes / LINE) as f64 + rest + request_share * self.straddled())
    }
}

/// What a request for so many bytes costs L2, in lines.
fn part_of_line(bytes: u64, request_share: f64) -> f64 {
    request_share + (1.0 - request_share) * bytes as f64 / LINE as f64
}

pub(super) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        gcd(b, a % b)
    }
}

/// Transfers of `cores` core groups that do the same at about the same time.
#[derive(Clone, Copy)]
pub(crate) struct Traffic<'a> {
    pub(crate) soc: &'a Soc,
    pub(crate) cores: u32,
}

impl Traffic<'_> {
    /// Cycles of L2 for a line that is read.
    pub(crate) fn line(&self) -> f64 {
        LINE as f64 * f64::from(self.soc.clock_mhz) / (self.soc.timing.memory.l2_read_gbps * 1000.0)
    }

    /// Cycles for which a read keeps its pipe busy. `sharers` of each group read, so each gets no more than
    /// its part of L2.
    pub(crate) fn read(&self, path: &GmPath, rows: Rows, sharers: u32) -> f64 {
        self.transfer(path, rows, f64::from(sharers * self.cores) * self.line())
    }

    /// The same with the layout change from ND to NZ, which is slow for rows off a block and reads others in
    /// requests of one size (docs/timing.md).
    pub(crate) fn read_nd2nz(&self, rows: Rows, sharers: u32) -> f64 {
        let gm = &self.soc.timing.gm;
        let path = gm.to_l1_nd2nz;
        let (runs, bytes) = rows.runs();
        let is_apart = runs > 1;
        if is_apart && !rows.pitch.is_multiple_of(BLOCK) {
            let bytes_per_cycle = path.bytes_per_cycle.min(gm.unaligned_nd2nz_bytes_per_cycle);
            return self.read(&GmPath { bytes_per_cycle, ..path }, rows, sharers);
        }
        let fits =
            |size: &u64| bytes.is_multiple_of(*size) && (!is_apart || rows.pitch.is_multiple_of(*size));
        let size = [LINE, LINE / 2].into_iter().find(fits).unwrap_or(SECTOR);
        if size == LINE {
            return self.read(&path, rows, sharers);
        }
        let part = part_of_line(size, self.soc.timing.l2.request_share);
        let share = f64::from(sharers * self.cores) * self.line() * part * CROWDING;
        let requests = runs as f64 * bytes.div_ceil(size) as f64;
        let answers = path.latency as f64 / gm.outstanding.max(1) as f64;
        let pace = (size as f64 / path.bytes_per_cycle).max(path.request).max(share).max(answers);
        (requests * pace).max(path.issue as f64)
    }

    /// The same for a write.
    pub(crate) fn write(&self, path: &GmPath, rows: Rows, sharers: u32) -> f64 {
        let line = self.line() * self.soc.timing.memory.l2_write_cost;
        self.transfer(path, rows, f64::from(sharers * self.cores) * line)
    }

    /// `share`: cycles that L2 needs for one line of every sharer.
    fn transfer(&self, path: &GmPath, rows: Rows, share: f64) -> f64 {
        let (runs, bytes) = rows.runs();
        let pace = |bytes: u64| (bytes as f64 / path.bytes_per_cycle).max(path.request).max(share * CROWDING);
        let rest = bytes % LINE;
        let run = (bytes / LINE) as f64 * pace(LINE)
            + if rest > 0 { pace(rest) } else { 0.0 }
            + rows.straddled() * pace(0);
        let answers = rows.requests() * path.latency as f64 / self.soc.timing.gm.outstanding.max(1) as f64;
        (runs as f64 * run).max(answers).max(path.issue as f64)
    }
}
