//! Threads, and how they share work.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::thread::JoinHandle;

use crate::board::{Board, Work};
use crate::error::{Error, Result};

thread_local! {
    /// Whether this is a thread of some [`Threads`].
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Threads that work for one caller at a time, or for several.
pub(crate) struct Threads {
    board: Arc<Board>,
    own: Vec<JoinHandle<()>>,
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
        let mut threads = Self { board: Arc::default(), own: Vec::new(), are_pinned };
        for i in 0..if are_pinned { count } else { count - 1 } {
            let is_placed = threads
                .start(i, processors.get(i).copied())
                .map_err(|e| Error::new(format!("threads = {count}: {e}")))?;
            if !is_placed {
                let processor = processors[i];
                return Err(Error::new(format!("processors[{i}] = {processor}, one of this process wanted")));
            }
        }
        Ok(threads)
    }

    /// Starts thread `i`, on a processor if one is given; false: it cannot have that one.
    fn start(&mut self, i: usize, processor: Option<usize>) -> std::io::Result<bool> {
        let (tell, told) = mpsc::channel();
        let board = Arc::clone(&self.board);
        let run = move || {
            let pin = |id| core_affinity::set_for_current(core_affinity::CoreId { id });
            let is_placed = processor.is_none_or(pin);
            if tell.send(is_placed).is_ok() && is_placed {
                IS_OWN.set(true);
                board.work();
            }
        };
        self.own.push(std::thread::Builder::new().name(format!("attention-{i}")).spawn(run)?);
        Ok(told.recv().unwrap_or(false))
    }

    /// Threads that work.
    pub(crate) fn count(&self) -> usize {
        self.own.len() + usize::from(!self.are_pinned)
    }

    /// Calls `work` once for each number below `count`. Each thread takes the next number until there is
    /// none, and has a state of its own. After a panic no number is taken any more.
    pub(crate) fn share<S>(
        &self,
        count: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) + Sync,
    ) {
        let next = AtomicUsize::new(0);
        let run = || {
            let mut own = None;
            let mut rest = Rest { next: &next, count, is_over: false };
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                work(own.get_or_insert_with(&state), number);
            }
            rest.is_over = true;
        };
        let helpers = self.own.len().min(if self.are_pinned { count } else { count.saturating_sub(1) });
        if helpers == 0 {
            return run();
        }
        let is_begun = || next.load(Ordering::Relaxed) >= count;
        // One that shares a part of its own work cannot wait for itself.
        let helps = !self.are_pinned || IS_OWN.get();
        self.board.offer(&Work { run: &run, is_begun: &is_begun }, helpers, helps);
    }
}

/// What a thread leaves to others.
struct Rest<'a> {
    next: &'a AtomicUsize,
    count: usize,
    is_over: bool,
}

impl Drop for Rest<'_> {
    /// A thread that fails leaves nothing.
    fn drop(&mut self) {
        if !self.is_over {
            self.next.fetch_max(self.count, Ordering::Relaxed);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.board.end();
        for thread in self.own.drain(..) {
            // A thread ends by a panic only if the board has a defect, which a drop cannot tell.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_way(check: impl Fn(&Threads)) {
        for count in 1..=3 {
            let count = NonZeroUsize::new(count).unwrap();
            check(&Threads::new(count, &[]).unwrap());
            // Miri pins no threads.
            let first = core_affinity::get_core_ids().map_or(0, |ids| ids[0].id);
            if cfg!(all(target_os = "linux", not(miri))) {
                check(&Threads::new(count, &vec![first; count.get()]).unwrap());
            }
        }
    }

    fn sum(threads: &Threads, count: usize, of: impl Fn(usize) -> usize + Sync) -> usize {
        let sum = AtomicUsize::new(0);
        threads.share(
            count,
            || (),
            |(), i| {
                sum.fetch_add(of(i), Ordering::Relaxed);
            },
        );
        sum.into_inner()
    }

    #[test]
    fn each_number_comes_once() {
        each_way(|threads| {
            for count in [0, 1, 2, 100] {
                let seen: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                let see = |(): &mut (), i: usize| {
                    seen[i].fetch_add(1, Ordering::Relaxed);
                };
                threads.share(count, || (), see);
                assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 1), "{count}");
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_threads_go_on() {
        each_way(|threads| {
            let failing = std::panic::AssertUnwindSafe(|| {
                threads.share(50, || (), |(), i| assert!(i != 33, "that one"));
            });
            let failure = std::panic::catch_unwind(failing).unwrap_err();
            assert_eq!(failure.downcast_ref::<&str>(), Some(&"that one"));
            assert_eq!(sum(threads, 10, |i| i), 45);
        });
    }

    #[test]
    fn many_callers_share_the_threads_and_may_nest() {
        each_way(|threads| {
            std::thread::scope(|scope| {
                for caller in 0..6 {
                    scope.spawn(move || {
                        for count in 0..if cfg!(miri) { 5 } else { 200 } {
                            let nested = |i| sum(threads, i % 4, |_| 1);
                            let wanted = (0..count).map(|i| i % 4).sum::<usize>();
                            assert_eq!(sum(threads, count, nested), wanted, "{caller}");
                        }
                    });
                }
            });
        });
    }

    /// What sleeps is woken, whenever it fell asleep.
    #[test]
    fn launches_far_apart_are_done() {
        each_way(|threads| {
            for pause in [0, 100, 190, 200, 210, 400, 3000] {
                for _ in 0..if cfg!(miri) { 1 } else { 20 } {
                    std::thread::sleep(std::time::Duration::from_micros(pause));
                    assert_eq!(sum(threads, 7, |i| i), 21);
                }
            }
        });
    }
}
