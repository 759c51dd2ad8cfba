// The implementations that dropout.cpp chooses among.
#pragma once

#include "cpu/isa.h"
#include "cpu/philox_block.h"
#include "ops/dropout/dropout.h"

namespace fastconv {

struct DropoutParams {
    uint64_t key = 0;
    uint64_t threshold = 0;  // words below it are dropped; p 2^32, up to 2^32
    double scale = 1;        // of kept elements
};

// Plain loops in T, the oracle and the float64 path.
template <class T>
void dropout_reference(const DropoutParams& p, const T* x, T* y, int64_t n);

FC_ISA_DECLARE(void dropout_f32(const DropoutParams& p, const float* x, float* y, int64_t n))
FC_ISA_DECLARE(void dropout_bf16(const DropoutParams& p, const bfloat16* x, bfloat16* y, int64_t n))

}  // namespace fastconv
