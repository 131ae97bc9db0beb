//! The table of problems, and their data. It holds what `cuda/check.py` has and a few more.

use half::f16;

/// How batch, heads and rows lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[batch, num_heads, seqlen, head_dim]`.
    Bhsd,
    /// `[batch, seqlen, num_heads, head_dim]`.
    Bshd,
    /// As `Bshd`, with 16 elements between the rows of heads that belong to nobody.
    Padded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    Normal,
    /// Scores grow with the key: the running maximum moves in every tile.
    Rising,
    /// The maximum comes first.
    Falling,
    Equal,
    /// The first key is above all others.
    Sink,
    /// One late key is far above everything: exp of the old maximum overflows.
    Spike,
    Large,
}

/// Rows and keys of each batch.
#[derive(Debug, Clone)]
pub(crate) struct Ragged {
    pub(crate) rows: Vec<usize>,
    pub(crate) keys: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) name: String,
    pub(crate) batch: usize,
    pub(crate) num_heads: usize,
    pub(crate) num_heads_k: usize,
    pub(crate) seqlen_q: usize,
    pub(crate) seqlen_k: usize,
    pub(crate) head_dim: usize,
    pub(crate) head_dim_v: usize,
    /// Keys to the left and to the right of the diagonal that ends at the last row and key. None: all.
    pub(crate) window: (Option<i32>, Option<i32>),
    /// None: 1 / sqrt(head_dim).
    pub(crate) softmax_scale: Option<f32>,
    pub(crate) layout: Layout,
    /// The batches then lie one behind the other.
    pub(crate) ragged: Option<Ragged>,
    pub(crate) values: Values,
}

/// One head and 128 rows and keys of `head_dim`.
pub(crate) fn problem(name: &str, head_dim: usize) -> Problem {
    Problem {
        name: name.to_owned(),
        batch: 1,
        num_heads: 1,
        num_heads_k: 1,
        seqlen_q: 128,
        seqlen_k: 128,
        head_dim,
        head_dim_v: head_dim,
        window: (None, None),
        softmax_scale: None,
        layout: Layout::Bhsd,
        ragged: None,
        values: Values::Normal,
    }
}

impl Problem {
    pub(crate) fn lengths(mut self, rows: usize, keys: usize) -> Self {
        (self.seqlen_q, self.seqlen_k) = (rows, keys);
        self
    }

    pub(crate) fn heads(mut self, num_heads: usize, num_heads_k: usize) -> Self {
        (self.num_heads, self.num_heads_k) = (num_heads, num_heads_k);
        self
    }

    pub(crate) fn window(mut self, left: Option<i32>, right: Option<i32>) -> Self {
        self.window = (left, right);
        self
    }

    pub(crate) fn causal(self) -> Self {
        self.window(None, Some(0))
    }

    fn dv(mut self, head_dim_v: usize) -> Self {
        self.head_dim_v = head_dim_v;
        self
    }

    fn scale(mut self, scale: f32) -> Self {
        self.softmax_scale = Some(scale);
        self
    }

    fn layout(mut self, batch: usize, layout: Layout) -> Self {
        (self.batch, self.layout) = (batch, layout);
        self
    }

    pub(crate) fn values(mut self, values: Values) -> Self {
        self.values = values;
        self
    }

    fn ragged(mut self, rows: &[usize], keys: &[usize]) -> Self {
        self.batch = rows.len();
        self.ragged = Some(Ragged { rows: rows.to_vec(), keys: keys.to_vec() });
        self.seqlen_q = rows.iter().copied().max().unwrap();
        self.seqlen_k = keys.iter().copied().max().unwrap();
        self
    }

    /// Rows and keys of a batch.
    pub(crate) fn lengths_of(&self, batch: usize) -> (usize, usize) {
        match &self.ragged {
            Some(ragged) => (ragged.rows[batch], ragged.keys[batch]),
            None => (self.seqlen_q, self.seqlen_k),
        }
    }

    pub(crate) fn scale_value(&self) -> f32 {
        #[allow(clippy::cast_precision_loss, reason = "at most 256")]
        self.softmax_scale.unwrap_or_else(|| 1.0 / (self.head_dim as f32).sqrt())
    }
}

