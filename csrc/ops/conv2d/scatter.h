// dgrad of few input channels: the lanes are a filter's row, (s, channel), of which dx has as many
// neighbours.
//
// A pixel of dy gives R rows of S * C neighbouring values of dx, sums over its K channels that are added to
// what other pixels gave. Nothing is multiplied with padding or with the zeros of a stride, and the lanes are
// full where S * C is near a multiple of them: 30 of 32 for LeNet's second layer, where lanes along the 6
// channels, or along the 14 columns of dx with the frame of zeros that this takes, do a third as much.
//
// A work item is a band of rows of dx of one image, in a frame that also holds what falls into the padding.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"

namespace fastconv {

struct ScatterConv {
    const float* dy;
    const float* packed;  // [k][r][vectors]
    const float* bias;    // C values or null
    float* dx;
    bool nchw;
    int64_t n, c, h, w, k, p, q, r, s;
    int64_t stride_h, stride_w, pad_h, pad_w, dilation_h;  // rows may be dilated
    int64_t band;                                          // rows of dx of an item

    int64_t run() const { return s * c; }
    // Pixels of a row of the frame.
    int64_t cols() const {
        const int64_t reached = (q - 1) * stride_w + s, image = pad_w + w;
        return reached > image ? reached : image;
    }
    int64_t bands() const { return (h + band - 1) / band; }
};

FC_ISA_DECLARE(int64_t scatter_lanes())
// Vectors of a filter's row; 0 where they are more than the kernel takes.
FC_ISA_DECLARE(int64_t scatter_vectors(int64_t run))
// Floats of scratch of a worker.
FC_ISA_DECLARE(int64_t scatter_scratch(const ScatterConv& g))
FC_ISA_DECLARE(void scatter_run(const ScatterConv& g, float* scratch, int team))

}  // namespace fastconv
