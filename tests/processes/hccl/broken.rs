//! Processes that do not keep the rules: strangers, and peers written by hand.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use fastattention::runtime::{Communicator, RootInfo, Stream};
use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde_json::{json, Value};
use tempfile::TempDir;

use super::job::{device, endpoint_named, endpoint_of, lane, Lane};

/// For what takes no time, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) fn say(mut to: &UnixStream, word: &Value) {
    let bytes = word.to_string().into_bytes();
    to.write_all(&(bytes.len() as u32).to_le_bytes()).unwrap();
    to.write_all(&bytes).unwrap();
}

/// Says something with a descriptor beside it.
fn say_with(to: &UnixStream, word: &Value, descriptor: &File) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let bytes = word.to_string().into_bytes();
    let len = (bytes.len() as u32).to_le_bytes();
    assert_eq!(sendmsg(to, &[IoSlice::new(&len)], &mut control, SendFlags::empty()).unwrap(), 4);
    (&mut &*to).write_all(&bytes).unwrap();
}

/// Hears a word with the descriptor beside it.
fn hear_with(from: &UnixStream) -> (Value, File) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut len = [0; 4];
    recvmsg(from, &mut [IoSliceMut::new(&mut len)], &mut control, RecvFlags::WAITALL).unwrap();
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
    (&mut &*from).read_exact(&mut bytes).unwrap();
    (serde_json::from_slice(&bytes).unwrap(), File::from(descriptor.unwrap()))
}

