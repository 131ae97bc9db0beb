//! Attention, projection and AllReduce over simulated ranks: against f64, for any blocks the same bits, and
//! what goes wrong.

mod failures;
mod fused;
mod layer;
mod model_time;
mod results;
mod schedules;

use std::time::Duration;

use fastattention::parallel::{Args, AttentionArgs, LinearArgs, Plan, TilingAllReduce};
use fastattention::runtime::{Buffer, Communicator, Device, Stream};
use fastattention::sim::{Config, HcclConfig};
use fastattention::{Result, Soc};
use fastattention_testkit::device::{devices, SOC};

use layer::{Layer, Values};

/// How long ranks wait for each other where they need not.
const PATIENT: Duration = Duration::from_secs(60);

/// Of simulated devices, where times, texts and failures are those of one SoC.
fn soc() -> &'static Soc {
    Soc::by_name(SOC).unwrap()
}

/// Ranks that wait for each other so long, and are not looked at for races.
fn configure(config: &mut Config, exec_timeout: Duration) {
    config.check_races = false;
    config.hccl = HcclConfig {
        exec_timeout: Some(exec_timeout),
        connect_timeout: Some(PATIENT),
        ..HcclConfig::default()
    };
}

/// One operator a rank, each on a device of its own.
fn operators(devices: &[Device]) -> Vec<TilingAllReduce> {
    if let [device] = devices {
        return vec![TilingAllReduce::alone(device).unwrap()];
    }
    let communicators = Communicator::init_all(devices).unwrap();
    communicators.into_iter().map(|c| TilingAllReduce::new(c).unwrap()).collect()
}

/// What one rank launches on.
struct Rank {
    operator: TilingAllReduce,
    buffers: Buffers,
    stream: Stream,
}

struct Buffers {
    q: Buffer,
    k: Buffer,
    v: Buffer,
    o: Buffer,
    weight: Buffer,
    y: Buffer,
    workspace: Buffer,
}

impl Buffers {
    /// For a device that keeps time only.
    fn without_data(device: &Device, plan: &Plan) -> Buffers {
        let alloc = |bytes: u64| Buffer::alloc(device, bytes.max(1) as usize).unwrap();
        let [q, k, v, o, y] = plan.operand_bytes().map(alloc);
        Buffers {
            q,
            k,
            v,
            o,
            y,
            weight: alloc(plan.weight_bytes()),
            workspace: alloc(plan.workspace_bytes()),
        }
    }

    fn new<T: Values>(device: &Device, layer: &Layer<T>, plan: &Plan, rank: u32) -> Buffers {
        let upload = |values: &[T]| Buffer::from_slice(device, values).unwrap();
        let alloc = |bytes: u64| Buffer::alloc(device, bytes.max(1) as usize).unwrap();
        let [.., o, y] = plan.operand_bytes();
        let shard = layer.shard(rank);
        Buffers {
            q: upload(&shard.q),
            k: upload(&shard.k),
            v: upload(&shard.v),
            o: if layer.problem.has_attention { alloc(o) } else { upload(&shard.o) },
            weight: upload(&shard.weight),
            y: alloc(y),
            workspace: alloc(plan.workspace_bytes()),
        }
    }

    fn args(&self, plan: &Plan) -> Args<'_> {
        let args = Args::new(&self.o, LinearArgs::Weight((&self.weight).into()), &self.y);
        match plan.problem().has_attention {
            true => args.with_attention(AttentionArgs::new(&self.q, &self.k, &self.v, &self.workspace)),
            false => args,
        }
    }
}

impl Rank {
    fn launch(&mut self, plan: &Plan) -> Result<()> {
        self.operator.launch(&self.stream, plan, self.buffers.args(plan))
    }

    fn y(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.buffers.y.len_bytes()];
        self.buffers.y.copy_to_host(&mut bytes).unwrap();
        bytes
    }
}

/// All ranks of a layer, ready to launch.
fn ranks<T: Values>(layer: &Layer<T>, plan: &Plan) -> Vec<Rank> {
    ranks_on(&devices(layer.problem.ranks, |config| configure(config, PATIENT)), layer, plan)
}

/// As [`ranks`], on the simulator, where an operation may take so long.
fn simulated_ranks<T: Values>(layer: &Layer<T>, plan: &Plan, exec_timeout: Duration) -> Vec<Rank> {
    let device = |_| {
        let mut config = Config::new(soc());
        configure(&mut config, exec_timeout);
        Device::simulated(config).unwrap()
    };
    ranks_on(&(0..layer.problem.ranks).map(device).collect::<Vec<_>>(), layer, plan)
}

fn ranks_on<T: Values>(devices: &[Device], layer: &Layer<T>, plan: &Plan) -> Vec<Rank> {
    let operators = operators(devices).into_iter().zip(0..);
    let of = |(operator, rank): (TilingAllReduce, u32)| Rank {
        buffers: Buffers::new(operator.device(), layer, plan, rank),
        stream: Stream::new(operator.device()).unwrap(),
        operator,
    };
    operators.map(of).collect()
}

/// Launches the plan on every rank and waits; y of each.
fn run(ranks: &mut [Rank], plan: &Plan) -> Vec<Vec<u8>> {
    for rank in ranks.iter_mut() {
        rank.launch(plan).unwrap();
    }
    ranks.iter().for_each(|rank| rank.stream.synchronize().unwrap());
    ranks.iter().map(Rank::y).collect()
}
