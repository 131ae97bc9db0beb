//! Chrome traces of a launch, for Perfetto and MindStudio Insight (acl-runtime.md 5.3).
//!
//! An instruction is drawn on its pipe's lane from its start until the pipe takes the next one, so that the
//! bars of a lane never overlap; when its result was visible is in `detail`. An arrow leads from the
//! instruction whose completion set a flag to the one that the flag held back; flags that held nothing back
//! have no arrow.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use chrome_trace::{
    arrow, rounded, write_end, write_event, write_start, Arrow, Bar, Head, Id, Metadata, Track, PLAIN_HEAD,
    SEPARATOR,
};
use serde::Serialize;

use super::report::{Cause, LaunchReport, TraceEvent};
use crate::access::Pipe;

/// Shape of a trace file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceDialect {
    /// As CANN's simulator writes it: cores and pipes are named by strings in `pid` and `tid`.
    #[default]
    Vendor,
    /// Integers in `pid` and `tid`, named by metadata, as the format's description asks for.
    Integer,
}

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// Shape of the file.
    pub dialect: TraceDialect,
    /// Groups of cores to write; all when `None`.
    pub groups: Option<Vec<u32>>,
    /// Longest file, in bytes before compression. Groups are left out to stay below it, the last ones first;
    /// of a single group, what starts last.
    pub max_bytes: u64,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self { dialect: TraceDialect::default(), groups: None, max_bytes: 100_000_000 }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceWritten {
    /// Instructions.
    pub instructions: u64,
    /// Arrows.
    pub flows: u64,
    /// What the launch did that is not in the file; the file says the same.
    pub left_out: Option<String>,
}

impl LaunchReport {
    /// Writes the launch as a Chrome trace (JSON), piece by piece; `progress` is called with the number of
    /// events dealt with so far.
    ///
    /// # Errors `InvalidInput` when the launch was not traced, has no group of a number asked for, or has no
    /// instruction that fits; else what `to` reports.
    pub fn write_trace(
        &self,
        to: &mut dyn Write,
        options: &TraceOptions,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<TraceWritten> {
        let writer = TraceWriter { report: self, dialect: options.dialect };
        let kept = writer.select(options)?;
        writer.write(to, &kept, progress)
    }
}

/// What fits.
struct Kept {
    groups: BTreeSet<u32>,
    /// Instructions that start here or later are left out.
    until: f64,
    left_out: Option<String>,
}

impl Kept {
    fn has(&self, event: &TraceEvent) -> bool {
        event.start < self.until && self.groups.contains(&event.group)
    }
}

/// What the file says about itself.
#[derive(Serialize)]
struct About<'a> {
    time: &'static str,
    kernel: &'a str,
    soc: &'a str,
    clock_mhz: u32,
    blocks: u32,
    cycles: f64,
    left_out: &'a str,
}

/// The vendor's name of a pipe, its place among the lanes, and its colour.
fn lane(pipe: Pipe) -> (&'static str, u32, &'static str) {
    match pipe {
        Pipe::S => ("SCALAR", 1, "startup"),
        Pipe::Mte1 => ("MTE1", 3, "thread_state_running"),
        Pipe::M => ("CUBE", 4, "background_memory_dump"),
        Pipe::Fix => ("FIXP", 5, "thread_state_unknown"),
        Pipe::Mte2 => ("MTE2", 6, "thread_state_iowait"),
        Pipe::V => ("VECTOR", 7, "cq_build_failed"),
        Pipe::Mte3 => ("MTE3", 8, "rail_response"),
    }
}

/// The vendor's name of a core, and its place among all.
fn core_name(group: u32, core: &str) -> (String, u32) {
    match core.strip_prefix("AIV") {
        Some(number) => {
            let vector = u32::from(number == "1");
            (format!("core{group}.veccore{vector}"), group * 3 + 2 + vector)
        }
        None => (format!("core{group}.cubecore0"), group * 3 + 1),
    }
}

/// Counts what is written to it.
#[derive(Default)]
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that `write` writes.
fn counted<T>(write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<u64> {
    let mut counter = Counter::default();
    write(&mut counter)?;
    Ok(counter.0)
}

struct TraceWriter<'a> {
    report: &'a LaunchReport,
    dialect: TraceDialect,
}

/// Events dealt with between two calls of `progress`.
const PROGRESS_STEP: usize = 4096;

