//! Devices `cpu:N`: the operators on the host's own cores.
//!
//! A program that is written for `npu:0` and checked on `sim` runs here at the host's speed. Problems, plans,
//! launches, errors and refusals are the same. The ACL functions are those of the simulator's runtime
//! (streams, events, memory, graphs, collectives); behind a launch there is no machine but a kernel in Rust
//! of the same name, which takes the same arguments and tiling data. Blocks and workspace of a plan are for
//! an NPU: these kernels cut the work in their own way, and never touch the workspace, of which the host
//! therefore gives no pages.
//!
//! What was written is not tracked here, and kernels are not timed. Addresses that a kernel is given are
//! compared with the allocations that they point into, once a launch.

mod call;
mod engine;
mod image;
mod kernels;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::environment::{text, wrong};
use crate::{Error, Result, Soc};
use engine::HostEngine;

/// The image that has the kernels of these devices, which `runtime::Module::load` takes. It holds no code.
pub fn image() -> &'static [u8] {
    image::NATIVE
}

/// Devices that the environment describes: each is a rank of its own on the same cores.
const DESCRIBED: i32 = 64;

const SOC: &str = "FASTATTENTION_CPU_SOC";
const THREADS: &str = "FASTATTENTION_CPU_THREADS";

/// What can be chosen about a device on the host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Plans are made for this SoC, so what it refuses is refused here.
    pub soc: &'static Soc,
    /// Threads of the kernels; `None`: as many as the process may use cores.
    pub threads: Option<NonZeroUsize>,
    /// Device memory, in bytes.
    pub memory_bytes: u64,
}

impl Config {
    /// Plans for `soc`, all cores, and as much memory as the host has.
    ///
    /// # Errors
    /// `Unsupported` when the system does not tell how much memory there is.
    pub fn new(soc: &'static Soc) -> Result<Self> {
        Ok(Self { soc, threads: None, memory_bytes: engine::physical_bytes()? })
    }
}

/// Configuration of the devices that the environment describes.
///
/// # Errors
/// `InvalidArgument` for a variable with a wrong value.
fn config_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<Config> {
    let variable = |name: &str| text(&variable, name);
    let name = variable(SOC)?.unwrap_or_else(|| "Ascend910B2".into());
    let soc = Soc::by_name(&name).map_err(|e| Error::invalid(format!("environment variable {SOC}: {e}")))?;
    let mut config = Config::new(soc)?;
    if let Some(value) = variable(THREADS)? {
        let threads = value.parse().map_err(|_| wrong(THREADS, &value, "a number of threads, at least 1"))?;
        config.threads = Some(threads);
    }
    Ok(config)
}

/// The number that the ACL functions know each device by, by its number in `cpu:N`.
static MADE: Mutex<BTreeMap<i32, i32>> = Mutex::new(BTreeMap::new());

fn made() -> MutexGuard<'static, BTreeMap<i32, i32>> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make(config: Config) -> Result<i32> {
    Ok(ascend_sim::add_device(ascend_sim::Config {
        check_races: false,
        hccl: ascend_sim::HcclConfig::default(),
        timeline: None,
        host_link: None,
        engine: Box::new(HostEngine::new(config)?),
    }))
}

/// Adds a device to this process and returns its number in `cpu:N`, which lies behind those that the
/// environment describes.
///
/// # Errors
/// `Driver` when the host starts no threads.
pub(crate) fn add_device(config: Config) -> Result<i32> {
    let number = make(config)?;
    let mut made = made();
    let device = made.last_key_value().map_or(0, |(last, _)| last + 1).max(DESCRIBED);
    made.insert(device, number);
    Ok(device)
}

/// The number that the ACL functions know `cpu:N` by. A device that the environment describes is made when
/// it is first asked for.
///
/// # Errors
/// `InvalidArgument` for a wrong value of a variable, `NoDevice` for a number that belongs to no device.
pub(crate) fn number_of(device: i32) -> Result<i32> {
    let mut made = made();
    if let Some(number) = made.get(&device) {
        return Ok(*number);
    }
    if device >= DESCRIBED {
        let text = format!("device \"cpu:{device}\" given, cpu:0 to cpu:{} wanted", DESCRIBED - 1);
        return Err(Error::new(crate::ErrorKind::NoDevice, text));
    }
    let number = make(config_from(|name| std::env::var_os(name))?)?;
    made.insert(device, number);
    Ok(number)
}

/// The SoC of `cpu:N` as the environment describes it; `None` where the device is made already. Making it
/// would start its threads.
///
/// # Errors
/// `InvalidArgument` for a wrong value of a variable.
pub(crate) fn described(device: i32) -> Option<Result<&'static Soc>> {
    let is_made = made().contains_key(&device);
    (!is_made).then(|| config_from(|name| std::env::var_os(name)).map(|config| config.soc))
}

/// The number in `cpu:N` of the device that the ACL functions know by `number`, if it is one of these.
pub(crate) fn named(number: i32) -> Option<i32> {
    made().iter().find(|(_, own)| **own == number).map(|(device, _)| *device)
}

/// The ACL functions, where the simulator is not there to add its devices to them.
#[cfg(not(feature = "sim"))]
pub(crate) fn acl_table() -> &'static ascend_sys::AclTable {
    ascend_sim::acl_table()
}

/// The HCCL functions.
pub(crate) fn hccl_table() -> &'static ascend_sys::hccl::HcclTable {
    ascend_sim::hccl_table()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_describes_a_device() {
        let config = config_from(|name| match name {
            SOC => Some("Ascend910B4".into()),
            THREADS => Some("3".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!((config.soc.name.as_str(), config.threads.map(usize::from)), ("Ascend910B4", Some(3)));
        assert!(config.memory_bytes > 1 << 20);
    }

    #[test]
    fn a_wrong_value_names_the_variable() {
        let text = |variable: &'static str, value: &'static str| {
            config_from(|name| (name == variable).then(|| value.into())).unwrap_err().to_string()
        };
        assert_eq!(
            text(THREADS, "0"),
            "environment variable FASTATTENTION_CPU_THREADS = \"0\" given, a number of threads, at least 1 wanted"
        );
        assert!(text(SOC, "Ascend310").contains("known: Ascend910B1"));
    }

    #[test]
    fn a_described_device_is_not_made() {
        let described = |device| described(device).map(|soc| soc.unwrap().name.as_str());
        assert_eq!([described(5), described(5)], [Some("Ascend910B2"); 2]);
        number_of(5).unwrap();
        assert_eq!(described(5), None);
    }

    #[test]
    fn a_device_is_made_once_and_found_again() {
        assert_eq!(number_of(3).unwrap(), number_of(3).unwrap());
        assert_ne!(number_of(3).unwrap(), number_of(4).unwrap());
        let added = add_device(config_from(|_| None).unwrap()).unwrap();
        assert!(added >= DESCRIBED && number_of(added).is_ok());
        let text = number_of(i32::MAX).unwrap_err().to_string();
        assert!(text.contains("device \"cpu:2147483647\" given, cpu:0 to cpu:63 wanted"), "{text}");
    }
}
