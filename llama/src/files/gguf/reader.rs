//! Numbers and strings from bytes, one behind the other.

use fastattention::Result;

use crate::files::wrong;

/// What is left of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next bytes. `what` they are is told where there are fewer.
    pub(super) fn take(&mut self, what: &str, len: usize) -> Result<&'a [u8]> {
        let (at, left) = (self.at, self.left());
        if len > left {
            return Err(wrong(format!(
                "GGUF: {what} at byte {at} takes {len} bytes, and {left} are left of the file"
            )));
        }
        self.at += len;
        Ok(&self.bytes[at..at + len])
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(what, N)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of things of at least `least_bytes` each, which have to be there.
    pub(super) fn count(&mut self, what: &str, least_bytes: u64) -> Result<u64> {
        let count = self.u64(what)?;
        let most = self.left() as u64 / least_bytes.max(1);
        if count > most {
            return Err(wrong(format!(
                "GGUF: {what} is {count}, but the file ends before the {}th",
                most.saturating_add(1)
            )));
        }
        Ok(count)
    }

    pub(super) fn string(&mut self, what: &str) -> Result<&'a str> {
        let len = self.count(&format!("the length of {what}"), 1)?;
        // It is at most what is left.
        let bytes = self.take(what, usize::try_from(len).unwrap_or(usize::MAX))?;
        std::str::from_utf8(bytes).map_err(|e| wrong(format!("GGUF: {what} is no UTF-8: {e}")))
    }

    /// All bytes from the next multiple of `alignment` on.
    pub(super) fn aligned_rest(&self, alignment: u64) -> Result<&'a [u8]> {
        let start = (self.at as u64).next_multiple_of(alignment);
        let rest = usize::try_from(start).ok().and_then(|start| self.bytes.get(start..));
        rest.ok_or_else(|| {
            let len = self.bytes.len();
            wrong(format!("GGUF: tensors start at byte {start}, and the file has {len} bytes"))
        })
    }
}
