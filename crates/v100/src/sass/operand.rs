//! Operands as the disassembler prints them.

/// The register that reads as zero.
pub(crate) const RZ: u8 = 255;
/// The predicate that is true.
pub(crate) const PT: u8 = 7;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Register(u8),
    Constant { bank: u8, offset: u32 },
    Immediate(u32),
}

/// A source of 32 bits. Integers: `inverted` first, then `negated`; floats: `magnitude` first, then
/// `negated`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Operand {
    pub(crate) value: Value,
    pub(crate) negated: bool,
    pub(crate) inverted: bool,
    pub(crate) magnitude: bool,
}

/// A predicate as a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pred {
    pub(crate) index: u8,
    pub(crate) negated: bool,
}

/// `[R2.X4+0x10]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) register: u8,
    pub(crate) scale: u32,
    pub(crate) offset: i64,
}

impl Operand {
    pub(crate) fn register(index: u8) -> Self {
        Self { value: Value::Register(index), negated: false, inverted: false, magnitude: false }
    }
}

/// Splits at commas that no bracket holds.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut first, mut out) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(text[first..at].trim());
                first = at + 1;
            }
            _ => {}
        }
    }
    if !text[first..].trim().is_empty() {
        out.push(text[first..].trim());
    }
    out
}

/// A plain register, without what the disassembler adds for its own reasons.
pub(crate) fn register(text: &str) -> Option<u8> {
    let text = text.trim_end_matches(".reuse").trim_end_matches(".64");
    match text.strip_prefix('R')? {
        "Z" => Some(RZ),
        number => number.parse().ok().filter(|&n| n < RZ),
    }
}

/// A predicate as a destination.
pub(crate) fn predicate(text: &str) -> Option<u8> {
    match text.strip_prefix('P')? {
        "T" => Some(PT),
        number => number.parse().ok().filter(|&n| n < PT),
    }
}

pub(crate) fn pred(text: &str) -> Option<Pred> {
    let negated = text.starts_with('!');
    Some(Pred { index: predicate(text.trim_start_matches('!'))?, negated })
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// `c[0x0][0x160]`
pub(crate) fn constant(text: &str) -> Option<Value> {
    let (bank, offset) = text.strip_prefix("c[")?.strip_suffix(']')?.split_once("][")?;
    Some(Value::Constant { bank: u8::try_from(hex(bank)?).ok()?, offset: hex(offset)? })
}

/// A register or a constant, with a sign, an inversion, a magnitude.
fn variable(text: &str) -> Option<Operand> {
    let negated = text.starts_with('-');
    let inverted = text.starts_with('~');
    let text = text.trim_start_matches(['-', '~']);
    let magnitude = text.starts_with('|');
    let text = text.replace('|', "");
    let text = text.trim_end_matches(".reuse");
    let value = register(text).map(Value::Register).or_else(|| constant(text))?;
    Some(Operand { value, negated, inverted, magnitude })
}

fn immediate(bits: u32) -> Operand {
    Operand { value: Value::Immediate(bits), negated: false, inverted: false, magnitude: false }
}

/// A source of an integer instruction.
pub(crate) fn int(text: &str) -> Option<Operand> {
    let number = || {
        let negative = text.starts_with('-');
        let digits = text.trim_start_matches('-');
        let size = if digits.starts_with("0x") { hex(digits)? } else { digits.parse().ok()? };
        Some(immediate(if negative { size.wrapping_neg() } else { size }))
    };
    variable(text).or_else(number)
}

/// A source of a float instruction.
pub(crate) fn float(text: &str) -> Option<Operand> {
    let number = || {
        let value: f32 = match text.trim_start_matches(['+', '-']) {
            "INF" => f32::INFINITY,
            "QNAN" => f32::NAN,
            digits => digits.parse().ok()?,
        };
        Some(immediate(if text.starts_with('-') { -value } else { value }.to_bits()))
    };
    variable(text).or_else(number)
}

pub(crate) fn address(text: &str) -> Option<Address> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let (base, offset) = match inner.split_once('+') {
        Some((base, offset)) => (base, offset),
        None if inner.starts_with('R') => (inner, "0x0"),
        None => ("RZ", inner),
    };
    let negative = offset.starts_with('-');
    let size = i64::from(hex(offset.trim_start_matches('-'))?);
    let mut parts = base.split('.');
    let register = register(parts.next()?)?;
    let mut scale = 1;
    for part in parts {
        match part.strip_prefix('X') {
            Some(number) => scale = number.parse().ok()?,
            None if part == "U32" || part == "64" => {}
            None => return None,
        }
    }
    Some(Address { register, scale, offset: if negative { -size } else { size } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_read_as_they_are_printed() {
        assert_eq!(
            split("R1, c[0x0][0x4], [R2+0x10], `(.L_x)"),
            ["R1", "c[0x0][0x4]", "[R2+0x10]", "`(.L_x)"]
        );
        assert_eq!(int("-0x8").unwrap().value, Value::Immediate(0xffff_fff8));
        assert_eq!(int("-R3.reuse").unwrap(), Operand { negated: true, ..Operand::register(3) });
        assert_eq!(int("~R3").unwrap(), Operand { inverted: true, ..Operand::register(3) });
        assert_eq!(
            float("-|R3|").unwrap(),
            Operand { negated: true, magnitude: true, ..Operand::register(3) }
        );
        assert_eq!(float("-INF").unwrap().value, Value::Immediate(0xff80_0000));
        assert_eq!(float("0.5").unwrap().value, Value::Immediate(0x3f00_0000));
        assert_eq!(int("c[0x2][0x10]").unwrap().value, Value::Constant { bank: 2, offset: 16 });
        assert_eq!(address("[R2.X4+-0x10]"), Some(Address { register: 2, scale: 4, offset: -16 }));
        assert_eq!(address("[0x40]"), Some(Address { register: RZ, scale: 1, offset: 64 }));
        assert_eq!(address("[R2.64]"), Some(Address { register: 2, scale: 1, offset: 0 }));
        assert_eq!(
            (pred("!P3"), pred("PT")),
            (Some(Pred { index: 3, negated: true }), Some(Pred { index: PT, negated: false }),)
        );
        assert!(register("R256").is_none() && int("P0").is_none() && address("R2").is_none());
    }
}
