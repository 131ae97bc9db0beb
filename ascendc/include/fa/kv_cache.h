// SPDX-License-Identifier: MIT OR Apache-2.0
// Where the keys or the values of a slot lie: in pages that a block table in GM names, or in one piece.
#pragma once
#include "fa/copy.h"

namespace fa {

// Entries of a block table. An id that the cache does not have stands for page 0: nothing outside the cache
// is ever read.
class BlockTable {
  public:
    // `num_pages` 0: there is no table.
    __aicore__ inline BlockTable(GM_ADDR table, uint32_t width, uint32_t page_size, uint32_t num_pages)
        : width_(width), page_size_(page_size), num_pages_(num_pages) {
        table_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(table));
    }

    __aicore__ inline bool is_paged() const { return num_pages_ > 0; }
    __aicore__ inline uint32_t page_size() const { return page_size_; }
    __aicore__ inline int32_t entry(uint32_t slot, uint32_t block) const {
        return table_gm_.GetValue(static_cast<uint64_t>(slot) * width_ + block);
    }
    __aicore__ inline bool has(int32_t id) const { return static_cast<uint32_t>(id) < num_pages_; }
    __aicore__ inline uint32_t page(uint32_t slot, uint32_t block) const {
        const int32_t id = entry(slot, block);
        return has(id) ? static_cast<uint32_t>(id) : 0;
    }
    // Whether the cache has every page of the keys begin..end of a slot, begin < end.
    __aicore__ inline bool has_all(uint32_t slot, uint32_t begin, uint32_t end) const {
        bool all = true;
        for (uint32_t block = begin / page_size_; block <= (end - 1) / page_size_; ++block)
            all = has(entry(slot, block)) && all;
        return all;
    }

  private:
    uint32_t width_;
    uint32_t page_size_;
    uint32_t num_pages_;
    AscendC::GlobalTensor<int32_t> table_gm_;
};

// Rows n..n+rows of a slot, `cols` columns from head `head` on, to L1 as Nz. `stride`: elements between pages
// (or slots), rows and heads.
template <typename T>
__aicore__ inline void copy_cache_to_l1_nz(const AscendC::LocalTensor<T>& dst,
                                           const AscendC::GlobalTensor<T>& cache, const BlockTable& table,
                                           const uint64_t (&stride)[3], uint32_t slot, uint32_t head,
                                           uint32_t n, uint32_t rows, uint32_t cols) {
    const uint32_t all_rows16 = round_up(rows, kFractal);
    for (uint32_t row = 0; row < rows;) {
        uint64_t place = slot;
        uint32_t at = n + row;
        uint32_t run = rows - row;
        if (table.is_paged()) {
            place = table.page(slot, at / table.page_size());
            at %= table.page_size();
            run = min_u32(run, table.page_size() - at);
        }
        const uint64_t offset = place * stride[0] + at * stride[1] + head * stride[2];
        copy_gm_to_l1_nz_rows(dst[row * kFractal], cache[offset], run, cols, stride[1], all_rows16);
        row += run;
    }
}

}  // namespace fa
