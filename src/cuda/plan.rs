//! Planning: a problem becomes launches of kernels.

use std::fmt;

use super::choice::{self, Choice, Splits};
use super::kernels::{COMBINE, COMBINE_COLUMNS, COMBINE_SHARED_BYTES, MAX_GRID_YZ};
use super::limits;
use super::params::{Launch, Params};
use super::request::{self, Request, Slots};
use super::DeviceFacts;
use crate::attention::Problem;
use crate::serving;
use crate::spec::{Reason, Shape};
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

/// Plans decode or a speculative step of slots for a GPU: a class of shapes, whose lengths and pages
/// every launch finds in device memory ([`Args::with_lengths`](super::Args::with_lengths),
/// [`Args::with_block_table`](super::Args::with_block_table)). What [`serving`](crate::serving) says of
/// operands, empty slots and wrong numbers holds here too. Unlike there, bits do not depend on the lengths
/// of other slots; packed q, more than 16 rows of a slot, batch invariance by its name, `status`, and pages
/// that are no power of two of at least 8 keys have no kernels.
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
    let choice = choice::for_slots(&request.shape);
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
    work: Work,
    scratch: Scratch,
}

/// Entries of a row of the block table, pages, and powers of two in a page, as kernels read a cache without
/// pages.
const NO_PAGES: [u32; 3] = [0, 0, 31];

/// What is launched.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// There is no row.
    Nothing,
    Rows(Choice),
    /// A decode kernel, and its splits.
    Split(Choice, Splits),
}

/// Where things lie in the workspace, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Scratch {
    /// Of each part of each row, f32 `[batch, num_heads, seqlen_q, splits, head_dim_v]`, at 0.
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
    /// Keys of each slot; does not matter unless the plan is of slots.
    pub lengths: u64,
    /// Pages of each slot; does not matter unless the plan is of slots with pages.
    pub block_table: u64,
    /// Of [`Plan::workspace_bytes`] bytes; does not matter if that is 0.
    pub workspace: u64,
}

impl Plan {
    fn new(request: Request, facts: &DeviceFacts, choice: Option<Choice>) -> Self {
        let shape = request.shape;
        let is_empty = shape.batch == 0 || shape.seqlen_q == 0;
        let work = match choice.filter(|_| !is_empty) {
            None => Work::Nothing,
            Some(choice @ Choice::Forward(_)) => Work::Rows(choice),
            Some(choice @ Choice::Decode(kernel)) => Work::Split(choice, Splits::new(&shape, kernel, facts)),
        };
        let rows = u64::from(shape.batch) * u64::from(shape.num_heads) * u64::from(shape.seqlen_q);
        let mut scratch = Scratch::default();
        if let Work::Split(_, Splits { count: 2.., .. }) = work {
            let parts = rows * u64::from(work.splits().count);
            scratch.partial_o_bytes = 4 * parts * u64::from(shape.head_dim_v);
            scratch.partial_lse_bytes = 4 * parts;
        }
        scratch.lse_bytes = if shape.want_lse { 0 } else { 4 * rows };
        Self { request, facts: facts.clone(), work, scratch }
    }

    /// The problem with every default filled in. Of slots: the batch are the slots, `seqlen_q` their rows and
    /// `seqlen_k` the most keys; the strides of k and v are those of pages, if there are pages.
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

    /// Parts into which the keys are split; 1 if they are not.
    pub fn num_splits(&self) -> u32 {
        self.work.splits().count
    }

