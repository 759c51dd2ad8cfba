// What the channels-last pooling kernels share: how rows, pixels and channels are gone through.
#pragma once

#include "cpu/simd/unrolled.h"
#include "ops/pool2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Below this many rows the channels are split as well.
constexpr int64_t kFewRows = 64;
constexpr int64_t kChannelBlock = 64;

// body(n, row, channel begin, channel end) over the rows of every image, and over blocks of channels as well
// where rows are few.
template <class Body>
inline void for_rows(int64_t n, int64_t rows, int64_t columns, int64_t c, const Body& body) {
    const int64_t blocks = n * rows < kFewRows ? (c + kChannelBlock - 1) / kChannelBlock : 1;
    const int64_t width = blocks == 1 ? c : kChannelBlock;
    const int64_t grain = kGrainElements / (columns * width + 1) + 1;
    parallel_for(n * rows * blocks, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t c0 = i % blocks * width, row = i / blocks;
            body(row / rows, row % rows, c0, c0 + width < c ? c0 + width : c);
        }
        streaming_fence();
    });
}

// A number as a type.
template <int N>
struct Count {
    static constexpr int value = N;
};

// Calls body(vectors, channel, lanes, masks) for 4 vectors of channels at a time, then one, then the rest.
template <class Body>
inline void in_vectors(int64_t c0, int64_t c1, const Body& body) {
    int64_t i = c0;
    for (; i + 4 * VL <= c1; i += 4 * VL) body(Count<4>{}, i, 4 * VL);
    for (; i + VL <= c1; i += VL) body(Count<1>{}, i, VL);
    if (i < c1) body(Count<1>{}, i, c1 - i, tail(c1 - i));
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
