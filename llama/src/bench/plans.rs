//! Plans of the launches of a step.

use std::rc::Rc;

use fastattention::append::{self, Pairing, Rotary};
use fastattention::attention;
use fastattention::baseline::{self, StandardPlan};
use fastattention::layer::{activation, argmax, embedding, norm};
use fastattention::matmul::{self, BLayout};
use fastattention::parallel::{self, Linear};
use fastattention::serving::{self, KvLayout, Mask};
use fastattention::{DType, Result};

use super::rank::Rank;
use super::step::StepShape;
use super::{AllReduce, Attention, Run};

/// Of Llama; it changes no time.
const EPSILON: f32 = 1e-5;

/// Attention of a step.
pub(super) enum AttentionPlan {
    Flash(Box<attention::Plan>),
    Serving(Box<serving::Plan>),
    /// In three launches, or in the passes of a framework.
    Standard(Box<StandardPlan>),
    /// In blocks with the output product.
    WithOutput,
}

/// A product whose results the ranks add up, or that of one rank.
pub(super) enum Summed {
    Alone(matmul::Plan),
    Reduced(parallel::Plan),
}

impl Summed {
    pub(super) fn weight_bytes(&self) -> u64 {
        match self {
            Self::Alone(plan) => plan.problem().operand_bytes()[1],
            Self::Reduced(plan) => plan.weight_bytes(),
        }
    }
}

/// Of all launches of a step.
pub(super) struct Plans {
    pub(super) embedding: embedding::Plan,
    pub(super) norm: norm::Plan,
    pub(super) qkv: matmul::Plan,
    pub(super) append: append::Plan,
    pub(super) attention: AttentionPlan,
    pub(super) output: Summed,
    pub(super) up: matmul::Plan,
    pub(super) activation: activation::Plan,
    pub(super) down: Summed,
    /// Of the last row of each sequence.
    pub(super) last_norm: norm::Plan,
    pub(super) logits: matmul::Plan,
    pub(super) argmax: argmax::Plan,
}

impl Plans {
    pub(super) fn new(run: &Run, rank: &Rank, shape: StepShape) -> Result<Rc<Self>> {
        let planner = Planner { run, rank, shape, dtype: run.model.dtype, rows: shape.all_rows(run.batch) };
        Ok(Rc::new(planner.plans()?))
    }
}

struct Planner<'a> {
    run: &'a Run,
    rank: &'a Rank,
    shape: StepShape,
    dtype: DType,
    rows: u32,
}

