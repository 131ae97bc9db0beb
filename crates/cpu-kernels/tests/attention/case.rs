//! A case: sequences, scattered over operands whose other elements are NaN.

use fastattention_cpu::{BlockTable, DType, Element, Host, Pages, Problem, Slices};
use fastattention_tolerance::{check_against_plain, check_o, UNIT_F32};
use fastrand::Rng;
use half::{bf16, f16};

use crate::oracle::Head;

/// Where K and V lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// `[slot, key, head, dim]`.
    Dense,
    /// `[slot, head, key, dim]`.
    HeadsFirst,
    /// Gaps between rows, heads and slots, of all operands.
    Gaps,
    /// Pages of so many keys, in random order.
    Paged(usize),
    /// The same, listed one slot behind the other.
    Listed(usize),
    /// The same with heads first, and gaps between pages.
    PagedHeadsFirst(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What it is there for.
    pub(crate) why: &'static str,
    pub(crate) dtype: DType,
    /// Rows and keys of each slot.
    pub(crate) slots: Vec<(usize, usize)>,
    pub(crate) heads: usize,
    pub(crate) heads_k: usize,
    pub(crate) dim: usize,
    pub(crate) dim_v: usize,
    pub(crate) window: (Option<usize>, Option<usize>),
    pub(crate) layout: Layout,
    pub(crate) packed: bool,
}

/// How elements become f32 and back, in the test's own way.
pub(crate) trait Value: Element + std::fmt::Debug {
    fn of(x: f32) -> Self;
    fn f32(self) -> f32;
}

impl Value for f16 {
    fn of(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn f32(self) -> f32 {
        self.to_f32()
    }
}

impl Value for bf16 {
    fn of(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn f32(self) -> f32 {
        self.to_f32()
    }
}

impl Value for f32 {
    fn of(x: f32) -> Self {
        x
    }
    fn f32(self) -> f32 {
        self
    }
}

/// A case with its operands.
pub(crate) struct Built<T> {
    pub(crate) case: Case,
    pub(crate) problem: Problem,
    pub(crate) q: Vec<T>,
    pub(crate) k: Vec<T>,
    pub(crate) v: Vec<T>,
    pub(crate) lengths: Vec<i32>,
    pub(crate) starts: Vec<i32>,
    pub(crate) table: Vec<i32>,
    /// Of each slot, and behind the last; empty unless the table is one list.
    pub(crate) page_starts: Vec<i32>,
}

/// o and lse as they lie.
#[derive(Clone)]
pub(crate) struct Results {
    pub(crate) o: Vec<f32>,
    pub(crate) lse: Vec<f32>,
}

pub(crate) fn int(x: usize) -> i32 {
    i32::try_from(x).unwrap()
}

impl Case {
    fn problem(&self) -> Problem {
        let most = |f: fn(&(usize, usize)) -> usize| self.slots.iter().map(f).max().unwrap_or(0);
        let (rows, keys) = (most(|s| s.0), most(|s| s.1));
        let mut problem = Problem::new(self.dtype, [self.slots.len(), rows, self.heads, self.dim], keys);
        problem.num_heads_k = self.heads_k;
        problem.head_dim_v = self.dim_v;
        (problem.window_left, problem.window_right) = self.window;
        if self.packed {
            // Some rows that no slot has.
            problem.total_rows = Some(self.slots.iter().map(|s| s.0).sum::<usize>() + 3);
        }
        if let Layout::Paged(page_size) | Layout::Listed(page_size) | Layout::PagedHeadsFirst(page_size) =
            self.layout
        {
            let needed: usize = self.slots.iter().map(|s| s.1.div_ceil(page_size)).sum();
            let table = match self.layout {
                Layout::Listed(_) => BlockTable::Csr { entries: needed + 1 },
                _ => BlockTable::Rows { width: keys.div_ceil(page_size) + 1 },
            };
            problem.pages = Some(Pages { page_size, num_pages: needed + 2, table });
        }
        problem = problem.with_dense_strides();
        let page_keys = problem.pages.map_or(keys, |p| p.page_size);
        let heads_first =
            |dim: usize, gap: usize| [self.heads_k * page_keys * dim + gap, dim, page_keys * dim];
        match self.layout {
            Layout::Dense | Layout::Paged(_) | Layout::Listed(_) => {}
            Layout::HeadsFirst => {
                (problem.k_stride, problem.v_stride) = (heads_first(self.dim, 0), heads_first(self.dim_v, 0));
            }
            Layout::PagedHeadsFirst(_) => {
                (problem.k_stride, problem.v_stride) = (heads_first(self.dim, 5), heads_first(self.dim_v, 9));
            }
            Layout::Gaps => {
                let gaps = |dim: usize, heads: usize, rows: usize| {
                    let row = heads * (dim + 3) + 1;
                    [rows * row + 7, row, dim + 3]
                };
                let rows = problem.total_rows.unwrap_or(rows);
                problem.q_stride = gaps(self.dim, self.heads, rows);
                problem.k_stride = gaps(self.dim, self.heads_k, keys);
                problem.v_stride = gaps(self.dim_v, self.heads_k, keys);
                problem.o_stride = gaps(self.dim_v, self.heads, rows);
                problem.lse_stride = [self.heads * (rows + 2) + 5, rows + 2];
            }
        }
        problem
    }

