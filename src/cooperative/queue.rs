//! One layer of a step on its streams.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::host::Chunk;
use super::lane::{bytes, Lane, LaneInner, Link};
use super::share::{group, Share, Side};
use super::sizes::{merging, RowBytes};
use super::step::Part;
use super::store::Store;
use crate::runtime::{self, Event, Operand};
use crate::{append, attention, merge, serving, Error, Result};

/// New rows under way.
#[derive(Debug)]
pub struct Step {
    pub(super) lane: Lane,
    /// Rows of q, k, v and o.
    pub(super) count: u32,
    pub(super) generation: u64,
    /// Of all steps of its lane.
    pub(super) number: u64,
    pub(super) rows: Rows,
}

#[derive(Debug)]
pub(super) enum Rows {
    /// Of a step.
    New { device: Option<Part>, host: Option<Arc<Part>> },
    /// Of a prompt, which is one sequence.
    Prompt {
        slot: u32,
        /// `None`: it was attended to elsewhere.
        attention: Option<Box<attention::Plan>>,
        device: Option<Part>,
        /// Of each layer, once its K and V have gone down.
        sent: Vec<Option<Event>>,
    },
}

/// Operands of one layer of a step, dense and in device memory; `rows` are all those of the step.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// Queries, `[rows, num_heads, head_dim]`.
    pub q: Operand<'a>,
    /// Their keys, `[rows, num_heads_k, head_dim]`.
    pub k: Operand<'a>,
    /// Their values, `[rows, num_heads_k, head_dim_v]`.
    pub v: Operand<'a>,
    /// Output, `[rows, num_heads, head_dim_v]`.
    pub o: Operand<'a>,
}

impl<'a> Args<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(
        q: impl Into<Operand<'a>>,
        k: impl Into<Operand<'a>>,
        v: impl Into<Operand<'a>>,
        o: impl Into<Operand<'a>>,
    ) -> Self {
        Self { q: q.into(), k: k.into(), v: v.into(), o: o.into() }
    }
}

/// The turn of a lane, which is that of a step.
fn require_turn<'a>(what: &str, lane: &'a LaneInner, step: &Step) -> Result<MutexGuard<'a, u64>> {
    let turn = lane.turn();
    if *turn != step.number {
        return Err(Error::invalid(format!(
            "cooperative Store::{what}: a step given whose lane has begun another one since, that one wanted"
        )));
    }
    Ok(turn)
}

