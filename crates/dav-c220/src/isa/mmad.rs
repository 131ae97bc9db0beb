//! `mad`: C (+)= A x B on the Cube. dav-c220.md 2.1 (layouts), 3.5, 6.4. The arithmetic itself is in `cube`.

use std::cell::RefCell;

use super::cube::{multiply, FractalExact, Integer, Panels, Sequential, Summation};
use super::mmad_pack::{hf32_or_f32, unpack_bf16, unpack_f16, unpack_s8, PackPanels};
use super::transfer::{distance, flag, length};
use super::vec_wide::on_widest;
use crate::access::{
    Access, Addr, CubeAccumulate, Dispatch, Elem, Exec, FaultKind, Instr, OpInfo, Pipe, Rate, Space, Stop,
};

/// Bytes of a fractal of A and B, and of one of C.
pub(super) const FRACTAL: usize = 512;
const C_FRACTAL: usize = 1024;
/// Below so many fractals of C the Cube's pipeline is deeper than the tile: dependent instructions need a
/// barrier (dav-c220.md 3.5).
const SELF_ORDERED_FRACTALS: usize = 10;

/// The form with a bias table has its address after b.
const OPERANDS: &[&str] =
    &["c", "a", "b", "m", "k", "n", "unitFlag", "kDirectionAlign", "cmatrixSource", "cmatrixInitVal"];

pub(crate) static OPS: &[OpInfo] = &[OpInfo {
    mnemonic: "mad",
    dispatch: Dispatch::Queued(Pipe::M, mad),
    operands: OPERANDS,
    source: "asc-devkit Mmad; dav-c220.md 3.5",
    rate: Rate::Cube,
}];

/// Where C starts from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Zero,
    /// L0C as it is.
    Accumulate,
    /// One value per column, from the bias table.
    Bias(Addr),
}

/// A decoded `mad`.
pub(super) struct Mad {
    c: Addr,
    a: Addr,
    b: Addr,
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    start: Start,
    unit_flag: bool,
    pub(super) elem: Elem,
    /// Fractals along m, n, and k (read), and the fractals along k that the rows of A are apart.
    pub(super) m1: usize,
    pub(super) n1: usize,
    pub(super) k1: usize,
    pub(super) k1_stored: usize,
}

impl Mad {
    fn decode(exec: &Exec<'_>) -> Result<Mad, Stop> {
        let (bias, first) = match exec.instr.num_args {
            10 => (None, 3),
            11 => (Some(bias_address(exec)?), 4),
            got => return Err(Stop::unsupported(format!("mad with {got} operands; 10 and 11 are modelled"))),
        };
        let [c, a, b] = [(Space::L0c, 1024), (Space::L0a, 512), (Space::L0b, 512)];
        let address = |i: usize, (space, align): (Space, i64)| {
            let addr = exec.address(i, space)?;
            exec.require_aligned(exec.instr.op.operands[i], addr, align).map(|()| addr)
        };
        let size = |i: usize, name: &str| {
            let value = exec.arg(first + i);
            (value <= 4095)
                .then(|| length(value))
                .ok_or_else(|| Stop::fault(FaultKind::Operand, format!("{name} = {value}; wanted 0..=4095")))
        };
        let (m, k, n) = (size(0, "m")?, size(1, "k")?, size(2, "n")?);
        let elem = exec.instr.elem;
        let c0 = 32 / elem.bytes().max(1);
        // kDirectionAlign speaks of f32 only: rows of A (columns of B) are stored as if k were a multiple of
        // 16.
        let padded = elem == Elem::F32 && flag(exec, first + 4);
        let k1 = k.div_ceil(c0);
        Ok(Mad {
            c: address(0, c)?,
            a: address(1, a)?,
            b: address(2, b)?,
            m,
            k,
            n,
            start: start(exec, bias, first)?,
            unit_flag: unit_flag(exec, first + 3)?,
            elem,
            m1: m.div_ceil(16),
            n1: n.div_ceil(16),
            k1,
            k1_stored: if padded { k.next_multiple_of(16) / c0 } else { k1 },
        })
    }

