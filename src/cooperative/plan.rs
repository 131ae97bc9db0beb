//! From a problem, budgets and rates to a placement. Pure: no device, nothing is allocated.

use std::fmt;

use serde::Serialize;

use super::problem::{Division, LayerOrder, MAX_CHUNK_BYTES};
use super::rates::{LayerWork, PrefillTimes, Rates, StepTimes};
use super::share::{Share, Side};
use super::sizes::Sizes;
use super::Problem;
use crate::serving::{self, KvLayout};
use crate::spec::{Mask, Reason};
use crate::{Error, Result, Soc};

/// Most layers; each is looked at.
const MAX_LAYERS: u32 = 1 << 16;

/// Bytes that a store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Of the device's memory.
    pub device_bytes: u64,
    /// Of the host's memory.
    pub host_bytes: u64,
}

/// Bytes that a store takes on one side. Kernels and what belongs to them, some MB, come to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SideBytes {
    /// K and V.
    pub kv: u64,
    /// Everything else of all lanes: workspaces, numbers, and what crosses the link.
    pub other: u64,
}

impl SideBytes {
    /// All.
    pub fn total(&self) -> u64 {
        self.kv.saturating_add(self.other)
    }
}

/// A planned division; prints itself. [`Store::new`](super::Store::new) allocates what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    problem: Problem,
    soc: Soc,
    budget: Budget,
    rates: Rates,
    /// Layers, heads, slots, or pages of a slot that the device has.
    amount: u32,
    bytes: [SideBytes; 2],
}

/// Divides K and V between a device of this SoC and the host.
///
/// # Errors
/// One error with all reasons, each with the value given and the one wanted: `InvalidArgument` for numbers
/// that can never be right, `OutOfMemory` when a side has too few bytes, else `Unsupported`.
pub fn plan(problem: &Problem, soc: &Soc, budget: Budget, rates: &Rates) -> Result<Placement> {
    let what = format!("cooperative on {}", soc.name);
    let mut reasons = wrong_problem(problem, soc);
    reasons.extend(rates.refusals());
    Reason::refuse(&what, &reasons)?;
    let given = given_amount(problem);
    let placed = |amount| Placement::of(problem, soc, budget, rates, amount);
    let fits = |amount| Ok::<_, Error>(placed(amount)?.device_bytes().total() <= budget.device_bytes);
    let amount = match given {
        Some(amount) => amount,
        None => largest(least_amount(problem), whole(problem), fits)?,
    };
    let placement = placed(amount)?;
    placement.require_room(&what)?;
    Ok(placement)
}

