//! Processes of another user, and connections that keep the endpoint busy. Threads of root take the place of
//! the former: what a thread does counts as its own user's.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use fastattention::runtime::{Communicator, Device, RootInfo};
use fastattention::sim::{Config, HcclConfig};
use fastattention::Soc;
use rustix::io::Errno;
use rustix::net::{
    bind, connect, listen, socket_with, AddressFamily, SocketAddrUnix, SocketFlags, SocketType,
};
use serde_json::json;

use super::broken::{hear, hello, place, root_to, socket_in, SOON};
use super::job::{device, endpoint_named, endpoint_of, lane, Job};

/// A user who is not the one of the tests.
const NOBODY: u32 = 65534;

/// Can this process do something as another user? Prints what is not run if not. The root of a container may
/// have no other user.
pub(crate) fn can_be_another(what: &str) -> bool {
    let can = rustix::process::geteuid().is_root() && try_as_nobody(|| ()).is_some();
    if !can {
        println!("not run: {what}, which only root that has other users can do as one of them");
    }
    can
}

/// Runs `body` as another user, if there is one.
#[allow(unsafe_code, reason = "changes the user of a thread")]
fn try_as_nobody<T: Send>(body: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let [own, other] = [0, NOBODY].map(libc::c_long::from);
            // SAFETY: takes three numbers, and changes the effective user of this thread, which ends with
            // `body`.
            let code = unsafe { libc::syscall(libc::SYS_setresuid, own, other, own) };
            (code == 0).then(body)
        });
        thread.join().unwrap()
    })
}

fn as_nobody<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    try_as_nobody(body).unwrap()
}

pub(crate) fn give_to_nobody(path: &Path) {
    std::os::unix::fs::chown(path, Some(NOBODY), None).unwrap();
}

fn join(root: &RootInfo) -> String {
    let mut config = Config::new(Soc::by_name("Ascend910B2").unwrap());
    let connect_timeout = Some(Duration::from_millis(500));
    config.hccl = HcclConfig { connect_timeout, ..HcclConfig::default() };
    let device = Device::simulated(config).unwrap();
    Communicator::new(&device, root, 1, 2).unwrap_err().to_string()
}

fn wait_for_end(mut stream: &UnixStream) {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut heard = Vec::new();
    // A connection that is closed with words unread is reset.
    let ended = stream.read_to_end(&mut heard);
    let is_reset = |e: std::io::Error| e.kind() == std::io::ErrorKind::ConnectionReset;
    assert!(ended.is_ok() || ended.is_err_and(is_reset));
    assert!(heard.is_empty(), "{}", String::from_utf8_lossy(&heard));
}

/// Says a word that is answered by a refusal.
fn ask(mut stream: &UnixStream, root: &RootInfo) -> std::io::Result<()> {
    let [mut hello, _] = hello(root);
    hello["version"] = json!(3);
    let bytes = hello.to_string().into_bytes();
    stream.write_all(&(bytes.len() as u32).to_le_bytes())?;
    stream.write_all(&bytes)
}

fn is_answered(stream: &UnixStream, root: &RootInfo) -> bool {
    ask(stream, root).unwrap();
    !hear(stream)["No"].is_null()
}

/// In a process of its own: others do not find its folder open.
#[test]
fn processes_of_other_users_are_not_let_in() {
    if can_be_another("a connection to the endpoint") {
        Job::start("other_users", 1).finish();
    }
}

pub(crate) fn other_users(root: &RootInfo) {
    let endpoint = endpoint_of(root);
    let folder = endpoint.parent().unwrap();
    let mode = |path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let dial = || UnixStream::connect(&endpoint);
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(as_nobody(|| dial().unwrap_err().kind()), std::io::ErrorKind::PermissionDenied);
    // Even if it had a way in.
    mode(folder, 0o711);
    mode(&endpoint, 0o777);
    let stream = as_nobody(|| dial().unwrap());
    mode(folder, 0o700);
    // It may have been hung up on before.
    let _ = ask(&stream, root);
    wait_for_end(&stream);
    let own = dial().unwrap();
    assert!(is_answered(&own, root), "the own user is");
}