    /// m = 1 reads A as a plain row vector (GEMV); C keeps fractals of 16 x 16, of which row 0 counts.
    ///
    /// ASSUMPTION(gemv-l0c): a 1 x 16 piece takes 1024 bytes of L0C for 32-bit results, as the vendor's
    /// example has it; the sentence above that example says 512.
    pub(super) fn is_vector(&self) -> bool {
        self.m == 1
    }

    fn a_bytes(&self) -> usize {
        if self.is_vector() {
            self.k * self.elem.bytes()
        } else {
            ((self.m1 - 1) * self.k1_stored + self.k1) * FRACTAL
        }
    }

    fn b_bytes(&self) -> usize {
        self.k1 * self.n1 * FRACTAL
    }

    fn c_bytes(&self) -> usize {
        self.m1 * self.n1 * C_FRACTAL
    }

    /// Byte offset of A\[i, kk\] from `a`.
    fn a_at(&self, i: usize, kk: usize) -> usize {
        let size = self.elem.bytes();
        if self.is_vector() {
            return kk * size;
        }
        let c0 = 32 / size;
        (i / 16 * self.k1_stored + kk / c0) * FRACTAL + i % 16 * 32 + kk % c0 * size
    }

    /// Byte offset of B\[kk, j\] from `b`.
    fn b_at(&self, kk: usize, j: usize) -> usize {
        let size = self.elem.bytes();
        let c0 = 32 / size;
        (kk / c0 * self.n1 + j / 16) * FRACTAL + j % 16 * 32 + kk % c0 * size
    }

    /// Byte offset of C\[i, j\] from `c`.
    fn c_at(&self, i: usize, j: usize) -> usize {
        (j / 16 * self.m1 + i / 16) * C_FRACTAL + i % 16 * 64 + j % 16 * 4
    }

    fn touch(&self, exec: &mut Exec<'_>) -> Result<(), Stop> {
        if self.is_vector() || self.k1 == self.k1_stored {
            exec.touch("a", self.a, self.a_bytes() as u64, Access::Read)?;
        } else {
            let (len, pitch) = (self.k1 * FRACTAL, self.k1_stored * FRACTAL);
            exec.touch_strided(
                "a",
                self.a,
                len as u64,
                distance(pitch as u64),
                self.m1 as u64,
                Access::Read,
            )?;
        }
        exec.touch("b", self.b, self.b_bytes() as u64, Access::Read)?;
        if let Start::Bias(table) = self.start {
            exec.touch("bias", table, 4 * self.n as u64, Access::Read)?;
        }
        self.touch_c(exec)
    }

    /// C is read and written in place. Large tiles follow each other on M without a barrier, and unitFlag
    /// orders M against FIX; both exempt this one access from the race rules of those pipes.
    fn touch_c(&self, exec: &mut Exec<'_>) -> Result<(), Stop> {
        let len = self.c_bytes() as u64;
        if self.start == Start::Accumulate {
            exec.touch_ordered_within_pipe("c", self.c, len, Access::Read, &self.exempt_pipes())?;
        }
        exec.touch_ordered_within_pipe("c", self.c, len, Access::Write, &self.exempt_pipes())
    }

    fn exempt_pipes(&self) -> Vec<Pipe> {
        let mut pipes = Vec::new();
        if self.m1 * self.n1 >= SELF_ORDERED_FRACTALS {
            pipes.push(Pipe::M);
        }
        if self.unit_flag {
            pipes.extend([Pipe::M, Pipe::Fix]);
        }
        pipes
    }
}

fn bias_address(exec: &Exec<'_>) -> Result<Addr, Stop> {
    let raw = exec.arg(3);
    match Addr::decode(raw) {
        Some(addr) if addr.space == Space::Bt => {
            exec.require_aligned("bias", addr, 64)?;
            Ok(addr)
        }
        Some(addr) => Err(Stop::fault(
            FaultKind::NoSuchPath,
            format!("bias lies in {}; the instruction takes {}", addr.space, Space::Bt),
        )),
        None => Err(Stop::fault(FaultKind::OutOfBounds, format!("bias = {raw:#x} is no address"))),
    }
}

