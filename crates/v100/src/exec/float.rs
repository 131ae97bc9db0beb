//! f32, special functions, conversions, tensor instructions.

use half::f16;

use super::int::{compared, pairs};
use super::state::BlockState;
use super::warp::{lanes_of, Warp};
use super::Lanes;
use crate::sass::{Convert, Float, Function, Op, Round};

fn narrow(x: f64) -> f32 {
    #[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is what is meant")]
    let x = x as f32;
    x
}

impl Warp {
    // One arm for each instruction.
    pub(super) fn perform_float(&mut self, state: &BlockState<'_>, op: &Op) {
        match op {
            Op::Hmma { .. } => self.hmma(op),
            Op::Float { to, float } => {
                let value = self.float_value(state, float);
                self.write(*to, value.map(f32::to_bits));
            }
            Op::Function { to, from, function } => {
                let value = self.float(state, from).map(|x| {
                    let x = f64::from(x);
                    narrow(match function {
                        Function::Exp2 => x.exp2(),
                        Function::Log2 => x.log2(),
                        Function::Reciprocal => 1.0 / x,
                        Function::ReciprocalRoot => 1.0 / x.sqrt(),
                        Function::Root => x.sqrt(),
                    })
                });
                self.write(*to, value.map(f32::to_bits));
            }
            Op::Convert { to, from, convert } => {
                let value = match *convert {
                    Convert::FloatToHalf => {
                        self.float(state, from).map(|x| u32::from(f16::from_f32(x).to_bits()))
                    }
                    Convert::IntToFloat { signed, round } => {
                        self.int(state, from).map(|x| int_to_float(x, signed, round).to_bits())
                    }
                    Convert::FloatToInt { signed, round } => {
                        self.float(state, from).map(|x| float_to_int(x, signed, round))
                    }
                };
                self.write(*to, value);
            }
            Op::Widen { to, from } => {
                let bits = self.float(state, from).map(|x| f64::from(x).to_bits());
                self.write(*to, bits.map(super::int::low));
                self.write(Self::next(*to), bits.map(super::int::high));
            }
            Op::Fsetp { to, sources: [x, y], with, compare, unordered, combine } => {
                let [x, y] = [x, y].map(|source| self.float(state, source));
                let value = lanes_of(|lane| {
                    let is_nan = x[lane].is_nan() || y[lane].is_nan();
                    match compare {
                        Some(compare) if !is_nan => compared(*compare, x[lane], y[lane]),
                        Some(_) => *unordered,
                        None => is_nan == *unordered,
                    }
                });
                self.set_both(*to, value, *with, *combine);
            }
            _ => {}
        }
    }

    fn float_value(&self, state: &BlockState<'_>, float: &Float) -> Lanes<f32> {
        match float {
            Float::Add([x, y]) => pairs(self.float(state, x), self.float(state, y), |x, y| x + y),
            Float::Mul([x, y]) => pairs(self.float(state, x), self.float(state, y), |x, y| x * y),
            Float::Fma([x, y, z]) => {
                let [x, y, z] = [x, y, z].map(|source| self.float(state, source));
                std::array::from_fn(|lane| x[lane].mul_add(y[lane], z[lane]))
            }
            Float::MinMax([x, y], with) => {
                let (x, y, least) = (self.float(state, x), self.float(state, y), self.pred(*with));
                std::array::from_fn(|n| if least >> n & 1 == 1 { x[n].min(y[n]) } else { x[n].max(y[n]) })
            }
            Float::Select([x, y], with) => {
                let (x, y, with) = (self.float(state, x), self.float(state, y), self.pred(*with));
                std::array::from_fn(|n| if with >> n & 1 == 1 { x[n] } else { y[n] })
            }
            Float::OfHalf { from, high } => {
                let shift = if *high { 16 } else { 0 };
                let sign = if from.negated { -1.0 } else { 1.0 };
                let bits = self.raw(state, from).map(|word| word >> shift & 0xffff);
                bits.map(|bits| sign * f16::from_bits(u16::try_from(bits).unwrap_or(0)).to_f32())
            }
        }
    }

    /// `HMMA.884.F32.F32.STEPn`: a quadpair (lanes q .. q+3 and q+16 .. q+19) does 8 x 8 x 4; step n gives
    /// two registers a lane: row t0 + 2 (n & 1) + 4 hi, columns 4 (n >> 1) + 2 t1 + {0, 1} (PTX ISA,
    /// m8n8k4; Raihan et al., arXiv 1811.08309).
    fn hmma(&mut self, op: &Op) {
        let Op::Hmma { to, a, b, c, step, a_row, b_col } = op else { return };
        let half = |register: u8, k: usize, lane: usize| {
            let word = self.registers[usize::from(register) + k / 2][lane] >> (16 * (k % 2));
            f64::from(f16::from_bits(u16::try_from(word & 0xffff).unwrap_or(0)))
        };
        let step = usize::from(*step);
        let element = |lane: usize, e: usize| {
            let of = |thread: usize| (lane & 12) + (thread & 3) + 16 * (thread >> 2);
            let row = (lane & 1) + 2 * (step & 1) + 4 * (lane >> 4);
            let column = 4 * (step >> 1) + (lane & 2) + e;
            let product = |k: usize| {
                let (i, from) = if *a_row { (k, of(row)) } else { (row & 3, of(k + 4 * (row >> 2))) };
                let x = half(*a, i, from);
                let (i, from) =
                    if *b_col { (k, of(column)) } else { (column & 3, of(k + 4 * (column >> 2))) };
                x * half(*b, i, from)
            };
            let sum: f64 = (0..4).map(product).sum();
            let register = if *c == crate::sass::RZ { usize::from(*c) } else { usize::from(*c) + e };
            narrow(f64::from(f32::from_bits(self.registers[register][lane])) + sum).to_bits()
        };
        let out = [0, 1].map(|e| std::array::from_fn(|lane| element(lane, e)));
        self.write(*to, out[0]);
        self.write(Self::next(*to), out[1]);
    }
}

fn int_to_float(x: u32, signed: bool, round: Round) -> f32 {
    let exact = if signed { f64::from(x.cast_signed()) } else { f64::from(x) };
    let near = narrow(exact);
    let found = f64::from(near);
    match round {
        Round::Up if found < exact => near.next_up(),
        Round::Down if found > exact => near.next_down(),
        Round::Zero if found.abs() > exact.abs() && exact > 0.0 => near.next_down(),
        Round::Zero if found.abs() > exact.abs() => near.next_up(),
        _ => near,
    }
}

fn float_to_int(x: f32, signed: bool, round: Round) -> u32 {
    let x = match round {
        Round::Nearest => x.round_ties_even(),
        Round::Down => x.floor(),
        Round::Up => x.ceil(),
        Round::Zero => x.trunc(),
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the ends are kept, NaN is 0")]
    if signed {
        (x as i32).cast_unsigned()
    } else {
        x as u32
    }
}
