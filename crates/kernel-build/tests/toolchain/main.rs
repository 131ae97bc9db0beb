//! The build of the kernels for an NPU, without CANN: the build script's own functions, run on tools that
//! record their command lines and hand out images made here.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod elf;
mod embed;
mod entry;
mod image;
mod inputs;
mod routes;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fastattention_kernel_build::arch_folder;
use fastattention_kernel_build::npu::config::{Config, Families};
use fastattention_kernel_build::npu::{self, Outcome, Request, Switch};
use image::Image;
use tempfile::TempDir;

const CANN_TOML: &str = include_str!("../../../../cann.toml");

/// The folder of the crate whose kernels these are.
fn fastattention() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn ascendc() -> PathBuf {
    fastattention().join("ascendc")
}

fn config() -> Config {
    Config::parse("cann.toml", CANN_TOML).unwrap()
}

/// The two families that stand for all: kernels of one core type, and of both.
fn two_families() -> Config {
    let mut config = config();
    config.kernels.families = Families::Listed(vec!["copy".into(), "flash_fwd".into()]);
    config
}

fn copy_image() -> Image {
    Image::new().aiv_only("fa_copy")
}

fn flash_fwd_image() -> Image {
    Image::new()
        .mix_1_2("fa_flash_fwd_f16")
        .mix_1_2("fa_flash_fwd_bf16")
        .mix_1_2("fa_flash_fwd_f16_scores_f16")
}

/// A folder that looks like a CANN, and what a build needs besides.
struct Setup {
    folder: TempDir,
    root: PathBuf,
    config: Config,
    switch: Switch,
    cmake: PathBuf,
}

impl Setup {
    /// With the tools of both routes in `tools` below the root.
    fn new(tools: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let root = path.join("cann");
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/toolchain/tool.sh");
        for (place, names) in [
            (root.join(tools).join("ccec_compiler/bin"), &["bisheng", "ld.lld"][..]),
            (path.join("host"), &["cmake", "real-cmake"]),
        ] {
            fs::create_dir_all(&place).unwrap();
            for name in names {
                symlink(&tool, place.join(name)).unwrap();
            }
        }
        let package = root.join(tools).join("tikcpp/ascendc_kernel_cmake");
        fs::create_dir_all(&package).unwrap();
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/toolchain/ascendc.cmake");
        fs::copy(stand_in, package.join("ascendc.cmake")).unwrap();
        fs::create_dir(path.join("out")).unwrap();
        let cmake = path.join("host/cmake");
        let setup = Self { root, config: two_families(), switch: Switch::Auto, cmake, folder };
        setup.hand_out("copy", copy_image());
        setup.hand_out("flash_fwd", flash_fwd_image());
        setup
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Where the recording tools lie, with their logs.
    fn tool_folders(&self) -> Vec<PathBuf> {
        let bin = |tools: &str| self.root.join(tools).join("ccec_compiler/bin");
        let mut folders = vec![self.folder.path().join("host")];
        folders.extend([bin("compiler"), bin("tools"), bin(&arch_folder())]);
        folders.retain(|folder| folder.is_dir());
        folders
    }

    /// The image that the tools will make of a family.
    fn hand_out(&self, family: &str, image: Image) {
        let bytes = image.bytes();
        for folder in self.tool_folders() {
            fs::write(folder.join(format!("{family}.o")), &bytes).unwrap();
        }
    }

    /// Makes a tool fail: `bisheng`, `ld.lld`, `cmake`, or `probe` for the question whether the language is
    /// known.
    fn break_tool(&self, name: &str) {
        for folder in self.tool_folders() {
            fs::write(folder.join(format!("fail-{name}")), "").unwrap();
        }
    }

    fn build(&self) -> Result<Outcome, String> {
        let ascendc = ascendc();
        Request {
            ascendc: &ascendc,
            out: &self.out(),
            config: &self.config,
            families: &npu::families(&ascendc, &self.config)?,
            switch: self.switch,
            roots: std::slice::from_ref(&self.root),
            cmake: &self.cmake,
        }
        .build()
    }

    fn built(&self) -> npu::Build {
        match self.build().unwrap() {
            Outcome::Built(build) => build,
            other => panic!("{other:?}"),
        }
    }

    /// Every command in order: of the compiler and the linker, then of CMake. The folder of this test is
    /// `$TMP`, that of the crate `$CRATE`.
    fn commands(&self) -> Vec<String> {
        let mut folders = self.tool_folders();
        folders.rotate_left(1);
        let logs: String =
            folders.iter().filter_map(|folder| fs::read_to_string(folder.join("log")).ok()).collect();
        let logs = logs
            .replace(&*self.folder.path().to_string_lossy(), "$TMP")
            .replace(&*fastattention().to_string_lossy(), "$CRATE");
        logs.trim_end().split("\n\n").map(|words| words.replace('\n', " ")).collect()
    }
}
