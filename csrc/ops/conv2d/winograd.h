// Winograd convolution F(m x m, r x r): filters of r x r, 2 to 5, stride 1, dilation 1. (Lavin and Gray,
// arXiv 1509.09308.)
//
// An output tile of m x m comes from (m + r - 1)^2 products a channel instead of r^2 m^2: the input tile d
// and the filter g are taken to V = B'dB and U = GgG', the products are summed over the channels by one GEMM
// for each of the (m + r - 1)^2 components, and the tile is A'MA. The components belong to the interpolation
// points
//
//   0, infinity, 1, -1, 1/2, -2             in this order, for six
//   0, infinity, 1, -1, 1/2, -2, -1/2, 2                   for eight
//
// whose error for six points is half that of 0, +-1, +-2. A tile with fewer rows or columns at the edge of
// the image uses the first points: its filter components are among those of whole tiles, because G's row of a
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

// F(m x m, r x r): outputs of a tile and taps of a filter, along an axis.
struct WinogradForm {
    int tile = 4, taps = 3;
};

// The form for a problem that Winograd takes: 3x3 filters have tiles of `tile`, 4 or 6; others those that
// make up eight points, or six for 2x2.
WinogradForm winograd_form(const Conv2dProblem& p, int tile);

// A convolution of stride s > 1 is one of stride 1 on s x s times the channels, those of the s x s phases of
// x: phase (a, b) has the pixels (s i + a, s j + b) of x in its frame of zeros. A phase's filter has every
// s-th tap of each axis from (a, b) on; where that is one less than others have, a zero.
//
// dgrad (`outputs`) has the phases of dx as output channels: (s i + a, s j + b) is a convolution of dy with
// the taps (a + start_row - s r, b + start_col - s t), r and t from 0 on, where the filter has them.
//
// A phase with one tap less has zeros for all filter components of infinity, or of the point 0: those
// products are left out. With 3x3 of stride 2 that leaves 121 of 144.
struct WinogradPhases {
    int64_t down = 1, across = 1;  // strides
    int64_t channels = 0;          // of x, a group; in dgrad as many as fill vectors
    int64_t rows = 3, cols = 3;    // of the whole filter
    bool columns_first =
        false;  // the order of a pixel's channels: (b, a, channel) instead of (a, b, channel)
    bool outputs = false;
    int64_t start_row = 0, start_col = 0;
};

// Taps of a whole filter of several phases.
constexpr int64_t kMostPhaseTaps = 576;

// The filter's place in a weight array: element strides of the output channel, the reduced channel and the
// group.
struct WinogradWeight {
    int64_t groups, depth, width;
    int64_t step_g, step_depth, step_width;
    bool rotated;  // by 180 degrees: dgrad
    WinogradForm form;
    WinogradPhases phases;
    DType dtype = DType::f32;  // of the arrays: float32, or bfloat16, which is widened and rounded on the way
    int64_t of_phase = 0;      // dgrad over phases: output channels of each
};

// fprop, or dgrad with the filter rotated: out[n, i, j] = bias + sum of in[n, i - top + r, j - left + s] *
// U's filter.
struct WinogradConv {
    const void* in;
    void* out;
    const float* packed;  // U, from winograd_pack; null where it is made on the way from `weight`
    const void* weight;
    WinogradWeight filter;
    ConvEpilogue epilogue;
    WinogradImage input, output;
    int64_t n;
    int64_t top, left;  // rows and columns of zeros before the input; may be negative
    int64_t groups, depth, width;
    WinogradImage whole{};  // dgrad over phases: dx; `output` then is one of them
};

// dweight (K, C/groups, R, S).
struct WinogradWgrad {
    WinogradForm form;
    WinogradPhases phases;
    DType dtype = DType::f32;
    const void* x;
    const void* dy;
    void* dw;
    WinogradImage input, output;  // of x and of dy
    int64_t n;
    int64_t top, left;
    int64_t groups, depth, width;  // C/groups (of all phases) and K/groups
};

// How a convolution is cut; changes no bit. Either each block of tiles goes through all three steps, in
// `passes` over the output channels, and where there are fewer blocks than threads `parts` of the output
// channels do so on their own; or (`stationary`, for few tiles) V of all tiles is made first, and each block
// of output channels transforms its own weights, uses them while they are in cache, and never writes them to
// memory.
struct WinogradPlan {
    int64_t tiles;  // a block
    int64_t parts;
    int64_t passes;  // of all parts
    bool stationary;
    size_t shared, scratch;  // bytes in all and a worker
};

// `tiles` of a block, whose sums are added to those of the blocks before: part of the order of summation, so
// by shape alone. And the pieces that output (`down`) or input channels (`across`) are cut into, which change
// no bit: where there are several, one worker does a piece alone, else all share each block. Where there are
// several `parts`, each is a run of blocks with sums of its own, done by one worker: by shape alone too.
struct WinogradWgradPlan {
    int64_t tiles, parts, down, across;
    size_t shared, scratch;  // bytes in all and a worker
};

FC_ISA_DECLARE(int64_t winograd_lanes())
FC_ISA_DECLARE(int64_t winograd_packed_floats(const WinogradWeight& w))
FC_ISA_DECLARE(void winograd_pack(const WinogradWeight& w, const void* weight, float* packed))
FC_ISA_DECLARE(WinogradPlan winograd_plan(const WinogradConv& conv, int team))
FC_ISA_DECLARE(void winograd_run(const WinogradConv& conv, const WinogradPlan& plan, char* shared,
                                 char* scratch, int team))
FC_ISA_DECLARE(WinogradWgradPlan winograd_wgrad_plan(const WinogradWgrad& conv, int team))
FC_ISA_DECLARE(void winograd_wgrad_run(const WinogradWgrad& conv, const WinogradWgradPlan& plan, char* shared,
                                       char* scratch, int team))

}  // namespace fastconv
