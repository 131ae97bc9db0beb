//! The launches of a step, in their order.

use std::rc::Rc;

use fastattention::append::{self, Append, RotaryArgs};
use fastattention::attention::{self, FlashAttention};
use fastattention::baseline::{StandardArgs, StandardAttention};
use fastattention::layer::activation::{self, Activation};
use fastattention::layer::argmax::{self, Argmax};
use fastattention::layer::embedding::{self, Embedding};
use fastattention::layer::norm::{self, Norm};
use fastattention::matmul::{self, Matmul};
use fastattention::parallel::schedule::Cost;
use fastattention::parallel::{self, AttentionArgs, LinearArgs, TilingAllReduce};
use fastattention::runtime::{Buffer, Operand, Stream};
use fastattention::serving::{self, ServingAttention};
use fastattention::Result;

use super::clock::Clock;
use super::plans::{AttentionPlan, Plans, Summed};
use super::rank::Rank;
use super::step::StepShape;
use super::Run;

/// Queues the kernels of a part.
type Queue = Box<dyn FnMut(&Stream) -> Result<()>>;

/// One thing that a step does: an operator.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) launch: Queue,
    /// Of what is added up over the ranks: kernels of each block, and its transfer.
    pub(super) blocks: Vec<(usize, Cost)>,
}

/// What all parts of a step work with.
pub(super) struct Parts<'a> {
    clock: &'a Clock,
    rank: Rank,
    plans: Rc<Plans>,
    t: Rc<Tensors>,
    operators: Rc<Operators>,
}

struct Operators {
    activation: Activation,
    append: Append,
    argmax: Argmax,
    embedding: Embedding,
    flash: FlashAttention,
    matmul: Matmul,
    norm: Norm,
    serving: ServingAttention,
    standard: StandardAttention,
}

/// Tensors that all layers share.
struct Tensors {
    embedding: Buffer,
    last_norm: Buffer,
    logits_weight: Buffer,
    ids: Buffer,
    positions: Buffer,
    places: Buffer,
    lengths: Buffer,
    rotary_table: Buffer,
    residual: Buffer,
    delta: Buffer,
    normed: Buffer,
    qkv: Buffer,
    q: Buffer,
    attended: Buffer,
    up: Buffer,
    activated: Buffer,
    last_normed: Buffer,
    logits: Buffer,
    index: Buffer,
    workspace: Buffer,
    mask: Option<Buffer>,
}

