//! Sweeps of shapes: every combination of lists of values.

use std::path::PathBuf;

use anyhow::{bail, ensure, Result};
use fastattention::attention::{Layout, Mask, Problem};
use fastattention::matmul::{self, BLayout};
use fastattention::{DType, Soc};

use crate::chip::{chip, clock_range, described};
use crate::mask::{parse_masks, Masks};
use crate::progress::Progress;
use crate::shape::{
    parse_b_layout, parse_dtype, parse_dtype_out, parse_layout, parse_scale, parse_score_dtype, HEAD_DIM,
};
use crate::table::Row;
use crate::tiling::{parse_fields, Fields, Tiling};
use crate::workload::{Op, Workload, PARTS};

/// Lists, with commas between their values.
#[derive(Debug, clap::Args)]
pub struct Sweep {
    /// Operators.
    #[arg(
        long,
        visible_alias = "kernel",
        value_enum,
        value_delimiter = ',',
        default_values_t = [Op::FlashFwd]
    )]
    op: Vec<Op>,
    #[command(flatten)]
    shapes: Shapes,
    #[command(flatten)]
    products: Products,
    /// Of merge: partial results [default: 2].
    #[arg(long, value_delimiter = ',')]
    parts: Vec<u32>,
    #[command(flatten)]
    chips: Chips,
    /// Tiling of flash_fwd or of a product, in the place of the planner's choice: NAME=VALUE, with commas
    /// between the fields that are given, as in block_m=128,block_n=256. Several tilings: the flag again.
    #[arg(long, value_name = "FIELDS", value_parser = parse_fields)]
    tiling: Vec<Fields>,
    /// Run flash_fwd without a mask only on the first rows of q, with the tiling of the whole: as many as
    /// make whole rounds of work on all cores.
    #[arg(long)]
    sample: bool,
    /// Start every case with an empty L2 instead of one that the same case has filled before.
    #[arg(long)]
    cold: bool,
}

/// Sizes of attention, and of what is given by them.
#[derive(Debug, clap::Args)]
struct Shapes {
    /// Rows of q.
    #[arg(long, value_delimiter = ',')]
    seqlen_q: Vec<u32>,
    /// Rows of k and v [default: seqlen_q].
    #[arg(long, value_delimiter = ',')]
    seqlen_k: Vec<u32>,
    /// Sequences; of a product, matrices [default: 1].
    #[arg(long, value_delimiter = ',')]
    batch: Vec<u32>,
    /// Heads of q.
    #[arg(long, value_delimiter = ',')]
    num_heads: Vec<u32>,
    /// Heads of k and v [default: num_heads].
    #[arg(long, value_delimiter = ',')]
    num_heads_k: Vec<u32>,
    /// Elements of a row of q and k [default: 128].
    #[arg(long, value_delimiter = ',')]
    head_dim: Vec<u32>,
    /// Elements of a row of v [default: head_dim].
    #[arg(long, value_delimiter = ',')]
    head_dim_v: Vec<u32>,
    /// Element types of all operands: f16 or bf16.
    #[arg(long, value_delimiter = ',', default_values = ["f16"], value_parser = parse_dtype)]
    dtype: Vec<DType>,
    /// Masks: none, causal or window:L,R. L and R are the keys that a query sees to its left and right, * is
    /// no limit.
    #[arg(long, num_args = 1.., value_parser = parse_masks)]
    mask: Vec<Masks>,
    /// Types in which scores go from the Cube to the vector cores: f32 or f16 [default: f32; of unfused
    /// attention that of the operands].
    #[arg(long, value_delimiter = ',', value_parser = parse_score_dtype)]
    score_dtype: Vec<DType>,
    /// Subtract the mean of the keys from each before the scores are made. For --score-dtype f16.
    #[arg(long)]
    shift_keys: bool,
    /// Factor of the scores [default: 1/sqrt(head_dim)].
    #[arg(long, allow_hyphen_values = true, value_parser = parse_scale)]
    softmax_scale: Option<f32>,
    /// Orders of the dimensions: bsnd (rows before heads) or bnsd (heads before rows) [default: bsnd].
    #[arg(long, value_delimiter = ',', value_parser = parse_layout)]
    layout: Vec<Layout>,
}

