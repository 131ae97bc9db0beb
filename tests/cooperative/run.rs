//! A model whose rows of q, k and v follow from layer, slot and position, on a store.

use fastattention::cooperative::{
    plan, Args, Budget, Division, Lane, LayerOrder, Placement, Problem, Rates, Step, Store,
};
use fastattention::reference::{attention, same_precision, Params, Tensor};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::{cpu, DType, Result, Soc};
use fastattention_testkit::compare::{check_o, unit};
use half::f16;

pub(crate) const GIVEN: Rates = Rates {
    down_bytes_per_s: 2e10,
    up_bytes_per_s: 2e10,
    latency_s: 2e-5,
    host_bytes_per_s: 1e11,
    device_bytes_per_s: 1e12,
    device_flops_per_s: 1e14,
};

pub(crate) const PLENTY: Budget = Budget { device_bytes: 1 << 36, host_bytes: 1 << 36 };

pub(crate) fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

/// A device on the host's cores with so much memory.
pub(crate) fn host_with(memory_bytes: u64) -> Device {
    let mut config = cpu::Config::new(soc()).unwrap();
    config.threads = std::num::NonZeroUsize::new(1);
    config.memory_bytes = memory_bytes;
    Device::host(config).unwrap()
}

pub(crate) fn host() -> Device {
    host_with(1 << 34)
}

/// Every kind of division, for 4 layers, 3 slots and 4 heads of K and V.
pub(crate) fn divisions() -> Vec<Division> {
    let layers = |order, host| Division::Layers { order, host: Some(host) };
    let by_layers =
        (0..=4).flat_map(|n| [layers(LayerOrder::HostFirst, n), layers(LayerOrder::DeviceFirst, n)]);
    let by_heads = [0, 1, 3].map(|n| Division::Heads { device: Some(n) });
    let by_slots = [0, 1, 2].map(|n| Division::Sequences { device: Some(n) });
    by_layers.chain(by_heads).chain(by_slots).collect()
}

pub(crate) fn placed(problem: &Problem) -> Placement {
    plan(problem, soc(), PLENTY, &GIVEN).unwrap()
}

/// What a row is.
#[derive(Clone, Copy)]
enum Row {
    Q,
    K,
    V,
}

/// One row of all heads; the same whenever it is asked for.
fn row(what: Row, problem: &Problem, layer: u32, slot: u32, position: u32) -> Vec<f16> {
    let s = &problem.spec;
    let (number, len) = match what {
        Row::Q => (0u64, s.num_heads * s.head_dim),
        Row::K => (1, s.num_heads_k * s.head_dim),
        Row::V => (2, s.num_heads_k * s.head_dim_v),
    };
    let seed = [u64::from(layer), u64::from(slot), u64::from(position)]
        .iter()
        .fold(number, |seed, n| seed * 4099 + n);
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| f16::from_f32(2.0 * rng.f32() - 1.0)).collect()
}

/// A step under way.
pub(crate) struct Pending {
    lane: usize,
    /// Slots, keys before, new rows.
    rows: Vec<[u32; 3]>,
    outputs: Vec<Buffer>,
}

/// o of each layer.
pub(crate) struct Done {
    pub(crate) rows: Vec<[u32; 3]>,
    pub(crate) outputs: Vec<Vec<f16>>,
}

pub(crate) struct Run {
    pub(crate) store: Store,
    pub(crate) problem: Problem,
    pub(crate) device: Device,
    pub(crate) lanes: Vec<(Stream, Lane)>,
}

impl Run {
    pub(crate) fn new(device: &Device, host: &Device, placement: &Placement) -> Result<Run> {
        let mut store = Store::new(device, host, placement)?;
        let lanes = lanes(device, &mut store)?;
        Ok(Run { store, problem: *placement.problem(), device: device.clone(), lanes })
    }

    /// Divides anew.
    pub(crate) fn change(&mut self, placement: &Placement) -> Result<()> {
        self.store.change(placement)?;
        self.problem = *placement.problem();
        self.lanes = lanes(&self.device, &mut self.store)?;
        Ok(())
    }

    fn step(&mut self, lane: usize, rows: &[(u32, u32)], is_prompt: bool) -> Result<Step> {
        let lane = &self.lanes[lane].1;
        match is_prompt {
            true => self.store.prefill(lane, rows[0].0, rows[0].1),
            false => self.store.step(lane, rows),
        }
    }

    /// Takes over so many keys of a slot.
    pub(crate) fn import(&mut self, lane: usize, slot: u32, rows: u32) -> Result<()> {
        let mut step = self.store.import(&self.lanes[lane].1, slot, rows)?;
        for layer in 0..self.problem.layers {
            let [k, v] = [Row::K, Row::V].map(|what| {
                let data: Vec<f16> =
                    (0..rows).flat_map(|p| row(what, &self.problem, layer, slot, p)).collect();
                Buffer::from_slice(&self.device, &data)
            });
            self.store.import_layer(&mut step, layer, &k?, &v?)?;
        }
        self.lanes[lane].0.synchronize()
    }

