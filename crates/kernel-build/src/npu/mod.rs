//! Builds the kernels for an NPU where CANN is installed: one device image per family, checked, with what is
//! known of its making (acl-runtime.md 2; docs/ascend.md).

mod asc;
mod cann;
pub mod config;
pub mod elf;
mod emit;
mod fatbin;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::interfaces;
use crate::variants::{self, Kernel};
pub use cann::Cann;
use config::{Config, Families};

/// The variable that chooses; its values are those of [`Switch::parse`].
pub const SWITCH_VARIABLE: &str = "FASTATTENTION_NPU_KERNELS";

/// The variable that names the CMake program.
pub const CMAKE_VARIABLE: &str = "CMAKE";

/// How a device image is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `bisheng -x asc`.
    Asc,
    /// `ascendc_fatbin_library` of CANN's CMake package.
    Fatbin,
}

impl Route {
    /// The word that [`Switch::parse`] takes for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asc => "asc",
            Self::Fatbin => "fatbin",
        }
    }
}

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Kernels where there is a CANN that can build them.
    Auto,
    /// None.
    Off,
    /// Kernels, by this route, or an error.
    Force(Route),
}

impl Switch {
    /// `auto`, also if not given, `off`, `asc` or `fatbin`.
    ///
    /// # Errors
    /// For any other value.
    pub fn parse(value: Option<&str>) -> Result<Self, String> {
        match value {
            None | Some("auto" | "") => Ok(Self::Auto),
            Some("off") => Ok(Self::Off),
            Some("asc") => Ok(Self::Force(Route::Asc)),
            Some("fatbin") => Ok(Self::Force(Route::Fatbin)),
            Some(other) => Err(format!("{SWITCH_VARIABLE}={other} given, auto, off, asc or fatbin wanted")),
        }
    }
}

/// Kernels of one translation unit, which become one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its file in `kernels`, without `.cpp`.
    pub name: String,
    /// That file.
    pub source: PathBuf,
    /// In the order of `variants.def`.
    pub kernels: Vec<Kernel>,
}

/// Everything that decides a build.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The folder `ascendc` of this crate.
    pub ascendc: &'a Path,
    /// An existing folder for everything that is written.
    pub out: &'a Path,
    /// The build's part of `cann.toml`.
    pub config: &'a Config,
    /// What to build.
    pub families: &'a [Family],
    /// What the user wants.
    pub switch: Switch,
    /// Where CANN may be, in order.
    pub roots: &'a [PathBuf],
    /// The CMake program.
    pub cmake: &'a Path,
}

/// The images.
#[derive(Clone, Debug)]
pub struct Build {
    /// How they were made.
    pub route: Route,
    /// By which CANN.
    pub cann: Cann,
    /// Flags of the compiler that `cann.toml` decides.
    pub flags: Vec<String>,
    /// SHA-256 of all kernel text, in hexadecimal.
    pub sources_sha256: String,
    /// One for each family.
    pub images: Vec<Image>,
}

/// The image of one family.
#[derive(Clone, Debug)]
pub struct Image {
    /// The family.
    pub family: Family,
    /// The file.
    pub path: PathBuf,
    /// What the file says of itself.
    pub checked: elf::Checked,
}

/// What came of a request that did not fail.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The images.
    Built(Build),
    /// None were wanted.
    Off,
    /// No CANN, as on most machines. The text says where it was looked for.
    NoCann(String),
    /// There is a CANN, and it can build nothing. The text says why.
    Unusable(String),
}

/// Characters of a note: cargo shows it on one line.
const NOTE_LENGTH: usize = 500;

impl Outcome {
    /// One line for who expects kernels and gets none. `named`: a variable says where CANN is.
    pub fn note(&self, named: bool) -> Option<String> {
        let why = match self {
            Self::Built(_) | Self::Off => return None,
            Self::NoCann(_) if !named => return None,
            Self::NoCann(why) | Self::Unusable(why) => why,
        };
        let line = why.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: String = line.chars().take(NOTE_LENGTH).collect();
        let cut = if shown.len() < line.len() { " ..." } else { "" };
        Some(format!("no kernels for an NPU: {shown}{cut}"))
    }

    /// Files of CANN whose change makes another build necessary.
    pub fn depends_on(&self) -> Vec<&Path> {
        let Self::Built(Build { cann, .. }) = self else { return Vec::new() };
        [&cann.compiler, &cann.linker, &cann.cmake_package]
            .into_iter()
            .filter_map(|path| path.as_deref())
            .collect()
    }
}

/// The families that `cann.toml` names, from `variants.def`.
///
/// # Errors
/// A family that does not exist, or a defect of `families.h` or `variants.def`.
pub fn families(ascendc: &Path, config: &Config) -> Result<Vec<Family>, String> {
    let read = |file: &str| {
        let path = ascendc.join(file);
        fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
    };
    let interfaces = interfaces::interfaces(&read("kernels/families.h")?)?;
    let mut all: BTreeMap<String, Vec<Kernel>> = BTreeMap::new();
    for kernel in variants::kernels(&read("kernels/variants.def")?, &interfaces)? {
        all.entry(kernel.family().to_owned()).or_default().push(kernel);
    }
    if let Families::Listed(wanted) = &config.kernels.families {
        if let Some(unknown) = wanted.iter().find(|name| !all.contains_key(*name)) {
            let known: Vec<_> = all.keys().map(String::as_str).collect();
            return Err(format!(
                "cann.toml: kernels.families: {unknown:?} given, some of {} wanted",
                known.join(", ")
            ));
        }
        all.retain(|name, _| wanted.contains(name));
    }
    let family = |(name, kernels): (String, Vec<Kernel>)| Family {
        source: ascendc.join("kernels").join(format!("{name}.cpp")),
        name,
        kernels,
    };
    Ok(all.into_iter().map(family).collect())
}