/// Products of two matrices, C = A B.
#[derive(Debug, clap::Args)]
struct Products {
    /// Of matmul: rows of A and C. With --n and --k in the place of the sizes of a linear layer.
    #[arg(long, value_delimiter = ',')]
    m: Vec<u32>,
    /// Of matmul: columns of B and C.
    #[arg(long, value_delimiter = ',')]
    n: Vec<u32>,
    /// Of matmul: columns of A, rows of B.
    #[arg(long, value_delimiter = ',')]
    k: Vec<u32>,
    /// Of matmul: how B lies, kn or nk [default: kn].
    #[arg(long, value_delimiter = ',', value_parser = parse_b_layout)]
    b_layout: Vec<BLayout>,
    /// Of matmul: types of C, that of A and B or f32 [default: that of A and B].
    #[arg(long, value_delimiter = ',', value_parser = parse_dtype_out)]
    dtype_out: Vec<DType>,
}

/// Chips.
#[derive(Debug, clap::Args)]
struct Chips {
    /// SoCs: Ascend910B1 to Ascend910B4, or those of --soc-file. The maker's name may be left out: 910B2.
    #[arg(long, value_delimiter = ',', default_values = ["Ascend910B2"])]
    soc: Vec<String>,
    /// TOML file with figures in the place of those of cann.toml: those that differ, or further SoCs.
    #[arg(long, value_name = "FILE")]
    soc_file: Option<PathBuf>,
    /// Clocks of the cores in MHz [default: the SoC's].
    #[arg(long, value_name = "MHZ", value_delimiter = ',', value_parser = clock_range())]
    clock: Vec<u32>,
    /// AI cores to use, each with one Cube core and two vector cores; L2 and device memory stay as they are
    /// [default: all].
    #[arg(long, value_delimiter = ',')]
    cores: Vec<u32>,
}

/// What is run where a flag is not given.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Rows of q; none: the flag is wanted.
    pub seqlen_q: &'static [u32],
    /// Heads of q; none: the flag is wanted.
    pub num_heads: &'static [u32],
    /// Masks of attention.
    pub mask: &'static [Mask],
}

impl Defaults {
    /// Those of a sweep.
    pub const SWEEP: Self =
        Self { seqlen_q: &[512, 1024, 2048, 4096], num_heads: &[8], mask: &[Mask::None, Mask::Causal] };
    /// Those of one case.
    pub const ONE: Self = Self { seqlen_q: &[], num_heads: &[], mask: &[Mask::None] };
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
    /// A SoC that is not known, a size that is missing, or something that an operator has no use for.
    pub fn workloads(&self, defaults: &Defaults) -> Result<Vec<Workload>> {
        let chips = self.chips.all()?;
        let mut workloads = Vec::new();
        for &op in &self.op {
            let cases = self.cases(op, defaults)?;
            for &soc in &chips {
                for &(problem, product) in &cases {
                    let own = Workload { product, is_warm: !self.cold, ..Workload::new(op, problem, soc) };
                    own.check()?;
                    for own in self.products.expand(&own)? {
                        workloads.extend(self.tiled(&own)?);
                    }
                }
            }
        }
        Ok(workloads)
    }

    /// The only combination.
    ///
    /// # Errors
    /// As for [`Self::workloads`]; lists that make several cases.
    pub fn workload(&self, defaults: &Defaults) -> Result<Workload> {
        let all = self.workloads(defaults)?;
        match &all[..] {
            [one] => Ok(*one),
            several => bail!("the lists given make {} cases, one wanted", several.len()),
        }
    }

    /// The case with each tiling that was given, and as a sample where that is asked for.
    fn tiled(&self, own: &Workload) -> Result<Vec<Workload>> {
        let mut tiled = match own.op {
            Op::Merge => {
                or(&self.parts, &[PARTS]).iter().map(|n| Workload { parts: Some(*n), ..*own }).collect()
            }
            _ => vec![*own],
        };
        if !self.tiling.is_empty() {
            tiled = self.tiling.iter().map(|fields| with_fields(own, fields)).collect::<Result<_>>()?;
        }
        if self.sample {
            tiled = tiled.iter().map(Workload::sample).collect::<Result<_>>()?;
        }
        Ok(tiled)
    }

