//! Generates `src/bindings/*.rs` from the headers of a CANN installation (cargo feature `bindgen`).
//!
//! What is generated follows from `src`: every C name there that the headers know. A function is added to its
//! list, a constant is used, and the next generation has it.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use bindgen::callbacks::{IntKind, ParseCallbacks};
use bindgen::{Builder, EnumVariation, Formatter};

/// Folders with `acl/acl.h` and `hccl/hccl.h`, separated as in `PATH`; stops the search for an installation.
const VARIABLE: &str = "FASTATTENTION_CANN_INCLUDE";

/// Variables and folders that name the root of an installation (acl-runtime.md 1.7).
const ROOT_VARIABLES: [&str; 3] = ["ASCEND_INSTALL_PATH", "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"];
const ROOTS: [&str; 3] =
    ["/usr/local/Ascend/cann", "/usr/local/Ascend/ascend-toolkit/latest", "/opt/Ascend/cann"];

/// Writes `acl.rs`, `hccl.rs` and `later.rs` below `out_dir` and returns their folder; none if there are no
/// headers. From headers that lack a later function, `later.rs` is the committed one.
///
/// # Errors
/// When the named folders hold no headers, or the headers cannot be read.
pub(crate) fn generate(crate_root: &Path, out_dir: &Path) -> Result<Option<PathBuf>, String> {
    for variable in ROOT_VARIABLES.iter().chain([&VARIABLE]) {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=src");
    let Some(includes) = include_folders()? else { return Ok(None) };
    let src = crate_root.join("src");
    let folder = out_dir.join("bindings");
    fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    let acl = Header { text: "#include <acl/acl.h>\n", language: "c", includes: &includes };
    let hccl = Header { text: "#include <hccl/hccl.h>\n", language: "c++", includes: &includes };

    let core = names(&src, &["codes.rs", "types.rs"], "ACL_")?;
    let (required, optional) = lists(&src, &["acl.rs", "client.rs"])?;
    let builder = allow_vars(acl.builder(), &core);
    write(&folder.join("acl.rs"), allow_functions(builder, &required))?;

    let communication = ["hccl/codes.rs", "hccl/types.rs", "hccl/functions.rs"];
    let builder = hccl.builder().derive_default(true).blocklist_type("acl.*").raw_line("use super::acl::*;");
    let builder = allow_vars(builder, &names(&src, &communication, "HCCL_")?);
    let builder = allow_vars(builder, &names(&src, &communication, "COMM_")?);
    write(&folder.join("hccl.rs"), allow_functions(builder, &names(&src, &communication, "Hccl")?))?;

    // What the functions of 8.1 already brought is not made twice.
    let core = read(&folder.join("acl.rs"))?;
    let builder = types_of(&core).fold(acl.builder(), Builder::blocklist_type);
    let builder = builder.derive_default(true).raw_line("use super::acl::*;");
    let later = folder.join("later.rs");
    write(&later, allow_functions(builder, &optional))?;
    let text = read(&later)?;
    if !optional.iter().all(|name| text.contains(&format!("fn {name}("))) {
        let committed = src.join("bindings/later.rs");
        fs::copy(&committed, later).map_err(|e| format!("cannot copy {}: {e}", committed.display()))?;
    }
    Ok(Some(folder))
}

/// The folders to include from: those that are named, else of the first installation found.
fn include_folders() -> Result<Option<Vec<PathBuf>>, String> {
    let has = |folders: &[PathBuf], file: &str| folders.iter().any(|f| f.join(file).is_file());
    if let Some(named) = env::var_os(VARIABLE) {
        let folders: Vec<PathBuf> = env::split_paths(&named).collect();
        for file in ["acl/acl.h", "hccl/hccl.h"] {
            if !has(&folders, file) {
                return Err(format!("{VARIABLE} = {named:?} given, folders with {file} wanted"));
            }
        }
        return Ok(Some(folders));
    }
    let roots = ROOT_VARIABLES.iter().filter_map(env::var_os).map(PathBuf::from);
    let include =
        |root: PathBuf| [root.join("include"), root.join(format!("{}-linux/include", env::consts::ARCH))];
    let found = roots
        .chain(ROOTS.iter().map(PathBuf::from))
        .flat_map(include)
        .map(|folder| vec![folder])
        .find(|folders| has(folders, "acl/acl.h") && has(folders, "hccl/hccl.h"));
    Ok(found)
}

/// A text of includes, and how to read it.
struct Header<'a> {
    text: &'static str,
    language: &'static str,
    includes: &'a [PathBuf],
}

