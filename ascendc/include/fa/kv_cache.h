// SPDX-License-Identifier: MIT OR Apache-2.0
// Where the keys or the values of a slot lie: in pages that a block table in GM names, or in one piece.
#pragma once
#include "fa/copy.h"
#include "fa/tiling_data.h"

namespace fa {

// The entries of the block table that are a slot's.
struct SlotPages {
    uint64_t first;
    uint32_t count;
    int32_t given_begin;  // what `page_starts` says, if there is one
    int32_t given_end;
};

// Entries of a block table: a row of `table_width` for each slot, or one list for all, of which `page_starts`
// has the ranges. An id that the cache does not have stands for page 0, and an entry that a slot does not
// have is no id: nothing outside list and cache is ever read.
class BlockTable {
  public:
    // `num_pages` 0: there is no table.
    __aicore__ inline BlockTable(const FlashDecodeTilingData& t, GM_ADDR table, GM_ADDR page_starts) : t_(t) {
        table_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(table));
        starts_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(page_starts));
    }

    __aicore__ inline bool is_paged() const { return t_.num_pages > 0; }
    __aicore__ inline uint32_t page_size() const { return t_.page_size; }
    // A range that leaves the list, or falls, has no entry.
    __aicore__ inline SlotPages pages_of(uint32_t slot) const {
        if (t_.is_csr == 0) return SlotPages{uint64_t{slot} * t_.table_width, t_.table_width, 0, 0};
        const int32_t begin = starts_gm_.GetValue(slot);
        const int32_t end = starts_gm_.GetValue(slot + 1);
        const bool is_range = begin >= 0 && begin <= end && static_cast<uint32_t>(end) <= t_.table_entries;
        const auto first = static_cast<uint64_t>(is_range ? begin : 0);
        return SlotPages{first, static_cast<uint32_t>(is_range ? end - begin : 0), begin, end};
    }
    __aicore__ inline int32_t entry(const SlotPages& pages, uint32_t block) const {
        return block < pages.count ? table_gm_.GetValue(pages.first + block) : kNoPage;
    }
    __aicore__ inline bool has(int32_t id) const { return static_cast<uint32_t>(id) < t_.num_pages; }
    __aicore__ inline uint32_t page(const SlotPages& pages, uint32_t block) const {
        const int32_t id = entry(pages, block);
        return has(id) ? static_cast<uint32_t>(id) : 0;
    }
    // Whether the cache has every page of the keys begin..end of a slot, begin < end.
    __aicore__ inline bool has_all(uint32_t slot, uint32_t begin, uint32_t end) const {
        const SlotPages pages = pages_of(slot);
        bool all = true;
        for (uint32_t block = begin / t_.page_size; block <= (end - 1) / t_.page_size; ++block)
            all = has(entry(pages, block)) && all;
        return all;
    }

  private:
    static constexpr int32_t kNoPage = -1;

    const FlashDecodeTilingData& t_;
    AscendC::GlobalTensor<int32_t> table_gm_;
    AscendC::GlobalTensor<int32_t> starts_gm_;
};

// Rows n..n+rows of a slot, `cols` columns from head `head` on, to L1 as Nz. `stride`: elements between pages
// (or slots), rows and heads.
template <typename T>
__aicore__ inline void copy_cache_to_l1_nz(const AscendC::LocalTensor<T>& dst,
                                           const AscendC::GlobalTensor<T>& cache, const BlockTable& table,
                                           const uint64_t (&stride)[3], uint32_t slot, uint32_t head,
                                           uint32_t n, uint32_t rows, uint32_t cols) {
    const uint32_t all_rows16 = round_up(rows, kFractal);
    const SlotPages pages = table.is_paged() ? table.pages_of(slot) : SlotPages{};
    for (uint32_t row = 0; row < rows;) {
        uint64_t place = slot;
        uint32_t at = n + row;
        uint32_t run = rows - row;
        if (table.is_paged()) {
            place = table.page(pages, at / table.page_size());
            at %= table.page_size();
            run = min_u32(run, table.page_size() - at);
        }
        const uint64_t offset = place * stride[0] + at * stride[1] + head * stride[2];
        copy_gm_to_l1_nz_rows(dst[row * kFractal], cache[offset], run, cols, stride[1], all_rows16);
        row += run;
    }
}

}  // namespace fa
