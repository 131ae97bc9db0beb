//! Buffers whose vectors do not lie across lines of the cache.

use std::ops::{Deref, DerefMut};

/// Bytes of a line of the cache, of which those of a vector are a part.
pub(crate) const LINE_BYTES: usize = 64;

/// Elements that start at a line of the cache.
#[derive(Default)]
pub(crate) struct Buffer {
    all: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// Elements keep no particular values.
    pub(crate) fn resize(&mut self, len: usize) {
        let room = len + LINE_BYTES / size_of::<f32>();
        if self.all.len() < room {
            self.all = vec![0.0; room];
            // An allocator that cannot say gives vectors that are slower, not wrong.
            self.start = self.all.as_ptr().align_offset(LINE_BYTES).min(room - len);
        }
        self.len = len;
    }

    pub(crate) fn renew(&mut self, len: usize, value: f32) {
        self.resize(len);
        self.fill(value);
    }
}

impl Deref for Buffer {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.all[self.start..][..self.len]
    }
}

impl DerefMut for Buffer {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.all[self.start..][..self.len]
    }
}
