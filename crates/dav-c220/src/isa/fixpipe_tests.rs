#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small numbers that the tests choose"
)]

use super::super::transfer::tests::{expect_fault, expect_unsupported, gm_bytes, gm_with};
use crate::access::{AtomicOp, Elem, FaultKind, Space, Stop};
use crate::isa::harness::TestCore;

/// One Fixpipe instruction, as the tests draw it.
#[derive(Clone, Debug)]
struct Case {
    name: &'static str,
    source: Elem,
    target: Elem,
    mode: u64,
    n: usize,
    m: usize,
    dst_stride: usize,
    src_stride: usize,
    unit_flag: u64,
    relu: u64,
    split: bool,
    nd: bool,
    /// ndNum, srcNdStride, dstNdStride.
    batch: [usize; 3],
}

const GM_BYTES: usize = 256 << 10;
const SRC_AT: usize = 192;
const DST_AT: usize = 64;

impl Case {
    fn new(target: Elem, mode: u64, m: usize, n: usize, nd: bool) -> Case {
        let source = if matches!(mode, 8..=11) { Elem::S32 } else { Elem::F32 };
        Case {
            name: "copy_matrix_cc_to_gm",
            source,
            target,
            mode,
            n,
            m,
            dst_stride: if nd { n } else { m.div_ceil(16) * 16 * 16 * target.bytes() / 32 },
            src_stride: m.div_ceil(16) * 16,
            unit_flag: 0,
            relu: 0,
            split: false,
            nd,
            batch: [1, 0, 0],
        }
    }

    fn args(&self, dst: u64) -> [u64; 12] {
        [
            dst,
            TestCore::at(Space::L0c, SRC_AT as u64),
            0,
            self.n as u64,
            self.m as u64,
            self.dst_stride as u64,
            self.src_stride as u64,
            self.unit_flag,
            self.mode,
            self.relu,
            u64::from(self.split),
            u64::from(self.nd),
        ]
    }

    fn run(&self, core: &mut TestCore, dst: u64) -> Result<(), Stop> {
        let [count, src, step] = self.batch.map(|x| x as u64);
        core.regs.nd_para = count | src << 16 | step << 32;
        core.run(self.name, self.source, self.target, &self.args(dst))
    }

    /// Address rules of dav-c220.md 3.6: byte offsets of element (i, j, col) in L0C and in the destination.
    fn src_at(&self, i: usize, j: usize, col: usize) -> usize {
        SRC_AT + i * self.batch[1] * 1024 + (col / 16 * self.src_stride * 16 + j * 16 + col % 16) * 4
    }

    fn dst_at(&self, i: usize, j: usize, col: usize) -> usize {
        let size = self.target.bytes();
        if self.nd {
            return DST_AT + (i * self.batch[2] + j * self.dst_stride + col) * size;
        }
        let width = match (self.split, size) {
            (true, _) => 8,
            // Two strips merge into one of 32 columns, except for the last one of an odd number.
            (_, 1) if col / 32 * 32 + 32 <= self.n => 32,
            _ => 16,
        };
        let strip = if size == 1 && !self.split { col / 32 } else { col / width };
        DST_AT + strip * self.dst_stride * 32 + (j * width + col % width) * size
    }

    fn params(&self, core: &TestCore, col: usize) -> u64 {
        if matches!(self.mode, 8 | 10 | 23) {
            u64::from_le_bytes(core.get(Space::Fb, 256 + 8 * col, 8).try_into().unwrap())
        } else {
            core.regs.quant_pre
        }
    }

    /// One value, as the vendor's scripts compute it.
    fn convert(&self, core: &TestCore, bits: u32, col: usize) -> Vec<u8> {
        let inf_nan = core.regs.ctrl >> 48 & 1 == 1;
        let word = self.params(core, col);
        let scale = f64::from(f32::from_bits(word as u32 >> 13 << 13));
        let number = if self.source == Elem::S32 {
            f64::from(bits as i32 as f32)
        } else {
            f64::from(f32::from_bits(bits))
        };
        let is_cut = self.relu == 1 && number < 0.0;
        let scaled = if is_cut { 0.0 } else { (number * scale) as f32 };
        let rectified = if is_cut { 0.0 } else { number };
        let to_half = |x: f64| {
            let half = half::f16::from_f32(x as f32);
            if half.is_infinite() && !inf_nan { half::f16::MAX.copysign(half) } else { half }
                .to_le_bytes()
                .to_vec()
        };
        match self.mode {
            0 if self.source == Elem::S32 => (rectified as i32).to_le_bytes().to_vec(),
            0 => (rectified as f32).to_le_bytes().to_vec(),
            1 => to_half(rectified),
            16 => half::bf16::from_f32(rectified as f32).to_le_bytes().to_vec(),
            10 | 11 => to_half(f64::from(scaled)),
            _ => {
                let offset = (word >> 37 & 0x1ff) as i32;
                let offset = if offset >= 256 { offset - 512 } else { offset };
                let rounded = f64::from(scaled).round_ties_even().clamp(-256.0, 255.0) as i32;
                let sum = rounded + offset;
                let byte = if word >> 46 & 1 == 1 { sum.clamp(-128, 127) } else { sum.clamp(0, 255) };
                vec![byte as u8]
            }
        }
    }

