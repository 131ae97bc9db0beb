//! The endpoint of this process: a socket in a private folder, and the thread that lets peers in.
//!
//! There is one, however many root infos wait for ranks, and none when no root info does.

use std::fs::{self, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use ascend_sys::lobby::Lobby;
use rustix::net::{shutdown, Shutdown};
use rustix::process::geteuid;
use tempfile::TempDir;

use super::line::{dial, Line};
use super::{owner, session, system};
use crate::acl::border::catch;
use crate::acl::wait::ring;

const PREFIX: &str = "fastattention-hccl-";
const SOCKET: &str = "endpoint";
/// Random characters behind the prefix: the name of an endpoint.
const NAME_BYTES: usize = 12;

/// Folders that nobody listens in are removed when they are older than this; younger ones may be in the
/// making.
const STALE: Duration = Duration::from_secs(60);

/// A share in the endpoint. With the last one it is closed, and its folder is gone.
#[derive(Debug)]
pub(crate) struct Endpoint {
    name: String,
}

/// What is open.
struct Open {
    folder: TempDir,
    name: String,
    listener: Arc<UnixListener>,
    is_closed: Arc<AtomicBool>,
    shares: usize,
}

fn open() -> MutexGuard<'static, Option<Open>> {
    static OPEN: Mutex<Option<Open>> = Mutex::new(None);
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    /// Opens the endpoint unless it is open.
    pub(crate) fn open() -> Result<Endpoint> {
        let mut open = open();
        let open = match &mut *open {
            Some(open) => open,
            none => none.insert(Open::new()?),
        };
        open.shares += 1;
        Ok(Endpoint { name: open.name.clone() })
    }

    /// By which other processes find it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let mut open = open();
        if let Some(own) = open.as_mut().filter(|own| own.name == self.name) {
            own.shares -= 1;
            if own.shares == 0 {
                // Under the lock: whoever returns from here finds no folder.
                *open = None;
            }
        }
    }
}

impl Open {
    fn new() -> Result<Open> {
        let base = base();
        remove_stale(&base);
        let only_own = Permissions::from_mode(0o700);
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).rand_bytes(NAME_BYTES).permissions(only_own);
        let folder = builder.tempdir_in(base)?;
        let name = folder.path().file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX));
        let name = name.unwrap_or_else(|| unreachable!("made of the prefix and ASCII")).to_owned();
        let path = folder.path().join(SOCKET);
        let listener = UnixListener::bind(&path)
            .map_err(|e| Error::new(e.kind(), format!("a socket at {}: {e}", path.display())))?;
        let (listener, is_closed) = (Arc::new(listener), Arc::new(AtomicBool::new(false)));
        let own = (Arc::clone(&listener), Arc::clone(&is_closed));
        let thread = std::thread::Builder::new().name("sim-hccl-endpoint".into());
        thread.spawn(move || accept(&own.0, &own.1))?;
        look_after_exit();
        Ok(Open { folder, name, listener, is_closed, shares: 0 })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Release);
        // Wakes the thread that waits for peers, and refuses those that are not in yet. There is nothing else
        // to do where it fails.
        let _ = shutdown(&self.listener, Shutdown::Both);
        let _ = fs::remove_dir_all(self.folder.path());
    }
}

/// Connects to the endpoint of another process of this user, waiting at most so long for room in its queue.
/// The name comes from outside, and is no path.
pub(super) fn connect(name: &str, timeout: Duration) -> Result<UnixStream> {
    let folder = base().join(format!("{PREFIX}{name}"));
    check_folder(&folder)?;
    dial(&folder.join(SOCKET), timeout)
}

/// Memory is a better place than a disk, and the path is short, as those of sockets have to be.
fn base() -> PathBuf {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() {
        return shared_memory.to_owned();
    }
    std::env::temp_dir()
}

/// Refuses a folder that another user has made or can write to. Everybody can make some beside those of this
/// user.
fn check_folder(folder: &Path) -> Result<()> {
    let (about, user) = (fs::symlink_metadata(folder)?, geteuid().as_raw());
    let refuse = |text| Err(Error::new(ErrorKind::PermissionDenied, text));
    if !about.is_dir() {
        return refuse("no folder given, a folder wanted".into());
    }
    if about.uid() != user {
        return refuse(format!("a folder of user {} given, one of user {user} wanted", about.uid()));
    }
    if about.mode() & 0o077 != 0 {
        return refuse(format!("a folder with mode {:o} given, 700 wanted", about.mode() & 0o777));
    }
    Ok(())
}

