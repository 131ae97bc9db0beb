//! Cases of the serving operator: each slot is an attention case of its own, scattered over a cache.

use fastattention::attention::host;
use fastattention::reference::Element;
use fastattention::runtime::{Buffer, Stream};
use fastattention::serving::{
    plan, Args, BlockTable, KvLayout, KvOrder, Problem, Report, ServingAttention, STATUS_WORDS,
};
use fastattention::DType;
use fastrand::Rng;
use half::{bf16, f16};

use crate::cases::{Case, Layout};
use crate::compare::softmax_error;
use crate::data::{operands, Operand};
use crate::run::{compared, Results};

/// A launch of several slots.
#[derive(Clone, Debug)]
pub struct ServingCase {
    /// What all slots have in common: `seqlen_q` are the query rows, or the most of them; `seqlen_k` is
    /// `max_keys`.
    pub base: Case,
    /// Query rows of each slot, if q is packed.
    pub rows: Option<Vec<u32>>,
    /// Keys of each slot.
    pub lengths: Vec<u32>,
    /// Where K and V lie.
    pub kv: KvLayout,
    /// Whether bits of a row shall depend on its own sequence alone.
    pub is_batch_invariant: bool,
}

/// What the device holds of a case.
#[derive(Clone, Debug)]
pub struct Tensors<T> {
    /// `[slots, rows, heads, dim]`, packed `[all rows, heads, dim]`.
    pub q: Vec<T>,
    /// First row of each slot, and the one behind the last; empty unless q is packed.
    pub row_starts: Vec<i32>,
    /// The cache; what no slot uses is NaN.
    pub k: Vec<T>,
    /// Likewise.
    pub v: Vec<T>,
    /// Of each slot.
    pub lengths: Vec<i32>,
    /// `[slots, width]`, -1 where no page is needed; or the list, -1 behind the pages of the last slot.
    pub table: Vec<i32>,
    /// First entry of each slot in that list, and the one behind the last; empty unless there is a list.
    pub page_starts: Vec<i32>,
    /// Of each slot: the logical sequence.
    pub slots: Vec<(Case, [Operand<T>; 3])>,
}

/// What a launch leaves.
#[derive(Clone, Debug)]
pub struct Output<T> {
    /// As q.
    pub o: Vec<T>,
    /// `[slots, heads, rows]`, packed `[heads, all rows]`.
    pub lse: Vec<f32>,
    /// Of the checks.
    pub report: Report,
}

impl ServingCase {
    /// The problem.
    pub fn problem(&self) -> Problem {
        let c = &self.base;
        let slots = u32::try_from(self.lengths.len()).expect("few slots");
        let mut problem = match &self.rows {
            Some(rows) => {
                let shape = [rows.iter().sum(), c.num_heads, c.head_dim];
                Problem::packed(c.dtype, shape, [slots, c.seqlen_q], c.seqlen_k, self.kv)
            }
            None => {
                let shape = [slots, c.seqlen_q, c.num_heads, c.head_dim];
                Problem::new(c.dtype, shape, c.seqlen_k, self.kv)
            }
        };
        problem = problem
            .with_num_heads_k(c.num_heads_k)
            .with_head_dim_v(c.head_dim_v)
            .with_mask(c.mask)
            .with_lse()
            .checked();
        problem.spec.softmax_scale = c.softmax_scale;
        problem.is_batch_invariant = self.is_batch_invariant;
        problem
    }

    /// Query rows of a slot.
    pub fn rows_of(&self, slot: usize) -> u32 {
        self.rows.as_ref().map_or(self.base.seqlen_q, |rows| rows[slot])
    }

    /// Random values, and pages in a random order.
    pub fn tensors<T: Element>(&self) -> Tensors<T> {
        self.filled(|_, case| operands(case))
    }

    /// Given values of q, k and v of each slot, `[rows or keys, heads, dim]`, and pages in a random order.
    pub fn tensors_of<T: Element>(&self, values: impl Fn(usize, &Case) -> [Vec<T>; 3]) -> Tensors<T> {
        self.filled(|slot, case| {
            let mut tensors = operands::<T>(case);
            for (tensor, data) in tensors.iter_mut().zip(values(slot, case)) {
                assert_eq!(tensor.data.len(), data.len(), "values of slot {slot}");
                tensor.data = data;
            }
            tensors
        })
    }

