//! `runtime::Rendezvous`: over TCP and a file, with everything that can be wrong there.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastattention::runtime::{Device, MeetingPoint, Rendezvous, RootInfo};
use fastattention::{Error, ErrorKind};
use fastattention_testkit::compare::assert_all;

use super::broken::SOON;
use super::job::device;
use super::users::{can_be_another, give_to_nobody};

const HOST: &str = "127.0.0.1";

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((HOST, 0)).unwrap().local_addr().unwrap().port()
}

fn tcp(rank: u32, ranks: u32, port: u16) -> Rendezvous {
    let point = MeetingPoint::Tcp { host: HOST.into(), port };
    Rendezvous::new(rank, ranks, point).unwrap().with_timeout(Duration::from_secs(20))
}

/// For a rank that waits in vain from the beginning: nobody has to be there in time.
fn hasty(rendezvous: Rendezvous) -> Rendezvous {
    rendezvous.with_timeout(Duration::from_millis(300))
}

#[track_caller]
fn assert_error<T>(outcome: Result<T, Error>, kind: ErrorKind, texts: &[&str]) {
    let Err(error) = outcome else { panic!("no error") };
    for text in texts {
        assert!(error.to_string().contains(text), "{text:?} is not in: {error}");
    }
    assert_eq!(error.kind(), kind, "{error}");
}

/// All ranks at once; those behind the first start later, or earlier.
fn exchange(ranks: Vec<Rendezvous>, device: &Device) -> Vec<Result<RootInfo, Error>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = ranks
            .into_iter()
            .map(|own| {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(u64::from((own.rank() + 2) % 3) * 40));
                    own.exchange(device)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn assert_one_root(outcomes: Vec<Result<RootInfo, Error>>) {
    let roots: Vec<Vec<u8>> = outcomes.into_iter().map(|root| root.unwrap().to_bytes()).collect();
    assert_eq!(roots[0].len(), RootInfo::BYTES);
    assert_all(&roots, &roots[0], "roots");
}

#[test]
fn all_ranks_get_one_root_info_over_tcp() {
    let device = device();
    for ranks in [1, 2, 5] {
        let port = free_port();
        assert_one_root(exchange((0..ranks).map(|rank| tcp(rank, ranks, port)).collect(), &device));
    }
}

#[test]
fn a_file_serves_one_communicator() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meeting");
    let of = |rank| Rendezvous::new(rank, 3, MeetingPoint::File(path.clone())).unwrap();
    let device = device();
    assert_one_root(exchange((0..3).map(of).collect(), &device));
    assert_error(of(0).exchange(&device), ErrorKind::InvalidArgument, &["the file exists", "meeting"]);
    let other = of(1).with_job("b");
    assert_error(other.exchange(&device), ErrorKind::InvalidArgument, &["job \"\" given, \"b\" wanted"]);
    std::fs::write(&path, "something else").unwrap();
    assert_error(of(1).exchange(&device), ErrorKind::Io, &["not the file of a rendezvous", "\"somethin\""]);
    std::fs::remove_file(&path).unwrap();
    assert_error(
        hasty(of(1)).exchange(&device),
        ErrorKind::Timeout,
        &["rank 1 of 3", "waited 300ms for rank 0"],
    );

    std::thread::scope(|scope| {
        for rank in 0..3 {
            let own = of(rank);
            scope.spawn(move || own.communicator(&super::job::device()).unwrap());
        }
    });
    assert!(!path.exists(), "rank 0 removes it");
    let nowhere = Rendezvous::new(0, 2, MeetingPoint::File(folder.path().join("no/file"))).unwrap();
    assert_error(nowhere.exchange(&device), ErrorKind::Io, &["no/file"]);
}

