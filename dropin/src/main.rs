//! Lays the library out like a CANN installation: `cargo run -p fastattention-dropin -- --root DIR`.
//!
//! `DIR/lib64/libascendcl.so` is the library; `libacl_rt.so` and `libhccl.so` beside it are links to it. A
//! loader takes a file that it has loaded under another name for the same library (it compares device and
//! inode), so all three names are one library with one state, however a program comes to them: `-l`, `dlopen`
//! or a full path. The SONAME is `libascendcl.so`, hence that is the name that a program linked against any
//! of the three asks for when it starts.
//!
//! `--cann` chooses which CANN the library looks like. Symbols cannot be hidden in a finished library, so
//! each is a build of its own (features `cann-8-5`, `cann-9-1`): `dlsym` finds what that CANN has and the
//! simulator knows, and no more.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, ensure, Context, Result};
use clap::{Parser, ValueEnum};
use serde_json::Value;
use tempfile::{Builder, NamedTempFile};

/// Builds the simulator as libascendcl.so, libacl_rt.so and libhccl.so under DIR/lib64.
#[derive(Parser)]
struct Arguments {
    /// Folder for ASCEND_HOME_PATH; made if it is not there.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// The CANN whose functions the library has.
    #[arg(long, value_enum, default_value_t = Cann::V9_1)]
    cann: Cann,
}

/// Versions of CANN that differ in what they export.
#[derive(Clone, Copy, ValueEnum)]
enum Cann {
    #[value(name = "8.1")]
    V8_1,
    #[value(name = "8.5")]
    V8_5,
    #[value(name = "9.1")]
    V9_1,
}

impl Cann {
    fn features(self) -> &'static str {
        match self {
            Cann::V8_1 => "",
            Cann::V8_5 => "cann-8-5",
            Cann::V9_1 => "cann-9-1",
        }
    }
}

/// Names beside `libascendcl.so`: the runtime's from CANN 8.5 on, and the collectives'.
const LINKS: [&str; 2] = ["libacl_rt.so", "libhccl.so"];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = arguments.root.join("lib64");
    let target = folder.join("libascendcl.so");
    // Minutes of building come after everything that can be refused.
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let root = fs::canonicalize(&arguments.root).context("finding the folder's full path")?;
    let exports = exports(&root)?;
    refuse_foreign(&target)?;
    for name in LINKS {
        has_link(&folder.join(name))?;
    }
    fresh(&folder)?;
    let library = build(arguments.cann)?;
    // A new file under a temporary name, then renamed: a program that runs keeps the old one.
    let fresh = fresh(&folder)?;
    fs::copy(&library, fresh.path())
        .with_context(|| format!("copying {} to {}", library.display(), fresh.path().display()))?;
    fresh.persist(&target).with_context(|| format!("writing {}", target.display()))?;
    for name in LINKS {
        link(&folder.join(name))?;
    }
    std::io::stdout().write_all(&exports).context("printing")
}

/// What a shell evaluates to use the library: quoted where the path needs it, in the path's own bytes.
fn exports(root: &Path) -> Result<Vec<u8>> {
    let path = root.as_os_str().as_bytes();
    // The loader takes both for the end of a folder, and knows no quotes.
    if let Some(mark) = path.iter().find(|byte| b":;".contains(byte)) {
        bail!(
            "root {} has a {:?}, which ends a folder in LD_LIBRARY_PATH; a path without it wanted",
            root.display(),
            char::from(*mark)
        );
    }
    let root = shlex::bytes::try_quote(path).context("quoting the folder for a shell")?;
    let lines: [&[u8]; 5] = [
        b"export ASCEND_HOME_PATH=",
        &root,
        b"\nexport LD_LIBRARY_PATH=",
        &root,
        b"/lib64\"${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\"\n",
    ];
    Ok(lines.concat())
}

/// A new file, of a name that no file has, which goes again unless it is renamed.
fn fresh(folder: &Path) -> Result<NamedTempFile> {
    let fresh = Builder::new().prefix(".libascendcl.so-").tempfile_in(folder);
    fresh.with_context(|| format!("making a file in {}", folder.display()))
}

