//! `fastattention doctor`.

mod bundle;
mod device;
mod machine;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use device::DeviceState;
use fastattention::{acl, runtime};
use fastattention_cli::kernels;
use fastattention_cli::print;
use kernel_build::{Compiler, TARGET};
use machine::Machine;
use serde::Serialize;

pub(crate) use device::SelfTest;

use crate::gpu::{self, GpuState};

/// Variables that are told besides those that start with one of [`PREFIXES`]: the compiler's.
const VARIABLES: [&str; 2] = ["CXX", "CXXFLAGS"];

/// Of which only that they are set is told: a report is sent away.
const SECRETS: [&str; 1] = ["FASTATTENTION_RENDEZVOUS_SECRET"];

/// Of the variables of this crate and of CANN.
const PREFIXES: [&str; 2] = ["FASTATTENTION_", "ASCEND_"];

/// How to print.
#[derive(clap::Args)]
pub(crate) struct Doctor {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write everything to send back when something fails on an NPU to this new or empty folder: this
    /// report, the log of CANN's libraries, what npu-smi says.
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    report: Option<PathBuf>,
    /// Longest time of the checks behind --report: a driver can hang.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        requires = "report",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    time_limit: u64,
}

/// Everything found. The field names are those of the JSON.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    target: &'static str,
    kernels: Kernels,
    acl: AclLibrary,
    machine: Machine,
    devices: Vec<DeviceState>,
    /// Empty without feature `cuda`.
    gpus: Vec<GpuState>,
    compiler: HostCompiler,
    variables: Vec<Variable>,
}

/// Names of the kernels in this program, by what they were compiled for.
#[derive(Debug, Serialize)]
struct Kernels {
    simulator: Vec<String>,
    npu: Vec<&'static str>,
    /// How those for the NPU were made; null when there are none.
    npu_build: Option<NpuBuild>,
    /// Why there are none for the NPU.
    npu_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct NpuBuild {
    route: &'static str,
    cann_root: &'static str,
    cann_version: &'static str,
    flags: &'static [&'static str],
    sources_sha256: &'static str,
    images: Vec<NpuImage>,
}

#[derive(Debug, Serialize)]
struct NpuImage {
    family: &'static str,
    bytes: usize,
    patches_ffts_address: bool,
    symbols: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct AclLibrary {
    loaded: Option<String>,
    /// Of the ACL interface, not of CANN.
    api_version: Option<String>,
    /// Of the driver and of CANN's packages, where the library can tell.
    packages: Vec<Package>,
    /// Is it this crate's drop-in library in the place of a driver?
    simulated: Option<bool>,
    tried: Vec<Attempt>,
}

#[derive(Debug, Serialize)]
struct Package {
    name: &'static str,
    version: String,
}

#[derive(Debug, Serialize)]
struct Attempt {
    path: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct HostCompiler {
    path: Option<String>,
    version: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Variable {
    name: String,
    value: String,
}

impl Doctor {
    pub(crate) fn execute(self) -> Result<()> {
        if let Some(folder) = &self.report {
            return bundle::write(folder, Duration::from_secs(self.time_limit));
        }
        let report = Report::gather()?;
        let text = if self.json { serde_json::to_string_pretty(&report)? } else { report.text() };
        print(text.trim_end())?;
        if !report.devices.iter().any(DeviceState::passes) && !report.gpus.iter().any(GpuState::passes) {
            bail!("no device is usable and passes its tests");
        }
        Ok(())
    }
}

impl Report {
    fn gather() -> Result<Self> {
        let kernels = if cfg!(feature = "sim") { kernels::names()? } else { Vec::new() };
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            target: TARGET,
            kernels: Kernels::gather(kernels),
            acl: AclLibrary::gather(),
            machine: Machine::gather(Path::new("/")),
            devices: runtime::devices().into_iter().map(DeviceState::gather).collect(),
            gpus: gpu::states(),
            compiler: HostCompiler::gather()?,
            variables: variables(),
        })
    }