pub(crate) fn hear(mut from: &UnixStream) -> Value {
    let mut len = [0; 4];
    from.read_exact(&mut len).unwrap();
    let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
    from.read_exact(&mut bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The first words of rank 1 of 2.
pub(crate) fn hello(root: &RootInfo) -> [Value; 2] {
    hello_of(root, 2, &json!({"device": 0, "process": 4242}))
}

/// Those of rank 1 of `ranks` on a device.
fn hello_of(root: &RootInfo, ranks: u32, home: &Value) -> [Value; 2] {
    let field = |at: usize| u64::from_le_bytes(root.to_bytes()[at..at + 8].try_into().unwrap());
    let (number, nonce) = (field(20), field(28));
    let limit = json!({"secs": 60, "nanos": 0});
    let settings =
        json!({"exec_timeout": limit, "connect_timeout": limit, "rounding": "EachStep", "order": "Rank"});
    let config = json!({"name": null, "deterministic": null});
    let request = json!({"ranks": ranks, "rank": 1, "home": home, "settings": settings, "config": config});
    [json!({"version": 2, "number": number, "nonce": nonce}), request]
}

/// As rank 1 of `ranks`, on device 2 of this process: says its first words.
pub(crate) fn join_by_hand(root: &RootInfo, ranks: u32) -> UnixStream {
    let peer = UnixStream::connect(endpoint_of(root)).unwrap();
    let home = json!({"device": 2, "process": std::process::id()});
    hello_of(root, ranks, &home).iter().for_each(|word| say(&peer, word));
    peer
}

/// Rank 0, here, and a rank 1 that is written by hand.
fn with_peer(body: impl FnOnce(&Lane, &UnixStream)) {
    with_peer_and_memory(|lane, peer, _| body(lane, peer));
}

fn with_peer_and_memory(body: impl FnOnce(&Lane, &UnixStream, &File)) {
    let root = RootInfo::new(&device()).unwrap();
    std::thread::scope(|scope| {
        let owner = scope.spawn(|| lane(&root, 0, 2));
        let peer = UnixStream::connect(endpoint_of(&root)).unwrap();
        hello(&root).iter().for_each(|word| say(&peer, word));
        let (welcome, memory) = hear_with(&peer);
        assert!(welcome["Welcome"]["name"].is_string());
        say(&peer, &json!("Ready"));
        body(&owner.join().unwrap(), &peer, &memory);
    });
}

fn issue(ticket: u64, kind: &Value, count: u64) -> Value {
    json!({"Issue": {"ticket": ticket, "operation": {"kind": kind, "count": count, "data_type": "Int8"}}})
}

#[test]
fn strangers_are_sent_away() {
    let root = RootInfo::new(&device()).unwrap();
    let endpoint = endpoint_of(&root);
    let connect = || UnixStream::connect(&endpoint).unwrap();
    let start = Instant::now();
    drop(connect());
    let _silent = connect();
    (&connect()).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let text = |words: &[Value]| {
        let stream = connect();
        words.iter().for_each(|word| say(&stream, word));
        hear(&stream)["No"]["text"].as_str().unwrap().to_owned()
    };
    let [good, request] = hello(&root);
    let changed = |field: &str, value: u64| {
        let mut hello = good.clone();
        hello[field] = json!(value);
        text(&[hello])
    };
    assert!(changed("nonce", 5).contains("its nonce is not that"));
    assert!(changed("number", 1 << 40).contains("is used up"));
    assert!(changed("version", 3).contains("version 3 of this library's protocol given, 2 wanted"));
    let with = |field: &str, value: Value| {
        let mut request = request.clone();
        request[field] = value;
        text(&[good.clone(), request])
    };
    assert!(with("rank", json!(2)).contains("rank = 2 given, a rank below nRanks = 2"));
    let name = json!({"name": "n".repeat(128), "deterministic": null});
    assert!(with("config", name).contains("a name of 128 bytes given"));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "a silent stranger holds nobody up: {took:?}");
}

#[test]
fn what_a_peer_says_is_checked() {
    let sum = json!({"AllReduce": "Sum"});
    let cases: [(&str, Vec<Value>); 7] = [
        ("gave operation 3, 0 was next", vec![issue(3, &sum, 4)]),
        ("spoke of operation 0 of 0", vec![json!({"Arrive": {"ticket": 0}})]),
        (
            "came to operation 0 twice",
            vec![issue(0, &sum, 4), json!({"Arrive": {"ticket": 0}}), json!({"Arrive": {"ticket": 0}})],
        ),
        ("does not understand", vec![json!({"Attack": 1})]),
        ("does not understand", vec![issue(0, &json!({"Broadcast": {"root": -1}}), 4)]),
        // The answer to a question about its data.
        (
            "gave the answer to another question",
            vec![issue(0, &sum, 64), json!({"Arrive": {"ticket": 0}}), json!("Stored")],
        ),
        ("has ended", vec![issue(0, &sum, 64), json!({"Arrive": {"ticket": 0}})]),
    ];
    for (text, words) in cases {
        with_peer(|lane, peer| {
            let buffer = lane.upload(&[1; 64]);
            let count = if words.len() == 3 && text.contains("twice") { 4 } else { 64 };
            let job = (count, fastattention::runtime::CommDType::I8);
            let op = fastattention::runtime::ReduceOp::Sum;
            if text.contains("question") || text.contains("ended") {
                lane.comm.all_reduce(&lane.stream, &buffer, &buffer, job, op).unwrap();
            }
            for word in &words {
                if *word == json!("Stored") {
                    while hear(peer)["Load"].is_null() {}
                }
                say(peer, word);
            }
            if text.contains("ended") {
                while hear(peer)["Load"].is_null() {}
                peer.shutdown(std::net::Shutdown::Both).unwrap();
            }
            let start = Instant::now();
            while lane.comm.async_error().is_ok() && start.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(2));
            }
            let error = lane.comm.barrier(&Stream::new(&lane.device).unwrap()).unwrap_err().to_string();
            assert!(error.contains("rank 1 (device 0 of process 4242)"), "{error}");
            assert!(error.contains(text), "{text:?} is not in: {error}");
        });
    }
}

#[test]
fn a_peer_cannot_take_the_memory_away() {
    with_peer_and_memory(|lane, peer, memory| {
        for len in [0, 4096] {
            let error = memory.set_len(len).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{len} bytes: {error}");
        }
        let buffer = lane.upload(&[1; 64]);
        let (job, op) = ((64, fastattention::runtime::CommDType::I8), fastattention::runtime::ReduceOp::Sum);
        lane.comm.all_reduce(&lane.stream, &buffer, &buffer, job, op).unwrap();
        say(peer, &issue(0, &json!({"AllReduce": "Sum"}), 64));
        say(peer, &json!({"Arrive": {"ticket": 0}}));
        loop {
            let word = hear(peer);
            if !word["Load"].is_null() {
                memory.write_all_at(&[2; 64], 0).unwrap();
                say(peer, &json!({"Loaded": {"has_unset": false}}));
            } else if !word["Store"].is_null() {
                say(peer, &json!("Stored"));
            } else if !word["Ended"].is_null() {
                break;
            }
        }
        lane.stream.synchronize().unwrap();
        assert_eq!(lane.download(&buffer), [3; 64]);
    });
}

