//! Plans of the launches of a step. Each is made once for a class of steps: rows and slots are rounded up,
//! so that there are few classes.

use std::collections::HashMap;
use std::sync::Arc;

use fastattention::append::{self, Rotary};
use fastattention::layer::activation::{self, Function};
use fastattention::layer::{embedding, norm};
use fastattention::matmul::{self, BLayout};
use fastattention::serving::{self, KvLayout, Mask};
use fastattention::{DType, Result, Soc};

use super::weights::BIAS_COLUMNS;
use super::{Limits, Step};
use crate::files::Config;

/// `count` rounded up, at most `limit`: powers of two up to 16, then multiples of 16.
pub(super) fn padded(count: usize, limit: u32) -> u32 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let rounded = if count <= 16 { count.next_power_of_two() } else { count.next_multiple_of(16) };
    rounded.min(limit).max(count)
}

/// The class of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StepShape {
    /// Rows, those of padding included.
    pub(super) rows: u32,
    /// Slots, those of padding included.
    pub(super) slots: u32,
    /// Most rows of a slot: 1 in a step that only decodes.
    pub(super) rows_of_slot: u32,
}

impl StepShape {
    pub(super) fn of(step: &Step, limits: &Limits) -> Self {
        let rows = padded(step.tokens.len(), limits.rows);
        let only_decodes = step.slots.iter().all(|slot| slot.rows <= 1);
        Self {
            rows,
            slots: padded(step.slots.len(), limits.slots),
            rows_of_slot: if only_decodes { 1 } else { rows },
        }
    }
}

/// Of the matrices that a step reads.
fn matrix_bytes(c: &Config) -> u64 {
    let [hidden, qkv, q, feed_forward] =
        [c.hidden, c.width_qkv(), c.width_q(), c.intermediate].map(u64::from);
    let of_layer = hidden * (qkv + q + 3 * feed_forward);
    2 * (u64::from(c.layers) * of_layer + u64::from(c.vocabulary) * hidden)
}

/// What depends on the number of rows alone.
#[derive(Debug)]
pub(super) struct RowPlans {
    pub(super) embedding: embedding::Plan,
    /// In front of attention.
    pub(super) norm: norm::Plan,
    pub(super) qkv: Projection,
    pub(super) append: append::Plan,
    pub(super) output: matmul::Plan,
    /// In front of the feed-forward part.
    pub(super) feed_forward_norm: norm::Plan,
    pub(super) gate_up: matmul::Plan,
    pub(super) activation: activation::Plan,
    pub(super) down: matmul::Plan,
}

/// How q, k and v are made: by one product; or each by its own where heads of q and of k are rows of a norm.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) products: Vec<matmul::Plan>,
    /// Of q and of k, or none.
    pub(super) norms: Vec<norm::Plan>,
}

/// What depends on the number of rows whose logits are wanted.
#[derive(Debug)]
pub(super) struct LogitsPlans {
    /// Their rows of the residual stream.
    pub(super) residual: embedding::Plan,
    /// Their rows of what is to be added to it.
    pub(super) delta: embedding::Plan,
    pub(super) norm: norm::Plan,
    pub(super) product: matmul::Plan,
}

/// All plans made so far.
#[derive(Debug)]
pub(super) struct Plans {
    soc: Soc,
    config: Config,
    limits: Limits,
    /// A step reads each weight once. Where all of them are more than L2 holds, none is there when its turn
    /// comes, and none need stay.
    weights_are_cold: bool,
    of_rows: HashMap<u32, Arc<RowPlans>>,
    of_slots: HashMap<StepShape, Arc<serving::Plan>>,
    of_logits: HashMap<u32, Arc<LogitsPlans>>,
}

impl Plans {
    pub(super) fn new(soc: &Soc, config: &Config, limits: &Limits) -> Self {
        Self {
            soc: soc.clone(),
            config: config.clone(),
            limits: *limits,
            weights_are_cold: matrix_bytes(config) > soc.l2_bytes,
            of_rows: HashMap::new(),
            of_slots: HashMap::new(),
            of_logits: HashMap::new(),
        }
    }

    pub(super) fn of_rows(&mut self, rows: u32) -> Result<Arc<RowPlans>> {
        if let Some(plans) = self.of_rows.get(&rows) {
            return Ok(plans.clone());
        }
        let c = &self.config;
        let product = |outputs, inputs| self.product([rows, outputs, inputs], DType::F16);
        let plans = Arc::new(RowPlans {
            embedding: self.rows_of(DType::F16, c.vocabulary, rows)?,
            norm: self.norm(rows, c.hidden + self.bias_columns())?,
            qkv: self.projection(rows)?,
            append: self.append(rows)?,
            output: product(c.hidden, c.width_q())?,
            feed_forward_norm: self.norm(rows, c.hidden)?,
            gate_up: product(2 * c.intermediate, c.hidden)?,
            activation: self.activation(rows)?,
            down: product(c.hidden, c.intermediate)?,
        });
        self.of_rows.insert(rows, plans.clone());
        Ok(plans)
    }

