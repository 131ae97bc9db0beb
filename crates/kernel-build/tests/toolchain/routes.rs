//! Which commands run, and what comes of it.

use std::fs;
use std::process::Command;

use crate::image::Image;
use crate::{ascendc, fastattention, flash_fwd_image, Setup, CANN_TOML};
use fastattention_kernel_build::arch_folder;
use fastattention_kernel_build::npu::config::Config;
use fastattention_kernel_build::npu::{Outcome, Route, Switch};

/// What acl-runtime.md 2.4 and 2.1 give for compiler and linker of the newer route.
fn asc_commands(family: &str) -> [String; 2] {
    [
        format!(
            "bisheng -x asc --npu-arch=dav-2201 --aicore-only -std=c++17 -O3 -mllvm -cce-aicore-stack-size=0x8000 \
             -mllvm -cce-aicore-function-stack-size=0x8000 -DFA_TYPE_QUALIFIERS -I $CRATE/ascendc/include \
             -c $CRATE/ascendc/kernels/{family}.cpp -o $TMP/out/{family}.o"
        ),
        format!("ld.lld -m aicorelinux -Ttext=0 $TMP/out/{family}.o -static -o $TMP/out/{family}.elf"),
    ]
}

const PROBE: &str =
    "bisheng -x asc --npu-arch=dav-2201 --aicore-only -std=c++17 -fsyntax-only $TMP/out/probe.cpp";

const CONFIGURE: &str =
    "cmake -S $TMP/out/fatbin -B $TMP/out/fatbin/build -DASCEND_CANN_PACKAGE_PATH=$TMP/cann \
                         -DSOC_VERSION=Ascend910B1 -DRUN_MODE=npu -DCMAKE_BUILD_TYPE=Release \
                         -DCMAKE_INSTALL_PREFIX=$TMP/out/fatbin/install";

#[test]
fn a_compiler_that_knows_asc_is_used_directly() {
    for tools in ["compiler", "tools", &arch_folder()] {
        let setup = Setup::new(tools);
        let build = setup.built();
        assert_eq!(build.route, Route::Asc);
        let mut wanted = vec![PROBE.to_owned()];
        wanted.extend(asc_commands("copy"));
        wanted.extend(asc_commands("flash_fwd"));
        assert_eq!(setup.commands(), wanted, "{tools}");
        let symbols: Vec<_> = build.images.iter().flat_map(|i| i.checked.symbols.concat()).collect();
        assert_eq!(
            symbols,
            [
                "fa_copy",
                "fa_flash_fwd_f16_mix_aic",
                "fa_flash_fwd_f16_mix_aiv",
                "fa_flash_fwd_bf16_mix_aic",
                "fa_flash_fwd_bf16_mix_aiv",
                "fa_flash_fwd_f16_scores_f16_mix_aic",
                "fa_flash_fwd_f16_scores_f16_mix_aiv",
            ]
        );
    }
}

#[test]
fn a_compiler_that_does_not_know_asc_is_used_through_cmake() {
    let setup = Setup::new("compiler");
    setup.break_tool("probe");
    let build = setup.built();
    assert_eq!(build.route, Route::Fatbin);
    assert_eq!(
        setup.commands(),
        [PROBE, "cmake --version", CONFIGURE, "cmake --build $TMP/out/fatbin/build"]
    );
    let lists = fs::read_to_string(setup.out().join("fatbin/CMakeLists.txt")).unwrap();
    let lists = lists
        .replace(&*setup.folder.path().to_string_lossy(), "$TMP")
        .replace(&*fastattention().to_string_lossy(), "$CRATE");
    assert_eq!(
        lists,
        "# Written by the build script of fastattention.\n\
         cmake_minimum_required(VERSION 3.16)\n\
         project(fastattention_kernels LANGUAGES C CXX)\n\
         include([==[$TMP/cann/compiler/tikcpp/ascendc_kernel_cmake/ascendc.cmake]==])\n\
         ascendc_fatbin_library(fa_copy [==[$CRATE/ascendc/kernels/copy.cpp]==])\n\
         ascendc_include_directories(fa_copy PRIVATE [==[$CRATE/ascendc/include]==])\n\
         ascendc_compile_options(fa_copy PRIVATE [==[-O3]==])\n\
         ascendc_fatbin_library(fa_flash_fwd [==[$CRATE/ascendc/kernels/flash_fwd.cpp]==])\n\
         ascendc_include_directories(fa_flash_fwd PRIVATE [==[$CRATE/ascendc/include]==])\n\
         ascendc_compile_options(fa_flash_fwd PRIVATE [==[-O3]==])\n"
    );
}

