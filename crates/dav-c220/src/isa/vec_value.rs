//! Element values: bytes to lanes and back, and what happens to results that a type cannot hold.

#![allow(
    clippy::cast_possible_truncation,
    reason = "taking the low bits of a lane is what an element type does"
)]

use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::vec_operand::LANES;
use super::vec_wide::Repeated;
use crate::access::{Elem, FaultKind, Instr, Stop};

/// Reads integers of `N` bytes.
pub(super) fn widen<const N: usize>(out: &mut [i64], raw: &[u8], of: impl Fn([u8; N]) -> i64) {
    for (x, b) in out.iter_mut().zip(raw.chunks_exact(N)) {
        let mut bytes = [0; N];
        bytes.copy_from_slice(b);
        *x = of(bytes);
    }
}

/// Writes the low `N` bytes of integers.
pub(super) fn narrow<const N: usize>(raw: &mut [u8], values: &[i64]) {
    for (b, x) in raw.chunks_exact_mut(N).zip(values) {
        b.copy_from_slice(&x.to_le_bytes()[..N]);
    }
}

/// f32 to bf16, to nearest even.
#[inline(always)]
fn round_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    bf16::from_bits(if x.is_nan() { 0x7fc0 } else { rounded })
}

/// The lanes of a repeat as bytes of the element type.
pub(super) struct Pack<'a> {
    pub(super) elem: Elem,
    pub(super) values: &'a [f32],
    pub(super) raw: &'a mut [u8; 4 * LANES],
    /// CTRL\[48\].
    pub(super) inf_nan: bool,
}

