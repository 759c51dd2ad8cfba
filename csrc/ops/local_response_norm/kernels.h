// The implementations that local_response_norm.cpp chooses among.
#pragma once

#include "cpu/isa.h"
#include "ops/local_response_norm/local_response_norm.h"

namespace fastconv {

// Columns of a plane that the planar kernel takes at once.
inline constexpr int64_t kLrnColumns = 64;

// Plain loops in T, the oracle and the float64 path.
template <class T>
void lrn_reference(const LrnParams& p, const T* x, T* y);
template <class T>
void lrn_backward_reference(const LrnParams& p, const T* dy, const T* x, T* dx);

// `scratch` holds `team` pieces of lrn_scratch_rows() rows: with inner == 1 a row is `channels` floats; else,
// for backward only, `channels` times kLrnColumns. `bytes` is the size of an element: where it is less than a
// float32's, one more row keeps what must not be rounded yet.
static inline int64_t lrn_scratch_rows(const LrnParams& p, int64_t bytes) {
    return (p.inner == 1 ? 2 : 1) + (bytes < 4 ? 1 : 0);
}
FC_ISA_DECLARE(void lrn_f32(const LrnParams& p, const float* x, float* y, float* scratch, int team))
FC_ISA_DECLARE(void lrn_bf16(const LrnParams& p, const bfloat16* x, bfloat16* y, float* scratch, int team))
FC_ISA_DECLARE(void lrn_backward_bf16(const LrnParams& p, const bfloat16* dy, const bfloat16* x, bfloat16* dx,
                                      float* scratch, int team))
FC_ISA_DECLARE(void lrn_backward_f32(const LrnParams& p, const float* dy, const float* x, float* dx,
                                     float* scratch, int team))

}  // namespace fastconv
