//! Loaded images, their kernels, and launches.

#![allow(unsafe_code, reason = "reads launch attributes that C callers point to")]

use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ascend_sys::{codes, launch_attr, LaunchCfg};

use super::args::Packed;
use super::border::{refuse, Outcome, Refusal};
use super::capture::Issued;
use super::device::Context;
use super::flight::{Flight, Label, Part};
use super::handles::{self, Handled};
use super::stream::Stream;
use crate::engine::{Allocation, Image, Kernel, Launched, Stopped};
use crate::timeline::TimedWork;

/// Most blocks of a launch (AscendC documents, kernel launch: numBlocks from 1 to 65535).
const MAX_BLOCKS: u32 = 65_535;

/// Most attributes of a launch: several times as many as any CANN has.
const MAX_ATTRS: usize = 64;

/// Bytes of `aclrtCreateBinary`, copied.
pub(crate) struct Binary {
    pub(super) data: Vec<u8>,
}

/// A loaded image.
pub(crate) struct Module {
    context: u64,
    image: Arc<dyn Image>,
    /// Handles given out, by kernel name.
    functions: Mutex<HashMap<String, usize>>,
}

/// A kernel of a loaded image.
pub(crate) struct Function {
    context: u64,
    /// Keeps its code while a launch is queued, also after the binary was unloaded.
    kernel: Arc<dyn Kernel>,
}

impl Handled for Binary {
    fn kind() -> &'static str {
        "a binary"
    }
}

impl Handled for Module {
    fn kind() -> &'static str {
        "a loaded binary"
    }

    fn context(&self) -> Option<u64> {
        Some(self.context)
    }
}

impl Handled for Function {
    fn kind() -> &'static str {
        "a function"
    }

    fn context(&self) -> Option<u64> {
        Some(self.context)
    }
}

impl Function {
    pub(super) fn name(&self) -> &str {
        self.kernel.name()
    }

    pub(super) fn num_slots(&self) -> usize {
        self.kernel.num_args()
    }
}

fn insert_module(context: &Context, image: Arc<dyn Image>) -> Outcome<*mut c_void> {
    handles::insert(Arc::new(Module { context: context.number(), image, functions: Mutex::default() }))
}

/// Loads an image from memory.
///
/// # Safety
/// The caller vouches for its code, which may run in this process.
pub(super) unsafe fn load_bytes(context: &Context, data: &[u8]) -> Outcome<*mut c_void> {
    // SAFETY: the caller's contract is the same.
    match unsafe { context.device.engine().load_bytes(data) } {
        Ok(image) => insert_module(context, image),
        Err(text) => {
            refuse(codes::RT_PARAM_INVALID, format!("{} bytes that are no kernel image: {text}", data.len()))
        }
    }
}

/// Loads an image from a file. The reference asks for an absolute path; the open runtime resolves any, and
/// samples give a file's name alone, which the loader of shared libraries would take for one in its own
/// folders.
///
/// # Safety
/// As [`load_bytes`].
pub(super) unsafe fn load_file(context: &Context, path: &str) -> Outcome<*mut c_void> {
    let file = Path::new(path).canonicalize().ok().filter(|file| file.is_file());
    let Some(file) = file else {
        return refuse(codes::RT_FILE_OPEN, format!("binPath = {path:?} is no file that can be opened"));
    };
    // SAFETY: the caller's contract is the same.
    match unsafe { context.device.engine().load_file(&file) } {
        Ok(image) => insert_module(context, image),
        Err(text) => refuse(codes::INVALID_FILE, format!("binPath = {path:?} is no kernel image: {text}")),
    }
}

/// Unloads; the handles of its kernels die with it.
pub(super) fn unload(handle: *mut c_void) -> Outcome {
    let module = handles::take::<Module>(handle)?;
    let functions = module.functions.lock().unwrap_or_else(PoisonError::into_inner);
    for &function in functions.values() {
        // Gone already when a device reset came first.
        let _ = handles::take::<Function>(std::ptr::without_provenance_mut(function));
    }
    Ok(())
}

/// The kernel of that name.
pub(super) fn function(handle: *mut c_void, name: &str) -> Outcome<*mut c_void> {
    let module = handles::get::<Module>(handle)?;
    let mut functions = module.functions.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&function) = functions.get(name) {
        return Ok(std::ptr::without_provenance_mut(function));
    }
    let Some(kernel) = module.image.find(name) else {
        let known = module.image.names();
        return refuse(
            codes::KERNEL_NOT_FOUND,
            format!("kernel {name:?} is not in this image; it has: {}", known.join(", ")),
        );
    };
    let function = Function { context: module.context, kernel };
    let function = handles::insert(Arc::new(function))?;
    functions.insert(name.to_owned(), function.addr());
    Ok(function)
}

