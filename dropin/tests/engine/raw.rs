//! What an engine has before it knows of this crate: a context, a stream and memory of its own, by C calls.

use std::ffi::c_void;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Condvar, Mutex};

use ascend_sys::{library, AclTable};
use bytemuck::{NoUninit, Pod};

const HOST_TO_DEVICE: u32 = 1;
const DEVICE_TO_HOST: u32 = 2;

/// A context of device 0, current in the thread that made it.
pub(crate) struct Context {
    pub(crate) t: &'static AclTable,
    handle: *mut c_void,
}

/// Device memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) address: *mut c_void,
    pub(crate) len: usize,
}

impl Context {
    pub(crate) fn new(path: &Path) -> Self {
        // SAFETY: the counting library, whose functions are those of the drop-in library.
        let library = Box::leak(Box::new(unsafe { library::load_from(path) }.unwrap()));
        let t = library.table();
        let mut handle = null_mut();
        unsafe {
            assert_eq!((t.aclInit)(std::ptr::null()), 0);
            assert_eq!((t.aclrtSetDevice)(0), 0);
            assert_eq!((t.aclrtCreateContext)(&raw mut handle, 0), 0);
        }
        Self { t, handle }
    }

    /// Gives the context back; everything in it is gone before.
    pub(crate) fn destroy(self) {
        unsafe {
            assert_eq!((self.t.aclrtDestroyContext)(self.handle), 0);
            assert_eq!((self.t.aclrtResetDevice)(0), 0);
        }
    }

    pub(crate) fn is_current(&self) -> bool {
        let mut current = null_mut();
        unsafe { assert_eq!((self.t.aclrtGetCurrentContext)(&raw mut current), 0) };
        current == self.handle
    }

    pub(crate) fn stream(&self) -> *mut c_void {
        let mut stream = null_mut();
        unsafe { assert_eq!((self.t.aclrtCreateStream)(&raw mut stream), 0) };
        stream
    }

    pub(crate) fn synchronize(&self, stream: *mut c_void) {
        let code = unsafe { (self.t.aclrtSynchronizeStream)(stream) };
        assert_eq!(code, 0, "{}", self.text());
    }

    fn text(&self) -> String {
        let text = unsafe { (self.t.aclGetRecentErrMsg)() };
        if text.is_null() {
            return String::new();
        }
        unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// Memory whose bytes are all 0xff: NaN as f16 and f32, and no page.
    pub(crate) fn malloc(&self, len: usize) -> Memory {
        let mut address = null_mut();
        unsafe { assert_eq!((self.t.aclrtMalloc)(&raw mut address, len, 0), 0) };
        let memory = Memory { address, len };
        self.spoil(memory);
        memory
    }

    pub(crate) fn spoil(&self, Memory { address, len }: Memory) {
        unsafe { assert_eq!((self.t.aclrtMemset)(address, len, 0xff, len), 0) };
    }

    pub(crate) fn upload<T: NoUninit>(&self, memory: Memory, values: &[T]) {
        let len = size_of_val(values);
        let from = values.as_ptr().cast();
        unsafe { assert_eq!((self.t.aclrtMemcpy)(memory.address, memory.len, from, len, HOST_TO_DEVICE), 0) };
    }

    pub(crate) fn download<T: Pod>(&self, memory: Memory, count: usize) -> Vec<T> {
        let mut values = vec![T::zeroed(); count];
        let len = size_of_val(&values[..]);
        let to = values.as_mut_ptr().cast();
        unsafe { assert_eq!((self.t.aclrtMemcpy)(to, len, memory.address, len, DEVICE_TO_HOST), 0) };
        values
    }

    /// Queues a function that waits until the gate is open.
    pub(crate) fn close_gate(&self, stream: *mut c_void) {
        *IS_OPEN.lock().unwrap() = false;
        let queue = self.t.aclrtLaunchHostFunc.unwrap();
        unsafe { assert_eq!(queue(stream, Some(wait_for_gate), null_mut()), 0) };
    }
}

static IS_OPEN: Mutex<bool> = Mutex::new(true);
static OPENED: Condvar = Condvar::new();

unsafe extern "C" fn wait_for_gate(_: *mut c_void) {
    drop(OPENED.wait_while(IS_OPEN.lock().unwrap(), |is_open| !*is_open).unwrap());
}

pub(crate) fn open_gate() {
    *IS_OPEN.lock().unwrap() = true;
    OPENED.notify_all();
}

impl Memory {
    /// A device address of the simulator is an address of the host. Takes the pages away from this process:
    /// who reads or writes there is killed.
    pub(crate) fn protect(self) {
        self.set(libc::PROT_NONE);
    }

    pub(crate) fn unprotect(self) {
        self.set(libc::PROT_READ | libc::PROT_WRITE);
    }

    fn set(self, protection: i32) {
        // Each allocation is a mapping of its own, and starts in its first page.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let before = self.address.addr() % usize::try_from(page_bytes).unwrap();
        let page = self.address.wrapping_byte_sub(before);
        assert_eq!(unsafe { libc::mprotect(page, self.len + before, protection) }, 0);
    }
}