/// A CMake of this machine runs the generated project on a package that records its calls.
#[test]
fn a_real_cmake_takes_the_project() {
    if let Err(why) = Command::new("cmake").arg("--version").output() {
        eprintln!("not run: no cmake on this machine ({why})");
        return;
    }
    let mut setup = Setup::new("tools");
    setup.cmake = setup.folder.path().join("host/real-cmake");
    setup.switch = Switch::Force(Route::Fatbin);
    setup.config.toolchain.fatbin.flags = vec!["SHELL:-mllvm -a=b".into()];
    let build = setup.built();
    assert_eq!(fs::read(&build.images[1].path).unwrap(), flash_fwd_image().bytes());
    let calls = fs::read_to_string(setup.out().join("fatbin/build/calls")).unwrap();
    let (root, krnl) = (setup.root.display(), ascendc());
    let krnl = krnl.display();
    assert_eq!(
        calls,
        format!(
            "Ascend910B1 npu Release {root}\n\
             fa_copy {krnl}/kernels/copy.cpp\n\
             fa_copy PRIVATE includes {krnl}/include\n\
             fa_copy PRIVATE options -O3;SHELL:-mllvm -a=b\n\
             fa_flash_fwd {krnl}/kernels/flash_fwd.cpp\n\
             fa_flash_fwd PRIVATE includes {krnl}/include\n\
             fa_flash_fwd PRIVATE options -O3;SHELL:-mllvm -a=b\n"
        )
    );
}

#[test]
fn a_forced_route_is_taken_without_a_probe() {
    let mut setup = Setup::new("compiler");
    setup.switch = Switch::Force(Route::Fatbin);
    assert_eq!(setup.built().route, Route::Fatbin);
    assert_eq!(setup.commands(), [CONFIGURE, "cmake --build $TMP/out/fatbin/build"]);

    let mut setup = Setup::new("compiler");
    setup.break_tool("probe");
    setup.switch = Switch::Force(Route::Asc);
    assert_eq!(setup.built().route, Route::Asc);
    assert_eq!(setup.commands().len(), 4);
    assert_eq!(setup.commands()[..2], asc_commands("copy"));
}

#[test]
fn switched_off_nothing_runs_though_cann_is_there() {
    let mut setup = Setup::new("compiler");
    setup.switch = Switch::Off;
    let outcome = setup.build().unwrap();
    assert!(matches!(outcome, Outcome::Off), "{outcome:?}");
    assert_eq!(setup.commands(), [""]);
    assert_eq!(outcome.note(true), None);
    assert_eq!(outcome.to_rust(), "Err(\"FASTATTENTION_NPU_KERNELS=off was set\")\n");
}

#[test]
fn without_cann_the_build_goes_on_and_tells_every_place() {
    let mut setup = Setup::new("compiler");
    fs::remove_dir_all(&setup.root).unwrap();
    let wanted =
        format!("no CANN with a compiler was found; tried:\n  {}: no such folder", setup.root.display());
    let outcome = setup.build().unwrap();
    assert!(matches!(&outcome, Outcome::NoCann(why) if *why == wanted), "{outcome:?}");
    assert_eq!(outcome.note(false), None, "the normal case is silent");
    let note = outcome.note(true).unwrap();
    assert!(!note.contains('\n') && note.contains("no such folder"), "{note}");
    assert_eq!(outcome.to_rust(), format!("Err({wanted:?})\n"));

    // A CANN for running programs only.
    fs::create_dir_all(setup.root.join("lib64")).unwrap();
    let outcome = setup.build().unwrap();
    assert!(matches!(&outcome, Outcome::NoCann(why) if why.contains("no compiler (none of ")), "{outcome:?}");

    setup.switch = Switch::Force(Route::Asc);
    let error = setup.build().unwrap_err();
    assert!(
        error.starts_with("FASTATTENTION_NPU_KERNELS=asc was set, and no CANN with a compiler was found"),
        "{error}"
    );
}

