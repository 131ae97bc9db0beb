//! Results of tuning: which candidate took how long for shapes of a class. Text in and out; reading files is
//! the caller's.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::traffic::{gcd, LINE};
use super::{limits, Candidate, Shape};
use crate::spec::Reason;
use crate::{DType, Error, ErrorKind, Result, Soc};

/// The version whose kernels and planner the results are of: of this crate.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shapes that are taken to prefer the same tiling: everything that the time of a candidate depends on.
/// Lengths, limits and counts are rounded up to powers of two.
///
/// Left out are the factor of the scores, which takes no time, whether the log-sum-exp is written, whose 4
/// bytes a row are the same for every candidate, and whether keys are shifted: shifted ones are read without
/// gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeClass {
    /// Element type of q, k, v and o.
    pub dtype: DType,
    /// Element type in which scores go from the Cube to the vector cores.
    pub score_dtype: DType,
    /// `batch * num_heads`.
    pub heads: u64,
    /// Heads of q that share one of k and v, `num_heads / num_heads_k`; exact.
    pub gqa_ratio: u32,
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
    /// For q, k, v and o: 0 if the rows of a head have no gap. Otherwise the largest power of two, up to a
    /// line of L2, that divides both the row's bytes and the distance between rows.
    pub row_alignment_bytes: [u64; 4],
}

impl ShapeClass {
    /// The class of a shape.
    pub fn of(shape: &Shape) -> Self {
        let shape = &shape.as_read();
        let round = |n: u64| n.checked_next_power_of_two().unwrap_or(u64::MAX);
        let (left, right) = shape.limits();
        let limit = |limit: Option<u32>| limit.map(|l| if l == 0 { 0 } else { round(l.into()) });
        let alignment = |dim: u32, stride: &[u64; 3]| {
            let size = shape.dtype.size_bytes() as u64;
            let (bytes, pitch) = (u64::from(dim) * size, stride[1].saturating_mul(size));
            if pitch == bytes {
                0
            } else {
                gcd(gcd(LINE, bytes), pitch)
            }
        };
        Self {
            dtype: shape.dtype,
            score_dtype: shape.score_dtype,
            heads: round(u64::from(shape.batch) * u64::from(shape.num_heads)),
            gqa_ratio: shape.num_heads.checked_div(shape.num_heads_k).unwrap_or(0),
            head_dim: shape.head_dim,
            head_dim_v: shape.head_dim_v,
            seqlen_q: round(shape.seqlen_q.into()),
            seqlen_k: round(shape.seqlen_k.into()),
            left: limit(left),
            right: limit(right),
            row_alignment_bytes: [
                alignment(shape.head_dim, &shape.q_stride),
                alignment(shape.head_dim, &shape.k_stride),
                alignment(shape.head_dim_v, &shape.v_stride),
                alignment(shape.head_dim_v, &shape.o_stride),
            ],
        }
    }

    /// Could it be that of a shape? `Err` names the field, its value and what it may be.
    fn check(&self) -> std::result::Result<(), String> {
        let wrong = |name: &str, value: &dyn Display, want: &str| {
            Err(format!("{name} = {value} given, {want} wanted"))
        };
        if !matches!(self.dtype, DType::F16 | DType::Bf16) {
            return wrong("dtype", &self.dtype, "f16 or bf16");
        }
        if self.score_dtype != DType::F32 && (self.dtype, self.score_dtype) != (DType::F16, DType::F16) {
            return wrong("score_dtype", &self.score_dtype, "f32 (or, with dtype = f16, f16)");
        }
        for (name, value) in [("heads", self.heads), ("seqlen_q", self.seqlen_q), ("seqlen_k", self.seqlen_k)]
        {
            if !value.is_power_of_two() {
                return wrong(name, &value, "a power of two");
            }
        }
        for (name, limit) in [("left", self.left), ("right", self.right)] {
            if let Some(value) = limit.filter(|limit| *limit > 0 && !limit.is_power_of_two()) {
                return wrong(name, &value, "0 or a power of two");
            }
        }
        if self.gqa_ratio == 0 {
            return wrong("gqa_ratio", &self.gqa_ratio, "at least 1");
        }
        for (name, value) in [("head_dim", self.head_dim), ("head_dim_v", self.head_dim_v)] {
            if let Some(reason) =
                Reason::of_head_dim(name, value, limits::HEAD_DIM_STEP, limits::MAX_HEAD_DIM)
            {
                return Err(reason.text);
            }
        }
        for value in self.row_alignment_bytes {
            if value != 0 && !(value.is_power_of_two() && (2..=LINE).contains(&value)) {
                return wrong(
                    "row_alignment_bytes",
                    &value,
                    &format!("0 or a power of two from 2 to {LINE}"),
                );
            }
        }
        Ok(())
    }
}

