//! Planning: a problem becomes launches of kernels.

use std::fmt;

use super::choice::{self, Choice, Splits};
use super::kernels::{Kernel, COMBINE, MAX_GRID_YZ};
use super::limits;
use super::params::{Launch, Params};
use super::request::{self, Request, Slots};
use super::DeviceFacts;
use crate::attention::Problem;
use crate::serving;
use crate::spec::{Pages, Reason, Shape};
use crate::Result;

/// Plans a problem for a GPU. Nothing is called or allocated on the device, so a plan can be made where none
/// is.
///
/// ```
/// use fastattention::attention::{Mask, Problem};
/// use fastattention::cuda::{plan, DeviceFacts};
/// use fastattention::DType;
///
/// let problem = Problem::new(DType::F16, [1, 2048, 32, 128]).with_num_heads_k(8).with_mask(Mask::Causal);
/// let plan = plan(&problem, &DeviceFacts::v100())?;
/// assert!(plan.to_string().contains("flash_fwd_f16_d128"));
/// # Ok::<(), fastattention::Error>(())
/// ```
///
/// # Errors
/// One error with **all** reasons, each with the argument, its value and the nearest supported one. The kind
/// is `InvalidArgument` if any of them can never be right, else `Unsupported`.
pub fn plan(problem: &Problem, facts: &DeviceFacts) -> Result<Plan> {
    let request = Request::new(problem);
    let choice = choice::choose(&request.shape, facts);
    Reason::refuse(&format!("attention on {}", facts.name), &limits::reasons(&request, facts, choice))?;
    Ok(Plan::new(request, facts, choice))
}

/// Plans prompts, decode and speculative steps of slots for a GPU: a class of shapes, whose rows, lengths and
/// pages every launch finds in device memory ([`Args::with_row_starts`](super::Args::with_row_starts),
/// [`with_lengths`](super::Args::with_lengths), [`with_block_table`](super::Args::with_block_table)). What
/// [`serving`](crate::serving) says of operands, empty slots and wrong numbers holds here too. Unlike there,
/// bits do not depend on other slots; batch invariance by its name, `status`, and pages that are no power of
/// two of at least 8 keys have no kernels.
///
/// ```
/// use fastattention::cuda::{plan_serving, DeviceFacts};
/// use fastattention::serving::{KvLayout, Problem};
/// use fastattention::DType;
///
/// let pages = KvLayout::paged(16, 2048);
/// let problem = Problem::new(DType::F16, [8, 1, 32, 128], 4096, pages).with_num_heads_k(8);
/// let plan = plan_serving(&problem, &DeviceFacts::v100())?;
/// assert!(plan.to_string().contains("flash_decode_f16_d128_r8"));
/// # Ok::<(), fastattention::Error>(())
/// ```
///
/// # Errors
/// As for [`plan`].
pub fn plan_serving(problem: &serving::Problem, facts: &DeviceFacts) -> Result<Plan> {
    let request = Request::serving(problem);
    let choice = choice::for_slots(&request.shape, problem.total_rows.is_some());
    let mut reasons = limits::reasons(&request, facts, choice);
    request::reasons(problem, &mut reasons);
    Reason::refuse(&format!("serving on {}", facts.name), &reasons)?;
    Ok(Plan::new(request, facts, choice))
}

/// How a problem runs on a GPU: made once, launched as often as wanted, on any device that has the facts it
/// was made for.
#[derive(Clone, Debug)]
pub struct Plan {
    request: Request,
    facts: DeviceFacts,
    work: Kernels,
    scratch: Scratch,
}

/// Powers of two in a page that holds every key.
const ANY_KEY: u32 = 31;

/// What is launched: nothing where there is no row.
#[derive(Clone, Copy, Debug, Default)]
struct Kernels {
    many: Option<&'static Kernel>,
    few: Option<Few>,
}

/// A decode kernel, the most rows of a sequence that it takes, and its splits.
#[derive(Clone, Copy, Debug)]
struct Few {
    kernel: &'static Kernel,
    rows: u32,
    splits: Splits,
}

