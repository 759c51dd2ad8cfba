// What the depthwise kernels (one filter an output channel) are told. The depth multiplier m = K / C makes
// output channel k read input channel k / m.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"

namespace fastconv {

// Channels-last arrays of `c` channels each: with a multiplier the caller has widened the input to K
// channels. Packed weights are [tap][channel].
struct DepthwiseNhwc {
    int64_t n, c, h, w, p, q, r, s;
    int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    int64_t splits;       // wgrad: parts of the reduction, a number that depends on shapes only
    int64_t stream_from;  // results of so many floats and more go past the caches
    bool clamp;           // fprop on channels-last arrays: results are brought into [low, high], NaN stays
    float low, high;
};
FC_ISA_DECLARE(void depthwise_fprop_run(const DepthwiseNhwc& g, const float* x, const float* packed,
                                        const float* bias, float* y))
FC_ISA_DECLARE(void depthwise_dgrad_run(const DepthwiseNhwc& g, const float* packed, const float* dy,
                                        const float* bias, float* dx))
// partial: depthwise_wgrad_partial() floats; dweight: [channel][tap].
FC_ISA_DECLARE(int64_t depthwise_wgrad_partial(const DepthwiseNhwc& g))
FC_ISA_DECLARE(void depthwise_wgrad_run(const DepthwiseNhwc& g, const float* x, const float* dy,
                                        float* partial, float* dweight))

// NCHW arrays, without a depth multiplier. Packed weights are [vector of channels][tap][lane]; `direction` is
// 0 for fprop and wgrad, 1 for dgrad; scratch: so many floats for each worker of the team.
FC_ISA_DECLARE(int64_t depthwise_nchw_packed(int64_t c, int64_t taps))
FC_ISA_DECLARE(void depthwise_nchw_pack(const float* weight, int64_t c, int64_t taps, bool turn,
                                        float* packed))
FC_ISA_DECLARE(int64_t depthwise_nchw_scratch(const DepthwiseNhwc& g, int direction))
FC_ISA_DECLARE(void depthwise_nchw_fprop_run(const DepthwiseNhwc& g, const float* x, const float* packed,
                                             const float* bias, float* y, float* scratch, int team))
FC_ISA_DECLARE(void depthwise_nchw_dgrad_run(const DepthwiseNhwc& g, const float* packed, const float* dy,
                                             const float* bias, float* dx, float* scratch, int team))
// partial: depthwise_wgrad_partial() floats.
FC_ISA_DECLARE(void depthwise_nchw_wgrad_run(const DepthwiseNhwc& g, const float* x, const float* dy,
                                             float* partial, float* dweight, float* scratch, int team))

// The same, one pixel at a time: any geometry, any number of channels.
FC_ISA_DECLARE(void depthwise_pixels_fprop(const DepthwiseNhwc& g, const float* x, const float* packed,
                                           const float* bias, float* y))
FC_ISA_DECLARE(void depthwise_pixels_dgrad(const DepthwiseNhwc& g, const float* packed, const float* dy,
                                           const float* bias, float* dx))

// out[pixel, k] = in[pixel, k / m], and its adjoint: in[pixel, c] = sum of the m channels.
FC_ISA_DECLARE(void repeat_channels_f32(const float* in, float* out, int64_t pixels, int64_t c, int64_t m))
FC_ISA_DECLARE(void sum_channels_f32(const float* in, const float* bias, float* out, int64_t pixels,
                                     int64_t c, int64_t m))

}  // namespace fastconv