/// Tensors of one layer.
struct Layer {
    norm: Buffer,
    qkv: Buffer,
    output: Buffer,
    up: Buffer,
    down: Buffer,
    k: Buffer,
    v: Buffer,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        clock: &'a Clock,
        run: &Run,
        rank: &Rank,
        shape: StepShape,
        plans: Rc<Plans>,
    ) -> Result<Self> {
        let device = &clock.device;
        let operators = Operators {
            activation: Activation::new(device)?,
            append: Append::new(device)?,
            argmax: Argmax::new(device)?,
            embedding: Embedding::new(device)?,
            flash: FlashAttention::new(device)?,
            matmul: Matmul::new(device)?,
            norm: Norm::new(device)?,
            serving: ServingAttention::new(device)?,
            standard: StandardAttention::new(device)?,
        };
        let t = Rc::new(Tensors::new(clock, run, rank, shape, &plans)?);
        Ok(Self { clock, rank: *rank, plans, t, operators: Rc::new(operators) })
    }

    /// A part that `queue` queues; it gets what all parts work with.
    fn part(
        &self,
        name: &'static str,
        queue: impl Fn(&Stream, &Operators, &Plans, &Tensors) -> Result<()> + 'static,
    ) -> Part {
        let (operators, plans, t) = (self.operators.clone(), self.plans.clone(), self.t.clone());
        Part {
            name,
            launch: Box::new(move |stream| queue(stream, &operators, &plans, &t)),
            blocks: Vec::new(),
        }
    }

    /// Before the first layer.
    pub(super) fn embedding(&self) -> Part {
        self.part("embedding", |stream, of, plans, t| {
            let args = embedding::Args::new(&t.embedding, &t.ids, &t.delta);
            of.embedding.launch(stream, &plans.embedding, args)
        })
    }

    /// A layer, with weights and a cache of its own.
    pub(super) fn layer(&self) -> Result<Vec<Part>> {
        let layer = Rc::new(Layer::new(self.clock, &self.rank, &self.plans)?);
        let mut parts = vec![self.norm("norm 1", &layer), self.product_qkv(&layer), self.append(&layer)];
        parts.extend(self.attention(&layer));
        parts.push(self.summed("output", &layer)?);
        parts.push(self.norm("norm 2", &layer));
        let own = layer.clone();
        parts.push(self.part("up", move |stream, of, plans, t| {
            of.matmul.launch(stream, &plans.up, matmul::Args::new(&t.normed, &own.up, &t.up))
        }));
        parts.push(self.part("activation", |stream, of, plans, t| {
            let plan = &plans.activation;
            let args = match plan.problem().is_gated {
                true => activation::Args::of_halves(plan, &t.up, &t.activated),
                false => activation::Args::new(&t.up, &t.activated),
            };
            of.activation.launch(stream, plan, args)
        }));
        parts.push(self.summed("down", &layer)?);
        Ok(parts)
    }

    /// Behind the last layer: norm, logits and choice of the last row of each sequence.
    pub(super) fn last(&self) -> [Part; 3] {
        let last_norm = self.part("last norm", |stream, of, plans, t| {
            let plan = &plans.last_norm;
            // The last row of each sequence: what lies behind the last of them is its end.
            let delta = end_of(&t.delta, plan.problem().operand_bytes()[0]);
            let residual = end_of(&t.residual, plan.problem().residual_bytes()[0]);
            let args = norm::Args::new(delta, &t.last_norm, &t.last_normed);
            of.norm.launch(stream, plan, args.with_residual_in_place(residual))
        });
        let logits = self.part("logits", |stream, of, plans, t| {
            let args = matmul::Args::new(&t.last_normed, &t.logits_weight, &t.logits);
            of.matmul.launch(stream, &plans.logits, args)
        });
        let argmax = self.part("argmax", |stream, of, plans, t| {
            of.argmax.launch(stream, &plans.argmax, argmax::Args::new(&t.logits, &t.index))
        });
        [last_norm, logits, argmax]
    }

    fn norm(&self, name: &'static str, layer: &Rc<Layer>) -> Part {
        let layer = layer.clone();
        self.part(name, move |stream, of, plans, t| {
            let args = norm::Args::new(&t.delta, &layer.norm, &t.normed).with_residual_in_place(&t.residual);
            of.norm.launch(stream, &plans.norm, args)
        })
    }

    fn product_qkv(&self, layer: &Rc<Layer>) -> Part {
        let layer = layer.clone();
        self.part("qkv", move |stream, of, plans, t| {
            of.matmul.launch(stream, &plans.qkv, matmul::Args::new(&t.normed, &layer.qkv, &t.qkv))
        })
    }

    fn append(&self, layer: &Rc<Layer>) -> Part {
        let (layer, rank) = (layer.clone(), self.rank);
        self.part("append", move |stream, of, plans, t| {
            // All elements have two bytes.
            let k = Operand::at(&t.qkv, 2 * rank.width_q() as usize);
            let v = Operand::at(&t.qkv, 2 * (rank.width_q() + rank.width_k()) as usize);
            let rotary = RotaryArgs::new(&t.positions, &t.rotary_table).with_q(&t.qkv, &t.q);
            let args = append::Args::new(k, v, &t.places, &layer.k, &layer.v).with_rotary(rotary);
            of.append.launch(stream, &plans.append, args)
        })
    }

    /// None where it is one part with the output product.
    fn attention(&self, layer: &Rc<Layer>) -> Option<Part> {
        if matches!(self.plans.attention, AttentionPlan::WithOutput) {
            return None;
        }
        let layer = layer.clone();
        Some(self.part("attention", move |stream, of, plans, t| match &plans.attention {
            AttentionPlan::Flash(plan) => {
                let args = attention::Args::new(&t.q, &layer.k, &layer.v, &t.attended, &t.workspace);
                of.flash.launch(stream, plan, args)
            }
            AttentionPlan::Serving(plan) => {
                let args =
                    serving::Args::new(&t.q, &layer.k, &layer.v, &t.lengths, &t.attended, &t.workspace);
                of.serving.launch(stream, plan, args)
            }
            AttentionPlan::Standard(plan) => {
                let args = StandardArgs::new(&t.q, &layer.k, &layer.v, &t.attended, &t.workspace);
                let args = t.mask.iter().fold(args, StandardArgs::with_mask);
                of.standard.launch(stream, plan, args)
            }
            AttentionPlan::WithOutput => Ok(()),
        }))
    }

    /// The output product, or that at the end of the feed-forward part.
    fn summed(&self, name: &'static str, layer: &Rc<Layer>) -> Result<Part> {
        let (is_output, own) = (name == "output", layer.clone());
        let plans = self.plans.clone();
        let plan = if is_output { &plans.output } else { &plans.down };
        let Summed::Reduced(plan) = plan else {
            return Ok(self.part(name, move |stream, of, plans, t| {
                let (plan, a, b) = match is_output {
                    true => (&plans.output, &t.attended, &own.output),
                    false => (&plans.down, &t.activated, &own.down),
                };
                let Summed::Alone(plan) = plan else { return Ok(()) };
                of.matmul.launch(stream, plan, matmul::Args::new(a, b, &t.delta))
            }));
        };
        // One rank stands for all, which do the same on other data; transfers come in afterwards.
        let mut operator = TilingAllReduce::alone(&self.clock.device)?;
        let (alone, t) = (plan.without_transfers(), self.t.clone());
        let blocks = plan.blocks().iter().map(|block| (block.num_launches(), block.cost)).collect();
        let has_attention = plan.problem().has_attention;
        let launch = move |stream: &Stream| {
            let (o, weight) = match is_output {
                true => (&t.attended, &own.output),
                false => (&t.activated, &own.down),
            };
            let args = parallel::Args::new(o, LinearArgs::Weight(weight.into()), &t.delta);
            let args = match has_attention {
                true => args.with_attention(AttentionArgs::new(&t.q, &own.k, &own.v, &t.workspace)),
                false => args,
            };
            operator.launch(stream, &alone, args)
        };
        let name = if has_attention { "attention and output" } else { name };
        Ok(Part { name, launch: Box::new(launch), blocks })
    }
}

