//! An engine with a paged cache: it owns context, stream and memory, and gives the operators addresses.

use std::ffi::c_void;
use std::path::Path;
use std::ptr::null_mut;

use fastattention::append::{self, Append};
use fastattention::attention::host;
use fastattention::runtime::{Device, Operand, PlacedTilingData, Stream};
use fastattention::serving::{plan, Args, KvLayout, Mask, Plan, Problem, Report, ServingAttention};
use fastattention::{DType, Result};
use fastattention_testkit::compare::softmax_error;
use fastattention_testkit::run::compared;
use half::f16;

use crate::raw::{Context, Memory};
use crate::sequences::{self, EngineStep, DIM, HEADS, HEADS_K, MAX_KEYS, MAX_ROWS, SLOTS};

pub(crate) struct ServingEngine {
    pub(crate) context: Context,
    pub(crate) raw_stream: *mut c_void,
    pub(crate) memory: Tables,
    device: Device,
    stream: Stream,
    attention: ServingAttention,
    append: Append,
    plan: Plan,
    append_plan: append::Plan,
    tiling_data: [PlacedTilingData; 2],
}

/// Device memory, at the same addresses in all steps.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    q: Memory,
    k: Memory,
    v: Memory,
    places: Memory,
    /// `row_starts`, and behind them the lengths.
    pub(crate) lists: Memory,
    block_table: Memory,
    k_cache: Memory,
    v_cache: Memory,
    pub(crate) o: Memory,
    lse: Memory,
    status: Memory,
    workspace: Memory,
    tiling_data: [Memory; 2],
}

impl Tables {
    fn of(context: &Context, plan: &Plan, append: &append::Plan) -> Self {
        let malloc = |bytes: u64| context.malloc(usize::try_from(bytes).unwrap());
        let ([q, _, _, o], [k, v, k_cache, v_cache]) = (plan.operand_bytes(), append.operand_bytes());
        Self {
            q: malloc(q),
            k: malloc(k),
            v: malloc(v),
            places: malloc(append.places_bytes()),
            lists: malloc(plan.row_starts_bytes() + 4 * u64::from(SLOTS)),
            block_table: malloc(plan.table_bytes()),
            k_cache: malloc(k_cache),
            v_cache: malloc(v_cache),
            o: malloc(o),
            lse: malloc(plan.lse_bytes()),
            status: malloc(32 * u64::from(SLOTS)),
            workspace: malloc(plan.workspace_bytes()),
            tiling_data: [plan.tiling_data_bytes(), append.tiling_data_bytes()].map(malloc),
        }
    }

    /// All of it.
    pub(crate) fn all(&self) -> Vec<Memory> {
        let t = self;
        let mut all = vec![t.q, t.k, t.v, t.places, t.lists, t.block_table, t.k_cache, t.v_cache];
        all.extend([t.o, t.lse, t.status, t.workspace]);
        all.extend(t.tiling_data);
        all
    }
}

/// An operand of this crate, of memory that it does not own.
fn borrowed(device: &Device, memory: Memory) -> Operand<'_> {
    // SAFETY: the engine frees its memory when its stream is idle, and keeps it while the operand lives.
    unsafe { Operand::from_raw(device, memory.address, memory.len) }
}

impl ServingEngine {
    pub(crate) fn new(library: &Path, page_size: u32) -> Self {
        let context = Context::new(library);
        let raw_stream = context.stream();
        // SAFETY: the context is destroyed in `finish`, behind everything of this device.
        let device = unsafe { Device::attach("npu:0") }.unwrap();
        assert!(device.verifies_kernels(), "the drop-in library says that it is the simulator");
        let kv = KvLayout::paged(page_size, sequences::pages(page_size));
        let problem =
            Problem::packed(DType::F16, [SLOTS * MAX_ROWS, HEADS, DIM], [SLOTS, MAX_ROWS], MAX_KEYS, kv)
                .with_num_heads_k(HEADS_K)
                .with_mask(Mask::Causal)
                .with_lse()
                .checked();
        let plan = plan(&problem, device.soc()).unwrap();
        let appended = append::Problem::new(SLOTS * MAX_ROWS, &problem);
        let append_plan = append::plan(&appended, device.soc()).unwrap();
        let memory = Tables::of(&context, &plan, &append_plan);
        let [of_attention, of_append] = memory.tiling_data.map(|place| borrowed(&device, place));
        let tiling_data = [
            plan.place_tiling_data(of_attention).unwrap(),
            append_plan.place_tiling_data(of_append).unwrap(),
        ];
        Self {
            // SAFETY: destroyed in `finish`, behind the stream that borrows it.
            stream: unsafe { Stream::from_raw(&device, raw_stream) },
            attention: ServingAttention::new(&device).unwrap(),
            append: Append::new(&device).unwrap(),
            plan,
            append_plan,
            tiling_data,
            context,
            raw_stream,
            memory,
            device,
        }
    }

