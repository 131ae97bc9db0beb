//! What is appended, and whether it can be.

use serde::{Deserialize, Serialize};

use super::pieces::Pieces;
use super::Rotary;
use crate::serving;
use crate::spec::{Footprint, KvOrder, Reason, Tensor};
use crate::tiling::{MAX_BURSTS, MAX_GM_GAP_BYTES, MAX_SEQLEN};
use crate::Soc;

/// Most heads of K and V: the bursts of one copy.
pub const MAX_HEADS: u32 = MAX_BURSTS;

/// Integer type of the places, and of positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlaceType {
    /// i32.
    #[default]
    I32,
    /// i64.
    I64,
}

impl PlaceType {
    /// 32-bit words of a number.
    pub(crate) fn words(self) -> u32 {
        match self {
            Self::I32 => 1,
            Self::I64 => 2,
        }
    }
}

/// Rows of new tokens, and the cache that takes them. Without tokens nothing is launched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Problem {
    /// What the steps that read the cache compute. Of it count: type, heads and head dimensions of K and V,
    /// `kv` with the strides of k and v, and with padded keys `slots` and `max_keys`.
    pub cache: serving::Problem,
    /// Most tokens of a launch.
    pub tokens: u32,
    /// Strides of k: token, head; dense `[tokens, num_heads_k, head_dim]` unless given.
    pub k_stride: Option<[u64; 2]>,
    /// Strides of v: token, head; dense `[tokens, num_heads_k, head_dim_v]` unless given.
    pub v_stride: Option<[u64; 2]>,
    /// Type of `places`.
    pub place_type: PlaceType,
    /// Whether `status` is written.
    pub is_checked: bool,
    /// How keys are rotated on their way, and queries with them; not at all unless given.
    pub rotary: Option<Rotary>,
}

impl Problem {
    /// Dense rows of `tokens` tokens for a cache that is read as `cache` says.
    pub fn new(tokens: u32, cache: &serving::Problem) -> Self {
        Self {
            cache: *cache,
            tokens,
            k_stride: None,
            v_stride: None,
            place_type: PlaceType::I32,
            is_checked: false,
            rotary: None,
        }
    }

    /// Sets the strides of k and v: token, head.
    #[must_use]
    pub fn with_strides(self, k: [u64; 2], v: [u64; 2]) -> Self {
        Self { k_stride: Some(k), v_stride: Some(v), ..self }
    }

    /// Sets the type of the places.
    #[must_use]
    pub fn with_place_type(self, place_type: PlaceType) -> Self {
        Self { place_type, ..self }
    }

    /// Rotates keys on their way, and queries if `rotary` says so.
    #[must_use]
    pub fn with_rotary(self, rotary: Rotary) -> Self {
        Self { rotary: Some(rotary), ..self }
    }

    /// Asks for `status`: which places the cache does not have, and which positions the table.
    #[must_use]
    pub fn checked(self) -> Self {
        Self { is_checked: true, ..self }
    }

    /// Pages, or slots, and keys of each.
    pub(super) fn pages(&self) -> [u32; 2] {
        let cache = &self.cache;
        cache.kv.pages.map_or([cache.slots, cache.max_keys], |pages| [pages.num_pages, pages.page_size])
    }

    /// Places of the cache.
    pub fn num_places(&self) -> u64 {
        let [pages, keys] = self.pages().map(u64::from);
        pages * keys
    }

    /// k and v.
    pub(super) fn rows(&self) -> [Tensor; 2] {
        let [k_cache, v_cache] = self.caches();
        let is_whole = self.cache.kv.order.piece_elements().is_none();
        let of = |name, cache: Tensor, stride: Option<[u64; 2]>| {
            let heads = cache.extent[2];
            let [token, head] = stride.unwrap_or([heads * cache.dim, cache.dim]);
            // Of pieces, heads lie side by side (`wrong_pieces`), and so do the pieces of all.
            let head = if is_whole { head } else { cache.dim };
            let extent = [1, self.tokens.into(), heads];
            Tensor { name, extent, stride: [0, token, head], is_output: false, ..cache }
        };
        [of("k", k_cache, self.k_stride), of("v", v_cache, self.v_stride)]
    }

