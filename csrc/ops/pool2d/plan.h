// What the pooling kernels are given: per axis, tables of where each window lies. Sliding, dilated, adaptive
// and global windows differ in the tables alone.
#pragma once

#include <cstdint>

#include "fastconv/types.h"

namespace fastconv {

enum class PoolKind : uint8_t { max, mean };

struct PoolAxis {
    int64_t in = 0, out = 0;
    int64_t taps = 1;  // of the largest window
    int64_t step = 1;  // distance between taps
    // Where the windows start at o * stride - pad and have `taps` taps each.
    bool uniform = false;
    int64_t stride = 1, pad = 0;

    // Tap t of window o lies at start[o] + t * step, which is inside the input for first[o] <= t < last[o].
    const int64_t* start = nullptr;
    const int64_t* first = nullptr;
    const int64_t* last = nullptr;
    // This axis's factor of the divisor.
    const double* size = nullptr;
    // The windows that may reach input i: from[i] <= o < to[i].
    const int64_t* from = nullptr;
    const int64_t* to = nullptr;
};

struct PoolPlan {
    PoolKind kind = PoolKind::max;
    Layout layout = Layout::nchw;
    int64_t n = 0, c = 0;
    PoolAxis h, w;
};

}  // namespace fastconv
