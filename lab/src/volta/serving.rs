//! Slots with pages: prompts, chunks of them, decode, and all in one launch. Beside them what the kernels
//! without slots take for the same work.

use anyhow::{Context, Result};
use fastattention::attention::{self, Mask};
use fastattention::cuda::{self, plan_serving, Addresses, DeviceFacts};
use fastattention::serving::{KvLayout, Problem};
use fastattention::DType;
use fastattention_cli::print;
use fastattention_v100::{schedule, Kernel, Memory, Parameters, CLOCK_HZ};
use half::f16;

use super::blocks::{Durations, Sampled};
use super::decode;
use super::kernels::{launch, Kernels, Source};
use super::oracle::{bytes, compare, normal};

const HEADS: u32 = 32;
const HEADS_K: u32 = 8;
const DIMS: u32 = 128;
/// Splits of a slot that are run; what others take lies on lines between.
const SPLITS_RUN: usize = 8;

/// Slots that are alike, and of each its rows and keys.
#[derive(Clone, Copy)]
struct Alike {
    slots: u32,
    rows: u32,
    keys: u32,
}

/// What is in a launch.
struct Case {
    name: &'static str,
    slots: &'static [Alike],
}

const fn alike(slots: u32, rows: u32, keys: u32) -> Alike {
    Alike { slots, rows, keys }
}

const CASES: [Case; 7] = [
    Case { name: "4 prompts of 2048", slots: &[alike(4, 2048, 2048)] },
    Case {
        name: "prompts of 512, 1024, 1500, 2048",
        slots: &[alike(1, 512, 512), alike(1, 1024, 1024), alike(1, 1500, 1500), alike(1, 2048, 2048)],
    },
    Case { name: "2 chunks of 512 behind 3584 keys", slots: &[alike(2, 512, 4096)] },
    Case { name: "decode, 8 of 8192 keys", slots: &[alike(8, 1, 8192)] },
    Case { name: "decode, 32 of 4096 keys", slots: &[alike(32, 1, 4096)] },
    Case { name: "decode, 8 of 8192, 24 of 1024 keys", slots: &[alike(8, 1, 8192), alike(24, 1, 1024)] },
    Case {
        name: "chunk of 512 behind 1536 keys, 31 decode of 2048",
        slots: &[alike(1, 512, 2048), alike(31, 1, 2048)],
    },
];
const PAGES: [u32; 2] = [16, 128];

/// Cycles: of the kernel for many rows, of decode, of joining.
#[derive(Default, Clone, Copy)]
struct Taken([f64; 3]);

impl Taken {
    fn us(self) -> f64 {
        1e6 * self.0.iter().sum::<f64>() / CLOCK_HZ
    }
}

impl Case {
    fn most(&self, of: fn(&Alike) -> u32) -> u32 {
        self.slots.iter().map(of).max().unwrap_or(0)
    }

    fn sum(&self, of: fn(&Alike) -> u32) -> u32 {
        self.slots.iter().map(|alike| alike.slots * of(alike)).sum()
    }

    fn prompts(&self) -> impl Iterator<Item = &Alike> {
        self.slots.iter().filter(|alike| alike.rows > 1)
    }

    fn decodes(&self) -> impl Iterator<Item = &Alike> {
        self.slots.iter().filter(|alike| alike.rows == 1)
    }

    /// Operations on the keys that rows see, bottom-right, of slots of many rows.
    fn operations(&self) -> f64 {
        let of = |alike: &Alike| {
            let [slots, rows, keys] = [alike.slots, alike.rows, alike.keys].map(f64::from);
            slots * rows * (keys - (rows - 1.0) / 2.0)
        };
        4.0 * f64::from(HEADS * DIMS) * self.prompts().map(of).sum::<f64>()
    }

    /// Bytes of the keys and values that slots of one row read.
    fn bytes(&self) -> f64 {
        let keys = self.decodes().map(|alike| f64::from(alike.slots * alike.keys)).sum::<f64>();
        2.0 * 2.0 * f64::from(HEADS_K * DIMS) * keys
    }
}

pub(super) fn table(source: Source<'_>, parameters: Parameters) -> Result<()> {
    let mut kernels = Kernels::new(source);
    print(format_args!(
        "| slots | keys a page | us | of which many rows, decode, joining | TFLOPS of many rows | GB/s of decode | \
         of 790 GB/s | us without slots | times | error |\n| {} |",
        ["---"; 10].join(" | ")
    ))?;
    for case in &CASES {
        let dense = dense(&mut kernels, case, parameters)?;
        for page in PAGES {
            let (taken, error) = paged(&mut kernels, case, page, parameters)?;
            let [many, few, joining] = taken.0.map(|cycles| 1e6 * cycles / CLOCK_HZ);
            let rate = |work: f64, us: f64, unit: f64| {
                if work > 0.0 {
                    format!("{:.0}", work / us / unit)
                } else {
                    "-".to_owned()
                }
            };
            let share = rate(100.0 * case.bytes(), few + joining, 790e3);
            let share = if share == "-" { share } else { share + " %" };
            print(format_args!(
                "| {} | {page} | {:.1} | {many:.1}, {few:.1}, {joining:.1} | {} | {} | {share} | {:.1} | {:.2} | \
                 {error:.0e} |",
                case.name,
                taken.us(),
                rate(case.operations(), many, 1e6),
                rate(case.bytes(), few + joining, 1e3),
                dense.us(),
                taken.us() / dense.us()
            ))?;
        }
    }
    Ok(())
}

