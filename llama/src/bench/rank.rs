//! What one rank has of a model, and what it needs memory for.

use std::fmt;

use fastattention::attention::{self, Mask};
use fastattention::{baseline, DType, Error, ErrorKind, Result, Soc};
use serde::Serialize;

use super::{Attention, Run, Shape};

/// Sizes of a rank's part of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    pub(super) heads: u32,
    pub(super) heads_k: u32,
    pub(super) head_dim: u32,
    pub(super) hidden: u32,
    pub(super) intermediate: u32,
    /// Columns of the first product of the feed-forward part.
    pub(super) width_up: u32,
    /// Rows of the logits' matrix.
    pub(super) vocabulary: u32,
}

impl Rank {
    /// # Errors
    /// `InvalidArgument` with everything that the ranks cannot share evenly.
    pub(super) fn of(model: &Shape, tp: u32, soc: &Soc) -> Result<Self> {
        let devices = soc.links.devices;
        let refuse = |text: String| Err(Error::invalid(format!("bench of {}: {text}", model.name)));
        if tp == 0 || tp > devices {
            return refuse(format!("tp = {tp}, 1 to {devices} wanted, the devices of a server"));
        }
        let shared = [
            ("num_heads", model.num_heads),
            ("num_heads_k", model.num_heads_k),
            ("intermediate", model.intermediate),
            ("vocabulary", model.vocabulary),
        ];
        let uneven: Vec<String> = shared
            .into_iter()
            .filter(|(_, size)| !size.is_multiple_of(tp))
            .map(|(name, size)| format!("{name} = {size}"))
            .collect();
        if !uneven.is_empty() {
            return refuse(format!("tp = {tp}, a divisor of {} wanted", uneven.join(" and of ")));
        }
        let intermediate = model.intermediate / tp;
        Ok(Self {
            heads: model.num_heads / tp,
            heads_k: model.num_heads_k / tp,
            head_dim: model.head_dim,
            hidden: model.hidden,
            intermediate,
            width_up: if model.is_gated { 2 * intermediate } else { intermediate },
            vocabulary: model.vocabulary / tp,
        })
    }

    pub(super) fn width_q(&self) -> u32 {
        self.heads * self.head_dim
    }

    pub(super) fn width_k(&self) -> u32 {
        self.heads_k * self.head_dim
    }

    pub(super) fn width_qkv(&self) -> u32 {
        self.width_q() + 2 * self.width_k()
    }

    /// Bytes of the matrices that a step reads.
    pub(super) fn matrix_bytes(&self, run: &Run) -> u64 {
        let all = run.model.layer_matrices() + run.model.embedding();
        all / u64::from(run.tp) * run.model.dtype.size_bytes() as u64
    }

    /// Attention of prompts, or of one row of each sequence with all of its keys.
    pub(super) fn attention(&self, dtype: DType, batch: u32, rows: u32, keys: u32) -> attention::Problem {
        let mask = if rows > 1 { Mask::Causal } else { Mask::None };
        attention::Problem::new(dtype, [batch, rows, self.heads, self.head_dim])
            .with_seqlen_k(keys)
            .with_num_heads_k(self.heads_k)
            .with_mask(mask)
    }

    /// Bytes of the activations of a step with so many rows, of which `last` have logits. One buffer for
    /// each, which all layers use.
    pub(super) fn activations(&self, dtype: DType, rows: u64, last: u64, vocabulary: u32) -> u64 {
        // The residual stream, which has f32; what is added to it; its norm.
        let width =
            4 * self.hidden + self.width_qkv() + 2 * self.width_q() + self.width_up + self.intermediate;
        let of_last = u64::from(self.hidden) * dtype.size_bytes() as u64 + 4 * u64::from(vocabulary);
        rows * u64::from(width) * dtype.size_bytes() as u64 + last * of_last
    }
}

/// Device memory of one rank, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// The embedding, this rank's part of all other matrices, norms and biases.
    pub weights: u64,
    /// Keys and values of all tokens at the end.
    pub cache: u64,
    /// What the longest step has between its launches.
    pub activations: u64,
    /// What attention needs besides: a workspace, or scores of every pair of query and key, and a mask.
    pub attention: u64,
    /// Of all.
    pub total: u64,
    /// What the device has.
    pub capacity: u64,
}