    pub(super) fn of_logits(&mut self, rows: u32) -> Result<Arc<LogitsPlans>> {
        if let Some(plans) = self.of_logits.get(&rows) {
            return Ok(plans.clone());
        }
        let plans = Arc::new(LogitsPlans {
            residual: self.rows_of(DType::F32, self.limits.rows, rows)?,
            delta: self.rows_of(DType::F16, self.limits.rows, rows)?,
            norm: self.norm(rows, self.config.hidden)?,
            product: self.product([rows, self.config.vocabulary, self.config.hidden], DType::F32)?,
        });
        self.of_logits.insert(rows, plans.clone());
        Ok(plans)
    }

    pub(super) fn of_slots(&mut self, shape: StepShape) -> Result<Arc<serving::Plan>> {
        if let Some(plan) = self.of_slots.get(&shape) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(serving::plan(&self.attention(shape), &self.soc)?);
        self.of_slots.insert(shape, plan.clone());
        Ok(plan)
    }

    /// `[rows, inputs]` times the transpose of weights `[outputs, inputs]`.
    fn product(&self, [rows, outputs, inputs]: [u32; 3], dtype_out: DType) -> Result<matmul::Plan> {
        let problem = matmul::Problem::new(DType::F16, [rows, outputs, inputs])
            .with_b_layout(BLayout::Nk)
            .with_dtype_out(dtype_out);
        matmul::plan(&if self.weights_are_cold { problem.with_cold_b() } else { problem }, &self.soc)
    }

    /// `rows` rows of a table of `num_ids`, by their numbers.
    fn rows_of(&self, dtype: DType, num_ids: u32, rows: u32) -> Result<embedding::Plan> {
        embedding::plan(&embedding::Problem::new(dtype, rows, [num_ids, self.config.hidden]), &self.soc)
    }

    /// The residual stream takes what a layer has left, and its norm is what the next product reads.
    /// Rows of the result are `stride` elements apart.
    fn norm(&self, rows: u32, stride: u32) -> Result<norm::Plan> {
        let hidden = self.config.hidden;
        let problem = norm::Problem::rms(DType::F16, [rows, hidden], self.config.norm_epsilon)
            .with_strides(hidden.into(), stride.into());
        norm::plan(&problem.with_weight_dtype(DType::F32).with_residual_dtype(DType::F32), &self.soc)
    }

    /// Columns behind what q, k and v are made of.
    fn bias_columns(&self) -> u32 {
        if self.config.family.has_biases() {
            BIAS_COLUMNS
        } else {
            0
        }
    }

    fn projection(&self, rows: u32) -> Result<Projection> {
        let c = &self.config;
        let product = |outputs| self.product([rows, outputs, c.hidden + self.bias_columns()], DType::F16);
        if !c.family.has_head_norms() {
            return Ok(Projection { products: vec![product(c.width_qkv())?], norms: Vec::new() });
        }
        let norm = |heads: u32| {
            let problem = norm::Problem::rms(DType::F16, [rows * heads, c.head_dim], c.norm_epsilon);
            norm::plan(&problem.with_weight_dtype(DType::F32), &self.soc)
        };
        let products = vec![product(c.width_q())?, product(c.width_k())?, product(c.width_k())?];
        Ok(Projection { products, norms: vec![norm(c.num_heads)?, norm(c.num_heads_k)?] })
    }

    /// `silu(gate) * up`.
    fn activation(&self, rows: u32) -> Result<activation::Plan> {
        let shape = [rows, self.config.intermediate];
        let problem = activation::Problem::new(Function::Silu, DType::F16, shape);
        activation::plan(&problem.gated().with_halves(), &self.soc)
    }

    /// k, v and q lie in the rows of one product, or each in its own; q leaves them.
    fn append(&self, rows: u32) -> Result<append::Plan> {
        let c = &self.config;
        let cache = self.attention(StepShape { rows, slots: 1, rows_of_slot: rows });
        let dim = u64::from(c.head_dim);
        let [row_q, row_k] = match c.family.has_head_norms() {
            true => [c.width_q(), c.width_k()],
            false => [c.width_qkv(); 2],
        };
        let [row_q, row_k] = [row_q, row_k].map(u64::from);
        let rotary = Rotary::new(c.rope_pairing, c.rope_dims, self.limits.max_keys)
            .with_q_strides([row_q, dim], [c.width_q().into(), dim]);
        let problem = append::Problem::new(rows, &cache).with_strides([row_k, dim], [row_k, dim]);
        append::plan(&problem.with_rotary(rotary), &self.soc)
    }

    fn attention(&self, shape: StepShape) -> serving::Problem {
        let (c, l) = (&self.config, &self.limits);
        let StepShape { rows, slots, rows_of_slot } = shape;
        let mask =
            c.window.map_or(Mask::Causal, |keys| Mask::Window { left: Some(keys - 1), right: Some(0) });
        let pages = KvLayout::paged(l.page_size, l.num_pages);
        let q = [rows, c.num_heads, c.head_dim];
        let problem = serving::Problem::packed(DType::F16, q, [slots, rows_of_slot], l.max_keys, pages)
            .with_num_heads_k(c.num_heads_k)
            .with_mask(mask);
        if l.is_batch_invariant {
            problem.batch_invariant()
        } else {
            problem
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_rounded_up_to_few_classes() {
        let counts = [1, 2, 3, 5, 16, 17, 33, 500];
        assert_eq!(counts.map(|count| padded(count, 512)), [1, 2, 4, 8, 16, 32, 48, 512]);
        assert_eq!(padded(5, 6), 6);
        assert_eq!(padded(500, 500), 500);
    }
}