/// Refuses to replace a library that is not ours.
fn refuse_foreign(library: &Path) -> Result<()> {
    const MARK: &[u8] = b"fastattention_sim_abi_version";
    // Reading from a FIFO would wait for a writer.
    let is_other = fs::metadata(library).is_ok_and(|found| !found.is_file());
    ensure!(!is_other, "{} is no regular file", library.display());
    match fs::read(library) {
        Ok(bytes) => {
            let is_ours = bytes.windows(MARK.len()).any(|window| window == MARK);
            ensure!(is_ours, "{} is not the simulator: is a CANN installed there?", library.display());
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).with_context(|| format!("reading {}", library.display())),
    }
}

/// Is there a link? Refuses everything else.
fn has_link(at: &Path) -> Result<bool> {
    match fs::symlink_metadata(at) {
        Ok(found) => {
            ensure!(found.is_symlink(), "{} is no link: is a CANN installed there?", at.display());
            Ok(true)
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).with_context(|| format!("looking at {}", at.display())),
    }
}

/// Makes a link to `libascendcl.so` in the same folder, in the place of an older one.
fn link(at: &Path) -> Result<()> {
    if has_link(at)? {
        fs::remove_file(at).with_context(|| format!("removing {}", at.display()))?;
    }
    symlink("libascendcl.so", at).with_context(|| format!("linking {}", at.display()))
}

/// Builds the library with the functions of that CANN and returns its path. Cargo runs once more for it: a
/// package's program cannot depend on the package's own C library.
fn build(cann: Cann) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--lib", "--message-format=json-render-diagnostics", "--no-default-features"])
        .args(["--features", cann.features()])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", output.status);
    let is_library = |message: &Value| {
        message["target"]["name"] == "fastattention_dropin" && message["filenames"].is_array()
    };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value =
            serde_json::from_str(line).with_context(|| format!("reading cargo's line {line:?}"))?;
        if let Some(path) = message["filenames"][0].as_str().filter(|_| is_library(&message)) {
            return Ok(PathBuf::from(path));
        }
    }
    bail!("{command:?} did not say where it put the library")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// The two variables after a shell has evaluated what is printed for `root`.
    fn evaluated(root: &[u8], library_path: Option<&str>) -> Vec<u8> {
        let exports = exports(Path::new(OsStr::from_bytes(root))).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "eval \"$1\"; printf '%s|%s' \"$ASCEND_HOME_PATH\" \"$LD_LIBRARY_PATH\"", "sh"]);
        shell.arg(OsStr::from_bytes(&exports)).env_remove("LD_LIBRARY_PATH");
        if let Some(path) = library_path {
            shell.env("LD_LIBRARY_PATH", path);
        }
        let output = shell.output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{root:?}");
        output.stdout
    }

    #[test]
    fn a_shell_gets_any_root_as_it_is() {
        let roots: [&[u8]; 7] = [
            b"/opt/ascend",
            b"/opt/two words",
            b"/opt/it's \"here\"",
            b"/opt/$HOME/`id`/$(id)",
            b"/opt/a\\b*?[c]&|<>#~!",
            b"/opt/two\nlines",
            b"/opt/\xff\xfe",
        ];
        for root in roots {
            assert_eq!(evaluated(root, None), [root, b"|", root, b"/lib64"].concat(), "{root:?}");
            let earlier = evaluated(root, Some("/a b:/c"));
            assert_eq!(earlier, [root, b"|", root, b"/lib64:/a b:/c"].concat(), "{root:?}");
        }
    }

    #[test]
    fn a_root_that_no_list_of_folders_can_hold_is_refused() {
        for (root, mark) in [("/opt/a:b", ':'), ("/opt/a;b", ';')] {
            let text = exports(Path::new(root)).unwrap_err().to_string();
            assert!(text.contains(root) && text.contains(&format!("{mark:?}")), "{text}");
        }
    }
}
