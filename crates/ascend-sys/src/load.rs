//! Finds and loads the shared libraries of a CANN installation, for [`crate::library`] and
//! [`crate::hccl::library`].

#![allow(unsafe_code, reason = "dynamic loading of a C library")]

use std::collections::HashSet;
use std::ffi::{c_void, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::table::FunctionTable;
use crate::{arch_folder, cann_roots};

/// A library of the NPU's driver, which those of CANN need: a loader that misses it names it (acl-runtime.md
/// 1.7).
const DRIVER_FILE: &str = "libascend_hal.so";

/// A file that was tried as a library of CANN and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The path or name.
    pub path: PathBuf,
    /// What the loader said, or what is wrong with the library.
    pub reason: String,
}

/// What keeps a library from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The library was not found, or is not loadable.
    LibraryNotFound,
    /// CANN is there, but libraries of the NPU's driver that it needs are not.
    DriverNotFound,
}

/// No library could be loaded: the text lists every path tried, and why it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    kind: LoadErrorKind,
    message: String,
}

impl LoadError {
    /// What is missing.
    pub fn kind(&self) -> LoadErrorKind {
        self.kind
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LoadError {}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// As errors call it.
    pub(crate) name: &'static str,
    /// Environment variable that names the file and stops every other search.
    pub(crate) variable: &'static str,
    /// File names, the best first.
    pub(crate) files: &'static [&'static str],
}

impl Wanted {
    /// Places to look, in order. `variable` reads the environment.
    pub(crate) fn candidates(&self, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
        if let Some(path) = variable(self.variable) {
            return vec![PathBuf::from(path)];
        }
        let roots = cann_roots(variable);
        let arch = format!("{}/lib64", arch_folder());
        let mut paths: Vec<PathBuf> = Vec::new();
        for file in self.files {
            paths.push(PathBuf::from(file));
            paths.extend(roots.iter().flat_map(|r| [r.join("lib64").join(file), r.join(&arch).join(file)]));
        }
        let mut seen = HashSet::new();
        paths.retain(|p| seen.insert(p.clone()));
        paths
    }
}

/// A search and its outcome.
#[derive(Debug)]
pub(crate) struct Search<L> {
    pub(crate) outcome: Result<L, LoadError>,
    /// What was tried before the one that loaded, or everything.
    pub(crate) attempts: Vec<Attempt>,
}

impl<L> Search<L> {
    /// Stops at the first candidate that `open` accepts.
    pub(crate) fn among(
        wanted: &Wanted,
        candidates: Vec<PathBuf>,
        open: impl Fn(&Path) -> Result<L, String>,
    ) -> Self {
        let mut attempts = Vec::new();
        for path in candidates {
            match open(&path) {
                Ok(library) => return Self { outcome: Ok(library), attempts },
                Err(reason) => attempts.push(Attempt { path, reason }),
            }
        }
        let tried: String =
            attempts.iter().map(|a| format!("\n  {}: {}", a.path.display(), a.reason)).collect();
        let lacks_driver = attempts.iter().any(|a| a.reason.contains(DRIVER_FILE));
        let (kind, advice) = if lacks_driver {
            let advice = "CANN is there, but libraries of the NPU's driver that it needs are not: install the driver, or \
                          let the container see /usr/local/Ascend/driver, with its lib64/driver and lib64/common in \
                          LD_LIBRARY_PATH";
            (LoadErrorKind::DriverNotFound, advice.to_owned())
        } else {
            (LoadErrorKind::LibraryNotFound, format!("set {} to its path, or install CANN", wanted.variable))
        };
        let message = format!("no {} library could be loaded ({advice}); tried:{tried}", wanted.name);
        Self { outcome: Err(LoadError { kind, message }), attempts }
    }
}

/// A library that stays loaded until the process ends: its threads may outlive every handle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded(&'static libloading::Library);

impl Loaded {
    /// Loads a file, or a name through the system's search.
    ///
    /// # Errors
    /// Why not; the loader's own words name a missing dependency.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        // A loader would take the program itself.
        if path.as_os_str().is_empty() {
            return Err("an empty path given, that of a library wanted".into());
        }
        if path.is_absolute() && !path.exists() {
            return Err("no such file".into());
        }
        // SAFETY: the file is one that the user or the system names as a library of CANN; its initialisers
        // are the vendor's, who allows loading from any thread.
        let library = unsafe { libloading::Library::new(path) }.map_err(|e| loader_text(&e))?;
        Ok(Self(Box::leak(Box::new(library))))
    }

    /// Address of a symbol of this library or of one that it depends on.
    pub(crate) fn symbol(self, name: &str) -> Option<*mut c_void> {
        // SAFETY: the symbol is only turned into an address here; its type is given by the function table.
        let symbol = unsafe { self.0.get::<*mut c_void>(name.as_bytes()) };
        // SAFETY: the library is never unloaded.
        symbol.ok().and_then(|s| unsafe { s.try_as_raw_ptr() })
    }
}

