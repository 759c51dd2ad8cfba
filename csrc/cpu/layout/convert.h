// Whole arrays from one element type to another, over threads.
#pragma once

#include "cpu/isa.h"
#include "fastconv/types.h"

namespace fastconv {

FC_ISA_DECLARE(void convert_bf16_to_f32(const bfloat16* from, float* to, int64_t n))
// Round to nearest, ties to even.
FC_ISA_DECLARE(void convert_f32_to_bf16(const float* from, bfloat16* to, int64_t n))

}  // namespace fastconv
