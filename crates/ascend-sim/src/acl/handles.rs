//! Handles: numbers behind `void *` that stay recognisable after their object is gone.
//!
//! A handle is kind (bits 0..4), place (4..24), generation (24..60) and a mark in bit 62 that no user-space
//! address has. A second destroy, a handle of another kind and a stray pointer are therefore refused with a
//! text, never followed.
//!
//! The table knows no kind by itself: an object says what it is called and what it ends with ([`Handled`]).

use std::any::{Any, TypeId};
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ascend_sys::codes;

use super::border::{refuse, Outcome};

const MARK: usize = 1 << 62;
const KIND_BITS: u32 = 4;
const KIND_MASK: usize = (1 << KIND_BITS) - 1;
const PLACE_BITS: u32 = 20;
const GENERATION_MASK: usize = (1 << 36) - 1;

/// Something that a handle can stand for.
pub(crate) trait Handled: Any + Send + Sync {
    /// What it is called, with its article, for texts.
    fn kind() -> &'static str
    where
        Self: Sized;

    /// Number of the context that it ends with.
    fn context(&self) -> Option<u64> {
        None
    }

    /// Number of the device that it ends with, when no context is asked for that.
    fn device(&self) -> Option<i32> {
        None
    }

    /// Its handle has ended, because what it ends with has.
    fn end(&self) {}
}

#[derive(Default)]
struct Slot {
    generation: usize,
    kind: usize,
    object: Option<Arc<dyn Handled>>,
}

/// All handles of the process.
#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Kinds that there have been, numbered from 1.
    kinds: Vec<(TypeId, &'static str)>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { slots: Vec::new(), free: Vec::new(), kinds: Vec::new() });

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Number of the kind; 0 before it has had a handle.
    fn kind_of<T: Handled>(&self) -> usize {
        self.kinds.iter().position(|(id, _)| *id == TypeId::of::<T>()).map_or(0, |at| at + 1)
    }

    fn kind_name(&self, kind: usize) -> &'static str {
        let known = kind.checked_sub(1).and_then(|at| self.kinds.get(at));
        known.map_or("no handle of this library", |(_, name)| name)
    }

    fn insert<T: Handled>(&mut self, object: Arc<T>) -> Outcome<usize> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.slots.len() < 1 << PLACE_BITS => {
                self.slots.push(Slot::default());
                self.slots.len() - 1
            }
            None => {
                let text = format!("{} live handles; more are not supported", self.slots.len());
                return refuse(207_005, text);
            }
        };
        let mut kind = self.kind_of::<T>();
        if kind == 0 {
            self.kinds.push((TypeId::of::<T>(), T::kind()));
            kind = self.kinds.len();
            assert!(kind <= KIND_MASK, "more kinds of handles than have a number: {:?}", self.kinds);
        }
        let slot = &mut self.slots[place];
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.kind = kind;
        slot.object = Some(object);
        Ok(MARK | slot.generation << (KIND_BITS + PLACE_BITS) | place << KIND_BITS | kind)
    }

    /// Place in the table when the handle is alive and of the wanted kind; else the refusal.
    fn locate<T: Handled>(&self, handle: *mut c_void) -> Outcome<usize> {
        let value = handle.addr();
        let bad =
            |what: String| refuse(codes::RT_INVALID_HANDLE, format!("{what} given, {} wanted", T::kind()));
        if value == 0 {
            return bad("NULL".into());
        }
        let place = value >> KIND_BITS & ((1 << PLACE_BITS) - 1);
        let Some(slot) = self.slots.get(place).filter(|_| value & MARK != 0) else {
            return bad(format!("{value:#x}, no handle of this library,"));
        };
        let kind = value & KIND_MASK;
        if kind != self.kind_of::<T>() {
            return bad(format!("{value:#x}, {},", self.kind_name(kind)));
        }
        let generation = value >> (KIND_BITS + PLACE_BITS) & GENERATION_MASK;
        if slot.generation != generation || slot.kind != kind || slot.object.is_none() {
            return bad(format!("{value:#x}, {} that was destroyed,", T::kind()));
        }
        Ok(place)
    }
}

/// An object of the wanted kind; of another one nothing.
fn typed<T: Handled>(object: &Arc<dyn Handled>) -> Option<Arc<T>> {
    let object: Arc<dyn Handled> = Arc::clone(object);
    (object as Arc<dyn Any + Send + Sync>).downcast().ok()
}

/// Gives an object a handle.
pub(crate) fn insert<T: Handled>(object: Arc<T>) -> Outcome<*mut c_void> {
    table().insert(object).map(std::ptr::without_provenance_mut)
}

/// The live object of a handle.
pub(crate) fn get<T: Handled>(handle: *mut c_void) -> Outcome<Arc<T>> {
    let table = table();
    let place = table.locate::<T>(handle)?;
    let object = table.slots[place].object.as_ref().and_then(typed);
    Ok(object.unwrap_or_else(|| unreachable!("`locate` checked kind and presence")))
}

/// Ends a handle and returns its object, which the caller drops outside the lock.
pub(crate) fn take<T: Handled>(handle: *mut c_void) -> Outcome<Arc<T>> {
    let object = get::<T>(handle)?;
    let mut table = table();
    let place = table.locate::<T>(handle)?;
    let old = table.slots[place].object.take();
    table.free.push(place);
    drop(table);
    drop(old);
    Ok(object)
}

/// Ends the handles of all objects that satisfy `which`, and returns those.
pub(super) fn take_where(which: impl Fn(&dyn Handled) -> bool) -> Vec<Arc<dyn Handled>> {
    let mut table = table();
    let Table { slots, free, .. } = &mut *table;
    let mut taken = Vec::new();
    for (place, slot) in slots.iter_mut().enumerate() {
        if let Some(object) = slot.object.take_if(|object| which(object.as_ref())) {
            free.push(place);
            taken.push(object);
        }
    }
    taken
}

/// As [`take_where`], of the objects of one kind.
pub(super) fn take_of_kind<T: Handled>(which: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
    let is_one = |object: &dyn Handled| (object as &dyn Any).downcast_ref().is_some_and(&which);
    take_where(is_one).iter().filter_map(typed).collect()
}

/// The objects of one kind that have handles.
pub(super) fn all<T: Handled>() -> Vec<Arc<T>> {
    table().slots.iter().filter_map(|slot| slot.object.as_ref().and_then(typed)).collect()
}
