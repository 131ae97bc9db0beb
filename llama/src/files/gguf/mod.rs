//! GGUF, the file format of llama.cpp: a header with metadata, and tensors behind it.
//!
//! Source of the format: the specification `docs/gguf.md` of ggml, versions 2 and 3, little endian. Every
//! number of a file is checked before it is used, so a wrong file gives an error and nothing else. Nothing is
//! allocated for a number that the file gives without the bytes to go with it.

mod blocks;
mod reader;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, HashMap};

use fastattention::Result;

use super::wrong;
pub use blocks::ElementType;
use reader::Reader;
pub use value::{Array, Value};

/// Most dimensions of a tensor (`GGML_MAX_DIMS`).
const MAX_DIMENSIONS: u32 = 4;

/// Longest name of a tensor and longest key, in bytes (specification).
const MAX_NAME: usize = 64;
const MAX_KEY: usize = 65535;

/// Least bytes of an entry of the metadata (empty key, type, one byte), and of a description of a tensor.
const LEAST_ENTRY: u64 = 8 + 4 + 1;
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;

/// Bytes that tensors start at multiples of, unless the file says another number.
const ALIGNMENT: u32 = 32;

/// A parsed file; what it holds lies in the bytes that were parsed.
#[derive(Clone, Debug)]
pub struct Gguf<'a> {
    metadata: BTreeMap<&'a str, Value<'a>>,
    tensors: HashMap<&'a str, Tensor<'a>>,
}

/// A tensor as it lies in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// Extents, outermost first: those of a linear layer are `[outputs, inputs]`.
    pub shape: Vec<usize>,
    /// Type of the elements.
    pub element: ElementType,
    /// The elements.
    pub bytes: &'a [u8],
}

impl<'a> Gguf<'a> {
    /// Parses a whole file.
    ///
    /// # Errors
    /// `Io` with the place and the reason where the bytes are no GGUF file, `Unsupported` for versions and
    /// types of elements that are not read here.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let magic = reader.take("the magic", 4)?;
        if magic != b"GGUF" {
            return Err(wrong(format!("GGUF: the file starts with {magic:02x?}, \"GGUF\" wanted")));
        }
        let version = reader.u32("the version")?;
        if !(2..=3).contains(&version) {
            return Err(wrong(format!("GGUF: version = {version}, 2 or 3 wanted")));
        }
        let tensors = reader.count("the number of tensors", LEAST_TENSOR)?;
        let entries = reader.count("the number of entries of the metadata", LEAST_ENTRY)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let key = reader.string("a key of the metadata")?;
            if key.is_empty() || key.len() > MAX_KEY {
                let len = key.len();
                return Err(wrong(format!("GGUF: a key of {len} bytes, 1 to {MAX_KEY} wanted")));
            }
            let value = Value::read(&mut reader, key)?;
            if metadata.insert(key, value).is_some() {
                return Err(wrong(format!("GGUF: the metadata have {key:?} twice")));
            }
        }
        let tensors = Self::tensors_of(reader, tensors, alignment(&metadata)?)?;
        Ok(Self { metadata, tensors })
    }

    fn tensors_of(
        mut reader: Reader<'a>,
        count: u64,
        alignment: u64,
    ) -> Result<HashMap<&'a str, Tensor<'a>>> {
        let infos: Vec<Info<'a>> = (0..count).map(|_| Info::read(&mut reader)).collect::<Result<_>>()?;
        let data = if infos.is_empty() { &[] } else { reader.aligned_rest(alignment)? };
        let mut tensors = HashMap::new();
        for info in infos {
            let name = info.name;
            if tensors.insert(name, info.tensor(data, alignment)?).is_some() {
                return Err(wrong(format!("GGUF: tensor {name:?} is there twice")));
            }
        }
        Ok(tensors)
    }

    /// The metadata.
    pub fn metadata(&self) -> &BTreeMap<&'a str, Value<'a>> {
        &self.metadata
    }

    /// A value of the metadata.
    ///
    /// # Errors
    /// `Io` when there is none of this key.
    pub fn value(&self, key: &str) -> Result<Value<'a>> {
        let value = self.metadata.get(key).copied();
        value.ok_or_else(|| wrong(format!("GGUF: the metadata have no {key:?}")))
    }

    /// Names of the tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.tensors.keys().copied()
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Option<&Tensor<'a>> {
        self.tensors.get(name)
    }
}

