//! A connection between two processes of one user: words, a descriptor beside a word, and the end of the
//! other process.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ascend_sys::lobby::Connection;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    connect, recvmsg, sendmsg, socket_with, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage,
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::process::{geteuid, pidfd_open, Pid, PidfdFlags};
use serde::de::DeserializeOwned;
use serde::Serialize;

use super::protocol::{read_message, to_bytes, MAX_MESSAGE_BYTES, PATIENCE};
use super::system::credentials;

/// The end of a connection. One thread reads, several write.
#[derive(Debug)]
pub(super) struct Line {
    stream: UnixStream,
    /// Readable once the process at the other end has ended. The connection alone does not tell: a forked
    /// child of that process has it open, too. `None` where the system cannot watch the process.
    process: Option<OwnedFd>,
    /// Held by the thread that writes.
    writing: Mutex<()>,
}

/// Connects to the socket at `path`, waiting at most so long for room in its queue.
pub(super) fn dial(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // None at all is no limit to the system, and what it cannot count it refuses.
    let timeout = timeout.clamp(Duration::from_millis(1), Duration::from_secs(1 << 24));
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// Something by which the end of the process at the other end is seen.
///
/// # Errors
/// `PermissionDenied` for a process of another user, `UnexpectedEof` when the process has ended.
fn watch(stream: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let (other, own) = (credentials(stream)?, geteuid().as_raw());
    if other.uid != own {
        let text = format!("a process of user {} given, one of user {own} wanted", other.uid);
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    // 0 is a process that this one cannot see, of another container.
    let Some(process) = Pid::from_raw(other.pid) else { return Ok(None) };
    match pidfd_open(process, PidfdFlags::empty()) {
        Ok(watch) => Ok(Some(watch)),
        Err(Errno::SRCH) => Err(ErrorKind::UnexpectedEof.into()),
        // Linux before 5.3, or a filter of system calls.
        Err(_) => Ok(None),
    }
}

impl Line {
    /// # Errors
    /// As [`watch`]. Nothing has been said or heard then.
    pub(super) fn new(stream: UnixStream) -> io::Result<Line> {
        let process = watch(&stream)?;
        Ok(Line { stream, process, writing: Mutex::new(()) })
    }

    /// Waits for one word; `None` for as long as the other process lives.
    pub(super) fn hear<T: DeserializeOwned>(&self, deadline: Option<Instant>) -> io::Result<T> {
        self.hear_at_most(MAX_MESSAGE_BYTES, deadline)
    }

    /// As [`Self::hear`], from somebody who has not said anything yet.
    pub(super) fn hear_at_most<T: DeserializeOwned>(
        &self,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> io::Result<T> {
        read_message(Ear { line: self, deadline, descriptor: None }, bytes)
    }

    /// As [`Self::hear`], with the descriptor that came with the word.
    pub(super) fn hear_with_descriptor<T: DeserializeOwned>(
        &self,
        deadline: Option<Instant>,
    ) -> io::Result<(T, Option<OwnedFd>)> {
        let mut ear = Ear { line: self, deadline, descriptor: None };
        let word = read_message(&mut ear, MAX_MESSAGE_BYTES)?;
        Ok((word, ear.descriptor))
    }

    /// Says something. Where that fails the connection ends, which this end's reader sees.
    pub(super) fn say(&self, word: &impl Serialize) {
        self.say_with(word, None);
    }

    /// As [`Self::say`], with a descriptor.
    pub(super) fn say_with(&self, word: &impl Serialize, descriptor: Option<BorrowedFd<'_>>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if to_bytes(word).and_then(|bytes| self.send(&bytes, descriptor)).is_err() {
            self.hang_up();
        }
    }

    fn send(&self, mut bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut descriptor: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT, Some(deadline))?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptor.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&descriptor));
            }
            // A program in C does not ignore SIGPIPE.
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, flags) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    descriptor.clear();
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Has the process at the other end ended? No where the system cannot tell.
    pub(super) fn has_ended(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut watched: Vec<_> =
            self.process.iter().map(|process| PollFd::new(process, PollFlags::IN)).collect();
        poll(&mut watched, Some(&now)).is_ok_and(|ended| ended > 0)
    }

    /// Waits until something can be read or written.
    ///
    /// # Errors
    /// `TimedOut`; `UnexpectedEof` when the other process has ended and has left nothing to read.
    fn wait(&self, what: PollFlags, deadline: Option<Instant>) -> io::Result<()> {
        loop {
            let mut all = vec![PollFd::new(&self.stream, what)];
            all.extend(self.process.as_ref().map(|process| PollFd::new(process, PollFlags::IN)));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let limit = left.map(|left| Timespec::try_from(left).map_err(io::Error::other)).transpose()?;
            match poll(&mut all, limit.as_ref()) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Err(ErrorKind::TimedOut.into()),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) if !all[0].revents().is_empty() => return Ok(()),
                Ok(_) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Connection for Line {
    fn hang_up(&self) {
        // Fails where the other side was first.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Reads from a line, until one deadline.
struct Ear<'a> {
    line: &'a Line,
    deadline: Option<Instant>,
    /// The last that came.
    descriptor: Option<OwnedFd>,
}

impl Read for Ear<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.line.wait(PollFlags::IN, self.deadline)?;
        // Of several descriptors the system closes those that there is no room for.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(bytes)];
        let heard = recvmsg(self.line.stream.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptor = descriptors.last();
            }
        }
        Ok(heard.bytes)
    }
}
