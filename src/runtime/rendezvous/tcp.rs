//! A root info over TCP.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind as Io, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::wire::{self, Request, RECEIPT};
use super::{environment, Rendezvous, RootInfo};
use crate::{Error, ErrorKind, Result};

const POLL: Duration = Duration::from_millis(5);
/// Between attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// A peer that takes longer to say what it has to say is none; a rank tries again.
const PEER_LIMIT: Duration = Duration::from_secs(1);
/// So many missing ranks are named.
const NAMED: usize = 16;

/// What came of one connection to rank 0.
enum Peer {
    /// This rank has the root info.
    Served(u32),
    /// A rank of another job, or something that is no rank.
    Stranger,
    /// A rank that contradicts what this job knows: why.
    Wrong(String),
}

/// Gives the root info to all other ranks.
pub(super) fn give(own: &Rendezvous, at: (&str, u16), root: &RootInfo, deadline: Instant) -> Result<()> {
    if own.ranks == 1 {
        return Ok(());
    }
    let listener = TcpListener::bind(at).map_err(|e| cannot_listen(own, &e))?;
    listener.set_nonblocking(true).map_err(|e| own.error(ErrorKind::Io, e))?;
    let mut missing: BTreeSet<u32> = (1..own.ranks).collect();
    let mut strangers = 0;
    while !missing.is_empty() {
        match listener.accept() {
            Ok((stream, address)) => match serve(own, &stream, root, &missing) {
                Ok(Peer::Served(rank)) => drop(missing.remove(&rank)),
                // Whoever it was: ranks that lost the connection come again.
                Ok(Peer::Stranger) | Err(_) => strangers += 1,
                Ok(Peer::Wrong(text)) => {
                    let text = format!("a rank at {address}: {text}");
                    return Err(own.error(ErrorKind::InvalidArgument, text));
                }
            },
            Err(_) if Instant::now() < deadline => std::thread::sleep(POLL),
            Err(_) => return Err(own.error(ErrorKind::Timeout, missing_text(own, &missing, strangers))),
        }
    }
    Ok(())
}

fn cannot_listen(own: &Rendezvous, e: &io::Error) -> Error {
    match e.kind() {
        Io::AddrInUse => own.error(
            ErrorKind::InvalidArgument,
            format!("the port is in use, a free one wanted; {} chooses it", environment::PORT),
        ),
        Io::AddrNotAvailable => {
            own.error(ErrorKind::InvalidArgument, "not an address of this machine, where rank 0 is")
        }
        _ => own.error(ErrorKind::Io, e),
    }
}

fn missing_text(own: &Rendezvous, missing: &BTreeSet<u32>, strangers: u32) -> String {
    let named: Vec<String> = missing.iter().take(NAMED).map(u32::to_string).collect();
    let more = missing.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let strangers =
        if strangers > 0 { format!("; {strangers} connections were not of this job") } else { String::new() };
    format!("waited {:?} for rank {}{more}{strangers}", own.timeout, named.join(", "))
}

fn serve(own: &Rendezvous, stream: &TcpStream, root: &RootInfo, missing: &BTreeSet<u32>) -> io::Result<Peer> {
    // Some systems pass it on from the listener.
    stream.set_nonblocking(false)?;
    limit(stream)?;
    let request = Request::read(stream)?;
    let wanted = Request::of(own);
    let mut stream = stream;
    if let Some(text) = request.difference(&wanted) {
        stream.write_all(&wire::no(&text))?;
        let is_of_job = request.job == wanted.job;
        return Ok(if is_of_job {
            Peer::Wrong(format!("rank {}: {text}", request.rank))
        } else {
            Peer::Stranger
        });
    }
    if !missing.contains(&request.rank) {
        let text =
            format!("rank {} given, which is there already or none of 1 to {}", request.rank, own.ranks - 1);
        stream.write_all(&wire::no(&text))?;
        return Ok(Peer::Wrong(text));
    }
    stream.write_all(&wire::yes(root))?;
    let mut receipt = [0];
    stream.read_exact(&mut receipt)?;
    Ok(if receipt == [RECEIPT] { Peer::Served(request.rank) } else { Peer::Stranger })
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PEER_LIMIT))?;
    stream.set_write_timeout(Some(PEER_LIMIT))
}

/// Gets the root info from rank 0, which may not be there yet.
pub(super) fn get(own: &Rendezvous, at: (&str, u16), deadline: Instant) -> Result<RootInfo> {
    loop {
        match ask(own, at) {
            Ok(Ok(root)) => return Ok(root),
            Ok(Err(text)) => {
                return Err(own.error(ErrorKind::InvalidArgument, format!("rank 0 refuses: {text}")))
            }
            Err(_) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(e) => {
                let text = format!("waited {:?} for rank 0; last: {e}", own.timeout);
                return Err(own.error(ErrorKind::Timeout, text));
            }
        }
    }
}

fn ask(own: &Rendezvous, at: (&str, u16)) -> io::Result<std::result::Result<RootInfo, String>> {
    let mut stream = connect(at)?;
    limit(&stream)?;
    stream.write_all(&Request::of(own).to_bytes())?;
    let answer = wire::read_answer(&stream)?;
    if answer.is_ok() {
        stream.write_all(&[RECEIPT])?;
    }
    Ok(answer)
}

/// A name can stand for several addresses.
fn connect(at: (&str, u16)) -> io::Result<TcpStream> {
    let mut last = io::Error::new(Io::NotFound, format!("{} has no address", at.0));
    for address in at.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PEER_LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}
