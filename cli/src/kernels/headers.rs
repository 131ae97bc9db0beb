//! AscendC's headers in a CANN installation, a copy of one, or a source checkout: which folders a compiler
//! must search.

use std::path::{Path, PathBuf};

use anyhow::{bail, Result};

/// What AscendC calls its main header; its place tells the layout.
const MAIN_HEADER: &str = "kernel_operator.h";

/// How a release lays out its headers, relative to a root.
struct Layout {
    name: &'static str,
    /// Where `kernel_operator.h` lies.
    main: &'static str,
    /// Folders to search besides `main`, those that exist.
    includes: &'static [&'static str],
    /// Headers that CPU-twin mode needs besides `kernel_operator.h`.
    needed: &'static [&'static str],
}

/// What the twin needs of CANN 9, installed or checked out.
const NEEDED_9: &[&str] =
    &["stub_def.h", "stub_fun.h", "kernel_fp16.h", "simt_stub.h", "kernel_tiling/kernel_tiling.h"];

/// CANN 8.x: installed tree of 8.1.RC1. 9.x: install rules and compiler settings of the open AscendC
/// repository (9.1.0), and its source tree as it is checked out. The last serves any folder that holds the
/// main header.
const LAYOUTS: [Layout; 4] = [
    Layout {
        name: "CANN 8",
        main: "ascendc/include/basic_api",
        includes: &[
            "ascendc/include/basic_api/impl",
            "ascendc/include/basic_api/interface",
            "ascendc/include/highlevel_api",
            "tikcpp/tikcfw",
            "tikcpp/tikcfw/interface",
            "tikcpp/tikcfw/impl",
        ],
        needed: &["stub_def.h", "stub_fun.h", "kernel_fp16.h"],
    },
    Layout {
        name: "CANN 9",
        main: "asc/include",
        includes: &[
            "asc",
            "asc/include/basic_api",
            "asc/include/basic_api/reg_compute",
            "asc/include/adv_api",
            "asc/include/c_api",
            "asc/include/simt_api",
            "asc/include/simt_api/cpp",
            "asc/include/utils",
            "asc/impl",
            "asc/impl/basic_api",
            "asc/impl/basic_api/reg_compute",
            "asc/impl/adv_api",
            "asc/impl/c_api",
            "asc/impl/simt_api",
            "asc/impl/utils",
            "include",
            // The generated kernel_tiling/kernel_tiling.h.
            "ascendc/include/highlevel_api",
            "tikcpp/tikcfw",
        ],
        needed: NEEDED_9,
    },
    Layout {
        name: "source checkout of CANN 9",
        main: "include",
        includes: &[
            "",
            "include/basic_api",
            "include/basic_api/reg_compute",
            "include/adv_api",
            "include/c_api",
            "include/simt_api",
            "include/simt_api/cpp",
            "include/utils",
            "impl",
            "impl/basic_api",
            "impl/basic_api/reg_compute",
            "impl/adv_api",
            "impl/c_api",
            "impl/simt_api",
            "impl/utils",
        ],
        needed: NEEDED_9,
    },
    Layout {
        name: "a folder of headers",
        main: "",
        includes: &[],
        needed: &["stub_def.h", "stub_fun.h", "kernel_fp16.h"],
    },
];

/// Below the root: CANN keeps most headers in a folder of the host's architecture.
const BASES: [&str; 3] = ["", "x86_64-linux", "aarch64-linux"];

/// Where the headers of the CPU twin lie, below the root or a base.
const TWIN: &str = "tools/tikicpulib/lib/include";

/// The headers of one release.
#[derive(Debug)]
pub(super) struct Headers {
    /// How they are laid out.
    pub(super) layout: &'static str,
    /// Folders to search, in order.
    pub(super) includes: Vec<PathBuf>,
}

impl Headers {
    /// Finds the headers below `root`; `extra` are folders that are searched after those of the release.
    ///
    /// # Errors
    /// What was looked for and not found, and where.
    pub(super) fn find(root: &Path, extra: &[PathBuf]) -> Result<Self> {
        let mut tried = Vec::new();
        for layout in &LAYOUTS {
            for base in BASES.map(|base| root.join(base)) {
                let main = base.join(layout.main);
                let header = main.join(MAIN_HEADER);
                if !header.is_file() {
                    tried.push(header);
                    continue;
                }
                let mut includes = vec![root.join(TWIN), base.join(TWIN), main];
                includes.extend(layout.includes.iter().map(|folder| base.join(folder)));
                includes.retain(|folder| folder.is_dir());
                includes.extend_from_slice(extra);
                unique(&mut includes);
                let headers = Self { layout: layout.name, includes };
                headers.require(layout.needed, root)?;
                return Ok(headers);
            }
        }
        bail!("no AscendC headers in {}; looked for:{}", root.display(), lines(&tried))
    }

    fn require(&self, needed: &[&str], root: &Path) -> Result<()> {
        let lacks = |name: &&&str| !self.includes.iter().any(|folder| folder.join(name).is_file());
        let missing: Vec<&str> = needed.iter().filter(lacks).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        bail!(
            "the AscendC headers in {} ({}) are without {}, which the CPU twin needs (CANN installs {TWIN}; \
             --include names a folder that lies elsewhere); looked in:{}",
            root.display(),
            self.layout,
            missing.join(", "),
            lines(&self.includes)
        )
    }
}

fn unique(paths: &mut Vec<PathBuf>) {
    let mut seen = std::collections::HashSet::new();
    // `root.join("")` ends in a separator, which Path ignores when it compares.
    paths.retain(|path| seen.insert(path.clone()));
}

fn lines(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("\n  {}", path.display())).collect()
}
