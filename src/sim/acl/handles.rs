//! Handles: numbers behind `void *` that stay recognisable after their object is gone.
//!
//! A handle is kind (bits 0..4), place (4..24), generation (24..60) and a mark in bit 62 that no user-space address has.
//! A second destroy, a handle of another kind and a stray pointer are therefore refused with a text, never followed.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::args::Args;
use super::border::{refuse, Outcome};
use super::device::Context;
use super::event::Event;
use super::launch::{Binary, Function, Module};
use super::notify::Notify;
use super::stream::Stream;
use crate::driver::codes;
use crate::sim::hccl::Communicator;

const MARK: usize = 1 << 62;
const PLACE_BITS: u32 = 20;
const GENERATION_MASK: usize = (1 << 36) - 1;

/// Something that a handle can stand for.
pub(in crate::sim) trait Handled: Sized {
    const KIND: usize;
    /// With its article, for texts.
    const NAME: &'static str;
    fn wrap(object: Arc<Self>) -> Object;
    fn unwrap(object: &Object) -> Option<&Arc<Self>>;
}

macro_rules! objects {
    ($($variant:ident = $kind:literal, $name:literal;)*) => {
        /// An object with a handle.
        pub(in crate::sim) enum Object {
            $($variant(Arc<$variant>),)*
        }

        $(impl Handled for $variant {
            const KIND: usize = $kind;
            const NAME: &'static str = $name;
            fn wrap(object: Arc<Self>) -> Object {
                Object::$variant(object)
            }
            fn unwrap(object: &Object) -> Option<&Arc<Self>> {
                match object {
                    Object::$variant(object) => Some(object),
                    _ => None,
                }
            }
        })*

        fn kind_name(kind: usize) -> &'static str {
            match kind {
                $($kind => $name,)*
                _ => "no handle of this library",
            }
        }
    };
}

objects! {
    Context = 1, "a context";
    Stream = 2, "a stream";
    Event = 3, "an event";
    Binary = 4, "a binary";
    Module = 5, "a loaded binary";
    Function = 6, "a function";
    Args = 7, "an argument list";
    Communicator = 8, "a communicator";
    Notify = 9, "a notify";
}

impl Object {
    /// Number of the context that the object dies with; argument lists and unloaded binaries have none, and
    /// communicators die with their device.
    fn context(&self) -> Option<u64> {
        match self {
            Object::Stream(x) => Some(x.context()),
            Object::Event(x) => Some(x.context()),
            Object::Notify(x) => Some(x.context()),
            Object::Module(x) => Some(x.context()),
            Object::Function(x) => Some(x.context()),
            Object::Context(_) | Object::Binary(_) | Object::Args(_) | Object::Communicator(_) => None,
        }
    }
}

#[derive(Default)]
struct Slot {
    generation: usize,
    kind: usize,
    object: Option<Object>,
}

static SLOTS: Mutex<(Vec<Slot>, Vec<usize>)> = Mutex::new((Vec::new(), Vec::new()));

fn slots() -> MutexGuard<'static, (Vec<Slot>, Vec<usize>)> {
    SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives an object a handle.
pub(in crate::sim) fn insert<T: Handled>(object: Arc<T>) -> Outcome<*mut c_void> {
    let mut guard = slots();
    let (slots, free) = &mut *guard;
    let place = match free.pop() {
        Some(place) => place,
        None if slots.len() < 1 << PLACE_BITS => {
            slots.push(Slot::default());
            slots.len() - 1
        }
        None => return refuse(207_005, format!("{} live handles; more are not supported", slots.len())),
    };
    let slot = &mut slots[place];
    slot.generation = (slot.generation + 1) & GENERATION_MASK;
    slot.kind = T::KIND;
    slot.object = Some(T::wrap(object));
    let value = MARK | slot.generation << (4 + PLACE_BITS) | place << 4 | T::KIND;
    Ok(std::ptr::without_provenance_mut(value))
}

/// Place in the table when the handle is alive and of the wanted kind; else the refusal.
fn locate<T: Handled>(slots: &[Slot], handle: *mut c_void) -> Outcome<usize> {
    let value = handle.addr();
    let bad = |what: String| refuse(codes::RT_INVALID_HANDLE, format!("{what} given, {} wanted", T::NAME));
    if value == 0 {
        return bad("NULL".into());
    }
    let place = value >> 4 & ((1 << PLACE_BITS) - 1);
    let Some(slot) = slots.get(place).filter(|_| value & MARK != 0) else {
        return bad(format!("{value:#x}, no handle of this library,"));
    };
    let kind = value & 0xf;
    if kind != T::KIND {
        return bad(format!("{value:#x}, {},", kind_name(kind)));
    }
    let generation = value >> (4 + PLACE_BITS) & GENERATION_MASK;
    if slot.generation != generation || slot.kind != kind || slot.object.is_none() {
        return bad(format!("{value:#x}, {} that was destroyed,", T::NAME));
    }
    Ok(place)
}

/// The live object of a handle.
pub(in crate::sim) fn get<T: Handled>(handle: *mut c_void) -> Outcome<Arc<T>> {
    let guard = slots();
    let place = locate::<T>(&guard.0, handle)?;
    let object = guard.0[place].object.as_ref().and_then(T::unwrap);
    Ok(Arc::clone(object.unwrap_or_else(|| unreachable!("`locate` checked kind and presence"))))
}

/// Ends a handle and returns its object, which the caller drops outside the lock.
pub(in crate::sim) fn take<T: Handled>(handle: *mut c_void) -> Outcome<Arc<T>> {
    let object = get::<T>(handle)?;
    let mut guard = slots();
    let place = locate::<T>(&guard.0, handle)?;
    let old = guard.0[place].object.take();
    guard.1.push(place);
    drop(guard);
    drop(old);
    Ok(object)
}

/// Ends every handle whose object satisfies `which`.
pub(super) fn take_where(which: impl Fn(&Object) -> bool) -> Vec<Object> {
    let mut guard = slots();
    let (slots, free) = &mut *guard;
    let mut taken = Vec::new();
    for (place, slot) in slots.iter_mut().enumerate() {
        if let Some(object) = slot.object.take_if(|object| which(object)) {
            free.push(place);
            taken.push(object);
        }
    }
    taken
}

/// Ends every handle that dies with the context of this number.
pub(super) fn take_of_context(number: u64) -> Vec<Object> {
    take_where(|object| object.context() == Some(number))
}

/// The streams of a context that have handles.
pub(super) fn streams_of(number: u64) -> Vec<Arc<Stream>> {
    let guard = slots();
    let objects = guard.0.iter().filter_map(|slot| slot.object.as_ref());
    objects.filter_map(Stream::unwrap).filter(|stream| stream.context() == number).cloned().collect()
}