impl Repeated for Pack<'_> {
    #[inline(always)]
    fn run(self) {
        let Pack { elem, values, raw, inf_nan } = self;
        match elem {
            Elem::F16 => {
                let mut h = [f16::ZERO; LANES];
                let h = &mut h[..values.len()];
                h.convert_from_f32_slice(values);
                for (b, x) in raw.chunks_exact_mut(2).zip(h) {
                    b.copy_from_slice(&finish_f16(*x, inf_nan).to_le_bytes());
                }
            }
            Elem::Bf16 => {
                for (b, x) in raw.chunks_exact_mut(2).zip(values) {
                    b.copy_from_slice(&finish_bf16(round_bf16(*x), inf_nan).to_le_bytes());
                }
            }
            _ => {
                for (b, x) in raw.chunks_exact_mut(4).zip(values) {
                    b.copy_from_slice(&canonical(*x).to_le_bytes());
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn f32_from_bytes(out: &mut [f32], bytes: &[u8]) {
    for (x, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
        *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
}

/// ASSUMPTION(nan-payload): every NaN result is the positive quiet NaN, so that results do not depend on the
/// host.
///
/// Written on the bits: of a float select the compiler may assume that any NaN does.
#[inline(always)]
pub(super) fn canonical(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0_0000 } else { bits })
}

/// A 16-bit result as the CTRL\[48\] mode wants it (`dav-c220.md` 6.1).
#[inline(always)]
pub(super) fn finish_f16(x: f16, inf_nan: bool) -> f16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff;
    let (infinity, nan) = if inf_nan { (0x7c00, 0x7e00) } else { (0x7bff, 0) };
    let number = if magnitude == 0x7c00 { bits & 0x8000 | infinity } else { bits };
    f16::from_bits(if magnitude > 0x7c00 { nan } else { number })
}

/// As [`finish_f16`], for bf16.
#[inline(always)]
pub(super) fn finish_bf16(x: bf16, inf_nan: bool) -> bf16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff;
    let (infinity, nan) = if inf_nan { (0x7f80, 0x7fc0) } else { (0x7f7f, 0) };
    let number = if magnitude == 0x7f80 { bits & 0x8000 | infinity } else { bits };
    bf16::from_bits(if magnitude > 0x7f80 { nan } else { number })
}

/// The value of an element's raw bits as integer.
pub(super) fn extend(elem: Elem, raw: u64) -> i64 {
    match elem {
        Elem::S8 => i64::from(raw as i8),
        Elem::U8 => i64::from(raw as u8),
        Elem::S16 => i64::from(raw as i16),
        Elem::U16 | Elem::F16 | Elem::Bf16 => i64::from(raw as u16),
        Elem::S32 => i64::from(raw as i32),
        Elem::U32 | Elem::F32 => i64::from(raw as u32),
        _ => raw.cast_signed(),
    }
}

/// Smallest and largest value of an integer type.
pub(super) fn int_range(elem: Elem) -> (i64, i64) {
    match elem {
        Elem::S8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        Elem::U8 => (0, i64::from(u8::MAX)),
        Elem::S16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Elem::U16 => (0, i64::from(u16::MAX)),
        Elem::S32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Elem::U32 => (0, i64::from(u32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

/// How an integer result becomes an element.
#[derive(Clone, Copy)]
pub(super) struct Fit {
    pub(super) elem: Elem,
    /// CTRL\[48\].
    pub(super) inf_nan: bool,
}

impl Fit {
    /// The element: it wraps in INF/NAN mode, and saturates otherwise (`dav-c220.md` 6.1).
    pub(super) fn of(self, value: i64) -> i64 {
        if self.inf_nan {
            return extend(self.elem, value.cast_unsigned());
        }
        let (min, max) = int_range(self.elem);
        value.clamp(min, max)
    }
}

/// A scalar operand's raw bits as f32.
pub(super) fn scalar_f32(elem: Elem, raw: u64) -> f32 {
    match elem {
        Elem::F16 => f16::from_bits(raw as u16).to_f32(),
        Elem::Bf16 => bf16::from_bits(raw as u16).to_f32(),
        _ => f32::from_bits(raw as u32),
    }
}

/// Is it a float type of element-wise arithmetic?
pub(super) fn is_float(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::F32)
}

/// Element types that an operation takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Types {
    /// One of these, of all its operands.
    alike: &'static [Elem],
    /// Beside them, F16 sources with an F32 destination.
    widens: bool,
}

impl Types {
    pub(super) const fn alike(alike: &'static [Elem]) -> Self {
        Self { alike, widens: false }
    }

    pub(super) const FLOATS_OR_S32: Self = Self::alike(&[Elem::F16, Elem::F32, Elem::S32]);
    pub(super) const BITS_16: Self = Self::alike(&[Elem::S16, Elem::U16]);
    pub(super) const NUMBERS: Self = Self::alike(&[Elem::F16, Elem::F32, Elem::S16, Elem::S32]);
    /// F16, F32, and F16 to F32.
    pub(super) const FLOATS_OR_WIDENING: Self = Self { alike: Self::FLOATS.alike, widens: true };
    pub(super) const FLOATS: Self = Self::alike(&[Elem::F16, Elem::F32]);

    /// Requires that there is a form of the instruction for these types.
    pub(super) fn check(self, instr: &Instr, elem: Elem, elem_dst: Elem) -> Result<(), Stop> {
        let widens = self.widens && (elem, elem_dst) == (Elem::F16, Elem::F32);
        if widens || elem == elem_dst && self.alike.contains(&elem) {
            return Ok(());
        }
        let mut takes: Vec<String> = self.alike.iter().map(|elem| format!("{elem:?}")).collect();
        takes.extend(self.widens.then(|| "F16 to F32".to_owned()));
        Err(no_such_type(instr, &takes.join(", ")))
    }
}

/// The element type is not one of this instruction's.
pub(super) fn no_such_type(instr: &Instr, takes: &str) -> Stop {
    let types = match instr.elem_dst {
        Elem::None => format!("{:?}", instr.elem),
        dst => format!("{:?} to {dst:?}", instr.elem),
    };
    Stop::fault(
        FaultKind::NoSuchPath,
        format!("{} has no form for {types}; it takes {takes}", instr.op.mnemonic),
    )
}
