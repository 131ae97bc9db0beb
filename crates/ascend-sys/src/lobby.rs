//! Connections that have not said who they are yet: so many at a time, whoever they are.

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Each has a thread, for as long as it may take to say who it is.
const PLACES: usize = 64;

/// A connection that one thread can end while another waits for it.
pub trait Connection {
    /// Ends it, for both sides.
    fn hang_up(&self);
}

impl Connection for TcpStream {
    fn hang_up(&self) {
        // Fails where the other side was first.
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// Where connections are until they have said who they are. Whoever comes when it is full is let in, and the
/// one that has been silent for longest has to go: so silent ones, however many, keep nobody out.
#[derive(Debug)]
pub struct Lobby<C> {
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C> {
    guests: VecDeque<Arc<C>>,
    is_closed: bool,
}

impl<C: Connection> Default for Lobby<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Connection> Lobby<C> {
    /// An empty one.
    pub fn new() -> Lobby<C> {
        Lobby { state: Mutex::new(State { guests: VecDeque::new(), is_closed: false }) }
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has come.
    pub fn enter(&self, guest: &Arc<C>) {
        let mut state = self.state();
        if state.is_closed {
            return guest.hang_up();
        }
        if state.guests.len() == PLACES {
            state.guests.pop_front().iter().for_each(|oldest| oldest.hang_up());
        }
        state.guests.push_back(Arc::clone(guest));
    }

    /// It has said who it is, or has gone. False when it had to go before: its connection has ended then,
    /// whatever it said.
    pub fn leave(&self, guest: &Arc<C>) -> bool {
        let mut state = self.state();
        let place = state.guests.iter().position(|other| Arc::ptr_eq(other, guest));
        place.and_then(|place| state.guests.remove(place)).is_some()
    }

    /// Ends all connections that are here, and those that come later.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.guests.drain(..).for_each(|guest| guest.hang_up());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Told(AtomicBool);

    impl Connection for Told {
        fn hang_up(&self) {
            assert!(!self.0.swap(true, Ordering::Relaxed), "once");
        }
    }

    #[test]
    fn the_oldest_goes_when_one_more_comes() {
        let lobby = Lobby::new();
        let guests: Vec<Arc<Told>> = (0..PLACES + 3).map(|_| Arc::default()).collect();
        let gone = || guests.iter().map(|guest| guest.0.load(Ordering::Relaxed)).collect::<Vec<bool>>();
        guests[..PLACES].iter().for_each(|guest| lobby.enter(guest));
        assert!(!gone().contains(&true));
        // The second has said who it is.
        assert!(lobby.leave(&guests[1]) && !lobby.leave(&guests[1]));
        guests[PLACES..PLACES + 2].iter().for_each(|guest| lobby.enter(guest));
        assert_eq!((gone()[0], gone()[1], gone()[2]), (true, false, false), "one place was free");
        assert!(!lobby.leave(&guests[0]), "it had to go");
        lobby.close();
        lobby.enter(&guests[PLACES + 2]);
        assert_eq!(gone().iter().filter(|gone| !**gone).count(), 1, "all but the one that left");
    }
}
