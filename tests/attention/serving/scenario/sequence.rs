//! A sequence as the host knows it: its logical history.

use fastattention::reference::Element;
use fastattention_testkit::data::normal;
use fastrand::Rng;

use super::Class;

/// Tokens with their keys and values, of which the first `cached` lie in the cache.
#[derive(Clone, Debug)]
pub(super) struct Sequence<T> {
    pub(super) id: usize,
    /// Of each token, the hash of all up to it.
    pub(super) hashes: Vec<u64>,
    /// `[tokens, heads, head_dim]`.
    pub(super) k: Vec<T>,
    /// `[tokens, heads, head_dim_v]`.
    pub(super) v: Vec<T>,
    pub(super) cached: usize,
    pub(super) pages: Vec<usize>,
    /// Tokens at which it ends.
    pub(super) end: usize,
    pub(super) was_evicted: bool,
}

impl<T: Element> Sequence<T> {
    pub(super) fn new(id: usize, end: usize) -> Self {
        Self {
            id,
            hashes: Vec::new(),
            k: Vec::new(),
            v: Vec::new(),
            cached: 0,
            pages: Vec::new(),
            end,
            was_evicted: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Nothing more is wanted of it.
    pub(super) fn is_over(&self) -> bool {
        self.cached == self.len() && self.len() >= self.end
    }

    /// Adds a token. Its key and value depend on all tokens up to it, as those of a model do.
    pub(super) fn push(&mut self, class: &Class, token: u64) {
        let before = self.hashes.last().copied().unwrap_or(0);
        // The finalizer of MurmurHash3.
        let mut hash = before.rotate_left(17) ^ token.wrapping_add(0x9E37_79B9_7F4A_7C15);
        hash = (hash ^ hash >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        hash ^= hash >> 33;
        self.hashes.push(hash);
        let mut rng = Rng::with_seed(hash);
        let heads = class.heads[1] as usize;
        for (rows, dim) in [(&mut self.k, class.dims[0]), (&mut self.v, class.dims[1])] {
            rows.extend((0..heads * dim as usize).map(|_| T::round(normal(&mut rng))));
        }
    }

    /// Forgets all tokens but the first `len`.
    pub(super) fn truncate(&mut self, class: &Class, len: usize) {
        let [k, v] = class.row_lens();
        self.hashes.truncate(len);
        self.k.truncate(len * k);
        self.v.truncate(len * v);
        self.cached = self.cached.min(len);
    }
}
