// The GEMM of few steps: all of B stays in registers while rows of A pass, where starting a tile for every
// few rows would cost more than its arithmetic.
#pragma once

#include "cpu/gemm/microkernel.h"

namespace fastconv::FC_ISA_NS {

// c[i * c_step + j] = sum over k < depth of a[i * a_step + k] * b[k * ldb + j].
struct FewRows {
    const float* a;
    int64_t a_step, count;
    const float* b;  // depth rows of NV vectors, readable as a whole
    float* c;
    int64_t c_step;
    int64_t columns;    // (NV - 1) * VL < columns <= NV * VL
    const float* bias;  // readable for `columns` values, or null
};

// The most vectors of columns whose weights, sums and one broadcast fit the registers, no more than a tile of
// the microkernel has; 0: too deep.
inline constexpr int few_vectors(int64_t depth) {
    constexpr int kRegisters = VL == 16 ? 31 : 15;
    const int64_t fit = (kRegisters - 1) / (depth + 1);
    return static_cast<int>(fit > kMaxNV ? kMaxNV : fit);
}
inline constexpr int kMostFew = VL == 16 ? 29 : 13;

using FewKernel = void (*)(const FewRows&);

// The kernel for `depth` (1 to kMostFew) by `nv` (1 to few_vectors(depth)).
FewKernel few_kernel(int64_t depth, int nv);

}  // namespace fastconv::FC_ISA_NS
