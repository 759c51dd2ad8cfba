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

// Lines that will be read soon, brought into L2 in memory order, so many at each step: windows jump between
// rows, which no prefetcher of the processor follows.
struct NextLines {
    const char *at, *end;
    int64_t lines;  // a step
    void step() {
        for (int64_t i = 0; i < lines && at < end; ++i, at += 64) __builtin_prefetch(at, 0, 2);
    }
};

constexpr int64_t kNear = 1 << 20;   // bytes that are likely in L2 already
constexpr int64_t kAhead = 4 << 10;  // how far ahead at least, in bytes

inline bool beyond_l2(const PoolPlan& plan, size_t element) {
    const int64_t values = plan.n * plan.c * (plan.h.in * plan.w.in + plan.h.out * plan.w.out);
    return values * static_cast<int64_t>(element) > kNear;
}

// Elements [from, from + count) of an array of `all`, moved ahead by kAhead.
template <class T>
inline NextLines next_lines(const T* array, int64_t from, int64_t count, int64_t all, int64_t steps) {
    constexpr int64_t kMore = kAhead / static_cast<int64_t>(sizeof(T));
    const int64_t end = from + count + kMore < all ? from + count + kMore : all;
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    return {reinterpret_cast<const char*>(array + from + kMore), reinterpret_cast<const char*>(array + end),
            bytes / (64 * steps) + 1};
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
