//! Integers, predicates, moves.

use super::state::BlockState;
use super::warp::{lanes_of, Stop, Warp};
use super::{Lanes, Mask};
use crate::sass::{Combine, Compare, Lea, Op, Operand, Pred, Shift, ShuffleMode};

fn zip<A: Copy, B: Copy, C>(a: Lanes<A>, b: Lanes<B>, f: impl Fn(A, B) -> C) -> Lanes<C> {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

pub(super) fn low(x: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the low word is wanted")]
    let word = x as u32;
    word
}

pub(super) fn high(x: u64) -> u32 {
    low(x >> 32)
}

fn wide(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn bit(mask: Mask, lane: usize) -> bool {
    mask >> lane & 1 == 1
}

fn combined(combine: Combine, x: Mask, y: Mask) -> Mask {
    match combine {
        Combine::And => x & y,
        Combine::Or => x | y,
        Combine::Xor => x ^ y,
    }
}

pub(super) fn compared<T: PartialOrd>(compare: Compare, x: T, y: T) -> bool {
    match compare {
        Compare::Lt => x < y,
        Compare::Le => x <= y,
        Compare::Gt => x > y,
        Compare::Ge => x >= y,
        Compare::Eq => x == y,
        Compare::Ne => x != y,
    }
}

impl Warp {
    /// What an instruction does for the lanes of the mask. The number is for the trace.
    pub(super) fn perform(&mut self, state: &mut BlockState<'_>, op: &Op) -> Result<u32, Stop> {
        match op {
            Op::Lacking(what) => return Err(Stop::Lacks(what)),
            Op::Shared { .. }
            | Op::Global { .. }
            | Op::Local { .. }
            | Op::LoadConstant { .. }
            | Op::AtomicShared { .. } => return self.access(state, op),
            Op::Hmma { .. }
            | Op::Float { .. }
            | Op::Function { .. }
            | Op::Convert { .. }
            | Op::Widen { .. }
            | Op::Fsetp { .. } => {
                self.perform_float(state, op);
            }
            Op::Imad { .. }
            | Op::ImadWide { .. }
            | Op::Iadd3 { .. }
            | Op::Lea { .. }
            | Op::Shift { .. }
            | Op::Lop3 { .. }
            | Op::Abs { .. }
            | Op::Popc { .. }
            | Op::Permute { .. } => {
                self.arithmetic(state, op);
            }
            Op::Plop3 { .. }
            | Op::Isetp { .. }
            | Op::Select { .. }
            | Op::MinMax { .. }
            | Op::Vote { .. }
            | Op::PredicatesToRegister { .. }
            | Op::RegisterToPredicates { .. } => self.predicates(state, op),
            Op::Move { to, from } => self.write(*to, self.int(state, from)),
            Op::Clear { to, wide } => {
                self.write(*to, [0; 32]);
                if *wide {
                    self.write(Self::next(*to), [0; 32]);
                }
            }
            Op::Special { to, from } => self.write(*to, state.special(*from, self.number)),
            Op::Shuffle { .. } => self.shuffle(state, op),
            _ => {}
        }
        Ok(0)
    }

    // One arm for each instruction.
    fn arithmetic(&mut self, state: &BlockState<'_>, op: &Op) {
        match op {
            Op::Imad { to, sources: [x, y, z], carry } => {
                let [x, y, z] = [x, y, z].map(|source| self.int(state, source));
                let carry = carry.map_or(0, |carry| self.pred(carry));
                self.write(
                    *to,
                    std::array::from_fn(|lane| {
                        let product = x[lane].wrapping_mul(y[lane]).wrapping_add(z[lane]);
                        product.wrapping_add(u32::from(bit(carry, lane)))
                    }),
                );
            }
            Op::ImadWide { to, sources: [x, y], add, signed, high: upper } => {
                let [x, y] = [x, y].map(|source| self.int(state, source));
                let add = [&add[0], &add[1]].map(|source| self.int(state, source));
                let sum: Lanes<u64> = std::array::from_fn(|lane| {
                    let product = if *signed {
                        let [x, y] = [x, y].map(|word| i64::from(word[lane].cast_signed()));
                        (x * y).cast_unsigned()
                    } else {
                        u64::from(x[lane]) * u64::from(y[lane])
                    };
                    product.wrapping_add(wide(add[0][lane], add[1][lane]))
                });
                if *upper {
                    self.write(*to, sum.map(high));
                } else {
                    self.write(*to, sum.map(low));
                    self.write(Self::next(*to), sum.map(high));
                }
            }
            Op::Iadd3 { to, carries_out, sources, extra, carries } => {
                let sources = [0, 1, 2].map(|n| self.int(state, &sources[n]));
                let carries = carries.map(|carry| carry.map_or(0, |carry| self.pred(carry)));
                let total: Lanes<u64> = std::array::from_fn(|lane| {
                    let words: u64 = sources.iter().map(|source| u64::from(source[lane])).sum();
                    let carried: u64 = carries.iter().map(|mask| u64::from(bit(*mask, lane))).sum();
                    words + carried + u64::from(*extra)
                });
                self.write(*to, total.map(low));
                for (out, more) in carries_out.iter().zip(0..) {
                    self.set_pred(*out, lanes_of(|lane| high(total[lane]) > more));
                }
            }
            Op::Lea { to, lea } => self.lea(state, *to, lea),
            Op::Shift { to, shift } => self.shift(state, *to, shift),
            Op::Lop3 { to, out, sources, table, also } => {
                let [x, y, z] = [0, 1, 2].map(|n| self.int(state, &sources[n]));
                let value = std::array::from_fn(|lane| logic(*table, x[lane], y[lane], z[lane]));
                let also = also.map_or(0, |also| self.pred(also));
                self.write(*to, value);
                self.set_pred(*out, lanes_of(|lane| value[lane] != 0) | also);
            }
            Op::Abs { to, from } => {
                self.write(*to, self.int(state, from).map(|x| x.cast_signed().unsigned_abs()));
            }
            Op::Popc { to, from } => self.write(*to, self.int(state, from).map(u32::count_ones)),
            Op::Permute { to, low, selector, high } => {
                let [low, selector, high] = [low, selector, high].map(|source| self.int(state, source));
                self.write(
                    *to,
                    std::array::from_fn(|lane| permuted(wide(low[lane], high[lane]), selector[lane])),
                );
            }
            _ => {}
        }
    }

    fn lea(&mut self, state: &BlockState<'_>, to: u8, lea: &Lea) {
        let [x, y] = [&lea.low, &lea.add].map(|source| self.int(state, source));
        let upper = lea.high.as_ref().map(|source| self.int(state, source));
        let carry = lea.carry.map_or(0, |carry| self.pred(carry));
        let total: Lanes<u64> = std::array::from_fn(|lane| {
            let part = match (lea.is_high, upper) {
                (false, _) => x[lane] << (lea.shift & 31),
                (true, Some(upper)) => high(wide(x[lane], upper[lane]) << (lea.shift & 31)),
                (true, None) => high((i64::from(x[lane].cast_signed()) << (lea.shift & 31)).cast_unsigned()),
            };
            u64::from(part) + u64::from(y[lane]) + u64::from(bit(carry, lane))
        });
        self.write(to, total.map(low));
        self.set_pred(lea.carry_out, lanes_of(|lane| high(total[lane]) != 0));
    }

    fn shift(&mut self, state: &BlockState<'_>, to: u8, shift: &Shift) {
        let [x, n, y] = [&shift.low, &shift.count, &shift.high].map(|source| self.int(state, source));
        let value = std::array::from_fn(|lane| {
            let both = wide(x[lane], y[lane]);
            let n = if shift.wraps { n[lane] & 31 } else { n[lane] };
            match (shift.left, shift.is_high) {
                (true, true) => high(both << n.min(63)),
                (true, false) => low(u64::from(x[lane]) << n.min(32)),
                (false, true) if shift.signed => (y[lane].cast_signed() >> n.min(31)).cast_unsigned(),
                (false, true) => low(u64::from(y[lane]) >> n.min(32)),
                (false, false) => low(both >> n.min(63)),
            }
        });
        self.write(to, value);
    }

    // One arm for each instruction.
    fn predicates(&mut self, state: &BlockState<'_>, op: &Op) {
        match op {
            Op::Plop3 { to, sources, tables } => {
                let [x, y, z] = sources.map(|source| self.pred(source));
                for (to, table) in to.iter().zip(tables) {
                    self.set_pred(*to, logic(*table, x, y, z));
                }
            }
            Op::Isetp { to, sources: [x, y], with, low, compare, signed, combine } => {
                let [x, y] = [x, y].map(|source| self.int(state, source));
                let value = isetp(*compare, *signed, x, y, low.map(|low| self.pred(low)));
                self.set_both(*to, value, *with, *combine);
            }
            Op::Select { to, sources: [x, y], with } => {
                let [x, y] = [x, y].map(|source| self.int(state, source));
                let with = self.pred(*with);
                self.write(*to, std::array::from_fn(|n| if bit(with, n) { x[n] } else { y[n] }));
            }
            Op::MinMax { to, sources: [x, y], with, signed } => {
                let [x, y] = [x, y].map(|source| self.int(state, source));
                let least = self.pred(*with);
                self.write(
                    *to,
                    std::array::from_fn(|n| {
                        let less =
                            if *signed { x[n].cast_signed() < y[n].cast_signed() } else { x[n] < y[n] };
                        if less == bit(least, n) {
                            x[n]
                        } else {
                            y[n]
                        }
                    }),
                );
            }
            Op::Vote { to, out, of, all } => {
                let votes = self.pred(*of) & self.mask;
                self.write(*to, [votes; 32]);
                let wins = if *all { votes == self.mask } else { votes != 0 };
                self.set_pred(*out, if wins { Mask::MAX } else { 0 });
            }
            Op::PredicatesToRegister { to, keep, bits } => {
                let keep = self.int(state, keep);
                self.write(
                    *to,
                    std::array::from_fn(|lane| {
                        let taken = (0..7).filter(|n| bits >> n & 1 == 1);
                        taken.fold(keep[lane] & !bits, |word, n| {
                            word | u32::from(bit(self.predicates[n], lane)) << n
                        })
                    }),
                );
            }
            Op::RegisterToPredicates { from, bits } => {
                let value = self.int(state, from);
                for n in (0..7).filter(|n| bits >> n & 1 == 1) {
                    self.set_pred(n, lanes_of(|lane| value[lane] >> n & 1 == 1));
                }
            }
            _ => {}
        }
    }

    /// A comparison's result, and its opposite.
    pub(super) fn set_both(&mut self, to: [u8; 2], value: Mask, with: Pred, combine: Combine) {
        let with = self.pred(with);
        self.set_pred(to[0], combined(combine, value, with));
        self.set_pred(to[1], combined(combine, !value, with));
    }

    fn shuffle(&mut self, state: &BlockState<'_>, op: &Op) {
        let Op::Shuffle { out, to, from, by, within, mode } = op else { return };
        let [value, by, within] = [from, by, within].map(|source: &Operand| self.int(state, source));
        let lane_of = |lane: usize| {
            let (n, by) = (u32::try_from(lane).unwrap_or(0), by[lane] & 31);
            let (clamp, segment) = (within[lane] & 31, within[lane] >> 8 & 31);
            let last = n & segment | clamp & !segment;
            let (source, valid) = match mode {
                ShuffleMode::Index => (n & segment | by & !segment, true),
                ShuffleMode::Up => (n.wrapping_sub(by), n >= last + by),
                ShuffleMode::Down => (n + by, true),
                ShuffleMode::Butterfly => (n ^ by, true),
            };
            let valid = valid && (*mode == ShuffleMode::Up || source <= last);
            (if valid { source as usize % 32 } else { lane }, valid)
        };
        let sources: Lanes<(usize, bool)> = std::array::from_fn(lane_of);
        self.write(*to, sources.map(|(lane, _)| value[lane]));
        self.set_pred(*out, lanes_of(|lane| sources[lane].1));
    }
}

/// Comparison of words, or of the upper words where those below have been compared.
fn isetp(compare: Compare, signed: bool, x: Lanes<u32>, y: Lanes<u32>, low: Option<Mask>) -> Mask {
    let strict = match compare {
        Compare::Ge => Compare::Gt,
        Compare::Le => Compare::Lt,
        other => other,
    };
    let one = |compare, lane: usize| {
        if signed {
            compared(compare, x[lane].cast_signed(), y[lane].cast_signed())
        } else {
            compared(compare, x[lane], y[lane])
        }
    };
    lanes_of(|lane| match low {
        Some(low) if x[lane] == y[lane] => bit(low, lane),
        Some(_) => one(strict, lane),
        None => one(compare, lane),
    })
}

/// Bit `n` of the result is the bit of the table that the three bits `n` choose.
fn logic(table: u8, x: u32, y: u32, z: u32) -> u32 {
    (0..8).filter(|n| table >> n & 1 == 1).fold(0, |value, n| {
        let chosen = [(x, 4), (y, 2), (z, 1)].map(|(word, place)| if n & place != 0 { word } else { !word });
        value | chosen[0] & chosen[1] & chosen[2]
    })
}

/// `PRMT`: each of four nibbles chooses a byte, or with its highest bit the sign of one.
fn permuted(both: u64, selector: u32) -> u32 {
    let byte = |n: u32| {
        let nibble = selector >> (4 * n) & 15;
        let byte = low(both >> (8 * (nibble & 7))) & 255;
        let sign = if byte >> 7 == 1 { 255 } else { 0 };
        if nibble & 8 == 0 {
            byte
        } else {
            sign
        }
    };
    (0..4).fold(0, |word, n| word | byte(n) << (8 * n))
}

/// Of two lanes' values.
pub(super) fn pairs<A: Copy, B: Copy, C>(a: Lanes<A>, b: Lanes<B>, f: impl Fn(A, B) -> C) -> Lanes<C> {
    zip(a, b, f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_permutations() {
        assert_eq!(logic(0xc0, 0b1100, 0b1010, 0), 0b1000);
        assert_eq!(logic(0xfc, 0b1100, 0b1010, 0), 0b1110);
        assert_eq!(logic(0x3c, 0b1100, 0b1010, 0), 0b0110);
        assert_eq!(logic(0xea, 0b1100, 0b1010, 1), 0b1001);
        assert_eq!(permuted(wide(0x3322_1180, 0x7766_5544), 0x7432), 0x7744_3322);
        assert_eq!(permuted(0x80, 0x9810), 0x00ff_0080);
    }
}