#[test]
fn an_endpoint_of_another_user_is_not_talked_to() {
    if !can_be_another("an endpoint") {
        return;
    }
    let (folder, root) = place();
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(socket_in(folder.path())).unwrap()).unwrap();
    as_nobody(|| listen(&socket, 1).unwrap());
    let listener = UnixListener::from(socket);
    let error = join(&root);
    assert!(error.contains("a process of user 65534 given, one of user 0 wanted"), "{error}");
    wait_for_end(&listener.accept().unwrap().0);

    let (folder, root) = place();
    let listener = UnixListener::bind(socket_in(folder.path())).unwrap();
    give_to_nobody(folder.path());
    let error = join(&root);
    assert!(error.contains("a folder of user 65534 given, one of user 0 wanted"), "{error}");
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_root_info_leads_to_private_folders_only() {
    let (folder, root) = place();
    let listener = UnixListener::bind(socket_in(folder.path())).unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    assert!(join(&root).contains("a folder with mode 755 given, 700 wanted"), "{}", join(&root));
    let link = endpoint_named("link0of0test").parent().unwrap().to_owned();
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    let error = join(&root_to("link0of0test"));
    std::fs::remove_file(&link).unwrap();
    assert!(error.contains("no folder given, a folder wanted"), "{error}");
    let error = join(&root_to("../../tmp/x"));
    assert!(
        error.contains("rootInfo of another library given, one of HcclGetRootInfo of this library wanted"),
        "{error}"
    );
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

/// A socket that nobody accepts from, with a full queue. The longest queue that the system allows would take
/// more descriptors than a process may have.
fn full_queue(path: &Path) -> (OwnedFd, Vec<OwnedFd>) {
    let address = SocketAddrUnix::new(path).unwrap();
    let socket = |flags| socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let (listener, mut waiting) = (socket(SocketFlags::CLOEXEC), Vec::new());
    bind(&listener, &address).unwrap();
    listen(&listener, 1).unwrap();
    loop {
        let one = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        match connect(&one, &address) {
            Ok(()) => waiting.push(one),
            Err(e) => {
                assert_eq!(e, Errno::AGAIN);
                return (listener, waiting);
            }
        }
    }
}

/// In a process of its own: only the first root info looks for what is left.
#[test]
fn a_full_queue_is_waited_for_so_long() {
    Job::start("full_queue", 1).finish();
    if can_be_another("the folder of a full queue") {
        Job::start("full_queue_of_another", 1).finish();
    }
}

/// Where the endpoint of this process is not open.
pub(crate) fn full_queue_is_waited_for(is_of_another: bool) {
    let (folder, root) = place();
    let _full = full_queue(&socket_in(folder.path()));
    let start = Instant::now();
    let error = join(&root);
    assert!(
        error.contains("process 4242, which made rootInfo, accepted no connection within 500ms"),
        "{error}"
    );
    // What is left there disturbs nobody who makes a root info.
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::open(folder.path()).unwrap().set_modified(long_ago).unwrap();
    if is_of_another {
        give_to_nobody(folder.path());
    }
    lane(&RootInfo::new(&device()).unwrap(), 0, 1);
    assert!(folder.path().exists(), "a folder with a listener stays");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// In a process of its own: the places at its endpoint are all taken.
#[test]
fn silent_and_dripping_peers_hold_nobody_up() {
    Job::start("silent_peers", 1).finish();
}

pub(crate) fn silent_peers(root: &RootInfo) {
    let endpoint = endpoint_of(root);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let drip = UnixStream::connect(&endpoint).unwrap();
        let dripping = scope.spawn(move || {
            // The longest first word, one byte at a time, each long before anybody loses patience with a
            // single one.
            drip.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            for byte in [0, 4, 0, 0].into_iter().chain([b' '; 1024]) {
                let is_gone = (&drip).write_all(&[byte]).is_err();
                let ended = (&drip).read(&mut [0]);
                let is_open = |e: &std::io::Error| {
                    matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
                };
                if is_gone || !ended.is_err_and(|e| is_open(&e)) {
                    return;
                }
            }
            panic!("heard to its end");
        });
        let silent: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(&endpoint).unwrap()).collect();
        let other = RootInfo::new(&device()).unwrap();
        let own = scope.spawn(move || lane(&other, 0, 1));
        own.join().unwrap();
        // The first have gone: they have been silent for longest.
        silent[..100].iter().for_each(wait_for_end);
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        // A peer with the nonce is heard beside those that are left.
        let peer = UnixStream::connect(&endpoint).unwrap();
        assert!(is_answered(&peer, root));
        dripping.join().unwrap();
    });
    assert!(start.elapsed() < 2 * SOON, "{:?}", start.elapsed());
}
