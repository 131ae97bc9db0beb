//! Processes: the parent's side, and how a rank begins.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::Duration;

use fastattention::runtime::{Buffer, Communicator, Device, MeetingPoint, Rendezvous, RootInfo, Stream};
use fastattention::sim::{Config, HcclConfig};
use fastattention::Soc;
use fastattention_testkit::child;
use tempfile::TempDir;

use super::programs;

const PROGRAM: &str = "HCCL_PROCESSES_PROGRAM";
const MEETING: &str = "FASTATTENTION_RENDEZVOUS_FILE";
/// For a whole job on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Processes that run a program, one for each rank.
pub(crate) struct Job {
    folder: TempDir,
    ranks: u32,
    processes: Vec<Process>,
}

struct Process {
    rank: usize,
    child: Child,
    stdout: BufReader<ChildStdout>,
    heard: String,
}

impl Process {
    /// Waits for the end. Rank, how it ended (`None`: it did not), and all that it printed.
    fn end(self) -> (usize, Option<ExitStatus>, String) {
        let Process { rank, child, mut stdout, mut heard } = self;
        let rest = std::thread::spawn(move || {
            stdout.read_to_string(&mut heard).unwrap();
            heard
        });
        let (status, output) = match child::wait(child, LIMIT) {
            Ok(output) => (Some(output.status), output),
            Err(output) => (None, output),
        };
        (rank, status, rest.join().unwrap() + &child::text(&output))
    }
}

/// What a process printed.
pub(crate) struct Output {
    pub(crate) rank: usize,
    pub(crate) text: String,
}

impl Job {
    pub(crate) fn start(program: &str, ranks: u32) -> Job {
        Self::with(program, ranks, &[])
    }

    pub(crate) fn with(program: &str, ranks: u32, variables: &[(&str, &str)]) -> Job {
        Self::some_of(program, 0..ranks, ranks, variables)
    }

    /// A job in which only the `present` ranks are started.
    pub(crate) fn some_of(program: &str, present: Range<u32>, ranks: u32, variables: &[(&str, &str)]) -> Job {
        let folder = tempfile::tempdir().unwrap();
        let processes = present
            .map(|rank| {
                let mut child = child::test(super::HERE, "program_of_a_rank")
                    .env(PROGRAM, program)
                    .env("RANK", rank.to_string())
                    .env("WORLD_SIZE", ranks.to_string())
                    .env("LOCAL_RANK", rank.to_string())
                    .env(MEETING, folder.path().join("meeting"))
                    .envs(variables.iter().copied())
                    // Open until the parent waits for the process: what the process forks lives that long.
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                let stdout = BufReader::new(child.stdout.take().unwrap());
                Process { rank: rank as usize, child, stdout, heard: String::new() }
            })
            .collect();
        Job { folder, ranks, processes }
    }

    pub(crate) fn rendezvous_of(&self, rank: u32) -> Rendezvous {
        let path: PathBuf = self.folder.path().join("meeting");
        Rendezvous::new(rank, self.ranks, MeetingPoint::File(path)).unwrap()
    }

    fn process(&mut self, rank: usize) -> &mut Process {
        self.processes.iter_mut().find(|process| process.rank == rank).unwrap()
    }

    /// Waits until a rank has printed a line.
    pub(crate) fn wait_for_line(&mut self, rank: usize, line: &str) {
        let process = self.process(rank);
        let mut last = String::new();
        while last.trim_end() != line {
            last.clear();
            let len = process.stdout.read_line(&mut last).unwrap();
            process.heard.push_str(&last);
            assert!(len > 0, "rank {rank} has ended without {line:?}: {}", process.heard);
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, rank: usize) {
        self.process(rank).child.kill().unwrap();
    }

    /// Waits for all ranks, which must succeed.
    pub(crate) fn finish(self) -> Vec<Output> {
        let none = self.ranks as usize;
        self.finish_all_but(none)
    }

    /// As [`Self::finish`], except that one rank may fail.
    pub(crate) fn finish_all_but(mut self, victim: usize) -> Vec<Output> {
        let processes = std::mem::take(&mut self.processes);
        let ends: Vec<_> =
            processes.into_iter().map(|process| std::thread::spawn(|| process.end())).collect();
        let mut outputs = Vec::new();
        for end in ends {
            let (rank, status, text) = end.join().unwrap();
            let status = status.unwrap_or_else(|| panic!("rank {rank} hangs: {text}"));
            assert!(rank == victim || status.success(), "rank {rank} fails: {text}");
            // The folder of the communicator is gone.
            for endpoint in text.lines().filter_map(|line| line.strip_prefix("endpoint ")) {
                assert!(!PathBuf::from(endpoint).parent().unwrap().exists(), "{endpoint} is left");
            }
            if rank != victim {
                outputs.push(Output { rank, text });
            }
        }
        outputs
    }
}

/// Ends what a failed test leaves.
impl Drop for Job {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// One rank with what it needs.
pub(crate) struct Lane {
    pub(crate) stream: Stream,
    pub(crate) comm: Communicator,
    pub(crate) device: Device,
}

impl Lane {
    pub(crate) fn rank(&self) -> usize {
        self.comm.rank() as usize
    }

    pub(crate) fn ranks(&self) -> usize {
        self.comm.ranks() as usize
    }

    pub(crate) fn upload(&self, bytes: &[u8]) -> Buffer {
        Buffer::from_slice(&self.device, bytes).unwrap()
    }

    pub(crate) fn download(&self, buffer: &Buffer) -> Vec<u8> {
        let mut bytes = vec![0; buffer.len_bytes()];
        buffer.copy_to_host(&mut bytes).unwrap();
        bytes
    }
}

fn limit_ms(name: &str) -> Option<Duration> {
    let ms = std::env::var(name).ok().map_or(60_000, |value| value.parse().unwrap());
    Some(Duration::from_millis(ms))
}

pub(crate) fn device() -> Device {
    let mut config = Config::new(Soc::by_name("Ascend910B2").unwrap());
    config.hccl = HcclConfig {
        exec_timeout: limit_ms("EXEC_MS"),
        connect_timeout: limit_ms("CONNECT_MS"),
        ..HcclConfig::default()
    };
    Device::simulated(config).unwrap()
}

/// Where the root info of a process leads to: the length of the name is in bytes 37 and 38, the name follows.
pub(crate) fn endpoint_of(root: &RootInfo) -> PathBuf {
    let bytes = root.to_bytes();
    let len = usize::from(u16::from_le_bytes([bytes[37], bytes[38]]));
    endpoint_named(std::str::from_utf8(&bytes[39..39 + len]).unwrap())
}

pub(crate) fn endpoint_named(name: &str) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    base.join(format!("fastattention-hccl-{name}/endpoint"))
}

/// Rank `rank` of a communicator, on a device of its own.
pub(crate) fn lane(root: &RootInfo, rank: u32, ranks: u32) -> Lane {
    let device = device();
    let comm = Communicator::new(&device, root, rank, ranks).unwrap();
    Lane { stream: Stream::new(&device).unwrap(), comm, device }
}

/// In a process of a job: runs its program.
pub(crate) fn run_if_rank() {
    let Ok(program) = std::env::var(PROGRAM) else { return };
    let job = Rendezvous::from_env().unwrap();
    let root = job.exchange(&device()).unwrap();
    println!("endpoint {}", endpoint_of(&root).display());
    programs::run(&program, &root, job.rank(), job.ranks());
}
