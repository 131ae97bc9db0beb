//! One cache, one plan of each operator and one set of buffers; a step on the device, and its check.

use fastattention::append::{self, Append, PlaceType};
use fastattention::attention::host;
use fastattention::reference::Element;
use fastattention::runtime::{Buffer, CaptureMode, Device, Graph, Stream};
use fastattention::serving::{self, Operand, ServingAttention};
use fastattention::DType;
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::compare::softmax_error;
use fastattention_testkit::data::{normal, Operand as HostTensor};
use fastattention_testkit::run::compared;
use fastrand::Rng;

use super::engine::{EngineStep, Entry, ServingEngine, Slot};
use super::pages::PageWork;
use super::sequence::Sequence;
use super::{Class, SLOTS, TOTAL_ROWS};

type Result<T> = std::result::Result<T, String>;

/// What the device holds through a whole scenario.
#[derive(Debug)]
pub(super) struct OnDevice {
    class: Class,
    append: Append,
    attention: ServingAttention,
    append_plan: append::Plan,
    plan: serving::Plan,
    stream: Stream,
    /// New keys, new values, their places.
    new: [Buffer; 3],
    append_status: Buffer,
    cache: Buffer,
    /// Where V starts in the cache.
    v_offset_bytes: usize,
    q: Buffer,
    /// First rows, lengths, block table.
    lists: [Buffer; 3],
    o: Buffer,
    lse: Buffer,
    status: Buffer,
    workspace: Buffer,
    /// Both launches, if they were captured.
    graph: Option<Graph>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A NaN of f16 and of bf16.
const NAN: u16 = 0x7FFF;
/// Another one, which no kernel writes.
const UNTOUCHED: u16 = 0xFDAB;

impl OnDevice {
    pub(super) fn new(class: Class, device: &Device, is_captured: bool) -> Result<Self> {
        let problem = class.problem();
        let plan = serving::plan(&problem, device.soc()).map_err(text)?;
        let append_problem =
            append::Problem::new(class.tokens() as u32, &problem).with_place_type(class.place_type).checked();
        let append_plan = append::plan(&append_problem, device.soc()).map_err(text)?;
        let alloc = |bytes: u64| Buffer::alloc(device, bytes as usize).map_err(text);
        let [q_bytes, k_bytes, v_bytes, o_bytes] = plan.operand_bytes();
        let row_bytes = class.row_lens().map(|len| (2 * class.tokens() * len) as u64);
        let places = append_plan.places_bytes();
        let lists = [plan.row_starts_bytes(), 4 * SLOTS as u64, plan.table_bytes()];
        let [first, second, third] = lists.map(alloc);
        let cache = alloc(k_bytes + v_bytes)?;
        cache.copy_from_host(&vec![NAN; (k_bytes + v_bytes) as usize / 2]).map_err(text)?;
        let mut own = Self {
            class,
            append: Append::new(device).map_err(text)?,
            attention: ServingAttention::new(device).map_err(text)?,
            stream: Stream::new(device).map_err(text)?,
            new: [alloc(row_bytes[0])?, alloc(row_bytes[1])?, alloc(places)?],
            append_status: alloc(append_plan.status_bytes())?,
            cache,
            v_offset_bytes: k_bytes as usize,
            q: alloc(q_bytes)?,
            lists: [first?, second?, third?],
            o: alloc(o_bytes)?,
            lse: alloc(plan.lse_bytes())?,
            status: alloc(4 * (serving::STATUS_WORDS * SLOTS) as u64)?,
            workspace: alloc(plan.workspace_bytes())?,
            append_plan,
            plan,
            graph: None,
        };
        if is_captured {
            let capture = own.stream.begin_capture(CaptureMode::ThreadLocal).map_err(text)?;
            own.launch()?;
            own.graph = Some(capture.end().map_err(text)?);
        }
        Ok(own)
    }

    /// Queues the append and attention.
    fn launch(&self) -> Result<()> {
        let ([k, v, places], [k_cache, v_cache]) = (&self.new, self.caches());
        let args = append::Args::new(k, v, places, k_cache, v_cache).with_status(&self.append_status);
        self.append.launch(&self.stream, &self.append_plan, args).map_err(text)?;
        let ([starts, lengths, table], o) = (&self.lists, &self.o);
        let args = serving::Args::new(&self.q, k_cache, v_cache, lengths, o, &self.workspace);
        let args = args.with_row_starts(starts).with_block_table(table);
        let args = args.with_lse(&self.lse).with_status(&self.status);
        self.attention.launch(&self.stream, &self.plan, args).map_err(text)
    }

