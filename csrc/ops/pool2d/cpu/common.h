// What the pooling kernels of both layouts share.
#pragma once

#include "core/bfloat16.h"
#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
#include "ops/pool2d/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrainElements = 8192;

// Stands for the element type of the taps where they are not wanted.
struct NoTaps {};
template <class Index>
constexpr bool kWanted = true;
template <>
constexpr bool kWanted<NoTaps> = false;

inline bool is_nan(float v) { return v != v; }

// A candidate for a maximum: the first of equal values wins, but the last NaN.
struct Winner {
    float value;
    int64_t tap;
};
template <class T>
inline Winner slow_max(const PoolAxis& h, const PoolAxis& w, const T* plane, int64_t lanes, int64_t p,
                       int64_t q) {
    Winner best{-__builtin_inff(), h.first[p] * w.taps + w.first[q]};
    for (int64_t r = h.first[p]; r < h.last[p]; ++r)
        for (int64_t s = w.first[q]; s < w.last[q]; ++s) {
            const float v =
                widen(plane[((h.start[p] + r * h.step) * w.in + w.start[q] + s * w.step) * lanes]);
            if (v > best.value || is_nan(v)) best = {v, r * w.taps + s};
        }
    return best;
}

// Copies n values to where no cache keeps them.
template <class T>
inline void copy_streaming(T* to, const T* from, int64_t n) {
    constexpr int64_t kBytes = VL * static_cast<int64_t>(sizeof(T));
    const int64_t off = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to)) % kBytes;
    int64_t i = 0;
    if (off) {
        i = (kBytes - off) / static_cast<int64_t>(sizeof(T));
        if (i > n) i = n;
        store(to, load(from, tail(i)), tail(i));
    }
    for (; i + VL <= n; i += VL) store_streaming(to + i, load(from + i));
    if (i < n) store(to + i, load(from + i, tail(n - i)), tail(n - i));
}

template <class Body>
inline void for_planes(const PoolPlan& plan, int team, const Body& body) {
    const int64_t work = plan.h.in * plan.w.in + plan.h.out * plan.w.out;
    parallel_for(
        plan.n * plan.c, kGrainElements / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            for (int64_t i = begin; i < end; ++i) body(i, worker);
            streaming_fence();
        },
        team);
}

// Whether the windows are 2x2 tiles side by side, all inside the plane and of one divisor: the commonest
// pooling.
inline bool halves(const PoolAxis& a) {
    if (a.taps != 2 || a.step != 1 || 2 * a.out > a.in) return false;
    for (int64_t o = 0; o < a.out; ++o)
        if (a.start[o] != 2 * o || a.first[o] != 0 || a.last[o] != 2 || a.size[o] != a.size[0]) return false;
    return true;
}
inline bool halves(const PoolPlan& plan) {
    return plan.h.out > 0 && plan.w.out > 0 && halves(plan.h) && halves(plan.w);
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