    /// `k_cache` and `v_cache`.
    pub(super) fn caches(&self) -> [Tensor; 2] {
        let [_, k, v, _] = self.cache.tensors();
        [("k_cache", k), ("v_cache", v)].map(|(name, tensor)| Tensor { name, is_output: true, ..tensor })
    }

    /// How K and V are copied.
    pub(super) fn pieces(&self) -> [Pieces; 2] {
        let ([k, v], [k_cache, v_cache]) = (self.rows(), self.caches());
        let of_k = if self.splits_k() { Pieces::halved(&k_cache) } else { Pieces::of(&k, &k_cache) };
        [of_k, Pieces::of(&v, &v_cache)]
    }

    /// Whether K is rotated and then leaves as half blocks of UB.
    pub(super) fn splits_k(&self) -> bool {
        self.rotary.is_some() && self.cache.kv.order == KvOrder::Vllm
    }

    /// Of the image of a row of K with exchanged halves; 0 where there is none.
    pub(super) fn odd_row_bytes(&self) -> u64 {
        if self.splits_k() {
            self.pieces()[0].row_bytes
        } else {
            0
        }
    }

    /// k, v, `k_cache`, `v_cache`, and q and `q_out` if there are any.
    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let queries = self.rotary.and_then(|rotary| rotary.queries(self));
        self.rows().into_iter().chain(self.caches()).chain(queries.into_iter().flatten()).collect()
    }

    /// Every reason why `soc` cannot append these; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let mut found = self.wrong_sizes();
        if found.is_empty() {
            self.tensors().iter().for_each(|t| found.extend(wrong_strides(t)));
        }
        if found.is_empty() && self.splits_k() {
            // A copy takes every other piece.
            found.extend(self.caches()[0].wide_gap(2, MAX_GM_GAP_BYTES / 2));
        }
        if found.is_empty() {
            found.extend(self.too_long(soc));
            found.extend(self.too_large(soc));
        }
        found
    }

    fn wrong_sizes(&self) -> Vec<Reason> {
        let (mut found, s) = (Vec::new(), &self.cache.spec);
        if let Err(error) = super::kernel_names(s.dtype) {
            found.push(Reason::unsupported(error.to_string().trim_start_matches("append: ").to_owned()));
        }
        let dims = [("num_heads_k", s.num_heads_k), ("head_dim", s.head_dim), ("head_dim_v", s.head_dim_v)];
        for (name, _) in dims.into_iter().filter(|(_, value)| *value == 0) {
            found.push(Reason::invalid(format!("{name} = 0, wanted at least 1")));
        }
        for (name, value, most) in
            [("num_heads_k", s.num_heads_k, MAX_HEADS), ("tokens", self.tokens, MAX_SEQLEN)]
        {
            if value > most {
                found.push(Reason::unsupported(format!("{name} = {value} is more than {most}")));
            }
        }
        let [pages, keys] = self.pages();
        if keys == 0 && self.cache.kv.pages.is_some() {
            found.push(Reason::invalid("page_size = 0, wanted at least 1"));
        }
        if self.num_places() > u64::from(MAX_SEQLEN) {
            found.push(Reason::unsupported(format!(
                "{pages} pages or slots of {keys} keys are {} places; at most {MAX_SEQLEN} supported",
                self.num_places()
            )));
        }
        found.extend(self.rotary.iter().flat_map(|rotary| rotary.wrong_sizes(self)));
        found.extend(self.wrong_pieces());
        found
    }

    /// Rows of caches whose heads lie in pieces, each of which is a burst of a copy.
    fn wrong_pieces(&self) -> Vec<Reason> {
        let (mut found, s) = (Vec::new(), &self.cache.spec);
        let Some(pieces) = self.cache.kv.order.piece_elements() else { return found };
        if self.cache.kv.pages.is_none() {
            found.push(Reason::unsupported(format!(
                "kv = {} has no kernel without pages; supported: pages, or keys first, or heads first",
                self.cache.kv
            )));
        }
        let given = [self.k_stride, self.v_stride];
        let dims = [("head_dim", s.head_dim), ("head_dim_v", s.head_dim_v)];
        for (i, (name, dim)) in dims.into_iter().enumerate() {
            let piece = pieces[i];
            if !dim.is_multiple_of(piece) {
                found.push(Reason::unsupported(format!(
                    "{name} = {dim} is not a multiple of the {piece} elements of a piece"
                )));
            }
            let all = u64::from(s.num_heads_k) * u64::from(dim / piece);
            if all > u64::from(MAX_HEADS) {
                found.push(Reason::unsupported(format!(
                    "num_heads_k = {} with {name} = {dim} is {all} pieces of {piece} elements; at most {MAX_HEADS} \
                     supported",
                    s.num_heads_k
                )));
            }
            if let Some([_, head]) =
                given[i].filter(|stride| s.num_heads_k > 1 && stride[1] != u64::from(dim))
            {
                found.push(Reason::unsupported(format!(
                    "{}_stride: head stride = {head} for pages in pieces; supported: {dim}",
                    ["k", "v"][i]
                )));
            }
        }
        found
    }

    /// Of K and V of a token in UB, its query, its row of the table, and what K has besides.
    pub(super) fn token_bytes(&self) -> u64 {
        let q = self.rotary.and_then(|rotary| rotary.pieces(self));
        let rows: u64 = self.pieces().iter().chain(&q).map(|pieces| pieces.row_bytes).sum();
        rows + self.rotary.map_or(0, |rotary| rotary.table_row_bytes()) + self.odd_row_bytes()
    }

    /// All rows of a token lie in UB, and those of the next one.
    fn too_long(&self, soc: &Soc) -> Option<Reason> {
        let bytes = self.token_bytes();
        let most = super::plan::most_token_bytes(self, soc);
        let s = &self.cache.spec;
        let (of_q, q) = match self.rotary {
            Some(rotary) if rotary.has_q => (format!("num_heads = {}, ", s.num_heads), ", q"),
            _ => (String::new(), ""),
        };
        (bytes > most).then(|| {
            Reason::unsupported(format!(
                "{of_q}num_heads_k = {} with head_dim = {} and head_dim_v = {} takes {bytes} bytes of UB for K{q} and V of \
                 a token; at most {most} supported",
                s.num_heads_k, s.head_dim, s.head_dim_v
            ))
        })
    }

    fn too_large(&self, soc: &Soc) -> Option<Reason> {
        let [k, v] = self.rows().map(|tensor| tensor.footprint());
        let [k_cache, v_cache] = self.caches().map(|tensor| tensor.footprint());
        let Some(rotary) = self.rotary else {
            let names = ["k", "v", "k_cache", "v_cache"];
            return Reason::of_operands(names, [k, v, k_cache, v_cache], &soc.name, soc.hbm_bytes);
        };
        let none = Footprint { span: 0, used: 0 };
        let [q, q_out] = rotary.queries(self).map_or([none; 2], |t| t.map(|tensor| tensor.footprint()));
        let bytes = rotary.table_bytes().into();
        let table = Footprint { span: bytes, used: bytes };
        let names = ["k", "v", "k_cache", "v_cache", "q", "q_out", "table"];
        Reason::of_operands(names, [k, v, k_cache, v_cache, q, q_out, table], &soc.name, soc.hbm_bytes)
    }
}

/// Heads that repeat, and rows on each other, are no pieces of a copy: what holds for an output holds for
/// all.
fn wrong_strides(tensor: &Tensor) -> Vec<Reason> {
    let gap = |tensor: &Tensor| Vec::from_iter(tensor.wide_gap(2, MAX_GM_GAP_BYTES));
    Tensor { is_output: true, ..*tensor }.wrong_strides(gap)
}
