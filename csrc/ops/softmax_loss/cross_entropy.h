// Cross-entropy of logits and integer labels, with class weights, an ignored label and label smoothing.
#pragma once

#include "ops/softmax_loss/softmax.h"

namespace fastconv {

enum class Reduction : uint8_t { none, mean, sum };

// "none", "mean" or "sum"; ShapeError otherwise.
Reduction reduction_from_name(const char* op, const std::string& name);

struct CrossEntropyParams {
    ClassAxis axis;
    int64_t ignore_index = -100;
    double smoothing = 0;
    Reduction reduction = Reduction::mean;
};

// ShapeError naming `op` and the first label that is neither in [0, classes) nor ignore_index.
void check_labels(const char* op, const CrossEntropyParams& p, const int64_t* labels);

// loss_i = w_y (1 - s) (lse - x_y) + s / C sum_c w_c (lse - x_c) for each row i = (outer, inner); ignored
// rows give 0. The mean divides by the sum of w_y (NaN where there is nothing to average). `weight` may be
// null. `saved` (2, rows; float32 for bfloat16 logits) receives each row's maximum and its sum of e^(x -
// maximum). `loss` is one value, or one a row for Reduction::none. Returns the divisor (1 unless the mean is
// asked for).
double cross_entropy_forward(const CrossEntropyParams& p, const TensorView& x, const int64_t* labels,
                             const TensorView* weight, const TensorView& saved, const TensorView& loss);

// dx in one pass over x, from the forward's `saved` and divisor and the gradient of `loss`.
void cross_entropy_backward(const CrossEntropyParams& p, const TensorView& x, const int64_t* labels,
                            const TensorView* weight, const TensorView& saved, double divisor,
                            const TensorView& dloss, const TensorView& dx);

}  // namespace fastconv
