//! Runs the kernels of two images side by side on the simulator, and compares results and instructions.
#![allow(unsafe_code, reason = "loads an image of native code that this program has built")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use fastattention::kernels::simulator_image;
use fastattention::runtime::{Buffer, Device, Module, Stream};
use fastattention::sim::{Config, Recorder};
use fastattention::Soc;
use fastattention_cli::{kernels, print};

use super::compare::{compare, Allowed, Summary};
use super::{attention, operators};

/// How the two images are called in reports.
const NAMES: [&str; 2] = ["ours", "CANN"];

/// What a buffer of results holds before a launch, so that what is not written is seen.
const FILL: u8 = 0xa5;

/// Differences of the instructions that change nothing.
const ALLOWED: &[Allowed] = &[Allowed {
    swapped: ["set_vector_mask", "set_mask_norm"],
    because:
        "TPipe sets both before anything reads them, 8.1 the mask first and 9.1 the mode (InitSocStateImpl)",
}];

/// A device that records, both images on it, and what has been compared.
pub(super) struct Twins {
    pub(super) device: Device,
    stream: Stream,
    recorder: Recorder,
    modules: [Module; 2],
    summary: Summary,
    /// Names of the kernels whose cases have been run.
    kernels: BTreeSet<&'static str>,
}

/// Runs the cases of every kernel, of attention every `every`-th, with our image and with the one at `image`.
///
/// # Errors
/// The first case whose results or instructions differ, or that fails.
pub(super) fn run(image: &Path, every: usize) -> Result<()> {
    let image = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    Twins::new(&image)?.run(every)
}

impl Twins {
    fn new(image: &[u8]) -> Result<Self> {
        let recorder = Recorder::new();
        let mut config = Config::new(Soc::by_name("Ascend910B2")?);
        config.recorder = Some(recorder.clone());
        // The identity of a core lies in global variables of the twin (ascendc/twin/twin.h).
        config.threads = 1;
        let device = Device::simulated(config)?;
        // SAFETY: both images are compiled from this program's kernel text, headers and entries.
        let load = |image: &[u8]| unsafe { Module::load(&device, image) };
        let modules = [load(simulator_image())?, load(image)?];
        let stream = Stream::new(&device)?;
        let (summary, kernels) = (Summary::default(), BTreeSet::new());
        Ok(Self { device, stream, recorder, modules, summary, kernels })
    }

    fn run(&mut self, every: usize) -> Result<()> {
        operators::run(self)?;
        attention::run(self, every)?;
        self.report()
    }

    /// An operator with the kernels of each image.
    pub(super) fn both<T>(&self, make: impl Fn(&Module) -> fastattention::Result<T>) -> Result<[T; 2]> {
        let [ours, other] = &self.modules;
        Ok([make(ours)?, make(other)?])
    }

    /// Runs the cases of one kernel, and says so.
    pub(super) fn cases<C: Debug>(
        &mut self,
        kernel: &'static str,
        cases: impl IntoIterator<Item = C>,
        run: impl Fn(&mut Self, &C) -> Result<()>,
    ) -> Result<()> {
        let mut count = 0;
        for case in cases {
            run(self, &case).with_context(|| format!("{kernel}: {case:?}"))?;
            count += 1;
        }
        self.kernels.insert(kernel);
        print(format_args!("{kernel}: {count} cases, same results and instructions"))
    }