#[test]
fn a_port_in_use_is_told() {
    let device = device();
    let taken = TcpListener::bind((HOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let at = format!("rank 0 of 2 at {HOST}:{port}");
    let texts = [at.as_str(), "the port is in use", "FASTATTENTION_RENDEZVOUS_PORT"];
    assert_error(tcp(0, 2, port).exchange(&device), ErrorKind::InvalidArgument, &texts);
    // What listens there says nothing, which is no answer.
    assert_error(hasty(tcp(1, 2, port)).exchange(&device), ErrorKind::Timeout, &["waited 300ms for rank 0"]);
    // 192.0.2.0/24 is for documents.
    let point = MeetingPoint::Tcp { host: "192.0.2.1".into(), port };
    let elsewhere = Rendezvous::new(0, 2, point).unwrap();
    assert_error(
        elsewhere.exchange(&device),
        ErrorKind::InvalidArgument,
        &["one of this machine wanted, where rank 0 is"],
    );
}

#[test]
fn missing_ranks_are_named() {
    let (device, port) = (device(), free_port());
    let first = tcp(0, 4, port).with_timeout(Duration::from_secs(5));
    let start = Instant::now();
    let outcomes = exchange(vec![first, tcp(2, 4, port)], &device);
    let [first, second] = outcomes.try_into().unwrap();
    assert_error(first, ErrorKind::Timeout, &["rank 0 of 4", "waited 5s for rank 1, 3"]);
    second.unwrap();
    assert_error(
        hasty(tcp(1, 4, port)).exchange(&device),
        ErrorKind::Timeout,
        &["for rank 0; the last attempt failed: "],
    );
    assert!(start.elapsed() < 2 * SOON, "{:?}", start.elapsed());
}

#[test]
fn garbage_and_other_jobs_do_not_disturb() {
    let (device, port) = (device(), free_port());
    let own = |rank| tcp(rank, 2, port).with_job("a");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| own(0).exchange(&device));
        let connect = || loop {
            if let Ok(stream) = TcpStream::connect((HOST, port)) {
                return stream;
            }
        };
        drop(connect());
        let mut garbage = connect();
        garbage.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        // Rank 0 hangs up, at once and not after the limit for peers that are silent.
        let _ = garbage.read_to_end(&mut Vec::new());
        let other = tcp(1, 2, port).with_job("b");
        assert_error(other.exchange(&device), ErrorKind::InvalidArgument, &["rank 0 refuses this rank"]);
        let _silent = connect();
        assert_one_root(vec![own(1).exchange(&device), first.join().unwrap()]);
    });
}

#[test]
fn ranks_that_contradict_rank_0_are_refused_and_change_nothing() {
    let (device, port) = (device(), free_port());
    let own = |rank| tcp(rank, 2, port).with_job("the job");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| own(0).exchange(&device));
        let others =
            [tcp(1, 3, port).with_job("the job"), tcp(2, 3, port).with_job("the job"), tcp(1, 2, port)];
        for other in others {
            let error = other.exchange(&device).unwrap_err();
            assert!(!error.to_string().contains("the job"), "{error}");
            assert_error(Err::<(), _>(error), ErrorKind::InvalidArgument, &["rank 0 refuses this rank"]);
        }
        assert_one_root(vec![own(1).exchange(&device), first.join().unwrap()]);
    });
    // Rank 0 tells its own user what it refused.
    std::thread::scope(|scope| {
        let first = scope.spawn(|| tcp(0, 3, port).with_timeout(Duration::from_secs(5)).exchange(&device));
        // A rank may come again until rank 0 has its receipt.
        let mut again = tcp(1, 3, port).exchange(&device);
        while again.is_ok() {
            again = tcp(1, 3, port).exchange(&device);
        }
        for refused in [again, tcp(1, 2, port).exchange(&device)] {
            assert_error(refused, ErrorKind::InvalidArgument, &["rank 0 refuses this rank"]);
        }
        let texts = [
            "for rank 2; 2 connections came that are not of a missing rank",
            "rank 1 gave ranks = 2, 3 wanted",
        ];
        assert_error(first.join().unwrap(), ErrorKind::Timeout, &texts);
    });
    assert_eq!(
        Rendezvous::new(2, 2, MeetingPoint::File("x".into())).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn a_secret_keeps_others_out() {
    let device = device();
    for (secret, others) in [("one", ["", "two"]), ("", ["one", "one and more"])] {
        let port = free_port();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| tcp(0, 2, port).with_secret(secret).exchange(&device));
            for other in others {
                let refused = tcp(1, 2, port).with_secret(other).exchange(&device);
                assert_error(refused, ErrorKind::InvalidArgument, &["rank 0 refuses this rank"]);
            }
            let second = tcp(1, 2, port).with_secret(secret).exchange(&device);
            assert_one_root(vec![second, first.join().unwrap()]);
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meeting");
        let of = |rank| Rendezvous::new(rank, 2, MeetingPoint::File(path.clone())).unwrap();
        let first = of(0).with_secret(secret).exchange(&device);
        for other in others {
            let refused = of(1).with_secret(other).exchange(&device);
            assert_error(refused, ErrorKind::InvalidArgument, &["a file written with another secret given"]);
        }
        assert_one_root(vec![first, of(1).with_secret(secret).exchange(&device)]);
    }
}