    /// Runs on random L0C contents and compares all of the destination.
    fn check(&self, rng: &mut fastrand::Rng, ctrl: u64) {
        let mut core = TestCore::new();
        core.regs.ctrl = ctrl;
        let sign = u64::from(self.target == Elem::S8) << 46;
        let parameter = |rng: &mut fastrand::Rng| {
            u64::from((rng.f32() * 3.0 - 1.0).to_bits()) | rng.u64(0..512) << 37 | sign
        };
        core.regs.quant_pre = parameter(rng);
        let table: Vec<u8> = (0..self.n).flat_map(|_| parameter(rng).to_le_bytes()).collect();
        core.put(Space::Fb, 256, &table);
        core.regs.fpc = (256 >> 7) << 8;
        let l0c: Vec<u8> = (0..131_072 / 4)
            .flat_map(|_| match self.source {
                Elem::S32 => rng.i32(-3000..3000).to_le_bytes(),
                _ if rng.u8(..) < 3 => 1e6f32.to_le_bytes(),
                _ => (rng.f32() * 400.0 - 200.0).to_le_bytes(),
            })
            .collect();
        core.put(Space::L0c, 0, &l0c);
        let mut model: Vec<u8> = (0..GM_BYTES).map(|_| rng.u8(..)).collect();
        let gm = gm_with(&core, &model);
        let to_l1 = self.name == "copy_matrix_cc_to_cbuf";
        core.put(Space::L1, 0, &model);
        let dst = if to_l1 { TestCore::at(Space::L1, DST_AT as u64) } else { gm + DST_AT as u64 };
        self.run(&mut core, dst).unwrap_or_else(|stop| panic!("{stop} of {self:?}"));
        for i in 0..self.batch[0] {
            for j in 0..self.m {
                for col in 0..self.n {
                    let at = self.src_at(i, j, col);
                    let bits = u32::from_le_bytes(l0c[at..at + 4].try_into().unwrap());
                    let value = self.convert(&core, bits, col);
                    model[self.dst_at(i, j, col)..][..value.len()].copy_from_slice(&value);
                }
            }
        }
        let got =
            if to_l1 { core.get(Space::L1, 0, GM_BYTES).to_vec() } else { gm_bytes(&core, gm, GM_BYTES) };
        let wrong = got.iter().zip(&model).position(|(x, y)| x != y);
        assert_eq!(wrong, None, "{self:?}");
    }
}

const MODES: &[(Elem, u64)] = &[
    (Elem::F32, 0),
    (Elem::F16, 1),
    (Elem::Bf16, 16),
    (Elem::F16, 10),
    (Elem::F16, 11),
    (Elem::S8, 8),
    (Elem::U8, 9),
    (Elem::S8, 24),
    (Elem::U8, 23),
];

#[test]
fn row_major_output_in_all_modes() {
    let mut rng = fastrand::Rng::with_seed(61);
    for (target, mode) in MODES {
        for (m, n) in [(16, 16), (20, 50), (7, 3), (33, 64)] {
            let mut case = Case::new(*target, *mode, m, n, true);
            case.check(&mut rng, 1 << 48);
            case.dst_stride = n + 13;
            case.relu = 1;
            case.check(&mut rng, 0);
        }
    }
    let mut batch = Case::new(Elem::F16, 1, 16, 24, true);
    batch.batch = [5, 3, 700];
    batch.check(&mut rng, 1 << 48);
    let mut integers = Case::new(Elem::S32, 0, 20, 20, true);
    integers.source = Elem::S32;
    integers.check(&mut rng, 1 << 48);
    integers.relu = 1;
    integers.check(&mut rng, 1 << 48);
}

#[test]
fn strip_output_to_gm_and_l1() {
    let mut rng = fastrand::Rng::with_seed(62);
    for (target, mode) in MODES {
        for (m, n) in [(16, 16), (20, 48), (33, 64), (5, 80)] {
            let mut case = Case::new(*target, *mode, m, n, false);
            if *mode == 0 || target.bytes() == 1 {
                case.dst_stride *= 2;
            }
            case.check(&mut rng, 1 << 48);
            if *mode != 0 {
                case.name = "copy_matrix_cc_to_cbuf";
                case.unit_flag = 3;
                case.relu = 1;
                case.check(&mut rng, 1 << 48);
            }
        }
    }
    for n in [16, 24, 40] {
        let mut split = Case::new(Elem::F32, 0, 20, n, false);
        split.split = true;
        split.check(&mut rng, 1 << 48);
    }
}