/// An operand from `len` bytes further on.
fn further(operand: Operand<'_>, len: u64) -> Operand<'_> {
    operand.with_offset_bytes(operand.offset_bytes().saturating_add(bytes(len)))
}

/// Bytes of rows of all heads.
#[derive(Clone, Copy)]
struct Widths {
    q: u64,
    k: u64,
    v: u64,
    o: u64,
}

impl Store {
    /// Queues one layer: appends k and v to the cache of their side, and attends to all keys of the
    /// sequences. Work behind it on the lane's stream finds o. Nothing is waited for.
    ///
    /// q, k and v may be overwritten by work behind it on the lane's stream; those of a prompt only behind
    /// [`Self::wait_sent`].
    ///
    /// # Errors
    /// `InvalidArgument` for a layer that there is not, for operands that are too small, of another device or
    /// overlap, and for a step from before [`Self::change`]; `Unsupported` when CANN is too old to call
    /// functions of the host (before 8.3), and in a capture; `Driver`. What goes wrong later, on the device
    /// or on the host, is told when the lane's stream is synchronised.
    pub fn attend(&self, step: &mut Step, layer: u32, args: Args<'_>) -> Result<()> {
        let lane = self.require_layer("attend", step, layer)?;
        let _turn = require_turn("attend", &lane, step)?;
        match &step.rows {
            Rows::New { device, host } => {
                self.attend_new(&lane, layer, step.count, (device.as_ref(), host.as_ref()), &args)
            }
            Rows::Prompt { attention: Some(attention), .. } => {
                let own = attention::Args::new(args.q, args.k, args.v, args.o, &lane.prefill_workspace);
                self.operators().prefill.launch(&lane.stream, attention, own)?;
                self.keep(&lane, step, layer, [args.k, args.v])
            }
            Rows::Prompt { attention: None, .. } => Err(Error::invalid(
                "cooperative Store::attend: a step of Store::import given, one of Store::step or Store::prefill wanted",
            )),
        }
    }

    /// Queues one layer of what [`Self::import`] has begun: k and v, as [`Args`] has them, go to the cache of
    /// their side. They may be overwritten behind [`Self::wait_sent`].
    ///
    /// # Errors
    /// As [`Self::attend`]; `InvalidArgument` for another kind of step.
    pub fn import_layer<'a>(
        &self,
        step: &mut Step,
        layer: u32,
        k: impl Into<Operand<'a>>,
        v: impl Into<Operand<'a>>,
    ) -> Result<()> {
        let lane = self.require_layer("import_layer", step, layer)?;
        let _turn = require_turn("import_layer", &lane, step)?;
        let Rows::Prompt { attention: None, .. } = &step.rows else {
            let text =
                "cooperative Store::import_layer: a step with attention given, one of Store::import wanted";
            return Err(Error::invalid(text));
        };
        let (k, v) = (k.into(), v.into());
        let width = self.widths();
        for (name, operand, width) in [("k", k, width.k), ("v", v, width.v)] {
            self.device().require_same(operand.device(), name)?;
            operand.require_room("cooperative Store::import_layer", bytes(u64::from(step.count) * width))?;
        }
        self.keep(&lane, step, layer, [k, v])
    }

    /// The lane of a step, if it has the layer.
    fn require_layer(&self, what: &str, step: &Step, layer: u32) -> Result<Arc<LaneInner>> {
        self.require_current(step)?;
        let layers = self.placement().problem().layers;
        if layer >= layers {
            return Err(Error::invalid(format!(
                "cooperative Store::{what}: layer = {layer} given, one below {layers} wanted"
            )));
        }
        Ok(step.lane.inner.clone())
    }

    /// Puts k and v of a prompt where their layer lies.
    fn keep(&self, lane: &Arc<LaneInner>, step: &mut Step, layer: u32, kv: [Operand<'_>; 2]) -> Result<()> {
        let Rows::Prompt { slot, device, sent, .. } = &mut step.rows else { return Ok(()) };
        if let (Some(part), Some(share)) = (device, self.share(Side::Device, layer)) {
            self.append_on_device(lane, layer, &share, part, kv)?;
        }
        if let (Some(share), Some(link)) = (self.share(Side::Host, layer), &lane.link) {
            if share.slots.contains(slot) {
                sent[layer as usize] = Some(self.send(lane, link, layer, (&share, *slot), step.count, kv)?);
            }
        }
        Ok(())
    }

    /// Makes work that is queued on the lane's stream from now on wait until k and v of a layer of a prompt
    /// have gone down, so that it may overwrite them. Of a step, and of a layer of the device, they have no
    /// way to go.
    ///
    /// # Errors
    /// `Driver` when the stream cannot take it.
    pub fn wait_sent(&self, step: &Step, layer: u32) -> Result<()> {
        let Rows::Prompt { sent, .. } = &step.rows else { return Ok(()) };
        match sent.get(layer as usize) {
            Some(Some(sent)) => step.lane.inner.stream.wait_event(sent),
            _ => Ok(()),
        }
    }

    fn share(&self, side: Side, layer: u32) -> Option<Share> {
        self.placement().share(side, layer)
    }

    fn widths(&self) -> Widths {
        let RowBytes { q, k, v, o, .. } =
            RowBytes::of(self.placement().problem(), &Share::of_all(self.placement().problem()));
        Widths { q, k, v, o }
    }

    fn attend_new(
        &self,
        lane: &Arc<LaneInner>,
        layer: u32,
        count: u32,
        (device, host): (Option<&Part>, Option<&Arc<Part>>),
        args: &Args<'_>,
    ) -> Result<()> {
        let of_host = host.zip(self.share(Side::Host, layer)).zip(lane.link.as_ref());
        // The host first: its way is the longer one.
        let has_result = match &of_host {
            Some(((part, share), link)) => {
                self.step_on_host(lane, link, layer, (share, part), args)?;
                part.attends()
            }
            None => false,
        };
        let of_device = device.zip(self.share(Side::Device, layer));
        let merges = has_result && of_device.as_ref().is_some_and(|(_, share)| share.is_merged);
        if let Some((part, share)) = of_device {
            self.append_on_device(lane, layer, &share, part, [args.k, args.v])?;
            self.attend_on_device(lane, layer, (&share, part), args, merges)?;
        }
        if let Some((_, link)) = of_host {
            lane.stream.wait_event(&link.joined)?;
        }
        if merges {
            self.merge(lane, count, args)?;
        }
        Ok(())
    }

    /// q, k and v go down, the host appends and attends, o comes up.
    fn step_on_host(
        &self,
        lane: &Arc<LaneInner>,
        link: &Link,
        layer: u32,
        (share, part): (&Share, &Arc<Part>),
        args: &Args<'_>,
    ) -> Result<()> {
        let Some(cache) = self.cache(Side::Host, layer) else { return Ok(()) };
        let (problem, width, host) = (self.placement().problem(), self.widths(), &link.host);
        let (row, at) = (host.row, host.places());
        let first = u64::from(part.first_row);
        let first_head_k = u64::from(share.heads_k.start);
        let s = &problem.spec;
        let rows = |len: u64, pitch: u64| runtime::Rows {
            count: part.rows as usize,
            bytes: bytes(len),
            pitch: bytes(pitch),
        };
        let dims = [s.head_dim, s.head_dim_v].map(|dim| 2 * u64::from(dim));
        let head_k = |dim: u64| first_head_k * dim;
        let head = |dim: u64| first_head_k * u64::from(group(problem)) * dim;
        link.forked.record(&lane.stream)?;
        link.copies.wait_event(&link.forked)?;
        let (k, v) = (first * width.k + head_k(dims[0]), first * width.v + head_k(dims[1]));
        link.copies.copy_down(further(args.k, k), rows(row.k, width.k), (&host.rows, at.k))?;
        link.copies.copy_down(further(args.v, v), rows(row.v, width.v), (&host.rows, at.v))?;
        if part.attends() {
            let q = first * width.q + head(dims[0]);
            link.copies.copy_down(further(args.q, q), rows(row.q, width.q), (&host.rows, at.q))?;
        }
        let (own, operators) = (Arc::clone(host), Arc::clone(self.host_operators()));
        let (numbers, cache) = (Arc::clone(part), cache.clone());
        let model_s = self.placement().rates().host_step(part.keys * (row.k + row.v));
        link.copies.call_host(model_s, move || own.step(&operators, &numbers, &cache))?;
        if part.attends() && share.is_merged {
            let [_, o, _, lse, _] = &lane.parts;
            link.copies.copy_up((&host.rows, at.o), rows(row.o, row.o), o.into())?;
            link.copies.copy_up((&host.rows, at.lse), rows(row.lse, row.lse), lse.into())?;
        } else if part.attends() {
            let o = first * width.o + head(dims[1]);
            link.copies.copy_up((&host.rows, at.o), rows(row.o, width.o), further(args.o, o))?;
        }
        link.joined.record(&link.copies)
    }

    fn append_on_device(
        &self,
        lane: &LaneInner,
        layer: u32,
        share: &Share,
        part: &Part,
        [k, v]: [Operand<'_>; 2],
    ) -> Result<()> {
        let Some(cache) = self.cache(Side::Device, layer) else { return Ok(()) };
        let (s, width) = (&self.placement().problem().spec, self.widths());
        let (row, head) = (u64::from(part.first_row), u64::from(share.heads_k.start));
        let k = further(k, row * width.k + head * 2 * u64::from(s.head_dim));
        let v = further(v, row * width.v + head * 2 * u64::from(s.head_dim_v));
        let own = append::Args::new(k, v, lane.numbers(part.at.places), &cache.k, &cache.v);
        self.operators().append.launch(&lane.stream, &part.append, own)
    }

    fn attend_on_device(
        &self,
        lane: &LaneInner,
        layer: u32,
        (share, part): (&Share, &Part),
        args: &Args<'_>,
        merges: bool,
    ) -> Result<()> {
        let Some(cache) = self.cache(Side::Device, layer) else { return Ok(()) };
        let (problem, width) = (self.placement().problem(), self.widths());
        let s = &problem.spec;
        let head = u64::from(share.heads_k.start) * u64::from(group(problem));
        let row = u64::from(part.first_row);
        let q = further(args.q, row * width.q + head * 2 * u64::from(s.head_dim));
        let [o_part, _, lse_part, ..] = &lane.parts;
        let o = further(args.o, row * width.o + head * 2 * u64::from(s.head_dim_v));
        let o = if merges { o_part.into() } else { o };
        let lengths = lane.numbers(part.at.lengths);
        let mut own = serving::Args::new(q, &cache.k, &cache.v, lengths, o, &lane.workspace)
            .with_row_starts(lane.numbers(part.at.row_starts))
            .with_block_table(lane.numbers(part.at.table));
        if share.is_merged {
            own = own.with_lse(lse_part);
        }
        self.operators().attention.launch(&lane.stream, &part.attention, own)
    }

    /// Joins the parts of both sides.
    fn merge(&self, lane: &LaneInner, count: u32, args: &Args<'_>) -> Result<()> {
        let plan = merge::plan(&merging(self.placement().problem(), count), self.device().soc())?;
        let [o_device, o_host, lse_device, lse_host, lse] = &lane.parts;
        let (o_parts, lse_parts) = ([o_device.into(), o_host.into()], [lse_device.into(), lse_host.into()]);
        let own = merge::Args::new(&o_parts, &lse_parts, args.o, lse);
        self.operators().merge.launch(&lane.stream, &plan, own)
    }

    /// K and V of a prompt go down in chunks, and the host takes each while the next one comes. Returns what
    /// is reached when all have gone down.
    fn send(
        &self,
        lane: &LaneInner,
        link: &Link,
        layer: u32,
        (share, slot): (&Share, u32),
        count: u32,
        kv: [Operand<'_>; 2],
    ) -> Result<Event> {
        let (problem, width, host) = (self.placement().problem(), self.widths(), &link.host);
        link.forked.record(&lane.stream)?;
        link.copies.wait_event(&link.forked)?;
        let step = u32::try_from(host.chunk_rows).unwrap_or(u32::MAX).max(1);
        let mut chunks = link.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        for first in (0..count).step_by(step as usize) {
            let rows = step.min(count - first);
            let place = *chunks % 2;
            *chunks += 1;
            let Some(cache) = self.cache(Side::Host, layer).cloned() else { break };
            let append = append::plan(
                &share.append(problem, Side::Host, rows),
                self.host_operators().append.device().soc(),
            )?;
            let places =
                (first..first + rows).map(|key| share.place(problem, slot, key).cast_signed()).collect();
            let chunk = Chunk { place, places, append, cache };
            link.copies.wait_event(&link.taken[place])?;
            let s = &problem.spec;
            let at = |width: u64, dim: u32| {
                u64::from(first) * width + u64::from(share.heads_k.start) * 2 * u64::from(dim)
            };
            let (k, v) = (further(kv[0], at(width.k, s.head_dim)), further(kv[1], at(width.v, s.head_dim_v)));
            let of = |len: u64, pitch: u64| runtime::Rows {
                count: rows as usize,
                bytes: bytes(len),
                pitch: bytes(pitch),
            };
            let (staging, row) = (&host.chunks[place], host.row);
            link.copies.copy_down(k, of(row.k, width.k), (staging, 0))?;
            link.copies.copy_down(v, of(row.v, width.v), (staging, bytes(u64::from(rows) * row.k)))?;
            link.filled[place].record(&link.copies)?;
            link.takes.wait_event(&link.filled[place])?;
            let (own, operators) = (Arc::clone(host), Arc::clone(self.host_operators()));
            let model_s = self.placement().rates().host_take(u64::from(rows) * (row.k + row.v));
            link.takes.call_host(model_s, move || own.take(&operators, &chunk))?;
            link.taken[place].record(&link.takes)?;
        }
        let sent = self.event()?;
        sent.record(&link.copies)?;
        Ok(sent)
    }
}
