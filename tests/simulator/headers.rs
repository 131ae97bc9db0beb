//! The headers of `ascendc/sim`: what each AscendC call lowers to, layouts shared with Rust, and
//! self-containedness.
//!
//! `tests/simulator/headers/calls_*.cpp` is kernel text (it compiles with CANN's headers too). `record.cpp`
//! stands in for the machine and writes down each instruction; `expected.txt` says what `dav-c220.md` 2.2, 3,
//! 4 and CANN's `dav_c220` lowering want.
#![allow(unsafe_code, reason = "loads the compiled recorder")]

use std::collections::BTreeSet;
use std::ffi::{c_char, CStr};
use std::fs;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};

use dav_c220::abi::{FasimHooks, FasimImage, FasimInstr, FasimKernel, KernelType, ABI_VERSION};
use fastattention::append::{KvAppendRotaryTilingData, KvAppendTilingData};
use fastattention::baseline::{
    AddTilingData, ReadTilingData, ScorePassTilingData, SoftmaxTilingData, VectorStreamTilingData,
};
use fastattention::kernels::SelfTestTilingData;
use fastattention::layer::{ActivationTilingData, ArgmaxTilingData, EmbeddingTilingData, NormTilingData};
use fastattention::matmul::MatmulTilingData;
use fastattention::merge::MergeTilingData;
use fastattention::serving::FlashDecodeTilingData;
use fastattention::tiling::{FlashFwdTilingData, ShiftKeysTilingData};
use kernel_build::interfaces::interfaces;
use kernel_build::sim_kernels::{registration, Registration, SimLibrary};
use kernel_build::{variants, Compiler, TARGET};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn compiler(scratch: &Path) -> Compiler {
    Compiler::find(TARGET, scratch).unwrap()
}

/// Builds the recorder and returns what its function `name` says.
fn recorded(name: &str) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let folder = root().join("tests/simulator/headers");
    let sources =
        ["calls_vector.cpp", "calls_cube.cpp", "calls_pipe.cpp", "record.cpp"].map(|f| folder.join(f));
    let output = scratch.path().join("recorder.so");
    let library = SimLibrary {
        ascendc: &root().join("ascendc"),
        sources: &sources,
        objects: scratch.path(),
        output: &output,
        flags: &[],
    };
    library.build(&compiler(scratch.path())).unwrap_or_else(|e| panic!("{e}"));
    // SAFETY: the library was just built from our sources; its initialisers only fill constants.
    let loaded = unsafe { libloading::Library::new(&output) }.unwrap();
    // SAFETY: both functions of record.cpp have this signature.
    let function = unsafe { loaded.get::<unsafe extern "C" fn() -> *const c_char>(name.as_bytes()) }.unwrap();
    // SAFETY: the functions take nothing and keep no pointer of ours.
    let text = unsafe { function() };
    // SAFETY: they return a null-terminated string that lives until their next call.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

#[test]
fn calls_lower_to_the_documented_instructions() {
    let expected = fs::read_to_string(root().join("tests/simulator/headers/expected.txt")).unwrap();
    let wanted: Vec<&str> = expected.lines().filter(|l| !l.starts_with("//")).collect();
    let got = recorded("headers_record");
    let mut call = "";
    for (i, got) in got.lines().enumerate() {
        if got.starts_with('#') {
            call = got;
        }
        assert_eq!(Some(&got), wanted.get(i), "line {} of the record, in `{call}`", i + 1);
    }
    assert_eq!(got.lines().count(), wanted.len(), "the record ends early, after `{call}`");
}

/// `FIELD(structure, field)` lines of the list that both sides read.
macro_rules! fields {
    ($($ty:ident { $($field:ident)* })*) => {{
        let mut text = String::new();
        $(text += &format!("{} {}\n", stringify!($ty), size_of::<$ty>());)*
        $($(text += &format!(
            "{}.{} {} {}\n",
            stringify!($ty),
            stringify!($field),
            offset_of!($ty, $field),
            size_of_field(|x: &$ty| std::ptr::addr_of!(x.$field)),
        );)*)*
        text
    }};
}