    /// Problems of the operator, with products where they have sizes of their own.
    fn cases(&self, op: Op, defaults: &Defaults) -> Result<Vec<(Problem, Option<matmul::Problem>)>> {
        if let Some(name) = self.products.given() {
            ensure!(op == Op::Matmul, "{op}: {name} given; only matmul has it, wanted none");
        }
        ensure!(
            self.parts.is_empty() || op == Op::Merge,
            "{op}: --parts given; only merge has it, wanted none"
        );
        if self.products.has_sizes() {
            return self.sized_products();
        }
        let problems = self.shapes.problems(op, defaults)?;
        Ok(problems.into_iter().map(|problem| (problem, None)).collect())
    }

    /// Products of given sizes.
    fn sized_products(&self) -> Result<Vec<(Problem, Option<matmul::Problem>)>> {
        let Products { m, n, k, .. } = &self.products;
        for (name, given) in [("--m", m), ("--n", n), ("--k", k)] {
            ensure!(!given.is_empty(), "matmul: {name} is missing; --m, --n and --k wanted");
        }
        if let Some(name) = self.shapes.given() {
            bail!("matmul: {name} given beside --m, --n and --k; wanted none");
        }
        let mut cases = Vec::new();
        for (&dtype, &batch) in product(&self.shapes.dtype, or(&self.shapes.batch, &[1])) {
            for (&m, (&n, &k)) in m.iter().flat_map(|m| product(n, k).map(move |nk| (m, nk))) {
                // For tables and charts, whose rows these are.
                let rows = Problem::new(dtype, [batch, m, 1, HEAD_DIM]);
                let sizes = matmul::Problem::new(dtype, [m, n, k]).with_batch([1, 1, batch]);
                cases.push((rows, Some(sizes)));
            }
        }
        Ok(cases)
    }
}

/// The planner's tiling with `fields` in the place of its own.
fn with_fields(own: &Workload, fields: &Fields) -> Result<Workload> {
    let tiling = match own.op {
        Op::FlashFwd => Tiling::FlashFwd(fields.of_flash_fwd(own.plan()?.chosen())?),
        Op::Matmul => Tiling::Matmul(fields.of_matmul(matmul::plan(&own.linear()?, own.soc)?.tiling())?),
        op => bail!("{op}: a tiling given; it has no choice, wanted none"),
    };
    Ok(Workload { tiling: Some(tiling), ..*own })
}