impl TraceWriter<'_> {
    fn us(&self, cycles: f64) -> f64 {
        rounded(cycles / f64::from(self.report.soc.clock_mhz))
    }

    fn pid(&self, group: u32, core: &str) -> Id {
        let (name, place) = core_name(group, core);
        match self.dialect {
            TraceDialect::Vendor => Id::Text(name),
            TraceDialect::Integer => Id::Number(place),
        }
    }

    fn tid(&self, pipe: Pipe) -> Id {
        let (name, place, _) = lane(pipe);
        match self.dialect {
            TraceDialect::Vendor => Id::Text(name.to_owned()),
            TraceDialect::Integer => Id::Number(place),
        }
    }

    fn track(&self, event: &TraceEvent) -> Track {
        Track { pid: self.pid(event.group, event.core), tid: self.tid(event.pipe) }
    }

    /// Chooses what to keep, by the bytes that everything takes.
    fn select(&self, options: &TraceOptions) -> io::Result<Kept> {
        let trace = &self.report.trace;
        let there: BTreeSet<u32> = self.report.cores.iter().map(|c| c.group).collect();
        let asked = self.asked(options, &there)?;
        let mut kept = Kept { groups: BTreeSet::new(), until: f64::INFINITY, left_out: None };
        let head = counted(|to| self.write_head(to, &kept))?;
        let room = options.max_bytes.saturating_sub(head + ABOUT_LEFT_OUT);

        let all = Kept { groups: asked, until: f64::INFINITY, left_out: None };
        let mut sizes = vec![0u64; trace.len()];
        let mut by_group: BTreeMap<u32, u64> = BTreeMap::new();
        for (i, event) in trace.iter().enumerate().filter(|(_, e)| all.has(e)) {
            sizes[i] = counted(|to| self.write_event(to, i, &all))?;
            *by_group.entry(event.group).or_default() += sizes[i];
        }
        let mut used = 0;
        for &group in &all.groups {
            let mut separator = SEPARATOR;
            used += counted(|to| self.write_names(to, group, &mut separator))?;
            let with_events = used + by_group.get(&group).copied().unwrap_or(0);
            if with_events > room && !kept.groups.is_empty() {
                break;
            }
            kept.groups.insert(group);
            if with_events > room {
                kept.until = self.cut(group, &sizes, room.saturating_sub(used));
                break;
            }
            used = with_events;
        }
        if !trace.iter().any(|event| kept.has(event)) {
            let text =
                format!("max_bytes = {} is too few for any instruction of the launch", options.max_bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        kept.left_out = self.left_out(&there, &kept);
        Ok(kept)
    }

    fn asked(&self, options: &TraceOptions, there: &BTreeSet<u32>) -> io::Result<BTreeSet<u32>> {
        let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if self.report.trace.is_empty() {
            return invalid(format!(
                "the launch of {} holds no trace: it was not traced",
                self.report.kernel
            ));
        }
        let Some(asked) = &options.groups else { return Ok(there.clone()) };
        let asked: BTreeSet<u32> = asked.iter().copied().collect();
        match asked.difference(there).next() {
            Some(group) => invalid(format!("the launch has no core {group}; it ran on {}", ranges(there))),
            None if asked.is_empty() => {
                invalid(format!("no core was named; the launch ran on {}", ranges(there)))
            }
            None => Ok(asked),
        }
    }

    /// Time from which on nothing of a group fits.
    fn cut(&self, group: u32, sizes: &[u64], room: u64) -> f64 {
        let trace = &self.report.trace;
        let mut order: Vec<usize> = (0..trace.len()).filter(|i| trace[*i].group == group).collect();
        order.sort_by(|a, b| trace[*a].start.total_cmp(&trace[*b].start));
        let mut used = 0;
        for i in order {
            used += sizes[i];
            if used > room {
                return trace[i].start;
            }
        }
        f64::INFINITY
    }

    fn left_out(&self, there: &BTreeSet<u32>, kept: &Kept) -> Option<String> {
        let gone: BTreeSet<u32> = there.difference(&kept.groups).copied().collect();
        let mut parts = Vec::new();
        if !gone.is_empty() {
            parts.push(ranges(&gone));
        }
        if kept.until.is_finite() {
            parts.push(format!("instructions from {} us on", self.us(kept.until)));
        }
        let lost = self.report.trace.iter().filter(|e| !kept.has(e)).count();
        (!parts.is_empty())
            .then(|| format!("{}: {lost} of {} instructions", parts.join(", "), self.report.trace.len()))
    }

    fn write(
        &self,
        to: &mut dyn Write,
        kept: &Kept,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<TraceWritten> {
        let mut written = TraceWritten { instructions: 0, flows: 0, left_out: kept.left_out.clone() };
        self.write_head(to, kept)?;
        for (i, event) in self.report.trace.iter().enumerate() {
            if i % PROGRESS_STEP == 0 {
                progress(i as u64);
            }
            if kept.has(event) {
                written.instructions += 1;
                written.flows += u64::from(self.write_event(to, i, kept)?);
            }
        }
        write_end(to)?;
        progress(self.report.trace.len() as u64);
        Ok(written)
    }

    /// Everything up to the first instruction: names and order of cores and pipes.
    fn write_head(&self, to: &mut dyn Write, kept: &Kept) -> io::Result<()> {
        let report = self.report;
        let about = About {
            time: "model time of the simulator, not measured; ts and dur in microseconds",
            kernel: &report.kernel,
            soc: &report.soc.name,
            clock_mhz: report.soc.clock_mhz,
            blocks: report.blocks,
            cycles: report.cycles,
            left_out: kept.left_out.as_deref().unwrap_or("nothing"),
        };
        write_start(to, "op", &about)?;
        let mut separator = "\n";
        for group in &kept.groups {
            self.write_names(to, *group, &mut separator)?;
        }
        Ok(())
    }

    /// Names and order of the cores of a group and of their pipes.
    fn write_names(&self, to: &mut dyn Write, group: u32, separator: &mut &str) -> io::Result<()> {
        for core in self.report.cores.iter().filter(|c| c.group == group) {
            let used = Pipe::ALL.into_iter().filter(|p| core.pipes[*p as usize].instructions > 0);
            for metadata in self.names(core.group, core.core, used) {
                write_event(to, separator, &metadata)?;
                *separator = SEPARATOR;
            }
        }
        Ok(())
    }

    fn names(&self, group: u32, core: &str, pipes: impl Iterator<Item = Pipe>) -> Vec<Metadata<'static>> {
        let (core_name, core_place) = core_name(group, core);
        let is_integer = self.dialect == TraceDialect::Integer;
        let entry = |name, tid: Id, key, value| {
            Metadata::new(name, Track { pid: self.pid(group, core), tid }, key, value)
        };
        let no_tid = || if is_integer { Id::Number(0) } else { Id::Text("NA".to_owned()) };
        let mut names = vec![entry("process_sort_index", no_tid(), "sort_index", Id::Number(core_place))];
        if is_integer {
            names.push(entry("process_name", no_tid(), "name", Id::Text(core_name)));
        }
        for pipe in pipes {
            let (name, place, _) = lane(pipe);
            names.push(entry("thread_sort_index", self.tid(pipe), "sort_index", Id::Number(place)));
            if is_integer {
                names.push(entry("thread_name", self.tid(pipe), "name", Id::Text(name.to_owned())));
            }
        }
        names
    }

    /// One instruction and the arrow that leads to it; tells whether there is one.
    fn write_event(&self, to: &mut dyn Write, number: usize, kept: &Kept) -> io::Result<bool> {
        let event = &self.report.trace[number];
        let (_, _, cname) = lane(event.pipe);
        let detail = format!(
            "block {} insn {}, waited for {}, result at {}",
            event.block,
            event.number,
            event.cause,
            self.us(event.done)
        );
        let time = (self.us(event.start), self.us(event.free));
        let bar = Bar::new(event.mnemonic, cname, time, self.track(event));
        write_event(to, SEPARATOR, &bar.with_detail(detail, event.gm_bytes))?;
        let Some(setter) = self.setter(event).filter(|s| kept.has(s)) else { return Ok(false) };
        let cat = format!("{}To{}", lane(setter.pipe).0, lane(event.pipe).0);
        for end in self.arrow(number, &cat, setter, event) {
            write_event(to, SEPARATOR, &end)?;
        }
        Ok(true)
    }

    /// The instruction whose completion set the flag that held this one back.
    fn setter(&self, event: &TraceEvent) -> Option<&TraceEvent> {
        if !matches!(event.cause, Cause::Flag(_) | Cause::Cross) {
            return None;
        }
        self.report.trace.get(event.before? as usize)
    }

    fn arrow<'a>(&self, id: usize, cat: &'a str, setter: &TraceEvent, waiter: &TraceEvent) -> [Arrow<'a>; 2] {
        let head: Head = match self.dialect {
            TraceDialect::Vendor => ("t", None),
            TraceDialect::Integer => PLAIN_HEAD,
        };
        let from = ((self.us(setter.start), self.us(setter.free)), self.track(setter));
        arrow(id, cat, from, (self.us(waiter.start), self.track(waiter)), head)
    }
}

/// Bytes that [`Kept::left_out`] adds to the head at most.
const ABOUT_LEFT_OUT: u64 = 1024;

/// `cores 0-3, 7`.
fn ranges(groups: &BTreeSet<u32>) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &group in groups {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == group => *last = group,
            _ => parts.push((group, group)),
        }
    }
    let text: Vec<String> = parts
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    format!("cores {}", text.join(", "))
}
