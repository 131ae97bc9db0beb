//! New keys and values into a cache (`kv_append.cpp`), keys and queries rotated on the way
//! (`kv_append_rotary.cpp`).

use ascend_sim::engine::Stopped;

use super::numbers::Numbers;
use super::Real;
use crate::append::{KvAppendRotaryTilingData, KvAppendTilingData, STATUS_WORDS};
use crate::cpu::call::{index, span, Call, Tensor};
use crate::kernels::operands::{KvAppendArguments, KvAppendRotaryArguments};

/// Bytes of an element: f16 or bf16.
const SIZE: u64 = 2;

/// The pieces of a row: how many, bytes of one, bytes from one to the next.
#[derive(Clone, Copy)]
struct Pieces {
    count: u64,
    bytes: u64,
    pitch: u64,
}

impl Pieces {
    fn new([bursts, bytes, gap]: [u32; 3]) -> Self {
        let [count, bytes, gap] = [bursts, bytes, gap].map(u64::from);
        Self { count, bytes, pitch: bytes + gap }
    }

    /// Extent and stride, and bytes of one.
    fn dims(self) -> ((u64, u64), u64) {
        ((self.count, self.pitch), self.bytes)
    }

    fn read(self, from: &Tensor<u8>, at: u64, row: &mut Vec<u8>) {
        row.resize(index(self.count * self.bytes), 0);
        for (i, piece) in (0..).zip(row.chunks_exact_mut(index(self.bytes))) {
            from.read(at + i * self.pitch, piece);
        }
    }

    fn write(self, to: &Tensor<u8>, at: u64, row: &[u8]) {
        for (i, piece) in (0..).zip(row.chunks_exact(index(self.bytes))) {
            to.write(at + i * self.pitch, piece);
        }
    }
}

/// A stride in bytes. Where there is one step at most, it does not count.
fn in_bytes(call: &Call<'_>, steps: u64, stride: u64) -> Result<u64, Stopped> {
    let stride = if steps > 1 { stride } else { 0 };
    stride
        .checked_mul(SIZE)
        .ok_or_else(|| call.wrong(format!("stride {stride} given, one of at most 2^64 bytes wanted")))
}

/// Rows of tokens, from one to the next.
struct TokenRows {
    tensor: Tensor<u8>,
    stride: u64,
    pieces: Pieces,
}

impl TokenRows {
    fn new(
        call: &Call<'_>,
        name: &str,
        address: u64,
        tokens: u32,
        stride: u64,
        pieces: Pieces,
    ) -> Result<Self, Stopped> {
        let stride = in_bytes(call, tokens.into(), stride)?;
        let (inner, bytes) = pieces.dims();
        let tensor = call.tensor(name, address, span(&[(tokens.into(), stride), inner], bytes))?;
        Ok(Self { tensor, stride, pieces })
    }

    fn read(&self, token: u64, row: &mut Vec<u8>) {
        self.pieces.read(&self.tensor, token * self.stride, row);
    }

    fn write(&self, token: u64, row: &[u8]) {
        self.pieces.write(&self.tensor, token * self.stride, row);
    }
}

/// The rows of K or of V, and the cache that they go to.
struct Side {
    rows: TokenRows,
    cache: Tensor<u8>,
    page_stride: u64,
    place_stride: u64,
    page_size: u64,
    pieces: Pieces,
}

impl Side {
    fn new(call: &Call<'_>, t: &KvAppendTilingData, i: usize, [from, to]: [u64; 2]) -> Result<Self, Stopped> {
        let read = Pieces::new([t.in_bursts[i], t.in_burst_bytes[i], t.in_gap_bytes[i]]);
        let mut pieces = Pieces::new([t.out_bursts[i], t.out_burst_bytes[i], t.out_gap_bytes[i]]);
        if i == 0 && t.ub_odd_offset_bytes != 0 {
            // Two copies there, of every other piece each.
            (pieces.count, pieces.pitch) = (2 * pieces.count, pieces.pitch / 2);
        }
        let page_size = u64::from(t.page_size);
        let pages = u64::from(t.num_places).checked_div(page_size).unwrap_or(0);
        let page_stride = in_bytes(call, pages, t.page_stride[i])?;
        let place_stride = in_bytes(call, page_size, t.place_stride[i])?;
        let (inner, bytes) = pieces.dims();
        let len = span(&[(pages, page_stride), (page_size, place_stride), inner], bytes);
        let rows = TokenRows::new(call, ["k", "v"][i], from, t.tokens, t.token_stride[i], read)?;
        let cache = call.tensor(["k_cache", "v_cache"][i], to, len)?;
        Ok(Self { rows, cache, page_stride, place_stride, page_size, pieces })
    }

    fn write(&self, place: u64, row: &[u8]) {
        let (page, place) = (place / self.page_size, place % self.page_size);
        self.pieces.write(&self.cache, page * self.page_stride + place * self.place_stride, row);
    }
}

/// What rotates rows of keys and queries.
struct Rotation {
    positions: Numbers,
    table: Tensor<f32>,
    dims: usize,
    head_dim: usize,
    is_adjacent: bool,
    /// Cosines and sines of the present token.
    factors: Vec<f32>,
}

