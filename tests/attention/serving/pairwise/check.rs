//! A combination on the device, with strides and allocations of its own, and its comparison with f64.

use fastattention::attention::host;
use fastattention::reference::Element;
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::serving::{plan, Args, Operand, Plan, Problem, Report, ServingAttention, STATUS_WORDS};
use fastattention::DType;
use fastattention_testkit::serving::{results, Output, Tensors};
use half::{bf16, f16};

use super::super::serving;
use super::features::{cache_shapes, order_and_gap, Allocations, Combination, QRows};
use super::strides::{both_starts, of_cache, of_rows, Gap};

type Result<T> = std::result::Result<T, String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A NaN of f16 and of bf16 that no kernel writes.
const UNTOUCHED: u16 = 0xFDAB;

pub(super) fn check(combination: &Combination) -> Result<()> {
    match combination.case.base.dtype {
        DType::Bf16 => check_typed::<bf16>(combination),
        _ => check_typed::<f16>(combination),
    }
}

fn check_typed<T: Element + host::Element>(combination: &Combination) -> Result<()> {
    let case = &combination.case;
    let mut tensors = case.tensors::<T>();
    if combination.q_rows == QRows::Repeated {
        repeat_head(combination, &mut tensors);
    }
    let out = launch(combination, &tensors)?;
    if out.report != Report::default() {
        return Err(format!("{:?}", out.report));
    }
    let slots = (0..case.lengths.len()).filter(|&slot| case.rows_of(slot) > 0);
    for (slot, mut result) in slots.zip(results(case, &tensors, &out)) {
        if !combination.want_lse {
            // None was written; only o is compared.
            result.lse.clone_from(&result.exact.lse);
        }
        let (rows, keys) = (case.rows_of(slot), case.lengths[slot]);
        result.check().map_err(|why| format!("slot {slot} with {rows} rows and {keys} keys: {why}"))?;
    }
    Ok(())
}

/// All heads get the query rows of the first.
fn repeat_head<T: Element>(combination: &Combination, tensors: &mut Tensors<T>) {
    let dim = combination.case.base.head_dim as usize;
    let of_row = combination.case.base.num_heads as usize * dim;
    let slots = tensors.slots.iter_mut().map(|(_, [q, ..])| &mut q.data);
    for data in slots.chain([&mut tensors.q]) {
        for row in data.chunks_mut(of_row) {
            (dim..of_row).for_each(|at| row[at] = row[at % dim]);
        }
    }
}

/// The tensor with the strides of a problem, NaN between its rows.
fn laid_out<T: Element>(
    data: &[T],
    extent: [u64; 3],
    dim: u32,
    strides: [[u64; 3]; 2],
    bytes: u64,
) -> Vec<T> {
    let mut all = vec![T::round(f32::NAN); bytes as usize / size_of::<T>()];
    for [from, to] in both_starts(extent, strides[0], strides[1]) {
        all[to..to + dim as usize].copy_from_slice(&data[from..from + dim as usize]);
    }
    all
}

/// q, k and v as the problem lays them out.
fn inputs<T: Element>(combination: &Combination, plan: &Plan, tensors: &Tensors<T>) -> [Vec<T>; 3] {
    let (problem, c) = (plan.problem(), &combination.case.base);
    let [q_bytes, k_bytes, v_bytes, _] = plan.operand_bytes();
    let (slots, rows) = extent_of_rows(problem);
    let own = of_rows([rows, c.num_heads, c.head_dim], Gap::None);
    let q = laid_out(
        &tensors.q,
        [slots, rows.into(), c.num_heads.into()],
        c.head_dim,
        [own, problem.q_stride.unwrap_or(own)],
        q_bytes,
    );
    let (places, keys) = problem
        .kv
        .pages
        .map_or((problem.slots, problem.max_keys), |pages| (pages.num_pages, pages.page_size));
    let (is_by_head, gap) = order_and_gap(problem.kv.order, Gap::None);
    let cache = |data: &[T], [heads, dim]: [u32; 2], given: Option<[u64; 3]>, bytes| {
        let dense = of_cache([keys, heads, dim], is_by_head, gap);
        let extent = [places, keys, heads].map(u64::from);
        laid_out(data, extent, dim, [dense, given.unwrap_or(dense)], bytes)
    };
    let [of_k, of_v] = cache_shapes(&combination.case);
    let k = cache(&tensors.k, of_k, problem.k_stride, k_bytes);
    [q, k, cache(&tensors.v, of_v, problem.v_stride, v_bytes)]
}

