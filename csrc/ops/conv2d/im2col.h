// Convolution of few pixels by many weights: x is unfolded into a matrix of patches whose columns are in the
// weights' own order (channel, tap), and the products are those of a linear layer. Nothing is packed, which
// for few pixels would take longer than the arithmetic; the patches are few by the same token.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fastconv {

struct Im2col {
    bool nchw;  // the layout of the image
    int64_t n, c, h, w;
    int64_t r, s, p, q;
    int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;

    int64_t taps() const { return r * s; }
    int64_t pixels() const { return n * p * q; }
    int64_t columns() const { return c * taps(); }
    // Channels that are turned round at a time, and what a worker needs for that, in floats.
    int64_t block() const { return c < 64 ? c : 64; }
    int64_t scratch() const { return nchw || taps() == 1 ? 0 : (block() * taps() + 15) / 16 * 16; }
};

// patches[pixel][channel * taps + tap] = what the tap finds of x, or 0.
FC_ISA_DECLARE(void im2col_unfold(const Im2col& g, const float* x, float* patches, float* scratch, int team))
// x = bias, plus each patch's values where the taps of unfold found theirs, in the order of the pixels.
FC_ISA_DECLARE(void im2col_fold(const Im2col& g, const float* patches, const float* bias, float* x,
                                float* scratch, int team))

}  // namespace fastconv