    fn text(&self) -> String {
        let mut text = format!("fastattention {} for {}\n", self.version, self.target);
        push(&mut text, self.kernels.text());
        match (&self.acl.loaded, &self.acl.api_version) {
            (Some(path), Some(version)) => {
                let kind = if self.acl.simulated == Some(true) { ", the simulator in its place" } else { "" };
                push(&mut text, format_args!("ACL library: {path}, ACL interface {version}{kind}"));
            }
            _ => push(&mut text, format_args!("ACL library: none; tried")),
        }
        for Attempt { path, reason } in &self.acl.tried {
            push(&mut text, format_args!("  {path}: {reason}"));
        }
        for Package { name, version } in &self.acl.packages {
            push(&mut text, format_args!("  version of {name}: {version}"));
        }
        push(&mut text, self.machine.text());
        for device in &self.devices {
            push(&mut text, format_args!("device {}", device.text()));
        }
        for gpu in &self.gpus {
            push(&mut text, format_args!("device {}", indented(&gpu.text())));
        }
        let compiler = &self.compiler;
        match (&compiler.path, &compiler.error) {
            (Some(path), _) => {
                let version = compiler.version.as_deref().unwrap_or("version unknown");
                push(&mut text, format_args!("host compiler: {path} ({version})"));
            }
            (None, why) => push(
                &mut text,
                format_args!("host compiler: none; {}", indented(why.as_deref().unwrap_or_default())),
            ),
        }
        for Variable { name, value } in &self.variables {
            push(&mut text, format_args!("variable {name}={value}"));
        }
        text
    }
}

fn push(text: &mut String, line: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

/// Later lines of a message, under the first.
fn indented(text: &str) -> String {
    text.replace('\n', "\n  ")
}

impl Kernels {
    fn gather(simulator: Vec<String>) -> Self {
        let build = fastattention::kernels::npu_build();
        let npu_error = build.as_ref().err().map(ToString::to_string);
        let Ok(build) = build else { return Self { simulator, npu: Vec::new(), npu_build: None, npu_error } };
        Self {
            simulator,
            npu: build.images.iter().flat_map(|image| image.kernels).map(|kernel| kernel.name).collect(),
            npu_build: Some(NpuBuild::new(build)),
            npu_error,
        }
    }

    fn text(&self) -> String {
        let simulator = if self.simulator.is_empty() { "none".to_owned() } else { self.simulator.join(", ") };
        let mut text = format!("kernels for the simulator: {simulator}\n");
        let Some(build) = &self.npu_build else {
            let why = self.npu_error.as_deref().unwrap_or_default();
            return text + &format!("kernels for the NPU: none; {}", indented(why));
        };
        push(&mut text, format_args!("kernels for the NPU: {}", self.npu.join(", ")));
        let NpuBuild { route, cann_root, cann_version, flags, sources_sha256, images } = build;
        push(
            &mut text,
            format_args!("  by route {route} of CANN {cann_version} in {cann_root}, {}", flags.join(" ")),
        );
        push(&mut text, format_args!("  from sources with SHA-256 {sources_sha256}"));
        for NpuImage { family, bytes, patches_ffts_address, symbols } in images {
            let ffts = if *patches_ffts_address { "loader" } else { "argument" };
            let symbols = symbols.join(", ");
            push(
                &mut text,
                format_args!("  {family}: {bytes} bytes, cross-core address by {ffts}, symbols {symbols}"),
            );
        }
        text.trim_end().to_owned()
    }
}

impl NpuBuild {
    fn new(build: &fastattention::kernels::NpuBuild) -> Self {
        let image = |image: &fastattention::kernels::NpuImage| NpuImage {
            family: image.family,
            bytes: image.bytes.len(),
            patches_ffts_address: image.patches_ffts_address,
            symbols: image.kernels.iter().flat_map(|kernel| kernel.symbols).copied().collect(),
        };
        Self {
            route: build.route,
            cann_root: build.cann_root,
            cann_version: build.cann_version,
            flags: build.flags,
            sources_sha256: build.sources_sha256,
            images: build.images.iter().map(image).collect(),
        }
    }
}

impl AclLibrary {
    fn gather() -> Self {
        let library = acl::library().ok();
        Self {
            loaded: library.map(|l| l.origin().display().to_string()),
            api_version: library.map(|l| {
                let (major, minor, patch) = l.version();
                format!("{major}.{minor}.{patch}")
            }),
            packages: library
                .map(|l| l.package_versions().into_iter().map(|(name, version)| Package { name, version }))
                .into_iter()
                .flatten()
                .collect(),
            simulated: library.map(acl::Library::is_simulated),
            tried: acl::attempts()
                .iter()
                .map(|a| Attempt { path: a.path.display().to_string(), reason: a.reason.clone() })
                .collect(),
        }
    }
}

impl HostCompiler {
    fn gather() -> Result<Self> {
        let scratch = tempfile::tempdir().context("creating a temporary folder")?;
        let compiler = match Compiler::find(TARGET, scratch.path()) {
            Ok(compiler) => compiler,
            Err(why) => return Ok(Self { path: None, version: None, error: Some(why) }),
        };
        let mut command = compiler.command();
        let path = command.get_program().to_string_lossy().into_owned();
        let version = command
            .arg("--version")
            .output()
            .ok()
            .and_then(|output| String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned));
        Ok(Self { path: Some(path), version, error: None })
    }
}

/// Those that are set, sorted.
fn variables() -> Vec<Variable> {
    let mut set: Vec<Variable> = std::env::vars_os()
        .map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            let is_secret = SECRETS.contains(&name.as_str());
            let value =
                if is_secret { "(set, not shown)".into() } else { value.to_string_lossy().into_owned() };
            Variable { name, value }
        })
        .filter(|v| PREFIXES.iter().any(|p| v.name.starts_with(p)) || VARIABLES.contains(&v.name.as_str()))
        .collect();
    set.sort_by(|a, b| a.name.cmp(&b.name));
    set
}
