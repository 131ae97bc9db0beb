//! Operands of a statement, and their checked conversion to what instructions take.

use super::body::{Class, Register};
use super::Param;
use crate::fault::Error;
use crate::op::{Address, Guard, Src32, Src64, P, R32, R64};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand<'a> {
    Register(Register),
    /// `!p`.
    Not(Register),
    Int(i64),
    /// `0fFF800000`.
    Float(u32),
    /// A special register, a parameter's name.
    Name(&'a str),
    Vector(Vec<Operand<'a>>),
    Address(Box<Operand<'a>>, i64),
    /// `%r1|%p1`.
    Pair(Box<Operand<'a>>, Box<Operand<'a>>),
}

/// An instruction before it is decoded.
#[derive(Debug)]
pub(super) struct Statement<'a, 'p> {
    pub(super) line: u32,
    pub(super) opcode: &'a str,
    pub(super) operands: Vec<Operand<'a>>,
    pub(super) params: &'p [Param],
}

/// A decimal, hexadecimal or octal number.
pub(super) fn integer(word: &str) -> Option<i64> {
    let word = word.strip_suffix('U').unwrap_or(word);
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if word.len() > 1 && word.starts_with('0') => (&word[1..], 8),
        None => (word, 10),
    };
    u64::from_str_radix(digits, radix).ok().map(u64::cast_signed)
}

impl<'a> Operand<'a> {
    /// A word that names no register. None: it looks like a number, but is none.
    pub(super) fn word(word: &'a str) -> Option<Self> {
        if let Some(bits) = word.strip_prefix("0f").or_else(|| word.strip_prefix("0F")) {
            return u32::from_str_radix(bits, 16).ok().map(Self::Float);
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return integer(word).map(Self::Int);
        }
        Some(Self::Name(word))
    }
}

impl<'a> Statement<'a, '_> {
    pub(super) fn wrong<T>(&self, at: usize, wanted: &str) -> Result<T, Error> {
        let text =
            format!("{}: operand {} is {:?}, wanted {wanted}", self.opcode, at + 1, self.operands.get(at));
        Err(Error::invalid(self.line, text))
    }

    pub(super) fn unsupported<T>(&self) -> Result<T, Error> {
        Err(Error::unsupported(self.line, format!("{} in this form", self.opcode)))
    }

    pub(super) fn count(&self, wanted: usize) -> Result<(), Error> {
        match self.operands.len() {
            found if found == wanted => Ok(()),
            found => Err(Error::invalid(
                self.line,
                format_args!("{}: {found} operands, wanted {wanted}", self.opcode),
            )),
        }
    }

    pub(super) fn register(&self, at: usize, class: Class) -> Result<u32, Error> {
        match self.operands.get(at) {
            Some(Operand::Register(found)) if found.class == class => Ok(found.number),
            _ => self.wrong(at, &format!("a register of class {class:?}")),
        }
    }

    pub(super) fn r32(&self, at: usize) -> Result<R32, Error> {
        self.register(at, Class::B32)
    }

    pub(super) fn r64(&self, at: usize) -> Result<R64, Error> {
        self.register(at, Class::B64)
    }

    pub(super) fn p(&self, at: usize) -> Result<P, Error> {
        self.register(at, Class::Pred)
    }

    pub(super) fn maybe_not_p(&self, at: usize) -> Result<Guard, Error> {
        match self.operands.get(at) {
            Some(Operand::Not(found)) if found.class == Class::Pred => {
                Ok(Guard { p: found.number, negated: true })
            }
            _ => Ok(Guard { p: self.p(at)?, negated: false }),
        }
    }

    pub(super) fn s32(&self, at: usize) -> Result<Src32, Error> {
        self.source32(at, self.operands.get(at))
    }

    fn source32(&self, at: usize, operand: Option<&Operand<'a>>) -> Result<Src32, Error> {
        match operand {
            Some(Operand::Register(Register { class: Class::B32, number })) => Ok(Src32::Reg(*number)),
            Some(Operand::Float(bits)) => Ok(Src32::Imm(*bits)),
            Some(Operand::Int(value)) => match (u32::try_from(*value), i32::try_from(*value)) {
                (Ok(bits), _) => Ok(Src32::Imm(bits)),
                (_, Ok(signed)) => Ok(Src32::Imm(signed.cast_unsigned())),
                _ => self.wrong(at, "a number of 32 bits"),
            },
            _ => self.wrong(at, "a register or number of 32 bits"),
        }
    }

    pub(super) fn s64(&self, at: usize) -> Result<Src64, Error> {
        match self.operands.get(at) {
            Some(Operand::Register(Register { class: Class::B64, number })) => Ok(Src64::Reg(*number)),
            Some(Operand::Int(value)) => Ok(Src64::Imm(value.cast_unsigned())),
            _ => self.wrong(at, "a register or number of 64 bits"),
        }
    }

    /// A number known when the text is read.
    pub(super) fn immediate(&self, at: usize) -> Result<u32, Error> {
        match self.s32(at)? {
            Src32::Imm(value) => Ok(value),
            Src32::Reg(_) => self.wrong(at, "a number"),
        }
    }

    /// `N` sources of a vector operand.
    pub(super) fn sources<const N: usize>(&self, at: usize) -> Result<[Src32; N], Error> {
        let Some(Operand::Vector(items)) = self.operands.get(at).filter(|v| v.len() == N) else {
            return self.wrong(at, &format!("a vector of {N}"));
        };
        let mut found = [Src32::Imm(0); N];
        for (slot, item) in found.iter_mut().zip(items) {
            *slot = self.source32(at, Some(item))?;
        }
        Ok(found)
    }

    /// `N` registers of a vector operand.
    pub(super) fn registers<const N: usize>(&self, at: usize, class: Class) -> Result<[u32; N], Error> {
        let Some(Operand::Vector(items)) = self.operands.get(at).filter(|v| v.len() == N) else {
            return self.wrong(at, &format!("a vector of {N}"));
        };
        let mut found = [0; N];
        for (slot, item) in found.iter_mut().zip(items) {
            match item {
                Operand::Register(register) if register.class == class => *slot = register.number,
                _ => return self.wrong(at, &format!("registers of class {class:?}")),
            }
        }
        Ok(found)
    }

    /// The address operand of a load or store.
    pub(super) fn address(&self, at: usize) -> Result<Address, Error> {
        match self.operands.get(at) {
            Some(Operand::Address(base, offset)) => match **base {
                Operand::Register(Register { class: Class::B64, number }) => {
                    Ok(Address { base: Some(number), offset: *offset })
                }
                Operand::Int(value) => Ok(Address { base: None, offset: value.wrapping_add(*offset) }),
                Operand::Register(_) => self.unsupported(),
                _ => self.wrong(at, "an address"),
            },
            _ => self.wrong(at, "an address"),
        }
    }

    /// Where the `bytes` of `[param + offset]` lie in the packed parameters.
    pub(super) fn param(&self, at: usize, bytes: u32) -> Result<u32, Error> {
        let Some(Operand::Address(base, offset)) = self.operands.get(at) else {
            return self.wrong(at, "[parameter]");
        };
        let found = self.params.iter().find(|param| **base == Operand::Name(&param.name));
        match (found, u32::try_from(*offset)) {
            (Some(param), Ok(offset)) if offset.saturating_add(bytes) <= param.bytes => {
                Ok(param.offset + offset)
            }
            (Some(param), _) => {
                self.wrong(at, &format!("{bytes} bytes within the {} of the parameter", param.bytes))
            }
            _ => self.wrong(at, "a parameter of this kernel"),
        }
    }
}

impl Operand<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Vector(items) => items.len(),
            _ => 1,
        }
    }
}
