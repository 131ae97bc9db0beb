//! What `docs/performance` compares, and how.

use anyhow::Result;
use clap::ValueEnum;
use fastattention::attention::{Layout, Mask, Problem};
use fastattention::baseline;
use fastattention::tiling::mask::{m_mask, MASK_DIM};
use fastattention::tiling::Candidate;
use fastattention::{DType, Soc};

use super::figure::{Chart, Figure, Line, Section};
use crate::chart::{Axis, Level, Marks};
use fastattention_cli::tiling::Tiling;
use fastattention_cli::workload::{Op, Workload};

/// A table of `docs/performance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Topic {
    /// Rate of `flash_fwd` on long sequences, with and without causal mask.
    Rates,
    /// Time of `flash_fwd` on one head.
    OneHead,
    /// Two-level tiling against one level.
    Tiling,
    /// Tiling-mask against a dense mask.
    Mask,
    /// `flash_fwd` against unfused attention.
    Standard,
    /// Tiling-AllReduce of a tensor-parallel layer.
    Layer,
}

/// Heads of the comparisons that are about lengths.
const HEADS: u32 = 8;
/// Lengths of the comparisons, and of the rates.
const LENGTHS: [u32; 6] = [512, 1024, 2048, 4096, 8192, 16384];
const LONG: [u32; 4] = [4096, 8192, 16384, 32768];
/// Pairs of query and key, over all heads, beyond which a rate without mask is taken from a sample of rows.
const SAMPLED_ABOVE: u64 = 1 << 32;
/// Longest sequence of a comparison with more heads than [`HEADS`].
const MANY_HEADS_UP_TO: u32 = 4096;

/// Shares of the peak. The published figure is of causal prefill with the vendor's operator on a 910B
/// (XY-Serve, ASPLOS 2026, doi 10.1145/3760250.3762228), which gives no length.
fn rates_chart(soc: &Soc) -> Chart {
    let bound = |scores, block_n, bundle_steps| {
        let value = bound_of_l2(soc, scores, block_n, bundle_steps);
        Level { label: format!("bound of L2 with {scores} scores: {value:.1} %"), value, is_published: false }
    };
    let label = "measured by others: torch_npu, causal prefill on a 910B: 53 % (XY-Serve)".to_owned();
    Chart {
        y_desc: "% of the Cubes' peak",
        axis: Axis::Percent,
        levels: vec![
            bound(DType::F16, 1024, 2),
            bound(DType::F32, 512, 4),
            Level { label, value: 53.0, is_published: true },
        ],
        marks: &[],
    }
}

/// The share of the peak at which L2 is always busy, in %: docs/timing.md, "What bounds `flash_fwd`".
fn bound_of_l2(soc: &Soc, scores: DType, block_n: u32, bundle_steps: u32) -> f64 {
    const ROWS: u32 = 256;
    const HEAD_DIM: u32 = 128;
    let memory = &soc.timing.memory;
    let both_ways = 1.0 + memory.l2_write_cost;
    let bytes = |rows: u32, cols: u32, size: usize| f64::from(rows * cols) * size as f64;
    let keys_values = bytes(2 * block_n, HEAD_DIM, 2);
    let outputs = bytes(ROWS, HEAD_DIM, 4) / f64::from(bundle_steps);
    let passed = bytes(ROWS, block_n, scores.size_bytes()) + bytes(ROWS, block_n, 2) + outputs;
    let cycles_per_byte = f64::from(soc.clock_mhz) / (memory.l2_read_gbps * 1000.0);
    let l2 = f64::from(soc.cube_cores) * (keys_values + both_ways * passed) * cycles_per_byte;
    // Two products, a fractal of 16 x 16 x 16 each cycle.
    let cube = 2.0 * bytes(ROWS, block_n, 1) * f64::from(HEAD_DIM) / 4096.0;
    100.0 * cube / l2
}

/// The published times are of whole launches on 16 cores of a 910B2, f16, head_dim 128, no mask (pto-isa,
/// torch_jit/flash_atten, both of its hosts), for 2048 rows of q and of k.
const ONE_HEAD: Marks = Marks {
    label: "measured by others, with the launch, which the lines leave out: PTO kernel, 16 cores of a 910B2 (pto-isa)",
    points: &[(2048.0, 36.055), (2048.0, 35.15)],
};

impl Topic {
    pub(super) fn all() -> Vec<Topic> {
        Self::value_variants().to_vec()
    }

