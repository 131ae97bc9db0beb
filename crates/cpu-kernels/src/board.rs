//! Work that a caller offers to threads, and takes part in.
//!
//! A step of a model is hundreds of launches of a few us. So a launch must not wake anybody who could have
//! been awake, and must not wait for anybody who has not begun: threads look at the board for a while before
//! they sleep, and whoever comes after the work is done stays outside. Rayon's scopes do neither (each of
//! their tasks has to run, and idle threads of its pools sleep after some us): see `docs/cpu.md`.
#![allow(unsafe_code, reason = "threads borrow what lies on the stack of a caller, who waits for them")]

use std::any::Any;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Callers at a time who find help. One more works alone.
const PLACES: usize = 4;

/// For so long a thread looks for work before it sleeps. Between launches of a step there are some us.
const AWAKE: Duration = Duration::from_micros(200);

/// Looks at the board that a thread takes before it lets others have its processor.
const LOOKS_OF_THREAD: u32 = 64;

/// Looks at the door that a caller takes before it sleeps: some 20 us. To be woken takes as long, and threads
/// end together.
const LOOKS_OF_CALLER: usize = 2000;

/// The door of a place is open; the other bits count the threads inside.
const OPEN: usize = 1 << (usize::BITS - 1);

/// What is to be done.
pub(crate) struct Work<'a> {
    /// Called once by each thread that takes part.
    pub(crate) run: &'a (dyn Fn() + Sync),
    /// Whether nothing is left to begin. True from then on, and before anybody returns from `run`.
    pub(crate) is_begun: &'a (dyn Fn() -> bool + Sync),
}

/// Where a caller offers work.
#[derive(Default)]
#[repr(align(128))]
struct Place {
    is_taken: AtomicBool,
    door: AtomicUsize,
    /// A [`Work`] while the door is open, or somebody is inside.
    work: AtomicPtr<()>,
    /// The caller is `sleeper`, and wants to know of each thread that leaves.
    is_waiting: AtomicBool,
    sleeper: Mutex<Option<Thread>>,
    /// What the first thread that failed has failed with.
    failure: Mutex<Option<Box<dyn Any + Send>>>,
}

/// What sleeping threads wait for.
#[derive(Default)]
struct Sleep {
    /// So many of them shall wake.
    called: usize,
    /// All of them shall end.
    ends: bool,
}

/// The board.
#[derive(Default)]
pub(crate) struct Board {
    places: [Place; PLACES],
    /// Work that has been offered at each place so far. By it a thread knows what it has taken part in.
    offers: [AtomicU64; PLACES],
    num_asleep: AtomicUsize,
    sleep: Mutex<Sleep>,
    wakes: Condvar,
}

/// Nothing that these mutexes guard is half done when a thread fails.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// Takes part, unless the door is closed.
    fn enter(&self) -> bool {
        if self.door.fetch_add(1, SeqCst) & OPEN == 0 {
            self.leave();
            return false;
        }
        let work = self.work.load(SeqCst).cast::<Work<'_>>();
        // SAFETY: the door was open when this thread was counted as inside. The caller wrote the address
        // before it opened the door, and returns, so that the work goes, after the thread has left.
        let run = unsafe { (*work).run };
        if let Err(failure) = catch_unwind(AssertUnwindSafe(run)) {
            lock(&self.failure).get_or_insert(failure);
        }
        self.leave();
        true
    }

    fn leave(&self) {
        self.door.fetch_sub(1, SeqCst);
        if self.is_waiting.load(SeqCst) {
            // Perhaps another caller by now, who looks again and goes on sleeping.
            if let Some(sleeper) = &*lock(&self.sleeper) {
                sleeper.unpark();
            }
        }
    }

    /// Waits until nobody is inside and `is_over`.
    fn wait(&self, is_over: impl Fn() -> bool) {
        let is_over = || self.door.load(SeqCst) & !OPEN == 0 && is_over();
        for _ in 0..LOOKS_OF_CALLER {
            if is_over() {
                return;
            }
            std::hint::spin_loop();
        }
        *lock(&self.sleeper) = Some(std::thread::current());
        self.is_waiting.store(true, SeqCst);
        while !is_over() {
            std::thread::park();
        }
        self.is_waiting.store(false, SeqCst);
    }
}

