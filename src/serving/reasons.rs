//! What the kernel can do: every reason why a problem is refused.

use super::plan::memory_reasons;
use super::{KvOrder, Problem, STATUS_WORDS};
use crate::spec::{Footprint, Reason, Tensor};
use crate::tiling::{MAX_GM_GAP_BYTES, MAX_HEAD_DIM, MAX_SEQLEN};
use crate::{DType, Soc};

/// Head dimensions are multiples of this: a fractal of f16 has 16 columns.
const HEAD_DIM_STEP: u32 = 16;

/// Values by columns lie in fractals of so many keys.
const VLLM_PAGE_STEP: u32 = 16;
/// q and k have twice the columns on the Cube, and L1 as much room as before.
const MAX_VLLM_HEAD_DIM: u32 = 128;

impl Problem {
    /// Every reason why `soc` cannot run this problem, before anything is allocated; empty exactly when
    /// [`plan`](super::plan) makes a plan. Counts that are not known yet may be 0, and `rows` 1: the reasons
    /// of types, heads, dimensions, mask and layout remain.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let mut found = Vec::new();
        self.spec_reasons(&mut found);
        self.extent_reasons(&mut found);
        for tensor in self.tensors() {
            // Heads of one query row of the output leave together, with a gap behind each.
            let gap = |tensor: &Tensor| tensor.wide_gap(2, MAX_GM_GAP_BYTES).filter(|_| tensor.is_output);
            found.extend(tensor.wrong_strides(|tensor| Vec::from_iter(gap(tensor))));
        }
        found.extend(self.wide_lse());
        if found.is_empty() {
            found.extend(self.size_reasons(soc));
            found.extend(memory_reasons(self, soc));
        }
        found
    }

    fn spec_reasons(&self, found: &mut Vec<Reason>) {
        let s = &self.spec;
        if !matches!(s.dtype, DType::F16 | DType::Bf16) {
            found.push(Reason::unsupported(format!(
                "dtype = {} has no kernel; supported: f16, bf16",
                s.dtype
            )));
        }
        if s.score_dtype != DType::F32 {
            found.push(Reason::unsupported(format!(
                "score_dtype = {} has no kernel; supported: f32",
                s.score_dtype
            )));
        }
        found.extend(Reason::of_heads(s.num_heads, s.num_heads_k));
        for (name, dim) in [("head_dim", s.head_dim), ("head_dim_v", s.head_dim_v)] {
            found.extend(Reason::of_head_dim(name, dim, HEAD_DIM_STEP, MAX_HEAD_DIM));
        }
        found.extend(Reason::of_scale(self.softmax_scale()));
    }

    fn extent_reasons(&self, found: &mut Vec<Reason>) {
        self.row_reasons(found);
        let counts = [
            ("slots", self.slots),
            ("rows", self.rows),
            ("total_rows", self.total_rows.unwrap_or(0)),
            ("max_keys", self.max_keys),
        ];
        for (name, value) in counts {
            if value > MAX_SEQLEN {
                found.push(Reason::unsupported(format!("{name} = {value} is more than {MAX_SEQLEN}")));
            }
        }
        // Positions of units, times a core, are 64 bits. A unit is at least a key of a row.
        let rows = (u128::from(self.all_rows()) + u128::from(self.slots)) * u128::from(self.spec.num_heads);
        let keys = rows.saturating_mul(u128::from(self.max_keys));
        if keys >= 1 << 57 {
            found.push(Reason::unsupported(format!(
                "{} query rows of {} heads against max_keys = {} make {keys} rows of keys; fewer than 2^57 supported",
                self.all_rows(),
                self.spec.num_heads,
                self.max_keys
            )));
        }
        self.page_reasons(found);
        self.order_reasons(found);
    }

    /// What the kernel cannot do with keys and values in pieces.
    fn order_reasons(&self, found: &mut Vec<Reason>) {
        let Some(pieces) = self.kv.order.piece_elements() else { return };
        let (s, strides) = (&self.spec, self.strides());
        if self.kv.pages.is_none() {
            found.push(Reason::unsupported(format!(
                "kv = {} has no kernel without pages; supported: pages, or keys first, or heads first",
                self.kv
            )));
        }
        for (name, stride, piece) in [("k", strides.k, pieces[0]), ("v", strides.v, pieces[1])] {
            if stride[1] != u64::from(piece) {
                found.push(Reason::unsupported(format!(
                    "{name}_stride: row stride = {} of pages with pieces of {piece} elements; supported: {piece}",
                    stride[1]
                )));
            }
        }
        for (name, dim, piece) in
            [("head_dim", s.head_dim, pieces[0]), ("head_dim_v", s.head_dim_v, pieces[1])]
        {
            if s.num_heads_k.checked_mul(dim / piece).is_none() {
                found.push(Reason::unsupported(format!(
                    "num_heads_k = {} with {name} = {dim} is more than 2^32 pieces of {piece} elements",
                    s.num_heads_k
                )));
            }
        }
        if self.kv.order == KvOrder::Vllm {
            self.vllm_reasons(found);
        }
    }

    fn vllm_reasons(&self, found: &mut Vec<Reason>) {
        let page_size = self.kv.pages.map_or(0, |pages| pages.page_size);
        if !page_size.is_multiple_of(VLLM_PAGE_STEP) {
            let below = page_size / VLLM_PAGE_STEP * VLLM_PAGE_STEP;
            let nearest = match below {
                0 => format!("{VLLM_PAGE_STEP}"),
                _ => format!("{below} or {}", below.saturating_add(VLLM_PAGE_STEP)),
            };
            found.push(Reason::unsupported(format!(
                "page_size = {page_size} of pages as vLLM has them is not a multiple of {VLLM_PAGE_STEP}; nearest \
                 supported: {nearest}"
            )));
        }
        if self.spec.head_dim > MAX_VLLM_HEAD_DIM {
            found.push(Reason::unsupported(format!(
                "head_dim = {} of pages as vLLM has them is more than {MAX_VLLM_HEAD_DIM}; nearest supported: \
                 {MAX_VLLM_HEAD_DIM}",
                self.spec.head_dim
            )));
        }
    }

    /// Rows that no slot has, whatever the kernel.
    pub(crate) fn row_reasons(&self, found: &mut Vec<Reason>) {
        if self.rows == 0 && self.total_rows.is_none() {
            found.push(Reason::invalid("rows = 0, wanted at least 1 query row of a slot"));
        }
    }

    /// Pages that are no cache, whatever reads it.
    pub(crate) fn page_reasons(&self, found: &mut Vec<Reason>) {
        let Some(pages) = self.kv.pages else { return };
        if pages.page_size == 0 {
            found.push(Reason::invalid("page_size = 0, wanted at least 1"));
        }
        for (name, value) in [("page_size", pages.page_size), ("num_pages", pages.num_pages)] {
            if value > MAX_SEQLEN {
                found.push(Reason::unsupported(format!("{name} = {value} is more than {MAX_SEQLEN}")));
            }
        }
        if pages.num_pages == 0 && self.max_keys > 0 {
            let text = format!("num_pages = 0 with max_keys = {}, wanted at least 1", self.max_keys);
            found.push(Reason::invalid(text));
        }
        let (name, entries, wanted) = match self.kv.csr_entries() {
            Some(entries) => ("table entries", entries, "a list"),
            None => ("table_width", self.table_width(), "a width"),
        };
        let room = u64::from(entries) * u64::from(pages.page_size);
        if pages.page_size > 0 && room < u64::from(self.max_keys) {
            found.push(Reason::invalid(format!(
                "{name} = {entries} with page_size = {} is room for {room} keys, max_keys = {} wants {wanted} of at least {}",
                pages.page_size,
                self.max_keys,
                self.max_keys.div_ceil(pages.page_size)
            )));
        }
        // Numbers of entries are i32 in `page_starts`.
        if let Some(entries) = self.kv.csr_entries().filter(|entries| *entries > MAX_SEQLEN) {
            found.push(Reason::unsupported(format!("table entries = {entries} is more than {MAX_SEQLEN}")));
        }
    }

    /// Heads of one query row of lse leave together, too, as far apart as a head has rows.
    fn wide_lse(&self) -> Option<Reason> {
        let (name, rows) = self.total_rows.map_or(("rows", self.rows), |rows| ("total_rows", rows));
        let largest = 1 + MAX_GM_GAP_BYTES / 4;
        (self.want_lse && self.spec.num_heads > 1 && u64::from(rows) > largest).then(|| {
            Reason::unsupported(format!(
                "{name} = {rows} with lse leaves more than {MAX_GM_GAP_BYTES} bytes between two heads of a row of lse; \
                 nearest supported: {largest}"
            ))
        })
    }

    fn size_reasons(&self, soc: &Soc) -> Option<Reason> {
        let tensors = self.tensors();
        let [q, k, v, o] = tensors.map(|tensor| tensor.footprint());
        let (slots, table) = (u128::from(self.slots), u128::from(self.table_entries()));
        let lse = u128::from(self.all_rows()) * u128::from(self.spec.num_heads);
        let starts = self.total_rows.map_or(0, |_| slots + 1);
        let of_status = if self.is_checked { STATUS_WORDS as u128 } else { 0 };
        let page_starts = self.kv.csr_entries().map_or(0, |_| slots + 1);
        let lse = if self.want_lse { lse } else { 0 };
        let words = [lse, starts, slots, table, page_starts, slots * of_status];
        let [lse, starts, lengths, table, page_starts, status] =
            words.map(|words| Footprint { span: 4 * words, used: 4 * words });
        let names =
            ["q", "k", "v", "o", "lse", "row_starts", "lengths", "block_table", "page_starts", "status"];
        let footprints = [q, k, v, o, lse, starts, lengths, table, page_starts, status];
        Reason::of_operands(names, footprints, &soc.name, soc.hbm_bytes)
    }
}