impl Planner<'_> {
    fn plans(&self) -> Result<Plans> {
        let (run, rank, rows, dtype, soc) = (self.run, self.rank, self.rows, self.dtype, self.run.soc);
        let (model, hidden) = (run.model, rank.hidden);
        // As the engine has them: a residual stream and weights of norms in f32.
        let norm = |rows| {
            let problem = norm::Problem::rms(dtype, [rows, hidden], EPSILON);
            problem.with_weight_dtype(DType::F32).with_residual_dtype(DType::F32)
        };
        // Rows of the residual stream are those of all tokens; of each sequence the last one is taken.
        let apart = u64::from(self.shape.rows) * u64::from(hidden);
        let last_norm =
            norm(run.batch).with_strides(apart, hidden.into()).with_residual_strides(apart, apart);
        let function =
            if model.is_gated { activation::Function::Silu } else { activation::Function::GeluTanh };
        let activation = activation::Problem::new(function, dtype, [rows, rank.intermediate]);
        let activation = if model.is_gated { activation.gated().with_halves() } else { activation };
        let (attention, output) = self.attention_and_output()?;
        Ok(Plans {
            embedding: embedding::plan(
                &embedding::Problem::new(dtype, rows, [model.vocabulary, hidden]),
                soc,
            )?,
            norm: norm::plan(&norm(rows), soc)?,
            qkv: self.product([rows, rank.width_qkv(), hidden], dtype)?,
            append: self.append()?,
            attention,
            output,
            up: self.product([rows, rank.width_up, hidden], dtype)?,
            activation: activation::plan(&activation, soc)?,
            down: self.summed(rank.intermediate)?,
            last_norm: norm::plan(&last_norm, soc)?,
            logits: self.product([run.batch, rank.vocabulary, hidden], DType::F32)?,
            argmax: argmax::plan(&argmax::Problem::new(DType::F32, [run.batch, model.vocabulary]), soc)?,
        })
    }

    /// With weights `[outputs, inputs]`.
    fn product(&self, [rows, outputs, inputs]: [u32; 3], dtype_out: DType) -> Result<matmul::Plan> {
        let problem = matmul::Problem::new(self.dtype, [rows, outputs, inputs])
            .with_b_layout(BLayout::Nk)
            .with_dtype_out(dtype_out);
        let problem = if self.weights_are_cold() { problem.with_cold_b() } else { problem };
        matmul::plan(&problem, self.run.soc)
    }

    /// By the engine's rule: a step reads each weight once, and where all of them are more than L2 holds,
    /// none is there when its turn comes.
    fn weights_are_cold(&self) -> bool {
        self.rank.matrix_bytes(self.run) > self.run.soc.l2_bytes
    }

    /// Keys and values of each sequence in one piece, with room for those of this step.
    fn cache(&self) -> serving::Problem {
        let (rank, shape) = (self.rank, self.shape);
        let q = [self.run.batch, shape.rows, rank.heads, rank.head_dim];
        serving::Problem::new(self.dtype, q, shape.keys, KvLayout::padded())
            .with_num_heads_k(rank.heads_k)
            .with_mask(Mask::Causal)
    }

    /// k, v and q lie in the rows of one product; q leaves them.
    fn append(&self) -> Result<append::Plan> {
        let rank = self.rank;
        let [row, dim] = [rank.width_qkv(), rank.head_dim].map(u64::from);
        let rotary = Rotary::new(Pairing::Halves, rank.head_dim, self.shape.keys)
            .with_q_strides([row, dim], [rank.width_q().into(), dim]);
        let problem = append::Problem::new(self.rows, &self.cache()).with_strides([row, dim], [row, dim]);
        append::plan(&problem.with_rotary(rotary), self.run.soc)
    }

    fn attention_and_output(&self) -> Result<(AttentionPlan, Summed)> {
        let (run, shape, is_prompt) = (self.run, self.shape, self.shape.rows > 1);
        let is_in_blocks = run.tp > 1 && run.all_reduce == AllReduce::Tiling && is_prompt;
        if is_in_blocks && run.attention == Attention::Flash {
            let model = run.model;
            let all = [run.batch, shape.rows, model.num_heads, model.head_dim];
            let problem = parallel::Problem::new(self.dtype, all, model.hidden, run.tp)
                .with_num_heads_k(model.num_heads_k)
                .with_mask(Mask::Causal)
                .with_linear(Linear::Weight(BLayout::Nk));
            return Ok((AttentionPlan::WithOutput, Summed::Reduced(parallel::plan(&problem, run.soc)?)));
        }
        let problem = self.rank.attention(self.dtype, run.batch, shape.rows, shape.keys);
        let boxed = |plan| AttentionPlan::Standard(Box::new(plan));
        let attention = match run.attention {
            Attention::Flash if is_prompt => {
                AttentionPlan::Flash(Box::new(attention::plan(&problem, run.soc)?))
            }
            Attention::Flash => AttentionPlan::Serving(Box::new(serving::plan(&self.cache(), run.soc)?)),
            Attention::Standard => boxed(baseline::plan(&problem, self.dtype, run.soc)?),
            // A framework adds a mask to the row of a decode step, too.
            Attention::Framework => {
                boxed(baseline::plan_in_passes(&problem.with_mask(Mask::Causal), run.soc)?)
            }
        };
        Ok((attention, self.summed(self.rank.width_q())?))
    }

    /// From `inputs` columns of this rank to the residual stream.
    fn summed(&self, inputs: u32) -> Result<Summed> {
        let (run, hidden, rows) = (self.run, self.rank.hidden, self.rows);
        if run.tp == 1 {
            return Ok(Summed::Alone(self.product([rows, hidden, inputs], self.dtype)?));
        }
        // One head of each rank has all of its columns.
        let problem = parallel::Problem::new(self.dtype, [1, rows, run.tp, inputs], hidden, run.tp)
            .without_attention()
            .with_linear(Linear::Weight(BLayout::Nk));
        // Blocks of a prompt read the weight again and again.
        let is_cold = self.shape.rows == 1 && self.weights_are_cold();
        let problem = if is_cold { problem.with_cold_weight() } else { problem };
        Ok(Summed::Reduced(match run.all_reduce {
            AllReduce::Tiling => parallel::plan(&problem, run.soc)?,
            AllReduce::Serial => parallel::plan_with(&problem, run.soc, &[rows])?,
        }))
    }
}

impl Plans {
    /// Of attention.
    pub(super) fn workspace_bytes(&self) -> u64 {
        match (&self.attention, &self.output) {
            (AttentionPlan::Flash(plan), _) => plan.workspace_bytes(),
            (AttentionPlan::Serving(plan), _) => plan.workspace_bytes(),
            (AttentionPlan::Standard(plan), _) => plan.workspace_bytes(),
            (AttentionPlan::WithOutput, Summed::Reduced(plan)) => plan.workspace_bytes(),
            (AttentionPlan::WithOutput, Summed::Alone(_)) => 0,
        }
    }
}