    /// Frees what it has made, behind what borrows it.
    pub(crate) fn finish(self) {
        let Self { context, raw_stream, memory, device, stream, attention, append, tiling_data, .. } = self;
        drop((attention, append, tiling_data, stream));
        device.close().unwrap();
        assert!(context.is_current());
        for memory in memory.all() {
            unsafe { assert_eq!((context.t.aclrtFree)(memory.address), 0) };
        }
        unsafe { assert_eq!((context.t.aclrtDestroyStream)(raw_stream), 0) };
        context.destroy();
    }

    /// Brings the inputs of a step to the device, and takes the results of the last one away.
    pub(crate) fn prepare(&self, step: &EngineStep) {
        let (context, memory) = (&self.context, &self.memory);
        for result in [memory.o, memory.lse, memory.status] {
            context.spoil(result);
        }
        context.upload(memory.q, &step.q);
        context.upload(memory.k, &step.k);
        context.upload(memory.v, &step.v);
        context.upload(memory.places, &step.places);
        context.upload(memory.lists, &step.lists);
        context.upload(memory.block_table, &step.block_table);
    }

    /// The two launches of a step, whose rows and lengths lie in `lists`.
    pub(crate) fn launch(&self, lists: Memory) -> Result<()> {
        let of = |memory: Memory| borrowed(&self.device, memory);
        let m = &self.memory;
        let [of_attention, of_append] = &self.tiling_data;
        let args = append::Args::new(of(m.k), of(m.v), of(m.places), of(m.k_cache), of(m.v_cache));
        self.append.launch(&self.stream, &self.append_plan, args.with_tiling_data(of_append))?;
        let lengths = of(lists).with_offset_bytes(4 * (SLOTS as usize + 1));
        let args = Args::new(of(m.q), of(m.k_cache), of(m.v_cache), lengths, of(m.o), of(m.workspace))
            .with_row_starts(of(lists))
            .with_block_table(of(m.block_table))
            .with_lse(of(m.lse))
            .with_status(of(m.status))
            .with_tiling_data(of_attention);
        self.attention.launch(&self.stream, &self.plan, args)
    }

    /// Captures the two launches with the functions that the engine has itself.
    pub(crate) fn capture(&self, lists: Memory) -> *mut c_void {
        let (t, stream, mut graph) = (self.context.t, self.raw_stream, null_mut());
        let (begin, end) = (t.aclmdlRICaptureBegin.unwrap(), t.aclmdlRICaptureEnd.unwrap());
        unsafe { assert_eq!(begin(stream, 1), 0) };
        self.launch(lists).unwrap();
        unsafe { assert_eq!(end(stream, &raw mut graph), 0) };
        graph
    }

    /// Runs a graph and waits for it.
    pub(crate) fn replay(&self, graph: *mut c_void) {
        let execute = self.context.t.aclmdlRIExecuteAsync.unwrap();
        unsafe { assert_eq!(execute(graph, self.raw_stream), 0) };
        self.context.synchronize(self.raw_stream);
    }

    /// What the kernel found wrong with rows, lengths and pages.
    pub(crate) fn report(&self) -> Report {
        let words: Vec<i32> = self.context.download(self.memory.status, 8 * SLOTS as usize);
        Report::from_words(&words).unwrap()
    }

    /// What the step has left of the rows that it has.
    pub(crate) fn results(&self, step: &EngineStep) -> host::Output<f16> {
        let heads = HEADS as usize;
        let o = self.context.download(self.memory.o, step.rows() * heads * DIM as usize);
        let all = (SLOTS * MAX_ROWS) as usize;
        let lse: Vec<f32> = self.context.download(self.memory.lse, heads * all);
        let lse = lse.chunks(all).flat_map(|of_head| &of_head[..step.rows()]);
        host::Output { o, lse: lse.copied().collect() }
    }
}

/// Compares each slot with f64 on its logical sequence.
pub(crate) fn check(engine: &ServingEngine, step: &EngineStep) -> std::result::Result<(), String> {
    assert_eq!(engine.report(), Report::default());
    let out = engine.results(step);
    let row = (HEADS * DIM) as usize;
    let (mut first, all) = (0, step.rows());
    for slot in step.slots.iter().filter(|slot| slot.rows > 0) {
        let (last, case) = (first + slot.rows, slot.case());
        let lse = out.lse.chunks(all).flat_map(|of_head| &of_head[first..last]).copied().collect();
        let own = host::Output { o: out.o[first * row..last * row].to_vec(), lse };
        let q = step.q[first * row..last * row].to_vec();
        compared(&case, &slot.operands(q), &own, &|keys| softmax_error(keys, 0.0), 0.0)
            .check()
            .map_err(|why| format!("{} rows on {} keys: {why}", slot.rows, case.seqlen_k))?;
        first = last;
    }
    Ok(())
}
