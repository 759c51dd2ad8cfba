// The implementations that activation.cpp chooses among.
#pragma once

#include "cpu/isa.h"
#include "ops/activation/activation.h"

namespace fastconv {

// Plain loops in T, the oracle and the float64 path.
template <class T>
void activation_reference(Activation kind, ActivationNumbers numbers, const T* x, T* y, int64_t n);
template <class T>
void activation_backward_reference(Activation kind, ActivationNumbers numbers, const T* saved, const T* dy,
                                   T* dx, int64_t n);

FC_ISA_DECLARE(void activation_f32(Activation kind, ActivationNumbers numbers, const float* x, float* y,
                                   int64_t n))
FC_ISA_DECLARE(void activation_bf16(Activation kind, ActivationNumbers numbers, const bfloat16* x,
                                    bfloat16* y, int64_t n))
FC_ISA_DECLARE(void activation_backward_f32(Activation kind, ActivationNumbers numbers, const float* saved,
                                            const float* dy, float* dx, int64_t n))
FC_ISA_DECLARE(void activation_backward_bf16(Activation kind, ActivationNumbers numbers,
                                             const bfloat16* saved, const bfloat16* dy, bfloat16* dx,
                                             int64_t n))

}  // namespace fastconv