fn size_of_field<T, F>(_: impl Fn(&T) -> *const F) -> usize {
    size_of::<F>()
}

#[test]
fn layouts_are_shared() {
    let rust = fields! {
        FasimInstr { op elem elem_dst num_args args }
        FasimHooks { abi_version reserved issue scalar_load scalar_store special api_fault }
        FasimKernel { name launch num_args kernel_type }
        FasimImage { abi_version num_ops ops num_kernels reserved kernels bind }
    };
    assert_eq!(recorded("headers_layout"), rust);
}

/// Name and size of a structure, and name, offset and size of each field.
type Layout = (&'static str, usize, &'static [(&'static str, usize, usize)]);

/// What the Rust compiler makes of the structures of tiling data.
const TILING_DATA: &[Layout] = include!(concat!(env!("OUT_DIR"), "/tiling_data_layouts.rs"));

/// The C++ compiler is asked about each field.
#[test]
fn tiling_data_is_the_same_in_both_languages() {
    let assertions = |layouts: &[Layout]| {
        let mut text = String::from("#include <cstddef>\n#include \"fa/tiling_data.h\"\n");
        for (name, size, fields) in layouts {
            text += &format!("static_assert(sizeof(fa::{name}) == {size});\n");
            for (field, offset, size) in *fields {
                text += &format!(
                    "static_assert(offsetof(fa::{name}, {field}) == {offset} && sizeof(fa::{name}::{field}) == {size});\n"
                );
            }
        }
        text
    };
    let scratch = tempfile::tempdir().unwrap();
    let compiler = compiler(scratch.path());
    let check = |text: &str| {
        let unit = scratch.path().join("unit.cpp");
        fs::write(&unit, text).unwrap();
        compiler.check_syntax(&root().join("ascendc"), &unit)
    };
    let text = assertions(TILING_DATA);
    assert!(text.matches("static_assert").count() > 100, "{text}");
    check(&text).unwrap_or_else(|e| panic!("{e}"));
    let wrong = text.replace("batch) == 0", "batch) == 4");
    assert!(check(&wrong).unwrap_err().contains("FlashFwdTilingData"), "the check cannot fail");
}

#[test]
fn headers_are_self_contained() {
    let scratch = tempfile::tempdir().unwrap();
    let compiler = compiler(scratch.path());
    let ascendc = root().join("ascendc");
    for folder in ["sim", "include/fa", "kernels"] {
        for entry in fs::read_dir(ascendc.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "h") {
                continue;
            }
            let unit = scratch.path().join("unit.cpp");
            fs::write(&unit, format!("#include \"{}\"\n", path.display())).unwrap();
            compiler.check_syntax(&ascendc, &unit).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
}

/// Names that a pointer table of an image holds.
fn names(table: *const *const c_char, count: u32) -> Vec<String> {
    (0..count as usize)
        .map(|i| {
            // SAFETY: the image says that the table has `count` entries.
            let entry = unsafe { table.add(i) };
            // SAFETY: in range, see above.
            let name = unsafe { *entry };
            // SAFETY: entries are string literals of the image.
            unsafe { CStr::from_ptr(name) }.to_str().unwrap().to_owned()
        })
        .collect()
}

/// Loads an image and returns its operations and (kernel, type, arguments).
fn image_contents(path: &Path) -> (Vec<String>, Vec<(String, u32, u32)>) {
    // SAFETY: built by this crate.
    let loaded = unsafe { libloading::Library::new(path) }.unwrap();
    type Entry = unsafe extern "C" fn() -> *const FasimImage;
    // SAFETY: the signature of machine_abi.h.
    let entry = unsafe { loaded.get::<Entry>(b"fasim_image") }.unwrap();
    // SAFETY: takes nothing.
    let image = unsafe { entry() };
    // SAFETY: points to a constant of the loaded library.
    let image = unsafe { &*image };
    assert_eq!(image.abi_version, ABI_VERSION);
    // SAFETY: the image says how many kernels it has.
    let kernels = unsafe { std::slice::from_raw_parts(image.kernels, image.num_kernels as usize) };
    let kernels = kernels.iter().map(|k| (names(&k.name, 1).remove(0), k.kernel_type, k.num_args)).collect();
    (names(image.ops, image.num_ops), kernels)
}

#[test]
fn our_image_lists_the_variants() {
    let (ops, kernels) = image_contents(Path::new(env!("FA_BUILD_SIM_KERNELS")));
    assert_eq!(ops.iter().collect::<BTreeSet<_>>().len(), ops.len(), "a mnemonic is listed twice");
    let text = |file: &str| fs::read_to_string(root().join("ascendc/kernels").join(file)).unwrap();
    // Read by the build, not by the C++ compiler that made the image.
    let interfaces = interfaces(&text("families.h")).unwrap();
    let listed = variants::kernels(&text("variants.def"), &interfaces).unwrap();
    let wanted: Vec<_> = listed
        .into_iter()
        .map(|kernel| {
            let kernel_type = match &*kernel.kernel_type {
                "KERNEL_TYPE_AIV_ONLY" => KernelType::AivOnly,
                "KERNEL_TYPE_AIC_ONLY" => KernelType::AicOnly,
                "KERNEL_TYPE_MIX_AIC_1_2" => KernelType::MixAic1Aiv2,
                other => panic!("{other} is not a type that this test knows"),
            };
            (kernel.name, kernel_type as u32, u32::try_from(kernel.args.len()).unwrap())
        })
        .collect();
    // By hand, one of each type.
    for (name, kernel_type, num_args) in [
        ("fa_copy", KernelType::AivOnly, 3),
        ("fa_matmul_f16", KernelType::AicOnly, 4),
        ("fa_flash_fwd_f16", KernelType::MixAic1Aiv2, 8),
        ("fa_flash_fwd_matmul_f16", KernelType::MixAic1Aiv2, 12),
        ("fa_flash_decode_f16", KernelType::MixAic1Aiv2, 12),
    ] {
        assert!(wanted.contains(&(name.to_owned(), kernel_type as u32, num_args)), "{name}: {wanted:?}");
    }
    assert_eq!(kernels, wanted);
}

#[test]
fn test_kernels_register_with_generated_text() {
    let scratch = tempfile::tempdir().unwrap();
    let entries = scratch.path().join("entries.cpp");
    let kernels = [
        Registration { name: "first", params: "GM_ADDR dst, uint32_t count", kernel_type: "kAicOnly" },
        Registration { name: "second", params: "", kernel_type: "kMixAic1Aiv1" },
    ];
    fs::write(&entries, registration(&kernels)).unwrap();
    let source = scratch.path().join("kernels.cpp");
    let text = "#include \"kernel_operator.h\"\n\
        extern \"C\" __global__ __aicore__ void first(GM_ADDR, uint32_t) {}\n\
        extern \"C\" __global__ __aicore__ void second() {}\n";
    fs::write(&source, text).unwrap();
    let output = scratch.path().join("kernels.so");
    let library = SimLibrary {
        ascendc: &root().join("ascendc"),
        sources: &[source, entries],
        objects: scratch.path(),
        output: &output,
        flags: &[],
    };
    library.build(&compiler(scratch.path())).unwrap_or_else(|e| panic!("{e}"));
    let (_, got) = image_contents(&output);
    let first = ("first".to_owned(), KernelType::AicOnly as u32, 2);
    let second = ("second".to_owned(), KernelType::MixAic1Aiv1 as u32, 0);
    assert_eq!(got, [first, second]);
}

#[test]
fn a_warning_in_kernel_text_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let unit = scratch.path().join("unit.cpp");
    fs::write(&unit, "#include <cstdint>\nuint16_t narrow(uint32_t x) { return x; }\n").unwrap();
    let error = compiler(scratch.path()).check_syntax(&root().join("ascendc"), &unit).unwrap_err();
    assert!(error.contains("conversion"), "{error}");
}