/// Slots and rows of q, as strides take them.
fn extent_of_rows(problem: &Problem) -> (u64, u32) {
    problem.total_rows.map_or((problem.slots.into(), problem.rows), |rows| (1, rows))
}

/// Parts of one buffer behind each other, or a buffer for each.
struct Parts(Vec<(Buffer, usize)>);

impl Parts {
    fn new<T: bytemuck::NoUninit + Default>(
        device: &Device,
        parts: &[&[T]],
        allocations: Allocations,
    ) -> Result<Self> {
        let upload = |data: &[T]| {
            let data = if data.is_empty() { vec![T::default()] } else { data.to_vec() };
            Buffer::from_slice(device, &data).map_err(text)
        };
        if allocations == Allocations::Own {
            return Ok(Self(parts.iter().map(|part| Ok((upload(part)?, 0))).collect::<Result<_>>()?));
        }
        let buffer = upload(&parts.concat())?;
        let mut at = 0;
        let places = parts.iter().map(|part| {
            at += size_of_val(*part);
            (buffer.clone(), at - size_of_val(*part))
        });
        Ok(Self(places.collect()))
    }

    fn at(&self, part: usize) -> Operand<'_> {
        let (buffer, offset_bytes) = &self.0[part];
        Operand::at(buffer, *offset_bytes)
    }
}

fn launch<T: Element + host::Element>(combination: &Combination, tensors: &Tensors<T>) -> Result<Output<T>> {
    let operator: ServingAttention = serving(|config| {
        config.threads = 1;
        config.seed = combination.interleaving;
    });
    let device = operator.device();
    let plan = plan(&combination.problem(), device.soc()).map_err(text)?;
    let problem = plan.problem();
    let bits = inputs(combination, &plan, tensors).map(|data| bytemuck::cast_vec::<T, u16>(data));
    let own = Parts::new(device, &[&bits[0]], Allocations::Own)?;
    let cache = Parts::new(device, &[&bits[1], &bits[2]], combination.allocations)?;
    let lists: [&[i32]; 4] = [&tensors.row_starts, &tensors.lengths, &tensors.table, &tensors.page_starts];
    let lists = Parts::new(device, &lists, combination.allocations)?;
    let [.., o_bytes] = plan.operand_bytes();
    let filled = |bytes: u64| Buffer::from_slice(device, &vec![UNTOUCHED; (bytes as usize / 2).max(2)]);
    let (o, lse) = (filled(o_bytes).map_err(text)?, filled(plan.lse_bytes()).map_err(text)?);
    let status =
        Buffer::from_slice(device, &vec![0i32; STATUS_WORDS * tensors.lengths.len()]).map_err(text)?;
    let workspace = Buffer::alloc(device, plan.workspace_bytes() as usize).map_err(text)?;
    let mut args = Args::new(own.at(0), cache.at(0), cache.at(1), lists.at(1), &o, &workspace);
    args.row_starts = problem.total_rows.map(|_| lists.at(0));
    args.block_table = problem.kv.pages.map(|_| lists.at(2));
    args.page_starts = (!tensors.page_starts.is_empty()).then(|| lists.at(3));
    args.lse = combination.want_lse.then_some((&lse).into());
    args.status = combination.is_checked.then_some((&status).into());
    let stream = Stream::new(device).map_err(text)?;
    operator.launch(&stream, &plan, args).map_err(text)?;
    stream.synchronize().map_err(text)?;
    let report = Report::from_words(&status.to_vec::<i32>().map_err(text)?).map_err(text)?;
    let o = gathered(combination, problem, &o.to_vec::<u16>().map_err(text)?)?;
    Ok(Output { o: bytemuck::cast_vec(o), lse: lse.to_vec().map_err(text)?, report })
}

/// o without its gaps, which nobody has written to.
fn gathered(combination: &Combination, problem: &Problem, all: &[u16]) -> Result<Vec<u16>> {
    let c = &combination.case.base;
    let (slots, rows) = extent_of_rows(problem);
    let dense = of_rows([rows, c.num_heads, c.head_dim_v], Gap::None);
    let dim = c.head_dim_v as usize;
    let mut o = vec![0; (slots * dense[0]) as usize];
    let mut rest = all.to_vec();
    let strides = [problem.o_stride.unwrap_or(dense), dense];
    for [from, to] in both_starts([slots, rows.into(), c.num_heads.into()], strides[0], strides[1]) {
        o[to..to + dim].copy_from_slice(&all[from..from + dim]);
        rest[from..from + dim].fill(UNTOUCHED);
    }
    match rest.iter().position(|bits| *bits != UNTOUCHED) {
        Some(at) => Err(format!("o[{at}] lies between rows, but was written")),
        None => Ok(o),
    }
}
