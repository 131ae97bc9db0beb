//! A device that was found: what it is, and its tests.

use fastattention::attention::FlashAttention;
use fastattention::parallel::AttentionMatmul;
use fastattention::runtime::{Device, DeviceReport};
use fastattention::{ErrorKind, Soc};
use serde::Serialize;

use super::indented;
use crate::self_test;

#[derive(Debug, Serialize)]
pub(super) struct DeviceState {
    name: String,
    simulated: bool,
    /// Its kernels run on the host's own cores; `soc` is the one that plans are made for.
    host: bool,
    /// Why it cannot be opened; the fields below are null then.
    error: Option<String>,
    soc: Option<&'static str>,
    cube_cores: Option<u32>,
    vector_cores: Option<u32>,
    free_bytes: Option<usize>,
    total_bytes: Option<usize>,
    /// A kernel that crosses flags between AIC and AIV on every core.
    launch_test: Option<SelfTest>,
    /// Attention compared with f64.
    self_test: Option<SelfTest>,
    /// The launch test with the flag at which all cores meet, for attention and projection as one kernel.
    meeting_test: Option<SelfTest>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SelfTest {
    passed: bool,
    detail: String,
}

impl SelfTest {
    pub(crate) fn of(outcome: Result<String, impl std::fmt::Display>) -> Self {
        match outcome {
            Ok(detail) => Self { passed: true, detail },
            Err(error) => Self { passed: false, detail: format!("{error:#}") },
        }
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.passed
    }

    /// Its part of a device's line.
    pub(crate) fn text(&self, name: &str) -> String {
        let outcome = if self.passed { "passed" } else { "failed" };
        format!("; {name} {outcome}: {}", indented(&self.detail))
    }
}

impl DeviceState {
    pub(super) fn gather(found: DeviceReport) -> Self {
        match found.soc {
            Err(error) => Self {
                name: found.name,
                simulated: found.is_simulated,
                host: found.is_host,
                error: Some(match error.kind() {
                    // Its list of files is that of `acl.tried`.
                    ErrorKind::LibraryNotFound => "no ACL library was loaded".to_owned(),
                    ErrorKind::DriverNotFound => "CANN is there, the NPU's driver is not".to_owned(),
                    _ => error.to_string(),
                }),
                soc: None,
                cube_cores: None,
                vector_cores: None,
                free_bytes: None,
                total_bytes: None,
                launch_test: None,
                self_test: None,
                meeting_test: None,
            },
            Ok(soc) => Self::test(found.name, found.is_simulated, found.is_host, soc),
        }
    }

    fn test(name: String, simulated: bool, host: bool, soc: &'static Soc) -> Self {
        let device = Device::open(&name);
        let memory = device.as_ref().ok().and_then(|d| d.memory_info().ok());
        let exact = || "every core's result is exact".to_owned();
        let operator = device.clone().and_then(|device| FlashAttention::new(&device));
        let (launch_test, attention_test) = match operator {
            Ok(operator) => (
                SelfTest::of(operator.self_test().map(|()| exact())),
                SelfTest::of(self_test::run(&operator).map(|comparison| comparison.to_string())),
            ),
            Err(error) => (SelfTest::of(Err(error.clone())), SelfTest::of(Err(error))),
        };
        // Last: cores that wait for each other in vain hold the device.
        let both = device.and_then(|device| AttentionMatmul::new(&device));
        let meeting_test = SelfTest::of(both.and_then(|operator| operator.self_test()).map(|()| exact()));
        Self {
            name,
            simulated,
            host,
            error: None,
            soc: Some(&soc.name),
            cube_cores: Some(soc.cube_cores),
            vector_cores: Some(soc.vector_cores),
            free_bytes: memory.map(|m| m.free_bytes),
            total_bytes: memory.map(|m| m.total_bytes),
            launch_test: Some(launch_test),
            self_test: Some(attention_test),
            meeting_test: Some(meeting_test),
        }
    }

    pub(super) fn passes(&self) -> bool {
        [&self.launch_test, &self.self_test, &self.meeting_test]
            .into_iter()
            .all(|t| t.as_ref().is_some_and(|t| t.passed))
    }

    pub(super) fn text(&self) -> String {
        let name = &self.name;
        if let Some(error) = &self.error {
            return format!("{name}: not usable: {}", indented(error));
        }
        let number = |n: Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let gib = |n: Option<usize>| {
            n.map_or_else(|| "?".to_owned(), |n| format!("{:.1}", n as f64 / 2f64.powi(30)))
        };
        let soc = self.soc.unwrap_or("?");
        let kind = if self.host {
            format!("the host's own cores, plans and refusals of {soc}")
        } else {
            let simulated = if self.simulated && !name.starts_with("sim") { " (simulated)" } else { "" };
            let [cube, vector] = [self.cube_cores, self.vector_cores].map(number);
            format!("{soc}{simulated}, {cube} Cube cores, {vector} Vector cores")
        };
        let [free, total] = [self.free_bytes, self.total_bytes].map(gib);
        let mut text = format!("{name}: {kind}, {free} of {total} GiB free");
        let tests = [
            ("launch test", &self.launch_test),
            ("self-test", &self.self_test),
            ("meeting test", &self.meeting_test),
        ];
        for (name, test) in tests {
            if let Some(test) = test {
                text += &test.text(name);
            }
        }
        text
    }
}
