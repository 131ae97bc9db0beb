//! The operator: a pool of threads, an instruction set, and the launch.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::{bf16, f16};

use crate::element::{DType, Load};
use crate::error::{Error, Result};
use crate::few::{self, Few};
use crate::isa::Isa;
use crate::memory::{Memory, Operands};
use crate::panel::{self, Panels};
use crate::problem::Problem;
use crate::simd::{Op, Simd};
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
    pool: rayon::ThreadPool,
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
        let available = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = config.threads.map_or_else(available, NonZeroUsize::get);
        let processors = &config.processors;
        if !processors.is_empty() && processors.len() < threads {
            return Err(Error::new(format!(
                "processors = {processors:?}, one for each of {threads} threads wanted"
            )));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("attention-{i}"))
            .build()
            .map_err(|e| Error::new(format!("threads = {threads}: {e}")))?;
        if !processors.is_empty() {
            let pinned = pool.broadcast(|thread| {
                core_affinity::set_for_current(core_affinity::CoreId { id: processors[thread.index()] })
            });
            if let Some(failed) = pinned.iter().position(|pinned| !pinned) {
                let processor = processors[failed];
                return Err(Error::new(format!(
                    "processors[{failed}] = {processor}, one of this process wanted"
                )));
            }
        }
        Ok(Self { isa, pool })
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Threads that work.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` where parallel iterators of rayon use the threads of this host.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
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
        let next = AtomicUsize::new(0);
        let worker = || Worker { memory, jobs: &jobs, tasks: &tasks, next: &next };
        if tasks.len() > 1 && self.threads() > 1 {
            self.pool.broadcast(|_| self.isa.dispatch(worker()));
        } else {
            self.isa.dispatch(worker());
        }
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

/// What each thread does: the next task, until there is none.
struct Worker<'a, 'b, T> {
    memory: &'a Memory<'b, T>,
    jobs: &'a [Job],
    tasks: &'a [Task],
    next: &'a AtomicUsize,
}

impl<T: Load> Op for Worker<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let (mut few, mut panels, mut part) = (Few::default(), Panels::default(), Part::default());
        while let Some(task) = self.tasks.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let jobs = &self.jobs[task.jobs.clone()];
            if jobs[0].has_few_rows(self.memory.problem) {
                few::run(s, self.memory, jobs, task.keys.clone(), &mut few);
                for (i, job) in jobs.iter().enumerate() {
                    few.finish::<S>(i, self.memory.problem.head_dim_v, &mut part);
                    job.take(s, self.memory, task, &mut part);
                }
            } else {
                panel::run(s, self.memory, &jobs[0], task.keys.clone(), (&mut panels, &mut part));
                jobs[0].take(s, self.memory, task, &mut part);
            }
        }
    }
}