/// The largest number for which `fits`, or `least`.
fn largest(least: u32, most: u32, fits: impl Fn(u32) -> Result<bool>) -> Result<u32> {
    if fits(most)? {
        return Ok(most);
    }
    let (mut fitting, mut beyond) = (least, most);
    while fitting + 1 < beyond {
        let middle = fitting + (beyond - fitting) / 2;
        if fits(middle)? {
            fitting = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(fitting)
}

/// All that the device can have.
fn whole(problem: &Problem) -> u32 {
    match problem.division {
        Division::Layers { .. } => problem.layers,
        Division::Heads { .. } => problem.spec.num_heads_k,
        Division::Sequences { .. } => problem.slots,
        Division::Positions { .. } => problem.max_keys.div_ceil(problem.page_size),
    }
}

/// The least that the device has: new rows see each other there.
fn least_amount(problem: &Problem) -> u32 {
    match problem.division {
        Division::Positions { .. } => {
            let keys = u64::from(problem.rows) + u64::from(problem.page_size) - 1;
            u32::try_from(keys.div_ceil(problem.page_size.into())).unwrap_or(u32::MAX).min(whole(problem))
        }
        _ => 0,
    }
}

/// What the problem says about it. `wrong_problem` has found the number to be possible.
fn given_amount(problem: &Problem) -> Option<u32> {
    match problem.division {
        Division::Layers { host, .. } => host.map(|host| problem.layers - host),
        Division::Heads { device } | Division::Sequences { device } => device,
        Division::Positions { window } => {
            window.map(|window| window.div_ceil(problem.page_size).min(whole(problem)))
        }
    }
}

fn wrong_problem(problem: &Problem, soc: &Soc) -> Vec<Reason> {
    let mut found = Vec::new();
    let counts = [
        ("layers", problem.layers),
        ("slots", problem.slots),
        ("max_keys", problem.max_keys),
        ("rows", problem.rows),
        ("page_size", problem.page_size),
        ("lanes", problem.lanes),
    ];
    for (name, _) in counts.into_iter().filter(|(_, value)| *value == 0) {
        found.push(Reason::invalid(format!("{name} = 0 given, at least 1 wanted")));
    }
    if problem.layers > MAX_LAYERS {
        found.push(Reason::unsupported(format!("layers = {} is more than {MAX_LAYERS}", problem.layers)));
    }
    for (name, rows) in [("rows", problem.rows), ("prefill_rows", problem.prefill_rows)] {
        if rows > problem.max_keys {
            let most = problem.max_keys;
            found.push(Reason::invalid(format!("{name} = {rows} given, at most max_keys = {most} wanted")));
        }
    }
    if !(1..MAX_CHUNK_BYTES).contains(&problem.chunk_bytes) {
        found.push(Reason::invalid(format!(
            "chunk_bytes = {} given, 1 to {} wanted",
            problem.chunk_bytes,
            MAX_CHUNK_BYTES - 1
        )));
    }
    if found.is_empty() {
        found.extend(wrong_division(problem));
        // Types, heads, dimensions and mask.
        let s = problem.spec;
        let kv = KvLayout::paged(problem.page_size, 1);
        let mut own = serving::Problem::new(s.dtype, [0, 1, s.num_heads, s.head_dim], 0, kv);
        own.spec = s;
        found.extend(own.refusals(soc));
    }
    found
}

fn wrong_division(problem: &Problem) -> Vec<Reason> {
    let (name, given, least, most) = match problem.division {
        Division::Layers { host, .. } => ("host layers", host, 0, problem.layers),
        Division::Heads { device } => ("device heads_k", device, 0, problem.spec.num_heads_k),
        Division::Sequences { device } => ("device slots", device, 0, problem.slots),
        Division::Positions { window } => {
            let least = least_amount(problem).saturating_mul(problem.page_size);
            ("window", window, least.min(problem.max_keys), u32::MAX)
        }
    };
    let mut found = Vec::new();
    if let Some(value) = given.filter(|value| !(least..=most).contains(value)) {
        let wanted =
            if most == u32::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
        found.push(Reason::invalid(format!("{name} = {value} given, {wanted} wanted")));
    }
    let mask = problem.spec.mask;
    if matches!(problem.division, Division::Positions { .. }) && mask != Mask::Causal {
        found.push(Reason::unsupported(format!("mask = {mask} divided by positions; supported: causal")));
    }
    found
}

impl Placement {
    fn of(problem: &Problem, soc: &Soc, budget: Budget, rates: &Rates, amount: u32) -> Result<Self> {
        let bytes = [SideBytes::default(); 2];
        let mut own = Self { problem: *problem, soc: soc.clone(), budget, rates: *rates, amount, bytes };
        let sizes = own.sizes()?;
        let lanes = u64::from(problem.lanes);
        let other = [sizes.device(), sizes.host()].map(|bytes| bytes.saturating_mul(lanes));
        for (i, side) in [Side::Device, Side::Host].into_iter().enumerate() {
            let kv = own.shares(side).map(|share| share.cache_bytes(problem).iter().sum::<u128>());
            let kv = kv.fold(0u128, u128::saturating_add);
            own.bytes[i] = SideBytes { kv: u64::try_from(kv).unwrap_or(u64::MAX), other: other[i] };
        }
        Ok(own)
    }

    /// What is kept. Its division is as it was given.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The SoC of the device.
    pub fn soc(&self) -> &Soc {
        &self.soc
    }

    /// The bytes that it may take.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// The rates that times are predicted by.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Bytes on the device.
    pub fn device_bytes(&self) -> SideBytes {
        self.bytes[0]
    }

    /// Bytes on the host. Numbers of further steps come to it when more than two of a lane are under way.
    pub fn host_bytes(&self) -> SideBytes {
        self.bytes[1]
    }

    /// The division, with its number.
    pub fn division(&self) -> Division {
        let (p, amount) = (&self.problem, self.amount);
        match p.division {
            Division::Layers { order, .. } => Division::Layers { order, host: Some(p.layers - amount) },
            Division::Heads { .. } => Division::Heads { device: Some(amount) },
            Division::Sequences { .. } => Division::Sequences { device: Some(amount) },
            Division::Positions { .. } => {
                Division::Positions { window: Some(amount.saturating_mul(p.page_size)) }
            }
        }
    }

    /// What a side has of a layer; `None`: nothing.
    pub fn share(&self, side: Side, layer: u32) -> Option<Share> {
        let (p, amount) = (&self.problem, self.amount);
        let (all, is_device) = (Share::of_all(p), side == Side::Device);
        let part = |amount: u32, all: u32| if is_device { 0..amount } else { amount..all };
        let share = match p.division {
            Division::Layers { order, .. } => {
                let on_device = match order {
                    LayerOrder::HostFirst => layer >= p.layers - amount,
                    LayerOrder::DeviceFirst => layer < amount,
                };
                return (layer < p.layers && on_device == is_device).then_some(all);
            }
            Division::Heads { .. } => Share { heads_k: part(amount, p.spec.num_heads_k), ..all },
            Division::Sequences { .. } => Share { slots: part(amount, p.slots), ..all },
            // A device that has all keys needs no host.
            Division::Positions { .. } if amount == whole(p) && is_device => all,
            Division::Positions { .. } if amount == whole(p) => return None,
            Division::Positions { .. } if is_device => {
                Share { pages_per_slot: amount, is_merged: true, ..all }
            }
            Division::Positions { .. } => Share { is_merged: true, ..all },
        };
        let is_empty = share.slots.is_empty() || share.heads_k.is_empty() || share.pages_per_slot == 0;
        (layer < p.layers && !is_empty).then_some(share)
    }

    fn shares(&self, side: Side) -> impl Iterator<Item = Share> + '_ {
        (0..self.problem.layers).filter_map(move |layer| self.share(side, layer))
    }

    /// What a lane needs.
    pub(super) fn sizes(&self) -> Result<Sizes> {
        let [device, host] = [Side::Device, Side::Host].map(|side| self.shares(side).next());
        Sizes::of(&self.problem, &self.soc, [device.as_ref(), host.as_ref()])
    }

    fn require_room(&self, what: &str) -> Result<()> {
        let sides = [
            ("device_bytes", self.budget.device_bytes, self.bytes[0]),
            ("host_bytes", self.budget.host_bytes, self.bytes[1]),
        ];
        let short = sides.into_iter().filter(|(_, given, wanted)| wanted.total() > *given);
        let reasons: Vec<String> = short
            .map(|(name, given, wanted)| {
                format!(
                    "{name} = {given} given, at least {} wanted ({} for K and V, {} for {} lanes)",
                    wanted.total(),
                    wanted.kv,
                    wanted.other,
                    self.problem.lanes
                )
            })
            .collect();
        if reasons.is_empty() {
            return Ok(());
        }
        let text = format!("{what}, {}: {}", Divided(self), reasons.join("; "));
        Err(Error::new(crate::ErrorKind::OutOfMemory, text))
    }

    /// Predicted times of a step in which each slot has one new row and `keys` keys with it.
    pub fn predict_step(&self, keys: u32) -> StepTimes {
        let layers: Vec<_> = (0..self.problem.layers).map(|layer| self.layer_work(layer, keys)).collect();
        self.rates.step(&layers, self.problem.lanes)
    }

    fn layer_work(&self, layer: u32, keys: u32) -> LayerWork {
        let (p, keys) = (&self.problem, u128::from(keys.min(self.problem.max_keys)));
        let bytes = |share: &Share, keys: u128| u128::from(share.num_slots()) * keys * share.key_bytes(p);
        let mut work = LayerWork { all: bytes(&Share::of_all(p), keys), ..LayerWork::default() };
        let mut of_host = keys;
        if let Some(device) = self.share(Side::Device, layer) {
            let room = u128::from(device.pages_per_slot) * u128::from(p.page_size);
            // Of a full window the page is lost that is written next.
            let on_device =
                if keys <= room { keys } else { keys - (keys - room).next_multiple_of(p.page_size.into()) };
            work.device = bytes(&device, on_device);
            if device.is_merged {
                of_host = keys - on_device;
            }
        }
        if let Some(host) = self.share(Side::Host, layer) {
            let row = super::sizes::RowBytes::of(p, &host);
            let slots = u128::from(host.num_slots());
            work.host = bytes(&host, of_host);
            // Without keys of its own the host only takes the new ones.
            let attends = of_host > 0;
            work.down = slots * u128::from(if attends { row.down() } else { row.k + row.v });
            work.up = if attends { slots * u128::from(row.up()) } else { 0 };
        }
        work
    }

    /// Predicted times of a prefill of `rows` rows of one sequence, all layers.
    pub fn predict_prefill(&self, rows: u32) -> PrefillTimes {
        let p = &self.problem;
        let rows = rows.min(p.max_keys);
        let flops = prompt_flops(p, rows) * u128::from(p.layers);
        let rows = u128::from(rows);
        let down = self.shares(Side::Host).map(|share| rows * share.key_bytes(p)).sum();
        self.rates.prefill(flops, down)
    }
}

/// Products and sums of a prompt in one layer. Under the diagonal half of the scores count.
pub(super) fn prompt_flops(problem: &Problem, rows: u32) -> u128 {
    let (s, rows) = (&problem.spec, u128::from(rows));
    let dims = u128::from(s.head_dim) + u128::from(s.head_dim_v);
    let scores = if s.mask == Mask::None { rows * rows } else { rows * (rows + 1) / 2 };
    2 * scores * dims * u128::from(s.num_heads)
}

/// In words who has what.
struct Divided<'a>(&'a Placement);

