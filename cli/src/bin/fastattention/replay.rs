//! `fastattention replay`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use fastattention::append::{self, Append, PlaceType, RotaryArgs};
use fastattention::attention::{self, FlashAttention};
use fastattention::runtime::{Buffer, Device, Operand, Stream};
use fastattention::serving::{self, ServingAttention};
use fastattention::DType;
use fastattention_cli::print;
use half::{bf16, f16};
use serde_json::Value;

/// Most bytes of an operand: a text may say anything.
const MOST_BYTES: u64 = 1 << 36;
/// The same of its lists: rows, lengths, pages, places, angles.
const MOST_LIST_BYTES: u64 = 1 << 30;

/// What is launched again.
#[derive(clap::Args)]
pub(crate) struct Replay {
    /// File with launches, one a line: the field `launch` of the events of the library's feature `tracing`,
    /// by itself or in a line that tracing-subscriber wrote as JSON. Other lines are left out.
    file: PathBuf,
    /// Only the launch of this line, counted from 1.
    #[arg(long)]
    line: Option<usize>,
    /// Device: sim:N, cpu:N or npu:N, of the SoC of the plans.
    #[arg(long, default_value = "sim")]
    device: String,
}

/// A launch as it was told.
struct Told<'a> {
    operator: &'a str,
    plan: String,
    /// Names and bytes.
    operands: Vec<(&'a str, u64)>,
}

impl Replay {
    /// Launches each plan on operands of the told sizes. What was in memory is not told: q, k and v are
    /// random, slots and pages full.
    pub(crate) fn execute(self) -> Result<()> {
        let text =
            fs::read_to_string(&self.file).with_context(|| format!("input {}", self.file.display()))?;
        let device = Device::open(&self.device)?;
        let mut launched = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let Some(launch) = launch_of(line) else { continue };
            if self.line.is_some_and(|wanted| wanted != number) {
                continue;
            }
            launched += 1;
            let what = || format!("{} line {number}", self.file.display());
            let told = Told::new(&launch).with_context(what)?;
            let time = told.replay(&device).with_context(what)?;
            let whose = if device.has_model_time() { " of the simulation, not of a device" } else { "" };
            let ms = 1e3 * time.as_secs_f64();
            print(format_args!("line {number}: {} on {}, {ms:.3} ms{whose}", told.operator, device.name()))?;
        }
        ensure!(
            launched > 0,
            "{}: no launch given{}, a line with `operation`, `plan` and `operands` wanted",
            self.file.display(),
            self.line.map_or_else(String::new, |line| format!(" in line {line}"))
        );
        Ok(())
    }
}

/// The launch of a line, if it has one.
fn launch_of(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    if value.get("operation").is_some() {
        return Some(value);
    }
    // As tracing-subscriber writes an event.
    let told = value.get("launch").or_else(|| value.get("fields")?.get("launch"))?;
    serde_json::from_str(told.as_str()?).ok()
}

impl<'a> Told<'a> {
    fn new(launch: &'a Value) -> Result<Self> {
        let plan = launch.get("plan").context("plan is missing")?;
        let operands = launch.get("operands").and_then(Value::as_array).context("operands are missing")?;
        let operands = operands.iter().map(|operand| {
            let name = operand.get("name").and_then(Value::as_str).context("an operand without a name")?;
            let bytes = operand.get("bytes").and_then(Value::as_u64).filter(|&bytes| bytes <= MOST_BYTES);
            let bytes = bytes.with_context(|| {
                let given = operand.get("bytes").map_or_else(|| "nothing".to_owned(), Value::to_string);
                format!("operand {name}: bytes = {given} given, 0 to {MOST_BYTES} wanted")
            })?;
            Ok((name, bytes))
        });
        let operator =
            plan.get("operator").and_then(Value::as_str).unwrap_or("a launch whose plan is no JSON");
        Ok(Self { operator, plan: plan.to_string(), operands: operands.collect::<Result<_>>()? })
    }

    /// Host time from the launch to its end.
    fn replay(&self, device: &Device) -> Result<Duration> {
        match self.operator {
            "attention" => self.attention(device),
            "serving" => self.serving(device),
            "append" => self.append(device),
            other => bail!("{other} given, a launch of attention, serving or append wanted"),
        }
    }

    fn attention(&self, device: &Device) -> Result<Duration> {
        let plan = attention::Plan::from_json(&self.plan, device.soc())?;
        let memory = Memory::new(device, self, plan.shape().dtype, |_| Ok(None))?;
        let [q, k, v, o, workspace] = ["q", "k", "v", "o", "workspace"].map(|name| memory.get(name));
        let mut args = attention::Args::new(q?, k?, v?, o?, workspace?);
        args.lse = memory.find("lse");
        let operator = FlashAttention::new(device)?;
        timed(device, |stream| operator.launch(stream, &plan, args))
    }

