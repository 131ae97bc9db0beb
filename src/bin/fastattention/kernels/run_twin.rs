//! Runs the kernels of two images side by side on the simulator, and compares results and instructions.
#![allow(unsafe_code, reason = "loads an image of native code that this program has built")]

#[path = "../../../../tests/common/cases.rs"]
#[allow(unreachable_pub, reason = "shared with the tests")]
mod cases;
#[path = "../../../../tests/common/data.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use all of it")]
mod data;

use std::fs;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use bytemuck::NoUninit;
use fastattention::attention::{plan, Args, FlashAttention};
use fastattention::reference::Element;
use fastattention::runtime::{Buffer, Device, Kernel, KernelArgs, Module, Stream};
use fastattention::sim::{Config, Recorder};
use fastattention::{DType, Soc};
use half::{bf16, f16};

use super::compare::{compare, Allowed, Summary};
use cases::Case;

/// The kernels as the simulator's own headers compile them.
static OWN: &[u8] = include_bytes!(env!("FA_BUILD_SIM_KERNELS"));

/// How the two images are called in reports.
const NAMES: [&str; 2] = ["ours", "CANN"];

/// (bytes, blocks) of copies: less than a chunk, a chunk, ends inside a 32-byte block, more blocks than chunks.
const COPIES: [(usize, u32); 5] = [(1, 1), (32 * 1024, 1), (65_537, 2), (300_001, 3), (100, 4)];

/// What a buffer of results holds before a launch, so that what is not written is seen.
const FILL: u8 = 0xa5;

/// Differences of the instructions that change nothing.
const ALLOWED: &[Allowed] = &[];

/// A device that records, and both images on it.
struct Bench {
    device: Device,
    stream: Stream,
    recorder: Recorder,
    modules: [Module; 2],
    operators: [FlashAttention; 2],
    summary: Summary,
}

/// Runs `fa_copy` and every `every`-th attention case with our image and with the one at `image`.
///
/// # Errors
/// The first case whose results or instructions differ, or that fails.
pub(crate) fn run(image: &Path, every: usize) -> Result<()> {
    let image = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    let mut bench = Bench::new(&image)?;
    for (bytes, blocks) in COPIES {
        bench.copy(bytes, blocks).with_context(|| format!("fa_copy of {bytes} bytes by {blocks} blocks"))?;
    }
    crate::print(format_args!("fa_copy: {} copies, same results and instructions", COPIES.len()))?;
    let cases: Vec<Case> = cases::all().into_iter().step_by(every).collect();
    for case in &cases {
        bench.attention(case).with_context(|| format!("{case:?}"))?;
    }
    crate::print(format_args!("attention: {} cases, same results and instructions", cases.len()))?;
    bench.report()
}

impl Bench {
    fn new(image: &[u8]) -> Result<Self> {
        let recorder = Recorder::new();
        let mut config = Config::new(Soc::by_name("Ascend910B2")?);
        config.recorder = Some(recorder.clone());
        // The identity of a core lies in global variables of the twin (ascendc/twin/twin.h).
        config.threads = 1;
        let device = Device::simulated(config)?;
        // SAFETY: both images are compiled from this program's kernel text, headers and entries.
        let load = |image: &[u8]| unsafe { Module::load(&device, image) };
        let modules = [load(OWN)?, load(image)?];
        let operator = FlashAttention::new(&device)?;
        let operators = [operator.with_kernels_of(&modules[0])?, operator.with_kernels_of(&modules[1])?];
        let stream = Stream::new(&device)?;
        Ok(Self { device, stream, recorder, modules, operators, summary: Summary::default() })
    }

    /// Calls `launch` with each image and compares what it leaves in `results`, and the instructions.
    fn side_by_side(
        &mut self,
        results: &[&Buffer],
        launch: impl Fn(&Self, usize) -> Result<()>,
    ) -> Result<()> {
        let mut outcomes = Vec::new();
        for (side, name) in NAMES.into_iter().enumerate() {
            for buffer in results {
                buffer.copy_from_host(&vec![FILL; buffer.len_bytes()])?;
            }
            self.recorder.take();
            launch(self, side)
                .and_then(|()| Ok(self.stream.synchronize()?))
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

    fn copy(&mut self, bytes: usize, blocks: u32) -> Result<()> {
        let data: Vec<u8> = (0..=u8::MAX).cycle().take(bytes).collect();
        let src = Buffer::from_slice(&self.device, &data)?;
        let dst = Buffer::alloc(&self.device, bytes)?;
        let args = KernelArgs::new().buffer(&dst).buffer(&src).u64(bytes as u64);
        self.side_by_side(&[&dst], |bench, side| {
            let kernel: Kernel = bench.modules[side].kernel("fa_copy")?;
            Ok(kernel.launch(&bench.stream, blocks, &args)?)
        })
    }

    fn attention(&mut self, case: &Case) -> Result<()> {
        match case.dtype {
            DType::Bf16 => self.attention_of::<bf16>(case),
            DType::F16 => self.attention_of::<f16>(case),
            other => bail!("the table has a case of {other}, for which there is no kernel"),
        }
    }

    fn attention_of<T: Element + NoUninit>(&mut self, case: &Case) -> Result<()> {
        let plan = plan(&data::problem(case), self.device.soc())?;
        let [.., o_bytes, lse_bytes] = plan.shape().operand_bytes();
        // An empty tensor needs an address, too.
        let alloc = |bytes: u64| -> Result<Buffer> {
            Ok(Buffer::alloc(&self.device, usize::try_from(bytes.max(1))?)?)
        };
        let [q, k, v] = data::operands::<T>(case);
        let upload = |operand: &data::Operand<T>| -> Result<Buffer> {
            let buffer = alloc(size_of_val(&operand.data[..]) as u64)?;
            buffer.copy_from_host(&operand.data)?;
            Ok(buffer)
        };
        let (q, k, v) = (upload(&q)?, upload(&k)?, upload(&v)?);
        let (o, lse, workspace) = (alloc(o_bytes)?, alloc(lse_bytes)?, alloc(plan.workspace_bytes())?);
        let args = Args {
            q: (&q).into(),
            k: (&k).into(),
            v: (&v).into(),
            o: (&o).into(),
            lse: Some((&lse).into()),
            workspace: (&workspace).into(),
        };
        self.side_by_side(&[&o, &lse], |bench, side| {
            Ok(bench.operators[side].launch(&bench.stream, &plan, args)?)
        })
    }

    fn report(&self) -> Result<()> {
        crate::print(format_args!("{} instructions are the same", self.summary.equal))?;
        for (index, count) in &self.summary.allowed {
            let Allowed { mnemonic, because, .. } = &ALLOWED[*index];
            crate::print(format_args!("  {count} times {mnemonic}: {because}"))?;
        }
        Ok(())
    }
}
