//! Images: loading, and a kernel in C through the real interface.

use std::path::PathBuf;
use std::process::Command;

use super::*;
use ascend_soc::Soc;

/// The interface as a C file of its own, so that a change of `machine_abi.h` or `abi.rs` alone is noticed.
const PRELUDE: &str = r#"
#include <stdint.h>
typedef struct { uint16_t op; uint8_t elem, elem_dst; uint32_t num_args; uint64_t args[20]; } Instr;
typedef struct {
    uint32_t abi_version, reserved;
    int32_t (*issue)(const Instr *);
    int32_t (*load)(uint64_t, uint32_t, uint64_t *);
    int32_t (*store)(uint64_t, uint32_t, uint64_t);
    int32_t (*special)(uint32_t, uint64_t *);
    int32_t (*api_fault)(uint32_t, const char *);
} Hooks;
typedef struct { const char *name; int32_t (*launch)(const uint64_t *, uint32_t); uint32_t num_args, type; } Kernel;
typedef struct {
    uint32_t abi_version, num_ops; const char *const *ops; uint32_t num_kernels, reserved;
    const Kernel *kernels; void (*bind)(const Hooks *);
} Image;
static const Hooks *hooks;
static void bind(const Hooks *h) { hooks = h; }
"#;

/// Doubles an array of u64 by scalar accesses; sets and waits one flag.
const DOUBLE: &str = r#"
static const char *const ops[] = {"wait_flag", "set_flag"};
static int32_t run(const uint64_t *args, uint32_t num_args) {
    Instr set = {1, 0, 0, 3, {4, 1, 5}}, wait = {0, 0, 0, 3, {4, 1, 5}};
    if (num_args != 2 || hooks->issue(&set) || hooks->issue(&wait)) return 1;
    uint64_t block, value;
    if (hooks->special(0, &block)) return 1;
    for (uint64_t i = 0; i < args[1]; ++i) {
        uint64_t at = args[0] + 8 * (block * args[1] + i);
        if (hooks->load(at, 8, &value) || hooks->store(at, 8, 2 * value + FACTOR)) return 1;
    }
    return 0;
}
static const Kernel kernels[] = {{"double_it", run, 2, 0}, {"cube", run, 2, 1}};
static const Image image = {VERSION, 2, ops, 2, 0, kernels, bind};
const Image *fasim_image(void) { return &image; }
"#;

fn build(dir: &tempfile::TempDir, name: &str, defines: &[&str], source: &str) -> PathBuf {
    let (c, so) = (dir.path().join(format!("{name}.c")), dir.path().join(format!("{name}.so")));
    std::fs::write(&c, format!("{PRELUDE}{source}")).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status =
        Command::new(compiler).args(["-shared", "-fPIC", "-o"]).arg(&so).arg(&c).args(defines).status();
    assert!(status.unwrap().success());
    so
}

/// A device for test kernels.
struct Device {
    memory: DeviceMemory,
    config: Config,
}

impl Device {
    fn new() -> Self {
        let mut config = Config::new(Soc::by_name("Ascend910B2").unwrap());
        config.threads = 1;
        Self { memory: DeviceMemory::new(1 << 30), config }
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.memory.find(at).unwrap().read(at, &mut out);
        out
    }
}

#[track_caller]
fn assert_fault<T: fmt::Debug>(result: Result<T, Stop>, kind: FaultKind, part: &str) {
    match result {
        Err(Stop::Fault(fault)) => {
            assert_eq!(fault.kind, kind, "{fault}");
            assert!(fault.to_string().contains(part), "{part:?} is not in: {fault}");
        }
        other => panic!("expected a fault, got {other:?}"),
    }
}

fn load_file(path: &Path) -> Result<Arc<Image>, String> {
    // SAFETY: the libraries of these tests have no initialisers, and their kernels end in the machine.
    unsafe { Image::load_file(path) }
}

fn load_bytes(data: &[u8]) -> Result<Arc<Image>, String> {
    // SAFETY: as above.
    unsafe { Image::load_bytes(data) }
}

