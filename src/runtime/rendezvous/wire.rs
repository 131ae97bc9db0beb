//! What ranks send each other, and what is in the file. Integers are little-endian.
//!
//! ```text
//! challenge of rank 0  magic 8 | version u16 | challenge 32
//! request of a rank    magic 8 | version u16 | rank u32 | ranks u32 | challenge 32 | proof 32
//! answer of rank 0     magic 8 | version u16 | 0 u8 | root info 4108 | proof 32
//!                                            | 1 u8                                 it gives none
//! receipt              1 u8
//! file                 magic 8 | version u16 | ranks u32 | job: length u8, bytes | root info 4108 | proof 32
//! ```
//!
//! A proof is the HMAC-SHA-256, under the job's secret, of all that both sides have to agree on, with the
//! random challenges of both. So the name of the job and its secret are not sent, and a recorded proof is
//! worth nothing. Without a secret the key is empty: the proof then shows that both name the same job, and
//! protects from nobody.

use std::io::{self, Read};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{Rendezvous, RootInfo};

const MAGIC: &[u8; 8] = b"fa-meet\n";
const VERSION: u16 = 2;

pub(super) const RECEIPT: u8 = 1;

/// Longest name of a job.
const MAX_TEXT: usize = u8::MAX as usize;

/// Random bytes that nobody has used before.
pub(super) type Challenge = [u8; 32];
/// That of rank 0, and that of the rank that asks.
pub(super) type Challenges = [Challenge; 2];
type Proof = [u8; 32];

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
        return Err(bad(format!(
            "first bytes \"{given}\" given, \"{}\" wanted, with which all of a rendezvous begins",
            MAGIC.escape_ascii()
        )));
    }
    match u16::from_le_bytes(array(from)?) {
        VERSION => Ok(()),
        other => Err(bad(format!("version {other} of the rendezvous given, {VERSION} wanted"))),
    }
}

/// The name of the job as far as it counts.
fn job(own: &Rendezvous) -> &[u8] {
    let job = own.job.as_bytes();
    &job[..job.len().min(MAX_TEXT)]
}

/// Begins a proof of `what`, of the job of `own` with so many ranks.
fn mac(own: &Rendezvous, what: &str, ranks: u32) -> Hmac<Sha256> {
    let mac = Hmac::new_from_slice(own.secret.as_bytes());
    let mac = mac.unwrap_or_else(|_| unreachable!("a key of any length will do"));
    // The first part ends with NUL and the last is as long as the rest: nothing can stand for something else.
    mac.chain_update(what).chain_update([0]).chain_update(ranks.to_le_bytes()).chain_update(job(own))
}

fn proof(mac: Hmac<Sha256>) -> Proof {
    mac.finalize().into_bytes().into()
}

pub(super) fn challenge() -> io::Result<Challenge> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(format!("no random bytes: {e}")))?;
    Ok(bytes)
}

pub(super) fn challenge_to_bytes(challenge: &Challenge) -> Vec<u8> {
    [head(), challenge.to_vec()].concat()
}

pub(super) fn read_challenge(mut from: impl Read) -> io::Result<Challenge> {
    read_head(&mut from)?;
    array(&mut from)
}

/// Who wants the root info.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) rank: u32,
    pub(super) ranks: u32,
    challenge: Challenge,
    proof: Proof,
}

impl Request {
    pub(super) fn new(own: &Rendezvous, challenges: &Challenges) -> Request {
        let (rank, ranks) = (own.rank, own.ranks);
        let proof = proof(Self::mac(own, challenges, (rank, ranks)));
        Request { rank, ranks, challenge: challenges[1], proof }
    }

    fn mac(own: &Rendezvous, challenges: &Challenges, (rank, ranks): (u32, u32)) -> Hmac<Sha256> {
        mac(own, "request", ranks).chain_update(rank.to_le_bytes()).chain_update(challenges.concat())
    }

