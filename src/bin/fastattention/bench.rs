//! `fastattention bench`.

use std::path::PathBuf;

use anyhow::{bail, Context, Result};
use fastattention::attention::{Layout, Mask, Problem};
use fastattention::{DType, Soc};

use crate::chart::Charts;
use crate::output::Output;
use crate::progress::bar;
use crate::shape::{parse_dtype, parse_layout, parse_score_dtype};
use crate::table::{self, Row};
use crate::workload::{Op, Workload};

/// Every combination of the lists is run.
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
    /// Masks, separated by spaces: none, causal or window:L,R.
    #[arg(long, num_args = 1.., default_values = ["none", "causal"], value_parser = crate::parse_mask)]
    mask: Vec<Mask>,
    /// Types in which scores go from the Cube to the vector cores: f32 or f16.
    #[arg(long, value_delimiter = ',', default_values = ["f32"], value_parser = parse_score_dtype)]
    score_dtype: Vec<DType>,
    /// Orders of the dimensions: bsnd or bnsd.
    #[arg(long, value_delimiter = ',', default_values = ["bsnd"], value_parser = parse_layout)]
    layout: Vec<Layout>,
    /// SoCs.
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
        let mut rows = Vec::new();
        for workload in workloads {
            let reports = workload.time(false);
            let reports = reports.with_context(|| workload.to_string())?;
            if reports.is_empty() {
                bail!("{workload}: no rows, so no launch");
            }
            rows.push(Row::new(workload, &reports));
            progress.inc(1);
        }
        progress.finish_and_clear();
        if let Some(csv) = csv {
            csv.write_bytes(&table::csv(&rows)?)?;
        }
        if let Some(charts) = charts {
            charts.write(&rows)?;
        }
        crate::print(table::text(&rows).trim_end())
    }

    fn workloads(&self) -> Result<Vec<Workload>> {
        let socs = self.soc.iter().map(|name| Soc::by_name(name)).collect::<Result<Vec<_>, _>>()?;
        let mut workloads = Vec::new();
        for &op in &self.op {
            for &soc in &socs {
                for problem in self.problems() {
                    let workload =
                        Workload { op, problem, soc, tiling: None, sample_rows: None, is_warm: !self.cold };
                    workload.check()?;
                    workloads.push(workload);
                }
            }
        }
        Ok(workloads)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for &mask in &self.mask {
            for &layout in &self.layout {
                for &score_dtype in &self.score_dtype {
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