    /// The pages of each slot, in a random order.
    fn pages(&self, rng: &mut Rng) -> Vec<Vec<usize>> {
        let Some(pages) = self.kv.pages else { return vec![Vec::new(); self.lengths.len()] };
        let mut free: Vec<usize> = (0..pages.num_pages as usize).collect();
        rng.shuffle(&mut free);
        let of_slot = |keys: &u32| {
            let needed = keys.div_ceil(pages.page_size) as usize;
            free.split_off(free.len().checked_sub(needed).expect("enough pages"))
        };
        self.lengths.iter().map(of_slot).collect()
    }

    /// Block table and `page_starts` of these pages.
    fn lists(&self, pages: &[Vec<usize>]) -> [Vec<i32>; 2] {
        let number = |page: &usize| i32::try_from(*page).expect("few pages");
        let (mut table, mut starts) = (Vec::new(), Vec::new());
        let listed = self.kv.pages.map(|pages| pages.table);
        let width = self.problem().table_width() as usize;
        for own in pages {
            starts.push(number(&table.len()));
            table.extend(own.iter().map(number));
            if !matches!(listed, Some(BlockTable::Csr { .. })) {
                table.extend(std::iter::repeat_n(-1, width - own.len()));
            }
        }
        let Some(BlockTable::Csr { entries }) = listed else { return [table, Vec::new()] };
        starts.push(number(&table.len()));
        assert!(table.len() <= entries as usize, "a list with room for all pages");
        table.resize(entries as usize, -1);
        [table, starts]
    }

    fn filled<T: Element>(&self, operands: impl Fn(usize, &Case) -> [Operand<T>; 3]) -> Tensors<T> {
        let c = &self.base;
        let mut rng = Rng::with_seed(c.seed);
        let pages = self.pages(&mut rng);
        let [table, page_starts] = self.lists(&pages);
        let (places, keys) = match self.kv.pages {
            Some(pages) => (pages.num_pages as usize, pages.page_size as usize),
            None => (self.lengths.len(), c.seqlen_k as usize),
        };
        let heads = c.num_heads_k as usize;
        let cache = |dim: u32| vec![T::round(f32::NAN); places * keys * heads * dim as usize];
        let mut all = Tensors {
            q: Vec::new(),
            row_starts: Vec::from_iter(self.rows.is_some().then_some(0)),
            k: cache(c.head_dim),
            v: cache(c.head_dim_v),
            lengths: Vec::new(),
            table,
            page_starts,
            slots: Vec::new(),
        };
        for (slot, &length) in self.lengths.iter().enumerate() {
            let seed = c.seed.wrapping_mul(1000) + slot as u64;
            let seqlen_q = self.rows_of(slot);
            let case = Case { batch: 1, seqlen_q, seqlen_k: length, layout: Layout::Bsnd, seed, ..c.clone() };
            let tensors = operands(slot, &case);
            all.q.extend(&tensors[0].data);
            if let Some(last) = all.row_starts.last() {
                all.row_starts.push(last + i32::try_from(seqlen_q).expect("few rows"));
            }
            all.lengths.push(i32::try_from(length).expect("short"));
            for key in 0..length as usize {
                let place = pages[slot].get(key / keys).copied().unwrap_or(slot);
                let caches = [
                    (&mut all.k, &tensors[1].data, c.head_dim as usize, 8),
                    (&mut all.v, &tensors[2].data, c.head_dim_v as usize, 1),
                ];
                for (cache, own, dim, vllm_piece) in caches {
                    let (page, row) = (place, key % keys);
                    for (i, &element) in own[key * heads * dim..][..heads * dim].iter().enumerate() {
                        let (head, d) = (i / dim, i % dim);
                        let in_pieces = |x: usize| {
                            ((page * heads * dim / x + (head * dim + d) / x) * keys + row) * x + d % x
                        };
                        let at = match self.kv.order {
                            KvOrder::KeysFirst => ((page * keys + row) * heads + head) * dim + d,
                            KvOrder::HeadsFirst => ((page * heads + head) * keys + row) * dim + d,
                            KvOrder::Nz => in_pieces(16),
                            KvOrder::Vllm => in_pieces(vllm_piece),
                            other => unreachable!("no test of order {other:?}"),
                        };
                        cache[at] = element;
                    }
                }
            }
            all.slots.push((case, tensors));
        }
        all
    }
}

