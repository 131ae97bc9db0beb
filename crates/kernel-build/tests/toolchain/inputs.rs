//! What decides a build: the variable, `cann.toml`, the list of kernels, and where CANN is.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use crate::{ascendc, config, Setup, CANN_TOML};
use fastattention_kernel_build::npu::config::Config;
use fastattention_kernel_build::npu::{self, Route, Switch};
use fastattention_kernel_build::{arch_folder, cann_roots};

#[test]
fn the_switch_has_four_words() {
    assert_eq!(Switch::parse(None), Ok(Switch::Auto));
    assert_eq!(Switch::parse(Some("auto")), Ok(Switch::Auto));
    assert_eq!(Switch::parse(Some("off")), Ok(Switch::Off));
    assert_eq!(Switch::parse(Some("asc")), Ok(Switch::Force(Route::Asc)));
    assert_eq!(Switch::parse(Some("fatbin")), Ok(Switch::Force(Route::Fatbin)));
    assert_eq!(
        Switch::parse(Some("yes")).unwrap_err(),
        "FASTATTENTION_NPU_KERNELS=yes given, auto, off, asc or fatbin wanted"
    );
}

#[test]
fn cann_toml_is_read_strictly() {
    let with = |from: &str, to: &str| {
        assert!(CANN_TOML.contains(from));
        Config::parse("cann.toml", &CANN_TOML.replacen(from, to, 1)).unwrap_err()
    };
    for (from, to, wanted) in [
        ("opt_level = 3", "opt_level = 4", "toolchain.opt_level = 4 given, 0, 1, 2 or 3 wanted"),
        (
            "aicore_stack_bytes = 32768",
            "aicore_stack_bytes = 1",
            "toolchain.asc.aicore_stack_bytes = 1 given, 16384 or 32768 wanted",
        ),
        (
            "build_type = \"Release\"",
            "build_type = \"release\"",
            "toolchain.fatbin.build_type = \"release\" given, \"Debug\" or \"Release\" wanted",
        ),
    ] {
        assert_eq!(with(from, to), format!("cann.toml: {wanted}"));
    }
    for (from, to, wanted) in [
        ("opt_level = 3", "opt_levle = 3", "unknown field `opt_levle`"),
        ("npu_arch =", "npu_architecture =", "unknown field `npu_architecture`"),
        ("soc_version =", "soc =", "unknown field `soc`"),
        ("families = \"all\"", "families = \"most\"", "\"all\" or a list of names wanted"),
        ("families = \"all\"", "family = \"all\"", "unknown field `family`"),
        ("[kernels]", "[kernel]", "missing field `kernels`"),
    ] {
        let error = with(from, to);
        assert!(error.starts_with("cann.toml: TOML parse error") && error.contains(wanted), "{error}");
    }
    let text = CANN_TOML.replace("families = \"all\"", "families = [\"copy\", \"flash\"]");
    let error = npu::families(&ascendc(), &Config::parse("cann.toml", &text).unwrap()).unwrap_err();
    assert!(
        error.starts_with("cann.toml: kernels.families: \"flash\" given, some of ") && error.contains("copy"),
        "{error}"
    );
    // Tables of others are theirs to check.
    assert_eq!(Config::parse("cann.toml", &format!("{CANN_TOML}\n[timing]\nx = 1\n")).unwrap(), config());
}

/// The families of `variants.def`, by an own reading of it.
#[test]
fn all_families_of_the_source_tree_are_built() {
    let families = npu::families(&ascendc(), &config()).unwrap();
    let mut files: Vec<_> = fs::read_dir(ascendc().join("kernels"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".cpp").map(str::to_owned))
        .collect();
    files.sort();
    assert_eq!(families.iter().map(|family| family.name.clone()).collect::<Vec<_>>(), files);
    let names: Vec<_> = families.iter().flat_map(|f| &f.kernels).map(|k| k.name.clone()).collect();
    let list = fs::read_to_string(ascendc().join("kernels/variants.def")).unwrap();
    for line in list.lines().filter(|line| line.starts_with("FA_")) {
        assert!(names.contains(&line.split([',', ')']).nth(1).unwrap().trim().to_owned()), "{line}");
    }
}

#[test]
fn the_roots_are_searched_in_the_documented_order() {
    let variable = |name: &str| match name {
        "ASCEND_INSTALL_PATH" => Some(OsString::from("/install")),
        "ASCEND_HOME_PATH" => Some(OsString::from("/usr/local/Ascend/cann")),
        "ASCEND_TOOLKIT_HOME" => Some(OsString::new()),
        "HOME" => Some(OsString::from("/home/a")),
        _ => None,
    };
    assert_eq!(
        cann_roots(variable),
        [
            "/install",
            "/usr/local/Ascend/cann",
            "/home/a/Ascend/cann",
            "/home/a/Ascend/ascend-toolkit/latest",
            "/usr/local/Ascend/ascend-toolkit/latest",
            "/opt/Ascend/cann",
        ]
        .map(PathBuf::from)
    );
}

#[test]
fn the_first_root_with_a_compiler_is_taken_and_its_version_told() {
    let setup = Setup::new("tools");
    let empty = setup.folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let roots = [setup.folder.path().join("absent"), empty, setup.root.clone()];
    let version = || npu::Cann::find(&roots).unwrap().version;
    assert_eq!(version(), "cann", "the folder's name where no file tells");
    fs::create_dir(setup.root.join(arch_folder())).unwrap();
    let info = setup.root.join(arch_folder()).join("ascend_toolkit_install.info");
    fs::write(info, "package_name=Ascend-cann-toolkit\nversion=8.1.RC1\npath=/x\n").unwrap();
    assert_eq!(version(), "8.1.RC1");
    fs::create_dir_all(setup.root.join("compiler")).unwrap();
    fs::write(setup.root.join("compiler/version.info"), "Version=9.1.0\n").unwrap();
    assert_eq!(version(), "9.1.0");
    assert_eq!(npu::Cann::find(&roots).unwrap().root, setup.root);
    assert_eq!(npu::Cann::find(&roots[..2]).unwrap_err().len(), 2);
}