/// Fills a table from libraries, each name from the first that has it.
///
/// # Errors
/// The names of the required functions that none has.
pub(crate) fn fill<T: FunctionTable>(name: &str, libraries: &[Loaded]) -> Result<T, String> {
    // SAFETY: the names are those of the CANN headers and the signatures those of the table's list, and
    // loaded libraries stay so.
    let table = unsafe { T::from_lookup(|symbol| libraries.iter().find_map(|l| l.symbol(symbol))) };
    table.map_err(|missing| {
        format!("not the {name} library of CANN 8.1 or later: it lacks {}", missing.join(", "))
    })
}

fn loader_text(error: &libloading::Error) -> String {
    let mut text = match error {
        libloading::Error::DlOpen { desc } => format!("{desc:?}").trim_matches('"').to_owned(),
        other => other.to_string(),
    };
    if text.contains(DRIVER_FILE) {
        text += "; that is a library of the NPU driver, which is not installed or not in the search path";
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const WANTED: Wanted =
        Wanted { name: "X", variable: "X_LIB", files: &["libfastattention_x.so", "libfastattention_y.so"] };

    /// Compiles a shared library of C text.
    pub(crate) fn build(source: &str, library: &Path) {
        let text = library.with_extension("c");
        std::fs::write(&text, source).unwrap();
        let mut command = std::process::Command::new("cc");
        let status = command.args(["-shared", "-fPIC", "-o"]).args([library, &text]).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn a_variable_stops_the_search() {
        let paths = WANTED.candidates(|name| (name == "X_LIB").then(|| "/x/lib.so".into()));
        assert_eq!(paths, [PathBuf::from("/x/lib.so")]);
    }

    #[cfg(unix)]
    #[test]
    fn a_path_need_not_be_text_but_names_a_file() {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let paths =
            WANTED.candidates(|name| (name == "X_LIB").then(|| OsString::from_vec(b"/x/\xff".to_vec())));
        assert_eq!(paths[0].as_os_str().as_bytes(), b"/x/\xff");
        let refused = Loaded::open(Path::new("")).unwrap_err();
        assert_eq!(refused, "an empty path given, that of a library wanted");
    }

    #[test]
    fn the_search_follows_the_documented_order() {
        let paths = WANTED.candidates(|name| (name == "ASCEND_HOME_PATH").then(|| "/a".into()));
        assert_eq!(paths[0], PathBuf::from("libfastattention_x.so"));
        assert_eq!(paths[1], PathBuf::from("/a/lib64/libfastattention_x.so"));
        let second = paths.iter().position(|p| p == Path::new("libfastattention_y.so")).unwrap();
        assert!(paths[..second].contains(&PathBuf::from("/opt/Ascend/cann/lib64/libfastattention_x.so")));
    }

    #[test]
    fn every_path_and_its_reason_is_told() {
        let candidates = vec!["/nowhere/x.so".into(), "libfastattention_none.so".into()];
        let search = Search::among(&WANTED, candidates, |path| Loaded::open(path).map(drop));
        let error = search.outcome.unwrap_err();
        assert_eq!(error.kind(), LoadErrorKind::LibraryNotFound);
        let text = error.to_string();
        assert!(text.contains("no X library could be loaded (set X_LIB to its path"), "{text}");
        assert!(text.contains("/nowhere/x.so: no such file"), "{text}");
        assert!(text.contains("libfastattention_none.so: libfastattention_none.so: cannot open"), "{text}");
        assert_eq!(search.attempts.len(), 2);
    }

    #[test]
    fn a_missing_driver_is_told_apart_from_a_missing_cann() {
        let dir = tempfile::tempdir().unwrap();
        let (hal, x) = (dir.path().join("libascend_hal.so"), dir.path().join("x.so"));
        let text = dir.path().join("empty.c");
        std::fs::write(&text, "int nothing;").unwrap();
        let compile = |flag: &str, files: &[&PathBuf]| {
            let mut command = std::process::Command::new("cc");
            let status =
                command.args(["-shared", "-fPIC", flag, "-o"]).args(files).arg(&text).status().unwrap();
            assert!(status.success());
        };
        compile("-Wl,-soname,libascend_hal.so", &[&hal]);
        compile("-Wl,--no-as-needed", &[&x, &hal]);
        std::fs::remove_file(&hal).unwrap();
        let search = Search::among(&WANTED, vec![x.clone()], |path| Loaded::open(path).map(drop));
        let error = search.outcome.unwrap_err();
        assert_eq!(error.kind(), LoadErrorKind::DriverNotFound);
        let tried = format!("{}: libascend_hal.so: cannot open", x.display());
        let text = error.to_string();
        assert!(text.contains("/usr/local/Ascend/driver") && text.contains(&tried), "{text}");
    }
}
