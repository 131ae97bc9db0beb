//! Runs kernels of the crate on a simulated device that keeps model time only.

use anyhow::{anyhow, Context, Result};
use fastattention::attention::{self, Buffers, FlashAttention};
use fastattention::baseline::{
    Add, AddTiling, Read, ReadFrom, ReadOrder, ReadTo, VectorOp, VectorOperand, VectorStream,
    VectorStreamTiling,
};
use fastattention::matmul::{self, Axis, BLayout, Matmul, Tiling};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::{LaunchReport, ModelTime};
use fastattention::sim::{add_device, Config, Pipe};
use fastattention::tiling::Candidate;
use fastattention::{DType, Soc};

use super::rows::{Kernel, Metric, Order, Run};

/// A finished run.
pub(super) struct Measured {
    report: LaunchReport,
    /// Cycles of the vector unit that the kernel around the instruction takes.
    around: f64,
}

/// A device and what a launch on it needs.
struct Bench {
    device: Device,
    stream: Stream,
    time: ModelTime,
}

impl Bench {
    fn new(soc: &str) -> Result<Self> {
        let mut config = Config::new(Soc::by_name(soc)?);
        // Published kernels reuse buffers without waiting where nothing reads them.
        config.check_races = false;
        let time = ModelTime::only();
        config.model_time = Some(time.clone());
        let device = Device::open(&format!("sim:{}", add_device(config)))?;
        Ok(Self { stream: Stream::new(&device)?, device, time })
    }

    fn alloc(&self, bytes: u64) -> Result<Buffer> {
        let bytes = usize::try_from(bytes).with_context(|| format!("{bytes} bytes"))?;
        Ok(Buffer::alloc(&self.device, bytes)?)
    }

    /// Launches that often and returns the report of the last one.
    fn last(&self, launches: u32, launch: impl Fn() -> fastattention::Result<()>) -> Result<LaunchReport> {
        for _ in 0..launches {
            launch()?;
            self.stream.synchronize()?;
        }
        self.time.take_reports().pop().ok_or_else(|| anyhow!("the launch left no report"))
    }
}

/// Runs what the rows of `run` ask for.
pub(super) fn measure(run: &Run) -> Result<Measured> {
    let bench = Bench::new(&run.soc)?;
    let measured = match &run.kernel {
        Kernel::Read { .. } => read(&bench, run),
        Kernel::Matmul { .. } => product(&bench, run),
        Kernel::Add { .. } => add(&bench, run),
        Kernel::Vector { .. } => return vector(&bench, &run.kernel).with_context(|| run.what.clone()),
        Kernel::Attention { .. } => attend(&bench, run),
    };
    Ok(Measured { report: measured.with_context(|| run.what.clone())?, around: 0.0 })
}

fn read(bench: &Bench, run: &Run) -> Result<LaunchReport> {
    let &Kernel::Read { to_l1, shape, tile, cores, order, slice_cols, passes } = &run.kernel else {
        return Err(anyhow!("not a read"));
    };
    let mut from = ReadFrom::new(shape, tile, cores);
    from.order = match order {
        Order::Own => ReadOrder::OwnRows,
        Order::All => ReadOrder::AllRows,
        Order::Rotated => ReadOrder::Rotated,
    };
    from.slice_cols = slice_cols.unwrap_or(shape[1]);
    from.passes = passes;
    let to = if to_l1 { ReadTo::L1 } else { ReadTo::Ub };
    let src = bench.alloc(from.span_bytes())?;
    let read = Read::new(&bench.device)?;
    bench.last(run.launches, || read.launch(&bench.stream, &from, to, (&src).into()))
}

fn product(bench: &Bench, run: &Run) -> Result<LaunchReport> {
    let &Kernel::Matmul { mnk, block, tile, step_k, l1_buffers, unit_flag, band, cores } = &run.kernel else {
        return Err(anyhow!("not a product"));
    };
    let problem = matmul::Problem::new(DType::F16, mnk).with_b_layout(BLayout::Nk);
    let tiling = Tiling {
        block,
        tile,
        step_k,
        l1_buffers,
        l0_buffers: 2,
        l0c_buffers: 1,
        unit_flag,
        swizzle: band,
        swizzle_axis: Axis::M,
        num_cores: cores,
    };
    let plan = matmul::plan_with(&problem, bench.device.soc(), tiling)?;
    let [a, b, c] = problem.operand_bytes();
    let (a, b, c) = (bench.alloc(a)?, bench.alloc(b)?, bench.alloc(c)?);
    let args = matmul::Args::new(&a, &b, &c);
    let operator = Matmul::new(&bench.device)?;
    bench.last(run.launches, || operator.launch(&bench.stream, &plan, args))
}