/// Where things lie in the workspace, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Scratch {
    /// Of each part of each row, f32 `[batch, num_heads, rows, splits, head_dim_v]`, at 0.
    partial_o_bytes: u64,
    /// The same without head dims, behind it.
    partial_lse_bytes: u64,
    /// Kernels always write lse: here if nobody wants it.
    lse_bytes: u64,
}

/// Device addresses of the operands of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Queries.
    pub q: u64,
    /// Keys.
    pub k: u64,
    /// Values.
    pub v: u64,
    /// Output.
    pub o: u64,
    /// Log-sum-exp; does not matter unless the plan writes it.
    pub lse: u64,
    /// First row of each slot and the one behind the last; does not matter unless q is packed.
    pub row_starts: u64,
    /// Keys of each slot; does not matter unless the plan is of slots.
    pub lengths: u64,
    /// Pages of each slot; does not matter unless the plan is of slots with pages.
    pub block_table: u64,
    /// Of [`Plan::workspace_bytes`] bytes; does not matter if that is 0.
    pub workspace: u64,
}

impl Plan {
    fn new(request: Request, facts: &DeviceFacts, choice: Option<Choice>) -> Self {
        let (shape, is_packed) = (request.shape, request.total_rows().is_some());
        let is_empty = shape.batch == 0 || shape.seqlen_q == 0 || request.all_rows() == 0;
        let Choice { many, few, few_rows } = choice.filter(|_| !is_empty).unwrap_or_default();
        let few = few.map(|kernel| {
            let splits = Splits::new(&Shape { seqlen_q: few_rows, ..shape }, is_packed, kernel, facts);
            Few { kernel, rows: few_rows, splits }
        });
        let heads = u64::from(shape.num_heads);
        let mut scratch = Scratch::default();
        if let Some(Few { rows, splits: Splits { count: count @ 2.., .. }, .. }) = few {
            let parts = u64::from(shape.batch) * heads * u64::from(rows) * u64::from(count);
            scratch.partial_o_bytes = 4 * parts * u64::from(shape.head_dim_v);
            scratch.partial_lse_bytes = 4 * parts;
        }
        scratch.lse_bytes = if shape.want_lse { 0 } else { 4 * heads * request.all_rows() };
        Self { request, facts: facts.clone(), work: Kernels { many, few }, scratch }
    }

    /// The problem with every default filled in. Of slots: the batch are the slots, `seqlen_q` their rows,
    /// or the most of them, and `seqlen_k` the most keys; the strides of k and v are those of pages, if there
    /// are pages. So what the operands take is said by [`Self::operand_bytes`].
    pub fn shape(&self) -> &Shape {
        &self.request.shape
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// What the plan was made for.
    pub fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    /// Bytes of the workspace that a launch needs; 0 if it needs none.
    pub fn workspace_bytes(&self) -> u64 {
        let Scratch { partial_o_bytes, partial_lse_bytes, lse_bytes } = self.scratch;
        partial_o_bytes + partial_lse_bytes + lse_bytes
    }

    /// Bytes that the buffers of q, k, v, o and lse must hold, in this order.
    pub fn operand_bytes(&self) -> [u64; 5] {
        self.request.footprints().map(|operand| u64::try_from(operand.span).unwrap_or(u64::MAX))
    }

    /// Parts into which the keys are split; 1 if they are not. Of packed q: those of slots of few rows.
    pub fn num_splits(&self) -> u32 {
        self.work.few.map_or(1, |few| few.splits.count)
    }

    /// Name of the first kernel; `None` if there is nothing to do.
    pub fn kernel(&self) -> Option<&'static str> {
        self.work.many.or(self.work.few.map(|few| few.kernel)).map(|kernel| kernel.text.name)
    }

    /// What is launched, in this order: a kernel for many rows, one for few rows and another that joins its
    /// parts. Where q is packed each slot is work of one of the first two, and both may be there.
    pub fn launches(&self, at: &Addresses) -> impl Iterator<Item = Launch> {
        let at = Addresses { lse: self.lse_address(at), ..*at };
        let many = self.work.many.map(|kernel| self.forward(kernel, &at));
        let few = self.work.few.map(|few| (few, self.decode_params(few, &at)));
        let decode = few.clone().map(|(few, params)| self.decode(few, params));
        let joined = few.filter(|(few, _)| few.splits.count > 1);
        let joined = joined.map(|(few, params)| self.combine(few, params));
        [many, decode, joined].into_iter().flatten()
    }

