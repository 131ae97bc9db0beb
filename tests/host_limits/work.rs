//! What a child does. It checks its own results: an `Ok` says that they are right.

use std::sync::{Arc, OnceLock};

use fastattention::parallel::AttentionMatmul;
use fastattention::runtime::{
    Buffer, CommDType, Communicator, Device, KernelArgs, Module, ReduceOp, RootInfo, Stream,
};
use fastattention::sim::{time::ModelTime, Config};
use fastattention::{Result, Soc};
use fastattention_testkit::compare::{assert_all, assert_same};

use crate::inject::{arm, Resource};

/// The image that this crate's build script made. Handed over without a copy, which would be the program's
/// own.
fn image() -> Arc<[u8]> {
    static IMAGE: OnceLock<Arc<[u8]>> = OnceLock::new();
    Arc::clone(IMAGE.get_or_init(|| std::fs::read(env!("FA_BUILD_SIM_KERNELS")).unwrap().into()))
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Job {
    /// A copy, and a kernel whose cores all wait for each other.
    Launches,
    /// The copy in model time with a trace.
    ModelTime,
    /// A kernel whose blocks wait for one that never comes: the report of that is what is wanted.
    Deadlock,
    /// Two ranks that meet by a root info.
    Ranks,
}

/// Four threads run the blocks, whatever the host has.
fn config() -> Config {
    let mut config = Config::new(Soc::by_name("Ascend910B4").unwrap());
    config.threads = 4;
    config
}

impl Job {
    pub(crate) const ALL: [Job; 4] = [Job::Launches, Job::ModelTime, Job::Deadlock, Job::Ranks];

    pub(crate) fn run(self, resource: Resource, k: u32) -> Result<()> {
        image();
        let device = Device::simulated(config())?;
        // The table of its masks is made by the program, not by the simulator.
        let operator = AttentionMatmul::new(&device)?;
        arm(resource, k);
        match self {
            Job::Launches => {
                copy(&device)?;
                let outcome = operator.self_test();
                // A wrong result would be an error here, too, and is none of those that may come.
                if let Err(e) = &outcome {
                    assert!(e.to_string().contains(" failed with code "), "{e}");
                }
                outcome
            }
            Job::ModelTime => {
                let mut config = config();
                config.model_time = Some(ModelTime::with_results().with_trace());
                copy(&Device::simulated(config)?)
            }
            Job::Deadlock => deadlock(&device),
            Job::Ranks => ranks(),
        }
    }
}

/// Names the image of `missing.cpp`.
pub(crate) const MISSING: &str = "HOST_LIMITS_MISSING";

fn deadlock(device: &Device) -> Result<()> {
    let image = std::fs::read(std::env::var_os(MISSING).unwrap()).unwrap();
    let stream = Stream::new(device)?;
    // SAFETY: the test has compiled it.
    let module = unsafe { Module::load(device, image) }?;
    module.kernel("one_is_missing")?.launch(&stream, 8, &KernelArgs::new())?;
    match stream.synchronize() {
        Ok(()) => panic!("the kernel has ended"),
        Err(e) if e.to_string().contains("Fault: Deadlock: no core can go on") => Ok(()),
        Err(e) => Err(e),
    }
}

fn copy(device: &Device) -> Result<()> {
    let stream = Stream::new(device)?;
    // SAFETY: the image is the one that this crate's build script made.
    let module = unsafe { Module::load(device, image()) }?;
    let data: Vec<u8> = (0..100_001_u32).map(|i| (i * 131 + i / 251).to_le_bytes()[0]).collect();
    let (src, dst) = (Buffer::from_slice(device, &data)?, Buffer::alloc(device, data.len())?);
    let args = KernelArgs::new().buffer(&dst).buffer(&src).u64(data.len() as u64);
    module.kernel("fa_copy")?.launch(&stream, 8, &args)?;
    stream.synchronize()?;
    let mut got = vec![0; data.len()];
    dst.copy_to_host(&mut got)?;
    assert_same(&got, &data, "the copy");
    Ok(())
}

const SUMMED: usize = 1 << 16;

fn ranks() -> Result<()> {
    let devices = [Device::simulated(config())?, Device::simulated(config())?];
    let root = RootInfo::new(&devices[0])?;
    std::thread::scope(|scope| {
        let (one, root) = (&devices[1], &root);
        let other = std::thread::Builder::new().spawn_scoped(scope, move || rank(one, root, 1));
        // The thread is this test's own; without it there is nothing to wait for.
        let Ok(other) = other else { return Ok(()) };
        let own = rank(&devices[0], root, 0);
        other.join().unwrap().and(own)
    })
}

fn rank(device: &Device, root: &RootInfo, rank: u32) -> Result<()> {
    let communicator = Communicator::new(device, root, rank, 2)?;
    let stream = Stream::new(device)?;
    let values = vec![i32::try_from(rank).unwrap() + 3; SUMMED / 4];
    let buffer = Buffer::alloc(device, 4 * SUMMED)?;
    for part in 0..4 {
        buffer.copy_from_host_at(part * SUMMED, &values)?;
    }
    communicator.all_reduce(&stream, &buffer, &buffer, (SUMMED, CommDType::I32), ReduceOp::Sum)?;
    stream.synchronize()?;
    let mut got = vec![0_i32; SUMMED / 4];
    for part in 0..4 {
        buffer.copy_to_host_at(part * SUMMED, &mut got)?;
        assert_all(&got, &7, "the sum");
    }
    Ok(())
}

fn set_limit(resource: u32, limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Bytes of address space that this process has.
fn address_space() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    4096 * pages.split(' ').next().unwrap().parse::<u64>().unwrap()
}

/// As `ulimit -v`: what does not fit is an error, and what fits goes on.
pub(crate) fn limited_address_space() -> Result<()> {
    let mut config = config();
    // Threads take address space for their stacks and heaps, which are not the subject.
    config.threads = 1;
    let device = Device::simulated(config)?;
    copy(&device)?;
    set_limit(libc::RLIMIT_AS, address_space() + (256 << 20));
    for bytes in [1 << 30, 8 << 30] {
        let error = Buffer::alloc(&device, bytes).map(drop).unwrap_err();
        assert!(error.is_out_of_memory(), "{error}");
    }
    copy(&device)
}

pub(crate) fn with_descriptors(limit: u64) -> Result<()> {
    set_limit(libc::RLIMIT_NOFILE, limit);
    copy(&Device::simulated(config())?)?;
    ranks()
}