fn accept(listener: &UnixListener, is_closed: &AtomicBool) {
    let lobby = Arc::new(Lobby::new());
    loop {
        let peer = listener.accept();
        if is_closed.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, _)) = peer else {
            // The host has no descriptor or memory left: it may have some later.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        // A process of another user, or one that has ended.
        let Ok(line) = Line::new(stream) else { continue };
        let line = Arc::new(line);
        lobby.enter(&line);
        let own = (Arc::clone(&line), Arc::clone(&lobby));
        let thread = std::thread::Builder::new().name("sim-hccl-peer".into()).spawn(move || {
            owner::serve(&own.0, &own.1);
            ring();
        });
        if thread.is_err() {
            // The peer finds its connection closed.
            lobby.leave(&line);
        }
    }
}

/// Removes what killed processes of this user left.
fn remove_stale(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for folder in entries.flatten() {
        let is_ours = folder.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !is_ours || check_folder(&folder.path()).is_err() {
            continue;
        }
        let age = folder.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age >= STALE) && is_left(&folder.path().join(SOCKET)) {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

/// Does nobody listen to a socket? One whose queue is full has somebody, or had: nobody waits for it to find
/// out.
fn is_left(socket: &Path) -> bool {
    let probe = dial(socket, Duration::ZERO).and_then(Line::new);
    // The last is a process that has ended, while a forked child of it keeps the socket open.
    let of_nobody = [ErrorKind::ConnectionRefused, ErrorKind::NotFound, ErrorKind::UnexpectedEof];
    probe.is_err_and(|e| of_nobody.contains(&e.kind()))
}

/// Whose exit [`at_process_exit`] is for: a fork has its parent's memory.
static PROCESS: AtomicU32 = AtomicU32::new(0);

fn look_after_exit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        PROCESS.store(std::process::id(), Ordering::Release);
        system::at_exit(at_process_exit);
    });
}

/// The process exits: peers that still need it get the time for that, and an endpoint that nobody used is
/// removed.
extern "C" fn at_process_exit() {
    if PROCESS.load(Ordering::Acquire) != std::process::id() {
        return;
    }
    // A panic must not unwind into C.
    let _ = catch(|| {
        owner::linger();
        session::linger();
        *open() = None;
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use rustix::net::{bind, listen, socket_with, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

    use super::*;

    fn folder(base: &Path, name: &str) -> PathBuf {
        let path = base.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn age(path: &Path) {
        fs::File::open(path).unwrap().set_modified(SystemTime::now() - 2 * STALE).unwrap();
    }

    #[test]
    fn folders_that_nobody_listens_in_are_removed_when_old() {
        let base = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = folder(base.path(), name);
            let listener = UnixListener::bind(path.join(SOCKET)).unwrap();
            (path, listener)
        };
        let (left, listener) = folder("fastattention-hccl-left");
        drop(listener);
        let (fresh, listener) = folder("fastattention-hccl-fresh");
        drop(listener);
        let (used, _listener) = folder("fastattention-hccl-used");
        let (other, listener) = folder("other");
        drop(listener);
        let (shared, listener) = folder("fastattention-hccl-shared");
        drop(listener);
        fs::set_permissions(&shared, Permissions::from_mode(0o770)).unwrap();
        let empty = self::folder(base.path(), "fastattention-hccl-empty");
        [&left, &used, &other, &shared, &empty].into_iter().for_each(|path| age(path));
        remove_stale(base.path());
        assert!(!left.exists() && !empty.exists());
        assert!(fresh.exists() && used.exists() && other.exists());
        assert!(shared.exists(), "others of a group can write to it: not made here");
    }

    #[test]
    fn a_full_queue_holds_nobody_up() {
        let base = tempfile::tempdir().unwrap();
        let path = folder(base.path(), "fastattention-hccl-full");
        let socket = path.join(SOCKET);
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
        // The longest queue that the system allows takes more descriptors than a process may have.
        listen(&listener, 1).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = dial(&socket, Duration::ZERO) {
            waiting.push(stream);
        }
        age(&path);
        let start = Instant::now();
        remove_stale(base.path());
        assert!(path.exists(), "somebody listens there");
        assert_eq!(dial(&socket, Duration::ZERO).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() < Duration::from_secs(30), "waited for room in the queue");
    }

    #[test]
    fn the_endpoint_is_there_for_as_long_as_somebody_has_a_share() {
        // Of all that runs beside this test, one other share at most makes it longer: nothing is said of when
        // it goes.
        let (one, other) = (Endpoint::open().unwrap(), Endpoint::open().unwrap());
        assert_eq!(one.name(), other.name());
        drop(one);
        connect(other.name(), Duration::from_secs(30)).unwrap();
        let name = other.name().to_owned();
        assert!(name.len() == NAME_BYTES && name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
        drop(other);
    }
}
