//! The border to C: every function runs inside [`call`], which turns refusals and panics into codes and
//! texts.

#![allow(unsafe_code, reason = "writes results and reads strings through pointers of C callers")]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, CStr, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ascend_sys::hccl::{self, HcclResult};
use ascend_sys::{codes, AclError};

/// A call that is refused, or work that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: AclError,
    pub(crate) text: String,
}

pub(crate) type Outcome<T = ()> = Result<T, Refusal>;

pub(crate) fn refuse<T>(code: AclError, text: impl Into<String>) -> Outcome<T> {
    Err(Refusal { code, text: text.into() })
}

/// Texts kept until fetched: enough for a cascade, finite for a client that never asks.
const KEPT_TEXTS: usize = 8;

thread_local! {
    /// Newest first.
    static PENDING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// What the last `aclGetRecentErrMsg` returned; the pointer lives until the next call.
    static FETCHED: RefCell<CString> = RefCell::default();
    /// The last code of the runtime layer, until it is fetched.
    static LAST_CODE: Cell<AclError> = const { Cell::new(codes::SUCCESS) };
    /// Handle of the current context, 0 for none.
    static CONTEXT: Cell<usize> = const { Cell::new(0) };
}

/// Refuses every call in a forked child of the process that made the first one: the child has copies of the
/// streams and locks of its parent, without the threads that do the work and give the locks back, and it
/// shares its sockets.
///
/// ASSUMPTION(fork): 207000. The vendor documents no use of ACL after a fork.
fn refuse_in_child() -> Outcome {
    /// Of the first call; 0 before it.
    static PROCESS: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id();
    match PROCESS.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed) {
        Err(first) if first != own => refuse(
            codes::RT_FEATURE_NOT_SUPPORT,
            format!("process {own} was forked from process {first}, which used ACL before; a new program (exec) wanted"),
        ),
        _ => Ok(()),
    }
}

/// Runs the body of a C function.
pub(crate) fn call(name: &str, body: impl FnOnce() -> Outcome) -> AclError {
    let outcome = refuse_in_child().and_then(|()| catch(body));
    match outcome {
        Ok(()) => codes::SUCCESS,
        Err(refusal) => {
            remember(name, &refusal);
            refusal.code
        }
    }
}

/// As [`call`], for the functions that return a pointer instead of a code.
pub(super) fn call_pointer<T>(name: &str, none: T, body: impl FnOnce() -> Outcome<T>) -> T {
    refuse_in_child().and_then(|()| catch(body)).unwrap_or_else(|refusal| {
        remember(name, &refusal);
        none
    })
}

/// A panic is a defect of the simulator; it must not unwind into C.
pub(crate) fn catch<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|panic| refuse(codes::INTERNAL_ERROR, defect_text(panic.as_ref())))
}

fn defect_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without text");
    format!("defect of the simulator: {text}")
}

fn remember(name: &str, refusal: &Refusal) {
    let of_hccl = || hccl::codes::meaning(HcclResult::try_from(refusal.code).ok()?);
    let meaning = codes::meaning(refusal.code).or_else(of_hccl).unwrap_or("unnamed code");
    let text = format!("E{}: {meaning}\n{name}: {}\n", refusal.code, refusal.text);
    if matches!(refusal.code, 107_000..=107_999 | 207_000..=207_999 | 507_000..=507_999) {
        let _ = LAST_CODE.try_with(|code| code.set(refusal.code));
    }
    // A thread that is ending has no place for texts any more, and nobody to read them.
    let _ = PENDING.try_with(|pending| {
        let mut pending = pending.borrow_mut();
        pending.insert(0, text);
        pending.truncate(KEPT_TEXTS);
    });
}

/// The last code of the runtime layer in this thread, success when there is none.
pub(super) fn last_code() -> AclError {
    LAST_CODE.try_with(Cell::get).unwrap_or(codes::SUCCESS)
}

/// As [`last_code`], which begins anew.
pub(super) fn take_last_code() -> AclError {
    LAST_CODE.try_with(|code| code.replace(codes::SUCCESS)).unwrap_or(codes::SUCCESS)
}

/// Texts of this thread since the last call, newest first; null when there are none, and in a thread that is
/// ending and has no place for them any more (destructors of `pthread_key_create`).
pub(super) fn take_texts() -> *const c_char {
    let text: String =
        PENDING.try_with(|pending| pending.borrow_mut().drain(..).collect()).unwrap_or_default();
    if text.is_empty() {
        return std::ptr::null();
    }
    let text = CString::new(text.replace('\0', "\\0")).unwrap_or_default();
    let fetched = FETCHED.try_with(|fetched| {
        *fetched.borrow_mut() = text;
        fetched.borrow().as_ptr()
    });
    fetched.unwrap_or(std::ptr::null())
}

/// A number that no other thread of this process ever has.
pub(super) fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        /// Without a destructor, so that it can be asked for until the thread's very end.
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

pub(super) fn current_context() -> usize {
    CONTEXT.try_with(Cell::get).unwrap_or(0)
}

pub(super) fn set_current_context(handle: usize) {
    CONTEXT.with(|context| context.set(handle));
}

/// A place where the caller wants a result.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `place` is null, or valid for writing a `T` until the C function returns.
    pub(crate) unsafe fn new(place: *mut T, name: &str) -> Outcome<Out<T>> {
        match NonNull::new(place) {
            Some(place) => Ok(Out(place)),
            None => {
                refuse(codes::INVALID_PARAM, format!("{name} = NULL given, a place for the result wanted"))
            }
        }
    }

    pub(crate) fn set(self, value: T) {
        // SAFETY: by the contract of `new` the place can be written.
        unsafe { self.0.as_ptr().write(value) };
    }
}

/// Text of a C string argument.
///
/// # Safety
/// `text` is null, or a NUL-terminated string that lives as long as `'a`.
pub(super) unsafe fn c_text<'a>(text: *const c_char, name: &str) -> Outcome<&'a str> {
    if text.is_null() {
        return refuse(codes::INVALID_PARAM, format!("{name} = NULL given, a string wanted"));
    }
    // SAFETY: not null, and a string by this function's contract.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|e| Refusal {
        code: codes::INVALID_PARAM,
        text: format!("{name} = {text:?} is not UTF-8: {e}"),
    })
}
