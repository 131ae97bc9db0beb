//! Images that are cut off, damaged or wrong: each is an error, and none ends the process. They are loaded in
//! a child, which says before each what comes.

use std::ffi::{c_void, CStr, CString};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use fastattention::driver::AclTable;
use fastattention::{sim, Soc};
use fastattention_testkit::child;

use super::{compile, image};

const JOB: &str = "ACL_LAUNCH_IMAGES";

/// Runs a job in a child, which must end well.
fn run(job: &str, folder: &Path) -> String {
    let output =
        child::test(module_path!(), "child").env(JOB, job).env("ACL_LAUNCH_FOLDER", folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = out.lines().last().unwrap_or_default();
    assert!(output.status.success(), "{job}: {} after {last:?}: {err}", output.status);
    out.into_owned()
}

#[test]
fn a_cut_image_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let said = run("cut", folder.path());
    assert_eq!(said.matches("refused twice").count(), 2 * 150, "{said}");
}

#[test]
fn a_damaged_header_is_an_error_or_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let said = run("damaged", folder.path());
    // Not all bytes of the headers mean something to a loader, but most do.
    let count = |word: &str| said.lines().filter(|line| line.starts_with(word)).count();
    let (loaded, refused) = (count("loaded"), count("refused"));
    assert!(refused > 1000 && refused > loaded, "{loaded} loaded, {refused} refused");
}

#[test]
fn a_damaged_section_header_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let said = run("sections", folder.path());
    assert!(said.contains("files refused"), "{said}");
}

#[test]
fn a_symbol_that_is_defined_nowhere_is_found_when_the_image_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    compile(&folder.path().join("undefined.so"), &["-DWITH_UNDEFINED"]);
    let said = run("undefined", folder.path());
    assert!(said.contains("undefined symbol: defined_nowhere"), "{said}");
}

/// What the table of an image gives, and what is said about it.
const WRONG_TABLES: [(&str, &str); 8] = [
    ("-DNUM_KERNELS=0x40000000", "announces 1073741824 kernels at"),
    ("-DKERNELS=nullptr", "announces 4 kernels but gives no table"),
    ("-DKERNELS=(const FasimKernel*)64", "announces 4 kernels at 0x40, where the library has no such table"),
    ("-DNUM_OPS=5", "announces 5 operations but gives no table"),
    ("-DNAME=(const char*)64", "the name of a kernel is not inside the library"),
    ("-DLAUNCH=nullptr", "kernel last has no function"),
    (
        "-DLAUNCH=(int32_t(*)(const uint64_t*,uint32_t))64",
        "kernel last is at 0x40, where the library has no code",
    ),
    ("-DBIND=nullptr", "the image has no function `bind`"),
];

#[test]
fn counts_and_pointers_of_an_image_are_compared_with_the_library() {
    let folder = tempfile::tempdir().unwrap();
    for (i, (define, _)) in WRONG_TABLES.iter().enumerate() {
        compile(&folder.path().join(format!("{i}.so")), &[define]);
    }
    run("tables", folder.path());
}

/// A device in the child.
struct Loader {
    t: &'static AclTable,
}

impl Loader {
    fn new() -> Loader {
        let t = sim::acl_table();
        let id = sim::add_device(sim::Config::new(Soc::by_name("Ascend910B2").unwrap()));
        assert_eq!(unsafe { (t.aclrtSetDevice)(id) }, 0);
        Loader { t }
    }

    fn text(&self) -> String {
        let text = unsafe { (self.t.aclGetRecentErrMsg)() };
        if text.is_null() {
            return String::new();
        }
        unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
    }

    fn load_bytes(&self, data: &[u8]) -> Result<*mut c_void, String> {
        let mut module = null_mut();
        let load = self.t.aclrtBinaryLoadFromData.unwrap();
        match unsafe { load(data.as_ptr().cast(), data.len(), null(), &mut module) } {
            0 => Ok(module),
            _ => Err(self.text()),
        }
    }

    fn load_path(&self, path: &Path) -> Result<*mut c_void, String> {
        let (mut module, path) = (null_mut(), CString::new(path.to_str().unwrap()).unwrap());
        match unsafe { (self.t.aclrtBinaryLoadFromFile)(path.as_ptr(), null_mut(), &mut module) } {
            0 => Ok(module),
            _ => Err(self.text()),
        }
    }

