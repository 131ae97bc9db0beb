//! The layers of `docs/performance`.

use std::fmt::Write as _;

use anyhow::Result;
use fastattention::attention::Mask;
use fastattention::parallel::schedule::{end, follow, overlap, Cost};
use fastattention::parallel::{plan, Plan, Problem};
use fastattention::{DType, Soc};
use fastattention_cli::pool;
use fastattention_cli::ranks;

const SEQLENS: [u32; 5] = [2048, 4096, 8192, 16384, 32768];
const BATCHES: [u32; 3] = [1, 4, 16];
const HEADS: u32 = 40;
const HIDDEN: u32 = 5120;
const RANKS: u32 = 8;

/// Pairs of query and key of a rank beyond which the planner's prediction takes the place of a simulation.
const PREDICTED_ABOVE: f64 = 3e9;

/// Mask, rows of a sequence, sequences.
type Case = (Mask, u32, u32);

/// One layer and its times, in microseconds.
struct Row {
    mask: Mask,
    seqlen: u32,
    batch: u32,
    is_predicted: bool,
    blocks: usize,
    compute: f64,
    transfer: f64,
    overlapped: f64,
    /// Cores and links work side by side.
    both: f64,
    /// The shorter of the two phases, as it runs in blocks.
    shorter: f64,
}

impl Row {
    fn serial(&self) -> f64 {
        self.compute + self.transfer
    }

    fn cells(&self) -> [String; 12] {
        let (serial, mark) = (self.serial(), if self.is_predicted { " *" } else { "" });
        [
            self.mask.to_string(),
            self.seqlen.to_string(),
            self.batch.to_string(),
            format!("{:.0}{mark}", self.compute),
            format!("{:.0}", self.transfer),
            self.blocks.to_string(),
            format!("{serial:.0}"),
            format!("{:.0}", self.overlapped),
            format!("{:.0}", self.compute.max(self.transfer)),
            format!("{:.2}", serial / self.overlapped),
            format!("{:.0}", 100.0 * self.both / self.shorter),
            format!("{:.0}", 100.0 * (serial - self.overlapped) / self.compute.min(self.transfer)),
        ]
    }
}

const COLUMNS: [&str; 12] = [
    "mask",
    "seqlen",
    "batch",
    "computing, us",
    "AllReduce, us",
    "blocks",
    "serial, us",
    "overlapped, us",
    "bound, us",
    "times",
    "hidden, %",
    "saved, %",
];

/// The table as Markdown, and as CSV.
pub(crate) struct Table {
    pub(crate) markdown: String,
    pub(crate) csv: String,
}

/// Runs every layer with at most `max_seqlen` rows a sequence; `None` when there is none.
pub(crate) fn table(
    soc: &Soc,
    max_seqlen: u32,
    threads: usize,
    step: impl Fn(f64) + Sync,
) -> Result<Option<Table>> {
    let mut cases: Vec<Case> = Vec::new();
    for mask in [Mask::Causal, Mask::None] {
        for seqlen in SEQLENS.into_iter().filter(|&seqlen| seqlen <= max_seqlen) {
            cases.extend(BATCHES.map(|batch| (mask, seqlen, batch)));
        }
    }
    if cases.is_empty() {
        return Ok(None);
    }
    let rows = pool::run(&cases, threads, pairs, |case| time(soc, case), step)?;
    Ok(Some(written(&rows, soc)))
}

/// Pairs of query and key that a rank computes.
fn pairs(&(mask, seqlen, batch): &Case) -> f64 {
    let hidden = if mask == Mask::Causal { 0.5 } else { 1.0 };
    hidden * f64::from(batch) * f64::from(seqlen) * f64::from(seqlen) * f64::from(HEADS / RANKS)
}

fn time(soc: &Soc, case: &Case) -> Result<Row> {
    let &(mask, seqlen, batch) = case;
    let problem = Problem::new(DType::F16, [batch, seqlen, HEADS, 128], HIDDEN, RANKS).with_mask(mask);
    let plan = plan(&problem, soc)?;
    let is_predicted = pairs(case) > PREDICTED_ABOVE;
    let costs = |plan: &Plan| -> Result<Vec<Cost>> {
        if is_predicted {
            return Ok(plan.blocks().iter().map(|block| block.cost).collect());
        }
        ranks::block_costs(plan)
    };
    let serial = costs(&ranks::one_block(&plan, soc)?)?;
    let spans = follow(&costs(&plan)?, soc.links.contention);
    let sum = |of: fn(&Cost) -> f64| serial.iter().map(of).sum::<f64>();
    let length = |span: [f64; 2]| span[1] - span[0];
    let computing: f64 = spans.iter().map(|s| length(s.compute)).sum();
    let transferring: f64 = spans.iter().map(|s| length(s.transfer)).sum();
    Ok(Row {
        mask,
        seqlen,
        batch,
        is_predicted,
        blocks: spans.len(),
        compute: sum(|c| c.compute_us),
        transfer: sum(|c| c.transfer_us),
        overlapped: end(&spans),
        both: overlap(&spans),
        shorter: computing.min(transferring),
    })
}

fn written(rows: &[Row], soc: &Soc) -> Table {
    let mut markdown = format!(
        "### Tiling-AllReduce\n\n\
         Attention, output projection and AllReduce of a layer: {HEADS} heads of 128, hidden {HIDDEN}, f16, \
         on {RANKS} {}. The kernels are simulated on one rank, which stands for all. \\* marks what the \
         planner predicted instead. AllReduce takes what was published for 8 ranks.\n\n\
         - *serial*: everything as one block; all computing, then one AllReduce.\n\
         - *overlapped*: the blocks of `parallel::plan`. While a rank computes and transfers, both take {} \
         times as long.\n\
         - *bound*: the longer of the two phases alone.\n\
         - *hidden*: how much of the shorter phase, as it runs in blocks, has the other phase beside it.\n\
         - *saved*: the time that blocks save, as a share of the shorter phase as one block. Contention \
         alone costs {:.0} % of that phase where it is hidden entirely.\n\n",
        soc.name,
        soc.links.contention,
        100.0 * (soc.links.contention - 1.0),
    );
    let _ = writeln!(markdown, "| {} |", COLUMNS.join(" | "));
    let _ = writeln!(markdown, "| --- |{}", " ---: |".repeat(COLUMNS.len() - 1));
    for row in rows {
        let _ = writeln!(markdown, "| {} |", row.cells().join(" | "));
    }
    let mut csv = String::from(
        "mask,seqlen,batch,is_predicted,blocks,compute_us,all_reduce_us,serial_us,overlapped_us,both_us,shorter_us\n",
    );
    for r in rows {
        let _ = writeln!(
            csv,
            "{},{},{},{},{},{:.3},{:.3},{:.3},{:.3},{:.3},{:.3}",
            r.mask,
            r.seqlen,
            r.batch,
            r.is_predicted,
            r.blocks,
            r.compute,
            r.transfer,
            r.serial(),
            r.overlapped,
            r.both,
            r.shorter
        );
    }
    Table { markdown, csv }
}