impl fmt::Display for Divided<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p, amount) = (&self.0.problem, self.0.amount);
        match p.division {
            Division::Layers { order, .. } => {
                let first = if order == LayerOrder::HostFirst { "the host" } else { "the device" };
                write!(f, "{} of {} layers on the host, {first}'s first", p.layers - amount, p.layers)
            }
            Division::Heads { .. } => write!(f, "{amount} of {} heads_k on the device", p.spec.num_heads_k),
            Division::Sequences { .. } => write!(f, "{amount} of {} slots on the device", p.slots),
            Division::Positions { .. } => {
                write!(f, "the last {} keys on the device", u64::from(amount) * u64::from(p.page_size))
            }
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p, s) = (&self.problem, &self.problem.spec);
        writeln!(
            f,
            "cooperative {} on {}: {} layers, slots {}, max_keys {}, rows {}, num_heads {}, num_heads_k {}, head_dim {}, \
             head_dim_v {}, mask {}, pages of {}",
            s.dtype,
            self.soc.name,
            p.layers,
            p.slots,
            p.max_keys,
            p.rows,
            s.num_heads,
            s.num_heads_k,
            s.head_dim,
            s.head_dim_v,
            s.mask,
            p.page_size
        )?;
        writeln!(f, "placement: {}", Divided(self))?;
        for (name, bytes, given) in [
            ("device", self.bytes[0], self.budget.device_bytes),
            ("host", self.bytes[1], self.budget.host_bytes),
        ] {
            let SideBytes { kv, other } = bytes;
            writeln!(f, "{name}: {kv} bytes of K and V, {other} of {} lanes, {given} given", p.lanes)?;
        }
        let ms = |s: f64| s * 1e3;
        let t = self.predict_step(p.max_keys);
        write!(
            f,
            "predicted step at {} keys: {:.3} ms alone, {:.3} ms with {} lanes (device {:.3}, host {:.3}, link {:.3}); \
             upload {:.3}, all on device {:.3}",
            p.max_keys,
            ms(t.alone_s),
            ms(t.lanes_s),
            p.lanes,
            ms(t.device_s),
            ms(t.host_s),
            ms(t.link_s),
            ms(t.upload_s),
            ms(t.all_on_device_s)
        )
    }
}
