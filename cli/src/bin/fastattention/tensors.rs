//! q, k and v, and o and lse, as a safetensors file holds them.

use anyhow::{bail, Result};
use fastattention::attention::{Layout, Problem};
use fastattention::DType;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// One of q, k, v.
pub(crate) struct Operand<'a> {
    name: &'static str,
    /// `[batch, seqlen, heads, dim]`.
    pub(crate) shape: [u32; 4],
    /// The file has no batch dimension.
    pub(crate) is_unbatched: bool,
    pub(crate) dtype: DType,
    /// Little-endian elements.
    pub(crate) bytes: &'a [u8],
}

/// The three operands, which fit together.
pub(crate) struct Operands<'a> {
    layout: Layout,
    pub(crate) q: Operand<'a>,
    pub(crate) k: Operand<'a>,
    pub(crate) v: Operand<'a>,
}

impl<'a> Operands<'a> {
    /// Finds q, k and v; one error names everything that does not fit.
    pub(crate) fn find(file: &SafeTensors<'a>, layout: Layout) -> Result<Self> {
        let find = |name| operand(file, name, layout);
        let [q, k, v] = [find("q")?, find("k")?, find("v")?];
        let mut wrong = Vec::new();
        for other in [&k, &v] {
            if other.dtype != q.dtype {
                wrong.push(format!(
                    "{} is {}, q is {}; wanted one type for all",
                    other.name, other.dtype, q.dtype
                ));
            }
            if other.is_unbatched != q.is_unbatched {
                let count = |operand: &Operand<'_>| if operand.is_unbatched { 3 } else { 4 };
                wrong.push(format!(
                    "{} has {} dimensions, q has {}; wanted as many for all",
                    other.name,
                    count(other),
                    count(&q)
                ));
            } else if other.shape[0] != q.shape[0] {
                wrong.push(unequal(other, &q, 0, "batch"));
            }
        }
        for (a, b, dimension, name) in
            [(&k, &q, 3, "head_dim"), (&v, &k, 1, "seqlen_k"), (&v, &k, 2, "num_heads_k")]
        {
            if a.shape[dimension] != b.shape[dimension] {
                wrong.push(unequal(a, b, dimension, name));
            }
        }
        if !wrong.is_empty() {
            bail!("{}", wrong.join("; "));
        }
        Ok(Self { layout, q, k, v })
    }

    /// The problem that they are operands of, with the log-sum-exp.
    pub(crate) fn problem(&self) -> Problem {
        let [_, seqlen_k, num_heads_k, head_dim_v] = self.v.shape;
        Problem::new(self.q.dtype, self.q.shape)
            .with_seqlen_k(seqlen_k)
            .with_num_heads_k(num_heads_k)
            .with_head_dim_v(head_dim_v)
            .with_layout(self.layout)
            .with_lse()
    }
}

fn unequal(a: &Operand<'_>, b: &Operand<'_>, dimension: usize, name: &str) -> String {
    format!("{} has {name} = {}, {} has {}", a.name, a.shape[dimension], b.name, b.shape[dimension])
}

/// What `run` computed.
pub(crate) struct Results<'a> {
    pub(crate) dtype: DType,
    /// `[batch, seqlen_q, num_heads, head_dim_v]`.
    pub(crate) shape: [u32; 4],
    /// Order of the dimensions of o.
    pub(crate) layout: Layout,
    /// Leave the batch dimension out.
    pub(crate) is_unbatched: bool,
    pub(crate) o: &'a [u8],
    pub(crate) lse: &'a [u8],
}

impl Results<'_> {
    /// A safetensors file with `o` and `lse`.
    pub(crate) fn file(&self) -> Result<Vec<u8>> {
        let [batch, seqlen, heads, dim] = self.shape.map(|d| d as usize);
        let dtype = if self.dtype == DType::F16 { Dtype::F16 } else { Dtype::BF16 };
        let first = usize::from(self.is_unbatched);
        let o = in_order(self.layout, [batch, seqlen, heads, dim]);
        let tensors = [
            ("o", TensorView::new(dtype, o[first..].to_vec(), self.o)?),
            ("lse", TensorView::new(Dtype::F32, [batch, heads, seqlen][first..].to_vec(), self.lse)?),
        ];
        Ok(safetensors::serialize(tensors, None)?)
    }
}

/// `[batch, seqlen, heads, dim]` in the order of a layout, and back.
fn in_order<T>(layout: Layout, [batch, seqlen, heads, dim]: [T; 4]) -> [T; 4] {
    match layout {
        Layout::Bnsd => [batch, heads, seqlen, dim],
        _ => [batch, seqlen, heads, dim],
    }
}

fn operand<'a>(file: &SafeTensors<'a>, name: &'static str, layout: Layout) -> Result<Operand<'a>> {
    let Ok(view) = file.tensor(name) else {
        let mut names = file.names();
        names.sort_unstable();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        bail!("no tensor {name}; wanted q, k and v, found: {names}");
    };
    let dtype = match view.dtype() {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::Bf16,
        Dtype::F32 => {
            bail!("{name} is f32; convert q, k and v to f16 or bf16 first (kernels multiply 16-bit floats)")
        }
        other => bail!("{name} has elements of type {other:?}, wanted F16 or BF16"),
    };
    let (dims, is_unbatched) = (view.shape(), view.shape().len() == 3);
    if !is_unbatched && dims.len() != 4 {
        let whole = in_order(layout, ["batch", "seqlen", "heads", "dim"]);
        bail!("{name} has shape {dims:?}, wanted [{}] or [{}]", whole[1..].join(", "), whole.join(", "));
    }
    let mut shape = [1; 4];
    for (to, &from) in shape[usize::from(is_unbatched)..].iter_mut().zip(dims) {
        let Ok(size) = u32::try_from(from) else {
            bail!("{name} has shape {dims:?}, wanted at most {} in every dimension", u32::MAX);
        };
        *to = size;
    }
    Ok(Operand { name, shape: in_order(layout, shape), is_unbatched, dtype, bytes: view.data() })
}
