//! `fa_copy` on the simulator, through the same calls as on an NPU.
#![allow(unsafe_code, reason = "loads a kernel image")]

use fastattention::runtime::{Buffer, Device, KernelArgs, Module, Stream};

static SIM_KERNELS: &[u8] = include_bytes!(env!("FA_BUILD_SIM_KERNELS"));

#[test]
fn copies_any_size_with_any_number_of_blocks() {
    let device = Device::open("sim").unwrap();
    let stream = Stream::new(&device).unwrap();
    // SAFETY: the image is the one that this crate's build script made.
    let module = unsafe { Module::load(&device, SIM_KERNELS) }.unwrap();
    let copy = module.kernel("fa_copy").unwrap();
    // Less than a chunk, a chunk, ends inside a 32-byte block, several chunks per block, more blocks than
    // chunks.
    for (bytes, blocks) in [(1, 1), (32 * 1024, 1), (65_537, 2), (300_001, 3), (100, 4)] {
        let data: Vec<u8> =
            (0..bytes).map(|i: usize| u8::try_from((i * 131 + i / 251) % 256).unwrap()).collect();
        let src = Buffer::from_slice(&device, &data).unwrap();
        // The bytes behind the end must stay as they are.
        let dst = Buffer::from_slice(&device, &vec![0xee_u8; bytes + 64]).unwrap();
        let args = KernelArgs::new().buffer(&dst).buffer(&src).u64(bytes as u64);
        copy.launch(&stream, blocks, &args).unwrap();
        stream.synchronize().unwrap();
        let mut got = vec![0; bytes + 64];
        dst.copy_to_host(&mut got).unwrap();
        assert_eq!(got[..bytes], data, "{bytes} bytes, {blocks} blocks");
        assert!(
            got[bytes..].iter().all(|x| *x == 0xee),
            "{bytes} bytes, {blocks} blocks: wrote behind the end"
        );
    }
}
