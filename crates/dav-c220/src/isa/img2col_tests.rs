#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small numbers that the tests choose"
)]

use super::super::transfer::tests::{expect_fault, expect_unsupported, random_bytes};
use crate::access::{Elem, FaultKind, Space};
use crate::isa::harness::TestCore;

/// A convolution's shape as the test draws it.
#[derive(Debug)]
struct Case {
    elem: Elem,
    h: usize,
    w: usize,
    pads: [usize; 4],
    groups: usize,
    taps: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pos: [usize; 2],
    window: [usize; 2],
}

impl Case {
    fn plain_matrix(elem: Elem, rows: usize, groups: usize) -> Case {
        Case {
            elem,
            h: 1,
            w: rows,
            pads: [0; 4],
            groups,
            taps: [1; 2],
            strides: [1; 2],
            dilations: [1; 2],
            pos: [0; 2],
            window: [rows, groups * 32 / elem.bytes()],
        }
    }

    fn random(rng: &mut fastrand::Rng, elem: Elem) -> Case {
        let c0 = 32 / elem.bytes();
        let mut case = Case {
            elem,
            h: rng.usize(3..9),
            w: rng.usize(3..9),
            pads: [rng.usize(0..3), rng.usize(0..3), rng.usize(0..3), rng.usize(0..3)],
            groups: rng.usize(1..4),
            taps: [rng.usize(1..3), rng.usize(1..3)],
            strides: [rng.usize(1..3), rng.usize(1..3)],
            dilations: [rng.usize(1..3), rng.usize(1..3)],
            pos: [0; 2],
            window: [0; 2],
        };
        let [out_h, out_w] = case.outputs();
        let chunks = case.groups * case.taps[0] * case.taps[1];
        case.pos = [rng.usize(0..out_h * out_w), rng.usize(0..chunks) * c0];
        case.window =
            [rng.usize(1..=out_h * out_w - case.pos[0]), rng.usize(1..=chunks - case.pos[1] / c0) * c0];
        case
    }

    fn outputs(&self) -> [usize; 2] {
        let [left, right, top, bottom] = self.pads;
        let [taps_h, taps_w] = self.taps;
        let out = |len: usize, taps: usize, dilation: usize, stride: usize| {
            (len - (taps - 1) * dilation - 1) / stride + 1
        };
        [
            out(self.h + top + bottom, taps_h, self.dilations[0], self.strides[0]),
            out(self.w + left + right, taps_w, self.dilations[1], self.strides[1]),
        ]
    }

    fn args(&self, space: Space, transpose: u64) -> [u64; 17] {
        let x = |v: usize| v as u64;
        [
            TestCore::at(space, 512),
            TestCore::at(Space::L1, 96),
            x(self.window[1]),
            x(self.window[0]),
            x(self.pos[1]),
            x(self.pos[0]),
            x(self.strides[1]),
            x(self.strides[0]),
            x(self.taps[1]),
            x(self.taps[0]),
            x(self.dilations[1]),
            x(self.dilations[0]),
            0,
            0,
            transpose,
            0,
            x(self.groups * 32 / self.elem.bytes()),
        ]
    }

    fn fmatrix(&self) -> u64 {
        let [left, right, top, bottom] = self.pads.map(|p| p as u64);
        self.w as u64 | (self.h as u64) << 16 | left << 32 | right << 40 | top << 48 | bottom << 56
    }

    /// Element (row, col) of the image-to-column matrix, from the padded tensor.
    fn element(&self, data: &[u8], pad: &[u8], row: usize, col: usize) -> Vec<u8> {
        let (size, c0) = (self.elem.bytes(), 32 / self.elem.bytes());
        let (row, col) = (self.pos[0] + row, self.pos[1] + col);
        let out_w = self.outputs()[1];
        let (block, lane) = (col / c0, col % c0);
        let (group, tap) = (block / (self.taps[0] * self.taps[1]), block % (self.taps[0] * self.taps[1]));
        let y = row / out_w * self.strides[0] + tap / self.taps[1] * self.dilations[0];
        let x = row % out_w * self.strides[1] + tap % self.taps[1] * self.dilations[1];
        let (left, top) = (self.pads[0], self.pads[2]);
        if y < top || y >= top + self.h || x < left || x >= left + self.w {
            return pad[..size].to_vec();
        }
        let at = 96 + ((group * self.h + y - top) * self.w + x - left) * 32 + lane * size;
        data[at..at + size].to_vec()
    }

