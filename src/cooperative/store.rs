//! The store: caches of all layers on both sides, and how long each sequence is.

use std::sync::{Arc, Weak};

use super::host::{Cache, HostOperators, Shared};
use super::lane::{bytes, require_generation, settle, Lane, LaneInner};
use super::plan::Placement;
use super::queue::{Rows, Step};
use super::relocate::{relocate, Sequence};
use super::share::{Share, Side};
use super::step::{window_start, Entry, Part};
use crate::append::Append;
use crate::attention::{self, FlashAttention};
use crate::merge::Merge;
use crate::runtime::{Buffer, Device, Event, Stream};
use crate::serving::ServingAttention;
use crate::{Error, Result};

/// The operators on the device.
#[derive(Debug)]
pub(super) struct DeviceOperators {
    pub(super) attention: ServingAttention,
    pub(super) prefill: FlashAttention,
    pub(super) append: Append,
    pub(super) merge: Merge,
}

/// A sequence.
#[derive(Debug, Default)]
struct Slot {
    keys: u32,
    /// First key of the device's window.
    window_start: u32,
    /// Of the lane that has queued work on it last.
    streams: Option<Arc<[Stream]>>,
}

/// K and V of all layers, divided as a [`Placement`] says.
///
/// Methods that change lengths take it `&mut`: [`Self::step`], [`Self::prefill`], [`Self::truncate`]. They
/// refuse what cannot be before anything changes. [`Self::attend`] queues the work of one layer.
#[derive(Debug)]
pub struct Store {
    placement: Placement,
    device: Device,
    host: Device,
    generation: u64,
    operators: DeviceOperators,
    host_operators: Shared,
    /// Of each layer, on the device and on the host.
    caches: Vec<[Option<Cache>; 2]>,
    slots: Vec<Slot>,
    lanes: Vec<Weak<LaneInner>>,
}

impl Store {
    /// Allocates K and V, not cleared, and loads the kernels. `host` is a device `cpu:N`; its kernels attend
    /// to what the host has.
    ///
    /// # Errors
    /// `InvalidArgument` for a device or a host that plans for another SoC than the placement's, and for a
    /// host that is no device `cpu:N`; `OutOfMemory` when a side has less memory than planned; else as the
    /// operators' `new`.
    pub fn new(device: &Device, host: &Device, placement: &Placement) -> Result<Self> {
        for device in [device, host] {
            device.require_planned_for(placement.soc(), "cooperative Store::new")?;
        }
        if !host.runs_on_host() {
            return Err(Error::invalid(format!(
                "cooperative Store::new: host = {} given, a device cpu:N wanted",
                host.name()
            )));
        }
        let operators = DeviceOperators {
            attention: ServingAttention::new(device)?,
            prefill: FlashAttention::new(device)?,
            append: Append::new(device)?,
            merge: Merge::new(device)?,
        };
        let host_operators =
            HostOperators { attention: ServingAttention::new(host)?, append: Append::new(host)? };
        let mut store = Self {
            placement: placement.clone(),
            device: device.clone(),
            host: host.clone(),
            generation: 0,
            operators,
            host_operators: Arc::new(host_operators),
            caches: Vec::new(),
            slots: Vec::new(),
            lanes: Vec::new(),
        };
        store.caches = store.allocate(placement, |_, _| None)?;
        store.slots.resize_with(placement.problem().slots as usize, Slot::default);
        Ok(store)
    }

    /// Caches of a placement; those that `reuse` has are not allocated.
    pub(super) fn allocate(
        &self,
        placement: &Placement,
        reuse: impl Fn(u32, Side) -> Option<Cache>,
    ) -> Result<Vec<[Option<Cache>; 2]>> {
        let problem = placement.problem();
        let cache = |layer: u32, side: Side| -> Result<Option<Cache>> {
            let Some(share) = placement.share(side, layer) else { return Ok(None) };
            if let Some(cache) = reuse(layer, side) {
                return Ok(Some(cache));
            }
            let device = if side == Side::Device { &self.device } else { &self.host };
            let [k, v] = share.cache_bytes(problem).map(|len| u64::try_from(len).unwrap_or(u64::MAX));
            Ok(Some(Cache { k: Buffer::alloc(device, bytes(k))?, v: Buffer::alloc(device, bytes(v))? }))
        };
        let layers = 0..problem.layers;
        layers.map(|layer| Ok([cache(layer, Side::Device)?, cache(layer, Side::Host)?])).collect()
    }

