//! Operators in model time: what the commands `trace` and `bench` run.

mod runs;

use anyhow::{bail, ensure, Context, Result};
use clap::ValueEnum;
use fastattention::attention::{self, Layout, Mask, Problem};
use fastattention::matmul;
use fastattention::runtime::{Device, Stream};
use fastattention::sim::time::{LaunchReport, ModelTime};
use fastattention::sim::Config;
use fastattention::{DType, Soc};

use crate::shape::HEAD_DIM;
use crate::tiling::Tiling;

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Op {
    /// Attention forward.
    #[value(name = "flash_fwd")]
    FlashFwd,
    /// Unfused attention in three launches, with scores in device memory, of the operands' type unless
    /// another one is given.
    Standard,
    /// Matrix product: of sizes m, n and k, or that of a linear layer, with batch * seqlen_q rows and
    /// num_heads * head_dim columns and sums.
    Matmul,
    /// Merge of partial results by lse, each of the shape of q.
    Merge,
    /// Copy of a tensor of the shape of q.
    Copy,
    /// Read of a dense mask of one byte for each query and key, once for every head, by all vector cores and
    /// nothing else.
    ReadMask,
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Op::FlashFwd => "flash_fwd",
            Op::Standard => "standard",
            Op::Matmul => "matmul",
            Op::Merge => "merge",
            Op::Copy => "copy",
            Op::ReadMask => "read-mask",
        })
    }
}

impl Op {
    /// Has it scores that a mask hides?
    pub(crate) fn has_mask(self) -> bool {
        matches!(self, Op::FlashFwd | Op::Standard)
    }

    /// The type of scores that was given, or the operator's usual one.
    pub fn scores(self, given: Option<DType>, dtype: DType) -> DType {
        given.unwrap_or(if self == Op::Standard { dtype } else { DType::F32 })
    }
}

/// Rounds of work items that a sample has at least.
const SAMPLE_ROUNDS: u64 = 16;

/// Partial results of a merge where no number is given.
pub const PARTS: u32 = 2;

/// An operator on a problem and a SoC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// What is run.
    pub op: Op,
    /// Its sizes, as attention has them.
    pub problem: Problem,
    /// The chip that is simulated.
    pub soc: &'static Soc,
    /// A product with sizes of its own, in the place of the linear layer of `problem`. Its rows and its type
    /// are those of `problem`, too.
    pub product: Option<matmul::Problem>,
    /// Partial results of a merge, [`PARTS`] unless given.
    pub parts: Option<u32>,
    /// Of `flash_fwd` or a product; `None` is the planner's choice.
    pub tiling: Option<Tiling>,
    /// Run `flash_fwd` only on so many of the rows of q.
    pub sample_rows: Option<u32>,
    /// Run once before, so that L2 holds what a run leaves there.
    pub is_warm: bool,
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Workload { op, problem: p, soc, .. } = self;
        write!(f, "{op} on {}: {}", soc.name, p.spec.dtype)?;
        if let Some(c) = self.product {
            let [_, _, batch] = c.batch;
            write!(
                f,
                " m {}, n {}, k {}, batch {batch}, b {}, result {}",
                c.m, c.n, c.k, c.b_layout, c.dtype_out
            )?;
        } else {
            write!(f, " q [{}, {}, {}, {}]", p.batch, p.seqlen_q, p.spec.num_heads, p.spec.head_dim)?;
            write!(f, ", seqlen_k {}, num_heads_k {}", p.seqlen_k, p.spec.num_heads_k)?;
            if p.spec.head_dim_v != p.spec.head_dim {
                write!(f, ", head_dim_v {}", p.spec.head_dim_v)?;
            }
            let keys = if p.shift_keys { " of shifted keys" } else { "" };
            write!(f, ", mask {}, scores {}{keys}, layout {}", p.spec.mask, p.spec.score_dtype, p.layout)?;
        }
        if let Some(parts) = self.parts {
            write!(f, ", {parts} parts")?;
        }
        if let Some(tiling) = self.tiling {
            write!(f, ", {tiling}")?;
        }
        self.sample_rows.map_or(Ok(()), |rows| write!(f, ", only {rows} rows"))
    }
}

impl Workload {
    /// The whole problem as the planner cuts it, with L2 as an earlier run has left it.
    pub fn new(op: Op, problem: Problem, soc: &'static Soc) -> Self {
        Self { op, problem, soc, product: None, parts: None, tiling: None, sample_rows: None, is_warm: true }
    }

