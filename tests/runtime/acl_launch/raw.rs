//! Through the raw table.

use std::ffi::{c_void, CString};
use std::io::Write;
use std::ptr::null_mut;

use fastattention::driver::{LaunchAttr, LaunchAttrValue, LaunchCfg, PlaceHolderInfo};

use super::image;
use super::launcher::Launcher;

#[test]
fn an_image_is_loaded_by_a_relative_path() {
    let b = Launcher::new();
    // In the current folder: its name alone is a path.
    let mut file = tempfile::Builder::new().suffix(".so").tempfile_in(".").unwrap();
    file.write_all(image()).unwrap();
    let name = file.path().file_name().unwrap().to_str().unwrap();
    for path in [name.to_owned(), format!("./{name}"), format!("src/../{name}")] {
        let path = CString::new(path).unwrap();
        let (mut module, mut function) = (null_mut(), null_mut());
        unsafe {
            let code = (b.t.aclrtBinaryLoadFromFile)(path.as_ptr(), null_mut(), &mut module);
            assert_eq!(code, 0, "{path:?}: {}", b.text());
            assert_eq!((b.t.aclrtBinaryGetFunction)(module, c"add_words".as_ptr(), &mut function), 0);
            assert_eq!((b.t.aclrtBinaryUnLoad)(module), 0);
        }
    }
}

#[test]
fn a_list_launches_and_launches_again_after_an_update() {
    let b = Launcher::new();
    let f = b.function(c"add_words");
    let (src, dst) = (b.words(&[10, 20, 30]), b.words(&[0; 3]));
    let list = b.args(f);
    let handles = [dst.addr() as u64, src.addr() as u64, 3, 1].map(|value| b.append(list, value));
    let t = b.t;
    unsafe {
        b.refused(b.launch(f, 1, list), 107_000, &["not finalised"]);
        assert_eq!((t.aclrtKernelArgsFinalize)(list), 0);
        assert_eq!(b.launch(f, 1, list), 0);
        let mut add = 5u64;
        assert_eq!((t.aclrtKernelArgsParaUpdate)(list, handles[3], (&raw mut add).cast(), 8), 0);
        b.refused(b.launch(f, 1, list), 107_000, &["not finalised"]);
        let mut source = dst.addr() as u64;
        assert_eq!((t.aclrtKernelArgsParaUpdate)(list, handles[1], (&raw mut source).cast(), 8), 0);
        assert_eq!((t.aclrtKernelArgsFinalize)(list), 0);
        assert_eq!(b.launch(f, 1, list), 0);
        b.refused(
            (t.aclrtKernelArgsParaUpdate)(list, handles[3], (&raw mut add).cast(), 9),
            107_000,
            &["paramSize = 9 given"],
        );
    }
    assert_eq!(b.synchronize(), 0, "{}", b.text());
    assert_eq!(b.read(dst), [16, 26, 36]);
}

