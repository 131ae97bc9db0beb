//! Finds and loads `libascendcl.so` (acl-runtime.md 1.7).

#![allow(unsafe_code, reason = "dynamic loading of a C library")]

use std::ffi::{c_void, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cann_roots::{arch_folder, cann_roots};

use crate::driver::{codes, AclTable};
use crate::{Error, ErrorKind, Result};

#[path = "../../build/cann_roots.rs"]
mod cann_roots;

/// Environment variable that names the library file and stops every other search.
const LIBRARY_VARIABLE: &str = "FASTATTENTION_ACL_LIB";

/// File names: the first works from CANN 8.0 to 9.1, the second is the implementation behind it from 8.5 on.
const FILE_NAMES: [&str; 2] = ["libascendcl.so", "libacl_rt.so"];

/// Libraries that come with the driver and not with CANN: a loader that misses one names it (acl-runtime.md 1.7).
const DRIVER_LIBRARIES: [&str; 2] = ["libascend_hal.so", "libdrvdsmi_host.so"];

/// A loaded ACL library. It is never unloaded: its threads may outlive every handle.
#[derive(Debug)]
pub struct Library {
    table: AclTable,
    origin: PathBuf,
    version: (i32, i32, i32),
}

impl Library {
    pub(crate) fn table(&self) -> &AclTable {
        &self.table
    }

    /// The path or name that was loaded.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// Version of the ACL interface (not of CANN): major, minor, patch.
    pub fn version(&self) -> (i32, i32, i32) {
        self.version
    }
}

/// A file that was tried as the ACL library and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The path or name.
    pub path: PathBuf,
    /// What the loader said, or what is wrong with the library.
    pub reason: String,
}

/// A search and its outcome.
struct Search {
    outcome: Result<Library>,
    attempts: Vec<Attempt>,
}

/// Searched once in a process.
fn search() -> &'static Search {
    static SEARCH: OnceLock<Search> = OnceLock::new();
    SEARCH.get_or_init(|| Search::among(candidates(|name| std::env::var_os(name))))
}

/// The ACL library of this process: from `FASTATTENTION_ACL_LIB`, else by name through the system's search, else from
/// the places where CANN is installed. Searched once; the outcome is kept.
///
/// # Errors
/// `LibraryNotFound`, or `DriverNotFound` where only the NPU's driver is missing, with every path tried and why it failed.
pub fn library() -> Result<&'static Library> {
    search().outcome.as_ref().map_err(Error::clone)
}

/// The files that [`library`] tried before the one it loaded, or all of them if it found none.
pub fn attempts() -> &'static [Attempt] {
    &search().attempts
}

/// Loads the ACL library from one file. The library stays loaded, so call it once for a path.
///
/// # Errors
/// `LibraryNotFound`, with the reason.
///
/// # Safety
/// Loading runs the library's initialisers, and its functions must have the signatures of the CANN headers.
pub unsafe fn load_from(path: &Path) -> Result<Library> {
    first_of(vec![path.to_path_buf()])
}

/// Places to look, in order. `variable` reads the environment.
fn candidates(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    if let Some(path) = variable(LIBRARY_VARIABLE) {
        return vec![PathBuf::from(path)];
    }
    let roots = cann_roots(variable);
    let arch = format!("{}/lib64", arch_folder());
    let mut paths: Vec<PathBuf> = Vec::new();
    for file in FILE_NAMES {
        paths.push(PathBuf::from(file));
        paths.extend(roots.iter().flat_map(|r| [r.join("lib64").join(file), r.join(&arch).join(file)]));
    }
    let mut seen = std::collections::HashSet::new();
    paths.retain(|p| seen.insert(p.clone()));
    paths
}

/// The first candidate that loads.
fn first_of(candidates: Vec<PathBuf>) -> Result<Library> {
    Search::among(candidates).outcome
}

impl Search {
    /// Stops at the first candidate that loads.
    fn among(candidates: Vec<PathBuf>) -> Self {
        let mut attempts = Vec::new();
        for path in candidates {
            match open(&path) {
                Ok(library) => return Self { outcome: Ok(library), attempts },
                Err(reason) => attempts.push(Attempt { path, reason }),
            }
        }
        let tried: String =
            attempts.iter().map(|a| format!("\n  {}: {}", a.path.display(), a.reason)).collect();
        let (kind, advice) = if attempts.iter().any(|a| DRIVER_LIBRARIES.iter().any(|l| a.reason.contains(l)))
        {
            (
                ErrorKind::DriverNotFound,
                "CANN is there, but libraries of the NPU's driver that it needs are not: install the driver, or let the \
                 container see /usr/local/Ascend/driver, with its lib64/driver and lib64/common in LD_LIBRARY_PATH"
                    .to_owned(),
            )
        } else {
            (ErrorKind::LibraryNotFound, format!("set {LIBRARY_VARIABLE} to its path, or install CANN"))
        };
        let text = format!("no ACL library could be loaded ({advice}); tried:{tried}");
        Self { outcome: Err(Error::new(kind, text)), attempts }
    }
}

