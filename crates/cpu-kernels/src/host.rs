//! The operator: threads, an instruction set, and the launch.

use std::fmt;
use std::num::NonZeroUsize;

use half::{bf16, f16};

use crate::element::{DType, Load};
use crate::error::Result;
use crate::few::{self, Few};
use crate::isa::Isa;
use crate::memory::{Memory, Operands};
use crate::panel::{self, Panels};
use crate::problem::Problem;
use crate::simd::{Op, Simd};
use crate::threads::Threads;
use crate::work::{cut, Job, Part, Task};

/// How many threads, where, and with which instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Threads; `None`: one for each processor that the process may use. One works on the caller's thread,
    /// unless `processors` are given.
    pub threads: Option<NonZeroUsize>,
    /// Processors that the threads are pinned to, by the system's numbers: thread `i` to the `i`-th. Fewer
    /// than there are threads are refused. Empty: none is pinned.
    pub processors: Vec<usize>,
    /// `None`: [`Isa::from_environment`].
    pub isa: Option<Isa>,
}

/// Attention on the host's cores.
pub struct Host {
    isa: Isa,
    threads: Threads,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("isa", &self.isa)
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Starts the threads.
    ///
    /// # Errors
    /// An instruction set that is unknown or not available; threads that cannot be started or pinned.
    pub fn new(config: &Config) -> Result<Self> {
        let isa = config.isa.map_or_else(Isa::from_environment, Isa::checked)?;
        let available = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = config.threads.unwrap_or_else(available);
        Ok(Self { isa, threads: Threads::new(threads, &config.processors)? })
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Threads that work.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// Calls `work` once for each number below `count`. Each thread takes the next number until there is
    /// none, and has a state of its own. A panic of `work` is one of this function.
    pub fn share<S>(&self, count: usize, state: impl Fn() -> S + Sync, work: impl Fn(&mut S, usize) + Sync) {
        self.threads.share(count, state, work);
    }

    /// Attention of `problem`, and returns when it is done. The result does not depend on the number of
    /// threads.
    ///
    /// A row that sees no key gets o = 0 and lse = -inf. One that sees a key whose page the cache does not
    /// have gets NaN. Entries of `row_starts` that fall, leave q or are more than `rows` apart count as
    /// the nearest that are right, so that slots never share a row; the rows that such a slot is left with
    /// become NaN. Rows of no slot are not written.
    ///
    /// # Errors
    /// A size, stride or address that is wrong; nothing is written then.
    ///
    /// # Safety
    /// Until this returns, every operand that is not null has the elements that `problem` says
    /// ([`Problem::elements`]; the lists as [`Operands`] says), and nobody writes them. Nobody else uses o
    /// and lse, and they share no byte with the rest. The bytes of q, k and v that the slots' rows and keys
    /// cover are initialised.
    #[allow(unsafe_code, reason = "operands are addresses")]
    pub unsafe fn attention(&self, problem: &Problem, operands: &Operands) -> Result<()> {
        match problem.dtype {
            DType::F16 => {
                // SAFETY: the caller's contract is that of `Memory::new`, with elements of the problem's
                // type.
                let memory = unsafe { Memory::<f16>::new(problem, *operands) }?;
                self.launch(&memory);
            }
            DType::Bf16 => {
                // SAFETY: as above.
                let memory = unsafe { Memory::<bf16>::new(problem, *operands) }?;
                self.launch(&memory);
            }
            DType::F32 => {
                // SAFETY: as above.
                let memory = unsafe { Memory::<f32>::new(problem, *operands) }?;
                self.launch(&memory);
            }
        }
        Ok(())
    }

    fn launch<T: Load>(&self, memory: &Memory<'_, T>) {
        let (jobs, tasks) = cut(memory, self.isa.dispatch(PanelRows));
        self.share(tasks.len(), Scratch::default, |scratch, number| {
            self.isa.dispatch(OneTask { memory, jobs: &jobs, task: &tasks[number], scratch });
        });
    }
}

/// Rows of a panel.
struct PanelRows;

impl Op for PanelRows {
    type Output = usize;

    #[inline(always)]
    fn call<S: Simd>(self, _: S) -> usize {
        S::PANEL
    }
}

/// Buffers of a thread.
#[derive(Default)]
struct Scratch {
    few: Few,
    panels: Panels,
    part: Part,
}

struct OneTask<'a, 'b, T> {
    memory: &'a Memory<'b, T>,
    jobs: &'a [Job],
    task: &'a Task,
    scratch: &'a mut Scratch,
}

impl<T: Load> Op for OneTask<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let Self { memory, task, scratch: Scratch { few, panels, part }, .. } = self;
        let jobs = &self.jobs[task.jobs.clone()];
        if jobs[0].has_few_rows(memory.problem) {
            few::run(s, memory, jobs, task.keys.clone(), few);
            for (i, job) in jobs.iter().enumerate() {
                few.finish::<S>(i, memory.problem.head_dim_v, part);
                job.take(s, memory, task, part);
            }
        } else {
            panel::run(s, memory, &jobs[0], task.keys.clone(), (panels, part));
            jobs[0].take(s, memory, task, part);
        }
    }
}