    pub(crate) fn build<T: Value>(&self, seed: u64) -> Built<T> {
        let mut rng = Rng::with_seed(seed);
        let problem = self.problem();
        let [q, k, v, ..] = problem.elements().unwrap();
        let nan = T::of(f32::NAN);
        let mut built = Built {
            case: self.clone(),
            q: vec![nan; q],
            k: vec![nan; k],
            v: vec![nan; v],
            lengths: self.slots.iter().map(|s| int(s.1)).collect(),
            starts: std::iter::once(0)
                .chain(self.slots.iter().scan(0, |sum, s| {
                    *sum += int(s.0);
                    Some(*sum)
                }))
                .collect(),
            table: Vec::new(),
            page_starts: Vec::new(),
            problem,
        };
        built.deal_pages(&mut rng);
        // A few large scores, so that maxima move.
        let mut fill = |at: usize, dim: usize, to: &mut [T]| {
            let size = if rng.u8(0..16) == 0 { 4.0 } else { 1.0 };
            for x in &mut to[at..at + dim] {
                *x = T::of((rng.f32() * 2.0 - 1.0) * size);
            }
        };
        for (slot, (rows, keys)) in self.slots.iter().copied().enumerate() {
            for head in 0..self.heads {
                for row in 0..rows {
                    fill(built.row(slot, row, head, built.problem.q_stride), self.dim, &mut built.q);
                }
            }
            for head in 0..self.heads_k {
                for key in 0..keys {
                    fill(built.key(slot, key, head, built.problem.k_stride), self.dim, &mut built.k);
                    fill(built.key(slot, key, head, built.problem.v_stride), self.dim_v, &mut built.v);
                }
            }
        }
        built
    }
}

impl<T: Value> Built<T> {
    fn deal_pages(&mut self, rng: &mut Rng) {
        let Some(pages) = self.problem.pages else { return };
        let mut free: Vec<i32> = (0..int(pages.num_pages)).collect();
        rng.shuffle(&mut free);
        for (_, keys) in &self.case.slots {
            let used = keys.div_ceil(pages.page_size);
            let BlockTable::Rows { width } = pages.table else {
                self.page_starts.push(int(self.table.len()));
                self.table.extend((0..used).map(|_| free.pop().unwrap()));
                continue;
            };
            self.table.extend((0..width).map(|i| if i < used { free.pop().unwrap() } else { -1 }));
        }
        if let BlockTable::Csr { entries } = pages.table {
            self.page_starts.push(int(self.table.len()));
            self.table.resize(entries, -1);
        }
    }

    /// Element of a row of q or o.
    pub(crate) fn row(&self, slot: usize, row: usize, head: usize, stride: [usize; 3]) -> usize {
        if self.case.packed {
            let before: usize = self.case.slots[..slot].iter().map(|s| s.0).sum();
            return (before + row) * stride[1] + head * stride[2];
        }
        slot * stride[0] + row * stride[1] + head * stride[2]
    }

    /// Element of a row of k or v.
    pub(crate) fn key(&self, slot: usize, key: usize, head: usize, stride: [usize; 3]) -> usize {
        let (page, row) = match self.problem.pages {
            None => (slot, key),
            Some(pages) => {
                let first = match pages.table {
                    BlockTable::Rows { width } => slot * width,
                    BlockTable::Csr { .. } => usize::try_from(self.page_starts[slot]).unwrap(),
                };
                let page = self.table[first + key / pages.page_size];
                (usize::try_from(page).unwrap(), key % pages.page_size)
            }
        };
        page * stride[0] + row * stride[1] + head * stride[2]
    }

    /// Element of lse.
    pub(crate) fn lse(&self, slot: usize, row: usize, head: usize) -> usize {
        let [slots, heads] = self.problem.lse_stride;
        if self.case.packed {
            let before: usize = self.case.slots[..slot].iter().map(|s| s.0).sum();
            return head * heads + before + row;
        }
        slot * slots + head * heads + row
    }

