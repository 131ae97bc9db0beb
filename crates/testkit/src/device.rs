//! Where a test runs: a simulated device, or the one that `FA_DEVICE` names.

use fastattention::attention::FlashAttention;
use fastattention::runtime::Device;
use fastattention::sim::Config;
use fastattention::Soc;

/// The SoC of simulated devices.
pub const SOC: &str = "Ascend910B2";

/// A simulated Ascend910B2, configured by the test; or the NPU of `FA_DEVICE=npu:0`, for which a
/// configuration of the simulator says nothing.
pub fn device(configure: impl Fn(&mut Config)) -> Device {
    devices(1, configure).remove(0)
}

/// As [`device`], for each of `count` ranks one of its own: of `FA_DEVICE=npu:2` the devices `npu:2`, `npu:3`
/// and so on.
pub fn devices(count: u32, configure: impl Fn(&mut Config)) -> Vec<Device> {
    let first = npu();
    let open = |rank| match first {
        Some(first) => Device::open(&format!("npu:{}", first + rank))
            .unwrap_or_else(|e| panic!("FA_DEVICE: this test takes {count} devices: {e}")),
        None => {
            let mut config = Config::new(Soc::by_name(SOC).unwrap());
            configure(&mut config);
            Device::simulated(config).unwrap()
        }
    };
    (0..count).map(open).collect()
}

/// Attention on a [`device`].
pub fn attention(configure: impl Fn(&mut Config)) -> FlashAttention {
    FlashAttention::new(&device(configure)).unwrap()
}

/// The number of the NPU of `FA_DEVICE`; `None` without the variable.
fn npu() -> Option<u32> {
    let name = std::env::var("FA_DEVICE").ok()?;
    let number = name.strip_prefix("npu:").and_then(|number| number.parse().ok());
    Some(number.unwrap_or_else(|| panic!("FA_DEVICE = {name:?} given, npu:N wanted")))
}
