//! `--device`: the kernels of the rows on a chip, timed by its events, beside model time of the same chip.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use fastattention::runtime::{Device, Event, Stream};
use fastattention::Soc;
use fastattention_cli::print;
use fastattention_cli::table::csv_line;

use super::rows::{Metric, PublishedRun, Row, Table};
use super::runs::{self, Launch, Runner};

/// How launches are timed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Launches before the first that is timed.
    pub(super) warm_up: u32,
    /// Launches that are timed; the median counts.
    pub(super) repetitions: u32,
}

/// Times of a run in microseconds.
struct Times {
    /// From event to event around a launch.
    task: f64,
    /// The same without what the run is about, where that is an instruction.
    around: Option<f64>,
    /// Of a launch that does next to nothing.
    empty: f64,
}

/// Opens the device; a simulated one only for a rehearsal, since its events have the host's time.
pub(super) fn open(name: &str, is_rehearsal: bool) -> Result<Device> {
    let device = Device::open(name)?;
    ensure!(
        is_rehearsal || !device.has_model_time(),
        "--device {name}: it is simulated, and its events have the host's time, which says nothing about a \
         chip; wanted a chip, or --rehearse to try the command"
    );
    ensure!(
        !is_rehearsal || device.has_model_time(),
        "--device {name}: it is a chip, and --rehearse is given; wanted one without the other"
    );
    Ok(device)
}

/// Times all rows and prints them.
pub(super) fn execute(
    table: &Table,
    wanted: &[(&PublishedRun, Vec<&Row>)],
    device: &Device,
    timing: Timing,
    is_csv: bool,
) -> Result<()> {
    let stream = Stream::new(device)?;
    let runner = Runner { device, fills: true };
    let empty = timed(&stream, &runner.empty()?, None, timing)?;
    let title = title(device, timing);
    print_header(&title, empty, device, is_csv)?;
    for (run, rows) in wanted {
        match both(&runner, &stream, run, empty, timing) {
            Ok((modelled, times)) => {
                for row in rows {
                    let time =
                        times.value(row.metric, run.share, modelled.read_bytes(), device.soc().clock_mhz);
                    let model = super::model_value(&modelled, run, row);
                    let of_csv = is_csv.then(|| (title.as_str(), table.source(run)));
                    print(line(row, run, [Some(model), time], device.soc(), of_csv))?;
                }
            }
            // Such as a kernel of more cores than this chip has.
            Err(why) => print(format_args!("not run: {}: {}", run.what, fastattention_cli::told(&why)))?,
        }
    }
    Ok(())
}

/// A row with its model time and the device's own. A line of CSV has the title and the source, too.
fn line(
    row: &Row,
    run: &PublishedRun,
    [model, time]: [Option<f64>; 2],
    soc: &Soc,
    of_csv: Option<(&str, &str)>,
) -> String {
    let is_of_this_chip = Soc::by_name(&run.soc).is_ok_and(|published| published.name == soc.name);
    let published = is_of_this_chip.then_some(row.value);
    let ratio = model.zip(time).map(|(model, time)| model / time);
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
    let [published, model, time, ratio] = [published, model, time, ratio].map(cell);
    let (id, metric, what) = (&row.id, row.metric.name(), &run.what);
    match of_csv {
        Some((title, source)) => {
            let cells = [id, metric, &published, &model, &time, &ratio, &soc.name, title, what, source];
            csv_line(cells).trim_end().to_owned()
        }
        None => {
            format!("{id:15} {metric:9} {published:>12} {model:>12} {time:>12} {ratio:>6}  {what}")
        }
    }
}

fn print_header(title: &str, empty_us: f64, device: &Device, is_csv: bool) -> Result<()> {
    let clock = clock(device);
    if is_csv {
        return print(format_args!("id,metric,published,model,{clock},ratio,soc,clock,what,source"));
    }
    print(format_args!("{title}\nan empty launch takes {empty_us:.2} us from event to event\n"))?;
    print(format_args!(
        "{:15} {:9} {:>12} {:>12} {clock:>12} {:>6}  what is run",
        "id", "metric", "published", "model", "ratio"
    ))
}

