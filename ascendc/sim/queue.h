// SPDX-License-Identifier: MIT OR Apache-2.0
// TQue, TQueBind and TBuf (dav-c220.md 4.2): a queue turns enqueue and free into flags between its two pipes.
#pragma once
#include "pipe.h"

namespace fasim {

// Events of data that moves from one memory to the next: forward when filled, backward when free again.
constexpr AscendC::HardEvent queue_event(FasimSpace src, FasimSpace dst, bool forward) {
    using AscendC::HardEvent;
    if (src == FASIM_GM && dst == FASIM_UB) return forward ? HardEvent::MTE2_V : HardEvent::V_MTE2;
    if (src == FASIM_GM && dst == FASIM_L1) return forward ? HardEvent::MTE2_MTE1 : HardEvent::MTE1_MTE2;
    if (src == FASIM_GM && (dst == FASIM_L0A || dst == FASIM_L0B)) {
        return forward ? HardEvent::MTE2_M : HardEvent::M_MTE2;
    }
    if (src == FASIM_UB && dst == FASIM_GM) return forward ? HardEvent::V_MTE3 : HardEvent::MTE3_V;
    if (src == FASIM_UB && dst == FASIM_UB) return forward ? HardEvent::MTE2_MTE3 : HardEvent::MTE3_MTE2;
    if (src == FASIM_L1 && dst == FASIM_FB) return forward ? HardEvent::MTE1_FIX : HardEvent::FIX_MTE1;
    if (src == FASIM_L1 && (dst == FASIM_L0A || dst == FASIM_L0B || dst == FASIM_BT)) {
        return forward ? HardEvent::MTE1_M : HardEvent::M_MTE1;
    }
    if (src == FASIM_L0C) return forward ? HardEvent::M_FIX : HardEvent::FIX_M;
    return HardEvent::MAX;
}

constexpr AscendC::TPosition queue_src(AscendC::TPosition position) {
    using AscendC::TPosition;
    switch (position) {
        case TPosition::A2:
            return TPosition::A1;
        case TPosition::B2:
        case TPosition::C2PIPE2GM:
            return TPosition::B1;
        case TPosition::C2:
            return TPosition::C1;
        case TPosition::VECOUT:
        case TPosition::VECCALC:
        case TPosition::CO1:
            return position;
        default:
            return TPosition::GM;
    }
}

constexpr AscendC::TPosition queue_dst(AscendC::TPosition position) {
    using AscendC::TPosition;
    switch (position) {
        case TPosition::VECOUT:
            return TPosition::GM;
        case TPosition::CO1:
            return TPosition::CO2;
        default:
            return position;
    }
}

}  // namespace fasim

namespace AscendC {

template <TPosition src, TPosition dst, int32_t depth, auto mask = 0>
class TQueBind {
  public:
    static constexpr TPosition srcPosition = src;
    static constexpr TPosition dstPosition = dst;
    static constexpr int32_t queDepth = depth;
    static constexpr bool isTQue = true;
    static constexpr HardEvent enQueEvt =
        fasim::queue_event(fasim::space_of(src), fasim::space_of(dst), true);
    static constexpr HardEvent freeBufEvt =
        fasim::queue_event(fasim::space_of(src), fasim::space_of(dst), false);
    static_assert(enQueEvt != HardEvent::MAX, "TQueBind: dav-c220 has no data path between these positions");
    // Where the buffers lie: the on-chip side; of two on-chip sides the later one, of L0C the L0C.
    static constexpr TPosition bufferPosition =
        fasim::space_of(dst) == FASIM_GM || fasim::space_of(src) == FASIM_L0C ? src : dst;

    // Potentially throwing, so that a class that holds a queue may issue from its own destructor.
    ~TQueBind() noexcept(false) {}

    template <typename T>
    LocalTensor<T> AllocTensor() {
        static_assert(depth != 0, "AllocTensor: a queue of depth 0 allocates in place, AllocTensor(tensor)");
        return tensor_of<T>(alloc());
    }

