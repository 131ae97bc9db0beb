//! A layer with its tensors, whole and cut for a rank, and what it should give.

use fastattention::attention::host;
use fastattention::matmul::BLayout;
use fastattention::parallel::{Linear, Problem};
use fastattention::reference::{self, Element, Params, Tensor};
use fastattention_testkit::compare::{check_o, unit};
use fastattention_testkit::data::normal;
use fastrand::Rng;

/// An element type.
pub(crate) trait Values: Element + host::Element {}

impl Values for half::f16 {}

impl Values for half::bf16 {}

fn wide<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(Into::<f32>::into(x))).collect()
}

/// Tensors of the whole layer: q `[rows, num_heads, head_dim]`, k and v `[keys, num_heads_k, ..]`, weight
/// `[num_heads * head_dim_v, hidden]`.
pub(crate) struct Layer<T> {
    pub(crate) problem: Problem,
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    weight: Vec<T>,
}

/// Those of one rank; o is the plain attention's.
pub(crate) struct Shard<T> {
    pub(crate) q: Vec<T>,
    pub(crate) k: Vec<T>,
    pub(crate) v: Vec<T>,
    pub(crate) o: Vec<T>,
    pub(crate) weight: Vec<T>,
}

/// One of the references.
type Attention<U> = fn(&Params, Tensor<'_, U>, Tensor<'_, U>, Tensor<'_, U>) -> reference::Output;

impl<T: Values> Layer<T> {
    pub(crate) fn new(problem: Problem, seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let mut tensor =
            |len: u64, scale: f32| -> Vec<T> { (0..len).map(|_| T::round(normal(rng) * scale)).collect() };
        let p = &problem;
        let [heads, heads_k, dim, dim_v] =
            [p.spec.num_heads, p.spec.num_heads_k, p.spec.head_dim, p.spec.head_dim_v].map(u64::from);
        Self {
            q: tensor(p.rows() * heads * dim, 1.0),
            k: tensor(p.keys() * heads_k * dim, 1.0),
            v: tensor(p.keys() * heads_k * dim_v, 1.0),
            weight: tensor(heads * dim_v * u64::from(p.hidden), 1.0 / ((heads * dim_v) as f32).sqrt()),
            problem,
        }
    }

    pub(crate) fn shard(&self, rank: u32) -> Shard<T> {
        let p = &self.problem;
        let columns = |values: &[T], all: u32, some: std::ops::Range<u32>, dim: u32| -> Vec<T> {
            let [all, first, last] = [all, some.start, some.end].map(|heads| (heads * dim) as usize);
            values.chunks(all).flat_map(|row| &row[first..last]).copied().collect()
        };
        let (heads, heads_k) = (p.heads_of(rank), p.heads_k_of(rank));
        let features = (p.spec.num_heads * p.spec.head_dim_v) as usize;
        let [first, last] = [heads.start, heads.end].map(|h| (h * p.spec.head_dim_v) as usize);
        let hidden = p.hidden as usize;
        let weight = match p.linear {
            Linear::Weight(BLayout::Nk) => {
                (0..hidden).flat_map(|n| (first..last).map(move |k| self.weight[k * hidden + n])).collect()
            }
            _ => self.weight[first * hidden..last * hidden].to_vec(),
        };
        let o: Vec<T> =
            self.o(reference::same_precision::<T>, |x| x).into_iter().map(|x| T::round(x as f32)).collect();
        Shard {
            q: columns(&self.q, p.spec.num_heads, heads.clone(), p.spec.head_dim),
            k: columns(&self.k, p.spec.num_heads_k, heads_k.clone(), p.spec.head_dim),
            v: columns(&self.v, p.spec.num_heads_k, heads_k, p.spec.head_dim_v),
            o: o.chunks(features).flat_map(|row| &row[first..last]).copied().collect(),
            weight,
        }
    }

    /// Output of the attention, `[rows, num_heads * head_dim_v]`, by one of the references.
    fn o<U: Copy>(&self, attention: Attention<U>, convert: fn(T) -> U) -> Vec<f64> {
        let convert = |values: &[T]| -> Vec<U> { values.iter().map(|&x| convert(x)).collect() };
        let p = &self.problem;
        let [heads, heads_k, dim, dim_v] =
            [p.spec.num_heads, p.spec.num_heads_k, p.spec.head_dim, p.spec.head_dim_v].map(|x| x as usize);
        let (mut o, mut row, mut key) = (Vec::new(), 0, 0);
        for sequence in p.sequences.iter() {
            let params = Params {
                batch: 1,
                num_heads: heads,
                num_heads_k: heads_k,
                head_dim: dim,
                head_dim_v: dim_v,
                seqlen_q: sequence.seqlen_q as usize,
                seqlen_k: sequence.seqlen_k as usize,
                softmax_scale: p.spec.softmax_scale.map_or(1.0 / (dim as f64).sqrt(), f64::from),
                mask: p.spec.mask,
            };
            let (rows, keys) = (params.seqlen_q, params.seqlen_k);
            let q = convert(&self.q[row * heads * dim..(row + rows) * heads * dim]);
            let k = convert(&self.k[key * heads_k * dim..(key + keys) * heads_k * dim]);
            let v = convert(&self.v[key * heads_k * dim_v..(key + keys) * heads_k * dim_v]);
            let (q, k, v) = (
                Tensor::dense(&q, rows, heads, dim),
                Tensor::dense(&k, keys, heads_k, dim),
                Tensor::dense(&v, keys, heads_k, dim_v),
            );
            o.extend(attention(&params, q, k, v).o);
            (row, key) = (row + rows, key + keys);
        }
        o
    }

    /// The layer in f64.
    pub(crate) fn exact(&self) -> Vec<f64> {
        let (weight, hidden) = (wide(&self.weight), self.problem.hidden as usize);
        let features = weight.len() / hidden;
        let o = self.o(reference::attention::<f64>, |x| x.into().into());
        let mut y = vec![0.0; o.len() / features * hidden];
        for (row, out) in o.chunks(features).zip(y.chunks_mut(hidden)) {
            for (x, w) in row.iter().zip(weight.chunks(hidden)) {
                out.iter_mut().zip(w).for_each(|(y, w)| *y += x * w);
            }
        }
        y
    }

    /// The layer in the operands' type: o rounded, products summed in f32 and rounded on each rank, rounded
    /// sums over the ranks.
    pub(crate) fn plain(&self) -> Vec<f64> {
        let p = &self.problem;
        let (features, hidden) = (p.in_features() as usize, p.hidden as usize);
        let mut y: Vec<T> = Vec::new();
        for rank in 0..p.ranks {
            let shard = Layer::shard(&self.with_plain_weight(), rank);
            let part = shard.o.chunks(features).flat_map(|row| {
                let mut sums = vec![0.0f32; hidden];
                for (&x, w) in row.iter().zip(shard.weight.chunks(hidden)) {
                    sums.iter_mut()
                        .zip(w)
                        .for_each(|(y, &w)| *y += Into::<f32>::into(x) * Into::<f32>::into(w));
                }
                sums.into_iter().map(T::round).collect::<Vec<_>>()
            });
            let part: Vec<T> = part.collect();
            y = match rank {
                0 => part,
                _ => y
                    .iter()
                    .zip(&part)
                    .map(|(&a, &b)| T::round(Into::<f32>::into(a) + Into::<f32>::into(b)))
                    .collect(),
            };
        }
        wide(&y)
    }

    /// The same layer with the weight as `[in_features, hidden]`.
    fn with_plain_weight(&self) -> Layer<T> {
        Layer {
            problem: self.problem.clone().with_linear(Linear::Weight(BLayout::Kn)),
            q: self.q.clone(),
            k: self.k.clone(),
            v: self.v.clone(),
            weight: self.weight.clone(),
        }
    }

    /// y of a device within the tolerance of `compare`.
    pub(crate) fn check(&self, y: &[u8]) -> Result<(), String> {
        let got = wide::<T>(&bytemuck::pod_collect_to_vec(y));
        let shape = [1, self.problem.rows() as usize, 1, self.problem.hidden as usize];
        check_o(&got, &self.exact(), &self.plain(), unit(self.problem.spec.dtype), shape)
    }
}
