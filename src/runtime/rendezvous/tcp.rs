//! A root info over TCP.
//!
//! Anybody can connect to the port of rank 0. It talks to several at a time, each until its own deadline, and
//! to all until that of the meeting. Whoever is none of the missing ranks is told no, without a reason, and
//! changes nothing.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind as Io, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use ascend_sys::lobby::Lobby;

use super::wire::{self, Request, RECEIPT};
use super::{environment, Rendezvous, RootInfo};
use crate::{Error, ErrorKind, Result};

const POLL: Duration = Duration::from_millis(5);
/// Between attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// For all that two processes say to each other. A rank whose connection ends tries again.
const PEER_LIMIT: Duration = Duration::from_secs(5);
/// So many missing ranks are named.
const NAMED: usize = 16;

/// A connection with one deadline for everything, however little a read or a write moves.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Io::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Rank 0.
struct Host<'a> {
    own: &'a Rendezvous,
    root: &'a RootInfo,
    deadline: Instant,
    lobby: Lobby<TcpStream>,
    state: Mutex<State>,
}

struct State {
    /// Ranks that do not have the root info.
    missing: BTreeSet<u32>,
    strangers: u32,
    /// What the last stranger did.
    last: String,
}

/// Gives the root info to all other ranks.
pub(super) fn give(own: &Rendezvous, at: (&str, u16), root: &RootInfo, deadline: Instant) -> Result<()> {
    if own.ranks == 1 {
        return Ok(());
    }
    let listener = TcpListener::bind(at).map_err(|e| cannot_listen(own, &e))?;
    listener.set_nonblocking(true).map_err(|e| own.error(ErrorKind::Io, e))?;
    let missing = (1..own.ranks).collect();
    let state = Mutex::new(State { missing, strangers: 0, last: String::new() });
    let host = Host { own, root, deadline, lobby: Lobby::new(), state };
    std::thread::scope(|scope| {
        let outcome = host.listen(&listener, scope);
        host.lobby.close();
        outcome
    })
}

fn cannot_listen(own: &Rendezvous, e: &io::Error) -> Error {
    match e.kind() {
        Io::AddrInUse => own.error(
            ErrorKind::InvalidArgument,
            format!(
                "the port is in use, a free port wanted; environment variable {} sets it",
                environment::PORT
            ),
        ),
        Io::AddrNotAvailable => own.error(
            ErrorKind::InvalidArgument,
            "an address of another machine given, one of this machine wanted, where rank 0 is",
        ),
        _ => own.error(ErrorKind::Io, e),
    }
}

impl Host<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen<'s>(&'s self, listener: &TcpListener, scope: &'s Scope<'s, '_>) -> Result<()> {
        loop {
            if self.state().missing.is_empty() {
                return Ok(());
            }
            if Instant::now() >= self.deadline {
                return Err(self.own.error(ErrorKind::Timeout, self.state().text(self.own)));
            }
            let Ok((stream, address)) = listener.accept() else {
                std::thread::sleep(POLL);
                continue;
            };
            let guest = Arc::new(stream);
            self.lobby.enter(&guest);
            let own = Arc::clone(&guest);
            let thread = Builder::new().name("rendezvous".into()).spawn_scoped(scope, move || {
                let outcome = self.serve(&own);
                self.lobby.leave(&own);
                self.note(address, outcome);
            });
            if thread.is_err() {
                // The connection ends here, and a rank tries again.
                self.lobby.leave(&guest);
            }
        }
    }

    /// The rank that has the root info now, or why the other side gets none.
    fn serve(&self, guest: &Arc<TcpStream>) -> io::Result<std::result::Result<u32, String>> {
        let stream = &**guest;
        // Some systems pass it on from the listener.
        stream.set_nonblocking(false)?;
        let mut line = Timed { stream, deadline: self.deadline.min(Instant::now() + PEER_LIMIT) };
        let challenge = wire::challenge()?;
        line.write_all(&wire::challenge_to_bytes(&challenge))?;
        let request = Request::read(&mut line)?;
        let challenges = request.check(self.own, challenge).ok_or_else(|| {
            format!("rank {} of {} ranks gave another job or another secret", request.rank, request.ranks)
        });
        let challenges = match challenges.and_then(|known| self.seat(&request).map(|()| known)) {
            Ok(challenges) => challenges,
            Err(why) => {
                line.write_all(&wire::no())?;
                return Ok(Err(why));
            }
        };
        // From here on it makes room for nobody: it could take the answer, and its receipt would not come.
        if !self.lobby.leave(guest) {
            return Ok(Err(format!(
                "rank {} was disconnected, as too many others connected after it",
                request.rank
            )));
        }
        line.write_all(&wire::yes(self.own, &challenges, self.root))?;
        let mut receipt = [0];
        line.read_exact(&mut receipt)?;
        Ok(if receipt == [RECEIPT] {
            Ok(request.rank)
        } else {
            Err(format!("rank {} did not confirm the answer", request.rank))
        })
    }

    /// Is the rank one of those that are missing?
    fn seat(&self, request: &Request) -> std::result::Result<(), String> {
        let (rank, ranks) = (request.rank, self.own.ranks);
        if request.ranks != ranks {
            return Err(format!("rank {rank} gave ranks = {}, {ranks} wanted", request.ranks));
        }
        if !self.state().missing.contains(&rank) {
            let last = ranks - 1;
            return Err(format!("rank = {rank} given, one of 1 to {last} wanted that has not come yet"));
        }
        Ok(())
    }

    fn note(&self, address: SocketAddr, outcome: io::Result<std::result::Result<u32, String>>) {
        let mut state = self.state();
        match outcome.unwrap_or_else(|e| Err(e.to_string())) {
            Ok(rank) => drop(state.missing.remove(&rank)),
            // Whoever it was: ranks that lost the connection come again.
            Err(why) => {
                state.strangers = state.strangers.saturating_add(1);
                state.last = format!("{address}: {why}");
            }
        }
    }
}

