//! Kernels of the crate as rows ask for them: on any device, and on a simulated one that keeps model time
//! only.

use anyhow::{anyhow, Context, Result};
use fastattention::attention::{self, Buffers, FlashAttention};
use fastattention::baseline::{
    Add, AddTiling, MemoryCopy, Read, ReadFrom, ReadOrder, ReadTo, VectorOp, VectorOperand, VectorStream,
    VectorStreamTiling,
};
use fastattention::matmul::{self, Axis, BLayout, L1Halves, Matmul, Tiling};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::{LaunchReport, ModelTime};
use fastattention::sim::{Config, Pipe};
use fastattention::tiling::Candidate;
use fastattention::{DType, Soc};

use super::rows::{Kernel, Metric, Order, PublishedRun};

/// What model time says of a run.
pub(super) struct Modelled {
    report: LaunchReport,
    /// Cycles of the vector unit that the kernel around the instruction takes.
    around: f64,
}

/// Queues a kernel with operands of its own.
pub(super) type Launch = Box<dyn Fn(&Stream) -> fastattention::Result<()>>;

/// A run on a device.
pub(super) struct Prepared {
    pub(super) launch: Launch,
    /// The kernel without what the run is about, where that is an instruction.
    pub(super) around: Option<Launch>,
}

/// A device, and what lies in its memory.
pub(super) struct Runner<'a> {
    pub(super) device: &'a Device,
    /// Write operands before they are read. Model time has no use for what lies in memory.
    pub(super) fills: bool,
}

/// Runs what the rows of `run` ask for in model time.
pub(super) fn model(run: &PublishedRun, soc: &'static Soc) -> Result<Modelled> {
    let mut config = Config::new(soc);
    // Published kernels reuse buffers without waiting where nothing reads them.
    config.check_races = false;
    let time = ModelTime::only();
    config.model_time = Some(time.clone());
    let device = Device::simulated(config)?;
    let stream = Stream::new(&device)?;
    let runner = Runner { device: &device, fills: false };
    let flush = run.is_flushed.then(|| runner.flush_with_writes()).transpose()?;
    // The report of the last launch.
    let last = |launch: &Launch| -> Result<LaunchReport> {
        for _ in 0..run.launches {
            if let Some(flush) = &flush {
                flush(&stream)?;
            }
            launch(&stream)?;
            stream.synchronize()?;
        }
        time.take_reports().pop().ok_or_else(|| anyhow!("the launch left no report"))
    };
    let modelled = || -> Result<Modelled> {
        let prepared = runner.prepare(run)?;
        let report = last(&prepared.launch)?;
        let around = match &prepared.around {
            Some(around) => busy_cycles(&last(around)?, Pipe::V),
            None => 0.0,
        };
        Ok(Modelled { report, around })
    };
    modelled().with_context(|| run.what.clone())
}

