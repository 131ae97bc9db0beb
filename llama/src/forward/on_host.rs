//! Norm, activation and choice of rows on the host, between copies, until there are operators for them that
//! keep the residual stream in f32 (issue 14). Sums are f32, results are rounded once, as operators do.

use fastattention::runtime::{Buffer, Stream};
use fastattention::Result;
use half::f16;

/// A place in the queue of a stream, which is waited for.
pub(super) struct OnHost<'a> {
    pub(super) stream: &'a Stream,
    pub(super) hidden: u32,
}

impl OnHost<'_> {
    fn read<T: bytemuck::Pod>(&self, from: &Buffer, elements: usize) -> Result<Vec<T>> {
        self.stream.synchronize()?;
        let mut values = vec![T::zeroed(); elements];
        from.copy_to_host(&mut values)?;
        Ok(values)
    }

    /// Rows of a table of f16, as f32.
    pub(super) fn embed(&self, table: &Buffer, rows: &[u32], out: &Buffer) -> Result<()> {
        self.stream.synchronize()?;
        let width = self.hidden as usize;
        let mut row = vec![f16::ZERO; width];
        for (at, from) in rows.iter().enumerate() {
            table.copy_to_host_at(2 * width * *from as usize, &mut row)?;
            let wide: Vec<f32> = row.iter().map(|x| x.to_f32()).collect();
            out.copy_from_host_at(4 * width * at, &wide)?;
        }
        Ok(())
    }

    /// Rows of `T`, as they are.
    pub(super) fn choose<T: bytemuck::Pod>(&self, from: &Buffer, rows: &[u32], out: &Buffer) -> Result<()> {
        self.stream.synchronize()?;
        let mut row = vec![T::zeroed(); self.hidden as usize];
        let bytes = size_of_val(row.as_slice());
        for (at, chosen) in rows.iter().enumerate() {
            from.copy_to_host_at(bytes * *chosen as usize, &mut row)?;
            out.copy_from_host_at(bytes * at, &row)?;
        }
        Ok(())
    }

    /// `residual += delta`, in f32, and `out` its RMSNorm.
    pub(super) fn norm(
        &self,
        rows: u32,
        delta: Option<&Buffer>,
        residual: &Buffer,
        (weight, epsilon): (&Buffer, f32),
        out: &Buffer,
    ) -> Result<()> {
        let width = self.hidden as usize;
        let elements = rows as usize * width;
        let weight: Vec<f32> = self.read(weight, width)?;
        let mut sums: Vec<f32> = self.read(residual, elements)?;
        if let Some(delta) = delta {
            let deltas: Vec<f16> = self.read(delta, elements)?;
            sums.iter_mut().zip(deltas).for_each(|(sum, delta)| *sum += delta.to_f32());
            residual.copy_from_host(&sums)?;
        }
        let mut normed = Vec::with_capacity(elements);
        for row in sums.chunks_exact(width) {
            #[allow(clippy::cast_precision_loss, reason = "a row has fewer than 2^24 elements")]
            let mean = row.iter().map(|x| x * x).sum::<f32>() / width as f32;
            let scale = 1.0 / (mean + epsilon).sqrt();
            normed.extend(row.iter().zip(&weight).map(|(x, weight)| f16::from_f32(x * scale * weight)));
        }
        out.copy_from_host(&normed)
    }

    /// `silu(gate) * up` of rows that hold both, one behind the other.
    pub(super) fn swiglu(&self, rows: u32, width: u32, gate_up: &Buffer, out: &Buffer) -> Result<()> {
        let width = width as usize;
        let values: Vec<f16> = self.read(gate_up, 2 * rows as usize * width)?;
        let rows = values.chunks_exact(2 * width).flat_map(|row| row[..width].iter().zip(&row[width..]));
        let product = |(gate, up): (&f16, &f16)| {
            let (gate, up) = (gate.to_f32(), up.to_f32());
            f16::from_f32(gate / (1.0 + (-gate).exp()) * up)
        };
        out.copy_from_host(&rows.map(product).collect::<Vec<_>>())
    }
}