/// Numbers and lists of a case, in memory. All slots have the pages of the longest: a page that is read by
/// several is as far away as any other.
struct Placed {
    memory: Memory,
    at: Addresses,
    q: Vec<f16>,
    /// Of the first head, key by key.
    k: Vec<f16>,
    v: Vec<f16>,
}

impl Placed {
    fn new(case: &Case, page: u32, table_width: u32, workspace: u64) -> Result<Self> {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut memory = Memory::new();
        let (rows, pages) = (case.sum(|alike| alike.rows), case.most(|alike| alike.keys).div_ceil(page));
        let q = normal(&mut rng, rows, HEADS * DIMS);
        let mut order: Vec<u32> = (0..pages).collect();
        rng.shuffle(&mut order);
        let mut tensor = || normal(&mut rng, pages * page, HEADS_K * DIMS);
        let [k, v] = [tensor(), tensor()];
        let of_first_head = |of: &[f16]| -> Vec<f16> {
            let row =
                |key: u32| ((order[(key / page) as usize] * page + key % page) * HEADS_K * DIMS) as usize;
            (0..pages * page).flat_map(|key| of[row(key)..][..DIMS as usize].to_vec()).collect()
        };
        let words = |memory: &mut Memory, words: &[u32]| memory.upload(bytemuck::cast_slice(words));
        let each = || case.slots.iter().flat_map(|alike| vec![alike; alike.slots as usize]);
        let mut starts = vec![0];
        starts.extend(each().scan(0, |sum, alike| {
            *sum += alike.rows;
            Some(*sum)
        }));
        let lengths: Vec<u32> = each().map(|alike| alike.keys).collect();
        let row = |alike: &Alike| {
            let used = alike.keys.div_ceil(page);
            let entry = |n: u32| if n < used { order[n as usize] } else { u32::MAX };
            (0..table_width).map(entry).collect::<Vec<_>>()
        };
        let table: Vec<u32> = each().flat_map(row).collect();
        let at = Addresses {
            q: memory.upload(bytes(&q)),
            k: memory.upload(bytes(&k)),
            v: memory.upload(bytes(&v)),
            o: memory.upload(bytes(&vec![f16::NAN; q.len()])),
            row_starts: words(&mut memory, &starts),
            lengths: words(&mut memory, &lengths),
            block_table: words(&mut memory, &table),
            workspace: memory.upload(&vec![0; usize::try_from(workspace)?]),
            ..Addresses::default()
        };
        Ok(Self { memory, at, k: of_first_head(&k), v: of_first_head(&v), q })
    }

    /// The largest error of o in the first head: in the first row of each 128 of slots of many rows.
    fn error(&self, case: &Case) -> Result<f64> {
        let read = self.memory.read(self.at.o, 2 * self.q.len()).context("o is there")?;
        let o: Vec<f16> = bytemuck::pod_collect_to_vec(&read);
        let (mut first, mut rows) = (0, Vec::new());
        for alike in case.slots {
            for row in (0..alike.rows).step_by(128).filter(|_| alike.rows > 1) {
                let at = ((first + row) * HEADS * DIMS) as usize;
                let [q, o] = [&self.q, &o].map(|tensor| &tensor[at..][..DIMS as usize]);
                let keys = ((alike.keys - alike.rows + row + 1) * DIMS) as usize;
                rows.push([q, &self.k[..keys], &self.v[..keys], o]);
            }
            first += alike.slots * alike.rows;
        }
        compare(rows.into_iter(), DIMS as usize).with_context(|| case.name)
    }
}