    /// Queues all layers of a step.
    pub(crate) fn queue(&mut self, lane: usize, rows: &[(u32, u32)], is_prompt: bool) -> Result<Pending> {
        let with_keys = rows.iter().map(|&(slot, n)| [slot, self.store.keys(slot).unwrap_or(0), n]);
        let with_keys: Vec<[u32; 3]> = with_keys.collect();
        let mut step = self.step(lane, rows, is_prompt)?;
        let mut outputs = Vec::new();
        for layer in 0..self.problem.layers {
            let data = |what| -> Vec<f16> {
                let positions =
                    with_keys.iter().flat_map(|&[slot, keys, n]| (keys..keys + n).map(move |p| (slot, p)));
                positions.flat_map(|(slot, p)| row(what, &self.problem, layer, slot, p)).collect()
            };
            let [q, k, v] =
                [Row::Q, Row::K, Row::V].map(|what| Buffer::from_slice(&self.device, &data(what)));
            let (q, k, v) = (q?, k?, v?);
            let s = &self.problem.spec;
            let width = (s.num_heads * s.head_dim_v) as usize;
            let count: u32 = rows.iter().map(|(_, n)| n).sum();
            let o = Buffer::alloc(&self.device, 2 * width * count as usize)?;
            self.store.attend(&mut step, layer, Args::new(&q, &k, &v, &o))?;
            outputs.push(o);
        }
        Ok(Pending { lane, rows: with_keys, outputs })
    }

    pub(crate) fn finish(&self, pending: Pending) -> Result<Done> {
        self.lanes[pending.lane].0.synchronize()?;
        let outputs = pending.outputs.iter().map(Buffer::to_vec).collect::<Result<_>>()?;
        Ok(Done { rows: pending.rows, outputs })
    }

    pub(crate) fn run(&mut self, lane: usize, rows: &[(u32, u32)], is_prompt: bool) -> Result<Done> {
        let pending = self.queue(lane, rows, is_prompt)?;
        self.finish(pending)
    }
}

fn lanes(device: &Device, store: &mut Store) -> Result<Vec<(Stream, Lane)>> {
    let count = store.placement().problem().lanes;
    let lane = |_| {
        let stream = Stream::new(device)?;
        let lane = store.lane(&stream)?;
        Ok((stream, lane))
    };
    (0..count).map(lane).collect()
}

impl Done {
    pub(crate) fn bits(&self) -> Vec<u16> {
        self.outputs.iter().flatten().map(|x| x.to_bits()).collect()
    }

    /// Against f64, by the rule of tolerances.
    pub(crate) fn check(&self, problem: &Problem) {
        let s = &problem.spec;
        let width = (s.num_heads * s.head_dim_v) as usize;
        for (layer, o) in self.outputs.iter().enumerate() {
            let mut at = 0;
            for &[slot, keys, n] in &self.rows {
                let of = |what, positions: std::ops::Range<u32>| -> Vec<f16> {
                    positions.flat_map(|p| row(what, problem, layer as u32, slot, p)).collect()
                };
                let len = keys + n;
                let (q, k, v) = (of(Row::Q, keys..len), of(Row::K, 0..len), of(Row::V, 0..len));
                let got = &o[at..at + n as usize * width];
                at += n as usize * width;
                check_sequence(problem, [n as usize, len as usize], [&q, &k, &v], got);
            }
        }
    }
}

fn check_sequence(problem: &Problem, [rows, keys]: [usize; 2], [q, k, v]: [&[f16]; 3], got: &[f16]) {
    let s = &problem.spec;
    let [heads, heads_k, dim, dim_v] =
        [s.num_heads, s.num_heads_k, s.head_dim, s.head_dim_v].map(|n| n as usize);
    let params = Params {
        batch: 1,
        num_heads: heads,
        num_heads_k: heads_k,
        head_dim: dim,
        head_dim_v: dim_v,
        seqlen_q: rows,
        seqlen_k: keys,
        softmax_scale: 1.0 / f64::from(s.head_dim).sqrt(),
        mask: s.mask,
    };
    let wide = |x: &[f16]| x.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let (q64, k64, v64) = (wide(q), wide(k), wide(v));
    let exact = attention(
        &params,
        Tensor::dense(&q64, rows, heads, dim),
        Tensor::dense(&k64, keys, heads_k, dim),
        Tensor::dense(&v64, keys, heads_k, dim_v),
    );
    let plain = same_precision(
        &params,
        Tensor::dense(q, rows, heads, dim),
        Tensor::dense(k, keys, heads_k, dim),
        Tensor::dense(v, keys, heads_k, dim_v),
    );
    check_o(&wide(got), &exact.o, &plain.o, unit(DType::F16), [1, rows, heads, dim_v]).unwrap();
}
