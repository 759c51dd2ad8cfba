// Losses that compare two arrays element by element.
#pragma once

#include "ops/softmax_loss/cross_entropy.h"

namespace fastconv {

// mse: (x - t)^2. l1: |x - t|. huber: d^2 / 2 up to |d| = delta, delta (|d| - delta / 2) beyond.
// bce: w ((1 - t) x + (1 + (pw - 1) t) log(1 + e^-x)), the cross-entropy of sigmoid(x) and t.
enum class PointLoss : uint8_t { mse, l1, huber, bce };

PointLoss point_loss_from_name(const std::string& name);

struct PointLossParams {
    PointLoss kind = PointLoss::mse;
    double delta = 1;
    Reduction reduction = Reduction::mean;
};

// `weight` and `pos_weight` (bce) have x's shape or are null. `loss` has one value, or x's shape for none.
void pointwise_loss_forward(const PointLossParams& p, const TensorView& x, const TensorView& t,
                            const TensorView* weight, const TensorView* pos_weight, const TensorView& loss);

// The gradient with respect to x, or to t where `wrt_target`.
void pointwise_loss_backward(const PointLossParams& p, bool wrt_target, const TensorView& x,
                             const TensorView& t, const TensorView* weight, const TensorView* pos_weight,
                             const TensorView& dloss, const TensorView& dx);

}  // namespace fastconv
