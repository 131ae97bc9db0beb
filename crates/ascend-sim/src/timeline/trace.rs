//! Chrome traces of a schedule, for Perfetto and MindStudio Insight (acl-runtime.md 5.3).
//!
//! A process for each device, a track for each of its streams, an arrow for each event that a stream waited
//! for.

use std::io::{self, Write};

use chrome_trace::{
    arrow, write_end, write_event, write_start, Bar, Id, Metadata, Track, PLAIN_HEAD, SEPARATOR,
};
use serde::Serialize;

use super::schedule::{Edge, Point, Schedule, Span, SpanKind};

/// What the file says about itself.
#[derive(Serialize)]
struct About {
    time: &'static str,
    makespan_us: f64,
    contention: f64,
}

/// Numbers in a trace begin at 1: 0 names a process as a whole.
fn track(device: u32, stream: u32) -> Track {
    Track { pid: Id::Number(device + 1), tid: Id::Number(stream + 1) }
}

fn process(device: u32) -> Track {
    Track { pid: Id::Number(device + 1), tid: Id::Number(0) }
}

fn colour(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Launch => "startup",
        SpanKind::Kernel => "thread_state_running",
        SpanKind::Transfer => "rail_response",
        SpanKind::Copy => "thread_state_iowait",
        SpanKind::Host => "thread_state_runnable",
        SpanKind::Wait => "grey",
    }
}

impl Schedule {
    /// Writes the schedule as a Chrome trace (JSON). Spans without duration are left out.
    ///
    /// # Errors
    /// What `to` reports.
    pub fn write_trace(&self, to: &mut dyn Write) -> io::Result<()> {
        let about = About {
            time: "model time of the simulator, not measured; ts and dur in microseconds",
            makespan_us: self.makespan_us,
            contention: self.contention,
        };
        write_start(to, "system", &about)?;
        let mut separator = "\n";
        for entry in self.names() {
            write_event(to, separator, &entry)?;
            separator = SEPARATOR;
        }
        for span in self.bars() {
            let (title, detail) = match span.kind {
                SpanKind::Launch => (format!("launch {}", span.name), "launch"),
                SpanKind::Wait => (format!("wait for {}", span.name), "wait"),
                SpanKind::Kernel => (span.name.clone(), "kernel"),
                SpanKind::Transfer => (span.name.clone(), "transfer"),
                SpanKind::Copy => (span.name.clone(), "copy"),
                SpanKind::Host => ("host function".to_owned(), "host"),
            };
            let time = (span.start_us, span.end_us);
            let bar = Bar::new(&title, colour(span.kind), time, track(span.device, span.stream));
            write_event(to, SEPARATOR, &bar.with_detail(detail.to_owned(), span.bytes))?;
        }
        for (id, edge) in self.edges.iter().enumerate() {
            self.write_arrow(to, id, edge)?;
        }
        write_end(to)
    }

    fn bars(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.end_us > span.start_us)
    }

    fn names(&self) -> Vec<Metadata<'static>> {
        let mut names = Vec::new();
        for device in &self.devices {
            let number = device.device;
            let name = Id::Text(format!("device {number}"));
            names.push(Metadata::new("process_name", process(number), "name", name));
            names.push(Metadata::new(
                "process_sort_index",
                process(number),
                "sort_index",
                Id::Number(number + 1),
            ));
            for stream in 0..device.streams {
                let (track, name) = (track(number, stream), Id::Text(format!("stream {stream}")));
                names.push(Metadata::new("thread_name", track.clone(), "name", name));
                names.push(Metadata::new("thread_sort_index", track, "sort_index", Id::Number(stream + 1)));
            }
        }
        names
    }

    /// The arrow of an event, from the bar that ended before its record to the one that began after the wait.
    /// Where one of them is missing there is nothing to fasten it to.
    fn write_arrow(&self, to: &mut dyn Write, id: usize, edge: &Edge) -> io::Result<()> {
        let of = |point: Point| {
            self.bars().filter(move |span| (span.device, span.stream) == (point.device, point.stream))
        };
        let before = of(edge.record).filter(|span| span.end_us <= edge.record.at_us).last();
        let after = of(edge.wait).find(|span| span.start_us >= edge.wait.at_us);
        let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
        let from = ((before.start_us, before.end_us), track(before.device, before.stream));
        let head = (after.start_us, track(after.device, after.stream));
        for end in arrow(id, "event", from, head, PLAIN_HEAD) {
            write_event(to, SEPARATOR, &end)?;
        }
        Ok(())
    }
}
