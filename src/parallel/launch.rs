//! Launching a plan.

use std::fmt;
use std::ops::Range;

use super::costs::PlannedBatch;
use super::{AttentionMatmul, Block, Plan};
use crate::attention::{self, Operand};
use crate::matmul;
use crate::runtime::{refuse, Communicator, Device, Event, Named, ReduceOp, Stream};
use crate::{Error, Result};

/// The operator on one rank: kernels, its communicator, the stream on which transfers run, and the events
/// between both streams.
///
/// Made once and used for every launch of every layer. A communicator takes one order of operations, so a
/// launch needs the operator for itself.
#[derive(Debug)]
pub struct TilingAllReduce {
    compute: AttentionMatmul,
    ranks: Option<Ranks>,
}

/// What only more than one rank needs.
#[derive(Debug)]
struct Ranks {
    communicator: Communicator,
    stream: Stream,
    /// Block `i` is computed.
    computed: Vec<Event>,
    /// The last transfer is through.
    reduced: Event,
}

/// Operands of the attention of this rank.
#[derive(Clone, Copy, Debug)]
pub struct AttentionArgs<'a> {
    /// Queries, `[rows, heads of this rank, head_dim]` unless the problem has strides.
    pub q: Operand<'a>,
    /// Keys, `[keys, kv heads of this rank, head_dim]`.
    pub k: Operand<'a>,
    /// Values, `[keys, kv heads of this rank, head_dim_v]`.
    pub v: Operand<'a>,
    /// [`Plan::workspace_bytes`] bytes; what is in it does not matter.
    pub workspace: Operand<'a>,
}

impl<'a> AttentionArgs<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(
        q: impl Into<Operand<'a>>,
        k: impl Into<Operand<'a>>,
        v: impl Into<Operand<'a>>,
        workspace: impl Into<Operand<'a>>,
    ) -> Self {
        Self { q: q.into(), k: k.into(), v: v.into(), workspace: workspace.into() }
    }
}

/// The projection of this rank.
pub enum LinearArgs<'a> {
    /// This rank's part of the weight.
    Weight(Operand<'a>),
    /// Called for each block in order, with the rows that are to go from o to y: queues that on the stream,
    /// without waiting.
    Caller(&'a mut dyn FnMut(&Stream, Range<u32>) -> Result<()>),
}

impl fmt::Debug for LinearArgs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinearArgs::Weight(weight) => f.debug_tuple("Weight").field(weight).finish(),
            LinearArgs::Caller(_) => f.write_str("Caller"),
        }
    }
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)), and
/// keeps them unshared until work that is queued on the stream behind the launch runs.
///
/// What the layer writes (y, the workspace, and o where the attention is computed here) shares no byte with
/// any other operand; q, k, v and the weight may lie on each other.
#[derive(Debug)]
pub struct Args<'a> {
    /// Given exactly when the problem has attention.
    pub attention: Option<AttentionArgs<'a>>,
    /// Output of the attention, `[rows, in_features]`: written by it, or given.
    pub o: Operand<'a>,
    /// As the problem says.
    pub linear: LinearArgs<'a>,
    /// Output of the layer, `[rows, hidden]`; on every rank the same bits in the end.
    pub y: Operand<'a>,
}

impl<'a> Args<'a> {
    /// Operands of a layer whose attention has been computed: `o` is given.
    pub fn new(o: impl Into<Operand<'a>>, linear: LinearArgs<'a>, y: impl Into<Operand<'a>>) -> Self {
        Self { attention: None, o: o.into(), linear, y: y.into() }
    }

    /// Adds the operands of the attention, which writes `o`.
    #[must_use]
    pub fn with_attention(self, attention: AttentionArgs<'a>) -> Self {
        Self { attention: Some(attention), ..self }
    }
}

impl TilingAllReduce {
    /// The operator of the rank of `communicator`, on its device.
    ///
    /// # Errors
    /// As [`AttentionMatmul::new`]; `Driver` when there is no stream or event left.
    pub fn new(communicator: Communicator) -> Result<Self> {
        let device = communicator.device().clone();
        let ranks = match communicator.ranks() {
            0 | 1 => None,
            _ => Some(Ranks {
                stream: Stream::new(&device)?,
                computed: Vec::new(),
                reduced: Event::new(&device)?,
                communicator,
            }),
        };
        Ok(Self { ranks, ..Self::alone(&device)? })
    }