impl Shapes {
    /// The first flag that was given of those that a product with sizes of its own has no use for.
    fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--seqlen-q", self.seqlen_q.is_empty()),
            ("--seqlen-k", self.seqlen_k.is_empty()),
            ("--num-heads", self.num_heads.is_empty()),
            ("--num-heads-k", self.num_heads_k.is_empty()),
            ("--head-dim", self.head_dim.is_empty()),
            ("--head-dim-v", self.head_dim_v.is_empty()),
            ("--mask", self.mask.is_empty()),
            ("--score-dtype", self.score_dtype.is_empty()),
            ("--shift-keys", !self.shift_keys),
            ("--softmax-scale", self.softmax_scale.is_none()),
            ("--layout", self.layout.is_empty()),
        ];
        flags.into_iter().find(|(_, is_absent)| !is_absent).map(|(name, _)| name)
    }

    fn problems(&self, op: Op, defaults: &Defaults) -> Result<Vec<Problem>> {
        let masks: Vec<Mask> = self.mask.iter().flat_map(|Masks(masks)| masks.clone()).collect();
        let usual = if op.has_mask() { defaults.mask } else { &[Mask::None] };
        let shapes = self.shapes(defaults)?;
        let mut problems = Vec::new();
        for (&mask, &layout) in product(or(&masks, usual), or(&self.layout, &[Layout::Bsnd])) {
            for shape in &shapes {
                let scores = [op.scores(None, shape.spec.dtype)];
                for &score_dtype in or(&self.score_dtype, &scores) {
                    let mut problem = shape.with_mask(mask).with_layout(layout).with_score_dtype(score_dtype);
                    problem.spec.softmax_scale = self.softmax_scale;
                    problem.shift_keys = self.shift_keys;
                    problems.push(problem);
                }
            }
        }
        Ok(problems)
    }

    fn shapes(&self, defaults: &Defaults) -> Result<Vec<Problem>> {
        let (rows, heads) = (or(&self.seqlen_q, defaults.seqlen_q), or(&self.num_heads, defaults.num_heads));
        ensure!(!rows.is_empty(), "--seqlen-q is missing; rows of q wanted");
        ensure!(!heads.is_empty(), "--num-heads is missing; heads of q wanted");
        let mut shapes = Vec::new();
        for (&dtype, (&batch, &num_heads)) in self
            .dtype
            .iter()
            .flat_map(|dtype| product(or(&self.batch, &[1]), heads).map(move |bh| (dtype, bh)))
        {
            for (&head_dim, &seqlen_q) in product(or(&self.head_dim, &[HEAD_DIM]), rows) {
                let (same_heads, same_dim, same_rows) = ([num_heads], [head_dim], [seqlen_q]);
                let options = product(or(&self.num_heads_k, &same_heads), or(&self.head_dim_v, &same_dim));
                for (&num_heads_k, &head_dim_v) in options {
                    let shape = Problem::new(dtype, [batch, seqlen_q, num_heads, head_dim])
                        .with_num_heads_k(num_heads_k)
                        .with_head_dim_v(head_dim_v);
                    let lengths = or(&self.seqlen_k, &same_rows);
                    shapes.extend(lengths.iter().map(|&seqlen_k| shape.with_seqlen_k(seqlen_k)));
                }
            }
        }
        Ok(shapes)
    }
}

impl Products {
    fn has_sizes(&self) -> bool {
        !(self.m.is_empty() && self.n.is_empty() && self.k.is_empty())
    }

    /// The first flag that was given.
    fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--m", self.m.is_empty()),
            ("--n", self.n.is_empty()),
            ("--k", self.k.is_empty()),
            ("--b-layout", self.b_layout.is_empty()),
            ("--dtype-out", self.dtype_out.is_empty()),
        ];
        flags.into_iter().find(|(_, is_absent)| !is_absent).map(|(name, _)| name)
    }

    /// The case with each of the options that were given.
    fn expand(&self, own: &Workload) -> Result<Vec<Workload>> {
        if self.given().is_none() {
            return Ok(vec![*own]);
        }
        let sizes = own.linear()?;
        let same = [sizes.dtype];
        let options = product(or(&self.b_layout, &[BLayout::Kn]), or(&self.dtype_out, &same));
        let with = |(&b, &out)| Some(sizes.with_b_layout(b).with_dtype_out(out));
        Ok(options.map(|of_both| Workload { product: with(of_both), ..*own }).collect())
    }
}

impl Chips {
    fn all(&self) -> Result<Vec<&'static Soc>> {
        let described = described(self.soc_file.as_deref())?;
        let (clocks, cores) = (options(&self.clock), options(&self.cores));
        let mut chips = Vec::new();
        for name in &self.soc {
            for (&clock, &cores) in product(&clocks, &cores) {
                chips.push(chip(&described, name, clock, cores)?);
            }
        }
        Ok(chips)
    }
}

/// What was given, or what stands for nothing.
fn or<'a, T>(given: &'a [T], default: &'a [T]) -> &'a [T] {
    if given.is_empty() {
        default
    } else {
        given
    }
}

/// Each value that was given, or none.
fn options<T: Copy>(given: &[T]) -> Vec<Option<T>> {
    if given.is_empty() {
        vec![None]
    } else {
        given.iter().copied().map(Some).collect()
    }
}

/// Every pair.
fn product<'a, A, B>(a: &'a [A], b: &'a [B]) -> impl Iterator<Item = (&'a A, &'a B)> {
    a.iter().flat_map(move |a| b.iter().map(move |b| (a, b)))
}
