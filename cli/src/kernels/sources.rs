//! The kernels' text, part of this program: an installed binary needs no source tree.

use std::fs;
use std::path::Path;

use anyhow::{Context, Error, Result};
use fastattention::kernels::sources;

use kernel_build::interfaces::interfaces;
use kernel_build::variants::{self, Kernel};

/// The list of kernels, which kernel files include to instantiate their templates.
const VARIANTS: &str = "kernels/variants.def";

/// What the kernels of each family take.
const FAMILIES: &str = "kernels/families.h";

/// Writes the kernel text to a folder, with one kernel only, so that its errors are apart from those of
/// others.
pub(super) fn write_alone(kernel: &Kernel, folder: &Path) -> Result<()> {
    for (path, text) in sources() {
        let only = if *path == VARIANTS { &format!("{}\n", kernel.line) } else { *text };
        write(folder, path, only)?;
    }
    Ok(())
}

/// Writes the text of all kernels to a folder, and these files besides. Returns the translation units of the
/// kernels, below it.
///
/// # Errors
/// A file that could not be written.
pub fn write_all(folder: &Path, besides: &[(&str, &str)]) -> Result<Vec<&'static str>> {
    for (path, text) in sources().iter().chain(besides) {
        write(folder, path, text)?;
    }
    Ok(sources().iter().map(|(path, _)| *path).filter(|path| path.ends_with(".cpp")).collect())
}

fn write(folder: &Path, path: &str, text: &str) -> Result<()> {
    let file = folder.join(path);
    let parent = file.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

/// Every kernel, in the order of `variants.def`.
///
/// # Errors
/// A line of either list that is not of its form: a defect of this crate.
pub(super) fn kernels() -> Result<Vec<Kernel>> {
    let text = |file: &str| text_of(file).with_context(|| format!("{file} is not embedded"));
    let interfaces = interfaces(text(FAMILIES)?).map_err(Error::msg)?;
    variants::kernels(text(VARIANTS)?, &interfaces).map_err(Error::msg)
}

/// Names of the kernels, in the same order.
///
/// # Errors
/// A line of either list that is not of its form: a defect of this crate.
pub fn names() -> Result<Vec<String>> {
    Ok(kernels()?.into_iter().map(|kernel| kernel.name).collect())
}

fn text_of(path: &str) -> Option<&'static str> {
    sources().iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn ascendc() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../ascendc")
    }

    #[test]
    fn every_kernel_file_of_the_source_tree_is_embedded_as_it_is() {
        for folder in ["kernels", "include/fa"] {
            for entry in fs::read_dir(ascendc().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let name = format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
                assert_eq!(text_of(&name), Some(&*fs::read_to_string(&path).unwrap()), "{name}");
            }
        }
    }

    #[test]
    fn every_kernel_file_has_a_kernel() {
        let kernels = kernels().unwrap();
        for (path, _) in sources().iter().filter(|(path, _)| path.ends_with(".cpp")) {
            assert!(kernels.iter().any(|k| k.file == *path), "{path} is named by no line of {VARIANTS}");
        }
    }

    #[test]
    fn a_kernel_is_written_alone() {
        let folder = tempfile::tempdir().unwrap();
        let kernels = kernels().unwrap();
        let kernel = kernels.iter().find(|k| k.name == "fa_flash_fwd_bf16").unwrap();
        write_alone(kernel, folder.path()).unwrap();
        let variants = fs::read_to_string(folder.path().join(VARIANTS)).unwrap();
        assert_eq!(variants, "FA_KERNEL(FLASH_FWD, fa_flash_fwd_bf16, bfloat16_t, float)\n");
        assert!(folder.path().join("include/fa/arch.h").is_file());
    }
}