    /// Name of the kernel; `None` if there is nothing to do.
    pub fn kernel(&self) -> Option<&'static str> {
        self.work.choice().map(|choice| choice.kernel().text.name)
    }

    /// What is launched, in this order: no kernel, one, or one and another that joins its parts.
    pub fn launches(&self, at: &Addresses) -> impl Iterator<Item = Launch> {
        let at = Addresses { lse: self.lse_address(at), ..*at };
        let (first, second) = match self.work {
            Work::Nothing => (None, None),
            Work::Rows(choice) => (Some(self.forward(choice, &at)), None),
            Work::Split(choice, splits) => {
                let params = self.decode_params(splits, &at);
                let joined = (splits.count > 1).then(|| self.combine(choice, splits, params.clone()));
                (Some(self.decode(choice, splits, params)), joined)
            }
        };
        [first, second].into_iter().flatten()
    }

    fn lse_address(&self, at: &Addresses) -> u64 {
        if self.shape().want_lse {
            at.lse
        } else {
            at.workspace.wrapping_add(self.scratch.partial_o_bytes + self.scratch.partial_lse_bytes)
        }
    }

    fn forward(&self, choice: Choice, at: &Addresses) -> Launch {
        let (s, kernel) = (self.shape(), choice.kernel());
        let params = Params::default().u64s(at.tensors()).u64s([0, 0]).f32(self.scale_log2());
        let params = params.u32s([s.seqlen_q, s.seqlen_k, s.num_heads_k, s.head_dim, s.head_dim_v]);
        let params = self.strides(params.u32s(self.window())).u32s([0]);
        let row_blocks = s.seqlen_q.div_ceil(kernel.rows);
        let grid = [s.num_heads, row_blocks, s.batch * kernel.column_blocks()];
        Launch { text: &kernel.text, grid, shared_bytes: kernel.shared_bytes, params }
    }

    fn decode(&self, choice: Choice, splits: Splits, params: Params) -> Launch {
        let (s, kernel) = (self.shape(), choice.kernel());
        let grid = [s.num_heads_k * choice::row_blocks(s, kernel), splits.count, s.batch];
        Launch { text: &kernel.text, grid, shared_bytes: kernel.shared_bytes, params }
    }

    fn combine(&self, choice: Choice, splits: Splits, params: Params) -> Launch {
        let s = self.shape();
        let grid = [s.num_heads, s.seqlen_q * s.head_dim_v.div_ceil(COMBINE_COLUMNS), s.batch];
        debug_assert!(grid[1] <= MAX_GRID_YZ && grid[2] <= MAX_GRID_YZ);
        Launch {
            text: &COMBINE,
            grid,
            shared_bytes: COMBINE_SHARED_BYTES,
            params: params.u32s([splits.count, choice.kernel().rows]),
        }
    }

    /// Without slots there are no lengths, and without pages no table and a page that holds all keys.
    fn decode_params(&self, splits: Splits, at: &Addresses) -> Params {
        let s = self.shape();
        let partial_lse = at.workspace.wrapping_add(self.scratch.partial_o_bytes);
        let (lengths, (block_table, sizes)) = match self.request.slots {
            None => (0, (0, NO_PAGES)),
            Some(Slots { pages: None, .. }) => (at.lengths, (0, NO_PAGES)),
            Some(Slots { pages: Some(pages), table_width }) => {
                let sizes = [table_width, pages.num_pages, pages.page_size.trailing_zeros()];
                (at.lengths, (at.block_table, sizes))
            }
        };
        let params = Params::default().u64s(at.tensors()).u64s([at.workspace, partial_lse]);
        let params = params.u64s([0, 0, lengths, block_table]);
        let params = params.f32(self.scale_log2()).u32s([s.seqlen_q, s.seqlen_k, s.num_heads, s.num_heads_k]);
        let params = params.u32s([s.head_dim, s.head_dim_v]).u32s(self.window());
        // The parts of a sequence are even, but for the least keys of one: known here where lengths are. An
        // even share of the longest slot may have fewer than the usual least.
        let least = match self.request.slots {
            Some(_) => choice::MIN_KEYS_OF_SPLIT.min(splits.keys),
            None => splits.keys,
        };
        self.strides(params.u32s(sizes).u32s([least]))
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
        let lse = [u64::from(s.num_heads) * u64::from(s.seqlen_q), u64::from(s.seqlen_q)];
        let keep = if s.softmax_scale == 0.0 { 0 } else { u32::MAX };
        let flip = if s.softmax_scale < 0.0 { 0x8000_8000 } else { 0 };
        let params = params.u32s(rows).u64s(bytes.map(|[batch, ..]| batch));
        params.u64s(bytes.map(|[.., head]| head)).u64s(lse).u32s([keep, flip])
    }
}

impl Work {
    fn choice(self) -> Option<Choice> {
        match self {
            Work::Nothing => None,
            Work::Rows(choice) | Work::Split(choice, _) => Some(choice),
        }
    }

    fn splits(self) -> Splits {
        match self {
            Work::Split(_, splits) => splits,
            _ => Splits { count: 1, keys: 0 },
        }
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
        match self.request.slots {
            None => {}
            Some(Slots { pages: None, .. }) => writeln!(f, "slots     lengths in device memory")?,
            Some(Slots { pages: Some(pages), table_width }) => writeln!(
                f,
                "slots     lengths and {table_width} pages of each in device memory, {} pages of {} keys",
                pages.num_pages, pages.page_size
            )?,
        }
        let mut is_first = true;
        for launch in self.launches(&Addresses::default()) {
            let [x, y, z] = launch.grid;
            writeln!(
                f,
                "{}   {}, {x} x {y} x {z} blocks of {} threads, {} bytes of shared memory each",
                if is_first { "kernel " } else { "joins  " },
                launch.kernel(),
                launch.threads(),
                launch.shared_bytes
            )?;
            is_first = false;
        }
        if let Work::Split(_, Splits { count: count @ 2.., keys }) = self.work {
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
