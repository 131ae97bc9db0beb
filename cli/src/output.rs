//! Output files: checked before the work, and there in whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{bail, Context, Result};
use tempfile::{Builder, NamedTempFile};

/// Links that are followed before they count as a circle, as on Linux.
const MAX_LINKS: usize = 40;

/// Is stdout an output? Then what is told to the user goes to stderr.
static IS_STDOUT_TAKEN: AtomicBool = AtomicBool::new(false);

/// Is stdout an output, so that what is told to the user goes to stderr?
pub fn is_stdout_taken() -> bool {
    IS_STDOUT_TAKEN.load(Ordering::Relaxed)
}

/// A path that can be written.
#[derive(Debug)]
pub struct Output {
    /// As the user gave it.
    shown: PathBuf,
    target: Target,
}

/// What is written.
#[derive(Debug)]
enum Target {
    /// A regular file, there or not: replaced at once by a new one. No link.
    File(PathBuf),
    /// A device or a standard stream: written as it is.
    Open(File),
}

impl Output {
    /// Refuses, before hours of computing, a path that could not be written at the end, or that is the input.
    /// Leaves nothing behind.
    ///
    /// Links are followed, also those to a file that is not there yet: the file at their end is written, and
    /// the links stay.
    ///
    /// # Errors
    /// Why the path is refused.
    pub fn check(path: &Path, input: Option<&Path>) -> Result<Self> {
        let shown = path.display();
        if path.file_name().is_none() {
            bail!("output {shown} names no file");
        }
        let target = follow(path).with_context(|| format!("output {shown} cannot be written"))?;
        if input.and_then(|input| fs::canonicalize(input).ok()).is_some_and(|input| input == target) {
            bail!("output {shown} is the input file; wanted another path");
        }
        let target = target_of(path, target)?;
        Ok(Self { shown: path.to_owned(), target })
    }

    /// What a regular file holds before it is replaced; `None` for one that is not there, and for a device.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn earlier(&self) -> Result<Option<String>> {
        let Target::File(path) = &self.target else { return Ok(None) };
        match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => Ok(Some(text.with_context(|| format!("reading {}", self.shown.display()))?)),
        }
    }

    /// Can it be written again, in the place of what was written before?
    pub fn is_replaced(&self) -> bool {
        matches!(self.target, Target::File(_))
    }

    /// Writes these bytes.
    ///
    /// # Errors
    /// What went wrong; a file that was there stays as it is.
    pub fn write_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.replace(|file| Ok(file.write_all(bytes)?))
    }

    /// Writes with `fill`.
    ///
    /// # Errors
    /// As [`Output::write_bytes`], and those of `fill`.
    pub fn replace<T>(&self, fill: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
        let written = match &self.target {
            Target::File(path) => replace(path, fill),
            Target::Open(file) => file.try_clone().map_err(Into::into).and_then(|mut file| fill(&mut file)),
        };
        written.with_context(|| format!("writing output {}", self.shown.display()))
    }
}

/// A folder for several outputs.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder if it is not there; its path has no links then.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(path: &Path) -> Result<Self> {
        let folder = fs::create_dir_all(path).and_then(|()| fs::canonicalize(path));
        Ok(Self(folder.with_context(|| format!("making folder {}", path.display()))?))
    }

    /// Its path, without links.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it, checked as [`Output::check`] does.
    ///
    /// # Errors
    /// As there.
    pub fn file(&self, name: &str) -> Result<Output> {
        Output::check(&self.0.join(name), None)
    }
}

/// The path without links. The folder of what comes last exists; what comes last may be missing.
fn follow(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = fs::canonicalize(folder).with_context(|| format!("folder {}", folder.display()))?;
        let Some(name) = path.file_name() else { return Ok(fs::canonicalize(&path)?) };
        let found = folder.join(name);
        // Links to open descriptors are no paths of what they lead to.
        if descriptors().is_some_and(|descriptors| descriptors == folder) {
            return Ok(found);
        }
        match fs::read_link(&found) {
            Ok(next) => path = folder.join(next),
            // Not a link, or nothing at all.
            Err(_) => return Ok(found),
        }
    }
    bail!("more than {MAX_LINKS} links, one to the other");
}

/// The folder with the open descriptors of this process.
fn descriptors() -> Option<PathBuf> {
    fs::canonicalize("/proc/self/fd").or_else(|_| fs::canonicalize("/dev/fd")).ok()
}

