//! Simulated devices, their reference counts, and contexts (acl-runtime.md 1.6).

use std::ffi::{c_void, OsString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ascend_sys::codes;
use ascend_sys::environment::{text, wrong};

use super::border::{self, refuse, Outcome, Refusal};
use super::handles::{self, Handled};
use super::peers::Peers;
use super::stream::Stream;
use crate::config::Config;
use crate::engine::Engine;
use crate::timeline::HostLink;

/// A simulated device. It lives as long as the process: device numbers are not used twice.
pub(crate) struct SimDevice {
    id: i32,
    config: Config,
    soc_name: std::ffi::CString,
    /// Advances by one for each timestamp: an order, not a time.
    ticks: AtomicU64,
    pub(super) peers: Peers,
    primary: Mutex<Primary>,
}

/// What `aclrtSetDevice` makes and counts.
#[derive(Default)]
struct Primary {
    uses: u32,
    context: Option<(Arc<Context>, usize)>,
}

/// A context: streams, events and loaded binaries belong to one.
pub(crate) struct Context {
    number: u64,
    pub(crate) device: Arc<SimDevice>,
    pub(super) default_stream: Arc<Stream>,
    /// Handle of the default stream, made when a program asks for it.
    default_handle: OnceLock<Outcome<usize>>,
    is_primary: bool,
}

/// Says how many devices the environment describes.
const DEVICES: &str = "FASTATTENTION_SIM_DEVICES";

/// Most devices that the environment can describe.
const MAX_DESCRIBED: usize = 64;

/// The first devices are described by the environment, so their description can be wrong; the others were
/// added by the program.
struct Registry {
    describe: OnceLock<Describe>,
    described: OnceLock<Outcome<Vec<Arc<SimDevice>>>>,
    added: Mutex<Vec<Arc<SimDevice>>>,
}

static REGISTRY: Registry =
    Registry { describe: OnceLock::new(), described: OnceLock::new(), added: Mutex::new(Vec::new()) };

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimDevice {
    fn new(id: i32, config: Config) -> Arc<Self> {
        if let Some(timeline) = &config.timeline {
            timeline.add_device(id, config.engine.about().soc, config.engine.contention());
        }
        let soc_name = std::ffi::CString::new(config.engine.about().soc).unwrap_or_default();
        Arc::new(Self {
            id,
            config,
            soc_name,
            ticks: AtomicU64::new(0),
            peers: Peers::default(),
            primary: Mutex::default(),
        })
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        self.config.engine.as_ref()
    }

    pub(super) fn soc_name(&self) -> &std::ffi::CStr {
        &self.soc_name
    }

    /// Next value of the counter behind `aclrtEventGetTimestamp`.
    pub(super) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Refuses rates that nothing can have, and those that nothing would use.
fn check_host_link(id: i32, link: &HostLink, has_timeline: bool) -> Outcome {
    if !has_timeline {
        let text =
            format!("device {id}: host_link given without timeline, on which its rates count; both wanted");
        return refuse(codes::RT_PARAM_INVALID, text);
    }
    for (name, rate) in [("up", link.up_bytes_per_s), ("down", link.down_bytes_per_s)] {
        if !(1.0..=1e15).contains(&rate) {
            let text = format!("device {id}: host_link.{name}_bytes_per_s = {rate} given, 1 to 1e15 wanted");
            return refuse(codes::RT_PARAM_INVALID, text);
        }
    }
    Ok(())
}

impl Context {
    fn open(device: Arc<SimDevice>, is_primary: bool) -> Outcome<(Arc<Context>, usize)> {
        if device.config.timeline.is_some() && !device.engine().keeps_time() {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("device {}: timeline given without model_time, which tells how long kernels take; both wanted", device.id),
            );
        }
        if let Some(link) = &device.config.host_link {
            check_host_link(device.id, link, device.config.timeline.is_some())?;
        }
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let default_stream = Arc::new(Stream::new(number, Arc::clone(&device)));
        let context =
            Arc::new(Context { number, device, default_stream, default_handle: OnceLock::new(), is_primary });
        let handle = handles::insert(Arc::clone(&context))?.addr();
        Ok((context, handle))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The default stream as a handle; NULL names it too.
    pub(super) fn default_stream_handle(&self) -> Outcome<*mut c_void> {
        let handle =
            self.default_handle.get_or_init(|| Ok(handles::insert(Arc::clone(&self.default_stream))?.addr()));
        handle.clone().map(std::ptr::without_provenance_mut)
    }

    /// Ends what belongs to the context. Its own handle must be gone already.
    fn close(&self) {
        for object in handles::take_where(|object| object.context() == Some(self.number)) {
            object.end();
        }
        self.default_stream.close_now();
    }
}

impl Handled for Context {
    fn kind() -> &'static str {
        "a context"
    }
}

/// Adds a device to this process and returns its number.
pub fn add_device(config: Config) -> i32 {
    let mut added = locked(&REGISTRY.added);
    let id = i32::try_from(num_described() + added.len()).unwrap_or(i32::MAX);
    added.push(SimDevice::new(id, config));
    id
}

/// Makes a device as the environment describes it, or says which variable has a wrong value.
pub type Describe = fn() -> Result<Config, String>;

/// Says how devices are made that the environment describes. The first call of a process counts; before it
/// there are none.
pub fn describe_devices_with(describe: Describe) {
    REGISTRY.describe.get_or_init(|| describe);
}

/// How many devices the environment describes, numbered from 0.
///
/// # Errors
/// A text about a wrong value.
fn count_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<usize, String> {
    let Some(value) = text(variable, DEVICES)? else { return Ok(1) };
    match value.parse() {
        Ok(count) if (1..=MAX_DESCRIBED).contains(&count) => Ok(count),
        _ => Err(wrong(DEVICES, value, format_args!("1 to {MAX_DESCRIBED}"))),
    }
}

/// The devices that the environment describes.
fn described() -> &'static Outcome<Vec<Arc<SimDevice>>> {
    REGISTRY.described.get_or_init(|| {
        let Some(describe) = REGISTRY.describe.get() else { return Ok(Vec::new()) };
        let make = |id| Ok(SimDevice::new(id, describe()?));
        let made = count_from(|name| std::env::var_os(name)).and_then(|n| (0..).take(n).map(make).collect());
        made.or_else(|text: String| refuse(codes::RT_PARAM_INVALID, text))
    })
}