/// How long a candidate took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// Model time of the slowest core of a launch, from its start to its last result, in microseconds.
    pub model_us: f64,
    /// What was launched.
    #[serde(flatten)]
    pub candidate: Candidate,
}

impl Timed {
    /// Can it be the result of a simulation? `Err` names the field, its value and what it may be.
    fn check(&self) -> std::result::Result<(), String> {
        if !(self.model_us.is_finite() && self.model_us > 0.0) {
            return Err(format!("model_us = {} given, a finite number above 0 wanted", self.model_us));
        }
        self.candidate.check()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Entry {
    class: ShapeClass,
    results: Vec<Timed>,
}

/// As [`Entry`], with its place in the text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    class: Spanned<ShapeClass>,
    results: Vec<Spanned<Timed>>,
}

/// What a text of results begins with, whatever follows.
#[derive(Deserialize)]
struct Head {
    version: String,
    soc: String,
}

/// A text of results.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(rename = "version")]
    _version: String,
    #[serde(rename = "soc")]
    _soc: String,
    #[serde(default)]
    shape: Vec<Given>,
}

/// Results of tuning on one SoC, by class of shapes. `fastattention tune` makes them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
    version: String,
    soc: String,
    #[serde(rename = "shape")]
    entries: Vec<Entry>,
}

impl Tuned {
    /// No results yet.
    pub fn new(soc: &Soc) -> Self {
        Self { version: VERSION.to_owned(), soc: soc.name.clone(), entries: Vec::new() }
    }

    /// Reads what [`to_toml`](Self::to_toml) wrote.
    ///
    /// Text from before a field of [`ShapeClass`] existed is refused: its results could be of any class.
    ///
    /// # Errors
    /// `InvalidArgument` when the text is something else, has a value that no tuning could have found, or was
    /// made by another version or for another SoC; with the line, the value given and the value wanted.
    pub fn from_toml(text: &str, soc: &Soc) -> Result<Self> {
        const AGAIN: &str = "write the file again with `fastattention tune`";
        let Head { version, soc: made_for } =
            toml::from_str(text).map_err(|e| refusal(e.to_string().trim_end()))?;
        if version != VERSION {
            return Err(refusal(format!(
                "version = {version} given, {VERSION} wanted; run `fastattention tune` again"
            )));
        }
        let mut tuned = Self { version, soc: made_for, entries: Vec::new() };
        tuned.check(soc)?;
        let whole: Whole =
            toml::from_str(text).map_err(|e| refusal(format!("{}\n{AGAIN}", e.to_string().trim_end())))?;
        for given in whole.shape {
            let entry = given.checked(text)?;
            if tuned.entries.iter().any(|known| known.class == entry.class) {
                let at = line(text, &given.class);
                return Err(refusal(format!("line {at}: shape of the same class as an earlier one given, one for each class wanted; {AGAIN}")));
            }
            tuned.entries.push(entry);
        }
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
        Err(refusal(format!("soc = {} given, {} wanted", self.soc, soc.name)))
    }

    /// Keeps the results of a shape in place of older ones of its class, the fastest first.
    pub fn insert(&mut self, shape: &Shape, mut results: Vec<Timed>) {
        sort(&mut results);
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

impl Given {
    fn checked(&self, text: &str) -> Result<Entry> {
        let at = |line: usize, why: String| refusal(format!("line {line}: {why}"));
        let class = self.class.get_ref();
        class.check().map_err(|why| at(line(text, &self.class), why))?;
        for timed in &self.results {
            timed.get_ref().check().map_err(|why| at(line(text, timed), why))?;
        }
        let mut results: Vec<Timed> = self.results.iter().map(|timed| *timed.get_ref()).collect();
        sort(&mut results);
        Ok(Entry { class: class.clone(), results })
    }
}

/// The fastest first.
fn sort(results: &mut [Timed]) {
    results.sort_by(|a, b| a.model_us.total_cmp(&b.model_us));
}

/// Where a value begins, counted from 1.
fn line<T>(text: &str, value: &Spanned<T>) -> usize {
    text.bytes().take(value.span().start).filter(|byte| *byte == b'\n').count() + 1
}

fn refusal(text: impl Display) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("tuning results: {text}"))
}
