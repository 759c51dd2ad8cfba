// Broadcast sum and product: one plain loop over the innermost dimension, of four kinds (each operand walks
// or repeats), which the compiler vectorises. Every element is one operation, so splits do not change
// results.
#include "cpu/parallel.h"
#include "ops/elementwise/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 16384;

struct Add {
    static float apply(float a, float b) { return a + b; }
};
struct Mul {
    static float apply(float a, float b) { return a * b; }
};

template <class Op>
void row(const float* __restrict a, int64_t step_a, const float* __restrict b, int64_t step_b,
         float* __restrict out, int64_t n) {
    if (step_a && step_b) {
        for (int64_t i = 0; i < n; ++i) out[i] = Op::apply(a[i], b[i]);
    } else if (step_a) {
        const float value = b[0];
        for (int64_t i = 0; i < n; ++i) out[i] = Op::apply(a[i], value);
    } else if (step_b) {
        const float value = a[0];
        for (int64_t i = 0; i < n; ++i) out[i] = Op::apply(value, b[i]);
    } else {
        const float value = Op::apply(a[0], b[0]);
        for (int64_t i = 0; i < n; ++i) out[i] = value;
    }
}

template <class Op>
void run(const BinaryLoops& loops, const float* a, const float* b, float* out) {
    const int inner = loops.ndim - 1;
    const int64_t n = loops.size[inner], step_a = loops.a[inner], step_b = loops.b[inner];
    if (inner == 0)
        return parallel_for(n, kGrain, [&](int64_t begin, int64_t end, int) {
            row<Op>(a + begin * step_a, step_a, b + begin * step_b, step_b, out + begin, end - begin);
        });
    parallel_for(loops.total / n, kGrain / (n + 1) + 1, [&](int64_t begin, int64_t end, int) {
        // The position in the outer loops, then counted up like an odometer.
        int64_t index[kMaxDims], at_a = 0, at_b = 0, rest = begin;
        for (int d = inner - 1; d >= 0; --d) {
            index[d] = rest % loops.size[d];
            rest /= loops.size[d];
            at_a += index[d] * loops.a[d];
            at_b += index[d] * loops.b[d];
        }
        for (int64_t i = begin; i < end; ++i) {
            row<Op>(a + at_a, step_a, b + at_b, step_b, out + i * n, n);
            for (int d = inner - 1; d >= 0; --d) {
                at_a += loops.a[d];
                at_b += loops.b[d];
                if (++index[d] < loops.size[d]) break;
                at_a -= loops.a[d] * loops.size[d];
                at_b -= loops.b[d] * loops.size[d];
                index[d] = 0;
            }
        }
    });
}

}  // namespace

void binary_f32(Binary kind, const BinaryLoops& loops, const float* a, const float* b, float* out) {
    if (kind == Binary::add)
        run<Add>(loops, a, b, out);
    else
        run<Mul>(loops, a, b, out);
}

}  // namespace fastconv::FC_ISA_NS
