//! Instruction caches: a small one a sub-core, and the second level that all four share.
//!
//! A sub-core keeps the lines that were used last. The second level holds all of the code (128 KiB, Jia et
//! al.). ASSUMPTION(v100-fetch): code is fetched line by line, some lines ahead of where a warp is, and the
//! second level gives so many bytes a cycle, so late.

use super::Parameters;

/// A line of code, bytes.
const LINE: u64 = 128;
/// Bytes of an instruction.
const INSTRUCTION: u64 = 16;

/// What is kept near one sub-core.
#[derive(Debug, Default)]
struct Near {
    /// Line, cycle at which it is there, cycle at which it was used last.
    lines: Vec<(u64, u64, u64)>,
}

#[derive(Debug)]
pub(super) struct Fetch {
    near: [Near; 4],
    /// In units of a 1000th cycle: when the second level can take the next line.
    free: u64,
    parameters: Parameters,
}

impl Fetch {
    pub(super) fn new(parameters: Parameters) -> Self {
        Self { near: Default::default(), free: 0, parameters }
    }

    /// The cycle from which an instruction is there; what is missing is asked for.
    pub(super) fn ready(&mut self, sub_core: usize, index: u32, now: u64) -> u64 {
        if self.parameters.fetch_bytes == 0 {
            return now;
        }
        let line = u64::from(index) * INSTRUCTION / LINE;
        let ready = self.line(sub_core, line, now);
        for ahead in 1..=self.parameters.lines_ahead {
            self.line(sub_core, line + ahead, now);
        }
        ready
    }

    fn line(&mut self, sub_core: usize, line: u64, now: u64) -> u64 {
        let (near, p) = (&mut self.near[sub_core], &self.parameters);
        if let Some(found) = near.lines.iter_mut().find(|found| found.0 == line) {
            found.2 = now;
            return found.1.max(now);
        }
        self.free = self.free.max(1000 * now) + 1000 * LINE / p.fetch_bytes;
        let ready = self.free / 1000 + p.fetch_latency;
        if near.lines.len() as u64 >= (p.code_bytes / LINE).max(1) {
            let oldest = near.lines.iter().enumerate().min_by_key(|(_, found)| found.2).map(|(at, _)| at);
            near.lines.swap_remove(oldest.unwrap_or(0));
        }
        near.lines.push((line, ready, now));
        ready
    }
}
