//! The headers of `ascendc/sim`: what each AscendC call lowers to, layouts shared with Rust, and self-containedness.
//!
//! `tests/simulator/headers/calls_*.cpp` is kernel text (it compiles with CANN's headers too). `record.cpp` stands
//! in for the machine and writes down each instruction; `expected.txt` says what `dav-c220.md` 2.2, 3, 4 and CANN's `dav_c220` lowering want.
#![allow(unsafe_code, reason = "loads the compiled recorder")]

/// The structures of the machine's C interface, as the library has them.
#[path = "headers"]
mod sim {
    /// Checked against `src/sim/dav_c220/access/instr.rs` by `layouts_are_shared`.
    pub(crate) const MAX_ARGS: usize = 20;
    #[allow(dead_code, unreachable_pub, reason = "only layouts are read here")]
    #[path = "../../../src/sim/dav_c220/machine/abi.rs"]
    pub(crate) mod abi;
}

use std::collections::BTreeSet;
use std::ffi::{c_char, CStr};
use std::fs;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};

use fastattention::baseline::{AddTilingData, ReadTilingData, SoftmaxTilingData, VectorStreamTilingData};
use fastattention::matmul::MatmulTilingData;
use fastattention::tiling::FlashFwdTilingData;
use kernel_build::sim_kernels::{registration, Registration, SimLibrary};
use kernel_build::{Compiler, TARGET};
use sim::abi::{FasimHooks, FasimImage, FasimInstr, FasimKernel, KernelType, ABI_VERSION};

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
    let instr = fs::read_to_string(root().join("src/sim/dav_c220/access/instr.rs")).unwrap();
    let line = format!("const MAX_ARGS: usize = {};", sim::MAX_ARGS);
    assert!(instr.contains(&line), "src/sim/dav_c220/access/instr.rs does not say `{line}`");
    let rust = fields! {
        FasimInstr { op elem elem_dst num_args args }
        FasimHooks { abi_version reserved issue scalar_load scalar_store special api_fault }
        FasimKernel { name launch num_args kernel_type }
        FasimImage { abi_version num_ops ops num_kernels reserved kernels bind }
        FlashFwdTilingData {
            batch num_heads num_heads_k head_dim head_dim_v seqlen_q seqlen_k block_m block_n chunk_n chunk_p tile_m tile_n
            tile_k slice_rows slice_bytes num_stages preload num_cores num_blocks_m window_left window_right
            softmax_scale want_lse mask_dim rows_v l1_q_offset_bytes l1_q_bytes l1_k_offset_bytes l1_k_bytes
            l1_v_offset_bytes l1_v_bytes l1_p_offset_bytes l1_p_bytes ub_s_offset_bytes ub_p_offset_bytes
            ub_acc_offset_bytes ub_tmp_offset_bytes ub_tmp_bytes ub_brcb_offset_bytes ub_stats_offset_bytes ub_mask_offset_bytes
            ub_mask_bytes group_heads first_item num_items tail_parts reserved workspace_core_bytes workspace_p_offset_bytes workspace_o_offset_bytes q_stride k_stride v_stride o_stride
        }
        MatmulTilingData {
            m n k batch b_is_nk block_m block_n tile_m tile_n tile_k step_k_a step_k_b l1_buffers l0_buffers
            l0c_buffers unit_flag num_cores swizzle swizzle_along_n l1_a_offset_bytes l1_b_offset_bytes reserved
            a_stride b_stride c_stride a_batch_stride b_batch_stride c_batch_stride
        }
        SoftmaxTilingData {
            num_heads rows cols pitch chunk slice_rows num_cores has_mask softmax_scale ub_in_offset_bytes
            ub_mask_offset_bytes ub_out_offset_bytes ub_x_offset_bytes ub_tmp_offset_bytes ub_spread_offset_bytes
            ub_stats_offset_bytes
        }
        AddTilingData {
            n core_elements tile buffers x_offset_bytes y_offset_bytes z_offset_bytes
        }
        ReadTilingData {
            pitch rows cols core_rows slice_cols tile_rows tile_cols passes order num_cores buffers buffer_bytes
            reserved
        }
        VectorStreamTilingData {
            op count repeat barrier scalar dst_offset_bytes src0_offset_bytes src1_offset_bytes block_stride
            repeat_stride
        }
    };
    assert_eq!(recorded("headers_layout"), rust);
    let ends = [
        (offset_of!(FlashFwdTilingData, o_stride) + size_of::<[u64; 3]>(), size_of::<FlashFwdTilingData>()),
        (offset_of!(MatmulTilingData, c_batch_stride) + size_of::<[u64; 3]>(), size_of::<MatmulTilingData>()),
        (offset_of!(SoftmaxTilingData, ub_stats_offset_bytes) + 4, size_of::<SoftmaxTilingData>()),
        (offset_of!(AddTilingData, z_offset_bytes) + 8, size_of::<AddTilingData>()),
        (offset_of!(ReadTilingData, reserved) + 4, size_of::<ReadTilingData>()),
        (offset_of!(VectorStreamTilingData, repeat_stride) + 12, size_of::<VectorStreamTilingData>()),
    ];
    assert!(ends.iter().all(|(end, size)| end == size), "a field is missing from the list: {ends:?}");
}

#[test]
fn headers_are_self_contained() {
    let scratch = tempfile::tempdir().unwrap();
    let compiler = compiler(scratch.path());
    let ascendc = root().join("ascendc");
    for folder in ["sim", "include/fa"] {
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
    let variants = fs::read_to_string(root().join("ascendc/kernels/variants.def")).unwrap();
    let mut wanted = Vec::new();
    for line in variants.lines() {
        let Some((family, rest)) = line.split_once('(').filter(|_| line.starts_with("FA_")) else { continue };
        let (kernel_type, num_args) = match family {
            "FA_ADD" | "FA_SOFTMAX" => (KernelType::AivOnly, 4),
            "FA_COPY" => (KernelType::AivOnly, 3),
            "FA_FLASH_FWD" => (KernelType::MixAic1Aiv2, 8),
            "FA_FLASH_FWD_MATMUL" => (KernelType::MixAic1Aiv2, 12),
            "FA_MATMUL" => (KernelType::AicOnly, 4),
            "FA_READ_L1" => (KernelType::AicOnly, 2),
            "FA_SELF_TEST" => (KernelType::MixAic1Aiv2, 3),
            "FA_READ_UB" | "FA_VECTOR_STREAM" => (KernelType::AivOnly, 2),
            other => panic!("{other} is not a family that this test knows"),
        };
        let name = rest.split([',', ')']).next().unwrap().to_owned();
        wanted.push((name, kernel_type as u32, num_args));
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
