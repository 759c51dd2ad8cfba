// Maxima and exponentials of a row of logits (contiguous, or a column of vectors), for softmax and
// cross-entropy.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd/simd.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Elements a thread takes at least.
constexpr int64_t kGrain = 16384;
// A float sum runs over at most this many vectors before it is added to the next level.
constexpr int64_t kSumBlock = 64;
const float kInfinity = __builtin_inff();

// Exponentials of a bfloat16 row or tile of up to this many elements wait in float32 for their sum; those of
// a longer one are computed again, since rounding them first would round twice.
constexpr int64_t kScratch = 4096;

// All lanes, where a Tail says some.
struct Full {};
template <class T>
inline vf load(const T* p, Full) {
    return load(p);
}
template <class T>
inline void store(T* p, vf v, Full) {
    store(p, v);
}

// f(i, lanes) for every vector of n elements; lanes is Full, or the last one's Tail.
template <class F>
inline void for_each_vector(int64_t n, const F& f) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) f(i, Full{});
    if (i < n) f(i, tail(n - i));
}

inline int64_t row_grain(int64_t elements) { return elements >= kGrain ? 1 : kGrain / (elements + 1); }

// The first n lanes of p, `fill` in the others.
template <class T>
inline vf load_or(const T* p, int64_t n, float fill) {
    float lanes[VL];
    for (int i = 0; i < VL; ++i) lanes[i] = i < n ? widen(p[i]) : fill;
    return load(lanes);
}

// The largest element; NaN is passed over (the exponentials' sum brings it back).
template <class T>
inline float row_max(const T* x, int64_t n) {
    vf m = set1(-kInfinity);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) m = max(load(x + i), m);
    if (i < n) m = max(load_or(x + i, n - i, -kInfinity), m);
    float lanes[VL];
    store(lanes, m);
    float best = lanes[0];
    for (int l = 1; l < VL; ++l) best = best < lanes[l] ? lanes[l] : best;
    return best;
}

// The sum of e^(x - m), written to `out` on the way unless that is null.
template <class T>
inline double row_exp_sum(const T* x, int64_t n, float m, float* out) {
    const vf vm_ = set1(m);
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += kSumBlock * VL) {
        const int64_t end = begin + kSumBlock * VL < n ? begin + kSumBlock * VL : n;
        vf s = zero();
        int64_t i = begin;
        for (; i + VL <= end; i += VL) {
            const vf e = exp(load(x + i) - vm_);
            if (out) store(out + i, e);
            s = s + e;
        }
        if (i < end) {
            // The fill adds e^-inf = 0. Where m itself is -inf every sum is NaN anyhow.
            const vf e = exp(load_or(x + i, end - i, -kInfinity) - vm_);
            if (out) store(out + i, e, tail(end - i));
            s = s + e;
        }
        total += static_cast<double>(sum(s));
    }
    return total;
}

// The same for VL neighbouring rows whose classes are `stride` apart.
template <class T, class Lanes>
inline vf column_max(const T* x, int64_t classes, int64_t stride, Lanes t) {
    vf m = set1(-kInfinity);
    for (int64_t c = 0; c < classes; ++c) m = max(load(x + c * stride, t), m);
    return m;
}

// The exponentials go to `out`, rows `out_stride` apart, unless that is null.
template <class T, class Lanes>
inline vf column_exp_sum(const T* x, int64_t classes, int64_t stride, Lanes t, vf m, float* out,
                         int64_t out_stride) {
    vf total = zero();
    for (int64_t begin = 0; begin < classes; begin += kSumBlock) {
        const int64_t end = begin + kSumBlock < classes ? begin + kSumBlock : classes;
        vf s = zero();
        for (int64_t c = begin; c < end; ++c) {
            const vf e = exp(load(x + c * stride, t) - m);
            if (out) store(out + c * out_stride, e, t);
            s = s + e;
        }
        total = total + s;
    }
    return total;
}

inline vf log_lanes(vf v) {
    float lanes[VL];
    store(lanes, v);
    for (int l = 0; l < VL; ++l) lanes[l] = static_cast<float>(__builtin_log(static_cast<double>(lanes[l])));
    return load(lanes);
}

// Calls body(offset of the tile's first element, index of its first row, count, lanes) for every tile of up
// to VL neighbouring rows; `lanes` is Full or a Tail.
template <class Body>
inline void for_each_tile(int64_t outer, int64_t classes, int64_t inner, const Body& body) {
    const int64_t tiles = (inner + VL - 1) / VL;
    parallel_for(outer * tiles, row_grain(classes * VL), [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t o = i / tiles, b = i % tiles * VL;
            const int64_t at = o * classes * inner + b, row = o * inner + b;
            if (inner - b >= VL)
                body(at, row, int64_t{VL}, Full{});
            else
                body(at, row, inner - b, tail(inner - b));
        }
    });
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