    /// The challenges, when the request is of this job and knows its secret.
    pub(super) fn check(&self, own: &Rendezvous, challenge: Challenge) -> Option<Challenges> {
        let challenges = [challenge, self.challenge];
        let mac = Self::mac(own, &challenges, (self.rank, self.ranks));
        mac.verify_slice(&self.proof).is_ok().then_some(challenges)
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let (rank, ranks) = (self.rank.to_le_bytes(), self.ranks.to_le_bytes());
        [head(), rank.to_vec(), ranks.to_vec(), self.challenge.to_vec(), self.proof.to_vec()].concat()
    }

    pub(super) fn read(mut from: impl Read) -> io::Result<Request> {
        let from = &mut from;
        read_head(from)?;
        let (rank, ranks) = (u32::from_le_bytes(array(from)?), u32::from_le_bytes(array(from)?));
        Ok(Request { rank, ranks, challenge: array(from)?, proof: array(from)? })
    }
}

fn answer_mac(own: &Rendezvous, challenges: &Challenges, root: &[u8]) -> Hmac<Sha256> {
    mac(own, "answer", own.ranks).chain_update(challenges.concat()).chain_update(root)
}

/// The kind of an answer that gives the root info.
const YES: u8 = 0;

/// The kind of an answer that gives nothing.
const NO: u8 = 1;

/// The answer that gives the root info.
pub(super) fn yes(own: &Rendezvous, challenges: &Challenges, root: &RootInfo) -> Vec<u8> {
    let root = root.to_bytes();
    let proof = proof(answer_mac(own, challenges, &root));
    [head(), vec![YES], root, proof.to_vec()].concat()
}

/// The answer to everybody else. It says nothing that a stranger does not know.
pub(super) fn no() -> Vec<u8> {
    [head(), vec![NO]].concat()
}

/// The root info; `None` when rank 0 gives none.
pub(super) fn read_answer(
    own: &Rendezvous,
    challenges: &Challenges,
    mut from: impl Read,
) -> io::Result<Option<RootInfo>> {
    let from = &mut from;
    read_head(from)?;
    match array(from)? {
        [YES] => {
            let (root, proof) = read_root(from)?;
            let mac = answer_mac(own, challenges, &root.to_bytes());
            mac.verify_slice(&proof)
                .map_err(|_| bad("the answer of a process that does not know this job's secret"))?;
            Ok(Some(root))
        }
        [NO] => Ok(None),
        [other] => Err(bad(format!("an answer of kind {other} given, {YES} or {NO} wanted"))),
    }
}

fn read_root(from: &mut impl Read) -> io::Result<(RootInfo, Proof)> {
    let bytes: [u8; RootInfo::BYTES] = array(from)?;
    Ok((RootInfo::from_bytes(&bytes).map_err(|e| bad(e.to_string()))?, array(from)?))
}

fn file_mac(own: &Rendezvous, root: &[u8]) -> Hmac<Sha256> {
    mac(own, "file", own.ranks).chain_update(root)
}

/// What rank 0 writes into the file.
pub(super) fn file(own: &Rendezvous, root: &RootInfo) -> Vec<u8> {
    let (ranks, root) = (own.ranks.to_le_bytes(), root.to_bytes());
    let len = u8::try_from(job(own).len()).unwrap_or_else(|_| unreachable!("cut to fit"));
    let proof = proof(file_mac(own, &root));
    [head(), ranks.to_vec(), vec![len], job(own).to_vec(), root, proof.to_vec()].concat()
}