/// Every problem. A name's first word is the family.
pub(crate) fn table() -> Vec<Problem> {
    let mut all = Vec::new();
    for d in [8, 32, 40, 64, 72, 80, 88, 96, 104, 120, 128, 136, 192, 256] {
        all.push(problem(&format!("dim {d}"), d));
        all.push(problem(&format!("dim {d} causal tails"), d).lengths(77, 203).causal());
    }
    for (d, dv) in [(64, 128), (128, 64), (80, 96), (192, 128), (40, 24), (128, 256), (256, 8)] {
        all.push(problem(&format!("dim {d} and {dv}"), d).dv(dv).lengths(128, 150));
    }
    for d in [64, 80, 96, 128] {
        all.push(problem(&format!("longer {d}"), d).lengths(384, 640));
        all.push(problem(&format!("longer {d} causal"), d).lengths(384, 384).causal());
        all.push(problem(&format!("longer {d} window"), d).lengths(300, 500).window(Some(70), Some(9)));
    }
    for (rows, keys) in [(1, 1), (1, 64), (1, 65), (2, 63), (31, 33), (129, 127), (128, 1), (200, 5)] {
        let name = format!("lengths {rows} x {keys}");
        all.push(problem(&name, 128).lengths(rows, keys).heads(2, 2));
        all.push(problem(&(name + " causal"), 128).lengths(rows, keys).heads(2, 2).causal());
    }
    all.push(problem("empty: no keys", 128).lengths(5, 0));
    all.push(problem("empty: rows without keys", 128).lengths(200, 60).causal());
    all.push(problem("window of one key", 128).lengths(150, 150).window(Some(0), Some(0)));
    all.push(problem("window left only", 128).lengths(260, 260).window(Some(33), None));
    all.push(problem("window right only", 128).lengths(260, 260).window(None, Some(40)));
    all.push(problem("window beside the keys", 128).lengths(150, 150).window(Some(3), Some(2)));
    all.push(problem("heads gqa", 128).lengths(70, 90).heads(6, 2));
    all.push(problem("heads mqa causal", 128).lengths(70, 90).heads(4, 1).causal());
    all.push(problem("strides of batches", 128).lengths(40, 100).heads(2, 2).layout(3, Layout::Bhsd));
    all.push(problem("strides bshd", 64).lengths(50, 80).heads(3, 3).layout(2, Layout::Bshd));
    all.push(problem("strides padded", 80).lengths(50, 80).heads(4, 2).layout(2, Layout::Padded).causal());
    all.push(problem("ragged", 64).heads(2, 1).ragged(&[3, 0, 130, 64], &[70, 9, 200, 64]));
    all.push(problem("ragged causal", 128).heads(2, 2).ragged(&[130, 1, 0, 65], &[130, 90, 0, 20]).causal());
    all.push(problem("ragged 256", 256).ragged(&[20, 140], &[70, 1]));
    all.push(problem("scale negative", 128).lengths(128, 100).scale(-0.07));
    all.push(problem("scale zero", 128).lengths(128, 100).scale(0.0).causal());
    all.push(problem("scale large", 64).lengths(128, 300).scale(2.0));
    for values in [Values::Rising, Values::Falling, Values::Equal, Values::Sink, Values::Spike, Values::Large]
    {
        all.push(problem(&format!("values {values:?}"), 64).lengths(128, 520).values(values));
        all.push(
            problem(&format!("values {values:?} causal"), 128).lengths(140, 260).values(values).causal(),
        );
    }
    all
}

/// Rows of a head, `head_dim` numbers each.
pub(crate) type Head = Vec<Vec<f16>>;

/// `[batch][head][row][dim]`. Rows beyond a ragged batch's length are there, and not used.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) q: Vec<Vec<Head>>,
    pub(crate) k: Vec<Vec<Head>>,
    pub(crate) v: Vec<Vec<Head>>,
}

/// A sum of uniform numbers: near enough to normal, and at most 6.
fn normal(random: &mut fastrand::Rng) -> f32 {
    (0..12).map(|_| random.f32()).sum::<f32>() - 6.0
}

#[allow(clippy::cast_precision_loss, reason = "lengths below 2^24")]
pub(crate) fn inputs(problem: &Problem) -> Inputs {
    let mut random = fastrand::Rng::with_seed(problem.name.bytes().map(u64::from).sum());
    let p = problem;
    let mut tensor = |heads: usize, rows: usize, dim: usize| -> Vec<Vec<Vec<Vec<f32>>>> {
        let mut row = || (0..dim).map(|_| normal(&mut random)).collect();
        (0..p.batch).map(|_| (0..heads).map(|_| (0..rows).map(|_| row()).collect()).collect()).collect()
    };
    let mut q = tensor(p.num_heads, p.seqlen_q, p.head_dim);
    let mut k = tensor(p.num_heads_k, p.seqlen_k, p.head_dim);
    let mut v = tensor(p.num_heads_k, p.seqlen_k, p.head_dim_v);
    let n = p.seqlen_k as f32;
    let every = |x: &mut Vec<Vec<Vec<Vec<f32>>>>, change: &dyn Fn(usize, f32) -> f32| {
        let rows = x.iter_mut().flatten().flat_map(|head| head.iter_mut().enumerate());
        rows.for_each(|(row, values)| values.iter_mut().for_each(|value| *value = change(row, *value)));
    };
    match p.values {
        Values::Normal => {}
        Values::Rising | Values::Falling => {
            let rising = p.values == Values::Rising;
            every(&mut q, &|_, x| x.abs());
            every(&mut k, &|row, x| {
                let step = if rising { row as f32 } else { n - row as f32 };
                x.abs() * step / n * 4.0
            });
        }
        Values::Equal => {
            every(&mut q, &|_, _| 1.0);
            every(&mut k, &|_, _| 1.0);
        }
        Values::Sink => k[0][0][0] = q[0][0][0].iter().map(|x| 3.0 * x).collect(),
        Values::Spike => {
            k[0][0][p.seqlen_k - 3] = q[0][0][p.seqlen_q - 1].iter().map(|x| 40.0 * x).collect();
        }
        Values::Large => {
            every(&mut q, &|_, x| x * 12.0);
            every(&mut k, &|_, x| x * 12.0);
            every(&mut v, &|_, x| x * 100.0);
        }
    }
    let halves = |x: Vec<Vec<Vec<Vec<f32>>>>| {
        let head = |head: Vec<Vec<f32>>| {
            head.into_iter().map(|row| row.into_iter().map(f16::from_f32).collect()).collect()
        };
        x.into_iter().map(|batch| batch.into_iter().map(head).collect()).collect()
    };
    Inputs { q: halves(q), k: halves(k), v: halves(v) }
}
