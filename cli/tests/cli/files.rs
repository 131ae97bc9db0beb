//! Files of tensors, and folders with one that commands read and write.

use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

use super::{fails, succeeds};

/// A name, element type, shape, and elements as little-endian bytes.
pub(crate) type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

pub(crate) fn zeros(name: &'static str, dtype: Dtype, shape: &[usize]) -> Tensor {
    let bytes =
        shape.iter().product::<usize>() * if dtype == Dtype::F32 || dtype == Dtype::I32 { 4 } else { 2 };
    (name, dtype, shape.to_vec(), vec![0; bytes])
}

pub(crate) fn write(path: &Path, tensors: &[Tensor]) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

pub(crate) fn smollm2() -> String {
    format!("{}/../tests/data/smollm2_l00_s512.safetensors", env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub(crate) fn f16s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
}

pub(crate) fn bf16s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
}

pub(crate) fn assert_close(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "{name}[{i}]: got {g}, want {w}, tolerance {tolerance}");
    }
}

/// A directory with an input; `run` and `refused` name its files.
pub(crate) struct InputFolder {
    dir: TempDir,
}

impl InputFolder {
    pub(crate) fn new(tensors: &[Tensor]) -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap() };
        write(&folder.path("in.safetensors"), tensors);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn run(&self, options: &[&str]) -> (String, Vec<u8>) {
        let (input, output) = (self.arg("in.safetensors"), self.arg("out.safetensors"));
        let line = succeeds(&[&["run", "--input", &input, "--output", &output], options].concat());
        assert_eq!(self.files(), ["in.safetensors", "out.safetensors"]);
        (line, fs::read(output).unwrap())
    }

    /// The message of a run that leaves nothing behind, without the input's path.
    pub(crate) fn refused(&self, options: &[&str]) -> String {
        let (input, output) = (self.arg("in.safetensors"), self.arg("out.safetensors"));
        let message = fails(&[&["run", "--input", &input, "--output", &output], options].concat());
        assert_eq!(self.files(), ["in.safetensors"], "{message}");
        message.replace(&format!("input {input}: "), "")
    }
}

pub(crate) fn refused(tensors: &[Tensor]) -> String {
    InputFolder::new(tensors).refused(&[])
}

pub(crate) const Q: &[usize] = &[4, 2, 16];

pub(crate) fn qkv(q: &[usize], k: &[usize], v: &[usize]) -> [Tensor; 3] {
    [zeros("q", Dtype::F16, q), zeros("k", Dtype::F16, k), zeros("v", Dtype::F16, v)]
}
