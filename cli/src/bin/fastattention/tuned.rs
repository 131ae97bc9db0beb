//! Files that `fastattention tune` writes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use fastattention::tiling::Tuned;
use fastattention::Soc;

/// Reads results for `soc`.
pub(crate) fn read(path: &Path, soc: &Soc) -> Result<Tuned> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    parsed(&text, path, soc)
}

/// The results in the text of a file.
pub(crate) fn parsed(text: &str, path: &Path, soc: &Soc) -> Result<Tuned> {
    Tuned::from_toml(text, soc).with_context(|| format!("{}", path.display()))
}
