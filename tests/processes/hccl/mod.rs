//! Ranks in several processes over the simulated HCCL: this test starts itself once for each rank.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "small numbers, and an oracle"
)]
#![allow(clippy::cast_sign_loss, reason = "small numbers")]
#![allow(clippy::print_stdout, reason = "a rank tells its parent how far it is")]

mod broken;
mod job;
#[allow(dead_code, reason = "shared with the tests of ranks in one process")]
mod programs;
mod rendezvous;
mod users;

use std::time::{Duration, Instant};

use fastattention::runtime::Communicator;

use job::{Job, Output};

/// This module, for the processes that it starts.
const HERE: &str = module_path!();

/// Where a rank's program begins; nothing when this is not a rank.
#[test]
fn program_of_a_rank() {
    job::run_if_rank();
}

#[test]
fn all_operations_equal_the_oracle() {
    for ranks in [2, 4, 8] {
        Job::start("operations", ranks).finish();
    }
}

#[test]
fn unwritten_bytes_stay_unwritten_on_their_way() {
    Job::start("unwritten", 2).finish();
}

#[test]
fn random_programs_on_two_streams() {
    Job::start("random", 4).finish();
}

#[test]
fn threads_and_processes_are_mixed() {
    // Processes with 2, 3, 1 and 2 ranks.
    Job::start("mixed", 4).finish();
}

#[test]
fn more_ranks_at_once_than_have_places_join() {
    Job::start("crowd", 2).finish();
}

#[test]
fn ranks_that_need_the_first_process_no_more_can_go_on() {
    Job::start("first_leaves", 3).finish();
}

// The first device of a process is for the rendezvous; texts below name the second.

#[track_caller]
fn assert_texts(output: &Output, texts: &[&str]) {
    for text in texts {
        assert!(output.text.contains(text), "rank {}: {text:?} is not in: {}", output.rank, output.text);
    }
}

/// Kills a rank while the others wait for it, or in the middle of the data movement.
fn kill(program: &str, victim: usize) {
    let mut job = Job::with(program, 3, &[("VICTIM", &victim.to_string())]);
    (0..3).for_each(|rank| job.wait_for_line(rank, "working"));
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    job.kill(victim);
    let outputs = job.finish_all_but(victim);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "the time limit of the ranks is a minute: {took:?}");
    for output in outputs {
        let who = format!("rank {victim} (device 2 of process ");
        assert_texts(&output, &["stream: ", "EI0002", "call: ", "has failed: ", &who, "has ended"]);
    }
}

#[test]
fn a_killed_rank_is_missed_at_once() {
    kill("waiting", 1);
}

#[test]
fn the_killed_process_of_the_root_info_is_missed_at_once() {
    kill("waiting", 0);
}

#[test]
fn a_rank_killed_while_data_moves_is_missed_at_once() {
    kill("moving", 2);
    kill("moving", 0);
}

#[test]
fn a_rank_that_exits_without_destroying_is_missed() {
    for output in Job::start("exiting", 3).finish().iter().filter(|output| output.rank != 1) {
        assert_texts(output, &["stream: ", "rank 1 (device 2 of process ", "has ended"]);
    }
}

#[test]
fn ranks_that_disagree_are_told_of_both_values() {
    for (program, text) in [
        ("other_count", "ranks disagree on the count: rank"),
        ("other_type", "ranks disagree on the dataType: rank"),
        ("other_operation", "ranks disagree on the operation: rank"),
    ] {
        let outputs = Job::start(program, 2).finish();
        for output in &outputs {
            assert_texts(output, &[text, "rank 0 (device 2 of process ", "rank 1 (device 2 of process "]);
        }
    }
}