impl State {
    /// What rank 0 waited for in vain.
    fn text(&self, own: &Rendezvous) -> String {
        let named: Vec<String> = self.missing.iter().take(NAMED).map(u32::to_string).collect();
        let more = self.missing.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let strangers = match self.strangers {
            0 => String::new(),
            count => {
                format!(
                    "; {count} connections came that are not of a missing rank, the last from {}",
                    self.last
                )
            }
        };
        format!("waited {:?} for rank {}{more}{strangers}", own.timeout, named.join(", "))
    }
}

/// Gets the root info from rank 0, which may not be there yet.
pub(super) fn get(own: &Rendezvous, at: (&str, u16), deadline: Instant) -> Result<RootInfo> {
    loop {
        match ask(own, at, deadline) {
            Ok(Some(root)) => return Ok(root),
            Ok(None) => {
                let text =
                    "rank 0 refuses this rank; wanted: job, secret and number of ranks as rank 0 has them, and a \
                            rank that has not come yet";
                return Err(own.error(ErrorKind::InvalidArgument, text));
            }
            Err(e) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    let text = format!("waited {:?} for rank 0; the last attempt failed: {e}", own.timeout);
                    return Err(own.error(ErrorKind::Timeout, text));
                }
                std::thread::sleep(PAUSE.min(left));
            }
        }
    }
}

/// `None` when rank 0 refuses.
fn ask(own: &Rendezvous, at: (&str, u16), deadline: Instant) -> io::Result<Option<RootInfo>> {
    let stream = connect(at, deadline)?;
    let mut line = Timed { stream: &stream, deadline: deadline.min(Instant::now() + PEER_LIMIT) };
    let challenges = [wire::read_challenge(&mut line)?, wire::challenge()?];
    line.write_all(&Request::new(own, &challenges).to_bytes())?;
    let answer = wire::read_answer(own, &challenges, &mut line)?;
    if answer.is_some() {
        line.write_all(&[RECEIPT])?;
    }
    Ok(answer)
}

/// A name can stand for several addresses.
fn connect(at: (&str, u16), deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(Io::NotFound, format!("{} has no address", at.0));
    for address in at.to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now()).min(PEER_LIMIT);
        if left.is_zero() {
            return Err(Io::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => match not_to_itself(stream) {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            },
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// A system that picks the port of rank 0 for this end, while nobody listens there, connects this end with
/// itself. It is closed without the wait that follows a connection, which would keep the port from rank 0.
fn not_to_itself(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? != stream.peer_addr()? {
        return Ok(stream);
    }
    #[cfg(unix)]
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Err(io::Error::new(Io::ConnectionRefused, "nobody listens there: the connection was to itself"))
}

#[cfg(test)]
mod tests {
    use super::super::MeetingPoint;
    use super::*;

    fn own(rank: u32, port: u16) -> Rendezvous {
        let own = Rendezvous::new(rank, 2, MeetingPoint::Tcp { host: "127.0.0.1".into(), port }).unwrap();
        own.with_timeout(Duration::from_secs(20))
    }

    fn free_port() -> u16 {
        TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_rank_that_has_its_answer_makes_room_for_nobody() {
        let (port, root) = (free_port(), RootInfo::from_bytes(&[9; RootInfo::BYTES]).unwrap());
        let (first, second) = (own(0, port), own(1, port));
        let deadline = Instant::now() + first.timeout;
        let at = ("127.0.0.1", port);
        std::thread::scope(|scope| {
            let given = scope.spawn(|| give(&first, at, &root, deadline));
            let connect = || loop {
                if let Ok(stream) = connect(at, deadline) {
                    return stream;
                }
                assert!(Instant::now() < deadline, "{at:?}: no connection until the deadline");
            };
            let rank = connect();
            let challenges = [wire::read_challenge(&rank).unwrap(), wire::challenge().unwrap()];
            (&rank).write_all(&Request::new(&second, &challenges).to_bytes()).unwrap();
            assert!(wire::read_answer(&second, &challenges, &rank).unwrap().is_some());
            // Each is in when it has its challenge; they are more than there are places.
            let silent: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
            silent.iter().for_each(|stream| drop(wire::read_challenge(stream)));
            (&rank).write_all(&[RECEIPT]).unwrap();
            given.join().unwrap().unwrap();
        });
    }

    #[cfg(unix)]
    #[test]
    fn a_connection_to_itself_is_none_and_leaves_the_port() {
        use rustix::net::{bind, connect, socket, AddressFamily, SocketType};

        let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let stream = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&stream, &at).unwrap();
        connect(&stream, &at).unwrap();
        let error = not_to_itself(stream.into()).unwrap_err();
        assert!(error.to_string().contains("to itself"), "{error}");
        let listener = TcpListener::bind(at).unwrap();
        not_to_itself(TcpStream::connect(at).unwrap()).unwrap();
        drop(listener);
    }
}
