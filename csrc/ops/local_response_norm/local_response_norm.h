// Local response normalisation across neighbouring channels (Krizhevsky, Sutskever and Hinton, 2012).
#pragma once

#include <cstdint>

#include "fastconv/types.h"

namespace fastconv {

// y[c] = x[c] / (k + alpha / size * sum of x[j]^2)^beta over the window c - before <= j <= c + after.
struct LrnParams {
    int64_t outer = 0, channels = 0, inner = 0;  // NCHW is (N, C, H*W), NHWC is (N*H*W, C, 1)
    int64_t before = 0, after = 0;               // at most channels - 1
    double scale = 0;                            // alpha / size
    double beta = 0.75;
    double k = 1;
};

// The parameters for an input of at least 3 dimensions; an even window of `size` channels has its extra one
// before. ShapeError naming `op` where they do not fit.
LrnParams lrn_params(const char* op, const Shape& input, Layout layout, int64_t size, double alpha,
                     double beta, double k);

void local_response_norm_forward(const LrnParams& p, const TensorView& x, const TensorView& y);
// dx from dy and the forward's input.
void local_response_norm_backward(const LrnParams& p, const TensorView& dy, const TensorView& x,
                                  const TensorView& dx);

}  // namespace fastconv
