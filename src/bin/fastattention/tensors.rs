//! Tensors in and out of safetensors files.

use std::path::Path;

use anyhow::{bail, Context, Result};
use fastattention::DType;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// One of q, k, v as the file holds it.
pub(crate) struct Operand<'a> {
    /// `[batch, seqlen, heads, dim]`.
    pub(crate) shape: [u32; 4],
    /// The file has no batch dimension.
    pub(crate) unbatched: bool,
    pub(crate) dtype: DType,
    /// Little-endian elements.
    pub(crate) bytes: &'a [u8],
}

/// Reads the operand `name`.
pub(crate) fn operand<'a>(file: &SafeTensors<'a>, name: &str) -> Result<Operand<'a>> {
    let view = file.tensor(name).with_context(|| {
        let names: Vec<_> = file.names().into_iter().map(|n| n.to_string()).collect();
        format!("the input has no tensor {name:?}; it has {}", names.join(", "))
    })?;
    let dtype = match view.dtype() {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::Bf16,
        Dtype::F32 => bail!(
            "{name} is f32; convert q, k and v to f16 or bf16 first (the Cube multiplies 16-bit floats)"
        ),
        other => bail!("{name} has element type {other:?}, wanted F16 or BF16"),
    };
    let unbatched = view.shape().len() == 3;
    let mut shape = [1; 4];
    match view.shape() {
        dims @ ([_, _, _] | [_, _, _, _]) => {
            for (to, &from) in shape[usize::from(unbatched)..].iter_mut().zip(dims) {
                *to = u32::try_from(from).with_context(|| format!("{name} has a dimension of {from}"))?;
            }
        }
        dims => {
            bail!("{name} has shape {dims:?}, wanted [seqlen, heads, dim] or [batch, seqlen, heads, dim]")
        }
    }
    Ok(Operand { shape, unbatched, dtype, bytes: view.data() })
}

/// Writes `o` and `lse`, without the batch dimension if the input had none.
pub(crate) fn write(path: &Path, o: &Operand<'_>, lse: &[u8]) -> Result<()> {
    let [batch, seqlen, heads, dim] = o.shape.map(|d| d as usize);
    let dtype = if o.dtype == DType::F16 { Dtype::F16 } else { Dtype::BF16 };
    let skip = usize::from(o.unbatched);
    let tensors = [
        ("o", TensorView::new(dtype, [batch, seqlen, heads, dim][skip..].to_vec(), o.bytes)?),
        ("lse", TensorView::new(Dtype::F32, [batch, heads, seqlen][skip..].to_vec(), lse)?),
    ];
    safetensors::serialize_to_file(tensors, None, path).with_context(|| format!("writing {}", path.display()))
}
