//! Child processes that end within a bound, whatever they print.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs a command to its end.
///
/// # Panics
/// It is still running after `limit`, and has been killed; the message has what it printed.
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    finish(child, limit)
}

/// As [`run`], for a process that was started before.
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn finish(child: Child, limit: Duration) -> Output {
    wait(child, limit).unwrap_or_else(|output| panic!("still running after {limit:?}: {}", text(&output)))
}

/// Waits for a process, at most so long, and reads what it writes to its pipes: one that fills a pipe that
/// nobody reads would not end.
///
/// # Errors
/// It was still running and has been killed: what it printed until then.
pub fn wait(mut child: Child, limit: Duration) -> Result<Output, Output> {
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let deadline = Instant::now() + limit;
    let ended = loop {
        match child.try_wait().unwrap() {
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            ended => break ended,
        }
    };
    if ended.is_none() {
        child.kill().unwrap();
    }
    let output = Output {
        status: child.wait().unwrap(),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    };
    ended.map(|_| output.clone()).ok_or(output)
}

/// Stdout, and behind it stderr.
pub fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).unwrap();
        }
        bytes
    })
}

/// A command that runs one test of this binary, in a process of its own. `module` is what `module_path!()`
/// says where the test is.
pub fn test(module: &str, name: &str) -> Command {
    let path = module.split_once("::").map_or(String::new(), |(_, inside)| format!("{inside}::"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{path}{name}"), "--nocapture", "--test-threads=1"]);
    command
}
