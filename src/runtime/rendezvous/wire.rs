//! What ranks send each other, and what is in the file. Integers are little-endian.
//!
//! ```text
//! request of a rank   magic 8 | version u16 | rank u32 | ranks u32 | job: length u8, bytes
//! answer of rank 0    magic 8 | version u16 | 0 u8 | root info 4108
//!                                           | 1 u8 | length u8 | text: why not
//! receipt             1 u8
//! file                a request of rank 0, then the root info
//! ```

use std::io::{self, Read};

use super::{Rendezvous, RootInfo};

const MAGIC: &[u8; 8] = b"fa-meet\n";
const VERSION: u16 = 1;

pub(super) const RECEIPT: u8 = 1;

/// Longest text and name of a job.
const MAX_TEXT: usize = u8::MAX as usize;

/// Who wants a root info, or whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) rank: u32,
    pub(super) ranks: u32,
    pub(super) job: Vec<u8>,
}

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn head() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat()
}

fn read_head(from: &mut impl Read) -> io::Result<()> {
    let magic: [u8; 8] = array(from)?;
    if magic != *MAGIC {
        let given = magic.escape_ascii();
        return Err(bad(format!("\"{given}\" given, \"{}\" of a rendezvous wanted", MAGIC.escape_ascii())));
    }
    match u16::from_le_bytes(array(from)?) {
        VERSION => Ok(()),
        other => Err(bad(format!("version {other} given, {VERSION} wanted"))),
    }
}

/// A text with its length; what is too long is cut.
fn text(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[..bytes.len().min(MAX_TEXT)];
    let len = u8::try_from(bytes.len()).unwrap_or_else(|_| unreachable!("cut above"));
    [&[len], bytes].concat()
}

fn read_text(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let [len] = array(from)?;
    let mut bytes = vec![0; usize::from(len)];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Request {
    pub(super) fn of(own: &Rendezvous) -> Request {
        let job = own.job.as_bytes();
        Request { rank: own.rank, ranks: own.ranks, job: job[..job.len().min(MAX_TEXT)].to_vec() }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [head(), self.rank.to_le_bytes().to_vec(), self.ranks.to_le_bytes().to_vec(), text(&self.job)]
            .concat()
    }

    pub(super) fn read(mut from: impl Read) -> io::Result<Request> {
        let from = &mut from;
        read_head(from)?;
        let (rank, ranks) = (u32::from_le_bytes(array(from)?), u32::from_le_bytes(array(from)?));
        Ok(Request { rank, ranks, job: read_text(from)? })
    }

    /// Why a rank with this request is of another job.
    pub(super) fn difference(&self, own: &Request) -> Option<String> {
        let job = |request: &Request| format!("\"{}\"", request.job.escape_ascii());
        (self.job != own.job).then(|| format!("job {} given, {} wanted", job(self), job(own))).or_else(|| {
            (self.ranks != own.ranks).then(|| format!("{} ranks given, {} wanted", self.ranks, own.ranks))
        })
    }
}

/// The answer that gives the root info.
pub(super) fn yes(root: &RootInfo) -> Vec<u8> {
    [head(), vec![0], root.to_bytes()].concat()
}

/// The answer that gives a reason.
pub(super) fn no(why: &str) -> Vec<u8> {
    [head(), vec![1], text(why.as_bytes())].concat()
}

/// The root info, or why there is none.
pub(super) fn read_answer(mut from: impl Read) -> io::Result<Result<RootInfo, String>> {
    let from = &mut from;
    read_head(from)?;
    match array(from)? {
        [0] => read_root(from).map(Ok),
        [1] => Ok(Err(String::from_utf8_lossy(&read_text(from)?).into_owned())),
        [other] => Err(bad(format!("an answer of kind {other}"))),
    }
}

pub(super) fn read_root(mut from: impl Read) -> io::Result<RootInfo> {
    let bytes: [u8; RootInfo::BYTES] = array(&mut from)?;
    RootInfo::from_bytes(&bytes).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_pass_and_garbage_does_not() {
        let request = Request { rank: 3, ranks: 1 << 31, job: vec![7; 255] };
        let bytes = request.to_bytes();
        assert_eq!(Request::read(bytes.as_slice()).unwrap(), request);
        for cut in 0..bytes.len() {
            assert!(Request::read(&bytes[..cut]).is_err(), "{cut} bytes");
        }
        let error = |bytes: &[u8]| Request::read(bytes).unwrap_err().to_string();
        assert!(error(b"GET / HTTP/1.1\r\n").contains("\"GET / HT\" given"));
        let mut later = bytes.clone();
        later[8] = 2;
        assert!(error(&later).contains("version 2 given, 1 wanted"));
    }

    #[test]
    fn answers_pass() {
        let root = RootInfo::from_bytes(&[9; RootInfo::BYTES]).unwrap();
        let got = read_answer(yes(&root).as_slice()).unwrap().unwrap();
        assert_eq!(got.to_bytes(), root.to_bytes());
        let long = "n".repeat(300);
        assert_eq!(read_answer(no(&long).as_slice()).unwrap().unwrap_err(), long[..255]);
        let mut bad = no("");
        bad[10] = 2;
        assert!(read_answer(bad.as_slice()).is_err());
    }
}
