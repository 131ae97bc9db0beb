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

// How keys, or values, lie in a page. Strides are those of pages (or slots), keys, and heads or pieces.
constexpr uint32_t kKvRows = 0;      // a head's elements side by side
constexpr uint32_t kKvNz = 1;        // pieces of 16 elements, keys behind each other: rows of fractals
constexpr uint32_t kKvHalfRows = 2;  // pieces of 8 elements, likewise
constexpr uint32_t kKvColumns = 3;   // pieces of one element: a row for each of a head's dimensions

constexpr uint32_t kHalfRow = kFractal / 2;

// Some keys of one page, and where they go: L1 has room for `all_rows16` of them.
struct KvRun {
    uint64_t offset;  // of the first, of head or piece 0
    uint32_t at;      // row in L1
    uint32_t rows;
    uint32_t all_rows16;
};

// Pieces of 16 elements to strips of L1. One copy where the distance of pieces is one that it can have.
template <typename T>
__aicore__ inline void copy_nz_to_l1(const AscendC::LocalTensor<T>& dst, const AscendC::GlobalTensor<T>& src,
                                     const KvRun& run, uint32_t pieces, uint64_t pitch) {
    constexpr uint64_t kMaxGap = 65535;
    const uint64_t gap = pitch / kFractal - run.rows;
    const bool is_one = pieces == 1 || (pitch % kFractal == 0 && gap <= kMaxGap);
    AscendC::DataCopyParams params;
    params.blockCount = static_cast<uint16_t>(is_one ? pieces : 1);
    params.blockLen = static_cast<uint16_t>(run.rows);
    params.srcStride = static_cast<uint16_t>(is_one && pieces > 1 ? gap : 0);
    params.dstStride = static_cast<uint16_t>(run.all_rows16 - run.rows);
    for (uint32_t i = 0; i < pieces; i += params.blockCount)
        AscendC::DataCopy(dst[i * run.all_rows16 * kFractal], src[run.offset + i * pitch], params);
}

// Pieces of 8 elements to the left halves of strips; the right halves become 0.
template <typename T>
__aicore__ inline void copy_half_rows_to_l1(const AscendC::LocalTensor<T>& dst,
                                            const AscendC::GlobalTensor<T>& src, uint32_t rows,
                                            uint32_t all_rows16, uint32_t pieces, uint64_t row_pitch,
                                            uint64_t piece_pitch) {
    constexpr uint64_t kMaxPitch = 65535;
    const bool by_row = rows == 1 || row_pitch == 0 || row_pitch > kMaxPitch;
    const bool by_piece = pieces == 1 || piece_pitch > kMaxPitch;
    AscendC::Nd2NzParams params;
    params.ndNum = static_cast<uint16_t>(by_piece ? 1 : pieces);
    params.nValue = static_cast<uint16_t>(by_row ? 1 : rows);
    params.dValue = kHalfRow;
    params.srcNdMatrixStride = static_cast<uint16_t>(by_piece ? 0 : piece_pitch);
    params.srcDValue = static_cast<uint16_t>(by_row ? kHalfRow : row_pitch);
    params.dstNzC0Stride = static_cast<uint16_t>(all_rows16);
    params.dstNzNStride = 1;
    params.dstNzMatrixStride = static_cast<uint16_t>(all_rows16 * kFractal);
    for (uint32_t row = 0; row < rows; row += params.nValue) {
        for (uint32_t i = 0; i < pieces; i += params.ndNum) {
            AscendC::DataCopy(dst[(i * all_rows16 + row) * kFractal], src[row * row_pitch + i * piece_pitch],
                              params);
        }
    }
}

// Columns of one head to the transpose's strips, of `dim` rows for 16 keys each. Those of a page of 16 lie in
// GM as one.
template <typename T>
__aicore__ inline void copy_columns_to_l1(const AscendC::LocalTensor<T>& dst,
                                          const AscendC::GlobalTensor<T>& src, const KvRun& run, uint32_t dim,
                                          uint64_t pitch) {
    const auto strips = dst[run.at * dim];
    if (pitch == kFractal) {
        AscendC::DataCopy(strips, src[run.offset], dim * kFractal);
    } else {
        copy_gm_to_l1_nz_rows(strips, src[run.offset], dim, run.rows, pitch, dim);
    }
}

// Keys n..n+rows of a slot, `heads` heads of `dim` elements from head `head` on, to L1 as Nz: of each head
// rows of keys, but of columns the transpose.
template <typename T>
__aicore__ inline void copy_cache_to_l1_nz(const AscendC::LocalTensor<T>& dst,
                                           const AscendC::GlobalTensor<T>& cache, const BlockTable& table,
                                           uint32_t format, const uint64_t (&stride)[3], uint32_t slot,
                                           uint32_t head, uint32_t n, uint32_t rows, uint32_t heads,
                                           uint32_t dim) {
    KvRun run;
    run.all_rows16 = round_up(rows, kFractal);
    const SlotPages pages = table.is_paged() ? table.pages_of(slot) : SlotPages{};
    for (run.at = 0; run.at < rows; run.at += run.rows) {
        uint64_t place = slot;
        uint32_t row = n + run.at;
        run.rows = rows - run.at;
        if (table.is_paged()) {
            place = table.page(pages, row / table.page_size());
            row %= table.page_size();
            run.rows = min_u32(run.rows, table.page_size() - row);
        }
        run.offset = place * stride[0] + row * stride[1];
        const auto to = dst[run.at * kFractal];
        if (format == kKvRows) {
            copy_gm_to_l1_nz_rows(to, cache[run.offset + head * stride[2]], run.rows, heads * dim, stride[1],
                                  run.all_rows16);
        } else if (format == kKvNz) {
            const uint32_t pieces = dim / kFractal;
            run.offset += head * pieces * stride[2];
            copy_nz_to_l1(to, cache, run, heads * pieces, stride[2]);
        } else if (format == kKvHalfRows) {
            const uint32_t pieces = dim / kHalfRow;
            copy_half_rows_to_l1(to, cache[run.offset + head * pieces * stride[2]], run.rows, run.all_rows16,
                                 heads * pieces, stride[1], stride[2]);
        } else {
            for (uint32_t h = 0; h < heads; ++h) {
                KvRun own = run;
                own.offset += (head + h) * dim * stride[2];
                copy_columns_to_l1(dst[h * run.all_rows16 * dim], cache, own, dim, stride[2]);
            }
        }
    }
}

}  // namespace fa
