//! The endpoint of a meeting place: a socket in a private folder, and the thread that lets peers in.

use std::fs::{self, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::Duration;

use tempfile::TempDir;

use super::super::bootstrap::Place;
use super::protocol::PATIENCE;
use super::{owner, session, system};
use crate::sim::acl::border::catch;
use crate::sim::acl::stream::{ring, wait_until};

const PREFIX: &str = "fastattention-hccl-";
const SOCKET: &str = "endpoint";

/// Folders that nobody listens in are removed when they are older than this; younger ones may be in the making.
const STALE: Duration = Duration::from_secs(60);

/// Where other processes come in. Only processes of the same user reach it, and only those are let in that know the
/// nonce of the root info.
pub(in super::super) struct Endpoint {
    path: PathBuf,
    is_closed: Arc<AtomicBool>,
}

/// What peers find behind the endpoint.
#[derive(Clone)]
pub(super) struct Meeting {
    pub(super) nonce: u64,
    pub(super) place: Weak<Place>,
    /// Removed with the last that needs it: whoever has not told a peer how the meeting ended keeps it.
    pub(super) folder: Arc<TempDir>,
}

impl Endpoint {
    pub(in super::super) fn open(nonce: u64, place: Weak<Place>) -> Result<Endpoint> {
        let base = base();
        remove_stale(&base);
        let only_own = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(only_own).tempdir_in(base)?;
        let path = folder.path().join(SOCKET);
        if path.to_str().is_none() {
            let text = format!("the folder {} is not UTF-8", path.display());
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        let listener = UnixListener::bind(&path)
            .map_err(|e| Error::new(e.kind(), format!("a socket at {}: {e}", path.display())))?;
        let meeting = Meeting { nonce, place, folder: Arc::new(folder) };
        let is_closed = Arc::new(AtomicBool::new(false));
        remember(&meeting.folder, &is_closed);
        let closed = Arc::clone(&is_closed);
        let thread = std::thread::Builder::new().name("sim-hccl-endpoint".into());
        thread.spawn(move || {
            accept(&listener, &closed, &meeting);
            drop(meeting);
            ring();
        })?;
        Ok(Endpoint { path, is_closed })
    }

    pub(in super::super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets nobody in any more.
    pub(in super::super) fn close(&self) {
        if !self.is_closed.swap(true, Ordering::AcqRel) {
            // Wakes the thread that waits for peers. Where that fails it has peers, or has gone.
            let _ = UnixStream::connect(&self.path);
        }
    }
}

/// Memory is a better place than a disk, and the path is short, as those of sockets have to be.
fn base() -> PathBuf {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() {
        return shared_memory.to_owned();
    }
    std::env::temp_dir()
}

fn accept(listener: &UnixListener, is_closed: &AtomicBool, meeting: &Meeting) {
    for peer in listener.incoming() {
        if is_closed.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = peer else {
            // The host has no descriptor or memory left: it may have some later.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let meeting = meeting.clone();
        let thread = std::thread::Builder::new().name("sim-hccl-peer".into());
        // Without a thread for it the peer finds its connection closed.
        let _ = thread.spawn(move || {
            owner::serve(&stream, meeting);
            ring();
        });
    }
}

/// Removes what killed processes left. A socket that nobody listens to refuses connections.
fn remove_stale(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for folder in entries.flatten() {
        let is_ours = folder.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let age = folder.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
        if !is_ours || age.is_none_or(|age| age < STALE) {
            continue;
        }
        let probe = UnixStream::connect(folder.path().join(SOCKET));
        let is_left = |e: Error| matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound);
        if probe.is_err_and(is_left) {
            // That of another user stays: it is not ours to remove.
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

/// Folders of this process, and whether their endpoints are closed.
static FOLDERS: Mutex<Vec<(Weak<TempDir>, Arc<AtomicBool>)>> = Mutex::new(Vec::new());

/// Whose exit [`at_process_exit`] is for: a fork has its parent's memory.
static PROCESS: AtomicU32 = AtomicU32::new(0);

fn remember(folder: &Arc<TempDir>, is_closed: &Arc<AtomicBool>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        PROCESS.store(std::process::id(), Ordering::Release);
        system::at_exit(at_process_exit);
    });
    let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    folders.retain(|(folder, _)| folder.strong_count() > 0);
    folders.push((Arc::downgrade(folder), Arc::clone(is_closed)));
}

/// The process exits: peers that still need it get the time for that, and endpoints that nobody used are removed.
extern "C" fn at_process_exit() {
    if PROCESS.load(Ordering::Acquire) != std::process::id() {
        return;
    }
    // A panic must not unwind into C.
    let _ = catch(|| {
        let folders = std::mem::take(&mut *FOLDERS.lock().unwrap_or_else(PoisonError::into_inner));
        for (folder, is_closed) in &folders {
            // The ranks have met, or failed to, which peers may not have heard yet: those who tell them have the folder.
            if is_closed.load(Ordering::Acquire) {
                wait_until(Some(PATIENCE), || folder.strong_count() == 0);
            }
        }
        session::linger();
        for folder in folders.iter().filter_map(|(folder, _)| folder.upgrade()) {
            let _ = fs::remove_dir_all(folder.path());
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn folders_that_nobody_listens_in_are_removed_when_old() {
        let base = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = base.path().join(name);
            fs::create_dir(&path).unwrap();
            let listener = UnixListener::bind(path.join(SOCKET)).unwrap();
            (path, listener)
        };
        let age = |path: &Path| {
            let long_ago = SystemTime::now() - 2 * STALE;
            fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
        };
        let (left, listener) = folder("fastattention-hccl-left");
        drop(listener);
        let (fresh, listener) = folder("fastattention-hccl-fresh");
        drop(listener);
        let (used, _listener) = folder("fastattention-hccl-used");
        let (other, listener) = folder("other");
        drop(listener);
        let empty = base.path().join("fastattention-hccl-empty");
        fs::create_dir(&empty).unwrap();
        [&left, &used, &other, &empty].into_iter().for_each(|path| age(path));
        remove_stale(base.path());
        assert!(!left.exists() && !empty.exists());
        assert!(fresh.exists() && used.exists() && other.exists());
    }
}
