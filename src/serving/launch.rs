//! Launching a plan.

use super::{kernel_name, FlashDecodeTilingData, Operand, Plan, STATUS_WORDS};
use crate::attention::operands::{given, written_given, WORKSPACE_ALIGNMENT};
use crate::attention::{before_first_launch, Flags, SELF_TEST_KERNEL};
use crate::kernels::{self, operands::FlashDecodeOperands};
use crate::runtime::{
    refuse_with, tell, Device, Kernel, Module, Named, NamedList, PlacedTilingData, Schedule, Stream,
};
use crate::{DType, Result};

/// The operator on one device.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct ServingAttention {
    device: Device,
    f16: Kernel,
    bf16: Kernel,
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
///
/// `o`, `lse`, `status` and `workspace` share no byte with each other or with an input. Inputs may overlap: k
/// and v may be parts of one allocation.
///
/// `lengths`, `row_starts` and `page_starts` are best parts of one allocation: scalar units read them, slot
/// by slot, and two allocations may share places of their caches.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// Queries.
    pub q: Operand<'a>,
    /// Keys.
    pub k: Operand<'a>,
    /// Values.
    pub v: Operand<'a>,
    /// First row of each slot and the row behind the last one's, i32 `[slots + 1]`, in device memory; given
    /// exactly when q is packed.
    pub row_starts: Option<Operand<'a>>,
    /// Keys of each slot, i32 `[slots]`, in device memory.
    pub lengths: Operand<'a>,
    /// Pages of each slot, i32 or u32 `[slots, width]` or one list, in device memory; given exactly when K
    /// and V are paged.
    pub block_table: Option<Operand<'a>>,
    /// First entry of each slot in the list of pages and the one behind the last one's, i32 `[slots + 1]`, in
    /// device memory; given exactly when the block table is one list.
    pub page_starts: Option<Operand<'a>>,
    /// Output.
    pub o: Operand<'a>,
    /// Log-sum-exp, f32 `[slots, num_heads, rows]`, of packed q `[num_heads, total_rows]`; given exactly when
    /// the plan writes it.
    pub lse: Option<Operand<'a>>,
    /// What is wrong with rows, lengths and pages, i32 `[slots, 8]`; given exactly when the plan writes it.
    pub status: Option<Operand<'a>>,
    /// [`Plan::workspace_bytes`] bytes; what is in it does not matter. Launches on one stream can share it,
    /// launches on two cannot.
    pub workspace: Operand<'a>,
    /// The plan's tiling data ([`Plan::place_tiling_data`]); without them they travel with each launch.
    pub tiling_data: Option<&'a PlacedTilingData>,
}

impl<'a> Args<'a> {
    /// Operands of a plan without pages, lse and status. Each is a buffer, or an [`Operand`] that starts
    /// somewhere in one.
    pub fn new(
        q: impl Into<Operand<'a>>,
        k: impl Into<Operand<'a>>,
        v: impl Into<Operand<'a>>,
        lengths: impl Into<Operand<'a>>,
        o: impl Into<Operand<'a>>,
        workspace: impl Into<Operand<'a>>,
    ) -> Self {
        Self {
            q: q.into(),
            k: k.into(),
            v: v.into(),
            row_starts: None,
            lengths: lengths.into(),
            block_table: None,
            page_starts: None,
            o: o.into(),
            lse: None,
            status: None,
            workspace: workspace.into(),
            tiling_data: None,
        }
    }

    /// Adds the first rows of the slots.
    #[must_use]
    pub fn with_row_starts(self, row_starts: impl Into<Operand<'a>>) -> Self {
        Self { row_starts: Some(row_starts.into()), ..self }
    }

    /// Adds the block table.
    #[must_use]
    pub fn with_block_table(self, block_table: impl Into<Operand<'a>>) -> Self {
        Self { block_table: Some(block_table.into()), ..self }
    }

    /// Adds the first entries of the slots in a block table that is one list.
    #[must_use]
    pub fn with_page_starts(self, page_starts: impl Into<Operand<'a>>) -> Self {
        Self { page_starts: Some(page_starts.into()), ..self }
    }

    /// Adds the log-sum-exp.
    #[must_use]
    pub fn with_lse(self, lse: impl Into<Operand<'a>>) -> Self {
        Self { lse: Some(lse.into()), ..self }
    }

    /// Adds the status.
    #[must_use]
    pub fn with_status(self, status: impl Into<Operand<'a>>) -> Self {
        Self { status: Some(status.into()), ..self }
    }

    /// Lets the launch read the plan's tiling data where they were placed.
    #[must_use]
    pub fn with_tiling_data(self, placed: &'a PlacedTilingData) -> Self {
        Self { tiling_data: Some(placed), ..self }
    }