    fn serving(&self, device: &Device) -> Result<Duration> {
        let plan = serving::Plan::from_json(&self.plan, device.soc())?;
        let problem = plan.problem();
        require_list(4 * u64::from(problem.slots) + plan.table_bytes() + plan.page_starts_bytes())?;
        let memory = Memory::new(device, self, problem.spec.dtype, |name| {
            let (slots, rows) = (problem.slots, problem.rows);
            Ok(Some(match name {
                "lengths" => ints((0..slots).map(|_| problem.max_keys)),
                // Even, as far as the rows go.
                "row_starts" => {
                    let all = problem.total_rows.unwrap_or(0);
                    ints((0..=slots).map(|slot| {
                        let share = u64::from(all) * u64::from(slot) / u64::from(slots.max(1));
                        u32::try_from(share).unwrap_or(all).min(rows.saturating_mul(slot))
                    }))
                }
                "page_starts" => {
                    let entries = plan.table_bytes() / 4;
                    let share = |slot| entries * u64::from(slot) / u64::from(slots.max(1));
                    ints((0..=slots).map(|slot| u32::try_from(share(slot)).unwrap_or(u32::MAX)))
                }
                "block_table" => {
                    let pages = problem.kv.pages.map_or(1, |pages| pages.num_pages.max(1));
                    ints((0..pages).cycle().take(usize::try_from(plan.table_bytes() / 4)?))
                }
                _ => return Ok(None),
            }))
        })?;
        let [q, k, v, lengths] = ["q", "k", "v", "lengths"].map(|name| memory.get(name));
        let mut args = serving::Args::new(q?, k?, v?, lengths?, memory.get("o")?, memory.get("workspace")?);
        [args.row_starts, args.block_table] = ["row_starts", "block_table"].map(|name| memory.find(name));
        args.page_starts = memory.find("page_starts");
        [args.lse, args.status] = ["lse", "status"].map(|name| memory.find(name));
        let operator = ServingAttention::new(device)?;
        timed(device, |stream| operator.launch(stream, &plan, args))
    }

    fn append(&self, device: &Device) -> Result<Duration> {
        let plan = append::Plan::from_json(&self.plan, device.soc())?;
        let problem = plan.problem();
        require_list(plan.places_bytes() + plan.table_bytes())?;
        let numbers = |bytes: u64, most: u64| {
            let wide = problem.place_type == PlaceType::I64;
            let count = bytes / if wide { 8 } else { 4 };
            let numbers = (0..count).map(|i| i % most.max(1));
            // Little-endian: the lower half is the number of 32 bits.
            let words = numbers.map(|number| number.to_le_bytes()[..if wide { 8 } else { 4 }].to_vec());
            words.flatten().collect()
        };
        let memory = Memory::new(device, self, problem.cache.spec.dtype, |name| {
            Ok(match name {
                "places" => Some(numbers(plan.places_bytes(), problem.num_places())),
                "positions" => {
                    let most = problem.rotary.map_or(1, |rotary| rotary.max_positions);
                    Some(numbers(plan.positions_bytes(), most.into()))
                }
                // Angles of 0.
                "table" => Some(vec![0; usize::try_from(plan.table_bytes())?]),
                _ => None,
            })
        })?;
        let [k, v, places] = ["k", "v", "places"].map(|name| memory.get(name));
        let mut args = append::Args::new(k?, v?, places?, memory.get("k_cache")?, memory.get("v_cache")?);
        args.status = memory.find("status");
        if let Some(table) = memory.find("table") {
            let mut rotary = RotaryArgs::new(memory.get("positions")?, table);
            [rotary.q, rotary.q_out] = ["q", "q_out"].map(|name| memory.find(name));
            args = args.with_rotary(rotary);
        }
        let operator = Append::new(device)?;
        timed(device, |stream| operator.launch(stream, &plan, args))
    }
}

/// The operands of a launch.
struct Memory<'a> {
    buffers: Vec<(&'a str, Buffer)>,
}

impl<'a> Memory<'a> {
    /// `list` has the bytes of operands that are no tensors.
    fn new(
        device: &Device,
        told: &Told<'a>,
        dtype: DType,
        list: impl Fn(&str) -> Result<Option<Vec<u8>>>,
    ) -> Result<Self> {
        let buffers = told.operands.iter().map(|&(name, bytes)| {
            let content = match list(name)? {
                Some(list) => list,
                None => numbers(dtype, bytes)?,
            };
            let buffer = Buffer::from_slice(device, &content).with_context(|| format!("operand {name}"))?;
            Ok((name, buffer))
        });
        Ok(Self { buffers: buffers.collect::<Result<_>>()? })
    }

    fn find(&self, name: &str) -> Option<Operand<'_>> {
        self.buffers.iter().find(|(own, _)| *own == name).map(|(_, buffer)| buffer.into())
    }

    fn get(&self, name: &str) -> Result<Operand<'_>> {
        self.find(name).with_context(|| format!("operands: {name} is missing"))
    }
}

/// Numbers in -1..1; also where a launch writes, so that no byte is one that nobody wrote.
fn numbers(dtype: DType, bytes: u64) -> Result<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut number = || 2.0 * rng.f32() - 1.0;
    let len = usize::try_from(bytes)?;
    let mut content = Vec::new();
    content.try_reserve_exact(len.saturating_add(4)).with_context(|| format!("{len} bytes"))?;
    while content.len() < len {
        match dtype {
            DType::F16 => content.extend(f16::from_f32(number()).to_le_bytes()),
            DType::Bf16 => content.extend(bf16::from_f32(number()).to_le_bytes()),
            _ => content.extend(number().to_le_bytes()),
        }
    }
    content.truncate(len);
    Ok(content)
}

/// Refuses lists that no engine has, before they are made.
fn require_list(bytes: u64) -> Result<()> {
    ensure!(bytes <= MOST_LIST_BYTES, "lists of {bytes} bytes given, at most {MOST_LIST_BYTES} wanted");
    Ok(())
}

/// 32-bit words as they lie in memory.
fn ints(numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    numbers.flat_map(u32::to_le_bytes).collect()
}

fn timed(device: &Device, launch: impl Fn(&Stream) -> fastattention::Result<()>) -> Result<Duration> {
    let stream = Stream::new(device)?;
    let start = Instant::now();
    launch(&stream)?;
    stream.synchronize()?;
    Ok(start.elapsed())
}