/// The root info of a file, or why it is that of another job.
pub(super) fn read_file(own: &Rendezvous, mut from: impl Read) -> io::Result<Result<RootInfo, String>> {
    let from = &mut from;
    read_head(from)?;
    let (ranks, [len]) = (u32::from_le_bytes(array(from)?), array(from)?);
    let mut given = vec![0; usize::from(len)];
    from.read_exact(&mut given)?;
    if given != job(own) {
        let (given, wanted) = (given.escape_ascii(), job(own).escape_ascii());
        return Ok(Err(format!("job \"{given}\" given, \"{wanted}\" wanted")));
    }
    if ranks != own.ranks {
        return Ok(Err(format!("{ranks} ranks given, {} wanted", own.ranks)));
    }
    let (root, proof) = read_root(from)?;
    let is_known = file_mac(own, &root.to_bytes()).verify_slice(&proof).is_ok();
    Ok(if is_known {
        Ok(root)
    } else {
        Err("a file written with another secret given, this job's secret wanted".into())
    })
}

#[cfg(test)]
mod tests {
    use super::super::MeetingPoint;
    use super::*;

    fn own(rank: u32, secret: &str) -> Rendezvous {
        let own = Rendezvous::new(rank, 9, MeetingPoint::File("x".into())).unwrap();
        own.with_job("j".repeat(300)).with_secret(secret)
    }

    const CHALLENGES: Challenges = [[1; 32], [2; 32]];

    #[test]
    fn requests_pass_and_garbage_does_not() {
        let request = Request::new(&own(3, "s"), &CHALLENGES);
        let bytes = request.to_bytes();
        assert_eq!(Request::read(bytes.as_slice()).unwrap(), request);
        for cut in 0..bytes.len() {
            assert!(Request::read(&bytes[..cut]).is_err(), "{cut} bytes");
        }
        let error = |bytes: &[u8]| Request::read(bytes).unwrap_err().to_string();
        assert!(error(b"GET / HTTP/1.1\r\n").contains("\"GET / HT\" given"));
        let mut later = bytes.clone();
        later[8] = 3;
        assert!(error(&later).contains("version 3 of the rendezvous given, 2 wanted"));
    }

    #[test]
    fn a_request_proves_itself() {
        let request = Request::new(&own(3, "s"), &CHALLENGES);
        assert_eq!(request.check(&own(0, "s"), [1; 32]), Some(CHALLENGES));
        assert_eq!(request.check(&own(0, "s"), [3; 32]), None, "another connection");
        for other in [own(0, "t"), own(0, ""), own(0, "s").with_job("k")] {
            assert_eq!(request.check(&other, [1; 32]), None, "{other:?}");
        }
        // Every byte behind the head counts.
        let bytes = request.to_bytes();
        for at in head().len()..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Request::read(bad.as_slice()).unwrap().check(&own(0, "s"), [1; 32]), None, "{at}");
        }
    }

    #[test]
    fn answers_and_files_prove_themselves() {
        let root = RootInfo::from_bytes(&[9; RootInfo::BYTES]).unwrap();
        let answer = yes(&own(0, "s"), &CHALLENGES, &root);
        let read = |own: &Rendezvous, bytes: &[u8]| read_answer(own, &CHALLENGES, bytes);
        let got = read(&own(1, "s"), &answer).unwrap().unwrap();
        assert_eq!(got.to_bytes(), root.to_bytes());
        assert!(read(&own(1, "t"), &answer).is_err());
        assert!(read_answer(&own(1, "s"), &[[1; 32], [3; 32]], answer.as_slice()).is_err());
        assert!(read(&own(1, "s"), &no()).unwrap().is_none());
        let mut bad = no();
        bad[10] = 2;
        assert!(read(&own(1, "s"), &bad).is_err());

        let bytes = file(&own(0, "s"), &root);
        let read = |own: &Rendezvous, bytes: &[u8]| read_file(own, bytes).unwrap();
        assert_eq!(read(&own(1, "s"), &bytes).unwrap().to_bytes(), root.to_bytes());
        assert_eq!(
            read(&own(1, ""), &bytes).unwrap_err(),
            "a file written with another secret given, this job's secret wanted"
        );
        let mut bad = bytes.clone();
        bad[500] ^= 1;
        assert!(read(&own(1, "s"), &bad).is_err());
        assert!(read_file(&own(1, "s"), &bytes[..bytes.len() - 1]).is_err());
    }
}
