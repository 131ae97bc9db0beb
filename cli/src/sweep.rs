//! Sweeps of shapes: every combination of lists of values.

use anyhow::{bail, Result};
use fastattention::attention::{Layout, Problem};
use fastattention::{DType, Soc};

use crate::mask::{parse_masks, Masks};
use crate::progress::Progress;
use crate::shape::{parse_dtype, parse_layout, parse_score_dtype, HEAD_DIM};
use crate::table::Row;
use crate::workload::{Op, Workload};

/// Lists, with commas between their values.
#[derive(Debug, clap::Args)]
pub struct Sweep {
    /// Operators.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Op::FlashFwd])]
    op: Vec<Op>,
    /// Rows of q.
    #[arg(long, value_delimiter = ',', default_values_t = [512, 1024, 2048, 4096])]
    seqlen_q: Vec<u32>,
    /// Rows of k and v [default: seqlen_q].
    #[arg(long, value_delimiter = ',')]
    seqlen_k: Vec<u32>,
    /// Sequences.
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    batch: Vec<u32>,
    /// Heads of q.
    #[arg(long, value_delimiter = ',', default_values_t = [8])]
    num_heads: Vec<u32>,
    /// Heads of k and v [default: num_heads].
    #[arg(long)]
    num_heads_k: Option<u32>,
    /// Elements of a row of q, k and v.
    #[arg(long, default_value_t = HEAD_DIM)]
    head_dim: u32,
    /// Element type of all operands: f16 or bf16.
    #[arg(long, default_value = "f16", value_parser = parse_dtype)]
    dtype: DType,
    /// Masks: none, causal or window:L,R. L and R are the keys that a query sees to its left and right, * is
    /// no limit.
    #[arg(long, num_args = 1.., default_values = ["none,causal"], value_parser = parse_masks)]
    mask: Vec<Masks>,
    /// Types in which scores go from the Cube to the vector cores: f32 or f16 [default: f32; of unfused
    /// attention that of the operands].
    #[arg(long, value_delimiter = ',', value_parser = parse_score_dtype)]
    score_dtype: Vec<DType>,
    /// Orders of the dimensions: bsnd (rows before heads) or bnsd (heads before rows).
    #[arg(long, value_delimiter = ',', default_values = ["bsnd"], value_parser = parse_layout)]
    layout: Vec<Layout>,
    /// SoCs: Ascend910B1 to Ascend910B4. The maker's name may be left out: 910B2.
    #[arg(long, value_delimiter = ',', default_values = ["Ascend910B2"])]
    soc: Vec<String>,
    /// Start every case with an empty L2 instead of one that the same case has filled before.
    #[arg(long)]
    cold: bool,
}

/// What came of a sweep.
#[derive(Debug)]
pub struct Outcome {
    /// Of the cases that went well.
    pub rows: Vec<Row>,
    /// Of the others: the case, and why it failed.
    failed: Vec<String>,
}

impl Outcome {
    /// # Errors
    /// All cases that failed.
    pub fn check(&self) -> Result<()> {
        let Self { rows, failed } = self;
        if !failed.is_empty() {
            bail!("{} of {} cases failed\n{}", failed.len(), rows.len() + failed.len(), failed.join("\n"));
        }
        Ok(())
    }
}

/// Runs the cases, one after the other.
pub fn run(workloads: &[Workload]) -> Outcome {
    let progress = Progress::of("cases in model time", workloads.len() as u64);
    let mut outcome = Outcome { rows: Vec::new(), failed: Vec::new() };
    for &workload in workloads {
        match workload.time(false) {
            Ok(reports) => outcome.rows.push(Row::new(workload, &reports)),
            Err(error) => outcome.failed.push(format!("{workload}: {}", crate::told(&error))),
        }
        progress.add(1);
    }
    outcome
}

impl Sweep {
    /// Every combination.
    ///
    /// # Errors
    /// A SoC that is not known, or something that an operator has no use for.
    pub fn workloads(&self) -> Result<Vec<Workload>> {
        let socs = self.soc.iter().map(|name| Soc::by_name(name)).collect::<Result<Vec<_>, _>>()?;
        let mut workloads = Vec::new();
        for &op in &self.op {
            for &soc in &socs {
                for problem in self.problems(op) {
                    let workload =
                        Workload { op, problem, soc, tiling: None, sample_rows: None, is_warm: !self.cold };
                    workload.check()?;
                    workloads.push(workload);
                }
            }
        }
        Ok(workloads)
    }

    fn problems(&self, op: Op) -> Vec<Problem> {
        let usual = [op.scores(None, self.dtype)];
        let score_dtypes = if self.score_dtype.is_empty() { &usual[..] } else { &self.score_dtype };
        let mut problems = Vec::new();
        for &mask in self.mask.iter().flat_map(|Masks(masks)| masks) {
            for &layout in &self.layout {
                for &score_dtype in score_dtypes {
                    let options =
                        |p: Problem| p.with_mask(mask).with_layout(layout).with_score_dtype(score_dtype);
                    problems.extend(self.shapes().into_iter().map(options));
                }
            }
        }
        problems
    }

    fn shapes(&self) -> Vec<Problem> {
        let mut shapes = Vec::new();
        for &batch in &self.batch {
            for &num_heads in &self.num_heads {
                for &seqlen_q in &self.seqlen_q {
                    let same = [seqlen_q];
                    let lengths_k = if self.seqlen_k.is_empty() { &same[..] } else { &self.seqlen_k };
                    shapes.extend(lengths_k.iter().map(|&seqlen_k| {
                        Problem::new(self.dtype, [batch, seqlen_q, num_heads, self.head_dim])
                            .with_seqlen_k(seqlen_k)
                            .with_num_heads_k(self.num_heads_k.unwrap_or(num_heads))
                    }));
                }
            }
        }
        shapes
    }
}