impl Request<'_> {
    /// Finds CANN, chooses the route and builds every family.
    ///
    /// # Errors
    /// A tool of CANN that fails, with its command line and output; an image that lacks something, by name; a
    /// forced route that is not there.
    pub fn build(&self) -> Result<Outcome, String> {
        if self.switch == Switch::Off {
            return Ok(Outcome::Off);
        }
        let cann = match Cann::find(self.roots) {
            Ok(cann) => cann,
            Err(attempts) => {
                let tried: String =
                    attempts.iter().map(|a| format!("\n  {}: {}", a.root.display(), a.reason)).collect();
                let why = format!("no CANN with a compiler was found; tried:{tried}");
                return self.none(why, Outcome::NoCann);
            }
        };
        match self.choose(&cann) {
            Ok(route) => self.build_by(route, cann).map(Outcome::Built),
            Err(why) => self.none(
                format!("CANN in {} cannot build kernels:{why}", cann.root.display()),
                Outcome::Unusable,
            ),
        }
    }

    /// No kernels: an error for who demands them.
    fn none(&self, why: String, outcome: impl Fn(String) -> Outcome) -> Result<Outcome, String> {
        match self.switch {
            Switch::Force(route) => Err(format!("{SWITCH_VARIABLE}={} was set, and {why}", route.name())),
            Switch::Auto | Switch::Off => Ok(outcome(why)),
        }
    }

    /// The first route that works, by trying it; a forced one is not tried. The error says why none does.
    fn choose(&self, cann: &Cann) -> Result<Route, String> {
        if let Switch::Force(route) = self.switch {
            return Ok(route);
        }
        let asc = asc_tools(cann).and_then(|tools| tools.probe(self));
        let Err(asc) = asc else { return Ok(Route::Asc) };
        let fatbin = self.fatbin_tools(cann).and_then(|tools| tools.probe());
        let Err(fatbin) = fatbin else { return Ok(Route::Fatbin) };
        let indented = |text: &str| text.trim_end().replace('\n', "\n    ");
        Err(format!("\n  route asc: {}\n  route fatbin: {}", indented(&asc), indented(&fatbin)))
    }

    fn fatbin_tools<'t>(&'t self, cann: &'t Cann) -> Result<fatbin::Tools<'t>, String> {
        let package = cann.cmake_package.as_deref();
        let package = package.ok_or("there is no tikcpp/ascendc_kernel_cmake/ascendc.cmake")?;
        Ok(fatbin::Tools { cmake: self.cmake, package, root: &cann.root })
    }

    fn build_by(&self, route: Route, cann: Cann) -> Result<Build, String> {
        let failed = |why: String| {
            format!(
                "building the NPU kernels with CANN in {} by route {} failed ({SWITCH_VARIABLE}=off builds without \
                 them):\n{why}",
                cann.root.display(),
                route.name()
            )
        };
        let (paths, flags) = match route {
            Route::Asc => {
                let tools = asc_tools(&cann).map_err(failed)?;
                let build = |family| tools.build(self, family);
                let paths: Result<Vec<_>, _> = self.families.iter().map(build).collect();
                (paths.map_err(failed)?, asc::flags(self))
            }
            Route::Fatbin => {
                let paths = self.fatbin_tools(&cann).and_then(|tools| tools.build(self)).map_err(failed)?;
                (paths, fatbin::flags(self))
            }
        };
        let mut images = Vec::new();
        for (family, path) in self.families.iter().zip(paths) {
            let checked = fs::read(&path)
                .map_err(|e| e.to_string())
                .and_then(|bytes| elf::check(&bytes, &family.kernels))
                .map_err(|why| failed(format!("the image {}:\n{why}", path.display())))?;
            images.push(Image { family: family.clone(), path, checked });
        }
        let sources_sha256 = sources_sha256(self.ascendc)?;
        Ok(Build { route, cann, flags, sources_sha256, images })
    }
}

fn asc_tools(cann: &Cann) -> Result<asc::Tools<'_>, String> {
    let compiler = cann.compiler.as_deref().ok_or("there is no ccec_compiler/bin/bisheng")?;
    let linker = cann.linker.as_deref().ok_or("there is no ccec_compiler/bin/ld.lld")?;
    Ok(asc::Tools { compiler, linker })
}

/// Files of kernel text below `ascendc`, sorted by path.
///
/// # Errors
/// A folder that cannot be read.
pub fn source_files(ascendc: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for folder in ["include/fa", "kernels"] {
        let folder = ascendc.join(folder);
        let failed = |e: std::io::Error| format!("cannot read {}: {e}", folder.display());
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Of all kernel text one file after the other: `cat include/fa/* kernels/* | sha256sum` in `ascendc`.
fn sources_sha256(ascendc: &Path) -> Result<String, String> {
    let mut hash = Sha256::new();
    for file in source_files(ascendc)? {
        hash.update(fs::read(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