impl Rotation {
    fn take(&mut self, token: u64) {
        match self.positions.of(token) {
            Some(position) => self.table.read(position * self.dims as u64, &mut self.factors),
            None => self.factors.fill(f32::NAN),
        }
    }

    /// Rotates the first `dims` elements of each head of a row.
    fn rotate<T: Real>(&self, row: &mut [u8]) {
        let half = self.dims / 2;
        let (cos, sin) = self.factors.split_at(half);
        let mut elements = vec![T::zeroed(); self.dims];
        let mut values = vec![0.0; self.dims];
        for head in row.chunks_exact_mut(self.head_dim * size_of::<T>()) {
            let bytes = &mut head[..self.dims * size_of::<T>()];
            bytemuck::cast_slice_mut(&mut elements).copy_from_slice(bytes);
            T::widen(&elements, &mut values);
            for i in 0..half {
                let (first, second) = if self.is_adjacent { (2 * i, 2 * i + 1) } else { (i, half + i) };
                let (x, y) = (values[first], values[second]);
                values[first] = x * cos[i] - y * sin[i];
                values[second] = y * cos[i] + x * sin[i];
            }
            T::narrow(&values, &mut elements);
            bytes.copy_from_slice(bytemuck::cast_slice(&elements));
        }
    }
}

/// Copies each token to its place.
pub(super) fn kv_append(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, KvAppendArguments::of)?;
    let t: KvAppendTilingData = call.tiling(gm.tiling)?;
    let places = Numbers::new(call, "places", gm.places, [t.tokens, t.place_words, t.num_places])?;
    let sides = [Side::new(call, &t, 0, [gm.k, gm.k_cache])?, Side::new(call, &t, 1, [gm.v, gm.v_cache])?];
    // Of tokens with one place the last stays; on a chip it is undefined which. A copy is bound by memory, so
    // one thread does.
    let mut row = Vec::new();
    for token in 0..u64::from(t.tokens) {
        let Some(place) = places.of(token) else { continue };
        for side in &sides {
            side.rows.read(token, &mut row);
            side.write(place, &row);
        }
    }
    write_status(call, &t, gm.status, &places, None)
}

/// The same with keys rotated, and queries if there are some, which go to `q_out` whatever the place.
pub(super) fn kv_append_rotary<T: Real>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, KvAppendRotaryArguments::of)?;
    let t: KvAppendTilingData = call.tiling(gm.tiling)?;
    let r: KvAppendRotaryTilingData = call.tiling(gm.rotary_tiling)?;
    let places = Numbers::new(call, "places", gm.places, [t.tokens, t.place_words, t.num_places])?;
    let sides = [Side::new(call, &t, 0, [gm.k, gm.k_cache])?, Side::new(call, &t, 1, [gm.v, gm.v_cache])?];
    let q = |name, address, stride, i: usize| {
        let pieces = Pieces::new([r.q_bursts[i], r.q_burst_bytes[i], r.q_gap_bytes[i]]);
        TokenRows::new(call, name, address, t.tokens, stride, pieces)
    };
    let queries = if r.num_heads > 0 {
        Some((q("q", gm.q, r.q_token_stride, 0)?, q("q_out", gm.q_out, r.q_out_token_stride, 1)?))
    } else {
        None
    };
    let positions = [t.tokens, r.position_words, r.max_positions];
    let mut rotation = Rotation {
        positions: Numbers::new(call, "positions", gm.positions, positions)?,
        table: call.tensor("table", gm.table, Some(u64::from(r.max_positions) * u64::from(r.dims)))?,
        dims: index(r.dims.into()),
        head_dim: index(r.head_dim.into()),
        is_adjacent: r.is_adjacent != 0,
        factors: vec![0.0; index(r.dims.into())],
    };
    let mut row = Vec::new();
    for token in 0..u64::from(t.tokens) {
        rotation.take(token);
        if let Some((q, q_out)) = &queries {
            q.read(token, &mut row);
            rotation.rotate::<T>(&mut row);
            q_out.write(token, &row);
        }
        let Some(place) = places.of(token) else { continue };
        sides[0].rows.read(token, &mut row);
        rotation.rotate::<T>(&mut row);
        sides[0].write(place, &row);
        sides[1].rows.read(token, &mut row);
        sides[1].write(place, &row);
    }
    write_status(call, &t, gm.status, &places, Some(&rotation.positions))
}

/// What is wrong with the tokens of each vector core, as [`crate::append::Report`] reads it.
fn write_status(
    call: &Call<'_>,
    t: &KvAppendTilingData,
    address: u64,
    places: &Numbers,
    positions: Option<&Numbers>,
) -> Result<(), Stopped> {
    if t.want_status == 0 {
        return Ok(());
    }
    let (tokens, cores) = (u64::from(t.tokens), u64::from(t.num_cores));
    let status = call.tensor::<i32>("status", address, cores.checked_mul(STATUS_WORDS as u64))?;
    for core in 0..cores {
        let own = tokens * core / cores..tokens * (core + 1) / cores;
        let mut words = [0; STATUS_WORDS];
        words[..4].copy_from_slice(&places.wrong(own.clone(), Some(-1)));
        words[4..].copy_from_slice(&positions.map_or([0; 4], |positions| positions.wrong(own, None)));
        status.write(core * STATUS_WORDS as u64, &words);
    }
    Ok(())
}