impl Header<'_> {
    /// Enumerators become constants: newer libraries add values, and an unknown one in a Rust `enum` would be
    /// undefined behaviour.
    fn builder(&self) -> Builder {
        bindgen::builder()
            .header_contents("all.h", self.text)
            .clang_args(["-x", self.language])
            .clang_args(self.includes.iter().map(|folder| format!("-I{}", folder.display())))
            .default_enum_style(EnumVariation::Consts)
            .prepend_enum_name(false)
            .parse_callbacks(Box::new(CodesAreInts))
            .allowlist_var("ACL_(MAJOR|MINOR)_VERSION")
            .generate_comments(false)
            .disable_header_comment()
            .raw_line("// Generated by `build/bindings.rs`; see docs/bindings.md.")
            .sort_semantically(true)
            .merge_extern_blocks(true)
            .formatter(Formatter::Prettyplease)
    }
}

/// Some codes are macros and some are `int` constants; all are values of `aclError`.
#[derive(Debug)]
struct CodesAreInts;

impl ParseCallbacks for CodesAreInts {
    fn int_macro(&self, name: &str, _value: i64) -> Option<IntKind> {
        name.starts_with("ACL_ERROR_").then_some(IntKind::Int)
    }
}

fn allow_functions(builder: Builder, names: &BTreeSet<String>) -> Builder {
    names.iter().fold(builder, Builder::allowlist_function)
}

fn allow_vars(builder: Builder, names: &BTreeSet<String>) -> Builder {
    names.iter().fold(builder, Builder::allowlist_var)
}

fn write(path: &Path, builder: Builder) -> Result<(), String> {
    let bindings = builder.generate().map_err(|e| format!("feature bindgen: {}: {e}", path.display()))?;
    bindings.write_to_file(path).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// The types that bindings define.
fn types_of(bindings: &str) -> impl Iterator<Item = &str> {
    bindings.lines().filter_map(|line| {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_type =
            words.next() == Some("pub") && matches!(words.next(), Some("type" | "struct" | "union"));
        words.next().filter(|_| is_type)
    })
}

/// The words of files that begin with `prefix`.
fn names(folder: &Path, files: &[&str], prefix: &str) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    for file in files {
        found.extend(words(&read(&folder.join(file))?, prefix));
    }
    Ok(found)
}

/// The functions of the lists in some files: those that are required, and those that are not.
fn lists(folder: &Path, files: &[&str]) -> Result<(BTreeSet<String>, BTreeSet<String>), String> {
    let (mut required, mut optional) = (BTreeSet::new(), BTreeSet::new());
    for file in files {
        let path = folder.join(file);
        let text = read(&path)?;
        let (first, second) = text
            .split_once("optional {")
            .ok_or_else(|| format!("{} has no optional functions", path.display()))?;
        required.extend(functions(first));
        optional.extend(functions(second));
    }
    Ok((required, optional))
}

/// The functions of a list: the names before the parentheses.
fn functions(list: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    list.match_indices('(')
        .filter_map(|(at, _)| list[..at].rsplit(|c| !is_name(c)).next())
        .filter(|name| name.starts_with("acl"))
        .map(str::to_owned)
        .collect()
}

fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}