fn add(bench: &Bench, run: &Run) -> Result<LaunchReport> {
    let &Kernel::Add { n, tile, buffers, cores, y_gap_bytes } = &run.kernel else {
        return Err(anyhow!("not a sum"));
    };
    let tiling = AddTiling { tile, buffers, num_cores: cores, y_gap_bytes };
    let (x, y, z) = (bench.alloc(2 * n)?, bench.alloc(2 * n)?, bench.alloc(2 * n)?);
    let operator = Add::new(&bench.device)?;
    let operands = || [(&x).into(), (&y).into(), (&z).into()];
    bench.last(run.launches, || operator.launch(&bench.stream, tiling, DType::F16, n, operands()))
}

fn attend(bench: &Bench, run: &Run) -> Result<LaunchReport> {
    let &Kernel::Attention { seqlen_q, seqlen_k } = &run.kernel else {
        return Err(anyhow!("not attention"));
    };
    let problem = attention::Problem::new(DType::F16, [1, seqlen_q, 1, 128]).with_seqlen_k(seqlen_k);
    let candidate = Candidate { block_m: 128, block_n: 256, chunk_n: 256, num_stages: 4, preload: 2 };
    // On as many cores as the row says.
    let plan = attention::plan_with(&problem, bench.device.soc(), candidate)?.with_whole_items();
    let buffers = Buffers::alloc(&bench.device, &plan)?;
    let operator = FlashAttention::new(&bench.device)?;
    bench.last(run.launches, || operator.launch(&bench.stream, &plan, buffers.args()))
}

/// The instructions, less a launch without them.
fn vector(bench: &Bench, kernel: &Kernel) -> Result<Measured> {
    let Kernel::Vector { op, f32, count, repeat, at, src0 } = kernel else {
        return Err(anyhow!("not a vector instruction"));
    };
    let tiling = VectorStreamTiling {
        op: vector_op(op)?,
        count: *count,
        repeat: *repeat,
        barrier: true,
        scalar: 1.0,
        dst: VectorOperand::contiguous(at[0]),
        src0: VectorOperand { offset_bytes: at[1], block_stride: src0[0], repeat_stride: src0[1] },
        src1: VectorOperand::contiguous(at[2]),
    };
    let dtype = if *f32 { DType::F32 } else { DType::F16 };
    let out = bench.alloc(tiling.out_bytes())?;
    let operator = VectorStream::new(&bench.device)?;
    let launch = |tiling: VectorStreamTiling| {
        bench.last(1, || operator.launch(&bench.stream, &tiling, dtype, (&out).into()))
    };
    let report = launch(tiling)?;
    let around = busy_cycles(&launch(VectorStreamTiling { count: 0, ..tiling })?, Pipe::V);
    Ok(Measured { report, around })
}

fn vector_op(name: &str) -> Result<VectorOp> {
    VectorOp::ALL
        .into_iter()
        .find(|op| format!("{op:?}").eq_ignore_ascii_case(name))
        .ok_or_else(|| anyhow!("no vector instruction is named {name:?}"))
}

fn busy_cycles(report: &LaunchReport, pipe: Pipe) -> f64 {
    report.mean_busy_us(pipe) * f64::from(report.soc.clock_mhz)
}

impl Measured {
    /// In the unit of the metric, for `share` times what was run.
    pub(super) fn value(&self, metric: Metric, share: f64) -> f64 {
        let report = &self.report;
        match (metric, metric.pipe()) {
            (Metric::VCycles, _) => busy_cycles(report, Pipe::V) - self.around,
            (Metric::Mte2Cycles, _) => busy_cycles(report, Pipe::Mte2),
            (_, Some(pipe)) => report.mean_busy_us(pipe) * share,
            (Metric::Gbps, _) => report.traffic.read_bytes as f64 / report.core_us() / 1000.0,
            (Metric::Core, _) => report.core_us() * share,
            _ => report.task_us() - report.core_us() + report.core_us() * share,
        }
    }
}
