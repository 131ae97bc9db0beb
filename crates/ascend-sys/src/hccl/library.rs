//! The HCCL library of this process (acl-runtime.md 1.7, 4.3).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::HcclTable;
use crate::load::{fill, Loaded, Search, Wanted};
use crate::{library as acl, Attempt, LoadError};

const FILE: &str = "libhccl.so";

/// Holds the communicator functions from CANN 9 on.
const COMMUNICATOR_FILE: &str = "libhcomm.so";

const WANTED: Wanted = Wanted { name: "HCCL", variable: "FASTATTENTION_HCCL_LIB", files: &[FILE] };

/// A loaded HCCL library. It is never unloaded.
#[derive(Debug)]
pub struct Library {
    table: HcclTable,
    origin: PathBuf,
}

impl Library {
    /// The functions.
    pub fn table(&self) -> &HcclTable {
        &self.table
    }

    /// The path or name that was loaded.
    pub fn origin(&self) -> &Path {
        &self.origin
    }
}

/// Searched once in a process.
fn search() -> &'static Search<Library> {
    static SEARCH: OnceLock<Search<Library>> = OnceLock::new();
    SEARCH.get_or_init(|| {
        let mut candidates = WANTED.candidates(|name| std::env::var_os(name));
        if std::env::var_os(WANTED.variable).is_none() {
            prefer_beside(acl::library().ok().map(acl::Library::origin), &mut candidates);
        }
        Search::among(&WANTED, candidates, open)
    })
}

/// Both libraries must be of one installation, so the folder of the ACL library comes first.
fn prefer_beside(acl: Option<&Path>, candidates: &mut Vec<PathBuf>) {
    let Some(folder) = acl.and_then(Path::parent).filter(|p| !p.as_os_str().is_empty()) else { return };
    let beside = folder.join(FILE);
    candidates.retain(|path| *path != beside);
    candidates.insert(0, beside);
}

/// The HCCL library of this process: from `FASTATTENTION_HCCL_LIB`, else beside the ACL library
/// ([`crate::library::library`]), else by name through the system's search, else from the places where CANN
/// is installed. Searched once; the outcome is kept.
///
/// # Errors
/// `LibraryNotFound`, with every path tried and why it failed.
pub fn library() -> Result<&'static Library, &'static LoadError> {
    search().outcome.as_ref()
}

/// The files that [`library`] tried before the one it loaded, or all of them if it found none.
pub fn attempts() -> &'static [Attempt] {
    &search().attempts
}

/// Loads the HCCL library from one file. The library stays loaded, so call it once for a path.
///
/// # Errors
/// `LibraryNotFound`, with the reason.
///
/// # Safety
/// Loading runs the library's initialisers, and its functions must have the signatures of the CANN headers.
#[allow(unsafe_code, reason = "its caller vouches for the file")]
pub unsafe fn load_from(path: &Path) -> Result<Library, LoadError> {
    Search::among(&WANTED, vec![path.to_path_buf()], open).outcome
}

fn open(path: &Path) -> Result<Library, String> {
    let mut libraries = vec![Loaded::open(path)?];
    // Beside it where the path has a folder, else through the system's search. Absent before CANN 9.
    if let Ok(communicators) = Loaded::open(&path.with_file_name(COMMUNICATOR_FILE)) {
        libraries.push(communicators);
    }
    let table = fill(WANTED.name, &libraries)?;
    Ok(Library { table, origin: path.to_path_buf() })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::load::tests::build;

    /// Functions that return their position in the list plus one, for the names that `wanted` takes.
    fn numbered(wanted: impl Fn(&str) -> bool) -> String {
        let mut source = String::new();
        let mut number = 0;
        macro_rules! define {
            (required { $($name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* } optional $rest:tt) => {
                $(
                    number += 1;
                    if wanted(stringify!($name)) {
                        writeln!(source, "int {}() {{ return {number}; }}", stringify!($name)).unwrap();
                    }
                )*
            };
        }
        crate::hccl_functions!(define);
        source
    }

    #[test]
    #[allow(unsafe_code, reason = "calls the functions of the library it built")]
    fn functions_are_found_in_both_libraries() {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join(FILE);
        build(&numbered(|name| !name.contains("Comm")), &library);
        let missing = open(&library).unwrap_err();
        assert!(
            missing.contains("it lacks HcclCommInitRootInfo, HcclCommInitAll, HcclCommDestroy, "),
            "{missing}"
        );
        assert!(!missing.contains("HcclAllReduce"), "{missing}");

        build(&numbered(|name| name.contains("Comm")), &dir.path().join(COMMUNICATOR_FILE));
        let table = *open(&library).unwrap().table();
        assert!(table.HcclCommInitRootInfoConfig.is_none());
        // SAFETY: the C functions above take any arguments.
        let first = unsafe { (table.HcclGetRootInfo)(std::ptr::null_mut()) };
        // SAFETY: as above.
        let fourth = unsafe { (table.HcclCommDestroy)(std::ptr::null_mut()) };
        assert_eq!((first, fourth), (1, 4));
    }

    #[test]
    fn the_folder_of_the_acl_library_comes_first() {
        let found =
            || vec![PathBuf::from(FILE), PathBuf::from("/a/lib64/libhccl.so"), "/b/libhccl.so".into()];
        let mut candidates = found();
        prefer_beside(Some(Path::new("/b/libascendcl.so")), &mut candidates);
        assert_eq!(
            candidates,
            [Path::new("/b/libhccl.so"), Path::new(FILE), Path::new("/a/lib64/libhccl.so")]
        );
        let mut candidates = found();
        prefer_beside(Some(Path::new("libascendcl.so")), &mut candidates);
        assert_eq!(candidates, found());
    }
}