#[test]
fn ranks_that_do_not_issue_or_never_start_are_waited_for_so_long_and_named() {
    // Both jobs wait at the same time.
    let silent = Job::with("silent", 3, &[("EXEC_MS", "10000")]);
    let joining = Job::some_of("joining", 0..2, 3, &[("CONNECT_MS", "10000")]);
    for output in silent.finish().iter().filter(|output| output.rank != 1) {
        assert_texts(output, &["stream: ", "waited 10s for rank 1 (device 2 of process ", "not issued"]);
    }
    let outputs = joining.finish();
    for output in &outputs {
        assert_texts(output, &["HCCL code 9", "waited 10s for rank 2 of 3"]);
    }
    assert_eq!(outputs.len(), 2);
}

/// What ranks 0 and 2 of 4 are told when rank 1 is killed; rank 3 does not come.
fn told_of_a_killed_rank() -> Vec<String> {
    let mut job = Job::some_of("joining_by_hand", 1..3, 4, &[]);
    // Rank 0 is in this process, and the communicator kept here.
    let (device, rendezvous) = (job::device(), job.rendezvous_of(0));
    let root = rendezvous.exchange(&device).unwrap();
    job.wait_for_line(1, "joined");
    job.wait_for_line(2, "joining");
    let own = std::thread::scope(|scope| {
        let own = scope.spawn(|| Communicator::new(&device, &root, 0, 4).unwrap_err());
        let start = Instant::now();
        job.kill(1);
        let text = own.join().unwrap().to_string();
        assert!(start.elapsed() < Duration::from_secs(10), "the time limit is a minute: {text}");
        text
    });
    std::iter::once(own).chain(job.finish_all_but(1).into_iter().map(|output| output.text)).collect()
}

#[test]
fn a_rank_that_ends_before_the_others_are_there_is_named() {
    // A rank that comes when all is over already is told that it is too late, and tests nothing here.
    let told = (0..100)
        .map(|_| told_of_a_killed_rank())
        .find(|told| told.iter().all(|text| !text.contains("is used up")))
        .expect("in one of so many runs the ranks are there first");
    assert_eq!(told.len(), 2, "{told:?}");
    for text in told {
        assert!(text.contains("rank 1 (device 2 of process "), "{text}");
        assert!(text.contains("has ended, before all ranks were there"), "{text}");
    }
}

/// As [`kill`], of a process with a child that has all that it has open, and lives on.
fn kill_parent(victim: usize) {
    let mut job = Job::with("forking", 3, &[("VICTIM", &victim.to_string()), ("EXEC_MS", "600000")]);
    (0..3).for_each(|rank| job.wait_for_line(rank, "working"));
    job.wait_for_line(victim, "forked");
    job.kill(victim);
    // `finish` waits for a tenth of the ranks' own limit.
    for output in job.finish_all_but(victim) {
        let who = format!("rank {victim} (device 2 of process ");
        // A rank may learn of it on its stream, or from its next call.
        assert_texts(&output, &["stream: ", "call: ", &who, "has ended"]);
    }
}

#[test]
fn a_killed_rank_is_missed_though_its_child_lives() {
    kill_parent(1);
    kill_parent(0);
}

#[test]
fn a_killed_process_of_the_root_info_lets_nobody_wait_though_its_child_lives() {
    let mut job = Job::some_of("forking_alone", 0..1, 2, &[("CONNECT_MS", "600000")]);
    job.wait_for_line(0, "forked");
    let root = job.rendezvous_of(1).exchange(&job::device()).unwrap();
    job.kill(0);
    let start = Instant::now();
    let (device, mut error) = (job::device(), String::new());
    // The process is killed, and may not be gone yet.
    while !error.contains("has ended") && start.elapsed() < Duration::from_secs(30) {
        error = Communicator::new(&device, &root, 1, 2).unwrap_err().to_string();
    }
    assert!(error.contains("which made rootInfo, has ended"), "{error}");
    job.finish_all_but(0);
    let endpoint = job::endpoint_of(&root);
    assert!(endpoint.exists(), "the child has kept the socket, or this test tests nothing");
    std::fs::remove_dir_all(endpoint.parent().unwrap()).unwrap();
}

#[test]
fn root_infos_that_nobody_joins_take_neither_threads_nor_descriptors() {
    Job::start("root_infos", 1).finish();
}
