//! The host's part: functions that a stream of the device calls.

use std::sync::{Arc, Mutex, PoisonError};

use super::lane::bytes;
use super::sizes::{RowBytes, Sizes};
use super::step::Part;
use crate::append::{self, Append};
use crate::runtime::{Buffer, Device, Operand, Staging, Stream};
use crate::serving::{self, ServingAttention};
use crate::Result;

/// The operators on the host's device.
#[derive(Debug)]
pub(super) struct HostOperators {
    pub(super) attention: ServingAttention,
    pub(super) append: Append,
}

/// K and V of a layer on one side.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    pub(super) k: Buffer,
    pub(super) v: Buffer,
}

/// Room of a lane on the host.
#[derive(Debug)]
pub(super) struct HostLane {
    /// q, k, v of the rows of a step come down here, o and lse go up from here.
    pub(super) rows: Staging,
    /// K and V of a prompt come down here.
    pub(super) chunks: [Staging; 2],
    pub(super) row: RowBytes,
    most_rows: u64,
    pub(super) chunk_rows: u64,
    own: Mutex<Own>,
}

/// What the host's kernels use. The functions of a lane take turns.
#[derive(Debug)]
struct Own {
    stream: Stream,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    o: Buffer,
    lse: Buffer,
    numbers: Buffer,
    workspace: Buffer,
}

/// Where q, k, v, o and lse of `rows` rows lie in the pinned memory of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowPlaces {
    pub(super) q: usize,
    pub(super) k: usize,
    pub(super) v: usize,
    pub(super) o: usize,
    pub(super) lse: usize,
}

impl HostLane {
    pub(super) fn new(device: &Device, host: &Device, sizes: &Sizes) -> Result<Self> {
        let (row, rows) = (sizes.row, sizes.rows);
        let pinned = |len: u64| Staging::alloc(device, bytes(len));
        let alloc = |len: u64| Buffer::alloc(host, bytes(len));
        let own = Own {
            stream: Stream::new(host)?,
            q: alloc(rows * row.q)?,
            k: alloc(sizes.chunk_rows * row.k)?,
            v: alloc(sizes.chunk_rows * row.v)?,
            o: alloc(rows * row.o)?,
            lse: alloc(rows * row.lse)?,
            numbers: alloc(sizes.numbers[1])?,
            workspace: alloc(sizes.workspace[1])?,
        };
        Ok(Self {
            rows: pinned(rows * (row.down() + row.up()))?,
            chunks: [pinned(sizes.chunk_bytes())?, pinned(sizes.chunk_bytes())?],
            row,
            most_rows: rows,
            chunk_rows: sizes.chunk_rows,
            own: Mutex::new(own),
        })
    }

    pub(super) fn places(&self) -> RowPlaces {
        let (rows, row) = (self.most_rows, self.row);
        let [k, v, o] = [row.q, row.q + row.k, row.down()].map(|before| bytes(rows * before));
        RowPlaces { q: 0, k, v, o, lse: bytes(rows * (row.down() + row.o)) }
    }

    /// Takes the new rows of a step into the cache and attends to its keys; rows lie in pinned memory.
    pub(super) fn step(&self, operators: &HostOperators, part: &Part, cache: &Cache) -> Result<()> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, row, rows) = (self.places(), self.row, u64::from(part.rows));
        own.numbers.copy_from_host(&part.numbers)?;
        own.k.copy_from_staging(0, (&self.rows, at.k), bytes(rows * row.k))?;
        own.v.copy_from_staging(0, (&self.rows, at.v), bytes(rows * row.v))?;
        let numbers = |at: u64| Operand::at(&own.numbers, bytes(at));
        let places = numbers(part.at.places);
        let args = append::Args::new(&own.k, &own.v, places, &cache.k, &cache.v);
        operators.append.launch(&own.stream, &part.append, args)?;
        if part.attends() {
            own.q.copy_from_staging(0, (&self.rows, at.q), bytes(rows * row.q))?;
            let lengths = numbers(part.at.lengths);
            let mut args = serving::Args::new(&own.q, &cache.k, &cache.v, lengths, &own.o, &own.workspace)
                .with_row_starts(numbers(part.at.row_starts))
                .with_block_table(numbers(part.at.table));
            if row.lse > 0 {
                args = args.with_lse(&own.lse);
            }
            operators.attention.launch(&own.stream, &part.attention, args)?;
        }
        own.stream.synchronize()?;
        if part.attends() {
            own.o.copy_to_staging((&self.rows, at.o), bytes(rows * row.o))?;
            own.lse.copy_to_staging((&self.rows, at.lse), bytes(rows * row.lse))?;
        }
        Ok(())
    }

    /// Takes a chunk of a prompt into the cache: K, and V behind it.
    pub(super) fn take(&self, operators: &HostOperators, chunk: &Chunk) -> Result<()> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let (staging, row) = (&self.chunks[chunk.place], self.row);
        let rows = chunk.places.len() as u64;
        own.numbers.copy_from_host(&chunk.places)?;
        own.k.copy_from_staging(0, (staging, 0), bytes(rows * row.k))?;
        own.v.copy_from_staging(0, (staging, bytes(rows * row.k)), bytes(rows * row.v))?;
        let args = append::Args::new(&own.k, &own.v, &own.numbers, &chunk.cache.k, &chunk.cache.v);
        operators.append.launch(&own.stream, &chunk.append, args)?;
        own.stream.synchronize()
    }
}

/// Rows of a prompt that go down together.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Which of the pinned places has them.
    pub(super) place: usize,
    /// Their places in the cache.
    pub(super) places: Vec<i32>,
    pub(super) append: append::Plan,
    pub(super) cache: Cache,
}

/// What the functions of a store share.
pub(super) type Shared = Arc<HostOperators>;
