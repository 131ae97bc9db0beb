//! The dav-c220 machine as an engine of the simulated ACL functions, and devices that the environment
//! describes.
#![allow(unsafe_code, reason = "an image is code, which the caller vouches for")]

use std::any::Any;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use ascend_sim::engine::{self, About, Engine, Image, Kernel, Launched, Launcher, NoRoom, Stopped, Used};
use dav_c220::{DeviceMemory, FaultKind, Stop, Touched};

use super::Config;
use crate::environment::{text, wrong};
use crate::soc::{about, Collective};
use crate::{Error, Result, Soc};

/// Adds a device to this process and returns its number.
pub(super) fn add(config: Config) -> i32 {
    describe();
    ascend_sim::add_device(split(config))
}

/// Says how the devices are made that the environment describes. To be called before their number can be
/// asked for.
pub(super) fn describe() {
    ascend_sim::describe_devices_with(|| {
        let config = config_from(|name| std::env::var_os(name));
        config.map(split).map_err(|e| e.to_string())
    });
}

/// Refuses a device that the program has not added, when a variable that should describe it has a wrong
/// value.
///
/// # Errors
/// `InvalidArgument` with the variable, its value and what is wanted.
pub(crate) fn check_environment(id: i32) -> Result<()> {
    describe();
    ascend_sim::check_environment(id).map_err(Error::invalid)
}

/// Configuration of the devices that the environment describes.
///
/// # Errors
/// `InvalidArgument` for a variable with a wrong value.
fn config_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<Config> {
    let variable = |name: &str| text(&variable, name);
    let name = variable("FASTATTENTION_SIM_SOC")?.unwrap_or_else(|| "Ascend910B2".into());
    let soc = Soc::by_name(&name)
        .map_err(|e| Error::invalid(format!("environment variable FASTATTENTION_SIM_SOC: {e}")))?;
    let mut config = Config::new(soc);
    if let Some(value) = variable("FASTATTENTION_SIM_SEED")? {
        let seed =
            value.parse().map_err(|_| wrong("FASTATTENTION_SIM_SEED", &value, "a number below 2^64"))?;
        config.seed = Some(seed);
    }
    if let Some(value) = variable("FASTATTENTION_SIM_THREADS")? {
        config.threads = value
            .parse()
            .map_err(|_| wrong("FASTATTENTION_SIM_THREADS", &value, "a number of threads (0 = all)"))?;
    }
    if let Some(value) = variable("FASTATTENTION_SIM_RACES")? {
        config.check_races = match value.as_str() {
            "0" => false,
            "1" => true,
            _ => return Err(wrong("FASTATTENTION_SIM_RACES", &value, "0 or 1")),
        };
    }
    Ok(config)
}

/// What concerns the functions, with a machine for the rest.
fn split(config: Config) -> ascend_sim::Config {
    ascend_sim::Config {
        check_races: config.check_races,
        hccl: config.hccl.clone(),
        timeline: config.timeline.clone(),
        host_link: config.host_link,
        engine: Box::new(Machine { memory: Arc::new(DeviceMemory::new(config.soc.hbm_bytes)), config }),
    }
}

/// A machine with its memory.
#[derive(Debug)]
struct Machine {
    memory: Arc<DeviceMemory>,
    config: Config,
}

impl Engine for Machine {
    fn about(&self) -> About {
        about(self.config.soc)
    }

    /// Compatible are the SoCs of one core: the Ascend910B line.
    fn runs_kernels_of(&self, soc: &str) -> bool {
        Soc::all().iter().any(|known| known.name == soc)
    }

    fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    fn used(&self) -> u64 {
        self.memory.used()
    }

    fn alloc(&self, len: u64) -> std::result::Result<u64, NoRoom> {
        self.memory.alloc(len).map_err(|why| match why {
            dav_c220::NoRoom::OnDevice { free } => NoRoom::OnDevice { free },
            dav_c220::NoRoom::OnHost => NoRoom::OnHost,
        })
    }

    fn free(&self, base: u64) -> bool {
        self.memory.free(base)
    }

    fn find(&self, address: u64) -> Option<Arc<dyn engine::Allocation>> {
        self.memory.find(address).map(|allocation| Arc::new(Allocation(allocation)) as _)
    }