fn open(path: &Path) -> Result<Library, String> {
    if path.is_absolute() && !path.exists() {
        return Err("no such file".into());
    }
    // SAFETY: the file is one that the user or the system names as the ACL library; its initialisers are the vendor's,
    // who allows loading from any thread.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| loader_text(&e))?;
    let lookup = |name: &'static str| {
        // SAFETY: the symbol is only turned into an address here; its type is given in `AclTable::from_lookup`.
        let symbol = unsafe { library.get::<*mut c_void>(name.as_bytes()) };
        // SAFETY: the address is used only while the library is loaded, see the leak below.
        symbol.ok().and_then(|s| unsafe { s.try_as_raw_ptr() })
    };
    // SAFETY: the names are those of the CANN headers and the signatures those of `driver/table.rs`; the library is
    // leaked below, so the addresses stay valid.
    let table = unsafe { AclTable::from_lookup(lookup) };
    let table = match table {
        Ok(table) => table,
        Err(missing) => {
            return Err(format!("not the ACL library of CANN 8.1 or later: it lacks {}", missing.join(", ")))
        }
    };
    std::mem::forget(library);
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: the three pointers are to live integers, and this call needs no initialisation.
    let code = unsafe { (table.aclrtGetVersion)(&raw mut major, &raw mut minor, &raw mut patch) };
    match code {
        codes::STUB_LIBRARY => {
            Err("a stub library for linking, without an implementation (code 100039)".into())
        }
        codes::SUCCESS => Ok(Library { table, origin: path.to_path_buf(), version: (major, minor, patch) }),
        code => Err(format!("aclrtGetVersion failed with code {code}")),
    }
}

/// The loader's own words: `dlopen` names the missing dependency there.
fn loader_text(error: &libloading::Error) -> String {
    match error {
        libloading::Error::DlOpen { desc } => format!("{desc:?}").trim_matches('"').to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_stops_the_search() {
        let paths = candidates(|name| (name == LIBRARY_VARIABLE).then(|| "/x/libascendcl.so".into()));
        assert_eq!(paths, [PathBuf::from("/x/libascendcl.so")]);
    }

    #[test]
    fn the_search_follows_the_documented_order() {
        let paths = candidates(|name| (name == "ASCEND_HOME_PATH").then(|| "/a".into()));
        assert_eq!(paths[0], PathBuf::from("libascendcl.so"));
        assert_eq!(paths[1], PathBuf::from("/a/lib64/libascendcl.so"));
        let second = paths.iter().position(|p| p == Path::new("libacl_rt.so")).unwrap();
        assert!(paths[..second].contains(&PathBuf::from("/opt/Ascend/cann/lib64/libascendcl.so")));
    }

    #[test]
    fn every_path_and_its_reason_is_told() {
        let error =
            first_of(vec!["/nowhere/libascendcl.so".into(), "libfastattention_none.so".into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LibraryNotFound);
        let text = error.to_string();
        assert!(text.contains("/nowhere/libascendcl.so: no such file"), "{text}");
        assert!(text.contains("libfastattention_none.so: libfastattention_none.so: cannot open"), "{text}");
    }

    fn build(source: &str, dir: &Path) -> PathBuf {
        let (c, so) = (dir.join("x.c"), dir.join("x.so"));
        std::fs::write(&c, source).unwrap();
        let status = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&so, &c])
            .status()
            .unwrap();
        assert!(status.success());
        so
    }

    #[test]
    fn a_missing_driver_is_told_apart_from_a_missing_cann() {
        let dir = tempfile::tempdir().unwrap();
        let hal = dir.path().join("libascend_hal.so");
        let cc = |args: &[&std::ffi::OsStr]| {
            let status =
                std::process::Command::new("cc").args(["-shared", "-fPIC"]).args(args).status().unwrap();
            assert!(status.success());
        };
        let c = dir.path().join("empty.c");
        std::fs::write(&c, "int nothing;").unwrap();
        cc(&["-Wl,-soname,libascend_hal.so".as_ref(), "-o".as_ref(), hal.as_ref(), c.as_ref()]);
        let acl = dir.path().join("libascendcl.so");
        cc(&["-Wl,--no-as-needed".as_ref(), "-o".as_ref(), acl.as_ref(), c.as_ref(), hal.as_ref()]);
        std::fs::remove_file(hal).unwrap();
        let error = first_of(vec![acl.clone()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DriverNotFound);
        let text = error.to_string();
        let tried = format!("{}: libascend_hal.so: cannot open", acl.display());
        assert!(text.contains("/usr/local/Ascend/driver") && text.contains(&tried), "{text}");
    }

    #[test]
    fn a_library_without_the_functions_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let so = build("int aclInit(const char *p) { return p != 0; }", dir.path());
        let text = first_of(vec![so]).unwrap_err().to_string();
        assert!(text.contains("it lacks aclFinalize, aclGetRecentErrMsg"), "{text}");
    }

    #[test]
    fn a_stub_library_is_recognised() {
        use std::fmt::Write as _;

        let mut source = String::new();
        macro_rules! names {
            (required { $($name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* } optional $rest:tt) => {
                $(writeln!(source, "int {}() {{ return 100039; }}", stringify!($name)).unwrap();)*
            };
        }
        crate::driver::acl_functions!(names);
        let dir = tempfile::tempdir().unwrap();
        let text = first_of(vec![build(&source, dir.path())]).unwrap_err().to_string();
        assert!(text.contains("100039"), "{text}");
    }
}