/// Name of the column of times.
fn clock(device: &Device) -> &'static str {
    if device.has_model_time() {
        "host_time"
    } else {
        "measured"
    }
}

fn title(device: &Device, Timing { warm_up, repetitions }: Timing) -> String {
    let (name, soc) = (device.name(), &device.soc().name);
    let how = format!("median of {repetitions} launches after {warm_up}");
    if device.has_model_time() {
        format!(
            "host time of the simulated {name} ({soc}), {how}: a rehearsal, which says nothing about a chip"
        )
    } else {
        format!("measured on {name} ({soc}) by events, {how}")
    }
}

/// Model time on the device's SoC, and the device's own.
fn both(
    runner: &Runner<'_>,
    stream: &Stream,
    run: &PublishedRun,
    empty: f64,
    timing: Timing,
) -> Result<(runs::Modelled, Times)> {
    let modelled = runs::model(run, runner.device.soc())?;
    let measure = || -> Result<Times> {
        let prepared = runner.prepare(run)?;
        // Rows of one launch found L2 without their data.
        let flush = match run {
            PublishedRun { is_flushed: true, .. } => Some(runner.flush_with_writes()?),
            PublishedRun { launches: 1, .. } if prepared.around.is_none() => Some(runner.flush()?),
            _ => None,
        };
        let time = |launch: &Launch| timed(stream, launch, flush.as_ref(), timing);
        let around = prepared.around.as_ref().map(time).transpose()?;
        Ok(Times { task: time(&prepared.launch)?, around, empty })
    };
    Ok((modelled, measure().with_context(|| run.what.clone())?))
}

/// Median microseconds of a launch, from an event before it to one behind it.
fn timed(stream: &Stream, launch: &Launch, flush: Option<&Launch>, timing: Timing) -> Result<f64> {
    let device = stream.device();
    let (start, end) = (Event::timing(device)?, Event::timing(device)?);
    let once = || -> Result<Duration> {
        if let Some(flush) = flush {
            flush(stream)?;
        }
        start.record(stream)?;
        launch(stream)?;
        end.record(stream)?;
        stream.synchronize()?;
        Ok(end.elapsed_since(&start)?)
    };
    for _ in 0..timing.warm_up {
        once()?;
    }
    let times: Vec<f64> =
        (0..timing.repetitions).map(|_| Ok(once()?.as_secs_f64() * 1e6)).collect::<Result<_>>()?;
    Ok(super::median(&times))
}

impl Times {
    /// In the unit of the metric; `None` for what events cannot tell, and for what is below their resolution.
    fn value(&self, metric: Metric, share: f64, read_bytes: u64, clock_mhz: u32) -> Option<f64> {
        let core = self.task - self.empty;
        let value = match metric {
            Metric::Task => self.empty + core * share,
            Metric::Core => core * share,
            Metric::Gbps => read_bytes as f64 / core / 1000.0,
            Metric::VCycles => (self.task - self.around?) * f64::from(clock_mhz),
            Metric::M
            | Metric::Mte1
            | Metric::Mte2
            | Metric::Mte3
            | Metric::Fix
            | Metric::V
            | Metric::Mte2Cycles => return None,
        };
        (value > 0.0 && value.is_finite()).then_some(value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn times_become_what_the_metric_says() {
        let times = Times { task: 30.0, around: None, empty: 10.0 };
        let value = |metric| times.value(metric, 2.0, 40_000, 1800);
        assert_eq!(value(Metric::Task), Some(50.0));
        assert_eq!(value(Metric::Core), Some(40.0));
        assert_eq!(value(Metric::Gbps), Some(2.0));
        assert_eq!((value(Metric::VCycles), value(Metric::Fix)), (None, None), "events do not tell");
        let stream = Times { around: Some(29.0), ..times };
        assert_eq!(stream.value(Metric::VCycles, 1.0, 0, 1800), Some(1800.0));
        let short = Times { task: 9.0, around: None, empty: 10.0 };
        assert_eq!(short.value(Metric::Core, 1.0, 0, 1800), None, "below the resolution");
    }
}
