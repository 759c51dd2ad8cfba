// The register tile for one vector of columns and rows of A that lie a constant number of floats apart:
// taller than the microkernel's, because one pointer serves all of its rows.
#pragma once

#include "cpu/gemm/microkernel.h"

namespace fastconv::FC_ISA_NS {

// c[i * c_step + j] = bias[j] + sum over k < depth of a[i * a_step + offsets[k]] * b[k * VL + j].
struct NarrowRows {
    const float* a;
    int64_t a_step, count;
    const int64_t* offsets;
    int64_t depth;
    const float* b;
    float* c;
    int64_t c_step;
    int64_t columns;    // 1 to VL
    const float* bias;  // readable for `columns` values, or null
    // Rows of C, c_step apart, that are wanted after these: owned for writing meanwhile.
    const float* next = nullptr;
    int64_t next_count = 0;
};
void narrow_rows(const NarrowRows& rows);

}  // namespace fastconv::FC_ISA_NS
