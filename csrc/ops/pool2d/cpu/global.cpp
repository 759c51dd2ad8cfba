// Planar global averages: plane after plane in memory's order.
#include "ops/pool2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kBlock = 4096;  // elements of dx put together in cache

template <class T>
inline float plane_sum(const T* x, int64_t n, Tail rest) {
    vf a[4] = {zero(), zero(), zero(), zero()};
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int u = 0; u < 4; ++u) a[u] = a[u] + load(x + i + u * VL);
    if (i + VL <= n) {
        a[0] = a[0] + load(x + i);
        i += VL;
    }
    if (i + VL <= n) {
        a[1] = a[1] + load(x + i);
        i += VL;
    }
    if (i + VL <= n) {
        a[2] = a[2] + load(x + i);
        i += VL;
    }
    if (i < n) a[3] = a[3] + load(x + i, rest);
    return sum((a[0] + a[1]) + (a[2] + a[3]));
}

template <class T>
void forward(const PoolPlan& plan, const T* x, T* y) {
    const int64_t n = plan.h.in * plan.w.in;
    const float divisor = static_cast<float>(plan.h.size[0] * plan.w.size[0]);
    const Tail rest = tail(n % VL);
    parallel_for(plan.n * plan.c, kGrainElements / n + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) y[i] = narrow<T>(plane_sum(x + i * n, n, rest) / divisor);
    });
}

template <class T>
void backward(const PoolPlan& plan, bool streaming, const T* dy, T* dx) {
    const int64_t n = plan.h.in * plan.w.in;
    const float divisor = static_cast<float>(plan.h.size[0] * plan.w.size[0]);
    const int64_t planes = plan.n * plan.c, few = kBlock / n < 1 ? 1 : kBlock / n;
    const auto fill = [&](T* to, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i, to += n) {
            const vf g = set1(widen(dy[i]) / divisor);
            int64_t k = 0;
            for (; k + VL <= n; k += VL) store(to + k, g);
            if (k < n) store(to + k, g, tail(n - k));
        }
    };
    parallel_for((planes + few - 1) / few, kGrainElements / (few * n) + 1,
                 [&](int64_t begin, int64_t end, int) {
                     T block[kBlock];
                     for (int64_t b = begin; b < end; ++b) {
                         const int64_t i = b * few, last = i + few < planes ? i + few : planes;
                         if (!streaming) {
                             fill(dx + i * n, i, last);
                             continue;
                         }
                         fill(block, i, last);
                         copy_streaming(dx + i * n, block, (last - i) * n);
                     }
                     streaming_fence();
                 });
}

}  // namespace

void pool2d_nchw_global(const PoolPlan& plan, DType dtype, const void* x, void* y) {
    if (dtype == DType::bf16)
        return forward(plan, static_cast<const bfloat16*>(x), static_cast<bfloat16*>(y));
    forward(plan, static_cast<const float*>(x), static_cast<float*>(y));
}

void pool2d_nchw_global_backward(const PoolPlan& plan, DType dtype, bool streaming, const void* dy,
                                 void* dx) {
    if (dtype == DType::bf16)
        return backward(plan, streaming, static_cast<const bfloat16*>(dy), static_cast<bfloat16*>(dx));
    backward(plan, streaming, static_cast<const float*>(dy), static_cast<float*>(dx));
}

}  // namespace fastconv::FC_ISA_NS
