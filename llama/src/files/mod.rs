//! Model files: what a model is made of (`config`), and its tensors, from GGUF or from safetensors.
//!
//! Files are untrusted: every number is checked, and whatever is wrong is an error that names it.

pub mod config;
pub mod gguf;
mod mapping;
mod of_gguf;
mod of_json;
pub mod smollm2;
mod tensors;

use std::path::{Path, PathBuf};

use fastattention::{Error, ErrorKind, Result};
use memmap2::Mmap;
use safetensors::SafeTensors;

pub use config::{Config, Family};
use gguf::Gguf;
pub use tensors::{Part, Tensors};

use crate::text::{ChatTemplate, Tokenizer};

/// A file that is not what it should be.
pub(crate) fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Io, message)
}

/// The files of a model, mapped into memory: nobody may change them meanwhile.
#[derive(Debug)]
pub struct ModelFiles {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Gguf {
        path: PathBuf,
        bytes: Mmap,
    },
    /// The folder, and its files of tensors.
    Folder {
        folder: PathBuf,
        tensors: Vec<(PathBuf, Mmap)>,
    },
}

impl ModelFiles {
    /// Opens a `.gguf` file, or a folder with `config.json`, `tokenizer.json` and `*.safetensors`.
    ///
    /// # Errors
    /// `Io` when there is nothing of that kind at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            let bytes = mapping::map(path)?;
            return Ok(Self { kind: Kind::Gguf { path: path.to_owned(), bytes } });
        }
        let told = |e: std::io::Error| wrong(format!("{}: {e}", path.display()));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(told)? {
            let file = entry.map_err(told)?.path();
            if file.extension().is_some_and(|ending| ending == "safetensors") {
                found.push(file);
            }
        }
        found.sort();
        if found.is_empty() {
            return Err(wrong(format!("{}: no file *.safetensors in this folder", path.display())));
        }
        let tensors = found.into_iter().map(|file| mapping::map(&file).map(|bytes| (file, bytes)));
        Ok(Self { kind: Kind::Folder { folder: path.to_owned(), tensors: tensors.collect::<Result<_>>()? } })
    }

    /// Reads everything but the elements of the tensors.
    ///
    /// # Errors
    /// `Io` for files that are wrong, `Unsupported` for models that the engine does not run.
    pub fn model(&self) -> Result<Model<'_>> {
        match &self.kind {
            Kind::Gguf { path, bytes } => {
                let named = |e: Error| Error::new(e.kind(), format!("{}: {e}", path.display()));
                Model::of_gguf(bytes).map_err(named)
            }
            Kind::Folder { folder, tensors } => {
                let named = |e: Error| Error::new(e.kind(), format!("{}: {e}", folder.display()));
                Model::of_folder(folder, tensors).map_err(named)
            }
        }
    }
}

/// A model as its files say it.
#[derive(Debug)]
pub struct Model<'a> {
    /// Sizes and constants.
    pub config: Config,
    /// The tensors.
    pub tensors: Tensors<'a>,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// How messages of a chat become a prompt, if the files say so.
    pub chat_template: Option<ChatTemplate>,
}

impl<'a> Model<'a> {
    fn of_gguf(bytes: &'a [u8]) -> Result<Self> {
        let gguf = Gguf::parse(bytes)?;
        let config = of_gguf::config(&gguf)?;
        let tokenizer = of_gguf::tokenizer(&gguf)?;
        config.check_tokens(&tokenizer)?;
        let chat_template = of_gguf::chat_template(&gguf, &tokenizer)?;
        let tensors = Tensors::of_gguf(gguf);
        tensors.refuse_unread(&config)?;
        Ok(Self { tensors, config, tokenizer, chat_template })
    }

    fn of_folder(folder: &Path, files: &'a [(PathBuf, Mmap)]) -> Result<Self> {
        let config = of_json::config(folder)?;
        let tokenizer = of_json::tokenizer(folder)?;
        config.check_tokens(&tokenizer)?;
        let chat_template = of_json::chat_template(folder, &tokenizer)?;
        let parsed = files.iter().map(|(path, bytes)| {
            SafeTensors::deserialize(bytes).map_err(|e| wrong(format!("{}: {e}", path.display())))
        });
        let tensors = Tensors::of_safetensors(parsed.collect::<Result<_>>()?)?;
        tensors.refuse_unread(&config)?;
        Ok(Self { config, tensors, tokenizer, chat_template })
    }
}
