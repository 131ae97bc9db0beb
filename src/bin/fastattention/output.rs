//! Output files: there in whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use fastattention::DType;
use safetensors::tensor::{Dtype, TensorView};

/// What is written.
pub(crate) struct Results<'a> {
    pub(crate) dtype: DType,
    /// `[batch, seqlen_q, num_heads, head_dim_v]`.
    pub(crate) shape: [u32; 4],
    /// Leave the batch dimension out.
    pub(crate) is_unbatched: bool,
    pub(crate) o: &'a [u8],
    pub(crate) lse: &'a [u8],
}

/// A path that can be written.
pub(crate) struct Output {
    path: PathBuf,
}

impl Output {
    /// Refuses, before hours of computing, a path that could not be written at the end, or that is the input.
    pub(crate) fn check(path: &Path, input: Option<&Path>) -> Result<Self> {
        let shown = path.display();
        if path.file_name().is_none() {
            bail!("output {shown} names no file");
        }
        // A link is followed, so that its target is replaced and not the link. What does not exist cannot be the input.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if input.and_then(|input| fs::canonicalize(input).ok()).is_some_and(|input| input == path) {
            bail!("output {shown} is the input file; wanted another path");
        }
        if let Ok(found) = fs::metadata(&path) {
            if !found.is_file() {
                bail!("output {shown} exists and is not a regular file");
            }
            if found.permissions().readonly() {
                bail!("output {shown} exists and is read-only");
            }
        }
        let output = Self { path };
        output.temporary()?;
        Ok(output)
    }

    /// A new file beside the output: a rename replaces a file at once only within one file system.
    fn temporary(&self) -> Result<Temporary> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let path = self.path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).with_context(|| {
            format!("output {} cannot be written: {}", self.path.display(), path.display())
        })?;
        Ok(Temporary { file, path })
    }

    /// Writes `o` and `lse`.
    pub(crate) fn write(&self, results: &Results<'_>) -> Result<()> {
        let [batch, seqlen, heads, dim] = results.shape.map(|d| d as usize);
        let dtype = if results.dtype == DType::F16 { Dtype::F16 } else { Dtype::BF16 };
        let first = usize::from(results.is_unbatched);
        let tensors = [
            ("o", TensorView::new(dtype, [batch, seqlen, heads, dim][first..].to_vec(), results.o)?),
            ("lse", TensorView::new(Dtype::F32, [batch, heads, seqlen][first..].to_vec(), results.lse)?),
        ];
        let bytes = safetensors::serialize(tensors, None)?;
        self.replace(|file| Ok(file.write_all(&bytes)?))
    }

    /// Writes the file with `fill`.
    pub(crate) fn replace<T>(&self, fill: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
        let mut temporary = self.temporary()?;
        fill(&mut temporary.file)
            .and_then(|value| {
                temporary.file.sync_all()?;
                fs::rename(&temporary.path, &self.path)?;
                Ok(value)
            })
            .with_context(|| format!("writing output {}", self.path.display()))
    }
}

/// A file that is removed unless it was renamed.
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing of this name.
        let _ = fs::remove_file(&self.path);
    }
}
