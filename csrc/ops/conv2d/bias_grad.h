// Per-channel sums of an output gradient: the bias gradient of convolution and of linear.
#pragma once

#include "cpu/isa.h"
#include "fastconv/types.h"

namespace fastconv {

// dbias[k] = sum over the other dimensions of dy; `partial` holds bias_grad_partials() x k floats.
FC_ISA_DECLARE(int64_t bias_grad_partials(bool nchw, int64_t n, int64_t pixels))
FC_ISA_DECLARE(void bias_grad_run(bool nchw, int64_t n, int64_t k, int64_t pixels, const float* dy,
                                  float* partial, float* dbias))
FC_ISA_DECLARE(void bias_grad_bf16_run(bool nchw, int64_t n, int64_t k, int64_t pixels, const bfloat16* dy,
                                       float* partial, bfloat16* dbias))

}  // namespace fastconv
