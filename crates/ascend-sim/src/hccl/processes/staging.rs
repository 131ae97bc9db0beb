//! Where bytes of device memory lie on their way between two processes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{fence, Ordering};

use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags};

use super::system::Shared;
use crate::engine::Contents;

/// Bytes that are moved at once.
pub(super) const PIECE: usize = 1 << 20;

const WORD_BYTES: usize = 8;
const WORD_BITS: usize = 64;
const DATA_WORDS: usize = PIECE / WORD_BYTES;
/// The data, and one bit for each byte that was never written.
const WORDS: usize = DATA_WORDS + PIECE / WORD_BITS;

/// Memory that two processes share. One of them at a time uses it: they tell each other through the socket.
#[derive(Debug)]
pub(super) struct Staging {
    shared: Shared,
}

impl Staging {
    /// New memory, and the descriptor by which the other process opens it.
    pub(super) fn create() -> io::Result<(Staging, File)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create(c"fastattention-hccl", flags)?);
        // Written, not only made longer: a host without memory is an error here, and not a signal later.
        file.write_all(&vec![0; WORDS * WORD_BYTES])?;
        fcntl_add_seals(&file, Shared::SEALS)?;
        Ok((Staging::open(file.as_fd())?, file))
    }

    /// # Errors
    /// Also for memory that its maker could make shorter.
    pub(super) fn open(descriptor: BorrowedFd<'_>) -> io::Result<Staging> {
        Ok(Staging { shared: Shared::map(descriptor, WORDS)? })
    }

    /// Puts at most [`PIECE`] bytes in. True when some of them were never written.
    pub(super) fn put(&self, contents: &Contents) -> bool {
        let (data, unset) = self.shared.words().split_at(DATA_WORDS);
        for (word, chunk) in data.iter().zip(contents.bytes.chunks(WORD_BYTES)) {
            let mut bytes = [0; WORD_BYTES];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        if !contents.unset.is_empty() {
            let used = contents.bytes.len().div_ceil(WORD_BITS);
            unset[..used].iter().for_each(|word| word.store(0, Ordering::Relaxed));
            for at in &contents.unset {
                unset[at / WORD_BITS].fetch_or(1 << (at % WORD_BITS), Ordering::Relaxed);
            }
        }
        // The word through the socket comes after this.
        fence(Ordering::Release);
        !contents.unset.is_empty()
    }

    /// Adds `len` bytes, at most [`PIECE`], to `contents`.
    pub(super) fn take(&self, len: usize, has_unset: bool, contents: &mut Contents) {
        fence(Ordering::Acquire);
        let (data, unset) = self.shared.words().split_at(DATA_WORDS);
        let start = contents.bytes.len();
        contents.bytes.reserve(len.next_multiple_of(WORD_BYTES));
        for word in &data[..len.div_ceil(WORD_BYTES)] {
            contents.bytes.extend(word.load(Ordering::Relaxed).to_le_bytes());
        }
        contents.bytes.truncate(start + len);
        if has_unset {
            let bits = unset.iter().map(|word| word.load(Ordering::Relaxed));
            let set = |word: u64| (0..WORD_BITS).filter(move |bit| word >> bit & 1 == 1);
            let all = bits.enumerate().flat_map(|(i, word)| set(word).map(move |bit| i * WORD_BITS + bit));
            contents.unset.extend(all.take_while(|&at| at < len).map(|at| start + at));
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::SealFlags;

    use super::*;

    #[test]
    fn contents_pass_with_their_state() {
        let (one, memory) = Staging::create().unwrap();
        let other = Staging::open(memory.as_fd()).unwrap();
        let mut rng = fastrand::Rng::with_seed(3);
        for len in [0, 1, 7, 8, 63, 64, 65, 1000, PIECE - 1, PIECE] {
            for sparse in [0, 1, 3] {
                let bytes: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
                let unset: Vec<usize> = (0..len).filter(|_| sparse != 0 && rng.u8(..sparse) == 0).collect();
                let sent = Contents { bytes, unset };
                let mut got = Contents { bytes: vec![1, 2, 3], unset: vec![1] };
                let has_unset = one.put(&sent);
                assert_eq!(has_unset, !sent.unset.is_empty());
                other.take(len, has_unset, &mut got);
                assert_eq!((&got.bytes[..3], got.unset[0]), (&[1u8, 2, 3][..], 1));
                let unset = got.unset[1..].iter().map(|at| at - 3).collect();
                assert!(Contents { bytes: got.bytes[3..].to_vec(), unset } == sent, "{len} {sparse}");
            }
        }
    }

    #[test]
    fn memory_that_could_change_its_length_is_refused() {
        let (_staging, memory) = Staging::create().unwrap();
        let len = (WORDS * WORD_BYTES) as u64;
        for other in [0, len - 1, len + 1] {
            assert!(memory.set_len(other).is_err(), "{other} bytes");
        }
        assert!(
            fcntl_add_seals(&memory, SealFlags::WRITE).is_err(),
            "nor can anybody keep the other from writing"
        );
        let error = |file: &File| Staging::open(file.as_fd()).unwrap_err().to_string();
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        assert!(error(&file).contains("sealed memory wanted"), "{}", error(&file));
        for (len, seals, text) in [
            (len, SealFlags::empty(), "sealed memory wanted"),
            (len, SealFlags::SHRINK | SealFlags::GROW, "sealed memory wanted"),
            (len - 8, Shared::SEALS, "bytes given"),
            (len + 8, Shared::SEALS, "bytes given"),
        ] {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let file = File::from(memfd_create(c"test", flags).unwrap());
            file.set_len(len).unwrap();
            fcntl_add_seals(&file, seals).unwrap();
            assert!(error(&file).contains(text), "{seals:?}: {}", error(&file));
        }
    }
}
