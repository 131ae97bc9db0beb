//! Model time of a launch whose vector cores meet.

use fastattention::runtime::{Buffer, Stream};
use fastattention::serving::{plan, Args, KvLayout, ServingAttention};
use fastattention::sim::time::ModelTime;
use fastattention_testkit::device::simulator;

use super::case;

/// One slot of 24 units: each Cube core reads one of them.
#[test]
fn all_cores_share_the_keys_of_one_slot() {
    let model_time = ModelTime::only();
    let device = simulator(|config| {
        config.check_races = false;
        config.model_time = Some(model_time.clone());
    });
    let mut one = case(&[24 * 128], KvLayout::padded());
    (one.base.num_heads, one.base.num_heads_k) = (4, 1);
    let mut problem = one.problem();
    (problem.want_lse, problem.is_checked) = (false, false);
    let plan = plan(&problem, device.soc()).unwrap();
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap();
    let [q, k, v, o] = plan.operand_bytes().map(|size| Buffer::alloc(&device, bytes(size)).unwrap());
    let workspace = Buffer::alloc(&device, bytes(plan.workspace_bytes())).unwrap();
    let lengths = Buffer::from_slice(&device, &[24 * 128]).unwrap();
    let stream = Stream::new(&device).unwrap();
    let args = Args::new(&q, &k, &v, &lengths, &o, &workspace);
    ServingAttention::new(&device).unwrap().launch(&stream, &plan, args).unwrap();
    stream.synchronize().unwrap();
    let report = model_time.take_reports().pop().unwrap();
    let cubes: Vec<_> = report.cores.iter().filter(|core| core.kind() == "AIC").collect();
    assert_eq!(cubes.len(), 24);
    // K and V of a unit, q, and the probabilities.
    let least = 2 * 128 * 64 * 2;
    for core in cubes {
        let read: u64 = core.pipes.iter().map(|pipe| pipe.gm_bytes).sum();
        assert!((least..2 * least).contains(&read), "{} reads and writes {read} bytes", core.group);
    }
}
