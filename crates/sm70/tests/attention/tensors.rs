//! The tensors of a problem in the memory of the device, and what comes back. What lies between rows, and
//! behind the end of a sequence in its last page, is never written: a kernel that reads it is at fault.

use fastattention_sm70::{Memory, Params};
use half::f16;

use super::problem::{Head, Inputs, Layout, Pages, Problem};

/// Elements around o and lse that must stay as they were.
const GUARD: usize = 16384;
/// What an element of o or lse holds before.
const NOTHING: u16 = 0x7e77;
const NOTHING_LSE: u32 = 0x7fc0_beef;

/// Bytes from batch (of pages: page) to batch, head to head, row to row.
#[derive(Debug, Clone, Copy)]
struct Strides {
    batch: u64,
    head: u64,
    row: u32,
}

/// Where the rows of a tensor lie.
#[derive(Debug, Clone)]
struct RowLayout {
    strides: Strides,
    bytes: usize,
    /// Rows of each batch, if the batches lie one behind the other.
    ragged: Option<Vec<usize>>,
    pages: Option<Pages>,
}

/// All of a problem's tensors on the device.
#[derive(Debug)]
pub(crate) struct Tensors {
    pub(crate) memory: Memory,
    places: [RowLayout; 4],
    q: u64,
    k: u64,
    v: u64,
    o: u64,
    lse: u64,
    /// Rows of q in all, if ragged.
    total_q: Option<usize>,
}

pub(crate) fn int(value: usize) -> u32 {
    u32::try_from(value).unwrap()
}

fn halves(count: usize) -> u64 {
    count as u64 * 2
}

impl RowLayout {
    fn new(problem: &Problem, heads: usize, rows: usize, dim: usize, ragged: Option<&Vec<usize>>) -> Self {
        let row = if problem.layout == Layout::Padded { dim + 16 } else { dim };
        let batch = problem.batch;
        let (of_batch, of_head, of_row, count) = match (ragged, problem.layout) {
            (Some(lengths), _) => (0, row, heads * row, lengths.iter().sum::<usize>() * heads * row),
            (None, Layout::Bhsd) => (heads * rows * dim, rows * dim, dim, batch * heads * rows * dim),
            (None, _) => (rows * heads * row, row, heads * row, batch * rows * heads * row),
        };
        let strides = Strides { batch: halves(of_batch), head: halves(of_head), row: int(of_row * 2) };
        Self { strides, bytes: count * 2, ragged: ragged.cloned(), pages: None }
    }

    /// `[page][key][head][dim]`.
    fn paged(pages: &Pages, heads: usize, dim: usize) -> Self {
        let row = heads * dim;
        let strides = Strides { batch: halves(pages.keys * row), head: halves(dim), row: int(row * 2) };
        let bytes = pages.count() * pages.keys * row * 2;
        Self { strides, bytes, ragged: None, pages: Some(pages.clone()) }
    }

    /// First byte of a row. None: the page that it is in is not there.
    fn offset(&self, batch: usize, head: usize, row: usize) -> Option<u64> {
        let Strides { batch: of_batch, head: of_head, row: of_row } = self.strides;
        let (batch, row) = match (&self.pages, &self.ragged) {
            (Some(pages), _) => {
                let page = pages.table()[batch][row / pages.keys];
                (usize::try_from(page).ok().filter(|page| *page < pages.count())?, row % pages.keys)
            }
            (None, Some(lengths)) => (0, lengths[..batch].iter().sum::<usize>() + row),
            (None, None) => (batch, row),
        };
        Some(batch as u64 * of_batch + head as u64 * of_head + row as u64 * u64::from(of_row))
    }

    /// Writes the rows that a problem has.
    fn upload(
        &self,
        memory: &mut Memory,
        name: &str,
        tensor: &[Vec<Head>],
        rows: impl Fn(usize) -> usize,
    ) -> u64 {
        let address = memory.allocate(name, self.bytes);
        for (b, batch) in tensor.iter().enumerate() {
            for (h, head) in batch.iter().enumerate() {
                for (r, row) in head.iter().enumerate().take(rows(b)) {
                    let Some(offset) = self.offset(b, h, r) else { continue };
                    let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
                    memory.write(address + offset, &bytes).unwrap();
                }
            }
        }
        address
    }
}