    /// K and V of the cache, two parts of one allocation.
    fn caches(&self) -> [Operand<'_>; 2] {
        [0, self.v_offset_bytes].map(|offset_bytes| Operand::at(&self.cache, offset_bytes))
    }

    /// Runs a step and compares every row of it.
    pub(super) fn run<T: Element + host::Element>(
        &self,
        engine: &mut ServingEngine<T>,
        step: &EngineStep,
        rng: &mut Rng,
    ) -> Result<()> {
        step.work.iter().try_for_each(|work| self.work_on_page(*work))?;
        self.upload_tokens(engine, step)?;
        let q = self.upload_rows(engine, step, rng)?;
        match &self.graph {
            Some(graph) => graph.launch(&self.stream).map_err(text)?,
            None => self.launch()?,
        }
        self.stream.synchronize().map_err(text)?;
        let words = self.append_status.to_vec::<i32>().map_err(text)?;
        let appended = append::Report::from_words(&words).map_err(text)?;
        let attended = serving::Report::from_words(&self.status.to_vec::<i32>().map_err(text)?);
        let attended = attended.map_err(text)?;
        if (&appended, &attended) != (&append::Report::default(), &serving::Report::default()) {
            return Err(format!("reports: {appended:?}, {attended:?}"));
        }
        self.check(engine, step, &q)
    }

    /// Bytes from which on a page lies, and their number, of K and of V.
    fn page_bytes(&self, page: usize) -> [(usize, usize); 2] {
        let [k, v] = self.class.row_lens().map(|len| 2 * len * self.class.page_size as usize);
        [(page * k, k), (self.v_offset_bytes + page * v, v)]
    }

    fn work_on_page(&self, work: PageWork) -> Result<()> {
        let (from, to) = match work {
            PageWork::Poison(page) => (None, page),
            PageWork::Copy(from, to) => (Some(from), to),
        };
        for (which, (at, bytes)) in self.page_bytes(to).into_iter().enumerate() {
            let mut data = vec![NAN; bytes / 2];
            if let Some(from) = from {
                self.cache.copy_to_host_at(self.page_bytes(from)[which].0, &mut data).map_err(text)?;
            }
            self.cache.copy_from_host_at(at, &data).map_err(text)?;
        }
        Ok(())
    }

    /// New keys and values, NaN where a token has no place, and the places.
    fn upload_tokens<T: Element + host::Element>(
        &self,
        engine: &ServingEngine<T>,
        step: &EngineStep,
    ) -> Result<()> {
        let [k_len, v_len] = self.class.row_lens();
        let (mut k, mut v) = (Vec::new(), Vec::new());
        let mut places: Vec<i64> = Vec::new();
        for appended in &step.appended {
            let Some(appended) = appended else {
                k.resize(k.len() + k_len, T::round(f32::NAN));
                v.resize(v.len() + v_len, T::round(f32::NAN));
                places.push(-1);
                continue;
            };
            let sequence = engine.sequence(appended.id);
            k.extend_from_slice(&sequence.k[appended.token * k_len..][..k_len]);
            v.extend_from_slice(&sequence.v[appended.token * v_len..][..v_len]);
            places.push(i64::try_from(appended.place).map_err(text)?);
        }
        let [k_new, v_new, place_list] = &self.new;
        k_new.copy_from_host(&k).map_err(text)?;
        v_new.copy_from_host(&v).map_err(text)?;
        if self.class.place_type == PlaceType::I64 {
            place_list.copy_from_host(&places).map_err(text)?;
        } else {
            let places: Vec<i32> = places.iter().map(|place| *place as i32).collect();
            place_list.copy_from_host(&places).map_err(text)?;
        }
        Ok(())
    }