#[test]
fn wrong_launches() {
    let b = Launcher::new();
    let (f, other) = (b.function(c"add_words"), b.function(c"per_block"));
    let data = b.words(&[0]);
    let list = b.add_list(f, data, data, 1, 1);
    let t = b.t;
    unsafe {
        b.refused(b.launch(f, 0, list), 107_000, &["0 blocks given"]);
        b.refused(b.launch(f, 65_536, list), 107_000, &["65536 blocks"]);
        b.refused(
            b.launch(other, 1, list),
            107_000,
            &["list of kernel \"add_words\" given, one of \"per_block\""],
        );
        b.refused(b.launch(f, 1, null_mut()), 107_017, &["an argument list wanted"]);
        b.refused(b.launch(b.stream, 1, list), 107_017, &["a stream", "a function wanted"]);
        let with = t.aclrtLaunchKernelWithConfig;
        b.refused(with(f, 1, b.stream, null_mut(), list, data), 100_000, &["reserve"]);
        let mut attrs =
            [1, 2].map(|mode| LaunchAttr { id: 1, value: LaunchAttrValue { rsv: [mode, 0, 0, 0] } });
        let mut cfg = LaunchCfg { attrs: attrs.as_mut_ptr(), numAttrs: 2 };
        b.refused(with(f, 1, b.stream, &raw mut cfg, list, null_mut()), 107_000, &["schemMode = 2"]);
        let mut attrs = [LaunchAttr { id: 77, value: LaunchAttrValue { rsv: [0; 4] } }];
        let mut cfg = LaunchCfg { attrs: attrs.as_mut_ptr(), numAttrs: 1 };
        b.refused(with(f, 1, b.stream, &raw mut cfg, list, null_mut()), 107_000, &["id = 77"]);
        // One argument too few is seen at the launch.
        let short = b.args(f);
        b.append(short, 1);
        assert_eq!((t.aclrtKernelArgsFinalize)(short), 0);
        b.refused(b.launch(f, 1, short), 107_000, &["1 argument slots given, 4 wanted"]);
        // Making the second list ended the first.
        b.refused(b.launch(f, 1, list), 107_017, &["destroyed"]);
        std::thread::scope(|scope| {
            let (b, short) = (SendPtr(&b), SendPtr(&short));
            scope.spawn(move || {
                let (SendPtr(b), SendPtr(&short)) = ({ b }, { short });
                assert_eq!((b.t.aclrtSetDevice)(b.id), 0);
                b.refused(b.launch(b.function(c"add_words"), 1, short), 107_000, &["of another thread"]);
            });
        });
        let mut missing = null_mut();
        b.refused(
            (t.aclrtBinaryGetFunction)(b.module, c"none".as_ptr(), &mut missing),
            100_029,
            &["\"none\"", "add_words, per_block, not_modelled, last"],
        );
        assert_eq!((t.aclrtBinaryUnLoad)(b.module), 0);
        b.refused(b.launch(f, 1, short), 107_017, &["a function that was destroyed"]);
        b.refused((t.aclrtBinaryUnLoad)(b.module), 107_017, &["destroyed"]);
    }
    assert_eq!(b.synchronize(), 0);
}

/// Lets a test pass handles to another thread.
#[derive(Clone, Copy)]
struct SendPtr<'a, T>(&'a T);
unsafe impl<T> Send for SendPtr<'_, T> {}

#[test]
fn lists_have_limits() {
    let b = Launcher::new();
    let list = b.args(b.function(c"add_words"));
    let (mut param, mut buffer) = (null_mut(), null_mut());
    let t = b.t;
    let mut big = vec![0u8; 64 << 10];
    let data = big.as_mut_ptr().cast::<c_void>();
    unsafe {
        b.refused(
            (t.aclrtKernelArgsAppend)(list, data, (64 << 10) + 1, &mut param),
            107_000,
            &["65544 more bytes"],
        );
        b.refused((t.aclrtKernelArgsAppend)(list, data, 0, &mut param), 100_000, &["at least 1 byte"]);
        b.refused((t.aclrtKernelArgsAppend)(list, null_mut(), 8, &mut param), 100_000, &["param = 0x0"]);
        let value = b.append(list, 1);
        b.refused(
            (t.aclrtKernelArgsGetPlaceHolderBuffer)(list, value, 8, &mut buffer),
            107_000,
            &["one of a placeholder without a buffer wanted"],
        );
        b.refused(
            (t.aclrtKernelArgsGetPlaceHolderBuffer)(list, list, 8, &mut buffer),
            107_017,
            &["paramHandle"],
        );
        assert_eq!((t.aclrtKernelArgsAppendPlaceHolder)(list, &mut param), 0);
        b.refused((t.aclrtKernelArgsFinalize)(list), 107_000, &["placeholder 1 without a buffer given"]);
        b.refused(
            (t.aclrtKernelArgsGetPlaceHolderBuffer)(list, param, 1 << 20, &mut buffer),
            107_000,
            &["of 65536"],
        );
        assert_eq!((t.aclrtKernelArgsGetPlaceHolderBuffer)(list, param, 8, &mut buffer), 0);
        b.refused(
            (t.aclrtKernelArgsGetPlaceHolderBuffer)(list, param, 8, &mut buffer),
            107_000,
            &["one of a placeholder without a buffer wanted"],
        );
        for i in 2..128 {
            b.append(list, i);
        }
        b.refused(
            (t.aclrtKernelArgsAppend)(list, data, 8, &mut param),
            107_000,
            &["at most 128 arguments wanted"],
        );
        assert_eq!((t.aclrtKernelArgsFinalize)(list), 0);
        b.refused((t.aclrtKernelArgsAppend)(list, data, 8, &mut param), 107_000, &["finalised"]);
    }
}

