//! `fastattention doctor`.

use std::fmt::Write as _;

use anyhow::{bail, Context, Result};
use fastattention::runtime::{self, Device, DeviceReport};
use fastattention::{acl, ErrorKind, Soc};
use serde::Serialize;

use crate::compiler::Compiler;
use crate::{kernels, self_test};

/// Variables that are read besides those that start with [`PREFIX`]: where CANN is searched, and the compiler.
const VARIABLES: [&str; 5] =
    ["ASCEND_HOME_PATH", "ASCEND_INSTALL_PATH", "ASCEND_TOOLKIT_HOME", "CXX", "CXXFLAGS"];

/// Of the variables of this crate.
const PREFIX: &str = "FASTATTENTION_";

/// How to print.
#[derive(clap::Args)]
pub(crate) struct Doctor {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Everything found. The field names are those of the JSON.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    target: &'static str,
    kernels: Kernels,
    acl: AclLibrary,
    devices: Vec<DeviceState>,
    compiler: HostCompiler,
    variables: Vec<Variable>,
}

/// Names of the kernels in this program, by what they were compiled for.
#[derive(Debug, Serialize)]
struct Kernels {
    simulator: Vec<String>,
    npu: Vec<String>,
}

#[derive(Debug, Serialize)]
struct AclLibrary {
    loaded: Option<String>,
    /// Of the ACL interface, not of CANN.
    api_version: Option<String>,
    /// Is it this crate's drop-in library in the place of a driver?
    simulated: Option<bool>,
    tried: Vec<Attempt>,
}

#[derive(Debug, Serialize)]
struct Attempt {
    path: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct DeviceState {
    name: String,
    simulated: bool,
    /// Why it cannot be opened; the fields below are null then.
    error: Option<String>,
    soc: Option<&'static str>,
    cube_cores: Option<u32>,
    vector_cores: Option<u32>,
    free_bytes: Option<usize>,
    total_bytes: Option<usize>,
    self_test: Option<SelfTest>,
}

#[derive(Debug, Serialize)]
struct SelfTest {
    passed: bool,
    detail: String,
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
        let report = Report::gather()?;
        let text = if self.json { serde_json::to_string_pretty(&report)? } else { report.text() };
        crate::print(text.trim_end())?;
        let passed = |d: &DeviceState| d.self_test.as_ref().is_some_and(|test| test.passed);
        if !report.devices.iter().any(passed) {
            bail!("no device is usable and passes its self-test");
        }
        Ok(())
    }
}

impl Report {
    fn gather() -> Result<Self> {
        let kernels = kernels::sources::kernels()?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            target: env!("FA_BUILD_TARGET"),
            kernels: Kernels { simulator: kernels.into_iter().map(|k| k.name).collect(), npu: Vec::new() },
            acl: AclLibrary::gather(),
            devices: runtime::devices().into_iter().map(DeviceState::gather).collect(),
            compiler: HostCompiler::gather()?,
            variables: variables(),
        })
    }

    fn text(&self) -> String {
        let mut text = format!("fastattention {} for {}\n", self.version, self.target);
        for (what, names) in [("simulator", &self.kernels.simulator), ("NPU", &self.kernels.npu)] {
            let names = if names.is_empty() { "none in this version".to_owned() } else { names.join(", ") };
            push(&mut text, format_args!("kernels for the {what}: {names}"));
        }
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
        for device in &self.devices {
            push(&mut text, format_args!("device {}", device.text()));
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

impl AclLibrary {
    fn gather() -> Self {
        let library = acl::library().ok();
        Self {
            loaded: library.map(|l| l.origin().display().to_string()),
            api_version: library.map(|l| {
                let (major, minor, patch) = l.version();
                format!("{major}.{minor}.{patch}")
            }),
            simulated: library.map(acl::Library::is_simulated),
            tried: acl::attempts()
                .iter()
                .map(|a| Attempt { path: a.path.display().to_string(), reason: a.reason.clone() })
                .collect(),
        }
    }
}

impl DeviceState {
    fn gather(found: DeviceReport) -> Self {
        match found.soc {
            Err(error) => Self {
                name: found.name,
                simulated: found.is_simulated,
                error: Some(match error.kind() {
                    // Its list of files is that of `acl.tried`.
                    ErrorKind::LibraryNotFound => "no ACL library was loaded".to_owned(),
                    _ => error.to_string(),
                }),
                soc: None,
                cube_cores: None,
                vector_cores: None,
                free_bytes: None,
                total_bytes: None,
                self_test: None,
            },
            Ok(soc) => Self::test(found.name, found.is_simulated, soc),
        }
    }

    fn test(name: String, simulated: bool, soc: &'static Soc) -> Self {
        let device = Device::open(&name);
        let memory = device.as_ref().ok().and_then(|d| d.memory_info().ok());
        let outcome = device.map_err(anyhow::Error::from).and_then(|device| self_test::run(&device));
        let self_test = match outcome {
            Ok(c) => SelfTest {
                passed: true,
                detail: format!("largest error against f64 {:.2e}, bound {:.2e}", c.error, c.bound),
            },
            Err(error) => SelfTest { passed: false, detail: format!("{error:#}") },
        };
        Self {
            name,
            simulated,
            error: None,
            soc: Some(&soc.name),
            cube_cores: Some(soc.cube_cores),
            vector_cores: Some(soc.vector_cores),
            free_bytes: memory.map(|m| m.free_bytes),
            total_bytes: memory.map(|m| m.total_bytes),
            self_test: Some(self_test),
        }
    }

    fn text(&self) -> String {
        let name = &self.name;
        if let Some(error) = &self.error {
            return format!("{name}: not usable: {}", indented(error));
        }
        let number = |n: Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let gib = |n: Option<usize>| {
            n.map_or_else(|| "?".to_owned(), |n| format!("{:.1}", n as f64 / 2f64.powi(30)))
        };
        let mut text = format!(
            "{name}: {}{}, {} Cube cores, {} Vector cores, {} of {} GiB free",
            self.soc.unwrap_or("?"),
            if self.simulated && !name.starts_with("sim") { " (simulated)" } else { "" },
            number(self.cube_cores),
            number(self.vector_cores),
            gib(self.free_bytes),
            gib(self.total_bytes)
        );
        if let Some(SelfTest { passed, detail }) = &self.self_test {
            let outcome = if *passed { "passed" } else { "failed" };
            push(&mut text, format_args!("; self-test {outcome}: {}", indented(detail)));
        }
        text.trim_end().to_owned()
    }
}

impl HostCompiler {
    fn gather() -> Result<Self> {
        let scratch = tempfile::tempdir().context("creating a temporary folder")?;
        let compiler = match Compiler::find(env!("FA_BUILD_TARGET"), scratch.path()) {
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
        .map(|(name, value)| Variable {
            name: name.to_string_lossy().into_owned(),
            value: value.to_string_lossy().into_owned(),
        })
        .filter(|v| v.name.starts_with(PREFIX) || VARIABLES.contains(&v.name.as_str()))
        .collect();
    set.sort_by(|a, b| a.name.cmp(&b.name));
    set
}