/// Refuses a device that the program has not added, when a variable that should describe it has a wrong
/// value.
///
/// # Errors
/// A text with the variable, its value and what is wanted.
pub fn check_environment(id: i32) -> Result<(), String> {
    match (described(), device(id)) {
        (Err(refusal), Err(_)) => Err(refusal.text.clone()),
        _ => Ok(()),
    }
}

/// Numbers that belong to them: device 0 keeps its number when its description is wrong.
fn num_described() -> usize {
    described().as_ref().map_or(1, Vec::len)
}

pub(crate) fn device(id: i32) -> Outcome<Arc<SimDevice>> {
    let count = num_described();
    let index = usize::try_from(id).unwrap_or(usize::MAX);
    let devices = described().as_ref().map_err(Refusal::clone);
    let added = locked(&REGISTRY.added);
    if index < count || devices.is_err() && index - count >= added.len() {
        return devices.map(|devices| Arc::clone(&devices[index]));
    }
    match added.get(index - count) {
        Some(device) => Ok(Arc::clone(device)),
        None if count + added.len() == 0 => {
            refuse(codes::RT_INVALID_DEVICE, format!("device {id} given; this process has no simulated device"))
        }
        None => refuse(
            codes::RT_INVALID_DEVICE,
            format!(
                "device {id} given, a simulated device from 0 to {} wanted; {DEVICES} sets how many there are, 1 to {MAX_DESCRIBED}",
                count + added.len() - 1
            ),
        ),
    }
}

