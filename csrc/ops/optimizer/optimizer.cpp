#include "ops/optimizer/optimizer.h"

#include <cmath>

#include "ops/optimizer/kernels.h"

namespace fastconv {

AdamFactors adam_factors(const AdamParams& p) {
    const double step = static_cast<double>(p.step);
    const double correction1 = 1 - std::pow(p.beta1, step), correction2 = 1 - std::pow(p.beta2, step);
    return {p.decoupled ? 1 - p.lr * p.weight_decay : 1, p.lr / correction1, std::sqrt(correction2)};
}

template <>
void sgd_step(const SgdParams& p, const SgdState<float>& s, int64_t n) {
    FC_ISA_PICK(sgd_f32)(p, s, n);
}
template <>
void sgd_step(const SgdParams& p, const SgdState<float, bfloat16>& s, int64_t n) {
    FC_ISA_PICK(sgd_bf16)(p, s, n);
}
template <>
void sgd_step(const SgdParams& p, const SgdState<double>& s, int64_t n) {
    sgd_reference(p, s, n);
}
template <>
void adam_step(const AdamParams& p, const AdamState<float>& s, int64_t n) {
    FC_ISA_PICK(adam_f32)(p, adam_factors(p), s, n);
}
template <>
void adam_step(const AdamParams& p, const AdamState<float, bfloat16>& s, int64_t n) {
    FC_ISA_PICK(adam_bf16)(p, adam_factors(p), s, n);
}
template <>
void adam_step(const AdamParams& p, const AdamState<double>& s, int64_t n) {
    adam_reference(p, adam_factors(p), s, n);
}
template <>
void rmsprop_step(const RmspropParams& p, const RmspropState<float>& s, int64_t n) {
    FC_ISA_PICK(rmsprop_f32)(p, s, n);
}
template <>
void rmsprop_step(const RmspropParams& p, const RmspropState<float, bfloat16>& s, int64_t n) {
    FC_ISA_PICK(rmsprop_bf16)(p, s, n);
}
template <>
void rmsprop_step(const RmspropParams& p, const RmspropState<double>& s, int64_t n) {
    rmsprop_reference(p, s, n);
}

}  // namespace fastconv
