#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small numbers that the tests choose"
)]

use fastattention_tolerance::assert_same;

use super::super::cube::paths;
use super::super::transfer::tests::{expect_fault, expect_unsupported};
use super::*;
use crate::isa::harness::TestCore;

/// A product as the tests see it: values already representable in the element type.
struct Product {
    elem: Elem,
    m: usize,
    k: usize,
    n: usize,
    /// Columns of A (rows of B) that L0 has room for: k rounded up to a fractal, or to 16 with
    /// kDirectionAlign.
    stored_k: usize,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Product {
    fn random(rng: &mut fastrand::Rng, elem: Elem, [m, k, n]: [usize; 3]) -> Product {
        let c0 = 32 / elem.bytes();
        let mut value = || match elem {
            Elem::F16 => half::f16::from_f32(rng.f32() * 4.0 - 2.0).to_f32(),
            Elem::Bf16 => half::bf16::from_f32(rng.f32() * 4.0 - 2.0).to_f32(),
            Elem::S8 => f32::from(rng.i8(..)),
            _ => rng.f32() * 4.0 - 2.0,
        };
        let a = (0..m * k).map(|_| value()).collect();
        let b = (0..k * n).map(|_| value()).collect();
        Product { elem, m, k, n, stored_k: k.div_ceil(c0) * c0, a, b }
    }

    fn encode(&self, value: f32) -> Vec<u8> {
        match self.elem {
            Elem::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
            Elem::Bf16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
            Elem::S8 => (value as i8).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        }
    }

    /// Zz of A and Zn of B by the formulas of dav-c220.md 2.1; all padding is `fill`.
    fn put(&self, core: &mut TestCore, fill: u8) {
        let (size, c0) = (self.elem.bytes(), 32 / self.elem.bytes());
        let (k1, n1) = (self.stored_k / c0, self.n.div_ceil(16));
        let mut a = vec![fill; self.m.div_ceil(16) * k1 * 512];
        let mut b = vec![fill; self.k.div_ceil(c0) * n1 * 512];
        for k in 0..self.k {
            for m in 0..self.m {
                let zz = ((m / 16) * k1 + k / c0) * 16 * c0 + m % 16 * c0 + k % c0;
                // m = 1 is a plain row vector.
                let at = if self.m == 1 { k } else { zz };
                a[at * size..][..size].copy_from_slice(&self.encode(self.a[m * self.k + k]));
            }
            for n in 0..self.n {
                let at = ((k / c0) * n1 + n / 16) * 16 * c0 + n % 16 * c0 + k % c0;
                b[at * size..][..size].copy_from_slice(&self.encode(self.b[k * self.n + n]));
            }
        }
        core.put(Space::L0a, 0, &a);
        core.put(Space::L0b, 0, &b);
    }

    fn args(&self, aligned: bool, source: bool, zero: bool) -> Vec<u64> {
        let (m, k, n) = (self.m as u64, self.k as u64, self.n as u64);
        let place = |space| TestCore::at(space, 0);
        let bits = [aligned, source, zero].map(u64::from);
        vec![
            TestCore::at(Space::L0c, 2048),
            place(Space::L0a),
            place(Space::L0b),
            m,
            k,
            n,
            0,
            bits[0],
            bits[1],
            bits[2],
        ]
    }

    fn target(&self) -> Elem {
        if self.elem == Elem::S8 {
            Elem::S32
        } else {
            Elem::F32
        }
    }

    fn run(&self, core: &mut TestCore, args: &[u64]) -> Result<(), Stop> {
        core.run("mad", self.elem, self.target(), args)
    }

    fn c_at(&self, m: usize, n: usize) -> usize {
        2048 + (((n / 16) * self.m.div_ceil(16) + m / 16) * 256 + m % 16 * 16 + n % 16) * 4
    }

    fn c_bits(&self, core: &TestCore, m: usize, n: usize) -> u32 {
        u32::from_le_bytes(core.get(Space::L0c, self.c_at(m, n), 4).try_into().unwrap())
    }

    fn is_known(&self, core: &TestCore, m: usize, n: usize) -> bool {
        core.local[Space::L0c.local_index()].init.first_unset(self.c_at(m, n), 4).is_none()
    }

    /// The sequential f32 model, one element at a time.
    fn sequential(&self, start: f32, m: usize, n: usize) -> f32 {
        (0..self.k).fold(start, |sum, k| sum + self.a[m * self.k + k] * self.b[k * self.n + n])
    }
}

#[test]
fn products_match_the_sequential_model_bit_for_bit() {
    let mut rng = fastrand::Rng::with_seed(41);
    let shapes = [
        [16, 16, 16],
        [1, 16, 16],
        [1, 250, 50],
        [3, 5, 7],
        [17, 33, 18],
        [48, 64, 80],
        [100, 72, 31],
        [128, 96, 112],
        [2, 1, 1],
    ];
    for elem in [Elem::F16, Elem::Bf16, Elem::F32] {
        for shape in shapes {
            let product = Product::random(&mut rng, elem, shape);
            let mut core = TestCore::new();
            // NaN in every padding byte: it must not reach a result.
            product.put(&mut core, 0xff);
            product.run(&mut core, &product.args(false, false, true)).unwrap();
            for m in 0..product.m {
                for n in 0..product.n {
                    let got = f32::from_bits(product.c_bits(&core, m, n));
                    let want = product.sequential(0.0, m, n);
                    assert_eq!(got.to_bits(), want.to_bits(), "{elem:?} {shape:?} [{m}, {n}]: {got} {want}");
                    let terms = (0..product.k).map(|k| {
                        f64::from(product.a[m * product.k + k]) * f64::from(product.b[k * product.n + n])
                    });
                    let (exact, sum) = terms.fold((0.0, 0.0), |(x, s), t| (x + t, s + t.abs()));
                    // dav-c220.md 6.4.
                    let bound = 2f64.powi(-22) * sum * product.k.div_ceil(16) as f64;
                    assert!((f64::from(got) - exact).abs() <= bound, "{elem:?} {shape:?} [{m}, {n}]");
                }
            }
        }
    }
}

#[test]
fn c_starts_from_zero_from_itself_or_from_the_bias() {
    let mut rng = fastrand::Rng::with_seed(42);
    let product = Product::random(&mut rng, Elem::F16, [20, 24, 40]);
    let mut core = TestCore::new();
    product.put(&mut core, 0);
    let bias: Vec<f32> = (0..40).map(|_| rng.f32() * 100.0).collect();
    let table: Vec<u8> = bias.iter().flat_map(|x| x.to_le_bytes()).collect();
    core.put(Space::Bt, 128, &table);
    let check = |core: &TestCore, start: &dyn Fn(usize, usize) -> f32| {
        for m in 0..20 {
            for n in 0..40 {
                let want = product.sequential(start(m, n), m, n);
                assert_eq!(product.c_bits(core, m, n), want.to_bits(), "[{m}, {n}]");
            }
        }
    };
    let mut with_bias = product.args(false, true, false);
    with_bias.insert(3, TestCore::at(Space::Bt, 128));
    product.run(&mut core, &with_bias).unwrap();
    check(&core, &|_, n| bias[n]);
    product.run(&mut core, &product.args(false, false, false)).unwrap();
    check(&core, &|m, n| product.sequential(bias[n], m, n));
    // cmatrixInitVal wins over the bias.
    *with_bias.last_mut().unwrap() = 1;
    product.run(&mut core, &with_bias).unwrap();
    check(&core, &|_, _| 0.0);
    // Without the operand the table starts at byte 0.
    core.put(Space::Bt, 0, &table);
    product.run(&mut core, &product.args(false, true, false)).unwrap();
    check(&core, &|_, n| bias[n]);
}

#[test]
fn fractal_exact_rounds_once_per_fractal() {
    let mut rng = fastrand::Rng::with_seed(43);
    for (elem, c0) in [(Elem::F16, 16), (Elem::F32, 8)] {
        let product = Product::random(&mut rng, elem, [18, 50, 20]);
        let mut core = TestCore::new();
        core.mode.cube_accumulate = CubeAccumulate::FractalExact;
        product.put(&mut core, 0);
        product.run(&mut core, &product.args(false, false, true)).unwrap();
        for m in 0..18 {
            for n in 0..20 {
                let mut want = 0f32;
                for first in (0..50).step_by(c0) {
                    let part: f64 = (first..50.min(first + c0))
                        .map(|k| f64::from(product.a[m * 50 + k]) * f64::from(product.b[k * 20 + n]))
                        .sum();
                    want += part as f32;
                }
                assert_eq!(product.c_bits(&core, m, n), want.to_bits(), "{elem:?} [{m}, {n}]");
            }
        }
    }
}

#[test]
fn integers_are_exact_and_saturate_only_in_saturating_mode() {
    let mut rng = fastrand::Rng::with_seed(44);
    let product = Product::random(&mut rng, Elem::S8, [19, 70, 33]);
    let mut core = TestCore::new();
    product.put(&mut core, 0x55);
    for ctrl in [1 << 48, 0] {
        core.regs.ctrl = ctrl;
        let start = i32::MAX - 5;
        core.put(Space::L0c, 2048, &start.to_le_bytes().repeat(2 * 3 * 256));
        product.run(&mut core, &product.args(false, false, false)).unwrap();
        for m in 0..19 {
            for n in 0..33 {
                let sum: i32 =
                    (0..70).map(|k| product.a[m * 70 + k] as i32 * product.b[k * 33 + n] as i32).sum();
                let want = if ctrl == 0 { start.saturating_add(sum) } else { start.wrapping_add(sum) };
                assert_eq!(product.c_bits(&core, m, n).cast_signed(), want, "[{m}, {n}]");
            }
        }
    }
}

#[test]
fn k_direction_align_spaces_rows_of_a() {
    let mut rng = fastrand::Rng::with_seed(45);
    // 36 columns need 5 fractals of 8; with kDirectionAlign rows of A are 6 fractals apart.
    let mut product = Product::random(&mut rng, Elem::F32, [40, 36, 24]);
    product.stored_k = 48;
    let mut core = TestCore::new();
    product.put(&mut core, 0xff);
    product.run(&mut core, &product.args(true, false, true)).unwrap();
    for m in 0..40 {
        for n in 0..24 {
            assert_eq!(product.c_bits(&core, m, n), product.sequential(0.0, m, n).to_bits(), "[{m}, {n}]");
        }
    }
}

#[test]
fn hf32_keeps_ten_bits_of_mantissa() {
    // 1 + 2^-11 lies halfway between two HF32 numbers, 1 + 3 * 2^-11 too; a bit more is no tie.
    let half = 2f32.powi(-11);
    let inputs =
        [1.0 + half, 1.0 + 3.0 * half, 1.0 + half + 2f32.powi(-20), -1.0 - 3.0 * half, f32::INFINITY];
    let even = [1.0, 1.0 + 4.0 * half, 1.0 + 2.0 * half, -1.0 - 4.0 * half, f32::INFINITY];
    let to_zero = [1.0, 1.0 + 2.0 * half, 1.0 + 2.0 * half, -1.0 - 2.0 * half, f32::INFINITY];
    for (ctrl, wanted) in [(0, inputs), (1 << 46, even), (3 << 46, to_zero)] {
        let product =
            Product { elem: Elem::F32, m: 5, k: 1, n: 1, stored_k: 8, a: inputs.to_vec(), b: vec![1.0] };
        let mut core = TestCore::new();
        product.put(&mut core, 0);
        core.regs.ctrl = ctrl;
        product.run(&mut core, &product.args(false, false, true)).unwrap();
        let got: Vec<f32> = (0..5).map(|m| f32::from_bits(product.c_bits(&core, m, 0))).collect();
        assert_eq!(got, wanted, "ctrl {ctrl:#x}");
    }
}

#[test]
fn infinities_and_nan_follow_ieee() {
    let mut product = Product::random(&mut fastrand::Rng::with_seed(46), Elem::F16, [16, 16, 16]);
    product.a[0] = f32::INFINITY;
    product.b[0] = 0.0;
    product.b[1] = -1.0;
    let mut core = TestCore::new();
    product.put(&mut core, 0);
    product.run(&mut core, &product.args(false, false, true)).unwrap();
    assert_eq!(product.c_bits(&core, 0, 0), f32::NAN.to_bits());
    assert_eq!(product.c_bits(&core, 0, 1), f32::NEG_INFINITY.to_bits());
}

#[test]
fn compiled_paths_agree_bit_for_bit() {
    let mut rng = fastrand::Rng::with_seed(47);
    let (k, m1, n1) = (37, 2, 3);
    let mut panels = Panels::default();
    panels.a.resize_with(m1 * 4 * k, || std::array::from_fn(|_| rng.f32() - 0.5));
    panels.b.resize_with(n1 * k, || std::array::from_fn(|_| rng.f32() - 0.5));
    panels.a[5][1] = f32::NAN;
    let results: Vec<_> = paths::all::<Sequential>()
        .into_iter()
        .map(|(name, path)| {
            let mut c = vec![0; m1 * n1 * 1024];
            path(&Sequential, k, m1, &panels, &mut c);
            (name, c)
        })
        .collect();
    for (name, c) in &results {
        assert_same(c, &results[0].1, &format!("{name} against {}", results[0].0));
    }
}

#[test]
fn padding_of_c_is_unspecified() {
    let mut rng = fastrand::Rng::with_seed(48);
    for shape in [[20, 16, 16], [16, 16, 20], [5, 16, 33], [1, 16, 16]] {
        let product = Product::random(&mut rng, Elem::F16, shape);
        let mut core = TestCore::new();
        core.put(Space::L0c, 0, &[0; 16384]);
        product.put(&mut core, 0);
        product.run(&mut core, &product.args(false, false, true)).unwrap();
        for m in 0..product.m.div_ceil(16) * 16 {
            for n in 0..product.n.div_ceil(16) * 16 {
                let inside = m < product.m && n < product.n;
                assert_eq!(product.is_known(&core, m, n), inside, "{shape:?} [{m}, {n}]");
            }
        }
    }
}

#[test]
fn unwritten_operands_make_rows_and_columns_unspecified() {
    let mut rng = fastrand::Rng::with_seed(49);
    let product = Product::random(&mut rng, Elem::F16, [18, 20, 17]);
    let mut core = TestCore::new();
    product.put(&mut core, 0);
    let mut forget = |space: Space, at: usize, len: usize| {
        core.local[space.local_index()].init.set(at, len, false);
    };
    // A[3, 17]: fractal 1, row 3, column 1. A[4, 20..32]: beyond k. B[2, 16]: fractal 1, row 0, column 2.
    forget(Space::L0a, 512 + 3 * 32 + 2, 2);
    forget(Space::L0a, 512 + 4 * 32 + 4 * 2, 24);
    forget(Space::L0b, 512 + 2 * 2, 2);
    product.run(&mut core, &product.args(false, false, true)).unwrap();
    let known = |core: &TestCore| -> Vec<(usize, usize)> {
        (0..18 * 17).map(|i| (i / 17, i % 17)).filter(|(m, n)| !product.is_known(core, *m, *n)).collect()
    };
    let want: Vec<_> = (0..18 * 17).map(|i| (i / 17, i % 17)).filter(|(m, n)| *m == 3 || *n == 16).collect();
    assert_eq!(known(&core), want);
    // Accumulating keeps what was unspecified so, whatever A and B are.
    product.put(&mut core, 0);
    product.run(&mut core, &product.args(false, false, false)).unwrap();
    assert_eq!(known(&core), want);
    product.run(&mut core, &product.args(false, false, true)).unwrap();
    assert_eq!(known(&core), []);
    // A bias that nothing wrote.
    core.put(Space::Bt, 0, &[0; 16 * 4]);
    product.run(&mut core, &product.args(false, true, false)).unwrap();
    assert_eq!(known(&core), (0..18).map(|m| (m, 16)).collect::<Vec<_>>());
}

#[test]
fn limits_are_faults() {
    let product = Product::random(&mut fastrand::Rng::with_seed(50), Elem::F16, [16, 16, 16]);
    let mut core = TestCore::new();
    product.put(&mut core, 0);
    let base = product.args(false, false, true);
    let mut with = |at: usize, value: u64| {
        let mut args = base.clone();
        args[at] = value;
        product.run(&mut core, &args)
    };
    expect_fault(with(3, 4096), FaultKind::Operand, "m = 4096; wanted 0..=4095");
    expect_fault(with(6, 1), FaultKind::Operand, "unitFlag = 1; wanted 0, 2 or 3");
    expect_fault(
        with(0, TestCore::at(Space::L0c, 512)),
        FaultKind::Misaligned,
        "c at L0C+0x200 is not a multiple of 1024",
    );
    expect_fault(
        with(1, TestCore::at(Space::L0b, 0)),
        FaultKind::NoSuchPath,
        "a lies in L0B; the instruction takes L0A",
    );
    expect_fault(with(2, TestCore::at(Space::L0b, 65536)), FaultKind::OutOfBounds, "b reads L0B");
    expect_fault(with(3, 4095), FaultKind::OutOfBounds, "a reads L0A");
    for at in [3, 4, 5] {
        with(at, 0).unwrap();
    }
    let mut bias = base.clone();
    bias.insert(3, TestCore::at(Space::L1, 0));
    expect_fault(product.run(&mut core, &bias), FaultKind::NoSuchPath, "bias lies in L1");
    expect_unsupported(core.run("mad", Elem::F16, Elem::F16, &base), "F16 into F16");
}