pub(crate) fn count() -> usize {
    num_described() + locked(&REGISTRY.added).len()
}

/// All devices that exist, for looking up addresses.
pub(super) fn all() -> Vec<Arc<SimDevice>> {
    let described = REGISTRY.described.get().and_then(|d| d.as_ref().ok());
    described.into_iter().flatten().cloned().chain(locked(&REGISTRY.added).iter().cloned()).collect()
}

/// The current context of this thread.
pub(crate) fn current() -> Outcome<Arc<Context>> {
    let none = |text: &str| Refusal { code: codes::RT_CONTEXT_NULL, text: text.into() };
    match border::current_context() {
        0 => Err(none("this thread has set neither a device nor a context")),
        handle => handles::get::<Context>(std::ptr::without_provenance_mut(handle))
            .map_err(|_| none("the current context of this thread was destroyed")),
    }
}

/// The device of the current context. Without one it is device 0, as there is one kind of chip for the whole
/// host.
pub(super) fn current_or_first() -> Outcome<Arc<SimDevice>> {
    match current() {
        Ok(context) => Ok(Arc::clone(&context.device)),
        Err(_) => device(0),
    }
}

pub(super) fn set_device(id: i32) -> Outcome {
    let device = device(id)?;
    let mut primary = locked(&device.primary);
    if primary.context.is_none() {
        primary.context = Some(Context::open(Arc::clone(&device), true)?);
    }
    primary.uses += 1;
    let handle = primary.context.as_ref().map_or(0, |(_, handle)| *handle);
    border::set_current_context(handle);
    Ok(())
}

/// ASSUMPTION(reset-unset-code): a device that is not set is an invalid device.
pub(super) fn reset_device(id: i32, at_once: bool) -> Outcome {
    let device = device(id)?;
    let mut primary = locked(&device.primary);
    if primary.uses == 0 {
        return refuse(codes::RT_INVALID_DEVICE, format!("device {id} is not set, so it cannot be reset"));
    }
    primary.uses = if at_once { 0 } else { primary.uses - 1 };
    if primary.uses > 0 {
        return Ok(());
    }
    primary.context = None;
    // Explicit contexts should have been destroyed before; what is left ends here, as the device's memory
    // does. All of it is chosen under the lock: another thread may set the device again while this one
    // still cleans up.
    let contexts = handles::take_of_kind::<Context>(|context| context.device.id == id);
    let others = handles::take_where(|object| object.device() == Some(id));
    let allocations = device.engine().bases();
    device.peers.clear();
    drop(primary);
    // The other ranks of a communicator learn of it, instead of waiting for this one.
    drop(others);
    contexts.iter().for_each(|context| context.close());
    for base in allocations {
        device.engine().free(base);
    }
    Ok(())
}

pub(super) fn create_context(id: i32) -> Outcome<*mut c_void> {
    let (_, handle) = Context::open(device(id)?, false)?;
    border::set_current_context(handle);
    Ok(std::ptr::without_provenance_mut(handle))
}

pub(super) fn destroy_context(handle: *mut c_void) -> Outcome {
    if handles::get::<Context>(handle)?.is_primary {
        return refuse(
            codes::RT_PARAM_INVALID,
            "the default context of a device given, one of aclrtCreateContext wanted; aclrtResetDevice ends this one",
        );
    }
    handles::take::<Context>(handle)?.close();
    Ok(())
}

pub(super) fn set_context(handle: *mut c_void) -> Outcome {
    handles::get::<Context>(handle)?;
    border::set_current_context(handle.addr());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_devices_is_from_1_to_64() {
        let count = |value: &str| count_from(|_| Some(value.into()));
        assert_eq!(count("8"), Ok(8));
        assert_eq!(
            count("0").unwrap_err(),
            "environment variable FASTATTENTION_SIM_DEVICES = \"0\" given, 1 to 64 wanted"
        );
    }
}