    /// Runs a kernel of a loaded image and unloads it.
    fn use_up(&self, module: *mut c_void) {
        let t = self.t;
        let (mut function, mut memory, mut list, mut param) =
            (null_mut(), null_mut(), null_mut(), null_mut());
        let (words, mut got) = ([5_u64, 6], [0_u64; 2]);
        unsafe {
            assert_eq!((t.aclrtBinaryGetFunction)(module, c"add_words".as_ptr(), &mut function), 0);
            assert_eq!((t.aclrtMalloc)(&mut memory, 16, 0), 0);
            assert_eq!((t.aclrtMemcpy)(memory, 16, words.as_ptr().cast(), 16, 1), 0);
            assert_eq!((t.aclrtKernelArgsInit)(function, &mut list), 0);
            for mut value in [memory.addr() as u64, memory.addr() as u64, 2, 10] {
                assert_eq!((t.aclrtKernelArgsAppend)(list, (&raw mut value).cast(), 8, &mut param), 0);
            }
            assert_eq!((t.aclrtKernelArgsFinalize)(list), 0);
            let code = (t.aclrtLaunchKernelWithConfig)(function, 1, null_mut(), null_mut(), list, null_mut());
            assert_eq!(code, 0, "{}", self.text());
            assert_eq!((t.aclrtSynchronizeStream)(null_mut()), 0, "{}", self.text());
            assert_eq!((t.aclrtMemcpy)(got.as_mut_ptr().cast(), 16, memory, 16, 2), 0);
            assert_eq!((t.aclrtFree)(memory), 0);
            assert_eq!((t.aclrtBinaryUnLoad)(module), 0);
        }
        assert_eq!(got, [15, 16]);
    }
}

fn cut(loader: &Loader, folder: &Path) {
    let own = std::fs::read(env!("FA_BUILD_SIM_KERNELS")).unwrap();
    for (name, whole) in [("small", image()), ("own", own.as_slice())] {
        for point in 0..150 {
            let len = 1 + (whole.len() - 1) * point / 150;
            println!("{name} cut to {len} of {}", whole.len());
            let text = loader.load_bytes(&whole[..len]).unwrap_err();
            assert!(text.contains("no kernel image"), "{text}");
            let path = folder.join(format!("{name}_{len}.so"));
            std::fs::write(&path, &whole[..len]).unwrap();
            let text = loader.load_path(&path).unwrap_err();
            assert!(text.contains("no kernel image"), "{text}");
            println!("refused twice");
        }
    }
}

/// Every byte of the file header and of the program headers behind it, in several ways.
fn damage(loader: &Loader) {
    let whole = image();
    let headers = usize::from(u16::from_le_bytes([whole[56], whole[57]]));
    assert!((4..20).contains(&headers), "e_phnum of a 64-bit little-endian file");
    for at in 0..64 + 56 * headers {
        for damaged in [whole[at] ^ 1, whole[at] ^ 4, whole[at] ^ 0x10, whole[at] ^ 0x80, !whole[at], 0] {
            if damaged == whole[at] {
                continue;
            }
            let mut data = whole.to_vec();
            data[at] = damaged;
            println!("byte {at} = {:#x} instead of {:#x}:", damaged, whole[at]);
            match loader.load_bytes(&data) {
                Ok(module) => {
                    println!("loaded");
                    loader.use_up(module);
                }
                Err(text) => println!("refused {}", text.replace('\n', " ")),
            }
        }
    }
}

/// The section headers of `.data` and `.bss`, with places and sizes whose sum is no address.
fn damage_sections(loader: &Loader) {
    let whole = image();
    let number = |at: usize, len: usize| {
        let bytes = whole[at..at + len].iter().rev();
        bytes.fold(0, |value, byte| value << 8 | usize::from(*byte))
    };
    // e_shoff, e_shnum and e_shstrndx; sh_name, sh_addr, sh_offset and sh_size of a 64-bit little-endian
    // file.
    let (table, count, names) = (number(40, 8), number(60, 2), number(62, 2));
    let names = number(table + 64 * names + 24, 8);
    let mut done = 0;
    for header in (0..count).map(|i| table + 64 * i) {
        let name = &whole[names + number(header, 4)..];
        if !name.starts_with(b".data\0") && !name.starts_with(b".bss\0") {
            continue;
        }
        for (address, size) in [(1, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX, 1), (64, u64::MAX - 63)] {
            let mut data = whole.to_vec();
            data[header + 16..header + 24].copy_from_slice(&u64::to_le_bytes(address));
            data[header + 32..header + 40].copy_from_slice(&u64::to_le_bytes(size));
            println!("section header at {header}: address {address:#x}, {size:#x} bytes");
            let text = loader.load_bytes(&data).unwrap_err();
            assert!(text.contains("the file is damaged"), "{text}");
            done += 1;
        }
    }
    assert_ne!(done, 0, "no section to damage");
    println!("{done} files refused");
}

#[test]
fn child() {
    let Ok(job) = std::env::var(JOB) else { return };
    let folder = PathBuf::from(std::env::var_os("ACL_LAUNCH_FOLDER").unwrap());
    let loader = Loader::new();
    match job.as_str() {
        "cut" => cut(&loader, &folder),
        "damaged" => damage(&loader),
        "sections" => damage_sections(&loader),
        "undefined" => println!("{}", loader.load_path(&folder.join("undefined.so")).unwrap_err()),
        "tables" => {
            for (i, (define, want)) in WRONG_TABLES.iter().enumerate() {
                println!("{define}");
                let text = loader.load_path(&folder.join(format!("{i}.so"))).unwrap_err();
                assert!(text.contains(want), "{define}: {text}");
            }
        }
        _ => panic!("no such job: {job}"),
    }
}