    /// Its division.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Keys of a sequence, those of steps that were queued included.
    ///
    /// # Errors
    /// `InvalidArgument` for a slot that there is not.
    pub fn keys(&self, slot: u32) -> Result<u32> {
        self.require_slot("keys", slot)?;
        Ok(self.slots[slot as usize].keys)
    }

    fn require_slot(&self, what: &str, slot: u32) -> Result<()> {
        let slots = self.placement.problem().slots;
        if slot < slots {
            return Ok(());
        }
        Err(Error::invalid(format!("cooperative {what}: slot = {slot} given, one below {slots} wanted")))
    }

    /// Makes a lane whose part on the device runs on `stream`. As many may be alive as were planned, and
    /// their steps with them.
    ///
    /// # Errors
    /// `InvalidArgument` for a stream of another device, and for more lanes than planned; `OutOfMemory`;
    /// `Driver`.
    pub fn lane(&mut self, stream: &Stream) -> Result<Lane> {
        self.device.require_same(stream.device(), "a stream")?;
        self.lanes.retain(|lane| lane.strong_count() > 0);
        let most = self.placement.problem().lanes;
        if self.lanes.len() >= most as usize {
            return Err(Error::invalid(format!(
                "cooperative Store::lane: one more than {most} lanes given, lanes = {most} was planned"
            )));
        }
        let has_host = self.caches.iter().any(|[_, host]| host.is_some());
        let host = has_host.then_some(&self.host);
        let sizes = self.placement.sizes()?;
        let inner = Arc::new(LaneInner::new(&self.device, host, stream, &sizes, self.generation)?);
        self.lanes.push(Arc::downgrade(&inner));
        Ok(Lane { inner })
    }

    /// Begins a step: `rows` are slots, each with the number of its new rows, in the order of the slots.
    /// [`Self::attend`] then takes rows of q, k and v in this order, without gaps, layer by layer.
    ///
    /// Numbers of the step are queued on the lane's stream, and nothing is waited for. Steps of a lane follow
    /// each other: all layers of one, then the next.
    ///
    /// # Errors
    /// `InvalidArgument` for a lane from before [`Self::change`], for slots that there are not, twice or
    /// in another order, for no rows or more than planned, and for a sequence that would get too long;
    /// `OutOfMemory`, `Driver`. Lengths are then as they were.
    pub fn step(&mut self, lane: &Lane, rows: &[(u32, u32)]) -> Result<Step> {
        let entries = self.entries("Store::step", rows, self.placement.problem().rows)?;
        let parts = self.parts(&entries)?;
        self.order(&lane.inner, &entries)?;
        if let Some(part) = &parts[0] {
            lane.inner.send_numbers(part)?;
        }
        let number = self.grow(&lane.inner, &entries);
        let [device, host] = parts;
        let count = entries.iter().map(|entry| entry.rows).sum();
        Ok(Step {
            lane: lane.clone(),
            count,
            generation: self.generation,
            number,
            rows: Rows::New { device, host: host.map(Arc::new) },
        })
    }

    /// Begins a prompt of `rows` rows, for a slot without keys. The device attends to it, and K and V of the
    /// host go down behind that. [`Self::attend`] takes its rows of q, k and v, layer by layer.
    ///
    /// # Errors
    /// As [`Self::step`]; `InvalidArgument` for a slot that has keys.
    pub fn prefill(&mut self, lane: &Lane, slot: u32, rows: u32) -> Result<Step> {
        let problem = *self.placement.problem();
        let entry = self.prompt("Store::prefill", (slot, rows))?;
        let attention = attention::plan(&super::sizes::prefill(&problem, rows), self.device.soc())?;
        self.begin_prompt(lane, entry, Some(Box::new(attention)))
    }

