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

// `scratch` holds `team` pieces: with inner == 1, 2 rows of `channels` floats; else, for backward only,
// `channels` rows of kLrnColumns floats.
FC_ISA_DECLARE(void lrn_f32(const LrnParams& p, const float* x, float* y, float* scratch, int team))
FC_ISA_DECLARE(void lrn_backward_f32(const LrnParams& p, const float* dy, const float* x, float* dx,
                                     float* scratch, int team))

}  // namespace fastconv