/// Checks launch attributes: known ids, and the schedule mode's value.
///
/// # Safety
/// `cfg` is null or points to a configuration whose `attrs` holds `numAttrs` entries.
pub(super) unsafe fn check_config(cfg: *const LaunchCfg) -> Outcome {
    if cfg.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so valid by this function's contract.
    let cfg = unsafe { cfg.read() };
    if cfg.numAttrs == 0 {
        return Ok(());
    }
    if cfg.attrs.is_null() {
        return refuse(
            codes::INVALID_PARAM,
            format!(
                "cfg: attrs = NULL given with numAttrs = {}, an array of as many attributes wanted",
                cfg.numAttrs
            ),
        );
    }
    if cfg.numAttrs > MAX_ATTRS {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("cfg: numAttrs = {} given, at most {MAX_ATTRS} wanted", cfg.numAttrs),
        );
    }
    // SAFETY: not null, so `numAttrs` entries by this function's contract.
    let attrs = unsafe { std::slice::from_raw_parts(cfg.attrs, cfg.numAttrs) };
    for (i, attr) in attrs.iter().enumerate() {
        let wrong = |what: String| refuse(codes::RT_PARAM_INVALID, format!("cfg: attrs[{i}].{what}"));
        match attr.id {
            // SAFETY: any byte is a value of this member.
            launch_attr::SCHEM_MODE if unsafe { attr.value.schemMode } > 1 => {
                // SAFETY: as above.
                let mode = unsafe { attr.value.schemMode };
                return wrong(format!("value.schemMode = {mode} given, 0 or 1 wanted"));
            }
            1..=launch_attr::LAST => {}
            id => return wrong(format!("id = {id} given, 1 to {} wanted", launch_attr::LAST)),
        }
    }
    Ok(())
}

/// Checks a launch before its arguments are looked at.
pub(super) fn check(function: &Function, blocks: u32) -> Outcome {
    if blocks == 0 || blocks > MAX_BLOCKS {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("kernel {:?}: {blocks} blocks given, 1 to {MAX_BLOCKS} wanted", function.name()),
        );
    }
    Ok(())
}

/// Queues a launch.
pub(super) fn launch(function: Arc<Function>, blocks: u32, packed: Packed, stream: &Arc<Stream>) -> Outcome {
    if packed.slots.len() != function.num_slots() {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!(
                "kernel {:?}: {} argument slots given, {} wanted",
                function.name(),
                packed.slots.len(),
                function.num_slots()
            ),
        );
    }
    // The whole of `packed`: its block holds the placeholder data, and lives until the kernel has ended, or
    // the graph that keeps it.
    stream.dispatch_flight(move |stream, flight, issued| {
        let packed = &packed;
        run(&function, blocks, &packed.slots, (flight, issued), stream)
    })
}

/// Queues a launch whose arguments lie in device memory, where they are read when their turn comes.
pub(super) fn launch_from_device(
    function: Arc<Function>,
    blocks: u32,
    args: u64,
    size: usize,
    stream: &Arc<Stream>,
) -> Outcome {
    let wanted = function.num_slots() * 8;
    if size != wanted {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("kernel {:?}: argsSize = {size} given, {wanted} wanted", function.name()),
        );
    }
    let allocation = stream.device.engine().find(args);
    let Some(allocation) = allocation.filter(|a| size as u64 <= a.base() + a.size() - args) else {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("argsData = {args:#x} given, {size} bytes of device memory wanted"),
        );
    };
    stream.dispatch_flight(move |stream, flight, issued| {
        let mut bytes = vec![0; size];
        allocation.read(args, &mut bytes);
        let slots: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|c| c.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
            .collect();
        run(&function, blocks, &slots, (flight, issued), stream)
    })
}

/// Runs the kernel on the stream's thread.
fn run(
    function: &Function,
    blocks: u32,
    slots: &[u64],
    (flight, issued): (Flight, Issued),
    stream: &Stream,
) -> Outcome {
    let flight = flight.start(stream);
    let launched = stream.launcher().launch(function.kernel.as_ref(), slots, blocks);
    let Launched { launch_us, core_us, touched } =
        launched.map_err(|stopped| failure(function.name(), stopped))?;
    let parts = || {
        let part = |(allocation, ranges): (Arc<dyn Allocation>, _)| {
            let arguments = slots.iter().enumerate().map(|(i, &slot)| (slot, Label::Argument(i)));
            Part::new(stream.device.id(), allocation.as_ref(), ranges, arguments)
        };
        touched.map_or_else(Vec::new, |touched| touched().into_iter().map(part).collect())
    };
    let name = || format!("kernel {:?}", function.name());
    flight.end(name, parts).map_err(|race| failure(function.name(), Stopped::Exception(race)))?;
    let launch_us = match issued {
        Issued::ByHost => launch_us,
        Issued::ByGraph => launch_us * stream.device.engine().graph_launch_share(),
    };
    stream.log(|| TimedWork::Kernel { name: function.name().to_owned(), launch_us, core_us });
    Ok(())
}

/// A stop as the driver tells it. The engine's own text is a line of its own, so that clients can find it.
fn failure(kernel: &str, stopped: Stopped) -> Refusal {
    let (code, text) = match stopped {
        Stopped::Exception(text) => (codes::RT_AICORE_EXCEPTION, text),
        Stopped::Endless(text) => (codes::RT_AICORE_TIMEOUT, text),
        Stopped::NoMemory(text) => (codes::RT_MEMORY_ALLOCATION, text),
        Stopped::Defect(text) => (codes::INTERNAL_ERROR, text),
    };
    Refusal { code, text: format!("kernel {kernel:?} was stopped\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_keeps_its_text_on_a_line_and_its_class_in_the_code() {
        let cases = [
            (Stopped::Exception("Fault: Race: x".into()), 507_015, "Fault: Race: x"),
            (Stopped::Endless("Fault: Deadlock: y".into()), 507_014, "Fault: Deadlock: y"),
            (
                Stopped::NoMemory("the host has no memory for v".into()),
                207_001,
                "the host has no memory for v",
            ),
            (Stopped::Defect("defect of the simulator: w".into()), 500_000, "defect of the simulator: w"),
        ];
        for (stopped, code, line) in cases {
            let failure = failure("k", stopped);
            assert_eq!(failure.code, code);
            assert_eq!(failure.text, format!("kernel \"k\" was stopped\n{line}"));
        }
    }
}
