//! `fastattention bench`.

use std::path::PathBuf;

use anyhow::{bail, Result};
use fastattention::attention::{Layout, Problem};
use fastattention::{DType, Soc};

use crate::chart::Charts;
use crate::output::Output;
use crate::progress::bar;
use crate::shape::{parse_dtype, parse_layout, parse_score_dtype};
use crate::table::{self, Row};
use crate::workload::{Op, Workload};
use crate::Masks;

/// Every combination of the lists, which have commas between their values, is run.
///
/// A case that fails is told at the end; the others are in the table and in the files.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Operators.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Op::FlashFwd])]
    op: Vec<Op>,
    /// Rows of q.
    #[arg(long, value_delimiter = ',', default_values_t = [512, 1024, 2048, 4096])]
    seqlen_q: Vec<u32>,
    /// Rows of k and v [default: seqlen_q].
    #[arg(long, value_delimiter = ',')]
    seqlen_k: Vec<u32>,
    /// Batch sizes.
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    batch: Vec<u32>,
    /// Heads of q.
    #[arg(long, value_delimiter = ',', default_values_t = [8])]
    num_heads: Vec<u32>,
    /// Heads of k and v [default: num_heads].
    #[arg(long)]
    num_heads_k: Option<u32>,
    /// Elements of a row.
    #[arg(long, default_value_t = 128)]
    head_dim: u32,
    /// f16 or bf16.
    #[arg(long, default_value = "f16", value_parser = parse_dtype)]
    dtype: DType,
    /// Masks: none, causal or window:L,R.
    #[arg(long, num_args = 1.., default_values = ["none,causal"], value_parser = crate::parse_masks)]
    mask: Vec<Masks>,
    /// Types in which scores go from the Cube to the vector cores: f32 or f16 [default: f32; of unfused attention that of the
    /// operands].
    #[arg(long, value_delimiter = ',', value_parser = parse_score_dtype)]
    score_dtype: Vec<DType>,
    /// Orders of the dimensions: bsnd or bnsd.
    #[arg(long, value_delimiter = ',', default_values = ["bsnd"], value_parser = parse_layout)]
    layout: Vec<Layout>,
    /// SoCs: Ascend910B1 to B4, or without Ascend.
    #[arg(long, value_delimiter = ',', default_values = ["Ascend910B2"])]
    soc: Vec<String>,
    /// Start every case with an empty L2 instead of one that the same case has filled before.
    #[arg(long)]
    cold: bool,
    /// File for all columns.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Folder for charts of time, pipes and roofline.
    #[arg(long)]
    svg: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn execute(self) -> Result<()> {
        let csv = self.csv.as_deref().map(|path| Output::check(path, None)).transpose()?;
        let workloads = self.workloads()?;
        let charts = self.svg.as_deref().map(|folder| Charts::check(folder, &workloads)).transpose()?;
        let progress = bar("cases in model time", workloads.len() as u64);
        let (mut rows, mut failed) = (Vec::new(), Vec::new());
        for &workload in &workloads {
            match workload.time(false) {
                Ok(reports) => rows.push(Row::new(workload, &reports)),
                Err(error) => failed.push(format!("{workload}: {}", crate::told(&error))),
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        if !rows.is_empty() {
            tell(&rows, csv, charts)?;
        }
        if !failed.is_empty() {
            bail!("{} of {} cases failed\n{}", failed.len(), workloads.len(), failed.join("\n"));
        }
        Ok(())
    }

    fn workloads(&self) -> Result<Vec<Workload>> {
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

fn tell(rows: &[Row], csv: Option<Output>, charts: Option<Charts>) -> Result<()> {
    if let Some(csv) = csv {
        csv.write_bytes(&table::csv(rows)?)?;
    }
    if let Some(charts) = charts {
        charts.write(rows)?;
    }
    crate::print(table::text(rows).trim_end())
}