#[test]
fn placeholders_are_patched_and_belong_to_their_launch() {
    let b = Launcher::new();
    let f = b.function(c"per_block");
    let (first, second) = (b.words(&[0; 4]), b.words(&[0; 4]));
    let (mut free, mut after, mut total) = (0, 0, 0);
    unsafe {
        assert_eq!((b.t.aclrtGetMemInfo)(1, &mut free, &mut total), 0);
        for (dst, tiling) in [(first, [100u64, 7]), (second, [10, 1])] {
            let list = b.args(f);
            b.append(list, dst.addr() as u64);
            let (mut param, mut buffer) = (null_mut(), null_mut());
            assert_eq!((b.t.aclrtKernelArgsAppendPlaceHolder)(list, &mut param), 0);
            assert_eq!((b.t.aclrtKernelArgsGetPlaceHolderBuffer)(list, param, 16, &mut buffer), 0);
            buffer.cast::<[u64; 2]>().write(tiling);
            assert_eq!((b.t.aclrtKernelArgsFinalize)(list), 0);
            assert_eq!(b.launch(f, 4, list), 0, "{}", b.text());
        }
        assert_eq!(b.synchronize(), 0, "{}", b.text());
        assert_eq!((b.t.aclrtGetMemInfo)(1, &mut after, &mut total), 0);
    }
    assert_eq!(b.read(first), [7, 107, 207, 307]);
    assert_eq!(b.read(second), [1, 11, 21, 31]);
    assert_eq!(free, after, "the argument blocks were freed");
}

#[test]
fn lists_in_user_memory() {
    let b = Launcher::new();
    let f = b.function(c"per_block");
    let dst = b.words(&[0; 2]);
    let (mut handle_size, mut size) = (0, 0);
    unsafe {
        assert_eq!((b.t.aclrtKernelArgsGetHandleMemSize)(f, &mut handle_size), 0);
        assert_eq!((b.t.aclrtKernelArgsGetMemSize)(f, 32, &mut size), 0);
        let (mut handle, mut memory) = (vec![0u64; handle_size / 8], vec![0u64; size / 8]);
        let list = handle.as_mut_ptr().cast::<c_void>();
        assert_eq!((b.t.aclrtKernelArgsInitByUserMem)(f, list, memory.as_mut_ptr().cast(), size), 0);
        b.append(list, dst.addr() as u64);
        let (mut param, mut buffer) = (null_mut(), null_mut());
        assert_eq!((b.t.aclrtKernelArgsAppendPlaceHolder)(list, &mut param), 0);
        b.refused(
            (b.t.aclrtKernelArgsGetPlaceHolderBuffer)(list, param, 24, &mut buffer),
            107_000,
            &["at most 16 of 32"],
        );
        assert_eq!((b.t.aclrtKernelArgsGetPlaceHolderBuffer)(list, param, 16, &mut buffer), 0);
        buffer.cast::<[u64; 2]>().write([3, 4]);
        assert_eq!((b.t.aclrtKernelArgsFinalize)(list), 0);
        assert_eq!(b.launch(f, 2, list), 0, "{}", b.text());
        assert_eq!(b.synchronize(), 0);
    }
    assert_eq!(b.read(dst), [4, 7]);
}

