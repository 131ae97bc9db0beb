//! Argument lists of kernels (acl-runtime.md 3.3): 8-byte slots, placeholders, at most 128 arguments in 64
//! KiB.

#![allow(unsafe_code, reason = "arguments lie in memory that C callers fill through pointers")]

mod given;
mod packed;

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ascend_sys::codes;

use super::border::{refuse, thread_number, Outcome};
use super::device::SimDevice;
use super::handles::{self, Handled};
use super::launch::Function;
use packed::pack_bytes;

pub(super) use given::Given;
pub(super) use packed::{pack_host_args, Packed};

/// Most arguments of a list.
const MAX_ARGS: usize = 128;
/// Most bytes of a list, placeholder data included, and of the arguments of `aclrtLaunchKernelWithHostArgs`.
pub(super) const MAX_BYTES: usize = 64 << 10;
/// What `aclrtKernelArgsGetHandleMemSize` asks of the caller. The list itself is kept on our side.
pub(super) const HANDLE_BYTES: usize = 64;

/// Bits of a parameter handle: mark, list number, index + 1.
const PARAM_MARK: usize = 1 << 62;

pub(crate) struct Args {
    number: usize,
    function: Arc<Function>,
    /// The thread whose list it is, for lists of `aclrtKernelArgsInit`.
    owner: Option<u64>,
    state: Mutex<State>,
}

struct State {
    params: Vec<Param>,
    /// Slots taken by the parameters.
    slots: usize,
    /// Bytes of placeholder data, taken from the end of `memory` downwards, so that earlier buffers stay in
    /// place.
    tail: usize,
    memory: Block,
    is_final: bool,
}

struct Param {
    slot: usize,
    value: Value,
}

enum Value {
    Words(Vec<u64>),
    /// Offset in the block and size of the data, once the buffer was asked for.
    PlaceHolder(Option<(usize, usize)>),
}

/// Memory that holds placeholder data.
struct Block {
    base: NonNull<u8>,
    len: usize,
    _own: Option<Vec<u64>>,
}

// SAFETY: the block is owned, or lent by the caller of `aclrtKernelArgsInitByUserMem` for as long as the list
// is used.
unsafe impl Send for Block {}

thread_local! {
    /// The list under construction in this thread: `aclrtKernelArgsInit` hands out one for each thread.
    static OWN: OwnList = const { OwnList(std::cell::Cell::new(0)) };
}

/// Handle of a thread's list, ended with the thread.
struct OwnList(std::cell::Cell<usize>);

impl OwnList {
    fn replace(&self, handle: usize) {
        let old = self.0.replace(handle);
        if old != 0 {
            // Nobody else ends this handle; if it is gone all the same, nothing is left to do.
            let _ = handles::take::<Args>(std::ptr::without_provenance_mut(old));
        }
    }
}

impl Drop for OwnList {
    fn drop(&mut self) {
        self.replace(0);
    }
}

/// Lists in user memory, by the address of that memory, which is their handle.
static BY_ADDRESS: Mutex<Option<HashMap<usize, Arc<Args>>>> = Mutex::new(None);

/// It ends with its thread, or with the program's memory.
impl Handled for Args {
    fn kind() -> &'static str {
        "an argument list"
    }
}

