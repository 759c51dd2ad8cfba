// The depthwise kernels on channels-last memory, serial: run over the caller's arrays in parallel pieces, or
// over a worker's panels of one vector of channels.
#pragma once

#include "ops/conv2d/cpu/prefetch.h"
#include "ops/conv2d/depthwise.h"

namespace fastconv::FC_ISA_NS {

// Whether the tiles take the problem; else the functions for single pixels do.
bool depthwise_fprop_tiled(const DepthwiseNhwc& g);
bool depthwise_dgrad_tiled(const DepthwiseNhwc& g);

// Items [begin, end) of depthwise_fprop_items() or depthwise_dgrad_items(). `ahead`, where given, is
// prefetched on the way instead of what these arrays hold next.
int64_t depthwise_fprop_items(const DepthwiseNhwc& g);
void depthwise_fprop_piece(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                           float* y, int64_t begin, int64_t end, Ahead<true>* ahead = nullptr);
int64_t depthwise_dgrad_items(const DepthwiseNhwc& g);
void depthwise_dgrad_piece(const DepthwiseNhwc& g, const float* packed, const float* dy, const float* bias,
                           float* dx, int64_t begin, int64_t end, Ahead<true>* ahead = nullptr);

// sums[vector][tap][VL] += what output rows [row0, row1) of the batch give vectors [v0, v1) of channels.
void depthwise_wgrad_piece(const DepthwiseNhwc& g, const float* x, const float* dy, int64_t row0,
                           int64_t row1, int64_t v0, int64_t v1, float* sums, Ahead<false>* ahead = nullptr);

}  // namespace fastconv::FC_ISA_NS
