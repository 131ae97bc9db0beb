//! What a problem of attention is, and its data.

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
    /// The first row of q is NaN.
    Nan,
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
    /// Groups of warps for the keys.
    pub(crate) groups: usize,
    /// For the decode kernels, and those with pages.
    pub(crate) decode: Option<Decode>,
}

#[derive(Debug, Clone)]
pub(crate) struct Decode {
    /// 0: the kernels for many rows with pages.
    pub(crate) splits: usize,
    pub(crate) pages: Option<Pages>,
}

/// K and V in pages.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    /// Keys of a page.
    pub(crate) keys: usize,
    /// Keys of each batch.
    pub(crate) used: Vec<usize>,
    /// The table names, for the second page of the first batch, one that the cache does not have.
    pub(crate) lost: bool,
    /// The lengths in device memory are below 0 for 0, and far above the most for the most.
    pub(crate) wild: bool,
}

impl Pages {
    /// Pages of the cache: a few more than are in use.
    pub(crate) fn count(&self) -> usize {
        self.used.iter().map(|used| used.div_ceil(self.keys)).sum::<usize>() + 3
    }

    /// The length of each batch as the device is told.
    pub(crate) fn told(&self) -> Vec<i32> {
        let most = self.used.iter().max().unwrap();
        let told = |used: &usize| match self.wild {
            true if *used == 0 => -5,
            true if used == most => i32::MAX,
            _ => i32::try_from(*used).unwrap(),
        };
        self.used.iter().map(told).collect()
    }

    /// The page of each place of each batch, in no order. Behind the end of a batch are numbers that are no
    /// pages.
    pub(crate) fn table(&self) -> Vec<Vec<i32>> {
        let mut pages: Vec<i32> = (0..i32::try_from(self.count()).unwrap()).collect();
        fastrand::Rng::with_seed(7).shuffle(&mut pages);
        let places = self.used.iter().map(|used| used.div_ceil(self.keys)).max().unwrap() + 2;
        let mut table: Vec<Vec<i32>> = Vec::new();
        for used in &self.used {
            let mut row = pages.split_off(pages.len() - used.div_ceil(self.keys));
            row.resize(places - 1, -1);
            row.push(i32::MAX);
            table.push(row);
        }
        if self.lost {
            table[0][1] = i32::try_from(self.count()).unwrap();
        }
        table
    }
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
        groups: 1,
        decode: None,
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

    /// For the kernels with two groups of warps.
    pub(crate) fn groups(mut self) -> Self {
        self.groups = 2;
        self
    }

    pub(crate) fn causal(self) -> Self {
        self.window(None, Some(0))
    }

    pub(crate) fn dv(mut self, head_dim_v: usize) -> Self {
        self.head_dim_v = head_dim_v;
        self
    }

    pub(crate) fn scale(mut self, scale: f32) -> Self {
        self.softmax_scale = Some(scale);
        self
    }

    pub(crate) fn layout(mut self, batch: usize, layout: Layout) -> Self {
        (self.batch, self.layout) = (batch, layout);
        self
    }

    pub(crate) fn values(mut self, values: Values) -> Self {
        self.values = values;
        self
    }

    pub(crate) fn ragged(mut self, rows: &[usize], keys: &[usize]) -> Self {
        self.batch = rows.len();
        self.ragged = Some(Ragged { rows: rows.to_vec(), keys: keys.to_vec() });
        self.seqlen_q = rows.iter().copied().max().unwrap();
        self.seqlen_k = keys.iter().copied().max().unwrap();
        self
    }

    pub(crate) fn splits(mut self, splits: usize) -> Self {
        self.decode = Some(Decode { splits, pages: None });
        self
    }

    /// Rows of each batch of a problem with pages: q is packed.
    pub(crate) fn packed(mut self, rows: &[usize]) -> Self {
        self.seqlen_q = rows.iter().copied().max().unwrap();
        self.ragged = Some(Ragged { rows: rows.to_vec(), keys: Vec::new() });
        self
    }

    /// A decode problem with K and V in pages of `keys`; a batch for each number in `used`. Without splits:
    /// one for many rows.
    pub(crate) fn paged(mut self, keys: usize, used: &[usize], splits: usize) -> Self {
        (self.batch, self.seqlen_k) = (used.len(), used.iter().copied().max().unwrap());
        let pages = Pages { keys, used: used.to_vec(), lost: false, wild: false };
        self.decode = Some(Decode { splits, pages: Some(pages) });
        self
    }

    pub(crate) fn lost(mut self) -> Self {
        let pages = self.decode.as_mut().and_then(|decode| decode.pages.as_mut());
        pages.unwrap().lost = true;
        self
    }

    pub(crate) fn wild(mut self) -> Self {
        let pages = self.decode.as_mut().and_then(|decode| decode.pages.as_mut());
        pages.unwrap().wild = true;
        self
    }

    pub(crate) fn pages(&self) -> Option<&Pages> {
        self.decode.as_ref().and_then(|decode| decode.pages.as_ref())
    }

    /// Rows and keys of a batch.
    pub(crate) fn lengths_of(&self, batch: usize) -> (usize, usize) {
        let ragged = self.ragged.as_ref();
        let rows = ragged.map_or(self.seqlen_q, |ragged| ragged.rows[batch]);
        let keys = match (self.pages(), ragged) {
            (Some(pages), _) => pages.used[batch],
            (None, Some(ragged)) => ragged.keys[batch],
            (None, None) => self.seqlen_k,
        };
        (rows, keys)
    }

    pub(crate) fn scale_value(&self) -> f32 {
        #[allow(clippy::cast_precision_loss, reason = "at most 256")]
        self.softmax_scale.unwrap_or_else(|| 1.0 / (self.head_dim as f32).sqrt())
    }
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
        Values::Nan => {
            q.iter_mut().flatten().for_each(|head| head[0].fill(f32::NAN));
        }
        Values::Large => {
            every(&mut q, &|_, x| x * 12.0);
            every(&mut k, &|_, x| x * 12.0);
            every(&mut v, &|_, x| x * 100.0);
        }
    }
    if let Some(pages) = p.pages().filter(|pages| pages.lost) {
        // Rows that see it are NaN, the others do not change.
        for (x, other) in [(&mut k, f32::NAN), (&mut v, 0.0)] {
            for (row, values) in x[0].iter_mut().flat_map(|head| head.iter_mut().enumerate()) {
                if row / pages.keys == 1 {
                    values.fill(other);
                }
            }
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