    /// Refuses what the operator has no use for.
    ///
    /// # Errors
    /// The first of these.
    pub fn check(&self) -> Result<()> {
        let p = &self.problem;
        ensure!(
            self.op == Op::FlashFwd || !p.shift_keys,
            "{}: shift_keys given; only flash_fwd shifts keys, wanted none",
            self.op
        );
        if self.op.has_mask() {
            return Ok(());
        }
        self.check_without_attention()?;
        if self.op == Op::ReadMask {
            self.check_read_mask()?;
        }
        Ok(())
    }

    /// What only attention takes is as it is by default.
    fn check_without_attention(&self) -> Result<()> {
        let (op, p) = (self.op, &self.problem);
        let mask = p.spec.mask;
        ensure!(mask == Mask::None, "{op}: mask = {mask} given, none wanted: this operator has no mask");
        let scores = p.spec.score_dtype;
        ensure!(
            scores == DType::F32,
            "{op}: score_dtype = {scores} given, none wanted: this operator has no scores"
        );
        ensure!(
            p.layout == Layout::Bsnd,
            "{op}: layout = {} given, bsnd wanted: this operator has no other layout",
            p.layout
        );
        if let Some(scale) = p.spec.softmax_scale {
            bail!("{op}: softmax_scale = {scale} given, none wanted: this operator has no scores");
        }
        for (name, given, wanted) in [
            ("seqlen_k", p.seqlen_k, p.seqlen_q),
            ("num_heads_k", p.spec.num_heads_k, p.spec.num_heads),
            ("head_dim_v", p.spec.head_dim_v, p.spec.head_dim),
        ] {
            let is_used = op == Op::ReadMask && name == "seqlen_k";
            ensure!(
                given == wanted || is_used,
                "{op}: {name} = {given} given, none wanted: this operator has neither k nor v"
            );
        }
        Ok(())
    }

    fn check_read_mask(&self) -> Result<()> {
        let (dtype, head_dim) = (self.problem.spec.dtype, self.problem.spec.head_dim);
        ensure!(
            dtype == DType::F16,
            "read-mask: dtype = {dtype} given, none wanted: elements of a mask are bytes"
        );
        ensure!(
            head_dim == HEAD_DIM,
            "read-mask: head_dim = {head_dim} given, none wanted: a mask has no head_dim"
        );
        Ok(())
    }

    /// Floating-point operations that the result needs: of attention, those of pairs that no mask hides.
    pub fn flops(&self) -> f64 {
        match self.op {
            Op::FlashFwd | Op::Standard => {
                let shape = self.launched().shape();
                let keys = |row| shape.visible_keys(row..row + 1).len() as f64;
                let pairs: f64 = (0..shape.seqlen_q).map(keys).sum();
                let heads = f64::from(shape.batch) * f64::from(shape.num_heads);
                2.0 * pairs * heads * (f64::from(shape.head_dim) + f64::from(shape.head_dim_v))
            }
            Op::Matmul => self.linear().map_or(0.0, |problem| problem.flops()),
            Op::Merge | Op::Copy | Op::ReadMask => 0.0,
        }
    }

    /// The problem that is run.
    fn launched(&self) -> Problem {
        let mut problem = self.problem;
        problem.seqlen_q = self.sample_rows.unwrap_or(problem.seqlen_q);
        problem
    }

    /// Is it run only in part?
    pub fn is_sample(&self) -> bool {
        self.sample_rows.is_some()
    }

    /// The same on the first rows of q, for a problem without mask, where every row costs the same: with the
    /// tiling of the whole, and as many rows as make whole rounds of work items on all cores.
    ///
    /// # Errors
    /// It cannot be planned.
    pub fn sample(&self) -> Result<Self> {
        ensure!(
            self.op == Op::FlashFwd && self.problem.spec.mask == Mask::None,
            "{}, mask {}: a sample wanted; only rows of flash_fwd without a mask all cost the same",
            self.op,
            self.problem.spec.mask
        );
        let tiling = self.plan()?.chosen();
        // A plan has fewer than 2^31 heads, so products with them are far from 2^64.
        let heads = u64::from(self.problem.batch) * u64::from(self.problem.spec.num_heads);
        let cores = u64::from(self.soc.cube_cores);
        let is_whole =
            |blocks: &u64| (heads * blocks).is_multiple_of(cores) && heads * blocks >= SAMPLE_ROUNDS * cores;
        let blocks = (1..=SAMPLE_ROUNDS * cores)
            .find(is_whole)
            .context("sample: no number of rows gives all cores the same number of blocks")?;
        match u32::try_from(blocks * u64::from(tiling.block_m)) {
            Ok(rows) if rows < self.problem.seqlen_q => {
                Ok(Self { tiling: Some(Tiling::FlashFwd(tiling)), sample_rows: Some(rows), ..*self })
            }
            _ => Ok(*self),
        }
    }

