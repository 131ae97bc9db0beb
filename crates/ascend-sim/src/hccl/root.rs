//! What is in a root info of this simulator.

use std::hash::{BuildHasher, RandomState};

use ascend_sys::hccl::ROOT_INFO_BYTES;

use super::failure::{refuse, result};
use crate::acl::border::Outcome;

/// How it begins. Process, place, nonce and endpoint follow, and zeros; integers are little-endian.
const MAGIC: &[u8; 16] = b"fa-sim-hccl-root";
/// Is there an endpoint? Its length and text follow.
const ENDPOINT_AT: usize = 16 + 4 + 8 + 8;
const TEXT_AT: usize = ENDPOINT_AT + 1 + 2;

/// Names a meeting place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// Process that made it and keeps the communicator.
    pub(super) process: u32,
    /// Number of the place in that process.
    pub(super) number: u64,
    /// Known to those only who have the root info.
    pub(super) nonce: u64,
    /// Name of the endpoint where other processes connect, or why they cannot.
    pub(super) endpoint: Result<String, String>,
}

impl Root {
    pub(super) fn new(number: u64) -> Root {
        // The keys of a `RandomState` come from the operating system.
        let nonce = RandomState::new().hash_one(number);
        Root { process: std::process::id(), number, nonce, endpoint: Err("it has not opened one".into()) }
    }

    pub(super) fn to_bytes(&self) -> [u8; ROOT_INFO_BYTES] {
        let (Ok(text) | Err(text)) = &self.endpoint;
        // A name is short; a reason may be cut.
        let room = text.len().min(ROOT_INFO_BYTES - TEXT_AT);
        let len = (0..=room).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let text = &text.as_bytes()[..len];
        let mut bytes = Vec::with_capacity(ROOT_INFO_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.process.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.nonce.to_le_bytes());
        bytes.push(u8::from(self.endpoint.is_ok()));
        bytes.extend(u16::try_from(len).unwrap_or_else(|_| unreachable!("cut above")).to_le_bytes());
        bytes.extend(text);
        let mut all = [0; ROOT_INFO_BYTES];
        all[..bytes.len()].copy_from_slice(&bytes);
        all
    }

    pub(super) fn from_bytes(bytes: &[u8; ROOT_INFO_BYTES]) -> Outcome<Root> {
        Root::parse(bytes).map_or_else(
            || {
                refuse(
                    result::PARA,
                    "rootInfo of another library given, one of HcclGetRootInfo of this library wanted",
                )
            },
            Ok,
        )
    }

    fn parse(bytes: &[u8]) -> Option<Root> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (process, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (&is_open, rest) = rest.split_first()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (text, zeros) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        if zeros.iter().any(|&byte| byte != 0) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let endpoint = match is_open {
            0 => Err(text.to_owned()),
            // A name, and no path: nothing outside the place of endpoints is connected to.
            1 if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Ok(text.to_owned())
            }
            _ => return None,
        };
        Some(Root {
            process: u32::from_le_bytes(*process),
            number: u64::from_le_bytes(*number),
            nonce: u64::from_le_bytes(*nonce),
            endpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_back() {
        let long = "x".repeat(ROOT_INFO_BYTES);
        for endpoint in [Ok("aB3".into()), Err("no folder".into()), Err(long.clone())] {
            let root = Root { endpoint, ..Root::new(7) };
            let bytes = root.to_bytes();
            let back = Root::from_bytes(&bytes).unwrap();
            assert_eq!((back.process, back.number, back.nonce), (root.process, root.number, root.nonce));
            let cut = |text: String| text[..text.len().min(ROOT_INFO_BYTES - TEXT_AT)].to_owned();
            assert_eq!(back.endpoint, root.endpoint.map_err(cut));
        }
        assert_ne!(Root::new(7).nonce, Root::new(7).nonce);
    }

    #[test]
    fn other_bytes_are_no_root_info() {
        let bytes = Root { endpoint: Ok("aB3".into()), ..Root::new(7) }.to_bytes();
        for (at, value) in
            [(0, 0), (ENDPOINT_AT, 2), (ENDPOINT_AT + 1, 99), (ENDPOINT_AT + 2, 99), (TEXT_AT, 0xff)]
        {
            let mut bad = bytes;
            bad[at] = value;
            // A longer name takes in zeros, or goes beyond the end.
            let root = Root::from_bytes(&bad);
            assert!(root.is_err(), "byte {at} = {value}: {root:?}");
        }
        for path in ["", "/tmp/x", "..", "a/b", "a.b"] {
            let bytes = Root { endpoint: Ok(path.into()), ..Root::new(7) }.to_bytes();
            assert!(Root::from_bytes(&bytes).is_err(), "{path:?}");
        }
        let mut bad = bytes;
        bad[ROOT_INFO_BYTES - 1] = 1;
        assert!(Root::from_bytes(&bad).is_err());
    }
}