    /// Calls `launch` with the number of each image, and compares what it leaves in `results`, and the
    /// instructions.
    pub(super) fn side_by_side(
        &mut self,
        results: &[&Buffer],
        launch: impl Fn(&Stream, usize) -> fastattention::Result<()>,
    ) -> Result<()> {
        let mut outcomes = Vec::new();
        for (side, name) in NAMES.into_iter().enumerate() {
            for buffer in results {
                buffer.copy_from_host(&vec![FILL; buffer.len_bytes()])?;
            }
            self.recorder.take();
            launch(&self.stream, side)
                .and_then(|()| self.stream.synchronize())
                .with_context(|| format!("kernels compiled with {name} headers"))?;
            let read = |buffer: &&Buffer| -> Result<Vec<u8>> {
                let mut bytes = vec![0; buffer.len_bytes()];
                buffer.copy_to_host(&mut bytes)?;
                Ok(bytes)
            };
            outcomes.push((self.recorder.take(), results.iter().map(read).collect::<Result<Vec<_>>>()?));
        }
        let [(own, own_bytes), (other, other_bytes)] = &outcomes[..] else { bail!("two images run") };
        match compare(NAMES, [own, other], ALLOWED) {
            Ok(summary) => self.summary.add(&summary),
            Err(difference) => bail!("{difference}"),
        }
        ensure!(own_bytes == other_bytes, "the same instructions, but other results");
        Ok(())
    }

    fn report(&self) -> Result<()> {
        let names = kernels::names()?;
        let left_out = names.iter().map(String::as_str).filter(|name| !self.kernels.contains(name));
        let left_out: Vec<&str> = left_out.collect();
        ensure!(left_out.is_empty(), "no case runs {}", left_out.join(", "));
        print(format_args!("{} instructions are the same", self.summary.equal))?;
        for (index, count) in &self.summary.allowed {
            let Allowed { swapped: [a, b], because } = &ALLOWED[*index];
            print(format_args!("{count} times {a} and {b} swapped: {because}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use fastattention::baseline::MemoryCopy;

    use super::*;

    /// The image that a build with CANN's headers stands in for here is our own, loaded once more.
    #[test]
    fn every_kernel_has_cases_that_run() {
        let mut twins = Twins::new(simulator_image()).unwrap();
        twins.run(400).unwrap();
        assert!(twins.summary.equal > 10_000 && twins.summary.allowed.is_empty(), "{:?}", twins.summary);
    }

    #[test]
    fn kernels_without_cases_are_an_error() {
        let mut twins = Twins::new(simulator_image()).unwrap();
        let error = twins.report().unwrap_err().to_string();
        assert!(error.starts_with("no case runs fa_copy, fa_self_test, fa_flash_decode_f16, "), "{error}");
        operators::run(&mut twins).unwrap();
        assert_eq!(
            twins.report().unwrap_err().to_string(),
            "no case runs fa_flash_fwd_f16, fa_flash_fwd_bf16, fa_flash_fwd_f16_scores_f16, fa_shift_keys_f16"
        );
    }

    #[test]
    fn other_results_of_the_same_instructions_are_found() {
        let mut twins = Twins::new(simulator_image()).unwrap();
        let copies = twins.both(MemoryCopy::from_module).unwrap();
        let [src, dst] = [1, 2].map(|_| Buffer::alloc(&twins.device, 64).unwrap());
        let mut copy = |changes: bool| {
            twins.side_by_side(&[&dst], |stream, side| {
                src.copy_from_host(&[if changes { u8::from(side == 1) } else { 7 }; 64])?;
                copies[side].launch(stream, 1, 64, (&dst).into(), (&src).into())
            })
        };
        copy(false).unwrap();
        assert_eq!(copy(true).unwrap_err().to_string(), "the same instructions, but other results");
    }

    #[test]
    fn other_instructions_are_found_and_the_case_is_named() {
        let mut twins = Twins::new(simulator_image()).unwrap();
        let copies = twins.both(MemoryCopy::from_module).unwrap();
        let [src, dst] = [1, 2].map(|_| Buffer::from_slice(&twins.device, &[0u8; 64]).unwrap());
        let outcome = twins.cases("fa_copy", [64u64], |twins, bytes| {
            twins.side_by_side(&[&dst], |stream, side| {
                copies[side].launch(stream, 1, bytes - side as u64, (&dst).into(), (&src).into())
            })
        });
        let error = format!("{:#}", outcome.unwrap_err());
        assert!(error.starts_with("fa_copy: 64: AIV0 of block 0: the instructions differ"), "{error}");
        assert!(!twins.kernels.contains("fa_copy"));
    }
}