impl Runner<'_> {
    /// Operators and operands of a run.
    pub(super) fn prepare(&self, run: &PublishedRun) -> Result<Prepared> {
        let launch = match &run.kernel {
            Kernel::Read { .. } => self.read(run),
            Kernel::Matmul { .. } => self.product(run),
            Kernel::Add { .. } => self.add(run),
            Kernel::Vector { .. } => return self.vector(&run.kernel),
            Kernel::Attention { .. } => self.attend(run),
        };
        Ok(Prepared { launch: launch?, around: None })
    }

    /// A launch that does next to nothing.
    pub(super) fn empty(&self) -> Result<Launch> {
        self.vectors(VectorStreamTiling { count: 0, ..stream_of(VectorOp::Add, 1) }, DType::F32)
    }

    /// Copies so much that L2 holds nothing of what a run reads.
    pub(super) fn flush(&self) -> Result<Launch> {
        let soc = self.device.soc();
        let (src, dst) = (self.alloc(soc.l2_bytes)?, self.alloc(soc.l2_bytes)?);
        let operator = MemoryCopy::new(self.device)?;
        Ok(Box::new(move |stream| {
            operator.launch(stream, soc.vector_cores, soc.l2_bytes, (&dst).into(), (&src).into())
        }))
    }

    /// Writes 256 MiB, as benchmarks do that have L2 cold for every launch
    /// (npu-skillyard: pto-stage-artifact-generator-local/references/benchmark_patterns.md): L2 is then full
    /// of written lines.
    pub(super) fn flush_with_writes(&self) -> Result<Launch> {
        const WRITTEN_BYTES: u64 = 256 << 20;
        // Read again and again: next to nothing beside what is written.
        const SRC_BYTES: u64 = 2 << 20;
        let src = self.alloc(SRC_BYTES)?;
        let dst: Vec<Buffer> =
            (0..WRITTEN_BYTES / SRC_BYTES).map(|_| self.alloc(SRC_BYTES)).collect::<Result<_>>()?;
        let (operator, cores) = (MemoryCopy::new(self.device)?, self.device.soc().vector_cores);
        Ok(Box::new(move |stream| {
            dst.iter()
                .try_for_each(|dst| operator.launch(stream, cores, SRC_BYTES, dst.into(), (&src).into()))
        }))
    }

    fn alloc(&self, bytes: u64) -> Result<Buffer> {
        let bytes = usize::try_from(bytes).with_context(|| format!("{bytes} bytes"))?;
        let buffer = Buffer::alloc(self.device, bytes)?;
        if self.fills {
            buffer.zero()?;
        }
        Ok(buffer)
    }

    fn read(&self, run: &PublishedRun) -> Result<Launch> {
        let &Kernel::Read { to_l1, shape, tile, cores, order, slice_cols, passes, past_l2 } = &run.kernel
        else {
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
        from.past_l2 = past_l2;
        let to = if to_l1 { ReadTo::L1 } else { ReadTo::Ub };
        // Before any memory is asked for.
        from.tiling_data(to, self.device.soc())?;
        let src = self.alloc(from.span_bytes())?;
        let read = Read::new(self.device)?;
        Ok(Box::new(move |stream| read.launch(stream, &from, to, (&src).into())))
    }

    fn product(&self, run: &PublishedRun) -> Result<Launch> {
        let &Kernel::Matmul {
            mnk,
            is_b_kn,
            is_c_f32,
            block,
            tile,
            step_k,
            l1_buffers,
            is_l1_by_operand,
            unit_flag,
            band,
            cores,
        } = &run.kernel
        else {
            return Err(anyhow!("not a product"));
        };
        let problem = matmul::Problem::new(DType::F16, mnk)
            .with_b_layout(if is_b_kn { BLayout::Kn } else { BLayout::Nk })
            .with_dtype_out(if is_c_f32 { DType::F32 } else { DType::F16 });
        let tiling = Tiling {
            block,
            tile,
            step_k,
            l1_buffers,
            l1_halves: if is_l1_by_operand { L1Halves::Operands } else { L1Halves::Buffers },
            l0_buffers: 2,
            l0c_buffers: 1,
            unit_flag,
            swizzle: band,
            swizzle_axis: Axis::M,
            num_cores: cores,
            b_past_l2: false,
        };
        let plan = matmul::plan_with(&problem, self.device.soc(), tiling)?;
        let [a, b, c] = problem.operand_bytes();
        let (a, b, c) = (self.alloc(a)?, self.alloc(b)?, self.alloc(c)?);
        let operator = Matmul::new(self.device)?;
        Ok(Box::new(move |stream| operator.launch(stream, &plan, matmul::Args::new(&a, &b, &c))))
    }

    fn add(&self, run: &PublishedRun) -> Result<Launch> {
        let &Kernel::Add { n, tile, buffers, cores, y_gap_bytes, past_l2 } = &run.kernel else {
            return Err(anyhow!("not a sum"));
        };
        let tiling = AddTiling { tile, buffers, num_cores: cores, y_gap_bytes, past_l2 };
        // Before any memory is asked for. Bounds n, too.
        tiling.tiling_data(DType::F16, n, self.device.soc())?;
        let (x, y, z) = (self.alloc(2 * n)?, self.alloc(2 * n)?, self.alloc(2 * n)?);
        let operator = Add::new(self.device)?;
        Ok(Box::new(move |stream| {
            operator.launch(stream, tiling, DType::F16, n, [(&x).into(), (&y).into(), (&z).into()])
        }))
    }

    fn attend(&self, run: &PublishedRun) -> Result<Launch> {
        let &Kernel::Attention { seqlen_q, seqlen_k } = &run.kernel else {
            return Err(anyhow!("not attention"));
        };
        let problem = attention::Problem::new(DType::F16, [1, seqlen_q, 1, 128]).with_seqlen_k(seqlen_k);
        let candidate = Candidate {
            block_m: 128,
            block_n: 256,
            chunk_n: 256,
            num_stages: 4,
            preload: 2,
            bundle_steps: 1,
        };
        // On as many cores as the row says.
        let plan = attention::plan_with(&problem, self.device.soc(), candidate)?.with_whole_items();
        let buffers = Buffers::alloc(self.device, &plan)?;
        if self.fills {
            [&buffers.q, &buffers.k, &buffers.v].into_iter().try_for_each(Buffer::zero)?;
        }
        let operator = FlashAttention::new(self.device)?;
        Ok(Box::new(move |stream| operator.launch(stream, &plan, buffers.args())))
    }

    /// The instructions, and a launch without them.
    fn vector(&self, kernel: &Kernel) -> Result<Prepared> {
        let Kernel::Vector { op, f32, count, repeat, at, src0 } = kernel else {
            return Err(anyhow!("not a vector instruction"));
        };
        let tiling = VectorStreamTiling {
            count: *count,
            dst: VectorOperand::contiguous(at[0]),
            src0: VectorOperand { offset_bytes: at[1], block_stride: src0[0], repeat_stride: src0[1] },
            src1: VectorOperand::contiguous(at[2]),
            ..stream_of(vector_op(op)?, *repeat)
        };
        let dtype = if *f32 { DType::F32 } else { DType::F16 };
        let around = self.vectors(VectorStreamTiling { count: 0, ..tiling }, dtype)?;
        Ok(Prepared { launch: self.vectors(tiling, dtype)?, around: Some(around) })
    }

    fn vectors(&self, tiling: VectorStreamTiling, dtype: DType) -> Result<Launch> {
        let out = self.alloc(tiling.out_bytes())?;
        let operator = VectorStream::new(self.device)?;
        Ok(Box::new(move |stream| operator.launch(stream, &tiling, dtype, (&out).into())))
    }
}