    /// The operator of the only rank: attention and projection.
    ///
    /// # Errors
    /// As [`AttentionMatmul::new`].
    pub fn alone(device: &Device) -> Result<Self> {
        Ok(Self { compute: AttentionMatmul::new(device)?, ranks: None })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.compute.device()
    }

    /// Queues the layer on `stream` and returns at once; nothing is allocated on the device, copied or waited
    /// for. Work that is queued on `stream` behind it finds y reduced.
    ///
    /// All ranks launch the same plan in the same order. Launches of one operator go to one stream, or to
    /// streams that the caller has brought in order.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC or number of ranks, and for operands that are missing,
    /// superfluous, misaligned, too small, of another device, or written while another one lies there:
    /// nothing is queued then. Later errors are those of the caller's projection, of the driver and of
    /// the communicator ([`Communicator::all_reduce`]): what was queued before still runs, `stream` still
    /// waits for it, and y is not complete. What goes wrong while work runs is told when `stream` is
    /// synchronised; when a rank is lost, every other one gets an error there, and all buffers stay
    /// valid.
    pub fn launch(&mut self, stream: &Stream, plan: &Plan, mut args: Args<'_>) -> Result<()> {
        self.check(plan, &args)?;
        if let Some(ranks) = &mut self.ranks {
            while ranks.computed.len() < plan.blocks().len() {
                ranks.computed.push(Event::new(self.compute.device())?);
            }
        }
        let queued = plan.blocks().iter().enumerate().try_for_each(|(place, block)| {
            self.compute(stream, plan, block, &mut args)?;
            self.reduce(stream, plan, place, block, args.y)
        });
        let joined = self.join(stream);
        queued.and(joined)
    }

    // One list of operands; an arm refuses each pair of arguments and problem that does not fit.
    fn check(&self, plan: &Plan, args: &Args<'_>) -> Result<()> {
        let refused = |why: String| Err(Error::invalid(format!("tiling-AllReduce launch: {why}")));
        self.device().require_planned_for(plan.soc(), "tiling-AllReduce launch")?;
        let problem = plan.problem();
        let ranks = self.ranks.as_ref().map_or(1, |r| r.communicator.ranks());
        if problem.ranks != ranks {
            return refused(format!(
                "a plan for {} ranks given, one for {ranks} wanted, the ranks of the operator",
                problem.ranks
            ));
        }
        let size = problem.spec.dtype.size_bytes() as u64;
        let [q, k, v, o, y] = plan.operand_bytes();
        let o = match problem.has_attention {
            true => Named::written("o", args.o, o, size),
            false => Named::read("o", args.o, o, size),
        };
        let mut operands = vec![o, Named::written("y", args.y, y, size)];
        match (&args.attention, problem.has_attention) {
            (Some(a), true) => {
                let steps = problem.steps();
                let tensors = [("q", a.q, q), ("k", a.k, k), ("v", a.v, v)].into_iter().zip(steps);
                operands.extend(tensors.map(|((name, operand, bytes), (row_bytes, steps))| {
                    Named::read(name, operand, bytes, size).with_rows(row_bytes, steps)
                }));
                let (bytes, alignment) = (plan.workspace_bytes(), attention::operands::WORKSPACE_ALIGNMENT);
                operands.push(Named::written("workspace", a.workspace, bytes, alignment));
            }
            (None, false) => {}
            (Some(_), false) => {
                return refused(
                    "attention = Some given, None wanted, as the problem has no attention".to_owned(),
                )
            }
            (None, true) => {
                return refused(
                    "attention = None given, Some wanted, as the problem has attention".to_owned(),
                )
            }
        }
        match (&args.linear, plan.has_weight()) {
            (LinearArgs::Weight(weight), true) => {
                operands.push(Named::read("weight", *weight, plan.weight_bytes(), size))
            }
            (LinearArgs::Caller(_), false) => {}
            (LinearArgs::Weight(_), false) => {
                return refused("linear = Weight given, Caller wanted, as in the problem".to_owned())
            }
            (LinearArgs::Caller(_), true) => {
                return refused("linear = Caller given, Weight wanted, as in the problem".to_owned())
            }
        }
        refuse("tiling-AllReduce launch", &operands)
    }

