//! `fastattention doctor --report DIR`: everything to send back from a machine where something fails, in one
//! folder.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use fastattention_cli::output::Folder;
use fastattention_cli::print;

/// How often a child is looked after.
const PERIOD: Duration = Duration::from_millis(50);

/// Longest time of `npu-smi info`, which takes seconds where a driver answers.
const NPU_SMI_LIMIT: Duration = Duration::from_secs(60);

/// Writes the folder. The doctor runs in a child process, because a driver can hang or crash, with CANN's own
/// log going to the folder.
///
/// # Errors
/// When the folder is not empty or cannot be written, and, after writing it, when the doctor found no device
/// that works.
pub(super) fn write(folder: &Path, limit: Duration) -> Result<()> {
    let files = Folder::make(folder)?;
    let folder = files.path();
    let mut entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    ensure!(entries.next().is_none(), "{} is not empty, a new or empty folder wanted", folder.display());
    let status_file = files.file("status.txt")?;

    let mut doctor = Command::new(std::env::current_exe().context("finding this program")?);
    doctor.args(["doctor", "--json"]);
    // The log of CANN's libraries, at level INFO (1); the variables are those of CANN's documents.
    let log = folder.join("ascend_log");
    fs::create_dir(&log).with_context(|| format!("creating {}", log.display()))?;
    doctor.env("ASCEND_PROCESS_LOG_PATH", log);
    doctor.env("ASCEND_GLOBAL_LOG_LEVEL", "1").env("ASCEND_SLOG_PRINT_TO_STDOUT", "0");
    let outcome = run(doctor, folder, "doctor.json", "doctor_stderr.txt", limit)?;
    let mut npu_smi = Command::new("npu-smi");
    npu_smi.arg("info");
    let smi = run(npu_smi, folder, "npu_smi.txt", "npu_smi_stderr.txt", NPU_SMI_LIMIT);
    let smi = smi.map_or_else(|error| format!("{error:#}"), |ended| ended.text());
    let status = format!("doctor: {}\nnpu-smi: {smi}\n", outcome.text());
    status_file.write_bytes(status.as_bytes())?;

    print(format_args!("{}written to {}: pack and send it", status, folder.display()))?;
    match outcome {
        Ended::Exited(status) if status.success() => Ok(()),
        _ => bail!("no device is usable and passes its tests; the folder tells why"),
    }
}

/// How a child ended.
enum Ended {
    Exited(ExitStatus),
    TimedOut(Duration),
}

impl Ended {
    fn text(&self) -> String {
        match self {
            Ended::Exited(status) => status.to_string(),
            Ended::TimedOut(limit) => format!("stopped after {} s without an end", limit.as_secs_f64()),
        }
    }
}

/// Runs a program with its output in files, at most as long as `limit`.
fn run(mut command: Command, folder: &Path, stdout: &str, stderr: &str, limit: Duration) -> Result<Ended> {
    let file = |name: &str| File::create_new(folder.join(name)).with_context(|| format!("creating {name}"));
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(file(stdout)?)
        .stderr(file(stderr)?)
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("waiting for {program}"))? {
            return Ok(Ended::Exited(status));
        }
        if start.elapsed() >= limit {
            child.kill().with_context(|| format!("stopping {program}"))?;
            child.wait().with_context(|| format!("waiting for {program}"))?;
            return Ok(Ended::TimedOut(limit));
        }
        std::thread::sleep(PERIOD);
    }
}
