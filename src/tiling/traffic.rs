//! Transfers between GM and cores as planners see them: what one costs its pipe while all cores do the same.

use crate::soc::GmPath;
use crate::Soc;

/// Bytes of a line of L2: a request asks for one line at most (dav-c220.md 1.2).
pub(crate) const LINE: u64 = 512;

/// Bytes of a sector of a line.
const SECTOR: u64 = 128;

/// Bytes that the layout change from ND to NZ writes as one.
const BLOCK: u64 = 32;

/// What lines cost a port, and the slices of L2, while all cores ask for them, in times of their even share:
/// requests come in bursts, and do not spread evenly over the slices. ASSUMPTION(cost-crowding): fitted on
/// simulated launches.
const PORT_CROWDING: f64 = 1.05;
const SLICE_CROWDING: f64 = 1.2;

/// Of the reads of a line that several cores want at about the same time, the part that pays for it. The
/// first core does not, and others may be apart by then. ASSUMPTION(cost-same-line): fitted on simulated
/// launches.
const SAME_LINES: f64 = 0.9;

/// How much longer a transfer takes while other transfers of the launch keep L2 busy all the time, in times
/// of its own pipe's. ASSUMPTION(cost-others): fitted on simulated launches.
const OTHERS: f64 = 1.2;

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

    /// Requests of the layout change from ND to NZ, all of one size, and that size (docs/timing.md); none for
    /// rows off a block.
    pub(crate) fn nd2nz_requests(self) -> Option<(f64, u64)> {
        let (runs, bytes) = self.runs();
        let is_apart = runs > 1;
        if is_apart && !self.pitch.is_multiple_of(BLOCK) {
            return None;
        }
        let fits =
            |size: &u64| bytes.is_multiple_of(*size) && (!is_apart || self.pitch.is_multiple_of(*size));
        let size = [LINE, LINE / 2].into_iter().find(fits).unwrap_or(SECTOR);
        Some((runs as f64 * bytes.div_ceil(size) as f64, size))
    }

    /// Cycles of their requests on a path of its own.
    fn pipe_cycles(self, path: &GmPath) -> f64 {
        let (runs, bytes) = self.runs();
        let pace = |bytes: u64| (bytes as f64 / path.bytes_per_cycle).max(path.request);
        let rest = bytes % LINE;
        let run = (bytes / LINE) as f64 * pace(LINE) + if rest > 0 { pace(rest) } else { 0.0 };
        (runs as f64 * run).max(self.requests() * path.request)
    }

    /// What they cost L2, in lines, where `request_share` of a line's time goes to the request and the rest
    /// to its sectors: that of the slices of L2, and 0 for its ports (docs/timing.md).
    pub(crate) fn lines(self, request_share: f64) -> f64 {
        let (runs, bytes) = self.runs();
        let rest = part_of_line(bytes % LINE, request_share);
        runs as f64 * ((bytes / LINE) as f64 + rest + request_share * self.straddled())
    }
}

/// What a request for so many bytes costs L2, in lines; nothing for no bytes.
fn part_of_line(bytes: u64, request_share: f64) -> f64 {
    if bytes == 0 {
        return 0.0;
    }
    request_share + (1.0 - request_share) * bytes.next_multiple_of(SECTOR) as f64 / LINE as f64
}

pub(super) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        gcd(b, a % b)
    }
}

/// Of the reads of a line by so many cores at about the same time, the part that finds it busy.
pub(crate) fn same_lines(cores: f64) -> f64 {
    SAME_LINES * (1.0 - 1.0 / cores.max(1.0))
}

/// Transfers of `cores` core groups that do the same at about the same time.
#[derive(Clone, Copy)]
pub(crate) struct Traffic<'a> {
    pub(crate) soc: &'a Soc,
    pub(crate) cores: u32,
    /// Part of the time for which other transfers of the launch keep L2 busy.
    pub(crate) busy: f64,
}

