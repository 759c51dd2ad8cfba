// What a convolution is expected to cost by each algorithm, from its counts and a machine's coefficients.
// No call is ever timed, so that the choice, and with it the bits, are the same from run to run. (Whether
// memory is fast, machine.h, and vdpbf16ps are timed once. Both tell classes of machines apart.)
#pragma once

#include "ops/conv2d/conv2d.h"

namespace fastconv {

// Clock cycles, one thread. Where the coefficients come from: cost.cpp.
struct CostTable {
    double flops;          // float operations a cycle at the FMA peak
    double lanes;          // floats a vector
    double direct;         // share of the peak that direct fprop and dgrad reach
    double direct_wgrad;   // and wgrad
    double few_channels;   // reduced channels at which direct reaches half of that share
    double direct_weight;  // packing one weight of fprop or dgrad
    double gemm;           // share that Winograd's GEMM reaches
    double gemm_wgrad;
    double input, output;  // transform of one whole 4x4 tile of one vector of channels
    double planar;         // more of either for NCHW arrays
    double filter;         // transform of one vector of filters for 4x4 tiles
    double turned;         // the same in dgrad, whose filters lie in another order
    double sums;           // wgrad: adding to one vector of sums, for each block of tiles
    double start;          // of a call
    double larger;         // products and transforms with eight points, against what their counts promise
    double gather;         // a tap of a stride's phase, picked from a filter
    double copy;           // a vector of a pixel of the phases
};

// What a machine was measured to take against the table (`fastconv tune`): each cost is multiplied by its
// own.
struct CostScale {
    double direct = 1, direct_wgrad = 1, winograd = 1, winograd6 = 1, winograd_wgrad = 1;
};
CostScale cost_scale();
void set_cost_scale(const CostScale& scale);

struct ConvCost {
    double direct = 0;
    double winograd = 0;   // 3x3 by tiles of 4x4, other filters
    double winograd6 = 0;  // 3x3 by tiles of 6x6: fprop and dgrad
};

// Of a problem that winograd takes.
ConvCost conv_cost(const Conv2dProblem& problem, ConvDirection direction);

}  // namespace fastconv