    /// Begins to take over `rows` keys that were computed elsewhere, by another machine or before, for a slot
    /// without keys. [`Self::import_layer`] then takes k and v, layer by layer. There may be as many as a
    /// prompt may have rows.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn import(&mut self, lane: &Lane, slot: u32, rows: u32) -> Result<Step> {
        let entry = self.prompt("Store::import", (slot, rows))?;
        self.begin_prompt(lane, entry, None)
    }

    /// The rows of a prompt.
    fn prompt(&self, what: &str, (slot, rows): (u32, u32)) -> Result<Entry> {
        let entry = self.entries(what, &[(slot, rows)], self.placement.problem().prefill_rows)?[0];
        if entry.keys > 0 {
            return Err(Error::invalid(format!(
                "cooperative {what}: slot {slot} with {} keys given, one without keys wanted",
                entry.keys
            )));
        }
        Ok(entry)
    }

    fn begin_prompt(
        &mut self,
        lane: &Lane,
        entry: Entry,
        attention: Option<Box<attention::Plan>>,
    ) -> Result<Step> {
        let (entries, problem) = ([entry], *self.placement.problem());
        let [device, _] = self.shares();
        let device = device.map(|share| self.prompt_part(&share, entry)).transpose()?.flatten();
        self.order(&lane.inner, &entries)?;
        if let Some(part) = &device {
            lane.inner.send_numbers(part)?;
        }
        let number = self.grow(&lane.inner, &entries);
        let sent = (0..problem.layers).map(|_| None).collect();
        let rows_of = Rows::Prompt { slot: entry.slot, attention, device, sent };
        Ok(Step { lane: lane.clone(), count: entry.rows, generation: self.generation, number, rows: rows_of })
    }

    /// The rows of a prompt that the device keeps.
    fn prompt_part(&self, share: &Share, entry: Entry) -> Result<Option<Part>> {
        let kept = Entry { keys: entry.window_start, rows: entry.len() - entry.window_start, ..entry };
        Part::of_rows(self.placement.problem(), self.device.soc(), share, kept)
    }

    /// Shares of a side are alike in all layers that it has.
    fn shares(&self) -> [Option<Share>; 2] {
        let layers = 0..self.placement.problem().layers;
        [Side::Device, Side::Host]
            .map(|side| layers.clone().find_map(|layer| self.placement.share(side, layer)))
    }

    fn parts(&self, entries: &[Entry]) -> Result<[Option<Part>; 2]> {
        let problem = self.placement.problem();
        let [device, host] = self.shares();
        let part = |side, share: Option<Share>, soc| match share {
            Some(share) => Part::of(problem, soc, side, &share, entries),
            None => Ok(None),
        };
        Ok([part(Side::Device, device, self.device.soc())?, part(Side::Host, host, self.host.soc())?])
    }

    fn entries(&self, what: &str, rows: &[(u32, u32)], most: u32) -> Result<Vec<Entry>> {
        let problem = self.placement.problem();
        let [device, _] = self.shares();
        let mut entries: Vec<Entry> = Vec::with_capacity(rows.len());
        let wrong = |text: String| Err(Error::invalid(format!("cooperative {what}: {text}")));
        for &(slot, rows) in rows {
            self.require_slot(what, slot)?;
            if let Some(last) = entries.last().filter(|last| last.slot >= slot) {
                return wrong(format!("slot {slot} behind slot {} given, rising slots wanted", last.slot));
            }
            if !(1..=most).contains(&rows) {
                return wrong(format!("{rows} rows of slot {slot} given, 1 to {most} wanted"));
            }
            let own = &self.slots[slot as usize];
            if rows > problem.max_keys - own.keys {
                return wrong(format!(
                    "{rows} rows of slot {slot} behind {} keys given, room is for {}",
                    own.keys, problem.max_keys
                ));
            }
            let mut entry = Entry { slot, keys: own.keys, rows, window_start: own.window_start };
            if let Some(share) = device.as_ref().filter(|share| share.is_merged) {
                entry.window_start = window_start(share, problem.page_size, entry.len(), own.window_start);
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return wrong("no slots given, at least one wanted".into());
        }
        Ok(entries)
    }

    /// Puts a lane behind those that have used its sequences last, and the host's part behind chunks under
    /// way.
    fn order(&self, lane: &Arc<LaneInner>, entries: &[Entry]) -> Result<()> {
        require_generation(lane, self.generation)?;
        let mut behind: Vec<&Arc<[Stream]>> = Vec::new();
        for entry in entries {
            let Some(last) = &self.slots[entry.slot as usize].streams else { continue };
            if !Arc::ptr_eq(last, &lane.streams) && !behind.iter().any(|other| Arc::ptr_eq(other, last)) {
                behind.push(last);
            }
        }
        for other in behind {
            lane.wait_for(other)?;
        }
        let Some(link) = &lane.link else { return Ok(()) };
        link.done.record(&link.takes)?;
        link.copies.wait_event(&link.done)
    }

    /// Returns the number of the step that begins.
    fn grow(&mut self, lane: &Arc<LaneInner>, entries: &[Entry]) -> u64 {
        for entry in entries {
            let slot = &mut self.slots[entry.slot as usize];
            slot.keys = entry.len();
            slot.window_start = entry.window_start;
            slot.streams = Some(Arc::clone(&lane.streams));
        }
        let mut turn = lane.turn();
        *turn += 1;
        *turn
    }

    /// Shortens a sequence to its first `keys` keys: after a step that went wrong, or whose rows were not
    /// accepted. 0 frees the slot. Nothing is waited for; what was queued before still reads what it was to.
    ///
    /// # Errors
    /// `InvalidArgument` for a slot that there is not, for more keys than it has, and for keys that end
    /// before the device's window.
    pub fn truncate(&mut self, slot: u32, keys: u32) -> Result<()> {
        self.require_slot("Store::truncate", slot)?;
        let own = &mut self.slots[slot as usize];
        if keys != 0 && !(own.window_start..=own.keys).contains(&keys) {
            let (first, last) = (own.window_start, own.keys);
            return Err(Error::invalid(format!(
                "cooperative Store::truncate: {keys} keys of slot {slot} given, 0 or {first} to {last} wanted"
            )));
        }
        own.keys = keys;
        if keys == 0 {
            own.window_start = 0;
        }
        Ok(())
    }

    /// Divides K and V anew, by another placement of the same problem; its division and the bytes may differ.
    /// Waits for all lanes. Lanes and steps from before are of no use from then on: drop the lanes, and make
    /// new ones.
    ///
    /// What changes its place is allocated before anything is freed, layers that stay as they are excepted.
    ///
    /// # Errors
    /// `InvalidArgument` for another problem or SoC; `OutOfMemory`; `Driver`. The store is then as it was,
    /// and its lanes go on.
    pub fn change(&mut self, placement: &Placement) -> Result<()> {
        let [own, new] = [&self.placement, placement].map(|placement| placement.problem());
        if own.with_division(new.division) != *new || self.placement.soc() != placement.soc() {
            return Err(Error::invalid(
                "cooperative Store::change: a placement of another problem or SoC given, one of the store's wanted",
            ));
        }
        let stays = |layer, side| {
            let same = self.placement.share(side, layer) == placement.share(side, layer);
            self.cache(side, layer).filter(|_| same).cloned()
        };
        let caches = self.allocate(placement, stays)?;
        self.lanes.iter().filter_map(Weak::upgrade).for_each(|lane| settle(&lane.streams));
        self.slots.iter().filter_map(|slot| slot.streams.as_deref()).for_each(settle);
        let ring = (0..placement.problem().layers)
            .find_map(|layer| placement.share(Side::Device, layer).filter(|share| share.is_merged));
        let page_size = placement.problem().page_size;
        // A window that stays has lost what lay before it; a new one is filled from the host.
        let has_same = ring.is_some() && self.shares()[0] == ring;
        let start = |slot: &Slot| {
            let before = if has_same { slot.window_start } else { 0 };
            ring.as_ref().map_or(0, |share| window_start(share, page_size, slot.keys, before))
        };
        let starts: Vec<u32> = self.slots.iter().map(start).collect();
        let sequences: Vec<Sequence> = (0u32..)
            .zip(self.slots.iter().zip(&starts))
            .map(|(slot, (own, start))| Sequence {
                slot,
                keys: own.keys,
                window_starts: [own.window_start, *start],
            })
            .collect();
        relocate([&self.placement, placement], [&self.caches, &caches], &sequences)?;
        for (slot, start) in self.slots.iter_mut().zip(starts) {
            (slot.window_start, slot.streams) = (start, None);
        }
        self.caches = caches;
        self.placement = placement.clone();
        self.generation += 1;
        self.lanes.clear();
        Ok(())
    }

    pub(super) fn operators(&self) -> &DeviceOperators {
        &self.operators
    }

    pub(super) fn host_operators(&self) -> &Shared {
        &self.host_operators
    }

    pub(super) fn cache(&self, side: Side, layer: u32) -> Option<&Cache> {
        let side = usize::from(side == Side::Host);
        self.caches.get(layer as usize)?[side].as_ref()
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn require_current(&self, step: &Step) -> Result<()> {
        require_generation(&step.lane.inner, self.generation).and(if step.generation == self.generation {
            Ok(())
        } else {
            Err(Error::invalid("a step from before the budget changed given, one begun since wanted"))
        })
    }

    /// An event of the device.
    pub(super) fn event(&self) -> Result<Event> {
        Event::new(&self.device)
    }
}