impl Args {
    fn new(function: Arc<Function>, owner: Option<u64>, memory: Block) -> Arc<Self> {
        static NUMBERS: AtomicUsize = AtomicUsize::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let state = State { params: Vec::new(), slots: 0, tail: 0, memory, is_final: false };
        Arc::new(Args { number, function, owner, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn param_handle(&self, index: usize) -> *mut c_void {
        std::ptr::without_provenance_mut(PARAM_MARK | self.number << 8 | (index + 1))
    }

    fn param_index(&self, state: &State, handle: *mut c_void) -> Outcome<usize> {
        let value = handle.addr();
        let index = (value & 0xff).checked_sub(1);
        match index {
            Some(i) if i < state.params.len() && value & !0xff == PARAM_MARK | self.number << 8 => Ok(i),
            _ => refuse(
                codes::RT_INVALID_HANDLE,
                format!("paramHandle = {value:#x} given, a parameter of this argument list wanted"),
            ),
        }
    }

    pub(super) fn append(&self, given: Given<'_>) -> Outcome<*mut c_void> {
        self.push(given.len().div_ceil(8), || Value::Words(given.words()))
    }

    pub(super) fn append_place_holder(&self) -> Outcome<*mut c_void> {
        self.push(1, || Value::PlaceHolder(None))
    }

    /// Takes a parameter in. `value` is asked for when there is room.
    fn push(&self, slots: usize, value: impl FnOnce() -> Value) -> Outcome<*mut c_void> {
        let mut state = self.state();
        if state.is_final {
            return refuse(
                codes::RT_PARAM_INVALID,
                "an argument list that is finalised given, an open one wanted; aclrtKernelArgsParaUpdate opens it",
            );
        }
        if state.params.len() == MAX_ARGS {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("argument {MAX_ARGS} given, at most {MAX_ARGS} arguments wanted"),
            );
        }
        state.require_room(slots.saturating_mul(8))?;
        let slot = state.slots;
        state.slots += slots;
        state.params.push(Param { slot, value: value() });
        Ok(self.param_handle(state.params.len() - 1))
    }

    /// Memory for the data of a placeholder: zeroed, valid until the launch, at the same place from then on.
    pub(super) fn place_holder_buffer(&self, handle: *mut c_void, len: usize) -> Outcome<*mut c_void> {
        let mut state = self.state();
        let index = self.param_index(&state, handle)?;
        if len == 0 {
            return refuse(codes::INVALID_PARAM, "dataSize = 0 given, at least 1 byte wanted");
        }
        if state.is_final {
            return refuse(
                codes::RT_PARAM_INVALID,
                "an argument list that is finalised given, an open one wanted: its buffers are fixed",
            );
        }
        if !matches!(state.params[index].value, Value::PlaceHolder(None)) {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!(
                    "paramHandle of argument {index} given, one of a placeholder without a buffer wanted"
                ),
            );
        }
        let room = len.checked_next_multiple_of(8).unwrap_or(usize::MAX);
        state.require_room(room)?;
        state.tail += room;
        let offset = state.memory.len - state.tail;
        state.params[index].value = Value::PlaceHolder(Some((offset, len)));
        // SAFETY: `require_room` keeps `tail` within the block.
        let buffer = unsafe { state.memory.base.add(offset) };
        Ok(buffer.as_ptr().cast())
    }

    /// Replaces the value of a parameter; the list must be finalised again.
    pub(super) fn update(&self, handle: *mut c_void, given: Given<'_>) -> Outcome {
        let mut state = self.state();
        let index = self.param_index(&state, handle)?;
        match &mut state.params[index].value {
            Value::Words(old) if old.len() == given.len().div_ceil(8) => *old = given.words(),
            Value::Words(old) => {
                let text =
                    format!("paramSize = {} given, {} slots of 8 bytes wanted", given.len(), old.len());
                return refuse(codes::RT_PARAM_INVALID, text);
            }
            Value::PlaceHolder(_) => {
                return refuse(
                    codes::RT_PARAM_INVALID,
                    format!(
                        "paramHandle of placeholder {index} given, one of an argument with a value wanted"
                    ),
                );
            }
        }
        state.is_final = false;
        Ok(())
    }

    pub(super) fn finalize(&self) -> Outcome {
        let mut state = self.state();
        if let Some(index) = state.params.iter().position(|p| matches!(p.value, Value::PlaceHolder(None))) {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("placeholder {index} without a buffer given, one with a buffer of aclrtKernelArgsGetPlaceHolderBuffer wanted"),
            );
        }
        state.is_final = true;
        Ok(())
    }