    fn bases(&self) -> Vec<u64> {
        self.memory.snapshot().iter().map(|allocation| allocation.base()).collect()
    }

    unsafe fn load_bytes(&self, data: &[u8]) -> std::result::Result<Arc<dyn Image>, String> {
        // SAFETY: the caller's contract is the same.
        Ok(Arc::new(Loaded(unsafe { dav_c220::Image::load_bytes(data) }?)))
    }

    unsafe fn load_file(&self, path: &Path) -> std::result::Result<Arc<dyn Image>, String> {
        // SAFETY: the caller's contract is the same.
        Ok(Arc::new(Loaded(unsafe { dav_c220::Image::load_file(path) }?)))
    }

    fn launcher(&self) -> Box<dyn Launcher> {
        Box::new(Lane { memory: Arc::clone(&self.memory), config: self.config.of_stream() })
    }

    fn has_results(&self) -> bool {
        !self.config.is_dry()
    }

    fn keeps_time(&self) -> bool {
        self.config.model_time.is_some()
    }

    fn graph_launch_share(&self) -> f64 {
        self.config.soc.timing.control.graph_launch_share
    }

    fn memory_us(&self, bytes: u64) -> f64 {
        bytes as f64 / (self.config.soc.timing.memory.hbm_gbps * 1e3)
    }

    fn transfer_time(&self, collective: engine::Collective, bytes: u64, ranks: u32) -> engine::TransferTime {
        let collective = match collective {
            engine::Collective::AllReduce => Collective::AllReduce,
            engine::Collective::ReduceScatter => Collective::ReduceScatter,
            engine::Collective::AllGather => Collective::AllGather,
            engine::Collective::Broadcast => Collective::Broadcast,
            engine::Collective::SendRecv => Collective::SendRecv,
            engine::Collective::Barrier => Collective::Barrier,
        };
        let links = &self.config.soc.links;
        engine::TransferTime {
            alone_us: links.microseconds(collective, bytes, ranks),
            queued_us: links.queued_microseconds(collective, bytes, ranks),
        }
    }

    fn contention(&self) -> f64 {
        self.config.soc.links.contention
    }
}

/// Memory of the machine, which knows what was written.
#[derive(Debug)]
struct Allocation(Arc<dav_c220::Allocation>);

impl engine::Allocation for Allocation {
    fn base(&self) -> u64 {
        self.0.base()
    }

    fn size(&self) -> u64 {
        self.0.len()
    }

    fn number(&self) -> u64 {
        self.0.model_address(self.0.base())
    }

    fn read(&self, address: u64, out: &mut [u8]) {
        self.0.read(address, out);
    }

    fn write(&self, address: u64, data: &[u8]) {
        self.0.write(address, data);
    }

    fn load(&self, address: u64, len: usize) -> Option<engine::Contents> {
        let dav_c220::Contents { bytes, unset } = self.0.load(address, len)?;
        Some(engine::Contents { bytes, unset })
    }

    fn store(&self, address: u64, contents: &engine::Contents) {
        self.0.store(address, &contents.bytes, &contents.unset);
    }
}

/// An image of kernels for the machine.
struct Loaded(Arc<dav_c220::Image>);

impl Image for Loaded {
    fn find(&self, name: &str) -> Option<Arc<dyn Kernel>> {
        self.0.find(name).map(|kernel| Arc::new(Entry(kernel)) as _)
    }

    fn names(&self) -> Vec<String> {
        self.0.kernels().iter().map(|kernel| kernel.name.clone()).collect()
    }
}

/// A kernel for the machine.
struct Entry(dav_c220::Kernel);

impl Kernel for Entry {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn num_args(&self) -> usize {
        self.0.num_args as usize
    }
}

/// The machine as the kernels of one stream have it.
struct Lane {
    memory: Arc<DeviceMemory>,
    config: dav_c220::Config,
}

