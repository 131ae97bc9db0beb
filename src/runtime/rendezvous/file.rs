//! A root info in a file.
//!
//! Others may write to the folder, as to `/tmp`: only a file of the same user is read, which nobody else can
//! change.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind as Io, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{wire, Rendezvous, RootInfo};
use crate::{ErrorKind, Result};

const POLL: Duration = Duration::from_millis(10);

/// Writes the file, which is there with all its contents or not at all.
pub(super) fn give(own: &Rendezvous, path: &Path, root: &RootInfo) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = (|| {
        // Readable and writable by its owner only.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&wire::file(own, root))?;
        file.persist_noclobber(path).map_err(|e| e.error)
    })();
    match written {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == Io::AlreadyExists => Err(own.error(
            ErrorKind::InvalidArgument,
            "the file exists, perhaps from an earlier run; wanted: a path without a file",
        )),
        Err(e) => Err(own.error(ErrorKind::Io, e)),
    }
}

/// Waits for the file.
pub(super) fn get(own: &Rendezvous, path: &Path, deadline: Instant) -> Result<RootInfo> {
    loop {
        let read = open(path).and_then(|file| wire::read_file(own, io::BufReader::new(file)));
        match read {
            Ok(given) => return given.map_err(|text| own.error(ErrorKind::InvalidArgument, text)),
            Err(e) if e.kind() == Io::NotFound && Instant::now() < deadline => std::thread::sleep(POLL),
            Err(e) if e.kind() == Io::NotFound => {
                let text = format!("waited {:?} for rank 0 to write the file", own.timeout);
                return Err(own.error(ErrorKind::Timeout, text));
            }
            Err(e) => {
                return Err(
                    own.error(ErrorKind::Io, format!("what is there is not the file of a rendezvous: {e}"))
                )
            }
        }
    }
}

fn refuse(text: impl Into<String>) -> io::Result<File> {
    Err(io::Error::new(Io::InvalidData, text.into()))
}

/// Opens what nobody but this user can have written. What is checked is what was opened, not what is at the
/// path later.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    // A FIFO would wait for a writer.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
            return refuse("a symbolic link given, an ordinary file wanted")
        }
        file => file?,
    };
    let about = file.metadata()?;
    let (user, mode) = (rustix::process::geteuid().as_raw(), about.mode() & 0o777);
    if !about.is_file() {
        return refuse("a folder, FIFO or device given, an ordinary file wanted");
    }
    if about.uid() != user {
        return refuse(format!("a file of user {} given, one of user {user} wanted", about.uid()));
    }
    if mode & 0o022 != 0 {
        return refuse(format!("a file with mode {mode:o} given, one that only its owner writes wanted"));
    }
    Ok(file)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).open(path)?;
    if !file.metadata()?.is_file() {
        return refuse("a folder or device given, an ordinary file wanted");
    }
    Ok(file)
}