    /// The arguments for a launch of `function`, with placeholder data copied to the device.
    ///
    /// # Safety
    /// Memory of `aclrtKernelArgsInitByUserMem` is still valid, and nobody writes to placeholder buffers.
    pub(super) unsafe fn pack(&self, function: &Arc<Function>, device: &Arc<SimDevice>) -> Outcome<Packed> {
        if !Arc::ptr_eq(&self.function, function) {
            let (own, given) = (self.function.name(), function.name());
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("an argument list of kernel {own:?} given, one of {given:?} wanted"),
            );
        }
        let state = self.state();
        if !state.is_final {
            return refuse(
                codes::RT_PARAM_INVALID,
                "an argument list that is not finalised given, one wanted after aclrtKernelArgsFinalize",
            );
        }
        let mut bytes = Vec::with_capacity(state.slots * 8 + state.tail);
        let mut data = Vec::new();
        let mut place_holders = Vec::new();
        for param in &state.params {
            match &param.value {
                Value::Words(words) => words.iter().for_each(|w| bytes.extend(w.to_le_bytes())),
                Value::PlaceHolder(Some((offset, len))) => {
                    bytes.extend([0; 8]);
                    place_holders.push((param.slot, state.slots * 8 + data.len()));
                    // SAFETY: `place_holder_buffer` took this range from the block.
                    let from = unsafe { state.memory.base.add(*offset) };
                    // SAFETY: initialised (zeroed when taken, or the user's memory), valid by this function's
                    // contract.
                    data.extend_from_slice(unsafe { std::slice::from_raw_parts(from.as_ptr(), *len) });
                    // ASSUMPTION(placeholder-align): placeholder data is aligned to 8 bytes, not more.
                    data.resize(data.len().next_multiple_of(8), 0);
                }
                Value::PlaceHolder(None) => unreachable!("`finalize` refuses placeholders without a buffer"),
            }
        }
        let num_slots = state.slots;
        drop(state);
        bytes.extend(data);
        pack_bytes(bytes, num_slots, &place_holders, device)
    }
}

impl State {
    fn require_room(&self, more: usize) -> Outcome {
        let taken = self.slots * 8 + self.tail;
        if more > self.memory.len - taken {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!(
                    "{more} more bytes given, at most {} of {} wanted",
                    self.memory.len - taken,
                    self.memory.len
                ),
            );
        }
        Ok(())
    }
}

/// `aclrtKernelArgsInit`: ends this thread's list and starts a new one.
pub(super) fn init(function: Arc<Function>) -> Outcome<*mut c_void> {
    let mut own = vec![0u64; MAX_BYTES / 8];
    let base = NonNull::from(own.as_mut_slice()).cast::<u8>();
    let block = Block { base, len: MAX_BYTES, _own: Some(own) };
    let args = Args::new(function, Some(thread_number()), block);
    let handle = handles::insert(args)?;
    if OWN.try_with(|own| own.replace(handle.addr())).is_err() {
        drop(handles::take::<Args>(handle)?);
        return refuse(
            codes::RT_PARAM_INVALID,
            "called in a thread that is ending, after its argument lists were freed; a running thread wanted",
        );
    }
    Ok(handle)
}

/// `aclrtKernelArgsInitByUserMem`: a list whose placeholder data lies in the caller's memory.
///
/// # Safety
/// `memory` is valid for `len` bytes until the last launch with this list.
pub(super) unsafe fn init_in(
    function: Arc<Function>,
    handle: *mut c_void,
    memory: *mut c_void,
    len: usize,
) -> Outcome {
    let Some(base) = NonNull::new(memory.cast::<u8>()) else {
        return refuse(codes::INVALID_PARAM, "userHostMem = NULL given, memory for the arguments wanted");
    };
    if handle.is_null() {
        return refuse(codes::INVALID_PARAM, "argsHandle = NULL given, memory for the handle wanted");
    }
    // More than this a list does not use.
    let len = len.min(MAX_BYTES);
    // SAFETY: `memory` is valid for at least `len` bytes; the list promises zeroed buffers.
    unsafe { base.as_ptr().write_bytes(0, len) };
    let args = Args::new(function, None, Block { base, len, _own: None });
    let mut lists = BY_ADDRESS.lock().unwrap_or_else(PoisonError::into_inner);
    lists.get_or_insert_default().insert(handle.addr(), args);
    Ok(())
}

/// The list behind a handle.
///
/// ASSUMPTION(args-thread): a thread-local list is refused in another thread.
pub(super) fn find(handle: *mut c_void) -> Outcome<Arc<Args>> {
    let lists = BY_ADDRESS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(args) = lists.as_ref().and_then(|lists| lists.get(&handle.addr())) {
        return Ok(Arc::clone(args));
    }
    drop(lists);
    let args = handles::get::<Args>(handle)?;
    if args.owner.is_some_and(|owner| owner != thread_number()) {
        return refuse(
            codes::RT_PARAM_INVALID,
            "an argument list of another thread given; aclrtKernelArgsInit makes one for the calling thread",
        );
    }
    Ok(args)
}
