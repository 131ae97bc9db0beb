//! Files that the commands write: real files, links, FIFOs, devices, folders. A path that cannot be written
//! is refused before the work begins, what is not the output stays as it is, and nothing waits for ever.
//!
//! Tests may run as root, who ignores permissions: what cannot be written is a folder that is none, or lies
//! in /proc.

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{symlink, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fastattention::tiling::Tuned;
use fastattention::Soc;
use fastattention_testkit::child;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

use super::{tool, TOOL};

/// Far from what a loaded machine needs for the commands of these tests.
const LIMIT: Duration = Duration::from_secs(120);

/// A shape that takes no time, as most commands take it.
const SHAPE: [&str; 4] = ["--num-heads", "1", "--head-dim", "16"];

fn command(args: &[&str]) -> Command {
    let mut command = tool();
    command.args(args).stdin(Stdio::null());
    command
}

/// The outcome of a process that ends by itself.
#[track_caller]
fn ended(child: Child) -> Output {
    child::finish(child, LIMIT)
}

#[track_caller]
fn fastattention(args: &[&str]) -> Output {
    child::run(&mut command(args), LIMIT)
}

/// Stdout and stderr.
#[track_caller]
fn succeeds(args: &[&str]) -> [String; 2] {
    let output = fastattention(args);
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {texts:?}");
    texts
}

/// The message of a command that does nothing else.
#[track_caller]
fn fails(args: &[&str]) -> String {
    let output = fastattention(args);
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!((output.status.code(), texts[0].as_str()), (Some(1), ""), "{args:?}: {texts:?}");
    texts[1].strip_prefix("error: ").unwrap_or_else(|| panic!("{texts:?}")).trim_end().to_owned()
}

/// A folder, with an input for `run`.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        let zeros = [0; 16 * 2];
        let tensors =
            ["q", "k", "v"].map(|name| (name, TensorView::new(Dtype::F16, vec![1, 1, 16], &zeros).unwrap()));
        fs::write(scratch.path("in"), safetensors::serialize(tensors, None).unwrap()).unwrap();
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Names in the folder, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Name and arguments of a command that writes one file, whose path comes last.
type Writer = (&'static str, Vec<String>);

/// Every option of every command that names one output file; `head_dim` 17 and `input` "missing" make work
/// that fails when it begins.
fn writers(scratch: &Scratch, input: &str, head_dim: u32) -> Vec<Writer> {
    let shape = format!("--num-heads 1 --head-dim {head_dim}");
    let lines = [
        ("run", format!("run --input {} --output", scratch.arg(input))),
        ("trace", format!("trace --seqlen-q 16 {shape} --output")),
        ("tune", format!("tune --seqlen-q 16 {shape} --candidates 1 --output")),
        ("bench", format!("bench --seqlen-q 16 {shape} --mask none --csv")),
        ("layer", format!("layer --seqlen 64 {shape} --hidden 64 --ranks 1 --simulate --trace")),
    ];
    lines.map(|(name, line)| (name, line.split(' ').map(str::to_owned).collect())).into()
}

fn with<'a>(writer: &'a Writer, output: &'a str) -> Vec<&'a str> {
    writer.1.iter().map(String::as_str).chain([output]).collect()
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_path_that_cannot_be_written_is_refused_before_the_work() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("folder")).unwrap();
    fs::write(scratch.path("file"), "kept").unwrap();
    make_fifo(&scratch.path("fifo"));
    symlink("fifo", scratch.path("to_fifo")).unwrap();
    symlink("circle", scratch.path("circle")).unwrap();
    symlink("missing/out", scratch.path("astray")).unwrap();
    let before = scratch.names();
    // The work would fail, too: of these two errors the output's comes first.
    for writer in writers(&scratch, "missing", 17) {
        for (output, why) in [
            (scratch.arg("missing/out"), "cannot be written: folder "),
            (scratch.arg("file/out"), "cannot be written: "),
            (scratch.arg("astray"), "cannot be written: folder "),
            (scratch.arg("circle"), "cannot be written: more than 40 links"),
            (scratch.arg("folder"), "exists and is not a regular file"),
            (scratch.arg("fifo"), "exists and is not a regular file"),
            (scratch.arg("to_fifo"), "exists and is not a regular file"),
            (scratch.arg("new/"), "names a folder, a file wanted"),
            ("/proc/fastattention".into(), "cannot be written: making a file in /proc: "),
            ("/dev/fd/0".into(), "cannot be written: of the open descriptors only 1 and 2 can be outputs"),
            ("..".into(), "names no file"),
        ] {
            let message = fails(&with(&writer, &output));
            assert!(message.starts_with(&format!("output {output} {why}")), "{}: {message}", writer.0);
        }
    }
    assert_eq!(scratch.names(), before);
    assert_eq!(fs::read_to_string(scratch.path("file")).unwrap(), "kept");
    assert!(fs::symlink_metadata(scratch.path("fifo")).unwrap().file_type().is_fifo());
}

#[test]
fn links_are_followed_and_everything_beside_the_output_stays() {
    for writer in writers(&Scratch::new(), "in", 16).into_iter().map(|(name, _)| name) {
        let scratch = Scratch::new();
        let writer = writers(&scratch, "in", 16).into_iter().find(|(name, _)| *name == writer).unwrap();
        fs::create_dir(scratch.path("folder")).unwrap();
        // Two links to a file that is not there yet, and files of the names that a temporary one might take.
        symlink("link", scratch.path("out.toml")).unwrap();
        symlink("folder/target.toml", scratch.path("link")).unwrap();
        let bystanders = ["out.new", "link.new", "folder/target.new", "folder/target.toml.tmp"];
        for name in bystanders {
            fs::write(scratch.path(name), name).unwrap();
        }
        let target = scratch.path("folder/target.toml");
        let output = scratch.arg("out.toml");
        succeeds(&with(&writer, &output));
        let written = fs::read(&target).unwrap();
        assert!(!written.is_empty(), "{}", writer.0);

        fs::set_permissions(&target, Permissions::from_mode(0o640)).unwrap();
        let inode = fs::metadata(&target).unwrap().ino();
        succeeds(&with(&writer, &output));
        assert_eq!(fs::read(&target).unwrap(), written, "{}: the same work, the same file", writer.0);
        assert_eq!(mode(&target), 0o640, "{}: permissions are kept", writer.0);
        assert_ne!(fs::metadata(&target).unwrap().ino(), inode, "{}: replaced at once", writer.0);

        for name in ["out.toml", "link"] {
            assert!(fs::symlink_metadata(scratch.path(name)).unwrap().is_symlink(), "{}: {name}", writer.0);
        }
        for name in bystanders {
            assert_eq!(fs::read_to_string(scratch.path(name)).unwrap(), name, "{}", writer.0);
        }
        assert_eq!(
            scratch.names(),
            ["folder", "in", "link", "link.new", "out.new", "out.toml"],
            "{}",
            writer.0
        );
        assert_eq!(fs::read_dir(scratch.path("folder")).unwrap().count(), 3, "{}", writer.0);
    }
}

#[test]
fn a_new_file_has_the_permissions_that_the_user_gives_new_files() {
    let scratch = Scratch::new();
    let line = "umask 027; exec \"$@\"";
    let writers = writers(&scratch, "in", 16);
    for writer in &writers {
        let output = scratch.arg(writer.0);
        let status =
            Command::new("sh").args(["-c", line, "sh", TOOL]).args(with(writer, &output)).output().unwrap();
        assert!(status.status.success(), "{status:?}");
        assert_eq!(mode(Path::new(&output)), 0o640, "{}", writer.0);
    }
}

#[test]
fn devices_and_stdout_are_written_as_they_are() {
    let scratch = Scratch::new();
    let null = fs::metadata("/dev/null").unwrap();
    for writer in writers(&scratch, "in", 16) {
        succeeds(&with(&writer, "/dev/null"));
        let now = fs::symlink_metadata("/dev/null").unwrap();
        assert!(now.file_type().is_char_device() && now.ino() == null.ino(), "{}", writer.0);

        let file = scratch.arg(writer.0);
        let [told, drawn] = succeeds(&with(&writer, &file));
        assert_eq!(drawn, "", "{}", writer.0);
        let file = fs::read(&file).unwrap();
        // What else is told goes to stderr, so that stdout is the file and nothing else.
        let through_pipe = fastattention(&with(&writer, "/dev/stdout"));
        assert!(through_pipe.status.success(), "{through_pipe:?}");
        assert_eq!(through_pipe.stdout, file, "{}", writer.0);
        let stderr = String::from_utf8(through_pipe.stderr).unwrap();
        // The time on the host and the path differ.
        assert_eq!(stderr.lines().count(), told.lines().count(), "{}: {stderr}", writer.0);

        // Stdout is a file that has text already, which is neither replaced nor overwritten.
        let whole = scratch.path("whole");
        fs::write(&whole, "before\n").unwrap();
        let append = fs::OpenOptions::new().append(true).open(&whole).unwrap();
        let child = command(&with(&writer, "/dev/stdout")).stdout(append).stderr(Stdio::null()).spawn();
        assert!(ended(child.unwrap()).status.success());
        assert_eq!(fs::read(&whole).unwrap(), [&b"before\n"[..], &file].concat(), "{}", writer.0);
    }
}

#[test]
fn a_reader_that_has_gone_ends_the_writing_with_an_error() {
    let scratch = Scratch::new();
    for writer in writers(&scratch, "in", 16) {
        let mut child = command(&with(&writer, "/dev/stdout"));
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(ended(child).status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("error: writing output /dev/stdout: Broken pipe"), "{}: {stderr}", writer.0);
    }
}

#[test]
fn folders_are_checked_before_the_work() {
    let scratch = Scratch::new();
    fs::write(scratch.path("file"), "kept").unwrap();
    let file = scratch.arg("file");
    fs::create_dir(scratch.path("r1")).unwrap();
    make_fifo(&scratch.path("r1").join("taken"));
    for (output, start) in [
        (file.clone(), format!("making folder {file}: ")),
        (scratch.arg("r1"), format!("{} is not empty", scratch.arg("r1"))),
    ] {
        let message = fails(&["doctor", "--report", &output]);
        assert!(message.starts_with(&start), "{output}: {message}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "kept");
}

#[test]
fn tune_adds_to_a_file_and_refuses_one_that_it_would_spoil() {
    let scratch = Scratch::new();
    let output = scratch.arg("notes.toml");
    let tune = |more: &[&str]| {
        let args = ["tune", "--seqlen-q", "16", "--candidates", "1", "--output", &output];
        [&args[..], &SHAPE, more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let texts = |args: &[String]| succeeds(&args.iter().map(String::as_str).collect::<Vec<_>>());
    texts(&tune(&[]));
    texts(&tune(&["--score-dtype", "f16"]));
    texts(&tune(&["--dtype", "bf16"]));
    let text = fs::read_to_string(&output).unwrap();
    Tuned::from_toml(&text, Soc::by_name("Ascend910B2").unwrap()).unwrap();
    assert_eq!(text.matches("[[shape]]").count(), 3, "{text}");

    let spoilt = text.replacen("model_us = ", "model_us = -", 1);
    fs::write(&output, &spoilt).unwrap();
    let line = 1 + spoilt.lines().position(|line| line.starts_with("model_us = -")).unwrap();
    // The value is on this line, its table begins on the one before.
    let lines = [line, line - 1].map(|line| format!("{output}: tuning results: line {line}: model_us = -"));
    for args in [
        tune(&[]),
        ["plan", "--seqlen-q", "16", "--tuned", &output]
            .iter()
            .chain(&SHAPE)
            .map(|s| (*s).to_owned())
            .collect(),
    ] {
        let message = fails(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(lines.iter().any(|line| message.starts_with(line)), "{message}");
        assert!(message.ends_with("given, a finite number above 0 wanted"), "{message}");
    }
    assert_eq!(fs::read_to_string(&output).unwrap(), spoilt);
}

/// In a folder like /tmp only its owner may replace a file, though all may write to it: found before the
/// work, not after.
#[test]
fn a_file_of_another_user_in_a_sticky_folder_is_refused() {
    use std::os::unix::process::CommandExt as _;
    /// `nobody`, by the number that it has everywhere.
    const OTHER: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let file = folder.path().join("tuned.toml");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let args = ["tune", "--seqlen-q", "64", "-o", file.to_str().unwrap()];
    let mut other = command(&[&args[..], &SHAPE].concat());
    let spawned = other.uid(OTHER).gid(OTHER).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(error) => {
            eprintln!("not run: the command cannot be started as another user: {error}");
            return;
        }
    };
    let output = ended(child);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("belongs to another user and lies in a folder"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
}
