// The loops that machine.cpp times.
#pragma once

#include "cpu/isa.h"
#include "ops/machine/machine.h"

namespace fastconv {

// Returns the floating-point operations done. What they compute goes to `sink` (one vector, a cache line at
// most), so that they stay.
FC_ISA_DECLARE(double fma_burst(int64_t iterations, float* sink))

// y = s * x for n floats, a multiple of 64; x and y are aligned to 64 bytes.
FC_ISA_DECLARE(void scale_stream(const float* x, float* y, float s, int64_t n, bool streaming))

// The sum of n floats, a multiple of 64, of an aligned array, to `sink` (a cache line).
FC_ISA_DECLARE(void read_stream(const float* x, int64_t n, float* sink))

}  // namespace fastconv