impl Tensors {
    pub(crate) fn new(problem: &Problem, inputs: &Inputs) -> Self {
        let p = problem;
        let mut memory = Memory::new();
        let (rows_q, rows_k) = (p.ragged.as_ref().map(|r| &r.rows), p.ragged.as_ref().map(|r| &r.keys));
        let q_place = RowLayout::new(p, p.num_heads, p.seqlen_q, p.head_dim, rows_q);
        let [k_place, v_place] = [p.head_dim, p.head_dim_v].map(|dim| match p.pages() {
            Some(pages) => RowLayout::paged(pages, p.num_heads_k, dim),
            None => RowLayout::new(p, p.num_heads_k, p.seqlen_k, dim, rows_k),
        });
        let o_place = RowLayout::new(p, p.num_heads, p.seqlen_q, p.head_dim_v, rows_q);
        let q = q_place.upload(&mut memory, "q", &inputs.q, |b| p.lengths_of(b).0);
        let k = k_place.upload(&mut memory, "k", &inputs.k, |b| p.lengths_of(b).1);
        let v = v_place.upload(&mut memory, "v", &inputs.v, |b| p.lengths_of(b).1);
        let total_q = rows_q.map(|rows| rows.iter().sum());
        let rows = total_q.unwrap_or(p.batch * p.seqlen_q);
        let o = memory.upload("o", &NOTHING.to_le_bytes().repeat(o_place.bytes / 2 + 2 * GUARD));
        let lse = memory.upload("lse", &NOTHING_LSE.to_le_bytes().repeat(rows * p.num_heads + 2 * GUARD));
        Self { memory, places: [q_place, k_place, v_place, o_place], q, k, v, o, lse, total_q }
    }

    /// The first parameters of every kernel: q, k, v, o, lse.
    pub(crate) fn addresses(&self) -> Params {
        let (o, lse) = (self.o + 2 * GUARD as u64, self.lse + 4 * GUARD as u64);
        [self.q, self.k, self.v, o, lse].into_iter().fold(Params::new(), Params::u64)
    }

    /// The last ones: strides, and what makes a scale of any sign.
    pub(crate) fn strides(&self, problem: &Problem, params: Params) -> Params {
        let strides = self.places.each_ref().map(|place| place.strides);
        let params = strides.iter().fold(params, |params, strides| params.u32(strides.row));
        let params = strides.iter().fold(params, |params, strides| params.u64(strides.batch));
        let params = strides.iter().fold(params, |params, strides| params.u64(strides.head));
        let (batch, head) = match self.total_q {
            Some(total) => (0, total),
            None => (problem.num_heads * problem.seqlen_q, problem.seqlen_q),
        };
        let scale = problem.scale_value();
        let keep = if scale == 0.0 { 0 } else { u32::MAX };
        let flip = if scale < 0.0 { 0x8000_8000 } else { 0 };
        params.u64(batch as u64).u64(head as u64).u32(keep).u32(flip)
    }

    /// Prefix sums of lengths on the device; 0 if there are none.
    pub(crate) fn cu_seqlens(&mut self, name: &str, lengths: Option<&Vec<usize>>) -> u64 {
        let Some(lengths) = lengths else { return 0 };
        let sums = (0..=lengths.len()).map(|n| lengths[..n].iter().sum());
        self.integers(name, sums.map(|sum: usize| i32::try_from(sum).unwrap()))
    }

    pub(crate) fn integers(&mut self, name: &str, values: impl Iterator<Item = i32>) -> u64 {
        let bytes: Vec<u8> = values.flat_map(i32::to_le_bytes).collect();
        self.memory.upload(name, &bytes)
    }

    /// What the device holds after a run.
    pub(crate) fn outputs(&self) -> Outputs<'_> {
        let [o, lse] = [self.o, self.lse].map(|address| self.memory.read(address).unwrap());
        Outputs { tensors: self, o, lse }
    }
}

/// Outputs with what lies around them.
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    tensors: &'a Tensors,
    o: &'a [u8],
    lse: &'a [u8],
}

impl Outputs<'_> {
    /// The halves from the first element of o on.
    pub(crate) fn o_bits(&self) -> Vec<u16> {
        let bytes = self.o[2 * GUARD..].chunks_exact(2);
        bytes.map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])).collect()
    }

    /// A row of o.
    pub(crate) fn o_row(&self, batch: usize, head: usize, row: usize, dim: usize) -> Vec<f64> {
        let offset = self.tensors.places[3].offset(batch, head, row).unwrap();
        let bytes = self.o[usize::try_from(offset).unwrap() + 2 * GUARD..][..2 * dim].chunks_exact(2);
        bytes.map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f64()).collect()
    }

    pub(crate) fn lse_of(&self, problem: &Problem, batch: usize, head: usize, row: usize) -> f64 {
        let at = match (&self.tensors.places[0].ragged, self.tensors.total_q) {
            (Some(rows), Some(total)) => head * total + rows[..batch].iter().sum::<usize>() + row,
            _ => (batch * problem.num_heads + head) * problem.seqlen_q + row,
        };
        f64::from(f32::from_le_bytes(self.lse[4 * (GUARD + at)..][..4].try_into().unwrap()))
    }

    /// Elements of o's and of lse's buffer that were written, if each has changed its value.
    pub(crate) fn written(&self) -> (usize, usize) {
        (
            self.o.chunks_exact(2).filter(|bytes| **bytes != NOTHING.to_le_bytes()).count(),
            self.lse.chunks_exact(4).filter(|bytes| **bytes != NOTHING_LSE.to_le_bytes()).count(),
        )
    }
}