    fn lse_address(&self, at: &Addresses) -> u64 {
        if self.shape().want_lse {
            at.lse
        } else {
            at.workspace.wrapping_add(self.scratch.partial_o_bytes + self.scratch.partial_lse_bytes)
        }
    }

    fn forward(&self, kernel: &'static Kernel, at: &Addresses) -> Launch {
        let s = self.shape();
        let params = Params::default().u64s(at.tensors()).u64s([self.row_starts(at), 0]);
        let params = params.f32(self.scale_log2());
        let params = params.u32s([s.seqlen_q, s.seqlen_k, s.num_heads_k, s.head_dim, s.head_dim_v]);
        let mut params = self.strides(params.u32s(self.window())).u32s([0]);
        if self.request.slots.is_some() {
            let (lists, sizes) = self.places(at);
            let few_rows = self.work.few.map_or(0, |few| few.rows);
            params = params.u64s(lists).u32s(sizes).u32s([few_rows]);
        }
        let rows = self.request.total_rows().map_or(s.seqlen_q, |total| total.min(s.seqlen_q));
        let grid = [s.num_heads, rows.div_ceil(kernel.rows), s.batch * kernel.column_blocks()];
        Launch { text: &kernel.text, grid, shared_bytes: kernel.shared_bytes, params }
    }

    fn decode(&self, Few { kernel, rows, splits }: Few, params: Params) -> Launch {
        let s = Shape { seqlen_q: rows, ..*self.shape() };
        let grid = [s.num_heads_k * choice::row_blocks(&s, kernel), splits.count, s.batch];
        Launch { text: &kernel.text, grid, shared_bytes: kernel.shared_bytes, params }
    }

    fn combine(&self, Few { kernel, rows, splits }: Few, params: Params) -> Launch {
        let s = self.shape();
        let join = &COMBINE[usize::from(self.request.total_rows().is_some())];
        let warps_of_row = splits.warps_of_row();
        let heads = s.num_heads.div_ceil(choice::WARPS / warps_of_row);
        let grid = [heads, rows * s.head_dim_v.div_ceil(join.columns), s.batch];
        debug_assert!(grid[1] <= MAX_GRID_YZ && grid[2] <= MAX_GRID_YZ);
        Launch {
            text: &join.text,
            grid,
            shared_bytes: join.shared_bytes,
            params: params.u32s([splits.count, kernel.rows, warps_of_row]),
        }
    }

    /// Addresses of lengths and block table; entries of a row of it, pages, and powers of two in a page.
    /// Without slots there are no lengths, and without pages no table: a slot is a page that holds all keys.
    fn places(&self, at: &Addresses) -> ([u64; 2], [u32; 3]) {
        match self.request.slots {
            None => ([0, 0], [0, 0, ANY_KEY]),
            Some(Slots { pages: None, .. }) => ([at.lengths, 0], [0, self.shape().batch, ANY_KEY]),
            Some(Slots { pages: Some(pages), table_width, .. }) => (
                [at.lengths, at.block_table],
                [table_width, pages.num_pages, pages.page_size.trailing_zeros()],
            ),
        }
    }

    fn row_starts(&self, at: &Addresses) -> u64 {
        self.request.total_rows().map_or(0, |_| at.row_starts)
    }

    fn decode_params(&self, Few { rows, splits, .. }: Few, at: &Addresses) -> Params {
        let s = self.shape();
        let partial_lse = at.workspace.wrapping_add(self.scratch.partial_o_bytes);
        let (lists, sizes) = self.places(at);
        let params = Params::default().u64s(at.tensors()).u64s([at.workspace, partial_lse]);
        let params = params.u64s([self.row_starts(at), 0]).u64s(lists);
        let params = params.f32(self.scale_log2()).u32s([rows, s.seqlen_k, s.num_heads, s.num_heads_k]);
        let params = params.u32s([s.head_dim, s.head_dim_v]).u32s(self.window());
        // The parts of a sequence are even, but for the least keys of one: known here where lengths are. An
        // even share of the longest slot may have fewer than the usual least.
        let least = match self.request.slots {
            Some(_) => choice::MIN_KEYS_OF_SPLIT.min(splits.keys),
            None => splits.keys,
        };
        self.strides(params.u32s(sizes).u32s([least])).u32s([s.seqlen_q])
    }

