//! The times that a timeline finds.

use serde::Serialize;

/// What a stream does in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpanKind {
    /// A kernel is launched, and its completion is told; it needs no cores.
    Launch,
    /// A kernel is on the cores.
    Kernel,
    /// A collective, or a transfer between two ranks, is on the links.
    Transfer,
    /// A copy or a fill of memory.
    Copy,
    /// A function of the program runs on the host.
    Host,
    /// It waits: for an `event`, for the `cores`, for the other `ranks` of a collective, for the `links`
    /// between devices, or for the `host`: its part of another stream, or the link to it.
    Wait,
}

/// What a stream does for a while. The spans of a stream follow each other without gaps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// Number of the device.
    pub device: u32,
    /// Number of the stream on its device.
    pub stream: u32,
    /// What is done.
    pub kind: SpanKind,
    /// Kernel, collective, kind of copy, or what is waited for.
    pub name: String,
    /// When it begins.
    pub start_us: f64,
    /// When it ends.
    pub end_us: f64,
    /// Bytes of a copy, or in the larger buffer of a rank; 0 for everything else.
    pub bytes: u64,
}

impl Span {
    /// How long it is.
    pub fn duration_us(&self) -> f64 {
        self.end_us - self.start_us
    }
}

/// A moment of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Number of the device.
    pub device: u32,
    /// Number of the stream on its device.
    pub stream: u32,
    /// When.
    pub at_us: f64,
}

/// An event that ordered two points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Edge {
    /// The event was recorded.
    pub record: Point,
    /// The stream that waited for it went on.
    pub wait: Point,
}

/// What a device did, all its streams together. Launches and copies are in none of the times but the idle
/// one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceTime {
    /// Number of the device.
    pub device: u32,
    /// Name of the SoC.
    pub soc: &'static str,
    /// Streams that had work.
    pub streams: u32,
    /// A kernel was on the cores.
    pub computing_us: f64,
    /// A collective or transfer was on the links.
    pub transferring_us: f64,
    /// Both.
    pub overlap_us: f64,
    /// Neither, up to the end of all devices.
    pub idle_us: f64,
}

/// Times of all streams on one clock. Model time, not measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Schedule {
    /// By device, stream and time.
    pub spans: Vec<Span>,
    /// Events that ordered streams, by the time at which waits ended.
    pub edges: Vec<Edge>,
    /// Every device.
    pub devices: Vec<DeviceTime>,
    /// When the last work ended.
    pub makespan_us: f64,
    /// Factor on the time of a kernel and of a transfer while both run on a device.
    pub contention: f64,
}

impl Schedule {
    /// The spans of a stream, in order.
    pub fn stream(&self, device: u32, stream: u32) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| (span.device, span.stream) == (device, stream))
    }
}