    /// The table with lengths up to `max_seqlen`; `None` when it has none of these.
    pub(super) fn section(self, soc: &'static Soc, max_seqlen: u32) -> Result<Option<Section>> {
        let lengths: &[u32] = if self == Topic::Rates { &LONG } else { &LENGTHS };
        let seqlens: Vec<u32> = lengths.iter().copied().filter(|s| *s <= max_seqlen).collect();
        if seqlens.is_empty() {
            return Ok(None);
        }
        let table = Table { soc, seqlens };
        Ok(Some(match self {
            Topic::Rates => table.rates()?,
            Topic::OneHead => table.one_head()?,
            Topic::Tiling => table.tiling()?,
            Topic::Mask => table.mask()?,
            Topic::Standard => table.standard()?,
            // A table of layers, not of one operator by length.
            Topic::Layer => return Ok(None),
        }))
    }
}

/// f16, heads of 128 elements one after the other.
fn problem(batch: u32, num_heads: u32, seqlen: u32) -> Problem {
    Problem::new(DType::F16, [batch, seqlen, num_heads, 128]).with_layout(Layout::Bnsd)
}

fn pairs(p: &Problem) -> u64 {
    u64::from(p.batch) * u64::from(p.spec.num_heads) * u64::from(p.seqlen_q) * u64::from(p.seqlen_k)
}

/// A section in the making.
struct Table {
    soc: &'static Soc,
    seqlens: Vec<u32>,
}

impl Table {
    /// A case with L2 as the case before has left it.
    fn warm(&self, op: Op, problem: Problem) -> Workload {
        let scores = if op == Op::Standard { problem.spec.dtype } else { problem.spec.score_dtype };
        let problem = problem.with_score_dtype(scores);
        Workload::new(op, problem, self.soc)
    }

    /// A case of `flash_fwd` with an empty L2; a sample of it where it would take too long.
    fn cold(&self, problem: Problem) -> Result<Workload> {
        let whole = Workload { is_warm: false, ..self.warm(Op::FlashFwd, problem) };
        if problem.spec.mask != Mask::None || pairs(&problem) <= SAMPLED_ABOVE {
            return Ok(whole);
        }
        whole.sample()
    }

    fn line(
        &self,
        label: impl Into<String>,
        decimals: usize,
        figure: impl Fn(u32) -> Result<Option<Figure>>,
    ) -> Result<Line> {
        let cells = self.seqlens.iter().map(|seqlen| figure(*seqlen)).collect::<Result<_>>()?;
        Ok(Line { label: label.into(), decimals, is_charted: false, cells })
    }

    fn charted(
        &self,
        label: impl Into<String>,
        decimals: usize,
        figure: impl Fn(u32) -> Result<Option<Figure>>,
    ) -> Result<Line> {
        Ok(Line { is_charted: true, ..self.line(label, decimals, figure)? })
    }

    fn rates(self) -> Result<Section> {
        let heads = 32;
        let case = |seqlen, scores, layout, mask| {
            let problem =
                problem(1, heads, seqlen).with_layout(layout).with_score_dtype(scores).with_mask(mask);
            Ok(Figure::PeakPercent(self.cold(problem)?))
        };
        let mut lines = Vec::new();
        for (layout, how) in
            [(Layout::Bnsd, "heads one after the other"), (Layout::Bsnd, "heads interleaved")]
        {
            for scores in [DType::F32, DType::F16] {
                lines.push(self.charted(
                    format!("{scores} scores, {how} ({layout}): % of the Cubes' peak"),
                    1,
                    |s| case(s, scores, layout, Mask::None).map(Some),
                )?);
            }
        }
        for scores in [DType::F32, DType::F16] {
            lines.push(self.line(
                format!("causal, {scores} scores, bnsd: useful rate over the unmasked one"),
                3,
                |s| {
                    if s < 8192 {
                        return Ok(None);
                    }
                    let masked = case(s, scores, Layout::Bnsd, Mask::Causal)?;
                    Ok(Some(masked.over(case(s, scores, Layout::Bnsd, Mask::None)?)))
                },
            )?);
        }
        let about = format!(
            "`flash_fwd` on the {}: f16, batch 1, {heads} heads, head_dim 128. L2 is empty at the start. The \
             peak is that of 16-bit operands. Only pairs of query and key that no mask hides count as \
             work.\n\n\
             \\* marks a sample: the first rows of q of every head against all keys, with the tiling of the \
             whole problem. Every core then runs at least 16 whole rounds of work items. Without a mask all \
             rows cost the same, so the rate of the sample stands for the whole.",
            self.soc.name
        );
        let title = "Rate on long sequences";
        let chart = rates_chart(self.soc);
        Ok(Section { file: "rates", title, about, chart, seqlens: self.seqlens, lines })
    }