    /// The size of the scale in powers of two; kernels want one above 0, and get the sign with
    /// [`Self::strides`].
    fn scale_log2(&self) -> f32 {
        let scale = self.shape().softmax_scale.abs();
        (if scale == 0.0 { 1.0 } else { scale }) * std::f32::consts::LOG2_E
    }

    /// Keys that a row sees on both sides; all bits for no limit.
    fn window(&self) -> [u32; 2] {
        let (left, right) = self.shape().limits();
        [left, right].map(|limit| limit.unwrap_or(u32::MAX))
    }

    /// Strides, and what makes a scale of any sign: a mask and a pattern for all of q.
    fn strides(&self, params: Params) -> Params {
        let s = self.shape();
        let size = s.dtype.size_bytes() as u64;
        // The stride of a dimension of one, or of none, can be anything.
        let bytes = self
            .request
            .tensors
            .map(|tensor| [0, 1, 2].map(|i| if tensor.extent[i] > 1 { tensor.stride[i] * size } else { 0 }));
        let rows = bytes.map(|[_, row, _]| u32::try_from(row).expect("the limits were checked"));
        let of_head = u64::from(self.request.total_rows().unwrap_or(s.seqlen_q));
        let lse = [u64::from(s.num_heads) * of_head, of_head];
        let keep = if s.softmax_scale == 0.0 { 0 } else { u32::MAX };
        let flip = if s.softmax_scale < 0.0 { 0x8000_8000 } else { 0 };
        let params = params.u32s(rows).u64s(bytes.map(|[batch, ..]| batch));
        params.u64s(bytes.map(|[.., head]| head)).u64s(lse).u32s([keep, flip])
    }
}

impl Addresses {
    fn tensors(&self) -> [u64; 5] {
        [self.q, self.k, self.v, self.o, self.lse]
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "attention {} on {}", self.shape().dtype, self.facts)?;
        writeln!(f, "problem   {}", self.shape())?;
        if let Some(Slots { pages, table_width, total_rows }) = self.request.slots {
            let packed = total_rows.map(|total| format!("their rows of {total}, ")).unwrap_or_default();
            let paged = |pages: Pages| {
                let Pages { num_pages, page_size, .. } = pages;
                format!(
                    "lengths and {table_width} pages of each in device memory, {num_pages} pages of \
                     {page_size} keys"
                )
            };
            let places = pages.map_or("lengths in device memory".into(), paged);
            writeln!(f, "slots     {packed}{places}")?;
        }
        for launch in self.launches(&Addresses::default()) {
            let [x, y, z] = launch.grid;
            writeln!(
                f,
                "{}   {}, {x} x {y} x {z} blocks of {} threads, {} bytes of shared memory each",
                if COMBINE.iter().any(|join| join.text.name == launch.kernel()) {
                    "joins  "
                } else {
                    "kernel "
                },
                launch.kernel(),
                launch.threads(),
                launch.shared_bytes
            )?;
        }
        if let Kernels { many: Some(_), few: Some(Few { rows, .. }) } = self.work {
            writeln!(f, "rows      slots of at most {rows} rows are work of the second kernel")?;
        }
        if let Some(Few { splits: Splits { count: count @ 2.., keys }, .. }) = self.work.few {
            writeln!(f, "splits    {count} of at most {keys} keys")?;
        }
        let Scratch { partial_o_bytes, partial_lse_bytes, lse_bytes } = self.scratch;
        writeln!(
            f,
            "workspace {} bytes: o of the parts {partial_o_bytes}, their lse {partial_lse_bytes}, lse \
             {lse_bytes}",
            self.workspace_bytes()
        )
    }
}

#[cfg(test)]
mod tests;