/// Launches a case on tensors, which a test may have spoilt.
///
/// # Errors
/// What the operator refuses.
pub fn launch<T: Element + host::Element>(
    operator: &ServingAttention,
    case: &ServingCase,
    tensors: &Tensors<T>,
) -> fastattention::Result<Output<T>> {
    let device = operator.device();
    let plan = plan(&case.problem(), device.soc())?;
    let bytes = |bytes: u64| usize::try_from(bytes).expect("test tensors are small").max(4);
    let alloc = |size: u64| Buffer::alloc(device, bytes(size));
    let upload = |data: &[T]| if data.is_empty() { alloc(0) } else { Buffer::from_slice(device, data) };
    let (q, k, v) = (upload(&tensors.q)?, upload(&tensors.k)?, upload(&tensors.v)?);
    let lengths = Buffer::from_slice(device, &tensors.lengths)?;
    let [.., o_bytes] = plan.operand_bytes();
    let (o, lse) = (alloc(o_bytes)?, alloc(plan.lse_bytes())?);
    let status = alloc(4 * (STATUS_WORDS * case.lengths.len()) as u64)?;
    let workspace = alloc(plan.workspace_bytes())?;
    let args = Args::new(&q, &k, &v, &lengths, &o, &workspace).with_lse(&lse).with_status(&status);
    let table =
        if tensors.table.is_empty() { alloc(0)? } else { Buffer::from_slice(device, &tensors.table)? };
    let args = if case.kv.pages.is_some() { args.with_block_table(&table) } else { args };
    let starts =
        if case.rows.is_some() { Some(Buffer::from_slice(device, &tensors.row_starts)?) } else { None };
    let args = starts.iter().fold(args, Args::with_row_starts);
    let listed = !tensors.page_starts.is_empty();
    let starts = listed.then(|| Buffer::from_slice(device, &tensors.page_starts)).transpose()?;
    let args = starts.iter().fold(args, Args::with_page_starts);
    let stream = Stream::new(device)?;
    operator.launch(&stream, &plan, args)?;
    stream.synchronize()?;
    let report = Report::from_words(&status.to_vec::<i32>()?)?;
    Ok(Output { o: o.to_vec()?, lse: lse.to_vec()?, report })
}

/// Runs a case and compares every slot.
///
/// # Errors
/// What the operator refuses; where and by how much a result is wrong.
pub fn check(operator: &ServingAttention, case: &ServingCase) -> Result<(), String> {
    match case.base.dtype {
        DType::F16 => check_typed::<f16>(operator, case),
        DType::Bf16 => check_typed::<bf16>(operator, case),
        other => Err(format!("no kernel for {other}")),
    }
}

fn check_typed<T: Element + host::Element>(
    operator: &ServingAttention,
    case: &ServingCase,
) -> Result<(), String> {
    let tensors = case.tensors::<T>();
    let out = launch(operator, case, &tensors).map_err(|e| e.to_string())?;
    if out.report != Report::default() {
        return Err(format!("{:?}", out.report));
    }
    let slots = (0..case.lengths.len()).filter(|&slot| case.rows_of(slot) > 0);
    for (slot, result) in slots.zip(results(case, &tensors, &out)) {
        let (rows, keys) = (case.rows_of(slot), case.lengths[slot]);
        result.check().map_err(|why| format!("slot {slot} with {rows} rows and {keys} keys: {why}"))?;
    }
    Ok(())
}

/// The results of each slot that has query rows beside both references.
pub fn results<T: Element + host::Element>(
    case: &ServingCase,
    tensors: &Tensors<T>,
    out: &Output<T>,
) -> Vec<Results> {
    let c = &case.base;
    let all_rows = match &case.rows {
        Some(rows) => rows.iter().sum(),
        None => c.seqlen_q,
    } as usize;
    let of_o = (c.num_heads * c.head_dim_v) as usize;
    let mut first = 0;
    let mut results = Vec::new();
    for (slot, (of_slot, operands)) in tensors.slots.iter().enumerate() {
        let rows = case.rows_of(slot) as usize;
        let (slot, row) = if case.rows.is_some() { (0, first) } else { (slot, 0) };
        let heads = c.num_heads as usize;
        let lse = (0..heads).flat_map(|head| {
            let at = (slot * heads + head) * all_rows + row;
            out.lse[at..at + rows].iter().copied()
        });
        let own = host::Output { o: out.o[first * of_o..(first + rows) * of_o].to_vec(), lse: lse.collect() };
        first += rows;
        if rows > 0 {
            results.push(compared(of_slot, operands, &own, &|keys| softmax_error(keys, 0.0), 0.0));
        }
    }
    results
}
