// The negative logarithm of the labels' probabilities, given the logarithms.
#pragma once

#include "ops/softmax_loss/cross_entropy.h"

namespace fastconv {

// loss_i = -w_y x_y for each row i = (outer, inner); ignored rows give 0. The mean divides by the sum of w_y.
// `weight` may be null; p.smoothing is not looked at. Returns the divisor (1 unless the mean is asked for).
double nll_loss_forward(const CrossEntropyParams& p, const TensorView& x, const int64_t* labels,
                        const TensorView* weight, const TensorView& loss);

// dx from the forward's divisor and the gradient of `loss`: 0 but at the labels.
void nll_loss_backward(const CrossEntropyParams& p, const int64_t* labels, const TensorView* weight,
                       double divisor, const TensorView& dloss, const TensorView& dx);

}  // namespace fastconv
