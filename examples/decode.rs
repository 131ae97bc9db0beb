//! Model time of a decode step over a paged cache, beside a plain read of the same K and V by all Cube cores.
//!
//! `cargo run --release --example decode -- --slots 16 --keys 4096 --page 128 [--order nz] [--list]
//! [--launches 2] [--pipes]`
//!
//! `--prompts 4 --prompt-rows 512` adds prompts to the batch, and shows one launch of all beside one of the
//! prompts and one of the decode steps.

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod model_time;

use anyhow::Result;
use clap::Parser;
use fastattention::baseline::{Read, ReadFrom, ReadTo};
use fastattention::runtime::{Buffer, Operand};
use fastattention::serving::{plan, Args, KvLayout, Mask, Problem, ServingAttention};
use fastattention::sim::time::LaunchReport;
use fastattention::DType;
use model_time::{print_pipes, Order, Timed};

#[derive(Parser)]
struct Options {
    /// Sequences.
    #[arg(long, default_value_t = 16)]
    slots: u32,
    /// Query rows of each.
    #[arg(long, default_value_t = 1)]
    rows: u32,
    /// Keys of each.
    #[arg(long, default_value_t = 4096)]
    keys: u32,
    /// Prompts in the same batch, each with as many keys as rows.
    #[arg(long, default_value_t = 0)]
    prompts: u32,
    /// Rows of each prompt.
    #[arg(long, default_value_t = 512)]
    prompt_rows: u32,
    /// Keys that the plan has room for; as many as there are, unless given.
    #[arg(long)]
    max_keys: Option<u32>,
    /// Keys of a page; 0: K and V lie slot by slot.
    #[arg(long, default_value_t = 128)]
    page: u32,
    #[arg(long, value_enum, default_value_t = Order::KeysFirst)]
    order: Order,
    /// The block table is one list.
    #[arg(long)]
    list: bool,
    #[arg(long, default_value_t = 32)]
    heads: u32,
    #[arg(long, default_value_t = 8)]
    heads_k: u32,
    #[arg(long, default_value_t = 128)]
    head_dim: u32,
    #[arg(long, default_value = "Ascend910B2")]
    soc: String,
    /// Launches in a row, of which the last one counts: with 2 what L2 holds of K and V is there.
    #[arg(long, default_value_t = 1)]
    launches: u32,
    /// Shows how busy the pipes of the first group are.
    #[arg(long)]
    pipes: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.prompts > 0 {
        return mixed(&options);
    }
    let decode = step(&options, &batch(&options))?;
    let read = read(&options)?;
    let bytes = bytes(&options);
    let rate = |us: f64| bytes as f64 / us / 1000.0;
    println!(
        "{}: {} slots of {} keys, page {}: {:.2} us and the launch; K and V {:.1} MB at {:.0} GB/s; a plain read takes \
         {:.2} us, {:.0} GB/s; {:.3} of its rate",
        options.soc,
        options.slots,
        options.keys,
        options.page,
        decode.core_us(),
        bytes as f64 / 1e6,
        rate(decode.core_us()),
        read.core_us(),
        rate(read.core_us()),
        read.core_us() / decode.core_us(),
    );
    if options.pipes {
        print_pipes(&decode);
    }
    Ok(())
}

/// One launch of prompts and decode steps, and one of each.
fn mixed(o: &Options) -> Result<()> {
    let steps = batch(o);
    let prompts = vec![(o.prompt_rows, o.prompt_rows); o.prompts as usize];
    let us = |slots: &[(u32, u32)]| Ok::<_, anyhow::Error>(step(o, slots)?.task_us());
    let (steps_us, prompts_us) = (us(&steps)?, us(&prompts)?);
    let all_us = us(&[prompts, steps].concat())?;
    println!(
        "{}: prompts {prompts_us:.2} us, decode steps {steps_us:.2} us, launches included; both in one launch {all_us:.2} us, \
         {:.3} times as fast",
        o.soc,
        (prompts_us + steps_us) / all_us
    );
    Ok(())
}

