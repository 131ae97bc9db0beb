//! Threads, and how they share work.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// Looks at the others that a thread with nothing left to do takes before it sleeps: some 20 us. To be woken
/// takes as long, and shares of a launch end together.
const LOOKS: usize = 2000;

/// Threads that work for one caller at a time, or for several.
pub(crate) struct Threads {
    /// `None`: the caller's thread alone works.
    pool: Option<rayon::ThreadPool>,
    /// Pinned threads have all the work; else the caller's thread is one of those that work.
    are_pinned: bool,
}

impl Threads {
    /// # Errors
    /// Threads that cannot be started or pinned.
    pub(crate) fn new(count: NonZeroUsize, processors: &[usize]) -> Result<Self> {
        let count = count.get();
        let are_pinned = !processors.is_empty();
        if are_pinned && processors.len() < count {
            return Err(Error::new(format!(
                "processors = {processors:?}, one for each of {count} threads wanted"
            )));
        }
        let own = if are_pinned { count } else { count - 1 };
        if own == 0 {
            return Ok(Self { pool: None, are_pinned });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(own)
            .thread_name(|i| format!("attention-{i}"))
            .build()
            .map_err(|e| Error::new(format!("threads = {count}: {e}")))?;
        if are_pinned {
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
        Ok(Self { pool: Some(pool), are_pinned })
    }

    /// Threads that work.
    pub(crate) fn count(&self) -> usize {
        let own = self.pool.as_ref().map_or(0, rayon::ThreadPool::current_num_threads);
        own + usize::from(!self.are_pinned)
    }

    /// Calls `work` once for each number below `count`. Each thread takes the next number until there is
    /// none, and has a state of its own.
    pub(crate) fn share<S>(
        &self,
        count: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) + Sync,
    ) {
        let next = AtomicUsize::new(0);
        let run = || {
            let mut own = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                work(own.get_or_insert_with(&state), number);
            }
        };
        let Some(pool) = &self.pool else { return run() };
        let helpers = pool.current_num_threads();
        if self.are_pinned {
            if count > 0 {
                pool.broadcast(|_| run());
            }
            return;
        }
        let helpers = helpers.min(count.saturating_sub(1));
        if helpers == 0 {
            return run();
        }
        let open = AtomicUsize::new(helpers);
        pool.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| {
                    run();
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
            run();
            for _ in 0..LOOKS {
                if open.load(Ordering::Relaxed) == 0 {
                    break;
                }
                std::hint::spin_loop();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_once_and_a_panic_reaches_the_caller() {
        for threads in 1..=3 {
            let threads = NonZeroUsize::new(threads).map(|count| Threads::new(count, &[]));
            let Some(Ok(threads)) = threads else { panic!("threads start") };
            for count in [0, 1, 2, 100] {
                let seen: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                let see = |(): &mut (), i: usize| {
                    seen[i].fetch_add(1, Ordering::Relaxed);
                };
                threads.share(count, || (), see);
                assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 1), "{count}");
            }
            let failing = std::panic::AssertUnwindSafe(|| {
                threads.share(50, || (), |(), i| assert!(i != 33, "that one"));
            });
            assert!(std::panic::catch_unwind(failing).is_err());
        }
    }
}
