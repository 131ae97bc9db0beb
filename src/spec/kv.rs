//! Where the keys and values of a batch of sequences lie.

use serde::{Deserialize, Serialize};

use std::fmt;

/// Order of rows and heads in a page, or in the keys of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KvOrder {
    /// `[keys, heads, dim]`: rows of neighbouring heads lie side by side.
    #[default]
    KeysFirst,
    /// `[heads, keys, dim]`.
    HeadsFirst,
    /// `[heads * dim / 16, keys, 16]`, pages only: the fractals that the Cube of an NPU takes.
    Nz,
    /// vLLM's order for its own kernels, pages only: keys `[heads, dim / 8, keys, 8]`, values `[heads, dim,
    /// keys]`.
    Vllm,
}

impl KvOrder {
    /// Elements of a head of k and of v that lie side by side, where these are not all.
    pub(crate) fn piece_elements(self) -> Option<[u32; 2]> {
        match self {
            Self::KeysFirst | Self::HeadsFirst => None,
            Self::Nz => Some([16, 16]),
            Self::Vllm => Some([8, 1]),
        }
    }
}

/// How the block table, 32-bit numbers of pages in device memory, lists the pages of the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum BlockTable {
    /// `[slots, width]`: a row for each slot.
    Rows {
        /// Entries of a row; `None` is what the longest sequence needs.
        width: Option<u32>,
    },
    /// `[entries]`: the pages of all slots in one list. A second list, `page_starts` of `slots + 1` numbers,
    /// says which are those of a slot.
    Csr {
        /// Entries that the list has room for.
        entries: u32,
    },
}

/// The pages of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Pages {
    /// Keys of a page.
    pub page_size: u32,
    /// Pages of the cache. A block table names each by its number, from 0 on.
    pub num_pages: u32,
    /// What names the pages of a slot.
    pub table: BlockTable,
}

/// Where keys and values lie. K and V are two operands; they may be two parts of one allocation.
///
/// ```
/// use fastattention::spec::KvLayout;
///
/// // [num_pages, page_size, heads, dim], 16 keys a page.
/// let paged = KvLayout::paged(16, 1024);
/// // A block table with 64 entries for each slot, of which a sequence may need fewer.
/// let wide = KvLayout::paged(16, 1024).with_table_width(64);
/// // One list of at most 500 pages for all slots, and where the pages of each slot start.
/// let listed = KvLayout::paged(16, 1024).with_csr_table(500);
/// // [num_pages, heads, page_size, dim].
/// let by_head = KvLayout::paged(16, 1024).with_heads_first();
/// // [slots, max_keys, heads, dim], without a block table.
/// let padded = KvLayout::padded();
/// // [num_pages, heads * dim / 16, page_size, 16].
/// let nz = KvLayout::paged(128, 1024).with_nz();
/// # assert_ne!(paged, by_head);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KvLayout {
    /// The pages; `None` when the keys of a slot lie in one piece, with room for the longest sequence.
    pub pages: Option<Pages>,
    /// Order inside a page or slot.
    pub order: KvOrder,
}

impl KvLayout {
    /// `[slots, max_keys, heads, dim]`.
    pub fn padded() -> Self {
        Self { pages: None, order: KvOrder::KeysFirst }
    }

    /// `[num_pages, page_size, heads, dim]`, found through a block table `[slots, width]` of 32-bit numbers.
    pub fn paged(page_size: u32, num_pages: u32) -> Self {
        let pages = Pages { page_size, num_pages, table: BlockTable::Rows { width: None } };
        Self { pages: Some(pages), order: KvOrder::KeysFirst }
    }

    /// The same with the keys of one head behind each other.
    #[must_use]
    pub fn with_heads_first(self) -> Self {
        Self { order: KvOrder::HeadsFirst, ..self }
    }

    /// The same in pieces of 16 elements, `[num_pages, heads * dim / 16, page_size, 16]`, as caches in NZ
    /// format have it.
    #[must_use]
    pub fn with_nz(self) -> Self {
        Self { order: KvOrder::Nz, ..self }
    }

    /// The same in the order of vLLM's own kernels: keys `[num_pages, heads, dim / 8, page_size, 8]`, values
    /// `[num_pages, heads, dim, page_size]`.
    #[must_use]
    pub fn with_vllm(self) -> Self {
        Self { order: KvOrder::Vllm, ..self }
    }

    /// A block table with rows of so many entries. Says nothing where there are no pages.
    #[must_use]
    pub fn with_table_width(self, width: u32) -> Self {
        self.with_table(BlockTable::Rows { width: Some(width) })
    }

    /// A block table that is one list of at most `entries` pages for all slots, beside `page_starts`
    /// (elsewhere `kv_indices` and `kv_indptr`). Says nothing where there are no pages.
    #[must_use]
    pub fn with_csr_table(self, entries: u32) -> Self {
        self.with_table(BlockTable::Csr { entries })
    }

    fn with_table(self, table: BlockTable) -> Self {
        Self { pages: self.pages.map(|pages| Pages { table, ..pages }), ..self }
    }

    /// Entries of the block table, if it is one list.
    pub(crate) fn csr_entries(&self) -> Option<u32> {
        self.pages.and_then(|pages| match pages.table {
            BlockTable::Rows { .. } => None,
            BlockTable::Csr { entries } => Some(entries),
        })
    }
}

impl fmt::Display for KvLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pages {
            None => f.write_str("padded")?,
            Some(pages) => write!(f, "{} pages of {} keys", pages.num_pages, pages.page_size)?,
        }
        if let Some(entries) = self.csr_entries() {
            write!(f, ", in a list of {entries}")?;
        }
        match self.order {
            KvOrder::KeysFirst => Ok(()),
            KvOrder::HeadsFirst => f.write_str(", heads first"),
            KvOrder::Nz => f.write_str(", NZ"),
            KvOrder::Vllm => f.write_str(", as vLLM has them"),
        }
    }
}