#[test]
fn a_cann_that_can_build_nothing_is_told_once_and_breaks_nothing() {
    let mut setup = Setup::new("compiler");
    setup.break_tool("probe");
    setup.cmake = setup.folder.path().join("no-such-cmake");
    let outcome = setup.build().unwrap();
    let Outcome::Unusable(why) = &outcome else { panic!("{outcome:?}") };
    assert!(why.contains("\n  route asc: ") && why.contains("unknown language asc"), "{why}");
    assert!(why.contains("\n  route fatbin: ") && why.contains("no-such-cmake"), "{why}");
    let note = outcome.note(false).unwrap();
    assert!(note.starts_with("no kernels for an NPU: CANN in ") && !note.contains('\n'), "{note}");
}

#[test]
fn a_failing_tool_is_an_error_with_its_command_and_its_output() {
    for (tool, switch, wanted) in [
        ("bisheng", Switch::Force(Route::Asc), " -c "),
        ("ld.lld", Switch::Auto, " -m aicorelinux -Ttext=0 "),
        ("cmake", Switch::Force(Route::Fatbin), " -DSOC_VERSION=Ascend910B1 "),
    ] {
        let mut setup = Setup::new("compiler");
        setup.break_tool(tool);
        setup.switch = switch;
        let error = setup.build().unwrap_err();
        let first = format!("building the NPU kernels with CANN in {} by route ", setup.root.display());
        assert!(error.starts_with(&first), "{error}");
        assert!(error.contains("FASTATTENTION_NPU_KERNELS=off builds without them"), "{error}");
        assert!(error.contains(&format!("/{tool} ")) && error.contains(wanted), "{error}");
        assert!(error.contains("failed with exit status: 3"), "{error}");
        assert!(error.contains(&format!("{tool}: this goes to stdout\n")), "{error}");
        assert!(error.contains(&format!("{tool}: error: this release is broken\n")), "{error}");
    }
}

#[test]
fn a_bad_image_fails_the_build() {
    let setup = Setup::new("compiler");
    setup.hand_out("flash_fwd", Image::new().mix_1_2("fa_flash_fwd_f16"));
    let error = setup.build().unwrap_err();
    assert!(error.contains("/flash_fwd.elf:\n"), "{error}");
    assert!(
        error.ends_with(
            "kernel fa_flash_fwd_bf16: symbol fa_flash_fwd_bf16_mix_aic is missing\n\
             kernel fa_flash_fwd_bf16: symbol fa_flash_fwd_bf16_mix_aiv is missing\n\
             kernel fa_flash_fwd_f16_scores_f16: symbol fa_flash_fwd_f16_scores_f16_mix_aic is missing\n\
             kernel fa_flash_fwd_f16_scores_f16: symbol fa_flash_fwd_f16_scores_f16_mix_aiv is missing"
        ),
        "{error}"
    );
}

#[test]
fn cann_toml_decides_the_flags() {
    let mut setup = Setup::new("compiler");
    let text = CANN_TOML
        .replace("opt_level = 3", "opt_level = 2")
        .replace("aicore_stack_bytes = 32768", "aicore_stack_bytes = 16384")
        .replace("npu_arch = \"dav-2201\"", "npu_arch = \"dav-3510\"")
        .replace("flags = []", "flags = [\"--cce-auto-sync\", \"-DA=b c\"]")
        .replace("families = \"all\"", "families = [\"copy\"]");
    setup.config = Config::parse("cann.toml", &text).unwrap();
    let build = setup.built();
    let flags = "-O2 -mllvm -cce-aicore-stack-size=0x4000 -mllvm -cce-aicore-function-stack-size=0x4000 \
                 --cce-auto-sync -DA=b c";
    assert_eq!(build.flags.join(" "), flags);
    let compile = &setup.commands()[1];
    let start = format!("bisheng -x asc --npu-arch=dav-3510 --aicore-only -std=c++17 {flags} ");
    assert!(compile.starts_with(&start), "{compile}");
    assert_eq!(setup.commands().len(), 3, "only copy is built");

    setup.switch = Switch::Force(Route::Fatbin);
    assert_eq!(setup.built().flags, ["-O2", "--cce-auto-sync", "-DA=b c"]);
    let lists = fs::read_to_string(setup.out().join("fatbin/CMakeLists.txt")).unwrap();
    let options =
        "ascendc_compile_options(fa_copy PRIVATE [==[-O2]==] [==[--cce-auto-sync]==] [==[-DA=b c]==])\n";
    assert!(lists.ends_with(options), "{lists}");
}