impl Launcher for Lane {
    fn launch(
        &self,
        kernel: &dyn Kernel,
        args: &[u64],
        blocks: u32,
    ) -> std::result::Result<Launched, Stopped> {
        let Some(Entry(own)) = (kernel as &dyn Any).downcast_ref::<Entry>() else {
            return Err(Stopped::Exception(format!(
                "Fault: Operand: kernel {}, loaded on another kind of device, given to a machine of dav-c220",
                kernel.name()
            )));
        };
        let (stats, touched) =
            own.launch(&self.memory, &self.config, args, blocks).map_err(|stop| stopped(&stop))?;
        Ok(Launched {
            // ASSUMPTION(timeline-launch): what a task takes beside its cores comes before them, and needs no
            // cores. Published is the difference of task and core time only ([add-001], [mm-asc-*]).
            launch_us: stats.launch_us,
            core_us: stats.cores_us,
            touched: Some(Box::new(move || ranges(&touched))),
        })
    }
}

/// How a launch used device memory, by allocation.
fn ranges(touched: &Touched) -> Vec<(Arc<dyn engine::Allocation>, Vec<Used>)> {
    let uses = |uses: dav_c220::Uses| {
        let known = [
            (dav_c220::Uses::READ, engine::Uses::READ),
            (dav_c220::Uses::WRITE, engine::Uses::WRITE),
            (dav_c220::Uses::ATOMIC, engine::Uses::ATOMIC),
        ];
        let same = known.into_iter().filter(|(own, _)| uses.and(*own) == uses).map(|(_, same)| same);
        same.fold(engine::Uses::default(), engine::Uses::and)
    };
    let used = |used: &dav_c220::Used| Used { start: used.start, end: used.end, uses: uses(used.uses) };
    let by_allocation = touched.ranges().map(|(allocation, ranges)| {
        let allocation: Arc<dyn engine::Allocation> = Arc::new(Allocation(Arc::clone(allocation)));
        (allocation, ranges.iter().map(used).collect())
    });
    by_allocation.collect()
}

/// A stop of the machine.
fn stopped(stop: &Stop) -> Stopped {
    let text = stop.to_string();
    match stop {
        Stop::Fault(fault) if fault.kind == FaultKind::Deadlock => Stopped::Endless(text),
        Stop::Fault(_) | Stop::Unsupported(_) => Stopped::Exception(text),
        Stop::Host(_) => Stopped::NoMemory(text),
        Stop::Defect(_) => Stopped::Defect(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_keeps_its_text_and_its_class() {
        let exception = |text: &str| Stopped::Exception(text.into());
        for (stop, want) in [
            (Stop::fault(FaultKind::Race, "x"), exception("Fault: Race: x")),
            (Stop::fault(FaultKind::Deadlock, "y"), Stopped::Endless("Fault: Deadlock: y".into())),
            (Stop::unsupported("z"), exception("Unsupported: z")),
            (Stop::no_memory("v"), Stopped::NoMemory("the host has no memory for v".into())),
            (Stop::Defect("w".into()), Stopped::Defect("defect of the simulator: w".into())),
        ] {
            assert_eq!(stopped(&stop), want);
        }
    }

    #[test]
    fn environment_describes_device_0() {
        let config = config_from(|name| match name {
            "FASTATTENTION_SIM_SOC" => Some("Ascend910B4".into()),
            "FASTATTENTION_SIM_SEED" => Some("7".into()),
            "FASTATTENTION_SIM_THREADS" => Some("3".into()),
            "FASTATTENTION_SIM_RACES" => Some("0".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!((config.soc.name.as_str(), config.seed, config.threads), ("Ascend910B4", Some(7), 3));
        assert!(!config.check_races);
    }

    #[test]
    fn a_wrong_value_names_the_variable() {
        let text = |variable: &'static str, value: &'static str| {
            config_from(|name| (name == variable).then(|| value.into())).unwrap_err().to_string()
        };
        assert_eq!(
            text("FASTATTENTION_SIM_RACES", "yes"),
            "environment variable FASTATTENTION_SIM_RACES = \"yes\" given, 0 or 1 wanted"
        );
        assert!(text("FASTATTENTION_SIM_SEED", "-1").contains("FASTATTENTION_SIM_SEED = \"-1\""));
        assert!(text("FASTATTENTION_SIM_SOC", "Ascend310").contains("known: Ascend910B1"));
    }
}
