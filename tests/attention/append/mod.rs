//! Appending to the cache: cases, and what the host makes of them.

mod pairwise;
mod refusals;
mod results;
mod rotary;

use fastattention::append::{plan, Append, Args, PlaceType, Plan, Problem, Report};
use fastattention::runtime::{Buffer, Stream};
use fastattention::serving::{self, KvLayout};
use fastattention::{sim, DType};
use fastattention_testkit::device::device;
use fastrand::Rng;

/// How the cache lies: its sizes in order, with the distance of each in elements, worked out by hand.
#[derive(Clone, Copy, Debug)]
enum Cache {
    /// `[pages, size, heads, dim]`.
    Paged { pages: usize, size: usize },
    /// `[pages, heads, size, dim]`.
    PagedHeadsFirst { pages: usize, size: usize },
    /// `[slots, keys, heads, dim]`.
    Padded { slots: usize, keys: usize },
    /// `[slots, heads, keys, dim]`.
    PaddedHeadsFirst { slots: usize, keys: usize },
    /// Pages, rows and heads apart from each other.
    Gaps { pages: usize, size: usize },
    /// `[pages, heads * dim / 16, size, 16]`.
    Nz { pages: usize, size: usize },
    /// k `[pages, heads, dim / 8, size, 8]`, v `[pages, heads, dim, size]`.
    Vllm { pages: usize, size: usize },
}

use Cache::{Gaps, Nz, Padded, PaddedHeadsFirst, Paged, PagedHeadsFirst, Vllm};

impl Cache {
    fn num_places(self) -> usize {
        match self {
            Paged { pages, size }
            | PagedHeadsFirst { pages, size }
            | Gaps { pages, size }
            | Nz { pages, size }
            | Vllm { pages, size } => pages * size,
            Padded { slots, keys } | PaddedHeadsFirst { slots, keys } => slots * keys,
        }
    }

    /// Elements between pages, rows and heads where they are given, else none.
    fn strides(self, heads: usize, dim: usize) -> Option<[u64; 3]> {
        let Gaps { size, .. } = self else { return None };
        let head = dim + 3;
        let row = heads * head + 7;
        Some([size * row + 1, row, head].map(|stride| stride as u64))
    }

    /// Where element `d` of a place and a head lies in the cache of K (0) or V (1).
    fn at(self, which: usize, place: usize, [head, d]: [usize; 2], [heads, dim]: [usize; 2]) -> usize {
        let in_pieces = |x: usize, keys: usize| {
            let piece = (head * dim + d) / x;
            ((place / keys * (heads * dim / x) + piece) * keys + place % keys) * x + d % x
        };
        match self {
            Paged { .. } | Padded { .. } => (place * heads + head) * dim + d,
            PagedHeadsFirst { size: keys, .. } | PaddedHeadsFirst { keys, .. } => {
                (place / keys * heads * keys + head * keys + place % keys) * dim + d
            }
            Gaps { size, .. } => {
                let row = heads * (dim + 3) + 7;
                place / size * (size * row + 1) + place % size * row + head * (dim + 3) + d
            }
            Nz { size, .. } => in_pieces(16, size),
            Vllm { size, .. } => in_pieces([8, 1][which], size),
        }
    }

    fn len(self, which: usize, heads: usize, dim: usize) -> usize {
        self.at(which, self.num_places() - 1, [heads - 1, dim - 1], [heads, dim]) + 1
    }

    fn layout(self) -> KvLayout {
        let paged = |pages: usize, size: usize| KvLayout::paged(size as u32, pages as u32);
        match self {
            Paged { pages, size } | Gaps { pages, size } => paged(pages, size),
            PagedHeadsFirst { pages, size } => paged(pages, size).with_heads_first(),
            Padded { .. } => KvLayout::padded(),
            PaddedHeadsFirst { .. } => KvLayout::padded().with_heads_first(),
            Nz { pages, size } => paged(pages, size).with_nz(),
            Vllm { pages, size } => paged(pages, size).with_vllm(),
        }
    }
}

/// How k and v lie: elements between tokens and heads.
#[derive(Clone, Copy, Debug)]
enum Rows {
    Dense,
    /// Parts of the rows of q, k and v together.
    Fused,
    /// `[heads, tokens, dim]`.
    HeadsFirst,
    /// Heads apart, tokens behind each other.
    Gaps,
    /// The same, and tokens apart.
    TokenGaps,
}