/// cmatrixInitVal wins over cmatrixSource (Mmad page).
///
/// ASSUMPTION(bias-address): the form without a bias operand takes the bias table from its first byte.
fn start(exec: &Exec<'_>, bias: Option<Addr>, first: usize) -> Result<Start, Stop> {
    let (from_table, zero) = (flag(exec, first + 5), flag(exec, first + 6));
    match (zero, from_table, bias) {
        (true, ..) => Ok(Start::Zero),
        (false, false, None) => Ok(Start::Accumulate),
        (false, true, table) => Ok(Start::Bias(table.unwrap_or(Addr { space: Space::Bt, offset: 0 }))),
        (false, false, Some(_)) => Err(Stop::unsupported(
            "mad with a bias operand but cmatrixSource = false (a bias in L0C); a bias in BT is modelled",
        )),
    }
}

fn unit_flag(exec: &Exec<'_>, i: usize) -> Result<bool, Stop> {
    match exec.arg(i) {
        0 => Ok(false),
        2 | 3 => Ok(true),
        other => Err(Stop::fault(FaultKind::Operand, format!("unitFlag = {other}; wanted 0, 2 or 3"))),
    }
}

fn mad(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    let (elem, elem_dst) = (exec.instr.elem, exec.instr.elem_dst);
    if !matches!((elem, elem_dst), (Elem::F16 | Elem::Bf16 | Elem::F32, Elem::F32) | (Elem::S8, Elem::S32)) {
        return Err(Stop::unsupported(format!(
            "mad of {elem:?} into {elem_dst:?}; F16, Bf16, F32 into F32 and S8 into S32 are modelled"
        )));
    }
    let mad = Mad::decode(exec)?;
    if mad.m == 0 || mad.k == 0 || mad.n == 0 {
        return Ok(());
    }
    mad.touch(exec)?;
    let known = Known::of(exec, &mad);
    prepare_c(exec, &mad);
    if elem == Elem::S8 {
        let sum = Integer { saturate: !exec.instr.regs.inf_nan() };
        INT_PANELS.with_borrow_mut(|panels| {
            panels.make_room(&mad)?;
            run(exec, &mad, &sum, panels, unpack_s8);
            Ok(())
        })?;
    } else {
        FLOAT_PANELS.with_borrow_mut(|panels| {
            panels.make_room(&mad)?;
            run_float(exec, &mad, panels);
            Ok(())
        })?;
    }
    known.mark(exec, &mad);
    Ok(())
}

thread_local! {
    /// Kept between instructions: fresh pages would cost as much as the arithmetic.
    static FLOAT_PANELS: RefCell<Panels<f32>> = RefCell::default();
    static INT_PANELS: RefCell<Panels<i32>> = RefCell::default();
}

fn run_float(exec: &mut Exec<'_>, mad: &Mad, panels: &mut Panels<f32>) {
    match mad.elem {
        Elem::F16 => run_accumulating(exec, mad, panels, unpack_f16),
        Elem::Bf16 => run_accumulating(exec, mad, panels, unpack_bf16),
        _ => run_accumulating(exec, mad, panels, hf32_or_f32(exec.instr.regs.ctrl)),
    }
}

fn run_accumulating(
    exec: &mut Exec<'_>,
    mad: &Mad,
    panels: &mut Panels<f32>,
    unpack: impl Fn(&[u8], &mut [f32]),
) {
    match exec.mode.cube_accumulate {
        CubeAccumulate::F32Sequential => run(exec, mad, &Sequential, panels, unpack),
        CubeAccumulate::FractalExact => run(exec, mad, &FractalExact(32 / mad.elem.bytes()), panels, unpack),
    }
}

fn run<S: Summation>(
    exec: &mut Exec<'_>,
    mad: &Mad,
    sum: &S,
    panels: &mut Panels<S::Lane>,
    unpack: impl Fn(&[u8], &mut [S::Lane]),
) {
    let (a, b) = (exec.bytes(mad.a, mad.a_bytes()), exec.bytes(mad.b, mad.b_bytes()));
    on_widest(PackPanels { a, b, mad, panels: &mut *panels, unpack });
    multiply(sum, mad.k, mad.m1, panels, exec.bytes_mut(mad.c, mad.c_bytes()));
}

