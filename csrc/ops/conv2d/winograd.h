// Winograd convolution F(m x m, 3 x 3): filters of 3x3, stride 1, dilation 1. (Lavin and Gray, arXiv
// 1509.09308.)
//
// An output tile of m x m comes from (m + 2)^2 products a channel instead of 9 m^2: the input tile d and the
// filter g are taken to V = B'dB and U = GgG', the products are summed over the channels by one GEMM for each
// of the (m + 2)^2 components, and the tile is A'MA. The components belong to the interpolation points
//
//   0, infinity, 1, -1, 1/2, -2             in this order, for m = 4
//   0, infinity, 1, -1, 1/2, -2, -1/2, 2                   for m = 6
//
// whose error for m = 4 is half that of 0, +-1, +-2. A tile with fewer rows or columns at the edge of the
// image uses the first points: its filter components are among those of whole tiles, because G's row of a
// point depends on the other points only by a factor, which B takes over. So an output of 14 pixels is 4 + 4
// + 4 + 2 with 22 products, not 16 with 24, or 6 + 6 + 2 with 20, and one set of transformed weights serves
// all tiles.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"
#include "ops/conv2d/gather.h"

namespace fastconv {

// One image batch by element strides: channels-last (c == 1) or planar (w == 1).
struct WinogradImage {
    int64_t h, w;  // pixels
    int64_t step_n, step_h, step_w, step_c;
};

// The filter's place in a weight array: element strides of the output channel, the reduced channel and the
// group.
struct WinogradWeight {
    int64_t groups, depth, width;
    int64_t step_g, step_depth, step_width;
    bool rotated;  // by 180 degrees: dgrad
    int tile = 4;  // or 6: outputs of a tile along an axis
};

// fprop, or dgrad with the filter rotated: out[n, i, j] = bias + sum of in[n, i - top + r, j - left + s] *
// U's filter.
struct WinogradConv {
    const float* in;
    float* out;
    const float* packed;  // U, from winograd_pack; null where it is made on the way from `weight`
    const float* weight;
    WinogradWeight filter;
    const float* bias;  // of the whole width, or null
    Finish finish;
    WinogradImage input, output;
    int64_t n;
    int64_t top, left;  // rows and columns of zeros before the input; may be negative
    int64_t groups, depth, width;
};

// dweight (K, C/groups, 3, 3).
struct WinogradWgrad {
    const float* x;
    const float* dy;
    float* dw;
    WinogradImage input, output;  // of x and of dy
    int64_t n;
    int64_t top, left;
    int64_t groups, depth, width;  // C/groups and K/groups
};

// How a convolution is cut; changes no bit. Either each block of tiles goes through all three steps, in
// `passes` over the output channels; or (`stationary`, for few tiles) V of all tiles is made first, and each
// block of output channels transforms its own weights, uses them while they are in cache, and never writes
// them to memory.
struct WinogradPlan {
    int64_t tiles;  // a block
    int64_t passes;
    bool stationary;
    size_t shared, scratch;  // bytes in all and a worker
};

// `tiles` of a block, whose sums are added to those of the blocks before: part of the order of summation, so
// by shape alone.
struct WinogradWgradPlan {
    int64_t tiles;
    size_t shared, scratch;  // bytes in all and a worker
};

FC_ISA_DECLARE(int64_t winograd_packed_floats(const WinogradWeight& w))
FC_ISA_DECLARE(void winograd_pack(const WinogradWeight& w, const float* weight, float* packed))
FC_ISA_DECLARE(WinogradPlan winograd_plan(const WinogradConv& conv, int team))
FC_ISA_DECLARE(void winograd_run(const WinogradConv& conv, const WinogradPlan& plan, char* shared,
                                 char* scratch, int team))
FC_ISA_DECLARE(WinogradWgradPlan winograd_wgrad_plan(const WinogradWgrad& conv))
FC_ISA_DECLARE(void winograd_wgrad_run(const WinogradWgrad& conv, const WinogradWgradPlan& plan, char* shared,
                                       char* scratch, int team))

}  // namespace fastconv
