//! Tiling-AllReduce with a process for each rank: the example `tensor_parallel` as a user starts it, and ranks that die or disagree.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// For a whole job on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Cargo builds the examples before it runs the tests, beside them.
fn example() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("examples/tensor_parallel");
    assert!(
        path.exists(),
        "{} is missing: `cargo test` without `--test` builds it, as does `cargo build --examples`",
        path.display()
    );
    path
}

/// Waits for a process, at most so long.
fn finish(mut child: Child) -> Output {
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("hangs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn piped(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Rank `rank` of `ranks`, as torchrun starts it.
fn rank(rank: u32, ranks: u32, meeting: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(example());
    command.args(arguments);
    command
        .env("RANK", rank.to_string())
        .env("LOCAL_RANK", rank.to_string())
        .env("WORLD_SIZE", ranks.to_string());
    command.env("FASTATTENTION_RENDEZVOUS_FILE", meeting).env("HCCL_EXEC_TIMEOUT", "60");
    piped(&mut command)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_example_starts_its_ranks_and_each_agrees_with_f64() {
    for (ranks, arguments) in [
        (1, vec!["--seqlen", "100"]),
        (2, vec!["--seqlen", "157", "--block-rows", "128,29"]),
        (8, vec!["--seqlen", "61", "--num-heads", "8", "--num-heads-k", "2"]),
    ] {
        let mut command = Command::new(example());
        command.arg("--ranks").arg(ranks.to_string()).args(arguments).env_remove("RANK");
        let output = finish(piped(&mut command));
        let text = text(&output);
        assert!(output.status.success(), "{text}");
        assert_eq!(text.matches("largest error against f64").count(), ranks, "{text}");
    }
}

#[test]
fn ranks_with_other_blocks_are_told_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let meeting = folder.path().join("root");
    let processes = ["128,172", "256,44"]
        .iter()
        .zip(0..)
        .map(|(rows, number)| rank(number, 2, &meeting, &["--block-rows", rows]));
    let processes: Vec<Child> = processes.collect();
    for process in processes {
        let output = finish(process);
        let text = text(&output);
        assert!(!output.status.success(), "{text}");
        assert!(text.contains("ranks disagree on the count"), "{text}");
    }
}

#[test]
fn a_rank_that_is_killed_is_missed_by_the_others_before_their_time_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let meeting = folder.path().join("root");
    // Enough work that the first blocks are reduced while the last ones are not computed.
    let arguments =
        ["--seqlen", "3000", "--num-heads", "3", "--num-heads-k", "3", "--hidden", "64", "--block-rows"];
    let rows = vec!["128"; 23].join(",") + ",56";
    let arguments: Vec<&str> = arguments.into_iter().chain([rows.as_str()]).collect();
    let mut processes: Vec<Child> = (0..3).map(|number| rank(number, 3, &meeting, &arguments)).collect();
    // The root info is there when all are about to join; then they compute for seconds.
    let start = Instant::now();
    while !meeting.exists() && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(700));
    processes[1].kill().unwrap();
    let killed = Instant::now();
    let outputs: Vec<Output> = processes.into_iter().map(finish).collect();
    assert!(killed.elapsed() < Duration::from_secs(40), "ranks waited for {:?}", killed.elapsed());
    for (number, output) in outputs.iter().enumerate().filter(|(number, _)| *number != 1) {
        let text = text(output);
        assert!(!output.status.success(), "rank {number}: {text}");
        assert!(text.contains("rank 1") && text.contains("has ended"), "rank {number}: {text}");
    }
}