#[test]
fn neither_secret_nor_job_is_sent_and_a_wrong_answer_is_none() {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let own = |rank| tcp(rank, 2, port).with_secret("the secret").with_job("the job");
    std::thread::scope(|scope| {
        // It asks until long after the rest of this test.
        let rank = scope.spawn(|| own(1).with_timeout(2 * SOON).exchange(&device()));
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(&[b"fa-meet\n\x02\x00".as_slice(), &[7; 32]].concat()).unwrap();
        let mut request = [0; 8 + 2 + 4 + 4 + 32 + 32];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(request[10..18], [1, 0, 0, 0, 2, 0, 0, 0], "rank and ranks");
        let request = String::from_utf8_lossy(&request).into_owned();
        assert!(!request.contains("secret") && !request.contains("job"), "{request}");
        let answer = [b"fa-meet\n\x02\x00\x00".as_slice(), &[0; RootInfo::BYTES + 32]].concat();
        stream.write_all(&answer).unwrap();
        // No receipt.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        drop(listener);
        // The rank goes on until rank 0 is there.
        let first = own(0).with_timeout(2 * SOON).exchange(&device());
        assert_one_root(vec![first, rank.join().unwrap()]);
    });
}

fn connect(port: u16) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect((HOST, port)) {
            return stream;
        }
    }
}

#[test]
fn connections_without_end_hold_rank_0_no_longer_than_its_limit() {
    let (device, port) = (device(), free_port());
    let is_over = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| hasty(tcp(0, 2, port)).exchange(&device));
        scope.spawn(|| {
            let mut silent = VecDeque::new();
            while !is_over.load(Ordering::Acquire) {
                silent.extend(TcpStream::connect((HOST, port)));
                if silent.len() > 100 {
                    silent.pop_front();
                }
            }
        });
        let outcome = first.join().unwrap();
        is_over.store(true, Ordering::Release);
        assert_error(outcome, ErrorKind::Timeout, &["waited 300ms for rank 1"]);
    });
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn silent_and_dripping_connections_hold_no_rank_up() {
    let (device, port) = (device(), free_port());
    let own = |rank| tcp(rank, 2, port).with_timeout(2 * SOON);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| own(0).exchange(&device));
        let drip = connect(port);
        let dripping = scope.spawn(move || {
            // A request that is right as far as it goes, slower than anybody waits for; a loaded machine is
            // slower still.
            let request = [b"fa-meet\n\x02\x00".as_slice(), &[1; 500]].concat();
            for byte in request {
                if (&drip).write_all(&[byte]).is_err() {
                    break;
                }
                drip.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                let mut heard = [0; 64];
                let ended = match (&drip).read(&mut heard) {
                    Ok(len) => len == 0,
                    Err(e) => {
                        !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
                    }
                };
                if ended {
                    break;
                }
            }
        });
        let silent: Vec<TcpStream> = (0..200).map(|_| connect(port)).collect();
        // With a second for each of them in turn this would not be in time.
        let second = own(1).exchange(&device);
        assert_one_root(vec![second, first.join().unwrap()]);
        dripping.join().unwrap();
        for mut stream in silent {
            // Rank 0 has hung up: what it said ends.
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut heard = Vec::new();
            let ended = stream.read_to_end(&mut heard);
            // One that rank 0 has not even accepted is reset.
            let is_reset = |e: std::io::Error| e.kind() == std::io::ErrorKind::ConnectionReset;
            assert!(ended.is_ok() || ended.is_err_and(is_reset));
            assert!(heard.len() <= 42, "{} bytes, not a challenge alone", heard.len());
        }
    });
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// Something at the path of the file that is not the file of rank 0 of the same user.
#[test]
fn files_of_others_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meeting");
    let of = |rank, path: &Path| Rendezvous::new(rank, 2, MeetingPoint::File(path.into())).unwrap();
    let device = device();
    let start = Instant::now();
    let refused = |path: &Path, text: &str| {
        let texts = ["not the file of a rendezvous", text];
        assert_error(of(1, path).exchange(&device), ErrorKind::Io, &texts);
    };
    let root = of(0, &path).exchange(&device);

    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    refused(&link, "a symbolic link given");
    let fifo = folder.path().join("fifo");
    let owner = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, owner, 0).unwrap();
    refused(&fifo, "a folder, FIFO or device given");
    refused(folder.path(), "a folder, FIFO or device given");
    for mode in [0o620, 0o602] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        refused(&path, &format!("a file with mode {mode:o} given"));
    }
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert_one_root(vec![root, of(1, &path).exchange(&device)]);
    // Rank 0 writes over nothing.
    for there in [&fifo, &link] {
        assert_error(of(0, there).exchange(&device), ErrorKind::InvalidArgument, &["the file exists"]);
    }
    if can_be_another("files of another user") {
        give_to_nobody(&path);
        refused(&path, "a file of user 65534 given, one of user 0 wanted");
    }
    assert!(start.elapsed() < SOON, "a limit of two minutes: {:?}", start.elapsed());
}