    /// q of all rows, returned, and the lists of a step; NaN in all results and in rows that no slot has.
    fn upload_rows<T: Element + host::Element>(
        &self,
        engine: &mut ServingEngine<T>,
        step: &EngineStep,
        rng: &mut Rng,
    ) -> Result<Vec<T>> {
        let (page_size, width) = (self.class.page_size as usize, self.plan.problem().table_width() as usize);
        let q_len = (self.class.heads[0] * self.class.dims[0]) as usize;
        let (mut q, mut starts, mut lengths, mut table) = (Vec::new(), vec![0], Vec::new(), Vec::new());
        for slot in &step.slots {
            let (id, rows) = match *slot {
                Slot::Padded => (None, 0),
                Slot::Idle(id) => (Some(id), 0),
                Slot::Rows(Entry { id, rows, .. }) => (Some(id), rows),
            };
            q.extend((0..rows * q_len).map(|_| T::round(normal(rng))));
            starts.push(starts[starts.len() - 1] + rows as i32);
            let sequence = id.map(|id| engine.sequence(id));
            let keys = sequence.map_or(0, |sequence| sequence.cached + rows);
            lengths.push(keys as i32);
            let pages: Vec<usize> = sequence.map_or(Vec::new(), |sequence| sequence.pages.clone());
            let used = pages[..keys.div_ceil(page_size)].iter().map(|page| *page as i32);
            table.extend(used);
            let stale = table.len().next_multiple_of(width).max(lengths.len() * width);
            (table.len()..stale).for_each(|_| table.push(engine.stale_page()));
        }
        let mut all = q.clone();
        all.resize(TOTAL_ROWS * q_len, T::round(f32::NAN));
        self.q.copy_from_host(&all).map_err(text)?;
        for (buffer, list) in self.lists.iter().zip([&starts, &lengths, &table]) {
            buffer.copy_from_host(list).map_err(text)?;
        }
        for buffer in [&self.o, &self.lse] {
            buffer.copy_from_host(&vec![UNTOUCHED; buffer.len_bytes() / 2]).map_err(text)?;
        }
        Ok(q)
    }

    /// Every row against attention over the logical history, and nothing in the rows that no slot has.
    fn check<T: Element + host::Element>(
        &self,
        engine: &ServingEngine<T>,
        step: &EngineStep,
        q: &[T],
    ) -> Result<()> {
        let o_len = (self.class.heads[0] * self.class.dims[1]) as usize;
        let (o, lse) = (self.o.to_vec::<T>().map_err(text)?, self.lse.to_vec::<f32>().map_err(text)?);
        let lse_of = |first: usize, end: usize| -> Vec<f32> {
            lse.chunks(TOTAL_ROWS).flat_map(|head| &head[first..end]).copied().collect()
        };
        let mut first = 0;
        for (slot, of_slot) in step.slots.iter().enumerate() {
            let Slot::Rows(entry) = *of_slot else { continue };
            let (sequence, end) = (engine.sequence(entry.id), first + entry.rows);
            let own = host::Output { o: o[first * o_len..end * o_len].to_vec(), lse: lse_of(first, end) };
            self.check_rows(sequence, entry.rows, (q, first), &own).map_err(|why| {
                let (keys, pages) = (sequence.cached, &sequence.pages);
                format!("slot {slot}: {entry:?} behind {keys} keys in {pages:?}: {why}")
            })?;
            first = end;
        }
        let rest: Vec<f32> = lse_of(first, TOTAL_ROWS);
        let [o, lse] = [bytemuck::cast_slice::<_, u16>(&o[first * o_len..]), bytemuck::cast_slice(&rest)];
        if o.iter().chain(lse).any(|bits| *bits != UNTOUCHED) {
            return Err(format!("rows from {first} on are no slot's, but were written"));
        }
        Ok(())
    }

    /// The newest rows of a sequence.
    fn check_rows<T: Element + host::Element>(
        &self,
        sequence: &Sequence<T>,
        rows: usize,
        (q, first): (&[T], usize),
        own: &host::Output<T>,
    ) -> Result<()> {
        let (c, keys) = (&self.class, sequence.cached + rows);
        let ([heads, heads_k], [dim, dim_v]) = (c.heads, c.dims);
        let [k_len, v_len] = c.row_lens();
        let q_len = (heads * dim) as usize;
        let case = Case {
            dtype: c.dtype,
            score_dtype: DType::F32,
            batch: 1,
            num_heads: heads,
            num_heads_k: heads_k,
            head_dim: dim,
            head_dim_v: dim_v,
            seqlen_q: rows as u32,
            seqlen_k: keys as u32,
            mask: c.mask,
            softmax_scale: None,
            values: Values::Normal,
            layout: Layout::Bsnd,
            seed: 0,
        };
        let tensor = |data: &[T], len: usize, dim: u32| HostTensor {
            data: data.to_vec(),
            stride: [data.len() as u64, len as u64, u64::from(dim)],
        };
        let operands = [
            tensor(&q[first * q_len..][..rows * q_len], q_len, dim),
            tensor(&sequence.k[..keys * k_len], k_len, dim),
            tensor(&sequence.v[..keys * v_len], v_len, dim_v),
        ];
        compared(&case, &operands, own, &|keys| softmax_error(keys, 0.0), 0.0).check()
    }
}