#[test]
fn arguments_from_device_memory_and_from_a_host_block() {
    let b = Launcher::new();
    let (f, g) = (b.function(c"add_words"), b.function(c"per_block"));
    let (src, dst) = (b.words(&[1, 2]), b.words(&[0; 2]));
    let args = b.words(&[dst.addr() as u64, src.addr() as u64, 2, 40]);
    unsafe {
        b.refused(
            (b.t.aclrtLaunchKernel)(f, 1, args, 24, b.stream),
            107_000,
            &["argsSize = 24 given, 32 wanted"],
        );
        b.refused(
            (b.t.aclrtLaunchKernel)(f, 1, args.wrapping_byte_add(8), 32, b.stream),
            107_000,
            &["device memory"],
        );
        assert_eq!((b.t.aclrtLaunchKernel)(f, 1, args, 32, b.stream), 0);
        assert_eq!(b.synchronize(), 0, "{}", b.text());
        assert_eq!(b.read(dst), [41, 42]);
        let mut block = [dst.addr() as u64, 0, 1000, 5];
        let mut place = PlaceHolderInfo { addrOffset: 8, dataOffset: 16 };
        let launch = b.t.aclrtLaunchKernelWithHostArgs.unwrap();
        let host = block.as_mut_ptr().cast::<c_void>();
        b.refused(launch(g, 2, b.stream, null_mut(), host, 8, &mut place, 1), 107_000, &["argsSize = 8"]);
        assert_eq!(launch(g, 2, b.stream, null_mut(), host, 32, &mut place, 1), 0);
        block.fill(0);
        assert_eq!(b.synchronize(), 0, "{}", b.text());
        assert_eq!(b.read(dst), [5, 1005]);
        place.addrOffset = 16;
        b.refused(launch(g, 2, b.stream, null_mut(), host, 32, &mut place, 1), 107_000, &["addrOffset 16"]);
    }
}

#[test]
fn a_fault_sticks_to_its_stream() {
    let b = Launcher::new();
    let f = b.function(c"add_words");
    let (src, dst) = (b.words(&[1, 2]), b.words(&[0; 2]));
    let mut other = null_mut();
    unsafe {
        assert_eq!((b.t.aclrtCreateStream)(&mut other), 0);
        assert_eq!(b.launch(f, 1, b.add_list(f, dst, src, 3, 0)), 0);
        b.refused(b.synchronize(), 507_015, &["add_words", "\nFault: OutOfBounds: ", "AIV0 of block 0"]);
        // Told again, to whoever asks; nothing new is taken; another stream goes on.
        b.refused(b.synchronize(), 507_015, &["Fault: OutOfBounds"]);
        b.refused(b.launch(f, 1, b.add_list(f, dst, src, 1, 0)), 507_015, &["Fault: OutOfBounds"]);
        let mut status = 0;
        b.refused((b.t.aclrtStreamQuery)(b.stream, &mut status), 507_015, &[]);
        let list = b.add_list(f, dst, src, 2, 8);
        assert_eq!((b.t.aclrtLaunchKernelWithConfig)(f, 1, other, null_mut(), list, null_mut()), 0);
        assert_eq!((b.t.aclrtSynchronizeStream)(other), 0);
        assert_eq!(b.read(dst), [9, 10]);
        assert_eq!((b.t.aclrtDestroyStream)(b.stream), 0);
    }
}

#[test]
fn a_failed_stream_fails_those_that_wait_for_it() {
    let b = Launcher::new();
    let f = b.function(c"not_modelled");
    let (mut other, mut event) = (null_mut(), null_mut());
    let list = b.args(f);
    unsafe {
        assert_eq!((b.t.aclrtCreateStream)(&mut other), 0);
        assert_eq!((b.t.aclrtCreateEvent)(&mut event), 0);
        assert_eq!((b.t.aclrtKernelArgsFinalize)(list), 0);
        // Not before the launch is queued: the record must lie behind it, or be refused with the same
        // failure.
        assert_eq!(b.launch(f, 1, list), 0);
        let code = (b.t.aclrtRecordEvent)(event, b.stream);
        assert!([0, 507_015].contains(&code), "{code}");
        b.text();
        assert_eq!((b.t.aclrtStreamWaitEvent)(other, event), 0);
        b.refused(
            (b.t.aclrtSynchronizeStream)(other),
            507_015,
            &["\nUnsupported: ", "a feature of tomorrow"],
        );
        b.refused((b.t.aclrtSynchronizeEvent)(event), 507_015, &["a feature of tomorrow"]);
    }
}
