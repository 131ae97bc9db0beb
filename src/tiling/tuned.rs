//! Results of tuning: which candidate took how long for shapes of a class. Text in and out; reading files is the caller's.

use serde::{Deserialize, Serialize};

use super::{Candidate, Shape};
use crate::{Error, ErrorKind, Result, Soc};

/// The version whose kernels and planner the results are of: of this crate.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shapes that are taken to prefer the same tiling. Lengths, limits and counts are rounded up to powers of two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeClass {
    /// `batch * num_heads`.
    pub heads: u64,
    /// Elements of a row of q and k; exact.
    pub head_dim: u32,
    /// Elements of a row of v and o; exact.
    pub head_dim_v: u32,
    /// Rows of q.
    pub seqlen_q: u64,
    /// Rows of k and v.
    pub seqlen_k: u64,
    /// Keys visible to the left of the diagonal, if a limit hides any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Keys visible to the right of the diagonal, if a limit hides any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<u64>,
    /// Do the rows of a head of k follow each other without gaps?
    pub dense_rows: bool,
}

impl ShapeClass {
    /// The class of a shape.
    pub fn of(shape: &Shape) -> Self {
        let round = |n: u64| n.checked_next_power_of_two().unwrap_or(u64::MAX);
        let (left, right) = shape.limits();
        let limit = |limit: Option<u32>| limit.map(|l| if l == 0 { 0 } else { round(l.into()) });
        Self {
            heads: round(u64::from(shape.batch) * u64::from(shape.num_heads)),
            head_dim: shape.head_dim,
            head_dim_v: shape.head_dim_v,
            seqlen_q: round(shape.seqlen_q.into()),
            seqlen_k: round(shape.seqlen_k.into()),
            left: limit(left),
            right: limit(right),
            dense_rows: shape.k_stride[1] == u64::from(shape.head_dim),
        }
    }
}

/// How long a candidate took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// Model time of a launch from its first instruction to its last result, in microseconds.
    pub model_us: f64,
    /// What was launched.
    #[serde(flatten)]
    pub candidate: Candidate,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    class: ShapeClass,
    results: Vec<Timed>,
}

/// Results of tuning on one SoC, by class of shapes. `fastattention tune` makes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    version: String,
    soc: String,
    #[serde(default, rename = "shape")]
    entries: Vec<Entry>,
}

impl Tuned {
    /// No results yet.
    pub fn new(soc: &Soc) -> Self {
        Self { version: VERSION.to_owned(), soc: soc.name.clone(), entries: Vec::new() }
    }

    /// Reads what [`to_toml`](Self::to_toml) wrote.
    ///
    /// # Errors
    /// `InvalidArgument` when the text is something else, or was made by another version or for another SoC.
    pub fn from_toml(text: &str, soc: &Soc) -> Result<Self> {
        let refuse = |text: String| Error::new(ErrorKind::InvalidArgument, format!("tuning results: {text}"));
        let tuned: Self = toml::from_str(text).map_err(|e| refuse(e.to_string()))?;
        if tuned.version != VERSION {
            let made = tuned.version;
            return Err(refuse(format!(
                "made by version {made}, wanted {VERSION}; run `fastattention tune` again"
            )));
        }
        tuned.check(soc)?;
        Ok(tuned)
    }

    /// The results as TOML.
    ///
    /// # Errors
    /// `InvalidArgument` when a number has no form in TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|e| Error::new(ErrorKind::InvalidArgument, format!("tuning results as TOML: {e}")))
    }

    /// Are these results for `soc`?
    ///
    /// # Errors
    /// `InvalidArgument` if not.
    pub fn check(&self, soc: &Soc) -> Result<()> {
        if self.soc == soc.name {
            return Ok(());
        }
        let text = format!("tuning results: made for soc = {}, wanted {}", self.soc, soc.name);
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }

    /// Keeps the results of a shape in place of older ones of its class, the fastest first.
    pub fn insert(&mut self, shape: &Shape, mut results: Vec<Timed>) {
        results.sort_by(|a, b| a.model_us.total_cmp(&b.model_us));
        let class = ShapeClass::of(shape);
        self.entries.retain(|e| e.class != class);
        self.entries.push(Entry { class, results });
    }

    /// The results for shapes like this one, the fastest first; empty when there are none.
    pub fn results(&self, shape: &Shape) -> &[Timed] {
        let class = ShapeClass::of(shape);
        self.entries.iter().find(|e| e.class == class).map_or(&[], |e| &e.results)
    }
}
