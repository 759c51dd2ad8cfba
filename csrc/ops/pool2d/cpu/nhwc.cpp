// Channels-last pooling: vectors of channels, one output position at a time. Every lane is computed by
// itself, so results do not depend on how rows or channels are shared among threads.
#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
#include "ops/pool2d/plan.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrainElements = 8192;
// Below this many rows the channels are split as well.
constexpr int64_t kFewRows = 64;
constexpr int64_t kChannelBlock = 64;

// Stands for the element type of the taps where they are not wanted.
struct NoTaps {};
template <class Index>
constexpr bool kWanted = true;
template <>
constexpr bool kWanted<NoTaps> = false;

// A tap's number in the bits of a float lane: select moves bits, so every int32 survives.
inline vf tap_lanes(int64_t tap) {
    const int32_t value = static_cast<int32_t>(tap);
    float bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return set1(bits);
}

template <class Index>
inline void store_taps(Index* out, vf lanes, int64_t count) {
    int32_t taps[VL];
    float bits[VL];
    store(bits, lanes);
    __builtin_memcpy(taps, bits, sizeof taps);
    for (int i = 0; i < VL; ++i)
        if (i < count) out[i] = static_cast<Index>(taps[i]);
}

// U vectors of the window (p, q); the last is cut to `t` where Masked.
template <int U, bool Masked, class Index>
inline void max_window(const PoolAxis& h, const PoolAxis& w, int64_t c, int64_t p, int64_t q, const float* x,
                       float* y, Index* index, int64_t count) {
    const Tail t = tail(count);
    vf best[U], taps[U];
    for (int u = 0; u < U; ++u) {
        best[u] = set1(-__builtin_inff());
        taps[u] = tap_lanes(h.first[p] * w.taps + w.first[q]);
    }
    for (int64_t r = h.first[p]; r < h.last[p]; ++r) {
        const float* row = x + (h.start[p] + r * h.step) * w.in * c;
        for (int64_t s = w.first[q]; s < w.last[q]; ++s) {
            const float* src = row + (w.start[q] + s * w.step) * c;
            const vf tap = tap_lanes(r * w.taps + s);
            for (int u = 0; u < U; ++u) {
                const vf v = Masked ? load(src + u * VL, t) : load(src + u * VL);
                // The first of equal values wins, but the last NaN.
                const vm more = less(best[u], v), nan = unordered(v, v);
                best[u] = select(nan, v, select(more, v, best[u]));
                if constexpr (kWanted<Index>) taps[u] = select(nan, tap, select(more, tap, taps[u]));
            }
        }
    }
    for (int u = 0; u < U; ++u) {
        if (Masked)
            store(y + u * VL, best[u], t);
        else
            store(y + u * VL, best[u]);
        if constexpr (kWanted<Index>) store_taps(index + u * VL, taps[u], Masked ? count : VL);
    }
}

template <int U, bool Masked>
inline void mean_window(const PoolAxis& h, const PoolAxis& w, int64_t c, int64_t p, int64_t q, const float* x,
                        float* y, int64_t count) {
    const Tail t = tail(count);
    vf total[U];
    for (int u = 0; u < U; ++u) total[u] = zero();
    for (int64_t r = h.first[p]; r < h.last[p]; ++r) {
        const float* row = x + ((h.start[p] + r) * w.in + w.start[q] + w.first[q]) * c;
        // Row sums first: large windows lose less to rounding.
        vf sums[U];
        for (int u = 0; u < U; ++u) sums[u] = zero();
        for (int64_t s = w.first[q]; s < w.last[q]; ++s, row += c)
            for (int u = 0; u < U; ++u)
                sums[u] = sums[u] + (Masked ? load(row + u * VL, t) : load(row + u * VL));
        for (int u = 0; u < U; ++u) total[u] = total[u] + sums[u];
    }
    const vf divisor = set1(static_cast<float>(h.size[p] * w.size[q]));
    for (int u = 0; u < U; ++u) {
        if (Masked)
            store(y + u * VL, total[u] / divisor, t);
        else
            store(y + u * VL, total[u] / divisor);
    }
}

// body(n, row, channel begin, channel end) over the rows of every image, and over blocks of channels as well
// where rows are few.
template <class Body>
inline void for_rows(int64_t n, int64_t rows, int64_t columns, int64_t c, const Body& body) {
    const int64_t blocks = n * rows < kFewRows ? (c + kChannelBlock - 1) / kChannelBlock : 1;
    const int64_t width = blocks == 1 ? c : kChannelBlock;
    const int64_t grain = kGrainElements / (columns * width + 1) + 1;
    parallel_for(n * rows * blocks, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t c0 = i % blocks * width, row = i / blocks;
            body(row / rows, row % rows, c0, c0 + width < c ? c0 + width : c);
        }
    });
}

