// The implementations that the softmax and loss entries choose among.
#pragma once

#include "cpu/isa.h"
#include "ops/softmax_loss/pointwise_loss.h"

namespace fastconv {

// What a row of the cross-entropy needs besides its logits.
struct CrossEntropyTerms {
    ClassAxis axis;
    const int64_t* labels = nullptr;
    int64_t ignore_index = -100;
    double smoothing = 0;   // s
    double weight_sum = 0;  // sum over the classes, C without weights
};

// Gradient of the loss: one value for all rows times `scale`, or one a row.
template <class T>
struct LossGradient {
    const T* data = nullptr;
    bool each = false;
    double scale = 1;
};

// Operands of a pointwise loss; weight and pos_weight may be null.
template <class T>
struct PointLossInputs {
    PointLoss kind = PointLoss::mse;
    double delta = 1;
    const T* x = nullptr;
    const T* t = nullptr;
    const T* weight = nullptr;
    const T* pos_weight = nullptr;
};

// Pointwise losses are summed in blocks of this many elements, each in double, and the blocks in order.
inline constexpr int64_t kLossBlock = 1024;

// Plain loops in T, the oracle and the float64 path.
template <class T>
void softmax_reference(const ClassAxis& axis, bool log, const T* x, T* y);
template <class T>
void softmax_backward_reference(const ClassAxis& axis, bool log, const T* y, const T* dy, T* dx);
// loss has one value a row.
template <class T>
void cross_entropy_reference(const CrossEntropyTerms& terms, const T* x, const T* weight, T* maximum,
                             T* total, double* loss);
template <class T>
void cross_entropy_backward_reference(const CrossEntropyTerms& terms, const T* x, const T* weight,
                                      const T* maximum, const T* total, const LossGradient<T>& g, T* dx);
// Writes each element's loss to `each` where it is not null, else the blocks' sums to `blocks`.
template <class T>
void pointwise_loss_reference(const PointLossInputs<T>& in, int64_t n, T* each, double* blocks);
template <class T>
void pointwise_loss_backward_reference(const PointLossInputs<T>& in, bool wrt_target, int64_t n,
                                       const LossGradient<T>& g, T* dx);

FC_ISA_DECLARE(void softmax_f32(const ClassAxis& axis, bool log, const float* x, float* y))
FC_ISA_DECLARE(void softmax_bf16(const ClassAxis& axis, bool log, const bfloat16* x, bfloat16* y))
FC_ISA_DECLARE(void softmax_backward_bf16(const ClassAxis& axis, bool log, const bfloat16* y,
                                          const bfloat16* dy, bfloat16* dx))
FC_ISA_DECLARE(void softmax_backward_f32(const ClassAxis& axis, bool log, const float* y, const float* dy,
                                         float* dx))
FC_ISA_DECLARE(void cross_entropy_f32(const CrossEntropyTerms& terms, const float* x, const float* weight,
                                      float* maximum, float* total, double* loss))
FC_ISA_DECLARE(void cross_entropy_bf16(const CrossEntropyTerms& terms, const bfloat16* x,
                                       const bfloat16* weight, float* maximum, float* total, double* loss))
FC_ISA_DECLARE(void cross_entropy_backward_bf16(const CrossEntropyTerms& terms, const bfloat16* x,
                                                const bfloat16* weight, const float* maximum,
                                                const float* total, const LossGradient<bfloat16>& g,
                                                bfloat16* dx))
FC_ISA_DECLARE(void cross_entropy_backward_f32(const CrossEntropyTerms& terms, const float* x,
                                               const float* weight, const float* maximum, const float* total,
                                               const LossGradient<float>& g, float* dx))
FC_ISA_DECLARE(void pointwise_loss_f32(const PointLossInputs<float>& in, int64_t n, float* each,
                                       double* blocks))
FC_ISA_DECLARE(void pointwise_loss_bf16(const PointLossInputs<bfloat16>& in, int64_t n, bfloat16* each,
                                        double* blocks))
FC_ISA_DECLARE(void pointwise_loss_backward_bf16(const PointLossInputs<bfloat16>& in, bool wrt_target,
                                                 int64_t n, const LossGradient<bfloat16>& g, bfloat16* dx))
FC_ISA_DECLARE(void pointwise_loss_backward_f32(const PointLossInputs<float>& in, bool wrt_target, int64_t n,
                                                const LossGradient<float>& g, float* dx))

}  // namespace fastconv
