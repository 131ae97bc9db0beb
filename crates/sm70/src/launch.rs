//! A grid: blocks spread over the threads of the host, and what one block's writes mean to another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use crate::counters::{Counters, InstructionCount, Kind};
use crate::exec::{Block, Count, Sums, Watch, Workspace, Written};
use crate::fault::{Error, Fault, FaultKind};
use crate::memory::Memory;
use crate::op::{Op, Space};
use crate::ptx::Kernel;

/// Shared memory that a block of sm_70 can have (CUDA programming guide, compute capabilities).
const MAX_SHARED_BYTES: u32 = 96 << 10;
/// Threads that a block can have.
const MAX_THREADS: u32 = 1024;

/// How a kernel is started.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory a block.
    pub shared_bytes: u32,
    /// The kernel's parameters.
    pub params: &'a Params,
    /// How tensor instructions round.
    pub sums: Sums,
}

impl<'a> Launch<'a> {
    /// A launch without shared memory.
    #[must_use]
    pub fn new(grid: [u32; 3], block: [u32; 3], params: &'a Params) -> Self {
        Self { grid, block, shared_bytes: 0, params, sums: Sums::default() }
    }
}

/// Parameters of a kernel, packed in their order, each aligned to its size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<u8>);

impl Params {
    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends 64 bits: an address, a `long long`.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.push(&value.to_le_bytes())
    }

    /// Appends 32 bits.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.push(&value.to_le_bytes())
    }

    /// Appends a signed number of 32 bits.
    #[must_use]
    pub fn i32(self, value: i32) -> Self {
        self.push(&value.to_le_bytes())
    }

    /// Appends a float of 32 bits.
    #[must_use]
    pub fn f32(self, value: f32) -> Self {
        self.push(&value.to_le_bytes())
    }

    /// Parameters that a program has packed.
    #[must_use]
    pub fn packed(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn push(mut self, bytes: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(bytes.len()), 0);
        self.0.extend_from_slice(bytes);
        self
    }
}

impl Kernel {
    /// Runs the kernel to its end. Blocks are spread over the host's threads; the result does not depend on
    /// how many there are.
    ///
    /// # Errors
    /// [`Error::Fault`] of the first block at fault, else the first race between blocks; `memory` is then as
    /// before. [`Error::Invalid`] if the launch does not fit the kernel or the chip.
    ///
    /// # Panics
    /// Panics if the interpreter is wrong.
    pub fn launch(&self, memory: &mut Memory, launch: &Launch<'_>) -> Result<Counters, Error> {
        let blocks = self.check(launch)?;
        let block = Block {
            kernel: self,
            memory,
            params: &launch.params.0,
            grid: launch.grid,
            threads: launch.block,
            shared_bytes: launch.shared_bytes,
            sums: launch.sums,
            watch: None,
        };
        let (written, counts) = run_blocks(&block, blocks, |index| index)?;
        let watch = owners(&block, &written)?;
        let readers = readers(memory, &written, &watch);
        if let Ok(count @ 1..) = u32::try_from(readers.len()) {
            run_blocks(&Block { watch: Some(&watch), ..block }, count, |index| readers[index as usize])?;
        }
        for (address, value, _) in written.iter().flat_map(|block| &block.words) {
            memory.write(*address, &value.to_le_bytes()).expect("writes were checked");
        }
        Ok(self.counters(&counts))
    }

    /// The number of blocks, if the launch is possible.
    pub(crate) fn check(&self, launch: &Launch<'_>) -> Result<u32, Error> {
        let product = |size: [u32; 3]| size.iter().try_fold(1_u32, |all, n| all.checked_mul(*n));
        let (threads, blocks) = (product(launch.block), product(launch.grid));
        let most = self.max_threads.unwrap_or(MAX_THREADS).min(MAX_THREADS);
        let wanted = |text: String| Err(Error::Invalid(format!("launch of {}: {text}", self.name)));
        let (given, params) = (launch.params.0.len(), self.param_bytes());
        if given != params {
            return wanted(format!("{given} bytes of parameters, wanted {params}"));
        }
        if threads.is_none_or(|n| n == 0 || n > most) {
            return wanted(format!("block of {:?} threads, wanted 1 to {most}", launch.block));
        }
        if launch.shared_bytes > MAX_SHARED_BYTES {
            return wanted(format!(
                "{} bytes of shared memory, wanted at most {MAX_SHARED_BYTES}",
                launch.shared_bytes
            ));
        }
        match blocks {
            Some(blocks) if blocks > 0 => Ok(blocks),
            _ => wanted(format!("grid of {:?} blocks, wanted 1 to {}", launch.grid, u32::MAX)),
        }
    }

