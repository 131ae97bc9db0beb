//! Functions of the C library that fail when they are told to: this program's own come first for everything
//! linked into it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{c_char, c_int, c_long, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// Smaller ones stand for what every program takes all the time, and nobody asks for the size of.
const LARGE: usize = 128 << 10;

/// Something that the host can refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Threads = 1,
    /// Parts of the address space of at least [`LARGE`] bytes.
    Mappings,
    /// Blocks of the allocator of more than [`LARGE`] bytes.
    Memory,
    Descriptors,
}

impl Resource {
    pub(crate) const ALL: [Resource; 4] =
        [Resource::Threads, Resource::Mappings, Resource::Memory, Resource::Descriptors];
}

static ARMED: AtomicU32 = AtomicU32::new(0);
static LEFT: AtomicU32 = AtomicU32::new(0);
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// From now on the call number `k` (from 0) for the resource fails.
pub(crate) fn arm(resource: Resource, k: u32) {
    LEFT.store(k, SeqCst);
    ARMED.store(resource as u32, SeqCst);
}

/// No call fails any more. Has one?
pub(crate) fn disarm() -> bool {
    ARMED.store(0, SeqCst);
    HAS_FAILED.load(SeqCst)
}

fn fails(resource: Resource) -> bool {
    if ARMED.load(SeqCst) != resource as u32 {
        return false;
    }
    let fails = LEFT.fetch_sub(1, SeqCst) == 0;
    if fails {
        ARMED.store(0, SeqCst);
        HAS_FAILED.store(true, SeqCst);
    }
    fails
}

fn refuse(error: c_int) {
    unsafe { *libc::__errno_location() = error };
}

type Start = extern "C" fn(*mut c_void) -> *mut c_void;

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    if fails(Resource::Threads) {
        return libc::EAGAIN;
    }
    type Own =
        unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Start, *mut c_void) -> c_int;
    unsafe {
        let next = libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr());
        std::mem::transmute::<*mut c_void, Own>(next)(thread, attributes, start, argument)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    address: *mut c_void,
    len: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    if len >= LARGE && fails(Resource::Mappings) {
        refuse(libc::ENOMEM);
        return libc::MAP_FAILED;
    }
    let got = unsafe { libc::syscall(libc::SYS_mmap, address, len, protection, flags, file, offset) };
    got as *mut c_void
}

/// A function that returns a descriptor.
macro_rules! descriptor {
    ($($name:ident = $call:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            if fails(Resource::Descriptors) {
                refuse(libc::EMFILE);
                return -1;
            }
            let got: c_long = unsafe { libc::syscall(libc::$call, $($argument),*) };
            c_int::try_from(got).unwrap()
        }
    )*};
}

descriptor! {
    memfd_create = SYS_memfd_create(name: *const c_char, flags: u32);
    socket = SYS_socket(domain: c_int, kind: c_int, protocol: c_int);
    socketpair = SYS_socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int);
    accept4 = SYS_accept4(socket: c_int, address: *mut c_void, len: *mut u32, flags: c_int);
    openat64 = SYS_openat(folder: c_int, path: *const c_char, flags: c_int, mode: u32);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: u32) -> c_int {
    unsafe { openat64(libc::AT_FDCWD, path, flags, mode) }
}

/// The system's allocator, which can be told to have nothing left.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match layout.size() > LARGE && fails(Resource::Memory) {
            true => std::ptr::null_mut(),
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match layout.size() > LARGE && fails(Resource::Memory) {
            true => std::ptr::null_mut(),
            false => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match size > LARGE && fails(Resource::Memory) {
            true => std::ptr::null_mut(),
            false => unsafe { System.realloc(old, layout, size) },
        }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}