template <class Index>
void max_forward(const PoolPlan& plan, const float* x, float* y, Index* index) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c;
    for_rows(plan.n, h.out, w.out, c, [&](int64_t n, int64_t p, int64_t c0, int64_t c1) {
        const float* image = x + n * h.in * w.in * c;
        for (int64_t q = 0; q < w.out; ++q) {
            const int64_t base = ((n * h.out + p) * w.out + q) * c;
            int64_t i = c0;
            for (; i + 4 * VL <= c1; i += 4 * VL)
                max_window<4, false>(h, w, c, p, q, image + i, y + base + i, index ? index + base + i : index,
                                     0);
            for (; i < c1; i += VL)
                max_window<1, true>(h, w, c, p, q, image + i, y + base + i, index ? index + base + i : index,
                                    c1 - i);
        }
    });
}

void mean_forward(const PoolPlan& plan, const float* x, float* y) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c;
    for_rows(plan.n, h.out, w.out, c, [&](int64_t n, int64_t p, int64_t c0, int64_t c1) {
        const float* image = x + n * h.in * w.in * c;
        for (int64_t q = 0; q < w.out; ++q) {
            float* out = y + ((n * h.out + p) * w.out + q) * c;
            int64_t i = c0;
            for (; i + 4 * VL <= c1; i += 4 * VL) mean_window<4, false>(h, w, c, p, q, image + i, out + i, 0);
            for (; i < c1; i += VL) mean_window<1, true>(h, w, c, p, q, image + i, out + i, c1 - i);
        }
    });
}

// The tap of window o that lies on input i, or -1.
inline int64_t tap_at(const PoolAxis& a, int64_t o, int64_t i) {
    int64_t t = i - a.start[o];
    if (a.step != 1) {
        if (t % a.step) return -1;
        t /= a.step;
    }
    return t < a.last[o] ? t : -1;
}

// visit(dx row, offset of the output's channels, p, q, tap) for every window on every input of the row: each
// input is written by one worker, in the order of the windows.
template <class Visit>
void gather(const PoolPlan& plan, float* dx, const Visit& visit) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c;
    for_rows(plan.n, h.in, w.in, c, [&](int64_t n, int64_t i, int64_t c0, int64_t c1) {
        for (int64_t j = 0; j < w.in; ++j) {
            float* out = dx + ((n * h.in + i) * w.in + j) * c;
            for (int64_t k = c0; k < c1; ++k) out[k] = 0;
            for (int64_t p = h.from[i]; p < h.to[i]; ++p) {
                const int64_t r = tap_at(h, p, i);
                if (r < 0) continue;
                for (int64_t q = w.from[j]; q < w.to[j]; ++q) {
                    const int64_t s = tap_at(w, q, j);
                    if (s < 0) continue;
                    visit(out, ((n * h.out + p) * w.out + q) * c, p, q, r * w.taps + s, c0, c1);
                }
            }
        }
    });
}

template <class Index>
void max_backward(const PoolPlan& plan, const float* dy, const Index* index, float* dx) {
    gather(plan, dx,
           [&](float* __restrict out, int64_t at, int64_t, int64_t, int64_t tap, int64_t c0, int64_t c1) {
               const float* __restrict g = dy + at;
               const Index* __restrict won = index + at;
               const Index wanted = static_cast<Index>(tap);
               for (int64_t k = c0; k < c1; ++k) out[k] += won[k] == wanted ? g[k] : 0.0f;
           });
}

void mean_backward(const PoolPlan& plan, const float* dy, float* dx) {
    gather(plan, dx,
           [&](float* __restrict out, int64_t at, int64_t p, int64_t q, int64_t, int64_t c0, int64_t c1) {
               const float* __restrict g = dy + at;
               const float share = static_cast<float>(1.0 / (plan.h.size[p] * plan.w.size[q]));
               for (int64_t k = c0; k < c1; ++k) out[k] += g[k] * share;
           });
}

}  // namespace

void pool2d_nhwc_f32(const PoolPlan& plan, const float* x, float* y, void* index, bool small) {
    if (plan.kind == PoolKind::mean) return mean_forward(plan, x, y);
    if (!index) return max_forward(plan, x, y, static_cast<NoTaps*>(nullptr));
    if (small) return max_forward(plan, x, y, static_cast<uint8_t*>(index));
    max_forward(plan, x, y, static_cast<int32_t*>(index));
}

void pool2d_nhwc_backward_f32(const PoolPlan& plan, const float* dy, const void* index, bool small,
                              float* dx) {
    if (plan.kind == PoolKind::mean) return mean_backward(plan, dy, dx);
    if (small) return max_backward(plan, dy, static_cast<const uint8_t*>(index), dx);
    max_backward(plan, dy, static_cast<const int32_t*>(index), dx);
}

}  // namespace fastconv::FC_ISA_NS
