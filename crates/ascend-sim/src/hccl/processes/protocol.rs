//! What owner and peer say to each other: a length (4 bytes, little-endian), then JSON.

use std::io::{self, Read};
use std::time::Duration;

use ascend_sys::AclError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::failure::Failure;
use super::super::home::Home;
use super::super::operation::Operation;
use crate::acl::border::Refusal;

/// Changes with every change of the messages.
pub(super) const VERSION: u32 = 2;

/// How long a process that is alive may take to say or take something that needs no other process.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Longest message. The longest ones list all ranks.
pub(super) const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Longest [`Hello`]: nobody has shown before it that he knows the nonce.
pub(super) const MAX_HELLO_BYTES: usize = 1 << 10;

/// The first message of a peer, the same in all versions.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    /// Of the meeting place.
    pub(super) number: u64,
    pub(super) nonce: u64,
}

/// A refusal on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct No {
    code: AclError,
    text: String,
}

impl From<Refusal> for No {
    fn from(Refusal { code, text }: Refusal) -> No {
        No { code, text }
    }
}

impl From<No> for Refusal {
    fn from(No { code, text }: No) -> Refusal {
        Refusal { code, text }
    }
}

/// The owner's answer to [`Hello`] and the `JoinRequest` that follows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// All ranks are there. The descriptor of the shared memory comes with it.
    Welcome {
        name: String,
        homes: Vec<Home>,
    },
    No(No),
}

/// Which buffer of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Side {
    Send,
    Recv,
}

/// What a peer says. It numbers its operations 0, 1, 2; a ticket is that number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToOwner {
    /// It has opened the shared memory.
    Ready,
    Issue {
        ticket: u64,
        operation: Operation,
    },
    Arrive {
        ticket: u64,
    },
    TimedOut {
        ticket: u64,
        waited: Duration,
    },
    Abandon {
        ticket: u64,
        why: No,
    },
    Leave,
    Ping,
    /// The bytes asked for are in the shared memory.
    Loaded {
        has_unset: bool,
    },
    /// The bytes in the shared memory were taken.
    Stored,
}

/// What a owner says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToPeer {
    /// The operation is announced, or refused.
    Issued {
        ticket: u64,
        refusal: Option<No>,
    },
    Load {
        ticket: u64,
        side: Side,
        start: u64,
        len: usize,
    },
    Store {
        ticket: u64,
        side: Side,
        start: u64,
        len: usize,
        has_unset: bool,
    },
    /// The communicator has failed. Comes before the end of the operations that fail with it.
    Failed(Failure),
    Ended {
        ticket: u64,
        is_done: bool,
    },
    Pong,
}

/// Reads one word. Garbage is `InvalidData`, the end of the other process `UnexpectedEof`.
pub(super) fn read_message<T: DeserializeOwned>(mut from: impl Read, max_bytes: usize) -> io::Result<T> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > max_bytes {
        let text = format!("a message of {len} bytes given, at most {max_bytes} wanted");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

pub(super) fn to_bytes(word: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(word)?;
    let len = u32::try_from(json.len()).ok().filter(|&len| len as usize <= MAX_MESSAGE_BYTES);
    let len = len.ok_or_else(|| {
        io::Error::other(format!(
            "a message of {} bytes given, at most {MAX_MESSAGE_BYTES} wanted",
            json.len()
        ))
    })?;
    Ok([&len.to_le_bytes(), json.as_slice()].concat())
}

/// What it means that a word could not be read.
pub(super) fn loss_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::InvalidData => {
            format!("sent a message that this process does not understand: {error}")
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => "has ended".into(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "does not answer".into(),
        io::ErrorKind::PermissionDenied => format!("is not this user's: {error}"),
        _ => format!("cannot be reached any more: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::operation::Kind;
    use super::*;
    use crate::reduce::{DataType, ReduceOp};

    #[test]
    fn words_pass_and_garbage_does_not() {
        let operation =
            Operation { kind: Kind::AllReduce(ReduceOp::Max), count: 1 << 40, data_type: DataType::Bfp16 };
        let bytes = to_bytes(&ToOwner::Issue { ticket: u64::MAX, operation }).unwrap();
        let back: ToOwner = read_message(bytes.as_slice(), MAX_MESSAGE_BYTES).unwrap();
        assert!(matches!(back, ToOwner::Issue { ticket: u64::MAX, operation: o } if o == operation));

        let kind = |bytes: &[u8]| read_message::<ToOwner>(bytes, MAX_MESSAGE_BYTES).unwrap_err().kind();
        for cut in [0, 3, 4, bytes.len() - 1] {
            assert_eq!(kind(&bytes[..cut]), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(kind(b"GET / HTTP/1.1\r\n"), io::ErrorKind::InvalidData, "a length of 0x20544547");
        assert_eq!(kind(&[2, 0, 0, 0, b'{', b'}']), io::ErrorKind::InvalidData);
        let mut bad = bytes.clone();
        bad[10] = 0xff;
        assert_eq!(kind(&bad), io::ErrorKind::InvalidData);
    }
}
