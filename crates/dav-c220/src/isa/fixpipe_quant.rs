//! Scale and conversion on the way out of L0C. asc-devkit, quantisation and ReLU of Fixpipe; dav-c220.md 3.6.

use super::transfer::{bad_operand, distance, length};
use crate::access::{Access, Addr, Elem, Exec, Space, Stop};

/// What happens to one value.
#[derive(Debug)]
pub(super) enum Conversion {
    /// NoQuant: the 32 bits as they are.
    Copy,
    /// F322F16.
    ToF16,
    /// F322BF16.
    ToBf16,
    /// DEQF16, VDEQF16: scaled, then to f16.
    ScaleToF16(Parameters),
    /// REQ8, VREQ8, QF322B8_PRE, VQF322B8_PRE: scaled, then to 8 bits.
    ScaleToB8(Parameters),
}

/// Quantisation parameters: one for all columns, or one per column.
#[derive(Debug)]
pub(super) struct Parameters(Vec<u64>);

impl Parameters {
    pub(super) fn of(&self, column: usize) -> Parameter {
        Parameter(if self.0.len() == 1 { self.0[0] } else { self.0[column] })
    }
}

/// One QUANT_PRE word (asc-devkit, quantisation on the way out of L0C).
pub(super) struct Parameter(u64);

impl Parameter {
    /// f32 of which the hardware keeps 1 sign, 8 exponent and 10 mantissa bits.
    #[allow(clippy::cast_possible_truncation, reason = "the scale is the low half of the word")]
    pub(super) fn scale(&self) -> f32 {
        f32::from_bits(self.0 as u32 & !0x1fff)
    }

    /// ASSUMPTION(quant-offset): the 9 bits are two's complement, as the range -256..=255 before them is.
    fn offset(&self) -> i32 {
        let bits = i32::from((self.0 >> 37 & 0x1ff) as u16);
        if bits >= 256 {
            bits - 512
        } else {
            bits
        }
    }

    fn is_signed(&self) -> bool {
        self.0 >> 46 & 1 == 1
    }

    /// The bit that shifts the integer right first; the vendor's table and script disagree by how much.
    fn shifts(&self) -> bool {
        self.0 >> 36 & 1 == 1
    }
}

/// The conversion that QuantPRE names, checked against the element types and the path.
pub(super) fn conversion(exec: &mut Exec<'_>, to: Space, n: u64) -> Result<Conversion, Stop> {
    use Elem::{Bf16, F16, F32, S32, S8, U8};
    let pair = (exec.instr.elem, exec.instr.elem_dst);
    let (takes, per_column) = match exec.arg(8) {
        0 if to == Space::L1 => return Err(bad_operand(exec, 8, "a converting mode on the path to L1")),
        0 => (matches!(pair, (F32, F32) | (S32, S32)), false),
        1 => (pair == (F32, F16), false),
        16 => (pair == (F32, Bf16), false),
        11 => (pair == (S32, F16), false),
        10 => (pair == (S32, F16), true),
        9 => (matches!(pair, (S32, S8 | U8)), false),
        8 => (matches!(pair, (S32, S8 | U8)), true),
        24 => (matches!(pair, (F32, S8 | U8)), false),
        23 => (matches!(pair, (F32, S8 | U8)), true),
        other => {
            return Err(Stop::unsupported(format!(
                "QuantPRE = {other}; NoQuant, F322F16, F322BF16, (V)DEQF16, (V)REQ8 and (V)QF322B8_PRE are modelled"
            )))
        }
    };
    if !takes {
        let (source, target) = pair;
        return Err(bad_operand(exec, 8, &format!("a mode from {source:?} to {target:?}")));
    }
    Ok(match exec.arg(8) {
        0 => Conversion::Copy,
        1 => Conversion::ToF16,
        16 => Conversion::ToBf16,
        10 | 11 => Conversion::ScaleToF16(parameters(exec, n, per_column)?),
        _ => Conversion::ScaleToB8(parameters(exec, n, per_column)?),
    })
}

/// The scalar parameter of `set_quant_pre`, or the table in FB that `set_fpc` names in units of 128 bytes.
fn parameters(exec: &mut Exec<'_>, n: u64, per_column: bool) -> Result<Parameters, Stop> {
    let list = if per_column {
        let at = Addr { space: Space::Fb, offset: distance((exec.instr.regs.fpc >> 8 & 0xff) << 7) };
        exec.touch("quantisation table", at, n * 8, Access::Read)?;
        exec.require_init("quantisation table", at, n * 8)?;
        let bytes = exec.bytes(at, length(n * 8));
        let word = |b: &[u8]| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        bytes.chunks_exact(8).map(word).collect()
    } else {
        vec![exec.instr.regs.quant_pre]
    };
    if list.iter().any(|p| Parameter(*p).shifts()) {
        return Err(Stop::unsupported("quantisation parameter with bit 36 (shift before scaling) set"));
    }
    Ok(Parameters(list))
}

/// Nearest even to 9 bits, offset, then saturated to 8 bits (asc-devkit, fixpipe_l0c2gm/scripts).
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range of the target; NaN becomes 0"
)]
pub(super) fn to_b8(value: f32, parameter: &Parameter) -> u8 {
    let sum = value.round_ties_even().clamp(-256.0, 255.0) as i32 + parameter.offset();
    if parameter.is_signed() {
        (sum.clamp(-128, 127) as i8).cast_unsigned()
    } else {
        sum.clamp(0, 255) as u8
    }
}