impl Traffic<'_> {
    fn line(&self, gbps: f64) -> f64 {
        LINE as f64 * f64::from(self.soc.clock_mhz) / (gbps * 1000.0)
    }

    /// Cycles of a port of L2 for a line that each of the core groups reads that share it.
    pub(crate) fn port_line(&self) -> f64 {
        let memory = &self.soc.timing.memory;
        let ports = u32::try_from(memory.l2_ports).unwrap_or(u32::MAX).max(1);
        self.line(memory.l2_read_gbps) * f64::from(ports) * f64::from(self.cores.div_ceil(ports))
    }

    /// Cycles of the slices of L2 for a line that each core group reads.
    pub(crate) fn slice_line(&self) -> f64 {
        self.line(self.soc.timing.memory.l2_slice_gbps) * f64::from(self.cores)
    }

    /// What a line costs a port of which a part of the reads meets those of other cores, in lines that only
    /// one core reads.
    pub(crate) fn same_line(&self, same_lines: f64) -> f64 {
        1.0 + (self.soc.timing.l2.same_line_cost - 1.0) * same_lines
    }

    /// Cycles for which a port is busy with rows that each core group reads.
    pub(crate) fn port_read(&self, rows: Rows, same_lines: f64) -> f64 {
        rows.lines(0.0) * self.port_line() * self.same_line(same_lines)
    }

    /// The same for rows that each core group writes.
    pub(crate) fn port_write(&self, rows: Rows) -> f64 {
        rows.lines(0.0) * self.port_line() * self.soc.timing.memory.l2_write_cost
    }

    fn slices(&self, rows: Rows) -> f64 {
        rows.lines(self.soc.timing.l2.request_share) * self.slice_line()
    }

    /// Cycles for which a read keeps its pipe busy. `sharers` of each group read, so each gets no more than
    /// its part of L2.
    pub(crate) fn read(&self, path: &GmPath, rows: Rows, sharers: u32) -> f64 {
        let shared = [self.port_read(rows, 0.0), self.slices(rows)].map(|c| c * f64::from(sharers));
        self.pipe(path, rows.requests(), rows.pipe_cycles(path), shared)
    }

    /// The same for a write.
    pub(crate) fn write(&self, path: &GmPath, rows: Rows, sharers: u32) -> f64 {
        let write_cost = self.soc.timing.memory.l2_write_cost;
        let shared = [self.port_write(rows), write_cost * self.slices(rows)].map(|c| c * f64::from(sharers));
        self.pipe(path, rows.requests(), rows.pipe_cycles(path), shared)
    }

    /// The same for a read by the Cube with the layout change from ND to NZ, which is slow for rows off a
    /// block and reads others in requests of one size (docs/timing.md); `same_lines` as in
    /// [`Self::same_line`].
    pub(crate) fn read_nd2nz(&self, rows: Rows, same_lines: f64) -> f64 {
        let gm = &self.soc.timing.gm;
        let path = gm.to_l1_nd2nz;
        let port = self.port_read(rows, same_lines);
        let Some((requests, size)) = rows.nd2nz_requests() else {
            let bytes_per_cycle = path.bytes_per_cycle.min(gm.unaligned_nd2nz_bytes_per_cycle);
            let path = GmPath { bytes_per_cycle, ..path };
            return self.pipe(&path, rows.requests(), rows.pipe_cycles(&path), [port, self.slices(rows)]);
        };
        let cycles = requests * (size as f64 / path.bytes_per_cycle).max(path.request);
        let part = part_of_line(size, self.soc.timing.l2.request_share);
        self.pipe(&path, requests, cycles, [port, requests * part * self.slice_line()])
    }

    /// Cycles that such a read takes if all comes from HBM, by L2 or past it: those of HBM for all cores, of
    /// the core's part of it, and of its requests under way. `same_lines` as in [`Self::same_line`].
    pub(crate) fn read_nd2nz_from_hbm(&self, rows: Rows, is_past_l2: bool, same_lines: f64) -> f64 {
        let timing = &self.soc.timing;
        let (memory, gm) = (&timing.memory, &timing.gm);
        let (requests, size) = rows.nd2nz_requests().unwrap_or((rows.requests(), LINE));
        let (gbps, request, further) = match is_past_l2 {
            true => {
                let bytes = (size as f64).max(timing.hbm.past_l2_bytes) * self.same_line(same_lines);
                (memory.hbm_gbps, bytes, timing.hbm.past_l2_latency)
            }
            false => (memory.hbm_fill_gbps, size as f64, 0),
        };
        let bytes = requests * request;
        let all = bytes * f64::from(self.cores) * f64::from(self.soc.clock_mhz) / (gbps * 1000.0);
        let latency = (gm.to_l1_nd2nz.latency + memory.miss_latency + further) as f64;
        all.max(bytes / gm.aic_hbm_bytes_per_cycle).max(requests * latency / gm.outstanding.max(1) as f64)
    }

    /// Cycles of a pipe that needs `cycles` by itself, while ports and slices need those of `shared` for all
    /// cores.
    fn pipe(&self, path: &GmPath, requests: f64, cycles: f64, [port, slices]: [f64; 2]) -> f64 {
        let shared = (PORT_CROWDING * port).max(SLICE_CROWDING * slices);
        let answers = requests * path.latency as f64 / self.soc.timing.gm.outstanding.max(1) as f64;
        cycles.max(shared + OTHERS * self.busy * cycles).max(answers).max(path.issue as f64)
    }
}
