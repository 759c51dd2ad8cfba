#include "program/permute.h"

#include <cstring>

#include "core/checks.h"
#include "cpu/layout/transpose.h"
#include "cpu/threads.h"

namespace fastconv::program {

Permutation::Permutation(DType dtype, const Shape& shape, const std::vector<int64_t>& dims)
    : item_(size_of(dtype)), count_(element_count("transpose", shape)) {
    int64_t strides[kMaxDims] = {}, step = 1;
    for (int i = shape.ndim - 1; i >= 0; --i) strides[i] = step, step *= shape[i];
    for (int64_t d : dims) {
        const int64_t size = shape[static_cast<int>(d)], stride = strides[d];
        if (size == 1) continue;
        if (ndim_ && stride_[ndim_ - 1] == stride * size) {
            size_[ndim_ - 1] *= size;
            stride_[ndim_ - 1] = stride;
            continue;
        }
        size_[ndim_] = size, stride_[ndim_] = stride, ++ndim_;
    }
}

namespace {

struct Rows {
    const char* from;
    char* to;
    int64_t item;
    int ndim;
    const int64_t *size, *stride;

    // Rows (runs of the result's last dimension) [begin, end).
    template <class T>
    void copy(int64_t begin, int64_t end) const {
        const int last = ndim - 1;
        const int64_t length = size[last], step = stride[last];
        for (int64_t row = begin; row < end; ++row) {
            int64_t rest = row, at = 0;
            for (int d = last - 1; d >= 0; --d) {
                at += rest % size[d] * stride[d];
                rest /= size[d];
            }
            const T* source = reinterpret_cast<const T*>(from) + at;
            T* target = reinterpret_cast<T*>(to) + row * length;
            if (step == 1)
                std::memcpy(target, source, static_cast<size_t>(length) * sizeof(T));
            else
                for (int64_t i = 0; i < length; ++i) target[i] = source[i * step];
        }
    }
    void run(int64_t begin, int64_t end) const {
        if (item == 1) copy<uint8_t>(begin, end);
        if (item == 2) copy<uint16_t>(begin, end);
        if (item == 4) copy<uint32_t>(begin, end);
        if (item == 8) copy<uint64_t>(begin, end);
    }
};

}  // namespace

void Permutation::run(const void* from, void* to) const {
    if (!count_) return;
    if (ndim_ <= 1) {
        std::memcpy(to, from, static_cast<size_t>(count_ * item_));
        return;
    }
    // A batch of matrices, each transposed.
    const bool batch = ndim_ == 3 && stride_[0] == size_[1] * size_[2];
    const int row = batch ? 1 : 0;
    if (item_ == 4 && (ndim_ == 2 || batch) && stride_[row] == 1 && stride_[row + 1] == size_[row])
        return FC_ISA_PICK(transpose_batch_f32)(static_cast<const float*>(from), static_cast<float*>(to),
                                                batch ? size_[0] : 1, size_[row + 1], size_[row]);
    const Rows rows{static_cast<const char*>(from), static_cast<char*>(to), item_, ndim_, size_, stride_};
    const int64_t length = size_[ndim_ - 1], grain = (32768 + length * item_ - 1) / (length * item_);
    parallel_run(
        count_ / length, grain,
        [](void* context, int64_t begin, int64_t end, int) {
            static_cast<const Rows*>(context)->run(begin, end);
        },
        const_cast<void*>(static_cast<const void*>(&rows)), num_threads());
}

}  // namespace fastconv::program
