//! Readers that are slow, or do not read at all.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use fastattention_llama::engine::{Ends, Request};
use fastattention_llama::serve::Options;
use rustix::net::{sockopt, AddressFamily, SocketType};

use crate::http::{self, Reply};
use crate::server::{completion, directly, small_engine, streamed, text_of, Server, COMPLETIONS};

/// A connection that takes few bytes ahead.
fn narrow(server: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 2048).unwrap();
    rustix::net::connect(&socket, &server).unwrap();
    let connection = TcpStream::from(socket);
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    connection
}

/// The engine does not wait for a slow reader, who gets every token all the same.
#[test]
fn slow_readers_get_everything() {
    const TOKENS: u32 = 1500;
    let mut engine = small_engine(4096);
    let tokens = engine.tokenizer().encode("slow").unwrap();
    let request = Request::new(tokens, TOKENS as usize).with_ends(Ends::Never);
    let (wanted, _) = directly(&mut engine, request);
    let server = Server::start(engine, Options::default());
    let body = streamed(completion("slow", TOKENS)).to_string();
    let mut connection = narrow(server.address);
    connection.write_all(http::post_text(COMPLETIONS, &body).as_bytes()).unwrap();
    let mut stream = Reply::read(connection);
    let mut events = vec![stream.event().unwrap().unwrap()];
    // Its answer is whole, and its pages are given back, while it has taken next to nothing.
    server.wait_until_idle();
    assert!(server.metric("generated_tokens_total") >= f64::from(TOKENS));
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(20));
        events.push(stream.event().unwrap().unwrap());
    }
    events.extend(stream.events());
    assert_eq!(text_of(&events), (wanted, Some("length".into()), None));
    server.wait_for("connections", 1.0);
}

/// Who takes nothing for a while loses the connection, and with it the place.
#[test]
fn readers_that_do_not_read_are_cut() {
    let mut options = Options::default();
    (options.requests, options.write_timeout) = (1, Duration::from_millis(200));
    let server = Server::start(small_engine(4096), options);
    let body = streamed(completion("never read", 4000)).to_string();
    let mut silent = narrow(server.address);
    silent.write_all(http::post_text(COMPLETIONS, &body).as_bytes()).unwrap();
    server.wait_for("connections", 2.0);
    assert_eq!(server.post(COMPLETIONS, &completion("hi", 4)).status, 429);
    server.wait_for("connections", 1.0);
    server.wait_until_idle();
    assert_eq!(server.post(COMPLETIONS, &completion("hi", 4)).status, 200);
    // Requests without end, whose answers nobody takes: the server takes no more of them.
    let mut flood = narrow(server.address);
    flood.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let requests = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    let written = (0..1000).take_while(|_| flood.write_all(requests.as_bytes()).is_ok()).count();
    assert!(written < 500, "{written} times 1000 requests");
    server.wait_for("connections", 1.0);
}
