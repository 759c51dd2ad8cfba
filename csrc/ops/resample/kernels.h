// The implementations that resample.cpp chooses among. An array is seen as (outer, size of the dimension,
// inner).
#pragma once

#include "cpu/isa.h"
#include "ops/resample/resample.h"

namespace fastconv {

// One element at a time: the oracle and the float64 path.
template <class T>
void resample_reference(const ResampleTable& table, int64_t outer, int64_t inner, const T* x, T* y);

// The table's weights as float32.
FC_ISA_DECLARE(void resample_f32(const ResampleTable& table, const float* weight, int64_t outer,
                                 int64_t inner, const float* x, float* y))
FC_ISA_DECLARE(void resample_bf16(const ResampleTable& table, const float* weight, int64_t outer,
                                  int64_t inner, const bfloat16* x, bfloat16* y))

}  // namespace fastconv
