//! Runs blocks of a kernel and notes which instruction each warp issued.
//!
//! Numbers: integers and f32 as documented, round to nearest; subnormals are kept.
//! ASSUMPTION(v100-functions): exp2, log2, reciprocals and roots are the exact value, rounded once to f32.
//! ASSUMPTION(v100-mma-sums): a step of a tensor instruction adds its four products and the sum in f64 and
//! rounds once.

mod access;
mod float;
mod int;
mod state;
mod warp;

pub use access::Memory;
pub(crate) use state::{Lanes, Mask};

use crate::exec::state::BlockState;
use crate::exec::warp::Warp;
use crate::sass::Unit;
use crate::time::SHARED_BYTES;
use crate::{Error, Kernel, Result};

/// How a kernel is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x and y.
    pub threads: [u32; 2],
    /// Dynamic shared memory of a block, bytes.
    pub shared_bytes: u32,
    /// The parameters, packed as the kernel wants them.
    pub params: Vec<u8>,
}

/// What the warps of a block issued.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Of each warp: index of the instruction, and its wavefronts (shared and local memory), its sectors of
    /// 32 bytes (global memory), its barrier and the threads that it waits for.
    pub(crate) warps: Vec<Vec<Issued>>,
}

/// One instruction that a warp issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) index: u32,
    pub(crate) extra: u32,
}

/// What a block did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions of warps.
    pub instructions: u64,
    /// Steps of tensor instructions: four an `mma.m8n8k4`.
    pub tensor_steps: u64,
    /// Wavefronts of loads and stores of shared memory.
    pub wavefronts: u64,
    /// Sectors of global memory, read and written.
    pub sectors: u64,
}

impl Trace {
    /// What the warps did, all together.
    #[must_use]
    pub fn counts(&self, kernel: &Kernel) -> Counts {
        let mut counts = Counts::default();
        for step in self.warps.iter().flatten() {
            let extra = u64::from(step.extra);
            counts.instructions += 1;
            match kernel.code[step.index as usize].unit {
                Unit::Tensor => counts.tensor_steps += 1,
                Unit::SharedLoad | Unit::SharedStore => counts.wavefronts += extra,
                Unit::GlobalLoad | Unit::GlobalStore => counts.sectors += extra,
                _ => {}
            }
        }
        counts
    }
}

impl Kernel {
    /// Runs one block of a launch. Its warps run one after the other from barrier to barrier.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an instruction that the interpreter lacks, [`Error::Fault`] if the kernel
    /// leaves its memory or its warps wait for ever, [`Error::Invalid`] if the launch does not fit.
    pub fn run_block(&self, memory: &mut Memory, launch: &Launch, block: [u32; 3]) -> Result<Trace> {
        let (wanted, given) = (self.facts.param_bytes, launch.params.len());
        let threads = launch.threads[0].checked_mul(launch.threads[1]).filter(|n| (1..=1024).contains(n));
        let Some(threads) = threads.filter(|_| given == wanted as usize) else {
            return Err(Error::Invalid(format!(
                "launch of {}: {given} bytes of parameters and {:?} threads a block, wanted {wanted} and 1 to \
                 1024",
                self.name(),
                launch.threads
            )));
        };
        let shared_bytes = self.static_shared_bytes().saturating_add(launch.shared_bytes);
        if shared_bytes > SHARED_BYTES {
            return Err(Error::Invalid(format!(
                "launch of {}: {shared_bytes} bytes of shared memory a block, at most {SHARED_BYTES} wanted",
                self.name()
            )));
        }
        if let Some(program) = &self.program {
            return program.run_block(self.name(), memory, launch, block);
        }
        let mut state = BlockState::new(self, memory, launch, shared_bytes, block);
        let mut warps: Vec<_> = (0..threads.div_ceil(32)).map(|n| Warp::new(n, threads)).collect();
        while warps.iter().any(Warp::is_alive) {
            let ready: Vec<_> = (0..warps.len()).filter(|&n| warps[n].is_ready()).collect();
            if ready.is_empty() {
                let waiting = warps.iter().find(|warp| warp.is_alive()).and_then(|warp| warp.trace.last());
                let at = waiting.map_or(0, |step| step.index);
                return Err(self.fault(at, "all warps that are left wait at barriers"));
            }
            for n in ready {
                while warps[n].is_ready() && warps[n].is_alive() {
                    warps[n].run(self, &mut state)?;
                    release(&mut warps, &mut state);
                }
            }
        }
        Ok(Trace { warps: warps.into_iter().map(|warp| warp.trace).collect() })
    }

    pub(crate) fn fault(&self, index: u32, what: impl Into<String>) -> Error {
        let instruction = &self.code[index as usize];
        Error::Fault { pc: instruction.pc, text: instruction.text.clone(), what: what.into() }
    }
}

/// Lets the warps go whose barrier has all its threads.
fn release(warps: &mut [Warp], state: &mut BlockState<'_>) {
    let everyone = 32 * u32::try_from(warps.iter().filter(|warp| warp.is_alive()).count()).unwrap_or(0);
    let waiting: Vec<_> = warps.iter().filter(|w| w.is_alive()).filter_map(|warp| warp.waits_at).collect();
    for number in 0..16 {
        let mut here = waiting.iter().filter(|(at, _)| *at == number).peekable();
        let Some(&&(_, threads)) = here.peek() else { continue };
        let need = if threads == 0 { everyone } else { threads };
        let count = 32 * u32::try_from(here.count()).unwrap_or(0);
        let arrived = &mut state.arrived[number as usize];
        if count + *arrived >= need {
            *arrived = 0;
            for warp in warps.iter_mut().filter(|warp| warp.waits_at.is_some_and(|(at, _)| at == number)) {
                warp.waits_at = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
