//! Communicators over the simulated HCCL: results against an oracle, order, and everything that can go wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "some tests call the C functions, mostly wrongly")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "what is passed wrongly is the subject of each test")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "sequences of C calls")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small numbers, and the roundings of an oracle"
)]

mod collectives;
mod failures;
mod joining;
mod order;
mod raw;

use std::time::Duration;

use fastattention::runtime::{Buffer, Communicator, Device, RootInfo, Stream};
use fastattention::sim::{Config, HcclConfig};
use fastattention::Soc;

/// One rank with what it needs.
struct Lane {
    stream: Stream,
    comm: Communicator,
    device: Device,
}

impl Lane {
    fn rank(&self) -> usize {
        self.comm.rank() as usize
    }

    fn upload(&self, bytes: &[u8]) -> Buffer {
        Buffer::from_slice(&self.device, bytes).unwrap()
    }

    fn download(&self, buffer: &Buffer) -> Vec<u8> {
        let mut bytes = vec![0; buffer.len_bytes()];
        buffer.copy_to_host(&mut bytes).unwrap();
        bytes
    }
}

fn device_with(hccl: HcclConfig) -> Device {
    let mut config = Config::new(Soc::by_name("Ascend910B2").unwrap());
    config.hccl = hccl;
    Device::simulated(config).unwrap()
}

/// Long enough for a busy machine, short enough for a test that should not need it.
fn patient() -> HcclConfig {
    HcclConfig {
        exec_timeout: Some(Duration::from_secs(60)),
        connect_timeout: Some(Duration::from_secs(60)),
        ..HcclConfig::default()
    }
}

/// Gives up soon.
fn hasty() -> HcclConfig {
    let soon = Some(Duration::from_millis(200));
    HcclConfig { exec_timeout: soon, connect_timeout: soon, ..HcclConfig::default() }
}

/// All ranks of a communicator, in the hands of one thread.
fn lanes(ranks: usize, hccl: &HcclConfig) -> Vec<Lane> {
    let devices: Vec<Device> = (0..ranks).map(|_| device_with(hccl.clone())).collect();
    let comms = Communicator::init_all(&devices).unwrap();
    devices
        .into_iter()
        .zip(comms)
        .map(|(device, comm)| Lane { stream: Stream::new(&device).unwrap(), comm, device })
        .collect()
}

/// Runs `body` for each rank on a thread of its own; the communicator is made from a root info in bytes.
fn on_threads<T: Send>(ranks: usize, hccl: &HcclConfig, body: impl Fn(&Lane) -> T + Sync) -> Vec<T> {
    let root = RootInfo::new(&device_with(hccl.clone())).unwrap().to_bytes();
    assert_eq!(root.len(), RootInfo::BYTES);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..ranks)
            .map(|rank| {
                let (root, body) = (&root, &body);
                scope.spawn(move || {
                    let device = device_with(hccl.clone());
                    let root = RootInfo::from_bytes(root).unwrap();
                    let comm = Communicator::new(&device, &root, rank as u32, ranks as u32).unwrap();
                    let lane = Lane { stream: Stream::new(&device).unwrap(), comm, device };
                    body(&lane)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