/// The last `bytes` bytes.
fn end_of(buffer: &Buffer, bytes: u64) -> Operand<'_> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    Operand::at(buffer, buffer.len_bytes().saturating_sub(bytes))
}

impl Tensors {
    fn new(clock: &Clock, run: &Run, rank: &Rank, shape: StepShape, plans: &Plans) -> Result<Self> {
        let (batch, rows) = (run.batch, shape.all_rows(run.batch));
        let of = |rows: u32, width: u32, size: u64| clock.alloc(u64::from(rows) * u64::from(width) * size);
        let all = |width: u32| of(rows, width, 2);
        let list = |value: &dyn Fn(u32, u32) -> u32| {
            let places = (0..batch).flat_map(|slot| (0..shape.rows).map(move |row| (slot, row)));
            let numbers: Vec<u32> = places.map(|(slot, row)| value(slot, row)).collect();
            Buffer::from_slice(&clock.device, &numbers)
        };
        let first = shape.keys - shape.rows;
        // Argmax looks at logits with its scalar unit, so they have to be written.
        let logits = of(batch, run.model.vocabulary, 4)?;
        logits.zero()?;
        Ok(Self {
            embedding: of(run.model.vocabulary, rank.hidden, 2)?,
            last_norm: of(1, rank.hidden, 4)?,
            logits_weight: of(rank.vocabulary, rank.hidden, 2)?,
            ids: list(&|slot, row| {
                slot.wrapping_mul(7919).wrapping_add(row.wrapping_mul(104_729)) % run.model.vocabulary
            })?,
            positions: list(&|_, row| first + row)?,
            places: list(&|slot, row| slot * shape.keys + first + row)?,
            lengths: Buffer::from_slice(&clock.device, &vec![shape.keys; batch as usize])?,
            rotary_table: clock.alloc(plans.append.table_bytes())?,
            residual: of(rows, rank.hidden, 4)?,
            delta: all(rank.hidden)?,
            normed: all(rank.hidden)?,
            qkv: all(rank.width_qkv())?,
            q: all(rank.width_q())?,
            attended: all(rank.width_q())?,
            up: all(rank.width_up)?,
            activated: all(rank.intermediate)?,
            last_normed: of(batch, rank.hidden, 2)?,
            logits,
            index: of(batch, 1, 4)?,
            workspace: clock.alloc(plans.workspace_bytes())?,
            mask: match &plans.attention {
                AttentionPlan::Standard(plan) if plan.mask_bytes() > 0 => {
                    Some(clock.alloc(plan.mask_bytes())?)
                }
                _ => None,
            },
        })
    }
}

impl Layer {
    fn new(clock: &Clock, rank: &Rank, plans: &Plans) -> Result<Self> {
        let weight = |plan: &matmul::Plan| clock.alloc(plan.problem().operand_bytes()[1]);
        let [_, _, k, v] = plans.append.operand_bytes();
        Ok(Self {
            norm: clock.alloc(4 * u64::from(rank.hidden))?,
            qkv: weight(&plans.qkv)?,
            output: clock.alloc(plans.output.weight_bytes())?,
            up: weight(&plans.up)?,
            down: clock.alloc(plans.down.weight_bytes())?,
            k: clock.alloc(k)?,
            v: clock.alloc(v)?,
        })
    }
}
