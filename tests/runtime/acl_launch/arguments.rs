//! Sizes that are larger than the memory behind them: each is refused before it is believed. Behind the
//! memory lies a page that nobody may read.

use std::ffi::{c_void, CStr};
use std::ptr::null_mut;

use fastattention::driver::hccl::HcclComm;
use fastattention::driver::{
    LaunchAttr, LaunchAttrValue, LaunchCfg, LoadOption, LoadOptions, PlaceHolderInfo,
};
use fastattention::sim;

use super::launcher::Launcher;

/// A value at the end of a page, before one that cannot be read.
struct Fenced {
    base: *mut c_void,
    len: usize,
}

const PAGE: usize = 4096;

impl Fenced {
    fn new(bytes: usize) -> Fenced {
        let len = bytes.next_multiple_of(PAGE) + PAGE;
        let (flags, access) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
        let base = unsafe { libc::mmap(null_mut(), len, access, flags, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED);
        let fence = base.wrapping_byte_add(len - PAGE);
        assert_eq!(unsafe { libc::mprotect(fence, PAGE, libc::PROT_NONE) }, 0);
        Fenced { base, len }
    }

    /// The last `bytes` bytes before the fence.
    fn last(&self, bytes: usize) -> *mut c_void {
        self.base.wrapping_byte_add(self.len - PAGE - bytes)
    }

    fn with<T>(value: T) -> Fenced {
        let fenced = Fenced::new(size_of::<T>());
        unsafe { fenced.last(size_of::<T>()).cast::<T>().write(value) };
        fenced
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        assert_eq!(unsafe { libc::munmap(self.base, self.len) }, 0);
    }
}

/// Beyond a limit by a little, beyond the memory, beyond any memory.
const SIZES: [usize; 5] = [(64 << 10) + 8, 1 << 20, 1 << 40, 1 << 63, usize::MAX];

#[test]
fn sizes_of_kernel_arguments() {
    let b = Launcher::new();
    let (f, word) = (b.function(c"add_words"), Fenced::with(7_u64));
    let (list, mut param) = (b.args(f), null_mut());
    let first = b.append(list, 1);
    let launch = b.t.aclrtLaunchKernelWithHostArgs.unwrap();
    for size in SIZES {
        unsafe {
            let append = (b.t.aclrtKernelArgsAppend)(list, word.last(8), size, &mut param);
            b.refused(append, 107_000, &["more bytes given, at most 65528 of 65536 wanted"]);
            let update = (b.t.aclrtKernelArgsParaUpdate)(list, first, word.last(8), size);
            b.refused(update, 107_000, &[&format!("paramSize = {size} given, 1 slots of 8 bytes wanted")]);
            let host = launch(f, 1, b.stream, null_mut(), word.last(8), size, null_mut(), 0);
            b.refused(host, 107_000, &[&format!("argsSize = {size} given, at most 65536 wanted")]);
            let mut block = [0_u64; 4];
            let holder = Fenced::with(PlaceHolderInfo { addrOffset: 0, dataOffset: 16 });
            let holders = holder.last(size_of::<PlaceHolderInfo>()).cast();
            let host = launch(f, 1, b.stream, null_mut(), block.as_mut_ptr().cast(), 32, holders, size);
            b.refused(host, 107_000, &[&format!("placeHolderNum = {size} given, at most 4 wanted")]);
        }
    }
}

#[test]
fn memory_of_a_list_is_zeroed_as_far_as_the_list_goes() {
    let b = Launcher::new();
    let (f, memory, mut handle) = (b.function(c"add_words"), Fenced::new(64 << 10), [0_u64; 8]);
    for size in SIZES {
        let list = handle.as_mut_ptr().cast::<c_void>();
        unsafe {
            let init = b.t.aclrtKernelArgsInitByUserMem;
            assert_eq!(init(f, list, memory.last(64 << 10), size), 0, "{}", b.text());
            let mut param = null_mut();
            assert_eq!((b.t.aclrtKernelArgsAppendPlaceHolder)(list, &mut param), 0);
            let mut buffer = null_mut();
            let get = b.t.aclrtKernelArgsGetPlaceHolderBuffer;
            b.refused(get(list, param, size, &mut buffer), 107_000, &["at most 65528 of 65536 wanted"]);
            assert_eq!(get(list, param, 65_528, &mut buffer), 0);
            buffer.cast::<u8>().write_bytes(1, 65_528);
        }
    }
}

#[test]
fn sizes_of_images_options_and_attributes() {
    let b = Launcher::new();
    let mut module = null_mut();
    let load = b.t.aclrtBinaryLoadFromData.unwrap();
    let image = Fenced::with(*b"\x7fELF");
    let option = Fenced::with(LoadOption { type_: 1, ..unsafe { std::mem::zeroed() } });
    let options = option.last(size_of::<LoadOption>()).cast();
    let attribute = Fenced::with(LaunchAttr { id: 1, value: LaunchAttrValue { rsv: [0; 4] } });
    let attrs = attribute.last(size_of::<LaunchAttr>()).cast();
    for size in SIZES.into_iter().skip(2) {
        unsafe {
            let code = load(image.last(4), size, std::ptr::null(), &mut module);
            b.refused(code, 107_000, &[&format!("length = {size} given, at most 2147483648 wanted")]);
            assert!((b.t.aclrtCreateBinary)(image.last(4), size).is_null());
            b.refused(0, 0, &[&format!("dataLen = {size} given, at most 2147483648 wanted")]);
            let options = LoadOptions { options, numOpt: size };
            let code =
                load(super::image().as_ptr().cast(), super::image().len(), &raw const options, &mut module);
            b.refused(code, 107_000, &[&format!("numOpt = {size} given, at most 64 wanted")]);
            let mut cfg = LaunchCfg { attrs, numAttrs: size };
            let f = b.function(c"add_words");
            let with = b.t.aclrtLaunchKernelWithConfig;
            let code = with(f, 1, b.stream, &raw mut cfg, b.args(f), null_mut());
            b.refused(code, 107_000, &[&format!("numAttrs = {size} given, at most 64 wanted")]);
        }
    }
}

/// Rows are not looked at one by one: any number takes as long.
#[test]
fn rows_of_copies() {
    let b = Launcher::new();
    let (device, word) = (b.words(&[0; 2]), Fenced::with(7_u64));
    for height in [4, 1 << 20, 1 << 40, usize::MAX] {
        for (pitch, kind) in [(8, 1), (1 << 40, 1), (usize::MAX, 1), (usize::MAX / 2, 0)] {
            let code = unsafe { (b.t.aclrtMemcpy2d)(device, pitch, word.last(8), pitch, 8, height, kind) };
            b.refused(code, 107_000, &["dst"]);
        }
    }
    let code = unsafe { (b.t.aclrtMemcpy)(word.last(8), usize::MAX, word.last(8), usize::MAX, 0) };
    b.refused(code, 107_000, &["dst: 18446744073709551615 bytes given, at most 9223372036854775807 wanted"]);
}

#[test]
fn numbers_of_devices() {
    let b = Launcher::new();
    let (mut comms, device) = ([null_mut::<c_void>() as HcclComm; 1], Fenced::with(b.id));
    for count in [1 << 20, u32::MAX] {
        let code =
            unsafe { (sim::hccl_table().HcclCommInitAll)(count, device.last(4).cast(), comms.as_mut_ptr()) };
        b.refused(code.cast_signed(), 1, &[&format!("ndev = {count} given, at most ")]);
    }
}

/// A thread that is ending: keys of C are destroyed when the library's own data of the thread is gone.
#[test]
fn calls_in_the_destructor_of_a_thread_key() {
    static CODES: std::sync::Mutex<Vec<i32>> = std::sync::Mutex::new(Vec::new());
    unsafe extern "C" fn destroy(value: *mut c_void) {
        let t = sim::acl_table();
        let (mut list, mut stream) = (null_mut(), null_mut());
        let mut codes = CODES.lock().unwrap();
        unsafe {
            assert!((t.aclGetRecentErrMsg)().is_null());
            codes.push((t.aclrtKernelArgsInit)(value, &mut list));
            codes.push((t.aclrtCreateStream)(&mut stream));
            codes.push((t.aclrtSynchronizeStream)(stream));
            codes.push((t.aclrtDestroyStream)(stream));
            codes.push((t.aclrtFree)(value));
            assert!((t.aclGetRecentErrMsg)().is_null());
        }
    }
    let b = Launcher::new();
    let (f, id) = (b.function(c"add_words").addr(), b.id);
    std::thread::spawn(move || {
        let (t, mut key) = (sim::acl_table(), 0);
        let (f, mut list) = (std::ptr::without_provenance_mut::<c_void>(f), null_mut());
        unsafe {
            assert_eq!((t.aclrtSetDevice)(id), 0);
            // What the thread then has: texts, a list and a key.
            assert_ne!((t.aclrtFree)(f), 0);
            assert!(CStr::from_ptr((t.aclGetRecentErrMsg)()).to_str().unwrap().contains("aclrtFree"));
            assert_ne!((t.aclrtFree)(f), 0);
            assert_eq!((t.aclrtKernelArgsInit)(f, &mut list), 0);
            assert_eq!(libc::pthread_key_create(&mut key, Some(destroy)), 0);
            assert_eq!(libc::pthread_setspecific(key, f), 0);
        }
    })
    .join()
    .unwrap();
    assert_eq!(*CODES.lock().unwrap(), [107_000, 0, 0, 0, 107_000]);
}
