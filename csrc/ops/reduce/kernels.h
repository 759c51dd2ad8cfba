// The implementations that reduce.cpp chooses among.
#pragma once

#include "cpu/isa.h"
#include "ops/reduce/reduce.h"

namespace fastconv {

// An array seen as (outer, size, inner), to be reduced over `size` in chunks of `chunk`: out is
// (outer, ceil(size / chunk), inner) in double.
struct ReduceStep {
    ReduceKind kind = ReduceKind::sum;  // or amax, amin, prod
    int64_t outer = 1, size = 1, inner = 1, chunk = 1;
};

// What is reduced so far and one more term.
inline double reduced(ReduceKind kind, double a, double b) {
    switch (kind) {
        case ReduceKind::amax:
            return a > b || a != a ? a : b;
        case ReduceKind::amin:
            return a < b || a != a ? a : b;
        case ReduceKind::prod:
            return a * b;
        default:
            return a + b;
    }
}
// What changes no term.
double neutral(ReduceKind kind);

// Plain loops, the oracle and the float64 path: y (already neutral, laid out as the reduced shape) gathers
// every x.
template <class T>
void reduce_reference(ReduceKind kind, const Shape& shape, const ReduceDims& dims, const T* x, double* y);

FC_ISA_DECLARE(void reduce_step_f32(const ReduceStep& step, const float* x, double* out))
FC_ISA_DECLARE(void reduce_step_bf16(const ReduceStep& step, const bfloat16* x, double* out))
FC_ISA_DECLARE(void reduce_step_f64(const ReduceStep& step, const double* x, double* out))

}  // namespace fastconv
