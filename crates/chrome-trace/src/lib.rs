//! Events of Chrome traces, and how they are written one by one: for traces of a launch (the machine) and of
//! streams and ranks (the simulated runtime). Times are microseconds.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

/// Names a process or one of its tracks.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A name.
    Text(String),
    /// A number.
    Number(u32),
}

/// A track.
#[derive(Clone, Debug, Serialize)]
pub struct Track {
    /// The process.
    pub pid: Id,
    /// The track in it.
    pub tid: Id,
}

/// Something with a duration.
#[derive(Debug, Serialize)]
pub struct Bar<'a> {
    name: &'a str,
    cname: &'static str,
    ph: &'static str,
    ts: f64,
    dur: f64,
    #[serde(flatten)]
    track: Track,
    args: BarArgs,
}

#[derive(Debug, Serialize)]
struct BarArgs {
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_bytes: Option<u64>,
}

impl<'a> Bar<'a> {
    /// From `start` to `end` microseconds; `cname` is a colour.
    pub fn new(name: &'a str, cname: &'static str, (start, end): (f64, f64), track: Track) -> Self {
        let ts = rounded(start);
        let dur = rounded(rounded(end) - ts);
        let args = BarArgs { detail: String::new(), process_bytes: None };
        Self { name, cname, ph: "X", ts, dur, track, args }
    }

    /// With a text, and with bytes that were moved, if any.
    #[must_use]
    pub fn with_detail(mut self, detail: String, bytes: u64) -> Self {
        self.args = BarArgs { detail, process_bytes: (bytes > 0).then_some(bytes) };
        self
    }
}

/// One end of an arrow.
#[derive(Debug, Serialize)]
pub struct Arrow<'a> {
    name: &'static str,
    cat: &'a str,
    id: usize,
    ph: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    ts: f64,
    #[serde(flatten)]
    track: Track,
}

/// How the head of an arrow is written: its phase and binding point.
pub type Head = (&'static str, Option<&'static str>);

/// As the format's description asks for.
pub const PLAIN_HEAD: Head = ("f", Some("e"));

/// Both ends of arrow `id`, from a bar with start and end to a time.
pub fn arrow(
    id: usize,
    cat: &str,
    from: ((f64, f64), Track),
    to: (f64, Track),
    (ph, bp): Head,
) -> [Arrow<'_>; 2] {
    let ((start, end), track) = from;
    // A viewer fastens an arrow to the bar that covers its time: a nanosecond before the end is still that
    // bar's.
    let last = rounded(rounded(end) - 0.001).max(rounded(start));
    [
        Arrow { name: "flow", cat, id, ph: "s", bp: None, ts: last, track },
        Arrow { name: "flow", cat, id, ph, bp, ts: rounded(to.0), track: to.1 },
    ]
}

/// Name or place of a process or track.
#[derive(Debug, Serialize)]
pub struct Metadata<'a> {
    name: &'a str,
    ph: &'static str,
    #[serde(flatten)]
    track: Track,
    args: BTreeMap<&'static str, Id>,
}

impl<'a> Metadata<'a> {
    /// `name` of a track, or of a process, is `value` under `key`.
    pub fn new(name: &'a str, track: Track, key: &'static str, value: Id) -> Self {
        Self { name, ph: "M", track, args: BTreeMap::from([(key, value)]) }
    }
}

/// Microseconds to four decimals, finer than a cycle.
pub fn rounded(us: f64) -> f64 {
    (us * 1e4).round() / 1e4
}

/// Everything before the events. `about` is what the file says about itself.
///
/// # Errors
/// Those of `to`.
pub fn write_start(to: &mut dyn Write, profiling: &str, about: &impl Serialize) -> io::Result<()> {
    write!(to, r#"{{"schemaVersion":2,"displayTimeUnit":"ns","profilingType":"{profiling}","otherData":"#)?;
    serde_json::to_writer(&mut *to, about)?;
    write!(to, r#","traceEvents":["#)
}

/// Between two events.
pub const SEPARATOR: &str = ",\n";

/// One event, with what separates it from the one before.
///
/// # Errors
/// Those of `to`.
pub fn write_event(to: &mut dyn Write, separator: &str, event: &impl Serialize) -> io::Result<()> {
    write!(to, "{separator}")?;
    serde_json::to_writer(to, event)?;
    Ok(())
}

/// Everything behind the events.
///
/// # Errors
/// Those of `to`.
pub fn write_end(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(b"\n]}\n")
}