    fn counters(&self, counts: &[Count]) -> Counters {
        let instructions = self.code.iter().zip(counts).map(|(instruction, count)| InstructionCount {
            line: instruction.line,
            text: self.line_text(instruction.line).to_owned(),
            kind: match instruction.op {
                Op::Mma(_) => Kind::Mma,
                Op::Load { space: Space::Shared, .. } => Kind::SharedLoad,
                Op::Store { space: Space::Shared, .. } => Kind::SharedStore,
                Op::Load { space: Space::Global, .. } => Kind::GlobalLoad,
                Op::Store { space: Space::Global, .. } => Kind::GlobalStore,
                _ => Kind::Other,
            },
            executed: count.executed,
            wavefronts: count.wavefronts,
            least_wavefronts: count.least,
            sectors: count.sectors,
        });
        Counters { instructions: instructions.collect() }
    }
}

/// Runs `count` blocks, the numbers of which rise. Of several faults the one of the lowest block is returned:
/// blocks are taken in order, and none is taken after a fault.
fn run_blocks(
    block: &Block<'_>,
    count: u32,
    number: impl Fn(u32) -> u32 + Sync,
) -> Result<(Vec<Written>, Vec<Count>), Error> {
    let hosts = std::thread::available_parallelism().map_or(1, usize::from).min(count as usize);
    let (next, end) = (AtomicU64::new(0), AtomicU64::new(u64::from(count)));
    let results = Mutex::new(Vec::new());
    let work = || {
        let mut workspace = Workspace::new(block);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= end.load(Ordering::Relaxed) {
                break;
            }
            let Ok(index) = u32::try_from(index) else { break };
            let result = block.run(number(index), &mut workspace);
            if result.is_err() {
                end.fetch_min(u64::from(index), Ordering::Relaxed);
            }
            results.lock().expect("no thread panics while it holds the lock").push((index, result));
        }
        workspace.counts
    };
    let mut counts = vec![Count::default(); block.kernel.code.len()];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..hosts).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let found = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (sum, count) in counts.iter_mut().zip(found) {
                sum.executed += count.executed;
                sum.wavefronts += count.wavefronts;
                sum.least += count.least;
                sum.sectors += count.sectors;
            }
        }
    });
    let mut results = results.into_inner().expect("no thread panics while it holds the lock");
    results.sort_unstable_by_key(|result| result.0);
    let written: Result<Vec<_>, _> = results.into_iter().map(|result| result.1).collect();
    Ok((written?, counts))
}

/// Who wrote each word; a fault if two blocks did.
fn owners(block: &Block<'_>, written: &[Written]) -> Result<Watch, Error> {
    let mut owners = Watch::default();
    for (number, written) in (0..).zip(written) {
        for (address, _, access) in &written.words {
            if let Some((other, rival)) = owners.insert(*address, (number, *access)) {
                return Err(Error::Fault(Box::new(Fault {
                    kind: FaultKind::GlobalRace,
                    message: format!(
                        "writes (1) and (2) by two blocks, at {}",
                        block.memory.describe(*address)
                    ),
                    at: block.site(number, *access),
                    other: Some(block.site(other, rival)),
                })));
            }
        }
    }
    Ok(owners)
}

/// Blocks that may have read a word that a block, perhaps they themselves, wrote: what they read in an
/// allocation overlaps what was written in it.
fn readers(memory: &Memory, written: &[Written], watch: &Watch) -> Vec<u32> {
    let mut ranges = vec![(u64::MAX, 0); memory.allocations.len()];
    for address in watch.keys() {
        let (number, _) = memory.locate(*address, 4).expect("writes were checked");
        let range = &mut ranges[number];
        *range = (range.0.min(*address), range.1.max(*address));
    }
    let overlap = |read: &[(u64, u64)]| read.iter().zip(&ranges).any(|(a, b)| a.0 <= b.1 && b.0 <= a.1);
    (0..).zip(written).filter(|(_, block)| overlap(&block.read)).map(|(number, _)| number).collect()
}