    /// Attention and projection of a block, as [`num_kernels`](super::costs::num_kernels) counts them.
    fn compute(&self, stream: &Stream, plan: &Plan, block: &Block, args: &mut Args<'_>) -> Result<()> {
        let (launches, rows) = (&block.launches, &block.rows);
        let mut parts = Vec::new();
        for (batch, part) in &launches.attention {
            let Some(given) = &args.attention else { continue };
            parts.push((part, batch_args(plan, &plan.work.batches[*batch], given, args.o)?));
        }
        let product = match (&args.linear, &launches.product) {
            (LinearArgs::Weight(weight), Some(product)) => {
                let (a, c) = product_rows(plan, rows.start, args.o, args.y)?;
                Some((product, matmul::Args::new(a, *weight, c)))
            }
            _ => None,
        };
        if let ([part], Some(product)) = (&parts[..], product) {
            return self.compute.launch(stream, *part, product);
        }
        for (part, args) in parts {
            self.compute.attention().launch(stream, part, args)?;
        }
        if let Some((product, args)) = product {
            self.compute.matmul().launch(stream, product, args)?;
        }
        match &mut args.linear {
            LinearArgs::Caller(linear) => linear(stream, rows.clone()),
            LinearArgs::Weight(_) => Ok(()),
        }
    }

    /// The AllReduce of a block, behind what is queued on `stream`.
    fn reduce(
        &self,
        stream: &Stream,
        plan: &Plan,
        place: usize,
        block: &Block,
        y: Operand<'_>,
    ) -> Result<()> {
        let Some(ranks) = &self.ranks else { return Ok(()) };
        let (problem, rows) = (plan.problem(), &block.rows);
        ranks.computed[place].record(stream)?;
        ranks.stream.wait_event(&ranks.computed[place])?;
        let part = behind(y, u64::from(rows.start) * plan.work.row_bytes())?;
        let count = u64::from(rows.end - rows.start) * u64::from(problem.hidden);
        let count = usize::try_from(count).map_err(|_| {
            Error::invalid(format!(
                "tiling-AllReduce launch: a block of y has {count} elements, at most {} wanted",
                usize::MAX
            ))
        })?;
        ranks.communicator.all_reduce(&ranks.stream, part, part, (count, problem.spec.dtype), ReduceOp::Sum)
    }

    /// `stream` goes on when all transfers are through.
    fn join(&self, stream: &Stream) -> Result<()> {
        let Some(ranks) = &self.ranks else { return Ok(()) };
        ranks.reduced.record(&ranks.stream)?;
        stream.wait_event(&ranks.reduced)
    }
}

/// Operands of the attention of one batch.
fn batch_args<'a>(
    plan: &Plan,
    planned: &PlannedBatch,
    a: &AttentionArgs<'a>,
    o: Operand<'a>,
) -> Result<attention::Args<'a>> {
    let [q, k, v, o_start] = plan.work.batch_offsets(planned);
    let (q, k, v) = (behind(a.q, q)?, behind(a.k, k)?, behind(a.v, v)?);
    Ok(attention::Args::new(q, k, v, behind(o, o_start)?, a.workspace))
}

/// Where the rows of o and y from `row` on start.
fn product_rows<'a>(
    plan: &Plan,
    row: u32,
    o: Operand<'a>,
    y: Operand<'a>,
) -> Result<(Operand<'a>, Operand<'a>)> {
    let o_row_bytes = u64::from(plan.problem().in_features()) * plan.problem().spec.dtype.size_bytes() as u64;
    let row = u64::from(row);
    Ok((behind(o, row * o_row_bytes)?, behind(y, row * plan.work.row_bytes())?))
}

/// `operand` from `bytes` behind its start.
fn behind(operand: Operand<'_>, bytes: u64) -> Result<Operand<'_>> {
    let offset = usize::try_from(bytes).ok().and_then(|bytes| operand.offset_bytes().checked_add(bytes));
    let offset = offset.ok_or_else(|| {
        Error::invalid(format!("tiling-AllReduce launch: offset_bytes = {} of an operand given; {bytes} more are beyond the addresses of this host",
            operand.offset_bytes()
        ))
    })?;
    Ok(operand.with_offset_bytes(offset))
}