impl Memory {
    /// What a run needs.
    ///
    /// # Errors
    /// What the ranks cannot share, and attention that cannot be planned.
    pub fn of(run: &Run) -> Result<Self> {
        let (model, rank) = (run.model, Rank::of(run.model, run.tp, run.soc)?);
        let size = model.dtype.size_bytes() as u64;
        // Norms have f32.
        let weights = size * model.embedding() + rank.matrix_bytes(run) + 4 * model.vectors();
        let rows = u64::from(run.batch) * u64::from(run.prompt);
        let tokens = rows + u64::from(run.batch) * u64::from(run.generate);
        let cache = 2 * size * tokens * u64::from(rank.width_k()) * u64::from(model.layers);
        let activations = rank.activations(model.dtype, rows, run.batch.into(), model.vocabulary);
        let known = weights.saturating_add(cache).saturating_add(activations);
        // What is too large already need not be planned, and may be too large to.
        let attention = if known > run.soc.hbm_bytes { 0 } else { attention_bytes(run, &rank)? };
        let total = known.saturating_add(attention);
        Ok(Self { weights, cache, activations, attention, total, capacity: run.soc.hbm_bytes })
    }

    /// # Errors
    /// `Unsupported` with the numbers, for what does not fit.
    pub fn check(&self, run: &Run) -> Result<()> {
        if self.total <= self.capacity {
            return Ok(());
        }
        let gb = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
        let text = format!(
            "bench of {}: batch = {}, prompt = {}, generate = {} with attention {} take {} of the {} that a device \
             of {} has: weights {}, cache {}, activations {}, attention {}; a smaller batch or a shorter prompt wanted",
            run.model.name,
            run.batch,
            run.prompt,
            run.generate,
            run.attention,
            gb(self.total),
            gb(self.capacity),
            run.soc.name,
            gb(self.weights),
            gb(self.cache),
            gb(self.activations),
            if self.attention == 0 { "not counted".to_owned() } else { gb(self.attention) },
        );
        Err(Error::new(ErrorKind::Unsupported, text))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [weights, cache, activations, attention, total, capacity] =
            [self.weights, self.cache, self.activations, self.attention, self.total, self.capacity]
                .map(|bytes| bytes as f64 / 1e9);
        write!(
            f,
            "memory of a device, GB: weights {weights:.2}, cache {cache:.2}, activations {activations:.2}, attention \
             {attention:.2}: {total:.2} of {capacity:.2}"
        )
    }
}

/// What the attention of the prompts needs; that of a decode step needs less.
fn attention_bytes(run: &Run, rank: &Rank) -> Result<u64> {
    let problem = rank.attention(run.model.dtype, run.batch, run.prompt, run.prompt);
    let plan = match run.attention {
        Attention::Flash => return Ok(attention::plan(&problem, run.soc)?.workspace_bytes()),
        Attention::Standard => baseline::plan(&problem, run.model.dtype, run.soc)?,
        Attention::Framework => baseline::plan_in_passes(&problem.with_mask(Mask::Causal), run.soc)?,
    };
    Ok(plan.workspace_bytes() + plan.mask_bytes())
}

/// The largest batch of a run that fits; 0 for none.
///
/// # Errors
/// As [`Memory::of`].
pub fn largest_batch(run: &Run) -> Result<u32> {
    let fits = |batch: u32| {
        let run = Run { batch, ..*run };
        match Memory::of(&run) {
            Ok(memory) => Ok(memory.total <= memory.capacity),
            // Attention alone is more than a device has.
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(error),
        }
    };
    let (mut below, mut above) = (0, 1);
    while above < MAX_BATCH && fits(above)? {
        (below, above) = (above, 2 * above);
    }
    while below + 1 < above {
        let middle = below.midpoint(above);
        if fits(middle)? {
            below = middle;
        } else {
            above = middle;
        }
    }
    Ok(below)
}

/// Bounds of a run: products of them stay far below 2^63.
pub(super) const MAX_BATCH: u32 = 1 << 16;
pub(super) const MAX_TOKENS: u32 = 1 << 20;