impl Board {
    /// Has `work` done by the caller, if it `helps`, and by threads, of which up to `wanted` are woken.
    ///
    /// # Panics
    /// When anybody panics who does it, after all of them have left.
    pub(crate) fn offer(&self, work: &Work<'_>, wanted: usize, helps: bool) {
        let free = |place: &Place| !place.is_taken.swap(true, SeqCst);
        let Some(number) = self.places.iter().position(free) else { return (work.run)() };
        let place = &self.places[number];
        place.work.store(ptr::from_ref(work).cast_mut().cast(), SeqCst);
        place.door.fetch_or(OPEN, SeqCst);
        self.offers[number].fetch_add(1, SeqCst);
        self.call(wanted);
        let own = if helps { catch_unwind(AssertUnwindSafe(work.run)) } else { Ok(()) };
        // Where the caller does nothing, or has failed, others have to begin all of it.
        place.wait(|| own.is_err() || (work.is_begun)());
        place.door.fetch_and(!OPEN, SeqCst);
        place.wait(|| true);
        let failure = lock(&place.failure).take();
        place.is_taken.store(false, SeqCst);
        if let Some(failure) = own.err().or(failure) {
            resume_unwind(failure);
        }
    }

    /// Wakes up to `wanted` threads, if any sleep: two here, and each of them two more.
    fn call(&self, wanted: usize) {
        if wanted > 0 && self.num_asleep.load(SeqCst) > 0 {
            let mut sleep = lock(&self.sleep);
            sleep.called = sleep.called.max(wanted);
            self.wake_two(&sleep);
        }
    }

    fn wake_two(&self, sleep: &Sleep) {
        for _ in 0..sleep.called.min(2) {
            self.wakes.notify_one();
        }
    }

    /// Takes part in what is offered, until [`Board::end`].
    pub(crate) fn work(&self) {
        let mut seen = [0; PLACES];
        let mut last = Instant::now();
        loop {
            let look = |_| {
                let took_part = self.take_part(&mut seen);
                std::hint::spin_loop();
                took_part
            };
            if (0..LOOKS_OF_THREAD).any(look) {
                last = Instant::now();
            } else if last.elapsed() < AWAKE {
                std::thread::yield_now();
            } else if self.sleep(&seen) {
                last = Instant::now();
            } else {
                return;
            }
        }
    }

    /// Takes part in what has been offered since `seen`; false: nothing has.
    fn take_part(&self, seen: &mut [u64; PLACES]) -> bool {
        let mut took_part = false;
        for ((place, offers), seen) in self.places.iter().zip(&self.offers).zip(seen) {
            let offers = offers.load(SeqCst);
            if offers != *seen {
                *seen = offers;
                took_part |= place.enter();
            }
        }
        took_part
    }

    /// Sleeps until something new is offered; false: the thread shall end.
    fn sleep(&self, seen: &[u64; PLACES]) -> bool {
        let mut sleep = lock(&self.sleep);
        self.num_asleep.fetch_add(1, SeqCst);
        // A caller counts the offer first, and then looks who sleeps.
        let is_new = self.offers.iter().zip(seen).any(|(offers, seen)| offers.load(SeqCst) != *seen);
        while !is_new && !sleep.ends && sleep.called == 0 {
            sleep = self.wakes.wait(sleep).unwrap_or_else(PoisonError::into_inner);
        }
        let left = self.num_asleep.fetch_sub(1, SeqCst) - 1;
        sleep.called = sleep.called.saturating_sub(1).min(left);
        self.wake_two(&sleep);
        !sleep.ends
    }

    /// Lets all threads end.
    pub(crate) fn end(&self) {
        lock(&self.sleep).ends = true;
        self.wakes.notify_all();
    }
}