    template <typename T>
    void AllocTensor(LocalTensor<T>& tensor) {
        static_assert(depth == 0, "AllocTensor(tensor): only a queue of depth 0 allocates in place");
        tensor = tensor_of<T>(alloc());
    }

    template <typename T>
    bool EnQue(const LocalTensor<T>& tensor) {
        fasim::Buffer& buffer = buffer_of(tensor.GetBufferHandle(), "EnQue");
        if (buffer.state != fasim::BufferState::kOccupied && buffer.state != fasim::BufferState::kDequeued) {
            fasim::fault("TQue::EnQue: the tensor is not allocated from this queue, or already enqueued");
        }
        if constexpr (depth != 0) {
            if (queued_ == depth)
                fasim::fault("TQue::EnQue: the queue holds %d tensors, its depth is %d", queued_, depth);
            order_[(head_ + queued_) % depth] = &buffer;
            ++queued_;
            buffer.enque_id = pipe_->template AllocEventID<enQueEvt>();
        }
        buffer.state = fasim::BufferState::kEnqueued;
        SetFlag<enQueEvt>(buffer.enque_id);
        return true;
    }

    template <typename T>
    LocalTensor<T> DeQue() {
        static_assert(depth != 0, "DeQue: a queue of depth 0 dequeues in place, DeQue(tensor)");
        if (queued_ == 0) {
            fasim::fault("TQue::DeQue: the queue is empty");
            return {};
        }
        fasim::Buffer& buffer = *order_[head_];
        head_ = (head_ + 1) % kSlots;
        --queued_;
        buffer.state = fasim::BufferState::kDequeued;
        WaitFlag<enQueEvt>(buffer.enque_id);
        pipe_->template ReleaseEventID<enQueEvt>(buffer.enque_id);
        buffer.enque_id = INVALID_TEVENTID;
        return tensor_of<T>(buffer);
    }

    template <typename T>
    void DeQue(LocalTensor<T>& tensor) {
        static_assert(depth == 0, "DeQue(tensor): only a queue of depth 0 dequeues in place");
        fasim::Buffer& buffer = buffer_of(tensor.GetBufferHandle(), "DeQue");
        if (buffer.state != fasim::BufferState::kEnqueued)
            fasim::fault("TQue::DeQue: the tensor is not enqueued");
        buffer.state = fasim::BufferState::kDequeued;
        WaitFlag<enQueEvt>(buffer.enque_id);
    }

    template <typename T>
    void FreeTensor(LocalTensor<T>& tensor) {
        fasim::Buffer& buffer = buffer_of(tensor.GetBufferHandle(), "FreeTensor");
        if (buffer.state == fasim::BufferState::kFree)
            fasim::fault("TQue::FreeTensor: the tensor is already free");
        if constexpr (depth != 0) {
            buffer.free_id = pipe_->template AllocEventID<freeBufEvt>();
        }
        SetFlag<freeBufEvt>(buffer.free_id);
        buffer.state = fasim::BufferState::kFree;
    }

    bool VacantInQue() const { return queued_ < depth; }
    bool HasTensorInQue() const { return queued_ > 0; }
    int32_t GetTensorCountInQue() const { return queued_; }
    bool HasIdleBuffer() const {
        for (uint32_t i = 0; i < num_; ++i) {
            if (first_[i].state == fasim::BufferState::kFree) return true;
        }
        return false;
    }

  private:
    friend class TPipe;
    static constexpr int32_t kSlots = depth == 0 ? 1 : depth;

    fasim::Buffer& alloc() {
        for (uint32_t tried = 0; tried < num_; ++tried) {
            fasim::Buffer& buffer = first_[cursor_];
            cursor_ = (cursor_ + 1) % num_;
            if (buffer.state != fasim::BufferState::kFree) continue;
            buffer.state = fasim::BufferState::kOccupied;
            if constexpr (depth == 0) {
                WaitFlag<freeBufEvt>(buffer.free_id);
            } else {
                if (buffer.free_id != INVALID_TEVENTID) {
                    WaitFlag<freeBufEvt>(buffer.free_id);
                    pipe_->template ReleaseEventID<freeBufEvt>(buffer.free_id);
                    buffer.free_id = INVALID_TEVENTID;
                }
            }
            return buffer;
        }
        fasim::fault("TQue::AllocTensor: none of %u buffers is free; InitBuffer or FreeTensor comes first",
                     num_);
        throw fasim::Stop{};
    }

