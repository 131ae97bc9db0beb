//! The ACL library of this process (acl-runtime.md 1.7).

#![allow(unsafe_code, reason = "asks a loaded library for its version")]

use std::ffi::{c_char, c_void, CStr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::load::{fill, Loaded, Search, Wanted};
use crate::{codes, AclError, AclTable, Attempt, LoadError};

/// The first file works from CANN 8.0 to 9.1, the second is the implementation behind it from 8.5 on.
const WANTED: Wanted =
    Wanted { name: "ACL", variable: "FASTATTENTION_ACL_LIB", files: &["libascendcl.so", "libacl_rt.so"] };

/// A loaded ACL library. It is never unloaded.
#[derive(Debug)]
pub struct Library {
    table: AclTable,
    origin: PathBuf,
    version: (i32, i32, i32),
    is_simulated: bool,
    /// `aclsysGetVersionStr`, which newer CANNs have.
    version_of: Option<VersionOf>,
}

/// Exported by this crate's drop-in library (`dropin/`), and by no driver.
const SIMULATOR_MARK: &str = "fastattention_sim_abi_version";

/// Writes the version of a package, as text of at most [`MAX_VERSION`] bytes with its NUL.
type VersionOf = unsafe extern "C" fn(package: *mut c_char, version: *mut c_char) -> AclError;

/// `ACL_PKG_VERSION_MAX_SIZE`.
const MAX_VERSION: usize = 128;

/// Packages whose versions tell one installation from another.
const PACKAGES: [&CStr; 3] = [c"driver", c"firmware", c"runtime"];

impl Library {
    /// The functions.
    pub fn table(&self) -> &AclTable {
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

    /// Versions of the driver, the firmware and CANN's runtime. Empty for a library that cannot tell (8.1
    /// cannot); a package that is not installed is left out.
    pub fn package_versions(&self) -> Vec<(&'static str, String)> {
        let Some(version_of) = self.version_of else { return Vec::new() };
        let of = |package: &'static CStr| {
            let mut text = [0u8; MAX_VERSION];
            // SAFETY: the name is a string that is only read; the text has the size that the function is
            // documented for.
            let code = unsafe { version_of(package.as_ptr().cast_mut(), text.as_mut_ptr().cast()) };
            let text = CStr::from_bytes_until_nul(&text).ok().filter(|_| code == codes::SUCCESS)?;
            Some((package.to_str().ok()?, text.to_string_lossy().into_owned()))
        };
        PACKAGES.into_iter().filter_map(of).collect()
    }

    /// Is this the simulator in the place of a driver? It says so itself.
    pub fn is_simulated(&self) -> bool {
        self.is_simulated
    }
}

/// Searched once in a process.
fn search() -> &'static Search<Library> {
    static SEARCH: OnceLock<Search<Library>> = OnceLock::new();
    SEARCH.get_or_init(|| Search::among(&WANTED, WANTED.candidates(|name| std::env::var_os(name)), open))
}

/// The ACL library of this process: from `FASTATTENTION_ACL_LIB`, else by name through the system's search,
/// else from the places where CANN is installed. Searched once; the outcome is kept.
///
/// # Errors
/// `LibraryNotFound`, or `DriverNotFound` where only the NPU's driver is missing, with every path tried and
/// why it failed.
pub fn library() -> Result<&'static Library, &'static LoadError> {
    search().outcome.as_ref()
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
pub unsafe fn load_from(path: &Path) -> Result<Library, LoadError> {
    Search::among(&WANTED, vec![path.to_path_buf()], open).outcome
}

fn open(path: &Path) -> Result<Library, String> {
    let library = Loaded::open(path)?;
    let table: AclTable = fill(WANTED.name, &[library])?;
    let version_of = library.symbol("aclsysGetVersionStr").map(|address| {
        // SAFETY: the C function of that name has this signature, and the library is never unloaded.
        unsafe { std::mem::transmute::<*mut c_void, VersionOf>(address) }
    });
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: the three pointers are to live integers, and this call needs no initialisation.
    let code = unsafe { (table.aclrtGetVersion)(&raw mut major, &raw mut minor, &raw mut patch) };
    match code {
        codes::STUB_LIBRARY => {
            Err("a stub library for linking, without an implementation (code 100039)".into())
        }
        codes::SUCCESS => Ok(Library {
            table,
            origin: path.to_path_buf(),
            version: (major, minor, patch),
            is_simulated: library.symbol(SIMULATOR_MARK).is_some(),
            version_of,
        }),
        code => Err(format!("aclrtGetVersion failed with code {code}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::load::tests::build;

    fn refused(source: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libascendcl.so");
        build(source, &library);
        Search::among(&WANTED, vec![library], open).outcome.unwrap_err().to_string()
    }

    #[test]
    fn a_library_without_the_functions_is_refused_by_name() {
        let text = refused("int aclInit(const char *p) { return p != 0; }");
        assert!(
            text.contains("not the ACL library of CANN 8.1 or later: it lacks aclFinalize, acl"),
            "{text}"
        );
    }

    #[test]
    fn a_stub_library_is_recognised() {
        let mut source = String::new();
        macro_rules! names {
            (required { $($name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* } optional $rest:tt) => {
                $(writeln!(source, "int {}() {{ return 100039; }}", stringify!($name)).unwrap();)*
            };
        }
        crate::acl_functions!(names);
        let text = refused(&source);
        assert!(text.contains("100039"), "{text}");
    }
}
