//! Tiling-AllReduce with a process for each rank: the example `tensor_parallel` as a user starts it, and
//! ranks that die or disagree.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a rank tells its parent how far it is")]

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fastattention::parallel::{plan_with, Args, AttentionArgs, Linear, LinearArgs, Problem, TilingAllReduce};
use fastattention::runtime::{Buffer, Device, MeetingPoint, Rendezvous, Stream};
use fastattention::DType;
use fastattention_testkit::child;

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
        let output = child::run(&mut command, LIMIT);
        let text = text(&output);
        assert!(output.status.success(), "{text}");
        assert_eq!(text.matches("largest error against f64").count(), ranks, "{text}");
    }
}

#[test]
fn ranks_and_sizes_that_cannot_be_are_told_once_and_before_anything_starts() {
    for (arguments, code, part) in [
        (&["--ranks", "0"][..], 2, "invalid value '0' for '--ranks"),
        (&["--ranks", "-1"], 2, "-1"),
        (&["--ranks", "3"], 1, "num_heads = 8, a multiple of ranks = 3 wanted"),
        (&["--ranks", "4294967295"], 1, "num_heads = 8, a multiple of ranks = 4294967295 wanted"),
        (&["--seqlen", "4294967295"], 1, "sequences have 4294967295 rows, at most 2147483647 wanted"),
        (
            &["--num-heads", "4294967292"],
            1,
            "heads of a rank * head_dim_v = 1073741823 * 64 is more than 4294967295",
        ),
        (&["--hidden", "4294967295"], 1, "projection: n = 4294967295 is more than 2147483647"),
        (&["--num-heads-k", "4294967295"], 1, "num_heads_k = 4294967295, a multiple or a divisor"),
    ] {
        let mut command = Command::new(example());
        command.args(arguments).env_remove("RANK").env_remove("OMPI_COMM_WORLD_RANK");
        let output = child::run(&mut command, LIMIT);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert_eq!(text.matches(part).count(), 1, "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let text = text(&child::finish(rank(0, 1, &folder.path().join("root"), &["--ranks", "2"]), LIMIT));
    assert!(text.contains("--ranks 2 given, the job has 1 ranks"), "{text}");
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
        let output = child::finish(process, LIMIT);
        let text = text(&output);
        assert!(!output.status.success(), "{text}");
        assert!(text.contains("ranks disagree on the count"), "{text}");
    }
}

const MEETING: &str = "KILLED_RANK_MEETING";
const BLOCKS: [u32; 4] = [128, 128, 128, 56];

/// What the processes of the test below run: the projection of rank 1 comes as far as its third block, and
/// stays there.
fn run_rank(job: &Rendezvous) {
    let device = Device::open("sim").unwrap();
    let problem = Problem::new(DType::F16, [1, BLOCKS.iter().sum(), 3, 32], 64, job.ranks())
        .with_linear(Linear::Caller { launch_us: 1.0, row_us: 0.0 });
    let plan = plan_with(&problem, device.soc(), &BLOCKS).unwrap();
    let zeros =
        |bytes: u64| Buffer::from_slice(&device, &vec![0u8; usize::try_from(bytes).unwrap()]).unwrap();
    let ([q, k, v, o, y], workspace) = (plan.operand_bytes().map(zeros), zeros(plan.workspace_bytes()));
    let stays = job.rank() == 1;
    let mut linear = |_: &Stream, rows: Range<u32>| {
        if stays && rows.start == BLOCKS[0] + BLOCKS[1] {
            println!("third block");
            std::thread::sleep(2 * LIMIT);
        }
        Ok(())
    };
    let attention = AttentionArgs::new(&q, &k, &v, &workspace);
    let args = Args::new(&o, LinearArgs::Caller(&mut linear), &y).with_attention(attention);
    let stream = Stream::new(&device).unwrap();
    let mut operator = TilingAllReduce::new(job.communicator(&device).unwrap()).unwrap();
    let launched = operator.launch(&stream, &plan, args);
    let error = launched.and(stream.synchronize()).unwrap_err();
    // Blocks that all ranks have issued may be through or not; every buffer can still be used.
    for buffer in [&q, &k, &v, &o, &y] {
        buffer.copy_to_host(&mut vec![1u8; buffer.len_bytes()]).unwrap();
    }
    println!("told: {error}");
}

/// Where the program of a rank begins; nothing when this is not a rank.
#[test]
fn program_of_a_rank() {
    if let Some(meeting) = std::env::var_os(MEETING) {
        let number = |name: &str| std::env::var(name).unwrap().parse().unwrap();
        let meeting = MeetingPoint::File(meeting.into());
        run_rank(&Rendezvous::new(number("RANK"), number("WORLD_SIZE"), meeting).unwrap());
    }
}

#[test]
fn a_rank_that_is_killed_is_missed_by_the_others_before_their_time_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let start = |number: u32| {
        let mut command = child::test(module_path!(), "program_of_a_rank");
        command.env("RANK", number.to_string()).env("WORLD_SIZE", "3");
        command.env(MEETING, folder.path().join("root"));
        piped(command.env("HCCL_EXEC_TIMEOUT", "300"))
    };
    let mut processes: Vec<Child> = (0..3).map(start).collect();
    let mut victim = processes.remove(1);
    // The harness has begun the line.
    let heard = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(
        heard.into_iter().any(|line| line.ends_with("third block")),
        "rank 1: {}",
        text(&child::finish(victim, LIMIT))
    );
    victim.kill().unwrap();
    victim.wait().unwrap();
    // `finish` waits for less than the ranks' own limit.
    for (output, number) in processes.into_iter().map(|process| child::finish(process, LIMIT)).zip([0, 2]) {
        let text = text(&output);
        assert!(output.status.success(), "rank {number}: {text}");
        assert!(text.contains("told: ") && text.contains("rank 1"), "rank {number}: {text}");
        assert!(text.contains("has ended"), "rank {number}: {text}");
    }
}
