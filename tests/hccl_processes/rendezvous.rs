//! `runtime::Rendezvous`: over TCP and a file, with everything that can be wrong there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fastattention::runtime::{Device, MeetingPoint, Rendezvous, RootInfo};
use fastattention::{Error, ErrorKind};

use crate::job::device;

const HOST: &str = "127.0.0.1";

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((HOST, 0)).unwrap().local_addr().unwrap().port()
}

fn tcp(rank: u32, ranks: u32, port: u16) -> Rendezvous {
    let point = MeetingPoint::Tcp { host: HOST.into(), port };
    Rendezvous::new(rank, ranks, point).unwrap().with_timeout(Duration::from_secs(20))
}

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
    assert!(roots.iter().all(|root| *root == roots[0] && root.len() == RootInfo::BYTES));
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
            scope.spawn(move || own.communicator(&crate::job::device()).unwrap());
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
        &["not an address of this machine"],
    );
}

#[test]
fn missing_ranks_are_named() {
    let (device, port) = (device(), free_port());
    let start = Instant::now();
    let outcomes = exchange(vec![hasty(tcp(0, 4, port)), tcp(2, 4, port)], &device);
    let [first, second] = outcomes.try_into().unwrap();
    assert_error(first, ErrorKind::Timeout, &["rank 0 of 4", "waited 300ms for rank 1, 3"]);
    second.unwrap();
    assert_error(hasty(tcp(1, 4, port)).exchange(&device), ErrorKind::Timeout, &["for rank 0; last: "]);
    assert!(start.elapsed() < Duration::from_secs(10));
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
        let texts = ["rank 0 refuses: ", "job \"b\" given, \"a\" wanted"];
        assert_error(other.exchange(&device), ErrorKind::InvalidArgument, &texts);
        let _silent = connect();
        assert_one_root(vec![own(1).exchange(&device), first.join().unwrap()]);
    });
}

#[test]
fn ranks_that_contradict_rank_0_end_the_rendezvous() {
    let device = device();
    for (other, texts) in [
        (tcp(1, 3, 0), ["3 ranks given, 2 wanted", "rank 1"]),
        (tcp(0, 2, 0), ["rank 0 given", "none of 1 to 1"]),
    ] {
        let port = free_port();
        let other = tcp(other.rank(), other.ranks(), port);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| tcp(0, 2, port).exchange(&device));
            // A second rank 0 cannot listen; its request is made by hand.
            let mut stream = loop {
                if let Ok(stream) = TcpStream::connect((HOST, port)) {
                    break stream;
                }
            };
            let mut request = b"fa-meet\n\x01\x00".to_vec();
            request.extend(other.rank().to_le_bytes());
            request.extend(other.ranks().to_le_bytes());
            request.push(0);
            stream.write_all(&request).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.contains(texts[0]), "{answer}");
            assert_error(first.join().unwrap(), ErrorKind::InvalidArgument, &texts);
        });
    }
    assert_eq!(
        Rendezvous::new(2, 2, MeetingPoint::File("x".into())).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}
