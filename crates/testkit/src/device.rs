//! Where a test runs: a simulated device, or the one that `FA_DEVICE` names.

use fastattention::attention::FlashAttention;
use fastattention::runtime::Device;
use fastattention::sim::Config;
use fastattention::Soc;

/// The SoC of simulated devices.
pub const SOC: &str = "Ascend910B2";

/// A simulated Ascend910B2, configured by the test; or what `FA_DEVICE` names, `npu:0` or `cpu:0`, for which
/// a configuration of the simulator says nothing. Tests that run side by side share that device: so none of
/// them captures in the mode `Global`, which forbids the copies of the others.
pub fn device(configure: impl Fn(&mut Config)) -> Device {
    devices(1, configure).remove(0)
}

/// As [`device`], for each of `count` ranks one of its own: of `FA_DEVICE=npu:2` the devices `npu:2`, `npu:3`
/// and so on.
pub fn devices(count: u32, configure: impl Fn(&mut Config)) -> Vec<Device> {
    let first = named();
    let open = |rank| match &first {
        Some((kind, first)) => Device::open(&format!("{kind}:{}", first + rank))
            .unwrap_or_else(|e| panic!("FA_DEVICE: this test takes {count} devices: {e}")),
        None => simulator(&configure),
    };
    (0..count).map(open).collect()
}

/// A simulated Ascend910B2 whatever `FA_DEVICE` names, for tests of faults, model time and kernels that only
/// pass time.
pub fn simulator(configure: impl Fn(&mut Config)) -> Device {
    let mut config = Config::new(Soc::by_name(SOC).unwrap());
    configure(&mut config);
    Device::simulated(config).unwrap()
}

/// Does `FA_DEVICE` name the host? Its kernels have scores in f32 in any case, and split keys in their own
/// way.
pub fn is_host() -> bool {
    named().is_some_and(|(kind, _)| kind == "cpu")
}

/// Attention on a [`device`].
pub fn attention(configure: impl Fn(&mut Config)) -> FlashAttention {
    FlashAttention::new(&device(configure)).unwrap()
}

/// Kind and number of the device of `FA_DEVICE`; `None` without the variable.
fn named() -> Option<(String, u32)> {
    let name = std::env::var("FA_DEVICE").ok()?;
    let parts = name.split_once(':').filter(|(kind, _)| ["npu", "cpu"].contains(kind));
    let device = parts.and_then(|(kind, number)| Some((kind.to_owned(), number.parse().ok()?)));
    Some(device.unwrap_or_else(|| panic!("FA_DEVICE = {name:?} given, npu:N or cpu:N wanted")))
}
