#include <cmath>
#include <limits>

#include "ops/pool2d/kernels.h"

namespace fastconv {
namespace {

// Element strides of an (n, c, h, w) array in either layout.
struct Strides {
    int64_t n, c, h, w;
};
Strides strides_of(const PoolPlan& plan, int64_t h, int64_t w) {
    if (plan.layout == Layout::nhwc) return {h * w * plan.c, 1, w * plan.c, plan.c};
    return {plan.c * h * w, h * w, w, 1};
}

void put(void* index, bool small, int64_t at, int64_t tap) {
    if (small)
        static_cast<uint8_t*>(index)[at] = static_cast<uint8_t>(tap);
    else
        static_cast<int32_t*>(index)[at] = static_cast<int32_t>(tap);
}
int64_t get(const void* index, bool small, int64_t at) {
    return small ? static_cast<const uint8_t*>(index)[at] : static_cast<const int32_t*>(index)[at];
}

// Calls fn(n, c, p, q) for every output.
template <class Fn>
void for_each_output(const PoolPlan& plan, const Fn& fn) {
    for (int64_t n = 0; n < plan.n; ++n)
        for (int64_t c = 0; c < plan.c; ++c)
            for (int64_t p = 0; p < plan.h.out; ++p)
                for (int64_t q = 0; q < plan.w.out; ++q) fn(n, c, p, q);
}

}  // namespace

template <class T>
void pool2d_reference(const PoolPlan& plan, const T* x, T* y, void* index, bool small) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const Strides in = strides_of(plan, h.in, w.in), out = strides_of(plan, h.out, w.out);
    for_each_output(plan, [&](int64_t n, int64_t c, int64_t p, int64_t q) {
        const T* plane = x + n * in.n + c * in.c;
        const int64_t at = n * out.n + c * out.c + p * out.h + q * out.w;
        T best = -std::numeric_limits<T>::infinity(), total = 0;
        int64_t tap = h.first[p] * w.taps + w.first[q];
        for (int64_t r = h.first[p]; r < h.last[p]; ++r) {
            T row = 0;
            for (int64_t s = w.first[q]; s < w.last[q]; ++s) {
                const T v = plane[(h.start[p] + r * h.step) * in.h + (w.start[q] + s * w.step) * in.w];
                row += v;
                // The first of equal values wins, but the last NaN.
                if (v > best || std::isnan(v)) {
                    best = v;
                    tap = r * w.taps + s;
                }
            }
            total += row;
        }
        if (plan.kind == PoolKind::mean) {
            y[at] = static_cast<T>(total / (h.size[p] * w.size[q]));
            return;
        }
        y[at] = best;
        if (index) put(index, small, at, tap);
    });
}

template <class T>
void pool2d_backward_reference(const PoolPlan& plan, const T* dy, const void* index, bool small, T* dx) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const Strides in = strides_of(plan, h.in, w.in), out = strides_of(plan, h.out, w.out);
    for (int64_t i = 0; i < plan.n * plan.c * h.in * w.in; ++i) dx[i] = 0;
    for_each_output(plan, [&](int64_t n, int64_t c, int64_t p, int64_t q) {
        T* plane = dx + n * in.n + c * in.c;
        const int64_t at = n * out.n + c * out.c + p * out.h + q * out.w;
        if (plan.kind == PoolKind::max) {
            const int64_t tap = get(index, small, at);
            plane[(h.start[p] + tap / w.taps * h.step) * in.h +
                  (w.start[q] + tap % w.taps * w.step) * in.w] += dy[at];
            return;
        }
        const T g = static_cast<T>(dy[at] / (h.size[p] * w.size[q]));
        for (int64_t r = h.first[p]; r < h.last[p]; ++r)
            for (int64_t s = w.first[q]; s < w.last[q]; ++s)
                plane[(h.start[p] + r * h.step) * in.h + (w.start[q] + s * w.step) * in.w] += g;
    });
}

template void pool2d_reference<float>(const PoolPlan&, const float*, float*, void*, bool);
template void pool2d_reference<double>(const PoolPlan&, const double*, double*, void*, bool);
template void pool2d_backward_reference<float>(const PoolPlan&, const float*, const void*, bool, float*);
template void pool2d_backward_reference<double>(const PoolPlan&, const double*, const void*, bool, double*);

}  // namespace fastconv