/// What the launches of the kernels with slots take, and the largest error.
fn paged(kernels: &mut Kernels<'_>, case: &Case, page: u32, parameters: Parameters) -> Result<(Taken, f64)> {
    let slots = case.sum(|_| 1);
    let kv = KvLayout::paged(page, case.most(|alike| alike.keys).div_ceil(page));
    let (rows, keys) = (case.most(|alike| alike.rows), case.most(|alike| alike.keys));
    let total = case.sum(|alike| alike.rows);
    let problem = Problem::packed(DType::F16, [total, HEADS, DIMS], [slots, rows], keys, kv);
    let problem = problem.with_num_heads_k(HEADS_K).with_mask(Mask::Causal);
    let plan = plan_serving(&problem, &DeviceFacts::v100())?;
    let mut placed = Placed::new(case, page, problem.table_width(), plan.workspace_bytes())?;
    let mut taken = Taken::default();
    for planned in plan.launches(&placed.at) {
        let (kernel, launch) = (kernels.get(&planned)?, launch(&planned));
        let is_many = planned.kernel().ends_with("_paged");
        let joins = planned.kernel().starts_with("flash_decode_combine");
        let parameters = if is_many { parameters } else { decode::limited(parameters) };
        // Blocks of rows differ, and so do what joins rows that are there and rows that are not; of
        // decode some splits are run.
        let samples = if is_many || joins { 0 } else { SPLITS_RUN };
        // Along x the heads of k, of each its blocks of packed rows; or the heads of q.
        let blocks = if is_many || joins { 1 } else { launch.grid[0] / HEADS_K };
        let mut grid = Grid::default();
        let mut slot = 0;
        for alike in case.slots {
            let mut sampled = Vec::new();
            for x in 0..blocks {
                let run = |y| [x, y, slot];
                let memory = &mut placed.memory;
                sampled.push(Sampled::run(kernel, memory, &launch, launch.grid[1], Some(samples), run)?);
            }
            grid.add(&sampled, kernel, launch.grid[0] / blocks, alike.slots, &parameters)?;
            slot += alike.slots;
        }
        taken.0[if is_many { 0 } else { 1 + usize::from(joins) }] += grid.cycles();
    }
    Ok((taken, placed.error(case)?))
}

/// What the kernels without slots take: one grid of all prompts, in the order of the slots, and a launch
/// and its joining for each kind of decode.
fn dense(kernels: &mut Kernels<'_>, case: &Case, parameters: Parameters) -> Result<Taken> {
    let mut taken = Taken::default();
    let mut grid = Grid::default();
    for alike in case.prompts() {
        // Of so many batches that the grid is not a small one, for which there would be another kernel.
        let problem = attention::Problem::new(DType::F16, [64, alike.rows, HEADS, DIMS]);
        let problem = problem.with_num_heads_k(HEADS_K).with_seqlen_k(alike.keys).with_mask(Mask::Causal);
        let plan = cuda::plan(&problem, &DeviceFacts::v100())?;
        let mut rng = fastrand::Rng::with_seed(1);
        let mut memory = Memory::new();
        let q = memory.upload(bytes(&normal(&mut rng, alike.rows, HEADS * DIMS)));
        let mut kv = || memory.upload(bytes(&normal(&mut rng, alike.keys, HEADS_K * DIMS)));
        let [k, v] = [kv(), kv()];
        let o = memory.upload(&vec![0; (2 * alike.rows * HEADS * DIMS) as usize]);
        let workspace = memory.upload(&vec![0; usize::try_from(plan.workspace_bytes())?]);
        let at = Addresses { q, k, v, o, workspace, ..Addresses::default() };
        let planned = plan.launches(&at).next().context("there are rows")?;
        let (kernel, launch) = (kernels.get(&planned)?, launch(&planned));
        let rows = launch.grid[1];
        let sampled = Sampled::run(kernel, &mut memory, &launch, rows, Some(0), |y| [0, y, 0])?;
        grid.add(&[sampled], kernel, HEADS, alike.slots, &parameters)?;
    }
    taken.0[0] = grid.cycles();
    for alike in case.decodes() {
        let problem = attention::Problem::new(DType::F16, [alike.slots, 1, HEADS, DIMS]);
        let problem = problem.with_num_heads_k(HEADS_K).with_seqlen_k(alike.keys);
        let (cycles, ..) = decode::run(kernels, &problem.with_layout(attention::Layout::Bnsd), parameters)?;
        taken.0.iter_mut().skip(1).zip(cycles).for_each(|(sum, cycles)| *sum += cycles);
    }
    Ok(taken)
}

/// Blocks in the order of their start.
#[derive(Default)]
struct Grid {
    order: Vec<f64>,
    /// That of the longest block.
    speed_up: Vec<f64>,
    longest: f64,
}

impl Grid {
    /// Appends slots that are alike: of each its rows, of each of these so many times the blocks that were
    /// sampled.
    fn add(
        &mut self,
        sampled: &[Sampled],
        kernel: &Kernel,
        times: u32,
        slots: u32,
        parameters: &Parameters,
    ) -> Result<()> {
        let mut columns = Vec::new();
        for sampled in sampled {
            let Durations { rows, speed_up, .. } = sampled.durations(kernel, parameters)?;
            let longest = rows.iter().copied().fold(0.0, f64::max);
            if longest > self.longest {
                (self.longest, self.speed_up) = (longest, speed_up);
            }
            columns.push(rows);
        }
        let row = |y: usize| columns.iter().map(|rows| rows[y]).collect::<Vec<_>>().repeat(times as usize);
        let of_slot: Vec<f64> = (0..columns.first().map_or(0, Vec::len)).flat_map(row).collect();
        self.order.extend(of_slot.repeat(slots as usize));
        Ok(())
    }

    fn cycles(&self) -> f64 {
        if self.order.is_empty() {
            0.0
        } else {
            schedule(&self.order, &self.speed_up)
        }
    }
}