/// Puts the starting value into C, so that the arithmetic only ever adds.
fn prepare_c(exec: &mut Exec<'_>, mad: &Mad) {
    match mad.start {
        Start::Accumulate => {}
        Start::Zero => exec.bytes_mut(mad.c, mad.c_bytes()).fill(0),
        Start::Bias(table) => {
            let mut bias = exec.bytes(table, 4 * mad.n).to_vec();
            bias.resize(mad.n1 * 64, 0);
            let strips = exec.bytes_mut(mad.c, mad.c_bytes()).chunks_exact_mut(mad.m1 * C_FRACTAL);
            for (strip, values) in strips.zip(bias.chunks_exact(64)) {
                for row in strip.chunks_exact_mut(64) {
                    row.copy_from_slice(values);
                }
            }
        }
    }
}

/// Which elements of the result are specified: those of rows of A and columns of B that were written, and
/// whose starting value was. What C accumulates on keeps what was known of it.
struct Known {
    /// `None`: all.
    rows: Option<Vec<bool>>,
    cols: Option<Vec<bool>>,
}

impl Known {
    fn of(exec: &Exec<'_>, mad: &Mad) -> Known {
        let size = mad.elem.bytes() as u64;
        let is_set = |base: Addr, at: usize, len: u64| exec.is_init(base.plus(distance(at as u64)), len);
        // A whole k-run of a row lies in one 32-byte line of a fractal.
        let c0 = 32 / mad.elem.bytes();
        let runs = || (0..mad.k).step_by(c0).map(|kk| (kk, (mad.k - kk).min(c0) as u64 * size));
        let rows = (!is_set(mad.a, 0, mad.a_bytes() as u64)).then(|| {
            (0..mad.m).map(|i| runs().all(|(kk, len)| is_set(mad.a, mad.a_at(i, kk), len))).collect()
        });
        let mut cols: Option<Vec<bool>> = (!is_set(mad.b, 0, mad.b_bytes() as u64)).then(|| {
            (0..mad.n).map(|j| runs().all(|(kk, len)| is_set(mad.b, mad.b_at(kk, j), len))).collect()
        });
        if let Start::Bias(table) = mad.start {
            if !is_set(table, 0, 4 * mad.n as u64) {
                let cols = cols.get_or_insert_with(|| vec![true; mad.n]);
                for (j, known) in cols.iter_mut().enumerate() {
                    *known &= is_set(table, 4 * j, 4);
                }
            }
        }
        Known { rows, cols }
    }

    /// Marks C: specified inside m x n as far as known, unspecified in the rest of the fractals touched.
    fn mark(&self, exec: &mut Exec<'_>, mad: &Mad) {
        if mad.start != Start::Accumulate {
            exec.mark(mad.c, mad.c_bytes(), true);
        }
        let at = |i: usize, j: usize| mad.c.plus(distance(mad.c_at(i, j) as u64));
        let unknown = |list: &Option<Vec<bool>>| -> Vec<usize> {
            let list = list.iter().flatten().enumerate();
            list.filter(|(_, known)| !**known).map(|(i, _)| i).collect()
        };
        // Rows of one fractal of C follow each other.
        for run in unknown(&self.rows).chunk_by(|a, b| a + 1 == *b && b % 16 != 0) {
            for nb in 0..mad.n1 {
                exec.mark(at(run[0], nb * 16), run.len() * 64, false);
            }
        }
        for j in unknown(&self.cols) {
            for i in 0..mad.m {
                exec.mark(at(i, j), 4, false);
            }
        }
        if !(mad.m.is_multiple_of(16) && mad.n.is_multiple_of(16)) {
            self.unmark_padding(exec, mad);
        }
    }

    fn unmark_padding(&self, exec: &mut Exec<'_>, mad: &Mad) {
        let at = |i: usize, j: usize| mad.c.plus(distance(mad.c_at(i, j) as u64));
        let rows = mad.m1 * 16;
        if mad.m < rows {
            for nb in 0..mad.n1 {
                exec.mark(at(mad.m, nb * 16), (rows - mad.m) * 64, false);
            }
        }
        let tail = mad.n1 * 16 - mad.n;
        if tail > 0 {
            for i in 0..mad.m {
                exec.mark(at(i, mad.n), tail * 4, false);
            }
        }
    }
}

#[cfg(test)]
#[path = "mmad_tests.rs"]
mod tests;