    /// The operands with their names.
    fn named(&self, plan: &Plan) -> NamedList {
        let problem = plan.problem();
        let bytes = plan.operand_bytes();
        let places = [self.q, self.k, self.v, self.o];
        let mut named = NamedList::new();
        let tensors = problem.tensors();
        named.extend(tensors.iter().zip(places).zip(bytes).map(|((t, place), n)| Named::tensor(t, place, n)));
        let slots = u64::from(problem.slots);
        named.extend(self.row_starts.map(|s| Named::read("row_starts", s, plan.row_starts_bytes(), 4)));
        named.push(Named::read("lengths", self.lengths, 4 * slots, 4));
        named.extend(self.block_table.map(|t| Named::read("block_table", t, plan.table_bytes(), 4)));
        let starts = plan.page_starts_bytes();
        named.extend(self.page_starts.map(|s| Named::read("page_starts", s, starts, 4)));
        named.extend(self.lse.map(|lse| Named::written("lse", lse, plan.lse_bytes(), 4)));
        let status = 4 * STATUS_WORDS as u64 * slots;
        named.extend(self.status.map(|place| Named::written("status", place, status, 32)));
        let workspace = plan.workspace_bytes();
        named.push(Named::written("workspace", self.workspace, workspace, WORKSPACE_ALIGNMENT));
        named.extend(self.tiling_data.map(PlacedTilingData::named));
        named
    }

    /// Operands that are missing, and those that nothing would use.
    fn misplaced(&self, plan: &Plan, tiling: &FlashDecodeTilingData) -> Vec<String> {
        let problem = plan.problem();
        let is_paged = problem.kv.pages.is_some();
        let packed = ["q is packed", "q is not packed"];
        let paged = ["K and V are paged", "K and V are not paged"];
        let listed = ["the block table is one list", "the block table is not one list"];
        let found = [
            given("row_starts", self.row_starts.is_some(), problem.total_rows.is_some(), packed),
            given("block_table", self.block_table.is_some(), is_paged, paged),
            given("page_starts", self.page_starts.is_some(), plan.page_starts_bytes() > 0, listed),
            written_given("lse", self.lse.is_some(), problem.want_lse),
            written_given("status", self.status.is_some(), problem.is_checked),
            self.tiling_data.and_then(|placed| placed.wrong(tiling.as_bytes())),
        ];
        found.into_iter().flatten().collect()
    }
}

impl Plan {
    /// Copies what the kernel receives to the start of `at`, [`Self::tiling_data_bytes`] bytes at a multiple
    /// of 8, for launches that read it there (`Args::with_tiling_data`). Returns when it is there.
    ///
    /// # Errors
    /// `InvalidArgument` for too few bytes and for a wrong alignment, `Driver`.
    pub fn place_tiling_data<'a>(&self, at: impl Into<Operand<'a>>) -> Result<PlacedTilingData> {
        PlacedTilingData::new("serving Plan::place_tiling_data", self.tiling_data().as_bytes(), at.into())
    }
}

impl ServingAttention {
    /// Loads the kernels. On an NPU the first call for an opened device launches the self-test of the flags
    /// between the cores of a group and of the one at which all Cube cores meet, and waits for it. That at
    /// which all vector cores meet has no test.
    ///
    /// # Errors
    /// `KernelsNotBuilt` when this build has no kernels for the device, `SelfTest` when the first launch goes
    /// wrong, `OutOfMemory`, `Driver`.
    pub fn new(device: &Device) -> Result<Self> {
        Self::from_module(&kernels::load(device)?)
    }

    /// As [`Self::new`], with the kernels of an image that was built elsewhere.
    ///
    /// # Errors
    /// As [`Self::new`], and `Driver` when the image lacks a kernel.
    pub fn from_module(module: &Module) -> Result<Self> {
        let device = module.device().clone();
        let self_test = module.kernel(SELF_TEST_KERNEL)?;
        before_first_launch(&self_test, &device, Flags::OfGroups)?;
        before_first_launch(&self_test, &device, Flags::OfAllCores)?;
        // The vector cores of all groups meet before they combine parts.
        let kernel =
            |dtype| Ok::<_, crate::Error>(module.kernel(kernel_name(dtype)?)?.with_schedule(Schedule::Batch));
        Ok(Self { f16: kernel(DType::F16)?, bf16: kernel(DType::Bf16)?, device })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queues the operator on a stream and returns at once; nothing is allocated, copied or waited for, and
    /// no device memory is read by the host.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are missing, misaligned, too small,
    /// of another device, or written while another one lies there. What goes wrong while the kernel runs
    /// is told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        self.device.require_planned_for(plan.soc(), "serving launch")?;
        let tiling = plan.tiling_data();
        refuse_with("serving launch", &args.named(plan), args.misplaced(plan, &tiling))?;
        let list = operands(&args, &tiling).args()?.with_tiling_data_at(args.tiling_data);
        tell("serving launch", stream, || plan.to_json(), || args.named(plan));
        if plan.problem().slots == 0 {
            return Ok(());
        }
        let kernel = if plan.problem().spec.dtype == DType::Bf16 { &self.bf16 } else { &self.f16 };
        kernel.launch(stream, plan.num_cores(), &list)
    }
}

/// What the kernel takes. It touches no operand that the plan has no use for; the workspace stands in as a
/// valid address.
fn operands<'a>(args: &Args<'a>, tiling: &'a FlashDecodeTilingData) -> FlashDecodeOperands<'a> {
    let Args { q, k, v, lengths, o, workspace, .. } = *args;
    let [row_starts, block_table, page_starts, lse, status] =
        [args.row_starts, args.block_table, args.page_starts, args.lse, args.status]
            .map(|place| place.unwrap_or(workspace));
    FlashDecodeOperands {
        q,
        k,
        v,
        row_starts,
        lengths,
        block_table,
        page_starts,
        o,
        lse,
        status,
        workspace,
        tiling,
    }
}