    fasim::Buffer& buffer_of(TBufHandle handle, const char* what) {
        fasim::Buffer* const buffer = reinterpret_cast<fasim::Buffer*>(handle);
        if (buffer == nullptr || buffer < first_ || buffer >= first_ + num_) {
            fasim::fault("TQue::%s: the tensor does not come from this queue", what);
            throw fasim::Stop{};
        }
        return *buffer;
    }

    template <typename T>
    LocalTensor<T> tensor_of(fasim::Buffer& buffer) {
        LocalTensor<T> tensor;
        tensor.SetAddr({static_cast<uint8_t>(bufferPosition), reinterpret_cast<TBufHandle>(&buffer),
                        buffer.bytes, buffer.address});
        return tensor;
    }

    TPipe* pipe_ = nullptr;
    fasim::Buffer* first_ = nullptr;
    uint32_t num_ = 0;
    uint32_t cursor_ = 0;
    int32_t head_ = 0;
    int32_t queued_ = 0;
    fasim::Buffer* order_[kSlots] = {};
};

template <TPosition pos, int32_t depth, auto mask = 0>
class TQue : public TQueBind<fasim::queue_src(pos), fasim::queue_dst(pos), depth, mask> {};

// One buffer without any synchronisation.
template <TPosition pos = TPosition::LCM>
class TBuf {
  public:
    ~TBuf() noexcept(false) {}

    template <typename T>
    LocalTensor<T> Get() {
        return Get<T>(bytes_ / static_cast<uint32_t>(sizeof(T)));
    }

    template <typename T>
    LocalTensor<T> Get(uint32_t len) {
        return GetWithOffset<T>(len, 0);
    }

    template <typename T>
    LocalTensor<T> GetWithOffset(uint32_t size, uint32_t bufOffset) {
        const uint64_t end = uint64_t{bufOffset} + uint64_t{size} * sizeof(T);
        if (end > bytes_) {
            fasim::fault("TBuf: %u elements of %zu bytes at offset %u end at %llu, the buffer has %u bytes",
                         size, sizeof(T), bufOffset, static_cast<unsigned long long>(end), bytes_);
        }
        LocalTensor<T> tensor;
        tensor.SetAddr({static_cast<uint8_t>(pos), nullptr, size * static_cast<uint32_t>(sizeof(T)),
                        address_ + bufOffset});
        return tensor;
    }

    uint32_t GetBufLen() const { return bytes_; }

  private:
    friend class TPipe;
    uint32_t address_ = 0;
    uint32_t bytes_ = 0;
};

template <TPosition src, TPosition dst, int32_t depth, auto mask>
bool TPipe::InitBuffer(TQueBind<src, dst, depth, mask>& que, uint8_t num, uint32_t len) {
    using Queue = TQueBind<src, dst, depth, mask>;
    que.first_ = take(fasim::space_of(Queue::bufferPosition), "TQue", num, len);
    que.num_ = num;
    que.pipe_ = this;
    for (uint32_t i = 0; i < num; ++i) {
        que.first_[i].free_event = Queue::freeBufEvt;
        if constexpr (depth == 0) {
            que.first_[i].enque_id = AllocEventID<Queue::enQueEvt>();
            que.first_[i].free_id = AllocEventID<Queue::freeBufEvt>();
            SetFlag<Queue::freeBufEvt>(que.first_[i].free_id);
        }
    }
    return true;
}

template <TPosition pos>
bool TPipe::InitBuffer(TBuf<pos>& buf, uint32_t len) {
    const fasim::Buffer* const buffer = take(fasim::space_of(pos), "TBuf", 1, len);
    buf.address_ = buffer->address;
    buf.bytes_ = buffer->bytes;
    return true;
}

}  // namespace AscendC
