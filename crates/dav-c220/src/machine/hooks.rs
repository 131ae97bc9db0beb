//! The entry points that a kernel calls: from C through [`HOOKS`], each on the coroutine of the core that
//! calls.
#![allow(
    unsafe_code,
    reason = "the C side of the interface: raw pointers in, and a coroutine that suspends itself"
)]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::NonNull;
use std::rc::Rc;

use corosensei::Yielder;

use super::core::Wait;
use super::group::{Group, Issue};
use crate::access::Stop;
use crate::machine::abi::{FasimHooks, FasimInstr, ABI_VERSION};

/// Where a core's coroutine keeps the means to suspend itself; `None` before it starts.
pub(super) type YielderCell = Rc<Cell<Option<NonNull<Yielder<(), ()>>>>>;

/// The core that runs on this host thread.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) group: Rc<RefCell<Group>>,
    pub(super) core: usize,
    pub(super) yielder: YielderCell,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// Names the core that is resumed next on this thread; `None` after it has given control back.
pub(super) fn set_current(current: Option<Current>) {
    CURRENT.with(|cell| cell.replace(current));
}

/// Why an entry point tells the kernel to stop.
enum Halt {
    /// This call found a reason.
    New(Stop),
    /// The group was stopped while this core was suspended.
    Told,
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Halt::New(stop)
    }
}

/// Text of a caught panic.
pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic without text".into())
}

impl Current {
    /// Gives control back to the scheduler until this core is resumed.
    fn suspend(&self) {
        let Some(yielder) = self.yielder.get() else { return };
        // SAFETY: the cell is set by the body of this core's coroutine (schedule.rs) to its own yielder,
        // which lives as long as that body runs; this call is made by that body, on its stack.
        unsafe { yielder.as_ref() }.suspend(());
    }

    /// Blocks the scalar unit.
    fn block(&self, wait: Wait, number: u64, mnemonic: &'static str) -> Result<(), Halt> {
        // A turn is given away before it is asked whether the wait is over.
        let mut first = wait == Wait::Turn;
        loop {
            {
                let group = &mut *self.group.borrow_mut();
                if group.stop.is_some() {
                    return Err(Halt::Told);
                }
                if !first && group.try_wait(self.core, wait)? {
                    group.cores[self.core].waiting = None;
                    return Ok(());
                }
                group.cores[self.core].waiting = Some((wait, number, mnemonic));
            }
            first = false;
            self.suspend();
        }
    }

    fn issue(&self, raw: &FasimInstr) -> Result<(), Halt> {
        let (mut issued, number, mnemonic) = {
            let group = &mut *self.group.borrow_mut();
            let issued = group.issue(self.core, raw)?;
            (issued, group.cores[self.core].issued - 1, group.launch.ops[usize::from(raw.op)].mnemonic)
        };
        loop {
            issued = match issued {
                Issue::Done => return Ok(()),
                Issue::Wait(wait) => return self.block(wait, number, mnemonic),
                Issue::Queue(pipe, entry) => {
                    self.block(Wait::Room(pipe), number, mnemonic)?;
                    self.group.borrow_mut().push(self.core, pipe, *entry)?
                }
            };
        }
    }
}

/// Runs one entry point for the core of this thread. No panic leaves it: it would cross C++ frames.
fn enter(call: impl FnOnce(&Current) -> Result<(), Halt>) -> i32 {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let Some(current) = CURRENT.with(|cell| cell.borrow().clone()) else { return 1 };
        if current.group.borrow().stop.is_some() {
            return 1;
        }
        let stop = match catch_unwind(AssertUnwindSafe(|| call(&current))) {
            Ok(Ok(())) => return 0,
            Ok(Err(Halt::Told)) => return 1,
            Ok(Err(Halt::New(stop))) => stop,
            Err(payload) => Stop::Defect(panic_text(&*payload)),
        };
        current.group.borrow_mut().stop.get_or_insert(stop);
        1
    }));
    result.unwrap_or(1)
}

unsafe extern "C" fn issue(instr: *const FasimInstr) -> i32 {
    // SAFETY: machine_abi.h: `instr` points to a FasimInstr for the length of the call; null is caught by
    // as_ref.
    let Some(instr) = (unsafe { instr.as_ref() }) else { return 1 };
    enter(|current| current.issue(instr))
}

unsafe extern "C" fn scalar_load(address: u64, bytes: u32, value: *mut u64) -> i32 {
    enter(|current| {
        let (loaded, ends_turn, number) = {
            let group = &mut *current.group.borrow_mut();
            let loaded = group.scalar_load(current.core, address, bytes)?;
            (loaded, group.load_ends_turn(current.core), group.cores[current.core].issued - 1)
        };
        if ends_turn {
            current.block(Wait::Turn, number, "scalar_load")?;
        }
        // SAFETY: machine_abi.h: `value` is null or points to a u64 that the caller owns.
        if let Some(value) = unsafe { value.as_mut() } {
            *value = loaded;
        }
        Ok(())
    })
}

unsafe extern "C" fn scalar_store(address: u64, bytes: u32, value: u64) -> i32 {
    enter(|current| Ok(current.group.borrow_mut().scalar_store(current.core, address, bytes, value)?))
}

unsafe extern "C" fn special(which: u32, value: *mut u64) -> i32 {
    enter(|current| {
        let read = current.group.borrow().special(current.core, which)?;
        // SAFETY: machine_abi.h: `value` is null or points to a u64 that the caller owns.
        if let Some(value) = unsafe { value.as_mut() } {
            *value = read;
        }
        Ok(())
    })
}

unsafe extern "C" fn api_fault(kind: u32, message: *const c_char) -> i32 {
    enter(|current| {
        let text = if message.is_null() {
            "no message".to_owned()
        } else {
            // SAFETY: machine_abi.h: a message that is not null is a C string that lives through the call.
            unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
        };
        let stop = current.group.borrow().api_fault(current.core, kind, text);
        Err(Halt::New(stop))
    })
}

/// The table that an image binds.
pub(crate) static HOOKS: FasimHooks = FasimHooks {
    abi_version: ABI_VERSION,
    reserved: 0,
    issue,
    scalar_load,
    scalar_store,
    special,
    api_fault,
};
