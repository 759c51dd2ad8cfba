// Broadcast sum and product: one loop over the innermost dimension, of four kinds (each operand walks or
// repeats), in float32 whatever the storage type. Every element is one operation, so splits do not change
// results.
#include "cpu/parallel.h"
#include "ops/elementwise/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 16384;

struct Add {
    static vf apply(vf a, vf b) { return a + b; }
};
struct Mul {
    static vf apply(vf a, vf b) { return a * b; }
};

// out[i] = f(i, lanes of i) for a row, the last vector masked.
template <class T, class F>
inline void fill_row(T* out, int64_t n, const F& f) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) store(out + i, f(i, [](const auto* p) { return load(p); }));
    const Tail t = tail(n - i);
    if (i < n) store(out + i, f(i, [t](const auto* p) { return load(p, t); }), t);
}

// A and B are storage types; where they differ, b is a float32 number.
template <class Op, class A, class B>
void row(const A* a, int64_t step_a, const B* b, int64_t step_b, A* out, int64_t n) {
    if (step_a && step_b) {
        fill_row(out, n, [&](int64_t i, auto get) { return Op::apply(get(a + i), get(b + i)); });
    } else if (step_a) {
        const vf value = set1(widen(b[0]));
        fill_row(out, n, [&](int64_t i, auto get) { return Op::apply(get(a + i), value); });
    } else if (step_b) {
        const vf value = set1(widen(a[0]));
        fill_row(out, n, [&](int64_t i, auto get) { return Op::apply(value, get(b + i)); });
    } else {
        const vf value = Op::apply(set1(widen(a[0])), set1(widen(b[0])));
        fill_row(out, n, [&](int64_t, auto) { return value; });
    }
}

template <class Op, class A, class B>
void run(const BinaryLoops& loops, const A* a, const B* b, A* out) {
    const int inner = loops.ndim - 1;
    const int64_t n = loops.size[inner], step_a = loops.a[inner], step_b = loops.b[inner];
    if (inner == 0)
        return parallel_for(n, kGrain, [&](int64_t begin, int64_t end, int) {
            row<Op, A, B>(a + begin * step_a, step_a, b + begin * step_b, step_b, out + begin, end - begin);
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
            row<Op, A, B>(a + at_a, step_a, b + at_b, step_b, out + i * n, n);
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

template <class A, class B>
void apply(Binary kind, const BinaryLoops& loops, const A* a, const B* b, A* out) {
    if (kind == Binary::add)
        run<Add>(loops, a, b, out);
    else
        run<Mul>(loops, a, b, out);
}

}  // namespace

void binary_f32(Binary kind, const BinaryLoops& loops, const float* a, const float* b, float* out) {
    apply(kind, loops, a, b, out);
}
void binary_bf16(Binary kind, const BinaryLoops& loops, const bfloat16* a, const bfloat16* b, bfloat16* out) {
    apply(kind, loops, a, b, out);
}
void binary_bf16_number(Binary kind, const BinaryLoops& loops, const bfloat16* a, const float* b,
                        bfloat16* out) {
    apply(kind, loops, a, b, out);
}

}  // namespace fastconv::FC_ISA_NS