#[test]
fn atomic_output_adds() {
    let mut core = TestCore::new();
    let row: Vec<u8> = (0..256).flat_map(|i| (i as f32).to_le_bytes()).collect();
    core.put(Space::L0c, SRC_AT, &row);
    let gm = gm_with(&core, &half::f16::from_f32(0.5).to_le_bytes().repeat(256));
    core.regs.atomic = Some((AtomicOp::Add, Elem::F16));
    let case = Case::new(Elem::F16, 1, 16, 16, true);
    case.run(&mut core, gm).unwrap();
    let want: Vec<u8> = (0..256).flat_map(|i| half::f16::from_f32(i as f32 + 0.5).to_le_bytes()).collect();
    assert_eq!(gm_bytes(&core, gm, 512), want);
    core.regs.atomic = Some((AtomicOp::Add, Elem::F32));
    expect_fault(case.run(&mut core, gm), FaultKind::Operand, "dst has F16");
}

#[test]
fn unspecified_values_do_not_leave_l0c() {
    let mut core = TestCore::new();
    core.put(Space::L0c, SRC_AT, &[0; 2048]);
    let gm = gm_with(&core, &[0; 4096]);
    let case = Case::new(Elem::F32, 0, 16, 20, true);
    // Columns 20..32 may be unspecified, column 19 not.
    let unset = |core: &mut TestCore, col: usize| {
        let at = case.src_at(0, 3, col);
        core.local[Space::L0c.local_index()].init.set(at, 4, false);
    };
    unset(&mut core, 20);
    case.run(&mut core, gm).unwrap();
    unset(&mut core, 19);
    expect_fault(case.run(&mut core, gm), FaultKind::Uninitialised, "src uses byte");
    let mut to_l1 = Case::new(Elem::F16, 1, 16, 32, false);
    to_l1.name = "copy_matrix_cc_to_cbuf";
    expect_fault(to_l1.run(&mut core, TestCore::at(Space::L1, 0)), FaultKind::Uninitialised, "src uses byte");
    let table = Case::new(Elem::F16, 10, 16, 16, true);
    expect_fault(
        table.run(&mut core, gm),
        FaultKind::Uninitialised,
        "quantisation table uses byte 0x0 of FB",
    );
}

#[test]
fn limits_are_faults() {
    let mut core = TestCore::new();
    core.put(Space::L0c, 0, &[0; 131_072]);
    let gm = gm_with(&core, &vec![0; 1 << 20]);
    let nd = Case::new(Elem::F32, 0, 16, 16, true);
    let nz = Case::new(Elem::F32, 0, 16, 16, false);
    let mut fault = |case: Case, text: &str| expect_fault(case.run(&mut core, gm), FaultKind::Operand, text);
    fault(Case { n: 4096, ..nd.clone() }, "NSize = 4096; wanted 0..=4095");
    fault(Case { m: 8193, ..nd.clone() }, "MSize = 8193; wanted 0..=8192 with NZ2ND");
    fault(Case { n: 20, ..nz.clone() }, "NSize = 20; wanted a multiple of 16");
    fault(Case { n: 20, split: true, ..nz.clone() }, "NSize = 20; wanted a multiple of 8");
    fault(Case { split: true, unit_flag: 3, ..nz.clone() }, "channelSplit = 1; wanted 0");
    fault(Case { unit_flag: 1, ..nd.clone() }, "UnitFlagMode = 1; wanted 0, 2 or 3");
    fault(Case { batch: [0, 0, 0], ..nd.clone() }, "ndNum of set_nd_para = 0");
    fault(Case { batch: [2, 513, 0], ..nd.clone() }, "srcNdStride of set_nd_para = 513");
    fault(Case { mode: 1, ..nd.clone() }, "QuantPRE = 1; wanted a mode from F32 to F32");
    let l1 = TestCore::at(Space::L1, 0);
    let to_l1 = |case: &Case| Case { name: "copy_matrix_cc_to_cbuf", ..case.clone() };
    expect_fault(to_l1(&nz).run(&mut core, l1), FaultKind::Operand, "a converting mode on the path to L1");
    expect_fault(to_l1(&nd).run(&mut core, l1), FaultKind::Operand, "NZ2ND goes to GM");
    expect_fault(nz.run(&mut core, gm + 16), FaultKind::Misaligned, "not a multiple of 32 bytes");
    let mut odd = nd.args(gm);
    odd[1] += 32;
    expect_fault(core.run(nd.name, Elem::F32, Elem::F32, &odd), FaultKind::Misaligned, "src at L0C+0xe0");
    expect_unsupported(Case { mode: 28, ..nd.clone() }.run(&mut core, gm), "QuantPRE = 28");
    expect_unsupported(Case { relu: 2, ..nd.clone() }.run(&mut core, gm), "leaky");
    Case { n: 0, ..nd.clone() }.run(&mut core, gm).unwrap();
    core.regs.quant_pre = 1 << 36;
    expect_unsupported(Case::new(Elem::S8, 9, 16, 16, true).run(&mut core, gm), "bit 36");
}