    fn check(&self, rng: &mut fastrand::Rng, name: &str, transpose: bool) {
        let space = if name == "img2colv2_cbuf_to_ca" { Space::L0a } else { Space::L0b };
        let mut core = TestCore::new();
        let data = random_bytes(rng, 96 + self.groups * self.h * self.w * 32);
        core.put(Space::L1, 0, &data);
        core.regs.padding = rng.u64(..);
        core.regs.fmatrix = self.fmatrix();
        core.run(name, self.elem, Elem::None, &self.args(space, u64::from(transpose))).unwrap();
        let (size, c0) = (self.elem.bytes(), 32 / self.elem.bytes());
        let [rows, cols] = self.window;
        let pad = core.regs.padding.to_le_bytes();
        for row in 0..rows {
            for col in 0..cols {
                // dav-c220.md 2.1, in elements.
                let at = match (space, transpose) {
                    (Space::L0a, false) => {
                        ((row / 16) * cols.div_ceil(c0) + col / c0) * 16 * c0 + row % 16 * c0 + col % c0
                    }
                    (Space::L0a, true) => {
                        let across = rows.div_ceil(16) * 16 / c0;
                        ((col / 16) * across + row / c0) * 16 * c0 + col % 16 * c0 + row % c0
                    }
                    _ => ((row / c0) * cols.div_ceil(16) + col / 16) * 16 * c0 + col % 16 * c0 + row % c0,
                };
                let got = core.get(space, 512 + at * size, size);
                assert_eq!(
                    got,
                    self.element(&data, &pad, row, col),
                    "{name} {transpose} ({row}, {col}) of {self:?}"
                );
                let map = &core.local[space.local_index()].init;
                assert_eq!(map.first_unset(512 + at * size, size), None, "({row}, {col}) of {self:?}");
            }
        }
    }
}

#[test]
fn plain_matrices_arrive_in_their_layouts() {
    let mut rng = fastrand::Rng::with_seed(31);
    for (elem, rows, groups) in
        [(Elem::F16, 48, 4), (Elem::F32, 32, 6), (Elem::F32, 24, 3), (Elem::F16, 16, 1)]
    {
        let case = Case::plain_matrix(elem, rows, groups);
        case.check(&mut rng, "img2colv2_cbuf_to_ca", false);
        case.check(&mut rng, "img2colv2_cbuf_to_ca", true);
        case.check(&mut rng, "img2colv2_cbuf_to_cb", false);
    }
    Case::plain_matrix(Elem::S8, 64, 3).check(&mut rng, "img2colv2_cbuf_to_ca", false);
}

#[test]
fn convolutions_follow_the_image_to_column_formula() {
    let mut rng = fastrand::Rng::with_seed(32);
    for round in 0..60 {
        let elem = [Elem::F16, Elem::F32, Elem::S8][round % 3];
        let case = Case::random(&mut rng, elem);
        case.check(&mut rng, "img2colv2_cbuf_to_ca", false);
        if elem != Elem::S8 {
            case.check(&mut rng, "img2colv2_cbuf_to_ca", true);
            case.check(&mut rng, "img2colv2_cbuf_to_cb", false);
        }
    }
}

#[test]
fn rows_beyond_the_window_are_unspecified() {
    let mut core = TestCore::new();
    core.put(Space::L1, 0, &[1; 4096]);
    core.put(Space::L0a, 512, &[1; 512]);
    let mut case = Case::plain_matrix(Elem::F16, 16, 1);
    case.window[0] = 10;
    core.regs.fmatrix = case.fmatrix();
    core.run("img2colv2_cbuf_to_ca", Elem::F16, Elem::None, &case.args(Space::L0a, 0)).unwrap();
    let map = &core.local[Space::L0a.local_index()].init;
    assert_eq!(map.first_unset(512, 512), Some(512 + 10 * 32));
}

#[test]
fn limits_are_faults() {
    let mut core = TestCore::new();
    core.put(Space::L1, 0, &[1; 4096]);
    let case = Case::plain_matrix(Elem::F16, 32, 2);
    core.regs.fmatrix = case.fmatrix();
    let mut load = |name, elem, at: usize, value: u64, transpose: u64| {
        let space = if name == "img2colv2_cbuf_to_ca" { Space::L0a } else { Space::L0b };
        let mut args = case.args(space, transpose);
        args[at] = value;
        core.run(name, elem, Elem::None, &args)
    };
    let (ca, cb) = ("img2colv2_cbuf_to_ca", "img2colv2_cbuf_to_cb");
    expect_fault(load(ca, Elem::F16, 4, 8, 0), FaultKind::Operand, "posK = 8; wanted a multiple of 16");
    expect_fault(load(ca, Elem::F16, 6, 64, 0), FaultKind::Operand, "strideW = 64; wanted 1..=63");
    expect_fault(load(ca, Elem::F16, 9, 3, 0), FaultKind::Operand, "reaches over 3 of 1 padded pixels");
    expect_fault(load(cb, Elem::S8, 16, 32, 0), FaultKind::NoSuchPath, "8-bit elements");
    expect_fault(load(ca, Elem::S8, 16, 32, 1), FaultKind::NoSuchPath, "8-bit elements");
    expect_unsupported(load(ca, Elem::F16, 16, 20, 0), "sizeChannel = 20");
    expect_unsupported(load(ca, Elem::F16, 15, 1, 0), "fmatrixCtrl");
    for at in [2, 3, 8, 9, 16] {
        load(ca, Elem::F16, at, 0, 0).unwrap();
    }
    // A window of 2^28 pieces is refused by its size; its pieces one by one would take minutes.
    let mut args = case.args(Space::L0a, 0);
    args[2..4].copy_from_slice(&[65_535, 65_535]);
    expect_fault(core.run(ca, Elem::F16, Elem::None, &args), FaultKind::OutOfBounds, "dst writes");
}