/// What tensors are aligned to.
fn alignment(metadata: &BTreeMap<&str, Value<'_>>) -> Result<u64> {
    let key = "general.alignment";
    let bytes = match metadata.get(key) {
        Some(Value::U32(bytes)) => *bytes,
        Some(other) => return Err(wrong(format!("GGUF: {key} = {other:?}, a u32 wanted"))),
        None => ALIGNMENT,
    };
    if !bytes.is_power_of_two() || bytes < 8 {
        return Err(wrong(format!("GGUF: {key} = {bytes}, a power of two from 8 on wanted")));
    }
    Ok(bytes.into())
}

/// What the header says of a tensor.
struct Info<'a> {
    name: &'a str,
    shape: Vec<usize>,
    element: ElementType,
    offset: u64,
}

impl<'a> Info<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self> {
        let name = reader.string("the name of a tensor")?;
        if name.is_empty() || name.len() > MAX_NAME {
            let len = name.len();
            return Err(wrong(format!("GGUF: the name of a tensor has {len} bytes, 1 to {MAX_NAME} wanted")));
        }
        let dimensions = reader.u32("the dimensions of a tensor")?;
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(wrong(format!(
                "GGUF: tensor {name:?} has {dimensions} dimensions, 1 to {MAX_DIMENSIONS} wanted"
            )));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let extent = reader.u64("an extent of a tensor")?;
            let fits = usize::try_from(extent).ok().filter(|extent| (1..=1 << 40).contains(extent));
            shape.push(fits.ok_or_else(|| {
                wrong(format!("GGUF: tensor {name:?} has an extent of {extent}, 1 to 2^40 wanted"))
            })?);
        }
        // The file has the innermost first.
        shape.reverse();
        let element = ElementType::of(reader.u32("the type of a tensor")?, name)?;
        Ok(Self { name, shape, element, offset: reader.u64("the place of a tensor")? })
    }

    fn tensor(self, data: &'a [u8], alignment: u64) -> Result<Tensor<'a>> {
        let Self { name, shape, element, offset } = self;
        if !offset.is_multiple_of(alignment) {
            return Err(wrong(format!(
                "GGUF: tensor {name:?} starts at byte {offset}, a multiple of {alignment} wanted"
            )));
        }
        let block = element.block_elements();
        let row = shape[shape.len() - 1];
        if !row.is_multiple_of(block) {
            return Err(wrong(format!(
                "GGUF: tensor {name:?} of type {element:?} has rows of {row} elements, a multiple of {block} wanted"
            )));
        }
        let elements = shape.iter().try_fold(1usize, |all, extent| all.checked_mul(*extent));
        let bytes = elements.and_then(|all| (all / block).checked_mul(element.block_bytes()));
        let range = bytes.and_then(|bytes| {
            let start = usize::try_from(offset).ok()?;
            data.get(start..start.checked_add(bytes)?)
        });
        let bytes = range.ok_or_else(|| {
            let len = data.len();
            wrong(format!(
                "GGUF: tensor {name:?} of shape {shape:?} and type {element:?} at byte {offset} leaves the {len} bytes \
                 of data"
            ))
        })?;
        Ok(Tensor { shape, element, bytes })
    }
}

impl Tensor<'_> {
    /// The elements as f32, in their order.
    pub fn to_f32(&self) -> Vec<f32> {
        self.element.widen(self.bytes)
    }
}
