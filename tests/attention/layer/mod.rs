//! The layer kernels: results against f64, places, refusals.

mod activation;
mod argmax;
mod embedding;
mod figures;
mod norm;

use fastattention::reference::Element;
use fastattention::runtime::{Buffer, Device};
use fastattention_testkit::data;
use fastrand::Rng;
use half::{bf16, f16};

/// The elements of a type, as tests write and read them.
trait Bytes: Element + bytemuck::Pod {}
impl Bytes for f16 {}
impl Bytes for bf16 {}
impl Bytes for f32 {}

fn upload<T: Bytes>(device: &Device, data: &[T]) -> Buffer {
    Buffer::from_slice(device, data).unwrap()
}

fn wide<T: Bytes>(value: T) -> f64 {
    f64::from(value.into())
}

/// What a type makes of a number.
fn rounded<T: Bytes>(value: f32) -> f32 {
    T::round(value).into()
}

/// A problem with something changed.
fn with<P: Copy>(problem: P, change: impl FnOnce(&mut P)) -> P {
    let mut problem = problem;
    change(&mut problem);
    problem
}

/// Rows in a buffer: `dim` elements each, `stride` apart.
#[derive(Clone, Copy, Debug)]
struct Rows {
    rows: usize,
    dim: usize,
    stride: usize,
}

impl Rows {
    fn new([rows, dim]: [u32; 2], gap: usize) -> Self {
        let [rows, dim] = [rows, dim].map(|n| n as usize);
        Self { rows, dim, stride: dim + gap }
    }

    fn len(self) -> usize {
        if self.rows == 0 {
            return 0;
        }
        (self.rows - 1) * self.stride + self.dim
    }

    /// Normal numbers around `mean` in the rows and between them.
    fn normal<T: Bytes>(self, rng: &mut Rng, mean: f32) -> Vec<T> {
        (0..self.len()).map(|_| T::round(mean + data::normal(rng))).collect()
    }

    /// The rows without what lies between.
    fn dense<T: Bytes>(self, data: &[T]) -> Vec<f64> {
        let row = |row: usize| &data[row * self.stride..][..self.dim];
        (0..self.rows).flat_map(|r| row(r).iter().map(|x| wide(*x)).collect::<Vec<_>>()).collect()
    }

    /// What lies between the rows is as it was.
    fn check_gaps<T: Bytes>(self, got: &[T], before: &[T]) {
        let is_gap = |at: &usize| at % self.stride >= self.dim;
        for at in (0..self.len()).filter(is_gap) {
            assert!(
                bytemuck::bytes_of(&got[at]) == bytemuck::bytes_of(&before[at]),
                "gap at {at} of {self:?}"
            );
        }
    }
}
