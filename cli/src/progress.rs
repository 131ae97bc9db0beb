//! A line on stderr while the user waits; nothing unless stderr is a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two drawings.
const PERIOD: Duration = Duration::from_millis(100);

/// To the first column, and what is there is erased.
const ERASE: &str = "\r\x1b[K";

/// What goes on, and how much of it is done. The line disappears with it.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: Option<u64>,
    begun: Instant,
    is_shown: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    done: u64,
    drawn: Instant,
}

impl Progress {
    /// Something of which nobody knows how long it takes.
    pub fn new(what: impl Into<String>) -> Self {
        Self::start(what.into(), None)
    }

    /// Something of `total` steps.
    pub fn of(what: impl Into<String>, total: u64) -> Self {
        Self::start(what.into(), Some(total))
    }

    fn start(what: String, total: Option<u64>) -> Self {
        let begun = Instant::now();
        let state = Mutex::new(State { done: 0, drawn: begun });
        let progress = Self { what, total, begun, is_shown: io::stderr().is_terminal(), state };
        progress.draw(0);
        progress
    }

    /// `steps` more are done.
    pub fn add(&self, steps: u64) {
        self.change(|done| done.saturating_add(steps));
    }

    /// `done` steps are done.
    pub fn set(&self, done: u64) {
        self.change(|_| done);
    }

    /// Steps that are done.
    pub fn done(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).done
    }

    /// Erases the line, so that something else can be told.
    pub fn finish(self) {}

    fn change(&self, of: impl FnOnce(u64) -> u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done = of(state.done);
        if self.is_shown && state.drawn.elapsed() >= PERIOD {
            state.drawn = Instant::now();
            self.draw(state.done);
        }
    }

    /// A terminal that has gone needs no line.
    fn draw(&self, done: u64) {
        if self.is_shown {
            let _ = write!(io::stderr(), "{ERASE}{}", self.line(done, self.begun.elapsed()));
        }
    }

    fn line(&self, done: u64, elapsed: Duration) -> String {
        match self.total {
            Some(total) => format!("{}: {done} of {total}, {} s", self.what, elapsed.as_secs()),
            None => format!("{} ...", self.what),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_goes_on_how_much_is_done_and_for_how_long() {
        let steps = Progress::of("cases", 7);
        steps.add(2);
        steps.add(1);
        assert_eq!(steps.line(steps.done(), Duration::from_millis(61_900)), "cases: 3 of 7, 61 s");
        steps.set(1);
        assert_eq!(steps.done(), 1);
        assert_eq!(Progress::new("attention").line(0, Duration::ZERO), "attention ...");
    }
}