    fn one_head(self) -> Result<Section> {
        let case = |seqlen, scores, mask| {
            let problem = problem(1, 1, seqlen).with_score_dtype(scores).with_mask(mask);
            Ok(Some(Figure::Us(self.warm(Op::FlashFwd, problem))))
        };
        let lines = vec![
            self.charted("f32 scores, us", 1, |s| case(s, DType::F32, Mask::None))?,
            self.charted("f16 scores, us", 1, |s| case(s, DType::F16, Mask::None))?,
            self.charted("f32 scores, causal, us", 1, |s| case(s, DType::F32, Mask::Causal))?,
        ];
        let control = &self.soc.timing.control;
        let about = format!(
            "`flash_fwd` on one head, otherwise as above. The time is that of the slowest core, from its \
             start to its last result. A launch adds {:.1} us. Every case is the second of two launches, as in the tables \
             below, so that L2 holds what fits it.",
            control.task_launch_us(true) + control.starts_us(self.soc.cube_cores)
        );
        let title = "One head";
        let chart = Chart { marks: &[ONE_HEAD], ..Chart::US };
        Ok(Section { file: "one_head", title, about, chart, seqlens: self.seqlens, lines })
    }

    fn tiling(self) -> Result<Section> {
        let two = |seqlen| self.warm(Op::FlashFwd, problem(1, HEADS, seqlen));
        let one = |seqlen| -> Result<Workload> {
            let chosen = two(seqlen).plan()?.chosen();
            let tiling = Candidate { block_m: 128, block_n: 128, chunk_n: 128, bundle_steps: 1, ..chosen };
            let tiling = Some(Tiling::FlashFwd(tiling));
            Ok(Workload { tiling, ..two(seqlen) })
        };
        let lines = vec![
            self.charted("two levels, us", 1, |s| Ok(Some(Figure::Us(two(s)))))?,
            self.charted("one level, us", 1, |s| Ok(Some(Figure::Us(one(s)?))))?,
            self.line("gain", 2, |s| Ok(Some(Figure::Us(one(s)?).over(Figure::Us(two(s))))))?,
        ];
        let about = format!(
            "{HEADS} heads, no mask, f32 scores. *Two levels* is the planner's choice. *One level* is the \
             same kernel with blocks of 128 x 128 scores. Such a block is one tile of the Cube, and it costs \
             one hand-over to the vector cores; there are no bundles of steps. The number of buffers and of \
             steps that run ahead is the same in both."
        );
        let title = "Two-level tiling against one level";
        Ok(Section { file: "tiling", title, about, chart: Chart::US, seqlens: self.seqlens, lines })
    }

    fn mask(self) -> Result<Section> {
        let flash =
            |seqlen, mask| Figure::Us(self.warm(Op::FlashFwd, problem(1, HEADS, seqlen).with_mask(mask)));
        let read = |seqlen| Figure::Us(self.warm(Op::ReadMask, problem(1, HEADS, seqlen)));
        let softmax = |seqlen, mask| {
            let case = self.warm(Op::Standard, problem(1, HEADS, seqlen).with_mask(mask));
            Ok(Some(Figure::KernelUs(case, "fa_softmax")))
        };
        let tiled = |s| flash(s, Mask::Causal);
        let all_blocks = |s| flash(s, Mask::None);
        let small = Figure::Given(m_mask(MASK_DIM).len() as f64 / 1e6);
        let lines = vec![
            self.charted("causal with tiling-mask, us", 1, |s| Ok(Some(tiled(s))))?,
            self.charted("all blocks, mask for nothing, us", 1, |s| Ok(Some(all_blocks(s))))?,
            self.charted("reading the dense mask alone, us", 1, |s| Ok(Some(read(s))))?,
            self.line("gain if all reads hide", 2, |s| Ok(Some(all_blocks(s).over(tiled(s)))))?,
            self.line("gain if no read hides", 2, |s| Ok(Some(all_blocks(s).plus(read(s)).over(tiled(s)))))?,
            self.line("unfused softmax without mask, us", 1, |s| softmax(s, Mask::None))?,
            self.line("unfused softmax with dense f16 mask, us", 1, |s| softmax(s, Mask::Causal))?,
            self.line("dense mask, one byte a pair, MB", 2, |s| {
                Ok(Some(Figure::Given(f64::from(s).powi(2) / 1e6)))
            })?,
            self.line("M-mask, MB", 2, |_| Ok(Some(small.clone())))?,
        ];
        let about = format!(
            "{HEADS} heads, causal. A kernel that takes a dense mask cannot skip blocks, and it reads one \
             byte for each pair of query and key, once for every head. The crate has no such kernel, so its \
             time is bounded from both sides by two that it has: `flash_fwd` without a mask computes all \
             blocks, and `read_ub` reads the mask and does nothing else. If all of these reads hide behind \
             the computation, the gain is the smaller figure; if none of them does, it is the larger \
             one.\n\n\
             The two rows on unfused attention show one softmax kernel, once without a mask and once with a \
             dense mask of f16. It computes all pairs in both."
        );
        let title = "Tiling-mask against a dense mask";
        Ok(Section { file: "mask", title, about, chart: Chart::US, seqlens: self.seqlens, lines })
    }

