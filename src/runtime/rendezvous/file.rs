//! A root info in a file.

use std::fs::File;
use std::io::{self, ErrorKind as Io, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::wire::{read_root, Request};
use super::{Rendezvous, RootInfo};
use crate::{ErrorKind, Result};

const POLL: Duration = Duration::from_millis(10);

/// Writes the file, which is there with all its contents or not at all.
pub(super) fn give(own: &Rendezvous, path: &Path, root: &RootInfo) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = (|| {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&Request::of(own).to_bytes())?;
        file.write_all(&root.to_bytes())?;
        file.persist_noclobber(path).map_err(|e| e.error)
    })();
    match written {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == Io::AlreadyExists => Err(own
            .error(ErrorKind::InvalidArgument, "the file exists, perhaps from an earlier run; none wanted")),
        Err(e) => Err(own.error(ErrorKind::Io, e)),
    }
}

/// Waits for the file.
pub(super) fn get(own: &Rendezvous, path: &Path, deadline: Instant) -> Result<RootInfo> {
    loop {
        match File::open(path).and_then(read) {
            Ok((given, root)) => {
                return match given.difference(&Request::of(own)) {
                    Some(text) => Err(own.error(ErrorKind::InvalidArgument, text)),
                    None => Ok(root),
                }
            }
            Err(e) if e.kind() == Io::NotFound && Instant::now() < deadline => std::thread::sleep(POLL),
            Err(e) if e.kind() == Io::NotFound => {
                let text = format!("waited {:?} for rank 0 to write the file", own.timeout);
                return Err(own.error(ErrorKind::Timeout, text));
            }
            Err(e) => return Err(own.error(ErrorKind::Io, format!("not the file of a rendezvous: {e}"))),
        }
    }
}

fn read(file: File) -> io::Result<(Request, RootInfo)> {
    let mut file = io::BufReader::new(file);
    Ok((Request::read(&mut file)?, read_root(&mut file)?))
}