    /// What a simulation costs the host, in pairs of query and key of `flash_fwd`.
    pub fn host_cost(&self) -> f64 {
        let p = self.launched();
        if let Some(product) = self.product {
            return product.flops() / 2.0 / f64::from(HEAD_DIM) * if self.is_warm { 2.0 } else { 1.0 };
        }
        let rows = f64::from(p.batch) * f64::from(p.spec.num_heads) * f64::from(p.seqlen_q);
        let hidden = if p.spec.mask == Mask::Causal && self.op == Op::FlashFwd { 0.5 } else { 1.0 };
        let columns = match self.op {
            Op::FlashFwd | Op::Standard => hidden * f64::from(p.seqlen_k),
            Op::ReadMask => 0.1 * f64::from(p.seqlen_k),
            Op::Matmul => f64::from(p.spec.num_heads) * f64::from(p.spec.head_dim),
            Op::Merge => f64::from(self.parts.unwrap_or(PARTS)) * f64::from(p.spec.head_dim),
            Op::Copy => f64::from(p.spec.head_dim),
        };
        rows * columns * if self.is_warm { 2.0 } else { 1.0 }
    }

    /// The product that is run.
    ///
    /// # Errors
    /// Sizes of a linear layer that are more than 32 bits hold.
    pub fn linear(&self) -> Result<matmul::Problem> {
        if let Some(product) = self.product {
            return Ok(product);
        }
        let p = &self.problem;
        let rows = self.product(("batch", p.batch), ("seqlen_q", p.seqlen_q))?;
        let width = self.product(("num_heads", p.spec.num_heads), ("head_dim", p.spec.head_dim))?;
        Ok(matmul::Problem::new(p.spec.dtype, [rows, width, width]))
    }

    /// Bytes of q.
    fn copied_bytes(&self) -> Result<u64> {
        let p = &self.problem;
        let sizes = [p.batch, p.seqlen_q, p.spec.num_heads, p.spec.head_dim];
        let bytes =
            sizes.iter().try_fold(p.spec.dtype.size_bytes() as u64, |all, &n| all.checked_mul(n.into()));
        let bytes = bytes.filter(|&bytes| bytes <= self.soc.hbm_bytes);
        bytes.with_context(|| {
            format!(
                "copy: {} [batch, seqlen_q, num_heads, head_dim] = {sizes:?} does not fit the {} bytes of {}",
                p.spec.dtype, self.soc.hbm_bytes, self.soc.name
            )
        })
    }

    fn product(&self, (a_name, a): (&str, u32), (b_name, b): (&str, u32)) -> Result<u32> {
        a.checked_mul(b).with_context(|| {
            format!("{}: {a_name} * {b_name} = {a} * {b} is more than {}", self.op, u32::MAX)
        })
    }

    /// Runs it on a device of its own, without results; reports of all its launches, in their order, where
    /// it runs twice those of the second time.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub fn time(&self, has_trace: bool) -> Result<Vec<LaunchReport>> {
        let model_time = ModelTime::only();
        let model_time = if has_trace { model_time.with_trace() } else { model_time };
        let mut config = Config::new(self.soc);
        // Races are the concern of tests; here they would only cost host time.
        config.check_races = false;
        config.model_time = Some(model_time.clone());
        let device = Device::simulated(config)?;
        let launch = match self.op {
            Op::FlashFwd => self.flash_fwd(&device),
            Op::Standard => self.standard(&device),
            Op::Matmul => self.matmul(&device),
            Op::Merge => self.merge(&device),
            Op::Copy => self.copy(&device),
            Op::ReadMask => self.read_mask(&device),
        }?;
        let stream = Stream::new(&device)?;
        let mut reports = Vec::new();
        for _ in 0..if self.is_warm { 2 } else { 1 } {
            launch(&stream)?;
            stream.synchronize()?;
            reports = model_time.take_reports();
        }
        Ok(reports)
    }

    /// The plan of `flash_fwd`.
    ///
    /// # Errors
    /// Why it cannot be planned.
    pub fn plan(&self) -> Result<attention::Plan> {
        Ok(match self.tiling {
            Some(Tiling::Matmul(tiling)) => bail!("flash_fwd: the tiling of a product given: {tiling}"),
            Some(Tiling::FlashFwd(tiling)) => attention::plan_with(&self.launched(), self.soc, tiling)?,
            None => attention::plan(&self.launched(), self.soc)?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests;