    fn standard(self) -> Result<Section> {
        let case = |op, seqlen, [batch, heads]: [u32; 2], mask| {
            let is_short = batch * heads <= HEADS || seqlen <= MANY_HEADS_UP_TO;
            is_short.then(|| Figure::Us(self.warm(op, problem(batch, heads, seqlen).with_mask(mask))))
        };
        let mut lines = Vec::new();
        for op in [Op::FlashFwd, Op::Standard] {
            lines.push(self.charted(format!("{op}, batch 1, {HEADS} heads, us"), 1, |s| {
                Ok(case(op, s, [1, HEADS], Mask::None))
            })?);
        }
        for mask in [Mask::None, Mask::Causal] {
            for shape in [[1, 1], [1, HEADS], [1, 32], [4, 8]] {
                let [batch, heads] = shape;
                lines.push(self.line(
                    format!("times, mask {mask}, batch {batch}, {heads} heads"),
                    2,
                    |s| {
                        let standard = case(Op::Standard, s, shape, mask);
                        Ok(standard
                            .zip(case(Op::FlashFwd, s, shape, mask))
                            .map(|(standard, flash)| standard.over(flash)))
                    },
                )?);
            }
        }
        lines.push(self.line(format!("scores and P of standard, {HEADS} heads, MB"), 1, |s| {
            let plan = baseline::plan(&problem(1, HEADS, s), DType::F16, self.soc)?;
            Ok(Some(Figure::Given(plan.workspace_bytes() as f64 / 1e6)))
        })?);
        lines.push(self.line(format!("workspace of flash_fwd, {HEADS} heads, MB"), 1, |s| {
            let plan = self.warm(Op::FlashFwd, problem(1, HEADS, s)).plan()?;
            Ok(Some(Figure::Given(plan.workspace_bytes() as f64 / 1e6)))
        })?);
        let about = "`flash_fwd` with f32 scores against unfused attention. The latter is two matrix \
         products and a softmax kernel, each a launch of its own, with scores and P in f16 in device memory. \
         Times are those of the cores: the two further launches are not counted. The paper's abstract names \
         up to 10.7 times; its baseline is not public. Ours has none of the passes that a framework adds."
            .to_owned();
        let title = "Against unfused attention";
        Ok(Section { file: "standard", title, about, chart: Chart::US, seqlens: self.seqlens, lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole report takes half an hour; a tiling that no kernel takes would end it in the middle.
    #[test]
    fn every_attention_of_a_report_can_be_planned() {
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let sections = Topic::all().into_iter().filter_map(|topic| topic.section(soc, 32768).unwrap());
        let workloads: Vec<_> = sections.flat_map(|section| section.workloads()).collect();
        let attention: Vec<_> = workloads.iter().filter(|workload| workload.op == Op::FlashFwd).collect();
        assert!(attention.len() > 20, "{} problems", attention.len());
        for workload in attention {
            workload.plan().unwrap();
        }
    }

    #[test]
    fn bounds_are_those_that_the_documents_tell() {
        let told = include_str!("../../../docs/timing.md");
        let soc = Soc::by_name("Ascend910B2").unwrap();
        for (scores, block_n, bundle_steps, sentence) in [
            (DType::F32, 512, 4, "bounds the kernel with f32 scores at {} % of the Cubes' peak"),
            (DType::F32, 512, 1, "The bound would be {} %, with bundles of two"),
            (DType::F32, 512, 2, "with bundles of two {} %."),
            (DType::F16, 1024, 2, "With f16 scores, 1024 keys and bundles of two the bound is {} %;"),
            (DType::F16, 1024, 1, "without bundles it would be {} %."),
        ] {
            let bound = format!("{:.1}", bound_of_l2(soc, scores, block_n, bundle_steps));
            let is_told = told.contains(&sentence.replace("{}", &bound));
            assert!(is_told, "{scores}, {block_n}, bundles of {bundle_steps}: {bound}");
        }
    }
}
