//! A client of HTTP/1.1, as far as the tests need one.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// What a server has answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The headers, in small letters.
    pub(crate) head: String,
    body: Body,
}

/// What is left to read.
#[derive(Debug)]
struct Body {
    reader: BufReader<TcpStream>,
    /// Bytes that are left; unknown for chunks.
    left: Option<usize>,
}

pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(server).unwrap();
    // So that a server that hangs fails the test.
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    connection
}

/// The text of a request with a body of JSON.
pub(crate) fn post_text(path: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {len}\r\n\r\n{body}"
    )
}

pub(crate) fn post(server: SocketAddr, path: &str, body: &Value) -> Reply {
    send(server, &post_text(path, &body.to_string()))
}

pub(crate) fn get(server: SocketAddr, path: &str) -> Reply {
    send(server, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
}

pub(crate) fn send(server: SocketAddr, request: &str) -> Reply {
    let mut connection = connect(server);
    // A server that refuses need not read it all.
    let _ = connection.write_all(request.as_bytes());
    Reply::read(connection)
}

impl Reply {
    /// Reads the head.
    pub(crate) fn read(connection: TcpStream) -> Self {
        let mut reader = BufReader::new(connection);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "the head ends early: {head:?}");
        }
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let len = head.split("content-length: ").nth(1).map(|rest| rest.lines().next().unwrap());
        let len = len.map(|len| len.parse().unwrap());
        assert!(len.is_some() || head.contains("transfer-encoding: chunked"), "{head}");
        Self { status, head, body: Body { reader, left: len } }
    }

    /// The whole body.
    pub(crate) fn text(mut self) -> String {
        let mut body = Vec::new();
        while let Some(piece) = self.body.piece().unwrap() {
            body.extend(piece);
        }
        String::from_utf8(body).unwrap()
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// The data of the next event of a stream; none at its end.
    pub(crate) fn event(&mut self) -> io::Result<Option<String>> {
        let Some(piece) = self.body.piece()? else { return Ok(None) };
        // The server sends each event as one chunk.
        let text = String::from_utf8(piece).unwrap();
        let data = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n"));
        Ok(Some(data.unwrap_or_else(|| panic!("{text:?} is no event")).to_owned()))
    }

    /// The data of all events that are left.
    pub(crate) fn events(mut self) -> Vec<String> {
        std::iter::from_fn(|| self.event().unwrap()).collect()
    }
}

impl Body {
    fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(left) = self.left.replace(0) {
            let mut piece = vec![0; left];
            self.reader.read_exact(&mut piece)?;
            return Ok((left > 0).then_some(piece));
        }
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let len = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        let mut piece = vec![0; len + 2];
        self.reader.read_exact(&mut piece)?;
        piece.truncate(len);
        self.left = (len == 0).then_some(0);
        Ok((len > 0).then_some(piece))
    }
}