fn double(device: &Device, image: &Arc<Image>) -> Vec<u64> {
    let at = device.memory.alloc(64).unwrap();
    let data: Vec<u8> = (1..9u64).flat_map(u64::to_le_bytes).collect();
    device.memory.find(at).unwrap().write(at, &data);
    let kernel = image.find("double_it").unwrap();
    kernel.launch(&device.memory, &device.config, &[at, 4], 2).unwrap();
    device.bytes(at, 64).chunks(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn a_c_kernel_runs_from_a_file_and_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::new();
    let first = build(&dir, "first", &["-DVERSION=1", "-DFACTOR=0"], DOUBLE);
    let second = build(&dir, "second", &["-DVERSION=1", "-DFACTOR=1"], DOUBLE);
    let image = load_file(&first).unwrap();
    assert_eq!(double(&device, &image), [2, 4, 6, 8, 10, 12, 14, 16]);
    // One after the other, so that a path used twice would be noticed.
    for _ in 0..2 {
        let from_memory = load_bytes(&std::fs::read(&first).unwrap()).unwrap();
        assert_eq!(double(&device, &from_memory)[0], 2);
        drop(from_memory);
        let from_memory = load_bytes(&std::fs::read(&second).unwrap()).unwrap();
        assert_eq!(double(&device, &from_memory)[0], 3);
    }
    let kernel = image.find("double_it").unwrap();
    assert!(image.find("double").is_none());
    assert_eq!(image.kernels().iter().map(|k| k.name.as_str()).collect::<Vec<_>>(), ["double_it", "cube"]);
    drop(image);
    let run = |args: &[u64], blocks| kernel.launch(&device.memory, &device.config, args, blocks);
    assert_fault(run(&[1], 1), FaultKind::Operand, "kernel double_it: 1 arguments given; it takes 2");
    assert_fault(run(&[1, 2], 0), FaultKind::Operand, "kernel double_it: 0 blocks given");
    assert_fault(run(&[64, 1], 1), FaultKind::OutOfBounds, "nothing is allocated");
}

/// The loader would take two equal paths for one library.
#[test]
#[cfg(target_os = "linux")]
fn paths_of_two_copies_of_this_crate_in_a_process_differ() {
    let place = 0x7fff_1234_5678;
    let paths = [(place, 0), (place, 1), (place + 4, 0), (place + 4, 1), (0, 0), (usize::MAX, u32::MAX)];
    let paths = paths.map(|(copy, number)| unique(copy, number));
    for (i, path) in paths.iter().enumerate() {
        assert!(!paths[..i].contains(path), "{path}");
        assert_eq!(path.replace('.', "").len(), 96, "only slashes and dots");
    }
}

#[test]
fn the_kernel_type_of_the_image_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::new();
    let image = load_file(&build(&dir, "cube", &["-DVERSION=1", "-DFACTOR=0"], DOUBLE)).unwrap();
    let result = image.find("cube").unwrap().launch(&device.memory, &device.config, &[0, 0], 1);
    assert_fault(result, FaultKind::NoSuchPath, "tpipe names pipe V, which an AIC does not have");
}

#[test]
fn what_is_wrong_with_an_image_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let no_file = load_file(&dir.path().join("none.so")).unwrap_err();
    assert!(no_file.contains("none.so cannot be read"), "{no_file}");
    let garbage = load_bytes(b"not a library").unwrap_err();
    assert!(garbage.contains("cannot be loaded"), "{garbage}");
    let no_entry = load_file(&build(&dir, "empty", &[], "")).unwrap_err();
    assert!(no_entry.contains("is no kernel image"), "{no_entry}");
    let version = build(&dir, "version", &["-DVERSION=7", "-DFACTOR=0"], DOUBLE);
    assert_eq!(load_file(&version).unwrap_err(), "the image has interface version 7; this machine has 1");
    let unknown = DOUBLE.replace("\"set_flag\"", "\"vfoo\"");
    let unknown = build(&dir, "unknown", &["-DVERSION=1", "-DFACTOR=0"], &unknown);
    assert_eq!(load_file(&unknown).unwrap_err(), "the image uses the intrinsic vfoo, which is not modelled");
    let kernel_type = DOUBLE.replace("run, 2, 1}", "run, 2, 4}");
    let kernel_type = build(&dir, "type", &["-DVERSION=1", "-DFACTOR=0"], &kernel_type);
    assert_eq!(load_file(&kernel_type).unwrap_err(), "kernel cube has type 4; types are 0 to 3");
}