#[test]
fn an_operation_out_of_range_is_refused_and_the_peer_stays() {
    with_peer(|lane, peer| {
        for (ticket, kind, count, text) in [
            (0, json!({"Broadcast": {"root": 2}}), 4, "root = 2 given"),
            (1, json!({"Send": {"to": 1}}), 4, "a rank other than the own"),
            (2, json!("AllGather"), u64::MAX, "at most 2^40 wanted"),
        ] {
            say(peer, &issue(ticket, &kind, count));
            let answer = hear(peer);
            let got = answer["Issued"]["refusal"]["text"].as_str().unwrap();
            assert!(got.contains(text), "{got}");
        }
        say(peer, &json!("Ping"));
        assert_eq!(hear(peer), json!("Pong"));
        lane.comm.async_error().unwrap();
    });
}

/// A private folder where endpoints are, and the root info of another process that leads there.
pub(crate) fn place() -> (TempDir, RootInfo) {
    let base = endpoint_named("x").parent().unwrap().parent().unwrap().to_owned();
    let mut builder = tempfile::Builder::new();
    builder.prefix("fastattention-hccl-").rand_bytes(12).permissions(PermissionsExt::from_mode(0o700));
    let folder = builder.tempdir_in(base).unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let root = root_to(name.strip_prefix("fastattention-hccl-").unwrap());
    (folder, root)
}

pub(crate) fn socket_in(folder: &Path) -> std::path::PathBuf {
    folder.join("endpoint")
}

/// A root info of another process, with an endpoint of that name.
pub(crate) fn root_to(endpoint: &str) -> RootInfo {
    let mut bytes = b"fa-sim-hccl-root".to_vec();
    bytes.extend(4242u32.to_le_bytes());
    bytes.extend([0; 16]);
    bytes.push(1);
    bytes.extend((endpoint.len() as u16).to_le_bytes());
    bytes.extend(endpoint.as_bytes());
    bytes.resize(RootInfo::BYTES, 0);
    RootInfo::from_bytes(&bytes).unwrap()
}

/// Rank 1, here, and a owner that is written by hand.
fn with_owner<T: Send>(body: impl FnOnce(UnixStream), join: impl FnOnce(&RootInfo) -> T + Send) -> T {
    let (folder, root) = place();
    let listener = UnixListener::bind(socket_in(folder.path())).unwrap();
    std::thread::scope(|scope| {
        let peer = scope.spawn(|| join(&root));
        let stream = listener.accept().unwrap().0;
        assert_eq!((hear(&stream)["version"].clone(), hear(&stream)["rank"].clone()), (json!(2), json!(1)));
        body(stream);
        peer.join().unwrap()
    })
}

fn welcome() -> Value {
    let home = json!({"device": 0, "process": 4242});
    let own = json!({"device": 0, "process": 1});
    json!({"Welcome": {"name": "x", "homes": [home, own]}})
}

/// Memory to share.
fn memory(len: u64, seals: SealFlags) -> File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create(c"test", flags).unwrap());
    file.set_len(len).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// 1 MiB and a bit for each of its bytes.
const MEMORY: u64 = (1 << 20) + (1 << 17);

#[test]
fn what_an_owner_answers_is_checked() {
    let join = |root: &RootInfo| Communicator::new(&device(), root, 1, 2).unwrap_err().to_string();
    for (answer, text) in [
        (json!("Nonsense"), "does not understand"),
        (welcome(), "memory that process 4242 shares cannot be mapped: none given"),
        (json!({"Welcome": {"name": "n".repeat(128), "homes": []}}), "a name of 128 bytes"),
        (json!({"No": {"code": 5, "text": "not today"}}), "not today"),
    ] {
        let error = with_owner(|stream| say(&stream, &answer), join);
        assert!(error.contains(text), "{text:?} is not in: {error}");
    }
    for (memory, text) in [
        (memory(MEMORY, SealFlags::empty()), "sealed memory wanted"),
        (memory(MEMORY, SealFlags::GROW), "sealed memory wanted"),
        (memory(100, SEALS), "a file of 100 bytes given"),
        (File::open("/dev/null").unwrap(), "sealed memory wanted"),
    ] {
        let error = with_owner(|stream| say_with(&stream, &welcome(), &memory), join);
        assert!(error.contains(text), "{text:?} is not in: {error}");
    }
}

