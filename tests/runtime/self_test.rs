//! The launch that comes first on a device, on the simulator. What happens when it fails is in `acl_record`.

#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]

use fastattention::parallel::AttentionMatmul;
use fastattention::runtime::{Buffer, Device, KernelArgs, Module, Stream};
use fastattention::sim::Config;
use fastattention::Soc;

fn passes(device: &Device) {
    let operator = AttentionMatmul::new(device).unwrap();
    operator.attention().self_test().unwrap();
    operator.self_test().unwrap();
}

#[test]
fn every_soc_passes_with_and_without_later_functions_and_under_any_interleaving() {
    for soc in Soc::all() {
        for seed in [None, Some(1), Some(2)] {
            let mut config = Config::new(soc);
            config.seed = seed;
            passes(&Device::simulated(config).unwrap());
        }
        passes(&Device::simulated_as_cann81(Config::new(soc)).unwrap());
    }
}

/// The kernel's own definition, by hand for the first and the last block.
#[test]
fn the_kernel_leaves_products_plus_the_number_of_the_tiling_data() {
    let device = Device::open("sim").unwrap();
    // The image that this crate's build script made.
    let image = std::fs::read(env!("FA_BUILD_SIM_KERNELS")).unwrap();
    #[allow(unsafe_code, reason = "loads native code")]
    // SAFETY: built from this crate's kernels.
    let module = unsafe { Module::load(&device, image) }.unwrap();
    let blocks = 10;
    let workspace = Buffer::alloc(&device, blocks * 1536).unwrap();
    let stream = Stream::new(&device).unwrap();
    let by_hand = [
        // Block 9 is as block 1.
        (0u32, [16.5, 32.5, 32.5, 64.5], [1024.5, 1152.5, 1152.5, 1296.5], [64.5, 96.5, 96.5, 144.5]),
        // Three blocks on: blocks 3, 0 and 2.
        (3, [64.5, 80.5, 128.5, 160.5], [128.5, 256.5, 144.5, 288.5], [96.5, 128.5, 144.5, 192.5]),
    ];
    for (partner_distance, first, eighth, last) in by_hand {
        let out = Buffer::from_slice(&device, &vec![-1.0f32; blocks * 256 + 8]).unwrap();
        let data = [0.5f32.to_le_bytes(), partner_distance.to_le_bytes()].concat();
        let args = KernelArgs::new().buffer(&out).buffer(&workspace).place_holder(&data);
        module.kernel("fa_self_test").unwrap().launch(&stream, 10, &args).unwrap();
        stream.synchronize().unwrap();
        let mut values = vec![0.0f32; blocks * 256 + 8];
        out.copy_to_host(&mut values).unwrap();
        let corners = |block: usize| [0, 15, 240, 255].map(|i| values[block * 256 + i]);
        assert_eq!([corners(0), corners(7), corners(9)], [first, eighth, last]);
        // Nothing behind them is written.
        assert_eq!(values[blocks * 256..], [-1.0; 8]);
    }
}
