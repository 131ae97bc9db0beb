//! Values of the metadata.

use fastattention::Result;

use super::reader::Reader;
use crate::files::wrong;

/// A value of the metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// 8 bits.
    U8(u8),
    /// 8 bits.
    I8(i8),
    /// 16 bits.
    U16(u16),
    /// 16 bits.
    I16(i16),
    /// 32 bits.
    U32(u32),
    /// 32 bits.
    I32(i32),
    /// 32 bits.
    F32(f32),
    /// A byte that is 0 or 1.
    Bool(bool),
    /// UTF-8.
    String(&'a str),
    /// Values of one type.
    Array(Array<'a>),
    /// 64 bits.
    U64(u64),
    /// 64 bits.
    I64(i64),
    /// 64 bits.
    F64(f64),
}

/// Number of the type of arrays.
const ARRAY: u32 = 9;

/// Values of one type, read when they are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    kind: u32,
    len: u64,
    elements: Elements<'a>,
}

/// Where the values lie; the reader stands at the first.
#[derive(Clone, Copy, Debug)]
struct Elements<'a>(Reader<'a>);

/// Two arrays with the same values are the same wherever they lie; `Array` compares length and type.
impl PartialEq for Elements<'_> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<'a> Value<'a> {
    /// The value of `key`.
    pub(super) fn read(reader: &mut Reader<'a>, key: &str) -> Result<Self> {
        let kind = reader.u32("the type of a value")?;
        if kind != ARRAY {
            return Self::scalar(reader, kind, key);
        }
        let kind = reader.u32("the type of an array")?;
        if kind == ARRAY {
            return Err(wrong(format!("GGUF: {key} is an array of arrays, which nothing here reads")));
        }
        let len = reader.count(&format!("the length of {key}"), 1)?;
        let array = Array { kind, len, elements: Elements(*reader) };
        // Each is looked at once here, so that those who read it later find no error.
        for _ in 0..len {
            Self::scalar(reader, kind, key)?;
        }
        Ok(Self::Array(array))
    }

    fn scalar(reader: &mut Reader<'a>, kind: u32, key: &str) -> Result<Self> {
        Ok(match kind {
            0 => Self::U8(u8::from_le_bytes(reader.array(key)?)),
            1 => Self::I8(i8::from_le_bytes(reader.array(key)?)),
            2 => Self::U16(u16::from_le_bytes(reader.array(key)?)),
            3 => Self::I16(i16::from_le_bytes(reader.array(key)?)),
            4 => Self::U32(u32::from_le_bytes(reader.array(key)?)),
            5 => Self::I32(i32::from_le_bytes(reader.array(key)?)),
            6 => Self::F32(f32::from_le_bytes(reader.array(key)?)),
            7 => match reader.array(key)? {
                [0] => Self::Bool(false),
                [1] => Self::Bool(true),
                [other] => return Err(wrong(format!("GGUF: {key} = {other}, a truth value: 0 or 1 wanted"))),
            },
            8 => Self::String(reader.string(key)?),
            10 => Self::U64(u64::from_le_bytes(reader.array(key)?)),
            11 => Self::I64(i64::from_le_bytes(reader.array(key)?)),
            12 => Self::F64(f64::from_le_bytes(reader.array(key)?)),
            _ => return Err(wrong(format!("GGUF: {key} has type {kind}, 0 to 12 wanted"))),
        })
    }

    /// As an integer that is not negative.
    pub fn to_u64(self) -> Option<u64> {
        match self {
            Self::U8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::U64(n) => Some(n),
            Self::I8(n) => n.try_into().ok(),
            Self::I16(n) => n.try_into().ok(),
            Self::I32(n) => n.try_into().ok(),
            Self::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// As a floating-point number.
    pub fn to_f64(self) -> Option<f64> {
        match self {
            Self::F32(x) => Some(x.into()),
            Self::F64(x) => Some(x),
            _ => None,
        }
    }

    /// As a string.
    pub fn to_str(self) -> Option<&'a str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// As a truth value.
    pub fn to_bool(self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// As an array.
    pub fn to_array(self) -> Option<Array<'a>> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }
}

impl<'a> Array<'a> {
    /// How many values there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values, in their order.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> {
        let (mut reader, kind) = (self.elements.0, self.kind);
        // `Value::read` has found no error in them.
        (0..self.len).map_while(move |_| Value::scalar(&mut reader, kind, "an array").ok())
    }

    /// The values, where all are strings.
    pub fn strings(&self) -> Option<Vec<&'a str>> {
        self.values().map(Value::to_str).collect()
    }
}
