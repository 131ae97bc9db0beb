//! `fastattention-lab volta`: the tables of `docs/volta.md`, modelled on a V100, never measured.

mod blocks;
mod compare;
mod decode;
mod forward;
mod kernels;
mod oracle;
mod rival;
mod serving;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use fastattention::attention::Mask;
use fastattention_cli::print;
use fastattention_v100::{Parameters, Tools};

use forward::Case;
use kernels::{Kernels, Source};

/// What is modelled.
#[derive(clap::Args)]
pub(crate) struct Volta {
    /// Head dims.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 80, 96, 128])]
    head_dims: Vec<u32>,
    /// Rows, and as many keys.
    #[arg(long, value_delimiter = ',', default_values_t = [512, 1024, 2048, 4096, 8192])]
    lengths: Vec<u32>,
    /// Heads.
    #[arg(long, default_value_t = 32)]
    heads: u32,
    /// Only causal problems, or only those without a mask.
    #[arg(long)]
    causal: Option<bool>,
    /// Row blocks that are run where they differ; what others take lies on lines between. 0 is all.
    #[arg(long, default_value_t = 16)]
    samples: usize,
    /// Model from the PTX of the kernels alone, as where ptxas and nvdisasm are not installed.
    #[arg(long, conflicts_with_all = ["xformers", "compare"])]
    ptx: bool,
    /// Model from machine code and from PTX, and tell how far apart they are, in place of the other columns.
    #[arg(long, conflicts_with_all = ["xformers", "decode", "serving"])]
    compare: bool,
    /// xformers' kernels for sm_70: `cuobjdump -xelf all` of its `_C.so` has them in a file of their own.
    #[arg(long)]
    xformers: Option<PathBuf>,
    /// The table of decode in place of the others.
    #[arg(long, conflicts_with = "serving")]
    decode: bool,
    /// So many random problems of decode in place of those of the table.
    #[arg(long, requires = "decode")]
    random: Option<usize>,
    /// The table of slots with pages in place of the others.
    #[arg(long)]
    serving: bool,
    /// A parameter of the model: NAME=VALUE, several with commas between them.
    #[arg(long, value_delimiter = ',')]
    set: Vec<String>,
}

impl Volta {
    pub(crate) fn execute(self) -> Result<()> {
        let parameters = self.parameters()?;
        let tools = if self.ptx { None } else { self.tools()? };
        let source = tools.as_ref().map_or(Source::Ptx, Source::MachineCode);
        print(format_args!("Modelled on a V100, never measured.\n"))?;
        if let Source::Ptx = source {
            print(format_args!("From PTX alone: {}.\n", compare::ERROR))?;
        }
        if self.decode {
            return decode::table(source, self.random, parameters);
        }
        if self.serving {
            return serving::table(source, parameters);
        }
        if self.compare {
            return compare::table(source, &self.cases(), self.samples, &parameters);
        }
        let file = self.xformers.as_ref();
        let cubin = file.map(|path| std::fs::read(path).with_context(|| path.display().to_string()));
        let cubin = cubin.transpose()?;
        let mut lines = String::new();
        let mut factors = Vec::new();
        print(format_args!("{}", forward::HEAD))?;
        let mut kernels = Kernels::new(source);
        for case in self.cases() {
            let ours = forward::run(&mut kernels, &case, self.samples, &parameters)?;
            print(format_args!("{}", ours.line(&case)))?;
            if let Some(cubin) = &cubin {
                let kernel = kernels.of_file(cubin, rival::name(case.head_dim))?;
                let theirs = rival::run(kernel, &case, self.samples, &parameters)?;
                let factor = ours.grid_tflops(&case) / theirs.grid_tflops(&case);
                factors.push((factor, format!("{case}")));
                writeln!(
                    lines,
                    "| {case} | {:.1} | {:.1} | {factor:.2} |",
                    theirs.grid_tflops(&case),
                    ours.grid_tflops(&case)
                )?;
            }
        }
        if let Some((least, at)) = factors.iter().min_by(|a, b| a.0.total_cmp(&b.0)) {
            print(format_args!(
                "\n| head_dim | S | mask | xformers | here | times |\n| {} |",
                ["---"; 6].join(" | ")
            ))?;
            print(format_args!("{lines}"))?;
            #[allow(clippy::cast_precision_loss, reason = "a few problems")]
            let mean = factors.iter().map(|(factor, _)| factor.ln()).sum::<f64>() / factors.len() as f64;
            print(format_args!("geometric mean {:.2}, least {least:.2} ({at})", mean.exp()))?;
        }
        Ok(())
    }

    /// The tools that make machine code; without them PTX does, if nothing else is asked for.
    fn tools(&self) -> Result<Option<Tools>> {
        match Tools::find() {
            Ok(tools) => Ok(Some(tools)),
            Err(error) if self.xformers.is_some() || self.compare => Err(error.into()),
            Err(error) => {
                // Nobody is left to tell when stderr is closed.
                let _ = writeln!(std::io::stderr(), "warning: {error}; PTX must do");
                Ok(None)
            }
        }
    }

    fn parameters(&self) -> Result<Parameters> {
        let mut parameters = Parameters::default();
        for pair in &self.set {
            let (name, value) =
                pair.split_once('=').with_context(|| format!("--set {pair}: NAME=VALUE wanted"))?;
            let value = value.parse().with_context(|| format!("--set {pair}: a whole number wanted"))?;
            parameters.set(name, value)?;
        }
        ensure!(self.heads > 0, "--heads 0: at least 1 wanted");
        Ok(parameters)
    }

    fn cases(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for &head_dim in &self.head_dims {
            for &seqlen in &self.lengths {
                for mask in [Mask::None, Mask::Causal] {
                    let is_wanted = self.causal.is_none_or(|causal| causal == (mask == Mask::Causal));
                    if is_wanted {
                        all.push(Case { head_dim, seqlen, heads: self.heads, mask });
                    }
                }
            }
        }
        all
    }
}
