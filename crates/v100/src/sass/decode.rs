//! One instruction of text becomes one [`Instruction`].

use super::op::{
    Combine, Compare, Convert, Float, Function, Instruction, Lea, Op, Round, Shift, ShuffleMode, Special,
    Unit,
};
use super::operand::{self, Address, Operand, Pred, Value, PT, RZ};
use super::text::{Line, Listing};
use super::words::Words;

pub(crate) fn decode(line: &Line, listing: &Listing) -> Instruction {
    let mut text = line.text.as_str();
    let mut guard = Pred { index: PT, negated: false };
    if let Some(rest) = text.strip_prefix('@') {
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        guard = operand::pred(word).unwrap_or(guard);
        text = rest.trim_start();
    }
    let (head, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = head.split('.');
    let words = Words {
        name: parts.next().unwrap_or_default(),
        mods: parts.collect(),
        args: operand::split(rest),
        listing,
    };
    let op = words.op().unwrap_or(Op::Lacking("this form"));
    Instruction { pc: line.pc, text: line.text.clone(), control: line.control, guard, unit: words.unit(), op }
}

impl Words<'_> {
    fn unit(&self) -> Unit {
        match self.name {
            "HMMA" => Unit::Tensor,
            "IMAD" | "FADD" | "FMUL" | "FFMA" | "HADD2" | "HMUL2" | "HFMA2" => Unit::Fma,
            "MUFU" | "I2F" | "F2I" | "FRND" | "FCHK" | "POPC" | "FLO" => Unit::Special,
            "F2F" => Unit::ToHalf,
            "LDS" => Unit::SharedLoad,
            "STS" | "ATOMS" => Unit::SharedStore,
            "LDG" | "LD" => Unit::GlobalLoad,
            "STG" | "ST" | "ATOM" | "ATOMG" | "RED" => Unit::GlobalStore,
            "LDL" => Unit::LocalLoad,
            "STL" => Unit::LocalStore,
            "SHFL" => Unit::Shuffle,
            "S2R" | "LDC" => Unit::Slow,
            "BAR" => Unit::Barrier,
            "BRA" | "EXIT" | "BSSY" | "BSYNC" | "BREAK" | "CALL" | "RET" | "BMOV" | "NOP" | "WARPSYNC"
            | "YIELD" | "DEPBAR" | "MEMBAR" | "ERRBAR" | "CCTL" => Unit::Branch,
            _ => Unit::Alu,
        }
    }

    fn op(&self) -> Option<Op> {
        match self.unit() {
            Unit::Branch | Unit::Barrier => self.control_op(),
            Unit::SharedLoad
            | Unit::SharedStore
            | Unit::GlobalLoad
            | Unit::GlobalStore
            | Unit::LocalLoad
            | Unit::LocalStore
            | Unit::Slow => self.memory_op(),
            _ => self.float_op().or_else(|| self.int_op()).or_else(|| self.move_op()),
        }
    }

    fn control_op(&self) -> Option<Op> {
        let barrier = |text: &str| text.strip_prefix('B')?.parse().ok();
        Some(match self.name {
            "BRA" | "CALL" => {
                let label = self.args.last().and_then(|text| text.strip_prefix("`(")?.strip_suffix(')'));
                Op::Branch {
                    target: label.and_then(|label| self.listing.labels.get(label).copied()),
                    also: self.pred(0),
                }
            }
            "EXIT" => Op::Exit { also: self.pred(0) },
            "BSSY" => Op::Gather { barrier: barrier(self.args.first()?)? },
            "BSYNC" => Op::Meet { barrier: barrier(self.args.first()?)? },
            "BREAK" => Op::Leave { barrier: barrier(self.args.last()?)? },
            "RET" => Op::Return { to: operand::register(self.args.first()?.split(' ').next()?)? },
            "BMOV" if self.args.first() != Some(&"RZ") => Op::Lacking("a convergence barrier that is saved"),
            "BAR" => {
                let arrives_only = self.has("ARV");
                if !arrives_only && !self.has("SYNC") {
                    return Some(Op::Lacking("this kind of barrier"));
                }
                Op::Barrier { number: self.int(0)?, threads: self.int(1), arrives_only }
            }
            _ => Op::Nothing,
        })
    }

    fn memory_op(&self) -> Option<Op> {
        let (width, load) = (self.width(), self.name.starts_with('L'));
        let operands = || {
            let (register, at) = if load { (0, 1) } else { (1, 0) };
            Some((self.reg(register)?, operand::address(self.args.get(at)?)?))
        };
        Some(match self.name {
            "LDS" | "STS" => {
                let (register, at) = operands()?;
                Op::Shared { register, at, width, load }
            }
            "LDG" | "LD" | "STG" | "ST" => {
                let (register, at) = operands()?;
                Op::Global { register, at, width, load }
            }
            "LDL" | "STL" => {
                let (register, at) = operands()?;
                if width.bytes < 4 {
                    return Some(Op::Lacking("a narrow access of local memory"));
                }
                Op::Local { register, at, width, load }
            }
            "ATOMS" if self.args.first() == Some(&"RZ") && (self.has("MIN") || self.has("MAX")) => {
                let at = operand::address(self.args.get(1)?)?;
                let (largest, signed) = (self.has("MAX"), self.has("S32"));
                Op::AtomicShared { at, from: self.int(2)?, largest, signed }
            }
            "S2R" => Op::Special { to: self.reg(0)?, from: special(self.args.get(1)?)? },
            "LDC" => {
                let (bank, place) =
                    self.args.get(1)?.strip_prefix("c[")?.strip_suffix(']')?.split_once("][")?;
                let Value::Immediate(bank) = operand::int(bank)?.value else { return None };
                let Address { register, offset, .. } = operand::address(&format!("[{place}]"))?;
                let (to, offset) = (self.reg(0)?, u32::try_from(offset).ok()?);
                Op::LoadConstant { to, bank: u8::try_from(bank).ok()?, register, offset, bytes: width.bytes }
            }
            _ => return None,
        })
    }

    fn float_op(&self) -> Option<Op> {
        let float = |float| Some(Op::Float { to: self.reg(0)?, float });
        match self.name {
            "HMMA" => self.hmma(),
            "FADD" => float(Float::Add(self.floats(1)?)),
            "FMUL" => float(Float::Mul(self.floats(1)?)),
            "FFMA" => float(Float::Fma(self.floats(1)?)),
            "FMNMX" => float(Float::MinMax(self.floats(1)?, self.pred(3)?)),
            "FSEL" => float(Float::Select(self.floats(1)?, self.pred(3)?)),
            // `HADD2.F32 R8, R8.H0_H0, -RZ.H0_H0` is how a half becomes a float.
            "HADD2" if self.has("F32") && self.args.get(2)?.starts_with("-RZ") => {
                let (name, half) = self.args.get(1)?.split_once('.')?;
                float(Float::OfHalf { from: operand::int(name)?, high: half.starts_with("H1") })
            }
            "MUFU" => {
                let function = match *self.mods.first()? {
                    "EX2" => Function::Exp2,
                    "LG2" => Function::Log2,
                    "RCP" => Function::Reciprocal,
                    "RSQ" => Function::ReciprocalRoot,
                    "SQRT" => Function::Root,
                    _ => return None,
                };
                Some(Op::Function { to: self.reg(0)?, from: self.floats::<1>(1)?[0], function })
            }
            "F2F" | "I2F" | "F2I" => self.convert(),
            "FSETP" => {
                let name = *self.mods.first()?;
                let compare = match name {
                    "NAN" | "NUM" => None,
                    _ => Some(compare(name.get(..2)?)?),
                };
                let unordered = if compare.is_some() { name.len() == 3 } else { name == "NAN" };
                Some(Op::Fsetp {
                    to: [self.pred_to(0)?, self.pred_to(1)?],
                    sources: self.floats(2)?,
                    with: self.pred(4)?,
                    compare,
                    unordered,
                    combine: self.combine()?,
                })
            }
            _ => None,
        }
    }

    fn hmma(&self) -> Option<Op> {
        let plain = |at: usize| {
            let text = self.args.get(at)?.trim_end_matches(".ROW").trim_end_matches(".COL");
            operand::register(text)
        };
        if self.mods.get(..3)? != ["884", "F32", "F32"] {
            return Some(Op::Lacking("tensor instructions but HMMA.884.F32.F32"));
        }
        let step = self.mods.last()?.strip_prefix("STEP")?.parse().ok().filter(|&step| step < 4)?;
        Some(Op::Hmma {
            to: self.reg(0)?,
            a: plain(1)?,
            b: plain(2)?,
            c: plain(3)?,
            step,
            a_row: self.args.get(1)?.ends_with(".ROW"),
            b_col: self.args.get(2)?.ends_with(".COL"),
        })
    }

    fn convert(&self) -> Option<Op> {
        if self.name == "F2F" && self.mods.get(..2)? == ["F64", "F32"] {
            return Some(Op::Widen { to: self.reg(0)?, from: self.floats::<1>(1)?[0] });
        }
        let rounds = [
            ("RM", Round::Down),
            ("FLOOR", Round::Down),
            ("RP", Round::Up),
            ("CEIL", Round::Up),
            ("RZ", Round::Zero),
            ("TRUNC", Round::Zero),
        ];
        let found = rounds.iter().find(|(word, _)| self.has(word));
        let round = found.map_or(Round::Nearest, |(_, round)| *round);
        let narrow = ["U64", "S64", "U16", "S16", "U8", "S8", "F64"].iter().any(|word| self.has(word));
        let (convert, from) = match self.name {
            "F2F" if self.mods.get(..2)? == ["F16", "F32"] && round == Round::Nearest => {
                (Convert::FloatToHalf, self.floats::<1>(1)?[0])
            }
            "I2F" if !narrow => (Convert::IntToFloat { signed: !self.has("U32"), round }, self.int(1)?),
            "F2I" if !narrow => {
                (Convert::FloatToInt { signed: !self.has("U32"), round }, self.floats::<1>(1)?[0])
            }
            _ => return None,
        };
        Some(Op::Convert { to: self.reg(0)?, from, convert })
    }

    fn combine(&self) -> Option<Combine> {
        let table = [("AND", Combine::And), ("OR", Combine::Or), ("XOR", Combine::Xor)];
        table.iter().find(|(word, _)| self.has(word)).map(|(_, combine)| *combine)
    }

    // One arm for each instruction.
    fn int_op(&self) -> Option<Op> {
        match self.name {
            "IMAD" => self.imad(),
            "IADD3" => self.iadd3(),
            "LEA" => self.lea(),
            "SHF" => Some(Op::Shift {
                to: self.reg(0)?,
                shift: Shift {
                    low: self.int(1)?,
                    count: self.int(2)?,
                    high: self.int(3)?,
                    left: self.has("L"),
                    wraps: self.has("W"),
                    is_high: self.has("HI"),
                    signed: self.has("S32") || self.has("S64"),
                },
            }),
            "LOP3" => {
                let out = self.pred_to(0);
                let at = usize::from(out.is_some());
                Some(Op::Lop3 {
                    to: self.reg(at)?,
                    out: out.unwrap_or(PT),
                    sources: self.ints(at + 1)?,
                    table: self.byte(at + 4)?,
                    also: out.and_then(|_| self.pred(at + 5)),
                })
            }
            "PLOP3" => Some(Op::Plop3 {
                to: [self.pred_to(0)?, self.pred_to(1)?],
                sources: [self.pred(2)?, self.pred(3)?, self.pred(4)?],
                tables: [self.byte(5)?, self.byte(6)?],
            }),
            "ISETP" => Some(Op::Isetp {
                to: [self.pred_to(0)?, self.pred_to(1)?],
                sources: self.ints(2)?,
                with: self.pred(4)?,
                low: if self.has("EX") { Some(self.pred(5)?) } else { None },
                compare: compare(self.mods.first()?)?,
                signed: !self.has("U32"),
                combine: self.combine()?,
            }),
            "IMNMX" => Some(Op::MinMax {
                to: self.reg(0)?,
                sources: self.ints(1)?,
                with: self.pred(3)?,
                signed: !self.has("U32"),
            }),
            "IABS" => Some(Op::Abs { to: self.reg(0)?, from: self.int(1)? }),
            "POPC" => Some(Op::Popc { to: self.reg(0)?, from: self.int(1)? }),
            _ => None,
        }
    }

    fn imad(&self) -> Option<Op> {
        let (to, x, y) = (self.reg(0)?, self.int(1)?, self.int(2)?);
        if self.has("WIDE") || self.has("HI") {
            let low = self.int(3)?;
            let high = match low.value {
                _ if low.negated => return None,
                Value::Register(RZ) => low,
                Value::Register(n) => Operand::register(n.checked_add(1)?),
                Value::Constant { bank, offset } => {
                    Operand { value: Value::Constant { bank, offset: offset + 4 }, ..low }
                }
                Value::Immediate(n) => operand::int(if n >> 31 == 1 { "-0x1" } else { "0x0" })?,
            };
            let (signed, high_word) = (!self.has("U32"), self.has("HI"));
            return Some(Op::ImadWide { to, sources: [x, y], add: [low, high], signed, high: high_word });
        }
        let carry = if self.has("X") { Some(self.pred(4)?) } else { None };
        Some(Op::Imad { to, sources: [x, y, self.int(3)?], carry })
    }

    fn iadd3(&self) -> Option<Op> {
        let outs: Vec<u8> = (1..3).map_while(|at| self.pred_to(at)).collect();
        let at = 1 + outs.len();
        let mut sources: [Operand; 3] = self.ints(at)?;
        let mut extra = 0;
        for source in &mut sources {
            // -x is ~x + 1, so that the carry comes out right; with a carry in, the 1 comes by it.
            if source.negated && !self.has("X") {
                (source.negated, source.inverted) = (false, true);
                extra += 1;
            }
        }
        let carries = if self.has("X") { [self.pred(at + 3), self.pred(at + 4)] } else { [None; 2] };
        let carry_to = |n: usize| outs.get(n).copied().unwrap_or(PT);
        Some(Op::Iadd3 { to: self.reg(0)?, carries_out: [carry_to(0), carry_to(1)], sources, extra, carries })
    }

    fn lea(&self) -> Option<Op> {
        let out = self.pred_to(1);
        let at = 1 + usize::from(out.is_some());
        let (low, add, is_high) = (self.int(at)?, self.int(at + 1)?, self.has("HI"));
        let has_upper = is_high && !self.has("SX32");
        let high = if has_upper { Some(self.int(at + 2)?) } else { None };
        let at = at + 2 + usize::from(has_upper);
        let carry = if is_high && self.has("X") { Some(self.pred(at + 1)?) } else { None };
        let (carry_out, shift) = (out.unwrap_or(PT), self.number(at)?);
        Some(Op::Lea { to: self.reg(0)?, lea: Lea { carry_out, low, add, high, shift, is_high, carry } })
    }

    fn move_op(&self) -> Option<Op> {
        let to = || self.reg(0);
        Some(match self.name {
            "MOV" => Op::Move { to: to()?, from: self.int(1)? },
            "SEL" => Op::Select { to: to()?, sources: self.ints(1)?, with: self.pred(3)? },
            "PRMT" if self.mods.is_empty() => {
                Op::Permute { to: to()?, low: self.int(1)?, selector: self.int(2)?, high: self.int(3)? }
            }
            "CS2R" if self.args.get(1) == Some(&"SRZ") => Op::Clear { to: to()?, wide: !self.has("32") },
            "P2R" if self.mods.is_empty() => {
                Op::PredicatesToRegister { to: to()?, keep: self.int(2)?, bits: self.number(3)? }
            }
            "R2P" if self.mods.is_empty() => {
                Op::RegisterToPredicates { from: self.int(1)?, bits: self.number(2)? }
            }
            "VOTE" => {
                let at = usize::from(self.reg(0).is_some());
                let to = self.reg(0).unwrap_or(RZ);
                let all = match *self.mods.first()? {
                    "ANY" => false,
                    "ALL" => true,
                    _ => return None,
                };
                Op::Vote { to, out: self.pred_to(at)?, of: self.pred(self.args.len() - 1)?, all }
            }
            "SHFL" => {
                let mode = match *self.mods.first()? {
                    "IDX" => ShuffleMode::Index,
                    "UP" => ShuffleMode::Up,
                    "DOWN" => ShuffleMode::Down,
                    "BFLY" => ShuffleMode::Butterfly,
                    _ => return None,
                };
                let [from, by, within] = self.ints(2)?;
                Op::Shuffle { out: self.pred_to(0)?, to: self.reg(1)?, from, by, within, mode }
            }
            _ => return None,
        })
    }
}

fn compare(text: &str) -> Option<Compare> {
    Some(match text {
        "LT" => Compare::Lt,
        "LE" => Compare::Le,
        "GT" => Compare::Gt,
        "GE" => Compare::Ge,
        "EQ" => Compare::Eq,
        "NE" => Compare::Ne,
        _ => return None,
    })
}

fn special(text: &str) -> Option<Special> {
    let axis = |text: &str| match text {
        "X" => Some(0),
        "Y" => Some(1),
        "Z" => Some(2),
        _ => None,
    };
    Some(match text.strip_prefix("SR_")? {
        "LANEID" => Special::LaneId,
        "EQMASK" => Special::EqMask,
        "VIRTUALSMID" => Special::Zero,
        word if word.starts_with("CLOCK") => Special::Zero,
        word => match word.split_once('.')? {
            ("TID", word) => Special::Tid(axis(word)?),
            ("CTAID", word) => Special::Ctaid(axis(word)?),
            _ => return None,
        },
    })
}