/// Rows and keys of the decode slots.
fn batch(o: &Options) -> Vec<(u32, u32)> {
    vec![(o.rows, o.keys); o.slots as usize]
}

/// Of K and V.
fn bytes(o: &Options) -> u64 {
    4 * u64::from(o.slots) * u64::from(o.keys) * u64::from(o.heads_k) * u64::from(o.head_dim)
}

fn step(o: &Options, slots: &[(u32, u32)]) -> Result<LaunchReport> {
    let on = Timed::new(&o.soc)?;
    let device = &on.device;
    let attention = ServingAttention::new(device)?;
    let (rows, keys): (Vec<_>, Vec<_>) = slots.iter().copied().unzip();
    let most = |numbers: &[u32]| numbers.iter().copied().max().unwrap_or(0);
    let max_keys = o.max_keys.unwrap_or(most(&keys));
    let num_slots = u32::try_from(slots.len())?;
    let kv = match o.page {
        0 => KvLayout::padded(),
        page => {
            let pages = num_slots * max_keys.div_ceil(page);
            let kv = KvLayout::paged(page, pages);
            o.order.of(if o.list { kv.with_csr_table(pages) } else { kv })
        }
    };
    let shape = [rows.iter().sum(), o.heads, o.head_dim];
    let problem = if rows.iter().all(|of_slot| *of_slot == rows[0]) {
        Problem::new(DType::F16, [num_slots, most(&rows), o.heads, o.head_dim], max_keys, kv)
    } else {
        Problem::packed(DType::F16, shape, [num_slots, most(&rows)], max_keys, kv)
    };
    let problem = problem.with_num_heads_k(o.heads_k).with_mask(Mask::Causal);
    let plan = plan(&problem, device.soc())?;
    let [q, k, v, out] = plan.operand_bytes();
    let (q, k, v, out) = (on.alloc(q)?, on.alloc(k)?, on.alloc(v)?, on.alloc(out)?);
    let workspace = on.alloc(plan.workspace_bytes())?;
    // Lengths, first rows and first pages lie in one buffer: the caches of scalar units keep all.
    let entries = u32::try_from(plan.table_bytes() / 4)?;
    let page_starts = (0..=num_slots).map(|slot| entries / num_slots.max(1) * slot);
    let mut lists = keys;
    lists.push(0);
    for rows in rows {
        lists.push(lists[lists.len() - 1] + rows);
    }
    lists.extend(page_starts);
    let lists = Buffer::from_slice(device, &lists)?;
    let starts = Operand::at(&lists, 4 * slots.len());
    let page_starts = Operand::at(&lists, 4 * (2 * slots.len() + 1));
    // Pages in an order without runs.
    let mut pages: Vec<u32> = (0..entries).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut pages);
    let table = if pages.is_empty() { None } else { Some(Buffer::from_slice(device, &pages)?) };
    let args = Args::new(&q, &k, &v, &lists, &out, &workspace);
    let args = table.iter().fold(args, Args::with_block_table);
    let args = if plan.page_starts_bytes() > 0 { args.with_page_starts(page_starts) } else { args };
    let args = if problem.total_rows.is_some() { args.with_row_starts(starts) } else { args };
    on.last(o.launches, |stream| attention.launch(stream, &plan, args))
}

/// Rows of 512 bytes, 64 KiB at a time.
fn read(o: &Options) -> Result<LaunchReport> {
    let on = Timed::new(&o.soc)?;
    let device = &on.device;
    let reader = Read::new(device)?;
    let rows = u32::try_from(bytes(o) / 512)?;
    let from = ReadFrom::new([rows, 256], [128, 256], device.soc().cube_cores);
    let src = on.alloc(from.span_bytes())?;
    on.last(o.launches, |stream| reader.launch(stream, &from, ReadTo::L1, (&src).into()))
}
