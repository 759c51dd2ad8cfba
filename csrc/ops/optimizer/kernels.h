// The implementations that optimizer.cpp chooses among, and the constants that they share.
#pragma once

#include "cpu/isa.h"
#include "ops/optimizer/optimizer.h"

namespace fastconv {

// Adam's constants of one step, in double.
struct AdamFactors {
    double shrink;            // 1 - lr * weight_decay if decoupled, else 1
    double step_size;         // lr / (1 - beta1^step)
    double correction2_root;  // sqrt(1 - beta2^step)
};
AdamFactors adam_factors(const AdamParams& p);

// Plain loops in T, the oracle and the float64 path.
template <class T>
void sgd_reference(const SgdParams& p, const SgdState<T>& s, int64_t n);
template <class T>
void adam_reference(const AdamParams& p, const AdamFactors& f, const AdamState<T>& s, int64_t n);
template <class T>
void rmsprop_reference(const RmspropParams& p, const RmspropState<T>& s, int64_t n);

// float32 parameters; the gradients of *_bf16 are bfloat16.
FC_ISA_DECLARE(void sgd_f32(const SgdParams& p, const SgdState<float>& s, int64_t n))
FC_ISA_DECLARE(void adam_f32(const AdamParams& p, const AdamFactors& f, const AdamState<float>& s, int64_t n))
FC_ISA_DECLARE(void rmsprop_f32(const RmspropParams& p, const RmspropState<float>& s, int64_t n))

FC_ISA_DECLARE(void sgd_bf16(const SgdParams& p, const SgdState<float, bfloat16>& s, int64_t n))
FC_ISA_DECLARE(void adam_bf16(const AdamParams& p, const AdamFactors& f, const AdamState<float, bfloat16>& s,
                              int64_t n))
FC_ISA_DECLARE(void rmsprop_bf16(const RmspropParams& p, const RmspropState<float, bfloat16>& s, int64_t n))

}  // namespace fastconv
