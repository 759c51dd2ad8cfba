// The implementations that elementwise.cpp chooses among.
#pragma once

#include "cpu/isa.h"
#include "ops/elementwise/elementwise.h"

namespace fastconv {

// A broadcast binary operation after joining neighbouring dimensions that both operands walk alike: `ndim`
// loops, outermost first, over a contiguous output. A stride of 0 repeats an operand.
struct BinaryLoops {
    int ndim = 0;
    int64_t size[kMaxDims] = {};
    int64_t a[kMaxDims] = {};
    int64_t b[kMaxDims] = {};
    int64_t total = 0;
};

// Plain loops in T, the oracle and the float64 path.
template <class T>
void binary_reference(Binary kind, const BinaryLoops& loops, const T* a, const T* b, T* out);

FC_ISA_DECLARE(void binary_f32(Binary kind, const BinaryLoops& loops, const float* a, const float* b,
                               float* out))
FC_ISA_DECLARE(void binary_bf16(Binary kind, const BinaryLoops& loops, const bfloat16* a, const bfloat16* b,
                                bfloat16* out))
// b, or a, repeats one float32 number.
FC_ISA_DECLARE(void binary_bf16_number(Binary kind, const BinaryLoops& loops, const bfloat16* a,
                                       const float* b, bfloat16* out))
FC_ISA_DECLARE(void binary_number_bf16(Binary kind, const BinaryLoops& loops, const float* a,
                                       const bfloat16* b, bfloat16* out))

}  // namespace fastconv