fn target_of(path: &Path, target: PathBuf) -> Result<Target> {
    let shown = path.display();
    if let Some(stream) = standard_stream(&target) {
        let file = stream.with_context(|| format!("output {shown} cannot be written"))?;
        return Ok(Target::Open(file));
    }
    match fs::metadata(&target) {
        Ok(found) if found.is_file() => {
            if found.permissions().readonly() {
                bail!("output {shown} exists and is read-only");
            }
            let opened = OpenOptions::new().write(true).open(&target);
            opened.with_context(|| format!("output {shown} cannot be written"))?;
            if is_kept_by_its_folder(&target, &found)? {
                bail!(
                    "output {shown} belongs to another user and lies in a folder whose files only their \
                     owners replace; wanted another path"
                );
            }
        }
        // Other kinds are never opened: a FIFO would wait for a reader, and a block device holds a file
        // system.
        Ok(found) if is_character_device(&found) => {
            let opened = OpenOptions::new().write(true).open(&target);
            return Ok(Target::Open(opened.with_context(|| format!("output {shown} cannot be written"))?));
        }
        Ok(_) => bail!("output {shown} exists and is not a regular file"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                bail!("output {shown} names a folder, a file wanted");
            }
        }
        Err(error) => return Err(error).with_context(|| format!("output {shown} cannot be written")),
    }
    // Tries what a replacement needs.
    temporary(&target).with_context(|| format!("output {shown} cannot be written"))?;
    Ok(Target::File(target))
}

/// Stdout or stderr as it is open in this process, whatever is behind it: opened a second time it would be
/// written from the start.
#[cfg(unix)]
fn standard_stream(target: &Path) -> Option<io::Result<File>> {
    use std::os::fd::AsFd;
    if descriptors().as_deref() != target.parent() {
        return None;
    }
    let stream = match target.file_name()?.to_str()? {
        "1" => {
            IS_STDOUT_TAKEN.store(true, Ordering::Relaxed);
            io::stdout().as_fd().try_clone_to_owned()
        }
        "2" => io::stderr().as_fd().try_clone_to_owned(),
        _ => return Some(Err(io::Error::other("of the open descriptors only 1 and 2 can be outputs"))),
    };
    Some(stream.map(File::from))
}

#[cfg(not(unix))]
fn standard_stream(_target: &Path) -> Option<io::Result<File>> {
    None
}

#[cfg(unix)]
fn is_character_device(found: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_char_device()
}

#[cfg(not(unix))]
fn is_character_device(_found: &Metadata) -> bool {
    false
}

/// Is it a file of somebody else's in a folder like /tmp, where only owners may replace a file?
#[cfg(unix)]
fn is_kept_by_its_folder(target: &Path, found: &Metadata) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    const STICKY: u32 = 0o1000;
    let user = rustix::process::geteuid();
    let folder = fs::metadata(target.parent().unwrap_or(Path::new(".")))?;
    let owners = [found.uid(), folder.uid()];
    Ok(folder.mode() & STICKY != 0 && !user.is_root() && !owners.contains(&user.as_raw()))
}

#[cfg(not(unix))]
fn is_kept_by_its_folder(_target: &Path, _found: &Metadata) -> Result<bool> {
    Ok(false)
}

/// A new file beside the target, of a name that no file has: a rename replaces a file at once only within one
/// file system.
fn temporary(target: &Path) -> Result<NamedTempFile> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut builder = Builder::new();
    builder.prefix(".fastattention-").suffix(".tmp");
    // As a file is made that is opened for writing; the user's mask is taken off.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).with_context(|| format!("making a file in {}", folder.display()))
}

fn replace<T>(target: &Path, fill: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let mut temporary = temporary(target)?;
    let value = fill(temporary.as_file_mut())?;
    if let Ok(found) = fs::metadata(target) {
        keep_owner(temporary.as_file(), &found);
        temporary.as_file().set_permissions(found.permissions())?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(target)?;
    Ok(value)
}

/// Gives the file to the owner of the one that it replaces. Only root can; for others the file is theirs, as
/// any file they make.
#[cfg(unix)]
fn keep_owner(file: &File, found: &Metadata) {
    use std::os::unix::fs::{fchown, MetadataExt};
    let _ = fchown(file, Some(found.uid()), Some(found.gid()));
}

#[cfg(not(unix))]
fn keep_owner(_file: &File, _found: &Metadata) {}