impl Rows {
    fn strides(self, tokens: usize, heads: usize, dim: usize) -> [usize; 2] {
        match self {
            Rows::Dense => [heads * dim, dim],
            Rows::Fused => [3 * heads * dim + 16, dim],
            Rows::HeadsFirst => [dim, tokens * dim],
            Rows::Gaps => [heads * (dim + 5), dim + 5],
            Rows::TokenGaps => [heads * (dim + 5) + 9, dim + 5],
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    dtype: DType,
    place_type: PlaceType,
    tokens: usize,
    heads: usize,
    dims: [usize; 2],
    cache: Cache,
    rows: Rows,
    is_checked: bool,
}

impl Case {
    fn problem(&self) -> Problem {
        let [dim, dim_v] = self.dims.map(|dim| dim as u32);
        let (slots, keys) = match self.cache {
            Padded { slots, keys } | PaddedHeadsFirst { slots, keys } => (slots, keys),
            _ => (1, 1),
        };
        let shape = [slots as u32, 1, self.heads as u32, dim];
        let mut cache = serving::Problem::new(self.dtype, shape, keys as u32, self.cache.layout());
        cache = cache.with_head_dim_v(dim_v);
        [cache.k_stride, cache.v_stride] = self.dims.map(|dim| self.cache.strides(self.heads, dim));
        let strides = |dim| self.rows.strides(self.tokens, self.heads, dim).map(|stride| stride as u64);
        let mut problem = Problem::new(self.tokens as u32, &cache)
            .with_strides(strides(self.dims[0]), strides(self.dims[1]))
            .with_place_type(self.place_type);
        problem.is_checked = self.is_checked;
        problem
    }

    fn unchecked(&self) -> Problem {
        Case { is_checked: false, ..*self }.problem()
    }

    /// Random bits for k and v.
    fn rows(&self, rng: &mut Rng) -> [Vec<u16>; 2] {
        self.dims.map(|dim| {
            let [token, head] = self.rows.strides(self.tokens, self.heads, dim);
            let len = self.tokens.saturating_sub(1) * token + (self.heads - 1) * head + dim;
            (0..len).map(|_| rng.u16(..)).collect()
        })
    }

    /// Places in any order, no two the same; a fifth is none.
    fn places(&self, rng: &mut Rng) -> Vec<i64> {
        self.some_of(rng, |rng, all| rng.shuffle(all))
    }

    /// The same of places that follow each other from some place on.
    fn runs(&self, rng: &mut Rng) -> Vec<i64> {
        self.some_of(rng, |rng, all| {
            let len = all.len();
            all.rotate_left(rng.usize(..len));
        })
    }

    fn some_of(&self, rng: &mut Rng, order: impl FnOnce(&mut Rng, &mut Vec<i64>)) -> Vec<i64> {
        let mut all: Vec<i64> = (0..self.cache.num_places() as i64).collect();
        order(rng, &mut all);
        all.truncate(self.tokens);
        all.iter_mut().filter(|_| rng.u32(..5) == 0).for_each(|place| *place = -1);
        all
    }
}

/// What one launch leaves: both caches, of which each element was `OLD`, and the report.
struct Left {
    caches: [Vec<u16>; 2],
    report: Report,
}

const OLD: u16 = 0xABCD;

fn upload(operator: &Append, data: &[u16]) -> Buffer {
    Buffer::from_slice(operator.device(), data).unwrap()
}

fn upload_places(operator: &Append, place_type: PlaceType, places: &[i64]) -> Buffer {
    let device = operator.device();
    match place_type {
        PlaceType::I64 => Buffer::from_slice(device, places).unwrap(),
        _ => {
            let places: Vec<i32> = places.iter().map(|place| i32::try_from(*place).unwrap()).collect();
            Buffer::from_slice(device, &places).unwrap()
        }
    }
}

/// Room for the report of a checked plan.
fn status_of(operator: &Append, plan: &Plan) -> Option<Buffer> {
    let bytes = plan.status_bytes() as usize;
    plan.problem().is_checked.then(|| Buffer::alloc(operator.device(), bytes).unwrap())
}

/// What a launch has reported; nothing where nothing is checked.
fn report_of(status: Option<&Buffer>) -> Report {
    let words = status.map(|status| status.to_vec::<i32>().unwrap());
    words.map_or_else(Report::default, |words| Report::from_words(&words).unwrap())
}

fn run(operator: &Append, case: &Case, rows: &[Vec<u16>; 2], places: &[i64]) -> Left {
    let plan = plan(&case.problem(), operator.device().soc()).unwrap_or_else(|e| panic!("{case:?}: {e}"));
    let [k, v] = [&rows[0], &rows[1]].map(|data| upload(operator, data));
    let places = upload_places(operator, case.place_type, places);
    let caches = old_caches(operator, case);
    let status = status_of(operator, &plan);
    let stream = Stream::new(operator.device()).unwrap();
    let mut args = Args::new(&k, &v, &places, &caches[0], &caches[1]);
    args.status = status.as_ref().map(Into::into);
    operator.launch(&stream, &plan, args).unwrap_or_else(|e| panic!("{plan}: {e}"));
    stream.synchronize().unwrap_or_else(|e| panic!("{case:?}\n{plan}: {e}"));
    let report = report_of(status.as_ref());
    Left { caches: caches.map(|cache| cache.to_vec().unwrap()), report }
}

/// Caches of which each element is `OLD`.
fn old_caches(operator: &Append, case: &Case) -> [Buffer; 2] {
    [0, 1].map(|which| upload(operator, &vec![OLD; case.cache.len(which, case.heads, case.dims[which])]))
}

/// The caches as the host fills them.
fn wanted(case: &Case, rows: &[Vec<u16>; 2], places: &[i64]) -> [Vec<u16>; 2] {
    [0, 1].map(|which| filled(case, which, &rows[which], places, OLD))
}

/// The cache of K (0) or V (1) of which each element was `old`, with rows of anything.
fn filled<T: Copy>(case: &Case, which: usize, from: &[T], places: &[i64], old: T) -> Vec<T> {
    let dim = case.dims[which];
    let [token_stride, head_stride] = case.rows.strides(case.tokens, case.heads, dim);
    let mut cache = vec![old; case.cache.len(which, case.heads, dim)];
    for (token, &place) in places.iter().enumerate() {
        let Ok(place) = usize::try_from(place) else { continue };
        for head in (0..case.heads).filter(|_| place < case.cache.num_places()) {
            let row = &from[token * token_stride + head * head_stride..][..dim];
            for (d, element) in row.iter().enumerate() {
                cache[case.cache.at(which, place, [head, d], [case.heads, dim])] = *element;
            }
        }
    }
    cache
}

fn append(configure: impl Fn(&mut sim::Config)) -> Append {
    Append::new(&device(configure)).unwrap()
}

fn case_of(tokens: usize, heads: usize, dims: [usize; 2], cache: Cache, rows: Rows) -> Case {
    let (dtype, place_type) = (DType::F16, PlaceType::I32);
    Case { dtype, place_type, tokens, heads, dims, cache, rows, is_checked: true }
}