/// The process of the root info lives all the time: it is this one.
#[test]
fn a_peer_that_is_hung_up_on_before_an_answer_comes_again() {
    let (folder, root) = place();
    let listener = UnixListener::bind(socket_in(folder.path())).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::scope(|scope| {
        let join = || scope.spawn(|| Communicator::new(&device(), &root, 1, 2).unwrap_err().to_string());
        let mut peer = join();
        let accept = |peer: &ScopedJoinHandle<'_, String>| loop {
            if let Ok((stream, _)) = listener.accept() {
                return stream;
            }
            assert!(!peer.is_finished(), "it does not come");
            std::thread::sleep(Duration::from_millis(2));
        };
        // Heard, half heard and not heard at all.
        for words in [2, 1, 0] {
            let stream = accept(&peer);
            (0..words).for_each(|_| drop(hear(&stream)));
        }
        let stream = accept(&peer);
        assert_eq!((hear(&stream)["version"].clone(), hear(&stream)["rank"].clone()), (json!(2), json!(1)));
        say(&stream, &json!({"No": {"code": 5, "text": "not today"}}));
        let error = peer.join().unwrap();
        assert!(error.contains("not today"), "{error}");
        peer = join();
        let stream = accept(&peer);
        drop(listener);
        drop(stream);
        let error = peer.join().unwrap();
        assert!(
            error.contains("rootInfo of process 4242 given, which is used up, or whose process has ended"),
            "{error}"
        );
    });
}

#[test]
fn what_a_keeper_asks_for_is_checked() {
    let load = |ticket: u64, side: &str, start: u64, len: u64| json!({"Load": {"ticket": ticket, "side": side, "start": start, "len": len}});
    for (question, text) in [
        (load(0, "Send", 0, 65), "asked for bytes 0..65 of the Send buffer of operation 0"),
        (load(0, "Send", u64::MAX, 1), "asked for bytes"),
        (load(0, "Send", 60, u64::MAX), "asked for bytes"),
        (load(1, "Recv", 0, 1), "asked for bytes 0..1 of the Recv buffer of operation 1"),
        (json!({"Explode": null}), "does not understand"),
        (json!({"Ended": {"ticket": 0, "is_done": false}}), "gave no reason"),
    ] {
        let owner = |stream: UnixStream| {
            let memory = memory(MEMORY, SEALS);
            say_with(&stream, &welcome(), &memory);
            assert_eq!(hear(&stream), json!("Ready"));
            assert_eq!(hear(&stream)["Issue"]["ticket"], json!(0));
            say(&stream, &json!({"Issued": {"ticket": 0, "refusal": null}}));
            assert_eq!(hear(&stream)["Arrive"]["ticket"], json!(0));
            say(&stream, &load(0, "Send", 3, 61));
            assert_eq!(hear(&stream), json!({"Loaded": {"has_unset": false}}));
            let mut bytes = [0; 61];
            memory.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(bytes.to_vec(), (3..64).collect::<Vec<u8>>());
            say(&stream, &question);
            // Until the peer has gone.
            let _ = (&stream).read_to_end(&mut Vec::new());
        };
        let error = with_owner(owner, |root| {
            let lane = lane(root, 1, 2);
            let buffer = lane.upload(&(0..64).collect::<Vec<u8>>());
            let job = (64, fastattention::runtime::CommDType::I8);
            let op = fastattention::runtime::ReduceOp::Sum;
            lane.comm.all_reduce(&lane.stream, &buffer, &buffer, job, op).unwrap();
            let error = lane.stream.synchronize().unwrap_err().to_string();
            assert_eq!(lane.download(&buffer), (0..64).collect::<Vec<u8>>());
            error
        });
        assert!(error.contains("EI0002") && error.contains("rank 0 (device 0 of process 4242)"), "{error}");
        assert!(error.contains(text), "{text:?} is not in: {error}");
    }
}