/// Once, with a barrier, all operands at the start of UB.
fn stream_of(op: VectorOp, repeat: u8) -> VectorStreamTiling {
    let operand = VectorOperand::contiguous(0);
    VectorStreamTiling {
        op,
        count: 1,
        repeat,
        barrier: true,
        scalar: 1.0,
        dst: operand,
        src0: operand,
        src1: operand,
    }
}

fn vector_op(name: &str) -> Result<VectorOp> {
    VectorOp::ALL
        .into_iter()
        .find(|op| format!("{op:?}").eq_ignore_ascii_case(name))
        .ok_or_else(|| anyhow!("op = {name:?} given, one of {:?} in lower case wanted", VectorOp::ALL))
}

fn busy_cycles(report: &LaunchReport, pipe: Pipe) -> f64 {
    report.mean_busy_us(pipe) * f64::from(report.soc.clock_mhz)
}

impl Modelled {
    /// Bytes that the cores read from GM.
    pub(super) fn read_bytes(&self) -> u64 {
        self.report.traffic.read_bytes
    }

    /// In the unit of the metric, for `share` times what was run.
    pub(super) fn value(&self, metric: Metric, share: f64) -> f64 {
        let report = &self.report;
        match (metric, metric.pipe()) {
            (Metric::VCycles, _) => busy_cycles(report, Pipe::V) - self.around,
            (Metric::Mte2Cycles, _) => busy_cycles(report, Pipe::Mte2),
            (_, Some(pipe)) => report.mean_busy_us(pipe) * share,
            (Metric::Gbps, _) => report.traffic.read_bytes as f64 / report.core_us() / 1000.0,
            (Metric::Core, _) => self.whole(report.core_us(), 0.0, share),
            _ => {
                let last_start = report.cores.iter().map(|core| core.start).fold(0.0, f64::max);
                report.launch_us + self.whole(report.cores_us(), last_start, share)
            }
        }
    }

    /// `share` times what was run in `us` microseconds, beginning once: behind the start of the last core, in
    /// cycles, and the prologue.
    fn whole(&self, us: f64, last_start: f64, share: f64) -> f64 {
        let control = &self.report.soc.timing.control;
        let is_aic = self.report.cores.iter().any(|core| core.kind() == "AIC");
        let begin = (last_start + control.prologue(is_aic) as f64) / f64::from(self.report.soc.clock_mhz);
        begin + (us - begin) * share
    }
}
