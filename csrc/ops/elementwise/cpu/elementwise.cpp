// Broadcast arithmetic: one loop over the innermost dimension, of four kinds (each operand walks or
// repeats), in float32 whatever the storage type. Every element is one operation, so splits do not change
// results.
#include "cpu/parallel.h"
#include "ops/elementwise/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 16384;

// f(a[l], b[l]) in each lane: powers are rare.
template <class F>
inline vf each_lane(vf a, vf b, const F& f) {
    float x[VL], y[VL];
    store(x, a);
    store(y, b);
    for (int l = 0; l < VL; ++l) x[l] = f(x[l], y[l]);
    return load(x);
}
inline vf power(vf a, vf b) {
    return each_lane(a, b, [](float x, float y) { return __builtin_powf(x, y); });
}

// What an operation does to a vector of each operand.
struct Add {
    static vf apply(vf a, vf b) { return a + b; }
};
struct Mul {
    static vf apply(vf a, vf b) { return a * b; }
};
struct Sub {
    static vf apply(vf a, vf b) { return a - b; }
};
struct Div {
    static vf apply(vf a, vf b) { return a / b; }
};
// NaN wherever an operand is: max and min give the second where the two are unordered.
struct Maximum {
    static vf apply(vf a, vf b) { return select(unordered(a, a), a, max(a, b)); }
};
struct Minimum {
    static vf apply(vf a, vf b) { return select(unordered(a, a), a, min(a, b)); }
};
struct Pow {
    static vf apply(vf a, vf b) { return power(a, b); }
};
struct Prelu {
    static vf apply(vf a, vf b) { return select(less(zero(), a), a, a * b); }
};
struct Equal {
    static vf apply(vf a, vf b) { return select(equal(a, b), set1(1.0f), zero()); }
};
struct DivByB {
    static vf apply(vf a, vf b) { return set1(-1.0f) * (a / b) / b; }
};
struct MaximumByA {
    static vf apply(vf a, vf b) {
        return select(equal(a, b), set1(0.5f), select(less(a, b), zero(), set1(1.0f)));
    }
};
struct MinimumByA {
    static vf apply(vf a, vf b) { return MaximumByA::apply(set1(-1.0f) * a, set1(-1.0f) * b); }
};
struct PowByA {
    static vf apply(vf a, vf b) { return select(equal(b, zero()), zero(), b * power(a, b - set1(1.0f))); }
};
struct PowByB {
    static vf apply(vf a, vf b) {
        const vf slope = power(a, b) * log(a);
        return select(equal(a, zero()), select(less(b, zero()), slope, zero()), slope);
    }
};
struct PreluByA {
    static vf apply(vf a, vf b) { return select(less(zero(), a), set1(1.0f), b); }
};
struct PreluByB {
    static vf apply(vf a, vf b) {
        (void)b;
        return select(less(zero(), a), zero(), a);
    }
};

// out[i] = f(i, lanes of i) for a row, the last vector masked.
template <class T, class F>
inline void fill_row(T* out, int64_t n, const F& f) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) store(out + i, f(i, [](const auto* p) { return load(p); }));
    const Tail t = tail(n - i);
    if (i < n) store(out + i, f(i, [t](const auto* p) { return load(p, t); }), t);
}

// A, B and Y are storage types; where A and B differ, the float32 one is a number.
template <class Op, class A, class B, class Y>
void row(const A* a, int64_t step_a, const B* b, int64_t step_b, Y* out, int64_t n) {
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

template <class Op, class A, class B, class Y>
void run(const BinaryLoops& loops, const A* a, const B* b, Y* out) {
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

template <class A, class B, class Y>
void apply(Binary kind, const BinaryLoops& loops, const A* a, const B* b, Y* out) {
    switch (kind) {
        case Binary::add:
            return run<Add>(loops, a, b, out);
        case Binary::mul:
            return run<Mul>(loops, a, b, out);
        case Binary::sub:
            return run<Sub>(loops, a, b, out);
        case Binary::div:
            return run<Div>(loops, a, b, out);
        case Binary::maximum:
            return run<Maximum>(loops, a, b, out);
        case Binary::minimum:
            return run<Minimum>(loops, a, b, out);
        case Binary::pow:
            return run<Pow>(loops, a, b, out);
        case Binary::prelu:
            return run<Prelu>(loops, a, b, out);
        case Binary::equal:
            return run<Equal>(loops, a, b, out);
        case Binary::div_by_b:
            return run<DivByB>(loops, a, b, out);
        case Binary::maximum_by_a:
            return run<MaximumByA>(loops, a, b, out);
        case Binary::minimum_by_a:
            return run<MinimumByA>(loops, a, b, out);
        case Binary::pow_by_a:
            return run<PowByA>(loops, a, b, out);
        case Binary::pow_by_b:
            return run<PowByB>(loops, a, b, out);
        case Binary::prelu_by_a:
            return run<PreluByA>(loops, a, b, out);
        case Binary::prelu_by_b:
            return run<PreluByB>(loops, a, b, out);
    }
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

void binary_number_bf16(Binary kind, const BinaryLoops& loops, const float* a, const bfloat16* b,
                        bfloat16* out) {
    apply(kind, loops, a, b, out);
}

}  // namespace fastconv::FC_ISA_NS
