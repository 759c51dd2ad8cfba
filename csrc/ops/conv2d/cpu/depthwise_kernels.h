// The depthwise kernels on channels-last memory, serial: run over the caller's arrays in parallel pieces, or
// over a worker's panels of one vector of channels.
#pragma once

#include "ops/conv2d/cpu/prefetch.h"
#include "ops/conv2d/depthwise.h"

namespace fastconv::FC_ISA_NS {

// The vectors that cover a pixel's channels, where it lies: from its start on, or where that is no multiple
// of a vector in memory and there are many, one up to the first such place and then whole lines. A load
// across two lines takes twice as long, and its second line must still be in L1 when the next vector comes to
// it.
struct Lanes {
    int64_t c, start, count;  // channels; of the first vector, up to VL - 1 in front of them; vectors

    explicit Lanes(int64_t channels, int64_t first = 0)
        : c(channels), start(first), count(ceil_div(channels - first, VL)) {}
    // The first channel of a vector; those that begin or end outside are moved inside.
    int64_t channel(int64_t v) const { return most(0, least(start + v * VL, c - VL)); }
};

namespace {

// 3x3 tiles step over whole pixels of several rows, and no prefetcher of the processor follows: each vector
// fetches the lines that the one so many vectors on will be the first to read, in the next tiles where this
// one ends.
constexpr int64_t kVectorsAhead = 4;
constexpr int64_t kManyVectors = 16;  // one more of them costs less than it saves
inline Lanes lanes_of(int64_t c, const float* x) {
    const auto behind = static_cast<int64_t>(reinterpret_cast<uintptr_t>(x) / sizeof(float) % VL);
    return Lanes(c, behind && c % VL == 0 && c >= kManyVectors * VL ? -behind : 0);
}

}  // namespace

// Whether the tiles take the problem; else the functions for single pixels do.
bool depthwise_fprop_tiled(const DepthwiseNhwc& g);
bool depthwise_dgrad_tiled(const DepthwiseNhwc& g);

// Items [begin, end) of depthwise_fprop_items() or depthwise_dgrad_items(). `ahead`, where given, is
// prefetched on the way instead of what these arrays hold next.
int64_t depthwise_fprop_items(const DepthwiseNhwc& g);
void depthwise_fprop_piece(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                           float* y, int64_t begin, int64_t end, Ahead<true>* ahead = nullptr);
// Output rows [p0, p1) of image n from an input that L2 holds, for problems that the tiles take.
void depthwise_fprop_rows(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                          float* y, int64_t n, int64_t p0, int64_t p1);
int64_t depthwise_dgrad_items(const DepthwiseNhwc& g);
void depthwise_dgrad_piece(const DepthwiseNhwc& g, const float* packed, const float* dy, const float* bias,
                           float* dx, int64_t begin, int64_t end, Ahead<true>* ahead = nullptr);

// sums[vector][tap][VL] += what output rows [row0, row1) of the batch give vectors [v0, v1) of `lanes`.
void depthwise_wgrad_piece(const DepthwiseNhwc& g, const float* x, const float* dy, int64_t row0,
                           int64_t row1, const Lanes& lanes, int64_t v0, int64_t v1, float* sums,
                           Ahead<false>* ahead = nullptr);

}  // namespace fastconv::FC_ISA_NS