    pub(crate) fn run(&self, host: &Host) -> Results {
        let [.., o, lse] = self.problem.elements().unwrap();
        let mut results = Results { o: Vec::new(), lse: vec![77.0; lse] };
        let mut written = vec![T::of(77.0); o];
        let mut slices = Slices::new(&self.q, &self.k, &self.v, &mut written);
        slices.lse = Some(&mut results.lse);
        slices.lengths = Some(&self.lengths);
        slices.row_starts = self.case.packed.then_some(&self.starts);
        slices.block_table = self.problem.pages.is_some().then_some(&self.table);
        slices.page_starts = (!self.page_starts.is_empty()).then_some(&self.page_starts);
        host.attention_slices(&self.problem, slices).unwrap();
        results.o = written.into_iter().map(Value::f32).collect();
        results
    }

    /// Compares all rows with f64 by the 2x rule, and everything else with what it was.
    pub(crate) fn check(&self, got: &Results, what: &str) {
        let case = &self.case;
        let mut rest = got.clone();
        let rows = |from: &[T], dim: usize, count: usize, at: &dyn Fn(usize) -> usize| -> Vec<Vec<f32>> {
            (0..count).map(|i| from[at(i)..at(i) + dim].iter().map(|x| x.f32()).collect()).collect()
        };
        let mut all = Rows::default();
        for (slot, (count, keys)) in case.slots.iter().copied().enumerate() {
            for head in 0..case.heads {
                let head_k = head / (case.heads / case.heads_k);
                let q = rows(&self.q, case.dim, count, &|i| self.row(slot, i, head, self.problem.q_stride));
                let k = rows(&self.k, case.dim, keys, &|i| self.key(slot, i, head_k, self.problem.k_stride));
                let v =
                    rows(&self.v, case.dim_v, keys, &|i| self.key(slot, i, head_k, self.problem.v_stride));
                let scale = self.problem.softmax_scale;
                let head_of = Head { q: &q, k: &k, v: &v, dim_v: case.dim_v, scale, window: case.window };
                for row in 0..count {
                    let at = self.row(slot, row, head, self.problem.o_stride);
                    let o = &got.o[at..at + case.dim_v];
                    let lse = self.lse(slot, row, head);
                    all.add::<T>(&head_of, row, o, got.lse[lse]);
                    rest.o[at..at + case.dim_v].fill(77.0);
                    rest.lse[lse] = 77.0;
                }
            }
        }
        if let Err(error) = all.check(case.dim_v) {
            panic!("{what}, {case:?}: {error}");
        }
        let untouched = rest.o.iter().chain(&rest.lse).all(|x| *x == 77.0);
        assert!(untouched, "{what}: elements of no row were written, {case:?}");
    }
}

/// Rows of a launch, beside the exact ones and those of the plain way.
#[derive(Default)]
struct Rows {
    o: [Vec<f64>; 3],
    lse: [Vec<f64>; 3],
}

impl Rows {
    fn add<T: Value>(&mut self, head: &Head<'_>, row: usize, o: &[f32], lse: f32) {
        let (want_o, want_lse) = head.exact(row);
        if want_lse == f64::NEG_INFINITY {
            assert!(o.iter().all(|o| *o == 0.0), "row {row} sees no key: {o:?}");
        }
        let (plain_o, plain_lse) = head.plain(row);
        self.o[0].extend(o.iter().copied().map(f64::from));
        self.o[1].extend(want_o);
        self.o[2].extend(plain_o.iter().map(|plain| f64::from(T::of(*plain).f32())));
        for (to, lse) in self.lse.iter_mut().zip([f64::from(lse), want_lse, f64::from(plain_lse)]) {
            to.push(lse);
        }
    }

    /// Rows are numbered by slot, then head. `unit` is that of f32, in which all is computed, for any type
    /// of the operands: where one key is seen the plain way makes no error, and then neither may a kernel.
    fn check(&self, dim_v: usize) -> Result<(), String> {
        let ([o, want_o, plain_o], [lse, want_lse, plain_lse]) = (&self.o, &self.lse);
        check_o(o, want_o, plain_o, UNIT_F32, [1, 1, lse.len(), dim_v])?;
        // The maximum, the logarithm and their sum are each rounded.
        check_against_plain("lse", lse, want_lse, plain_lse, 3.0 * UNIT_F32, [1, 1, 1, lse.len()])
    }
}
