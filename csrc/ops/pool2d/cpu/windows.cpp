// Planar pooling of any windows, one at a time along their rows.
#include "ops/pool2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

// A window of whole rows is summed as one run up to this size; longer sums go row by row, for their rounding.
constexpr int64_t kFlatSum = 4096;

inline float as_bits(int64_t tap) {
    const int32_t value = static_cast<int32_t>(tap);
    float bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline int32_t from_bits(float bits) {
    int32_t value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

// A candidate for a maximum. NaN beats all and among NaN the later tap wins; else the greater value, and
// among equals the earlier tap: the same winner in whatever order candidates meet.
struct Best {
    float value;
    int32_t tap;
};
inline void meet(Best& best, float value, int32_t tap) {
    const bool nan = value != value, had = best.value != best.value;
    const bool wins = nan ? (!had || tap > best.tap)
                          : !had && (value > best.value || (value == best.value && tap < best.tap));
    if (wins) best = {value, tap};
}

// The maximum of n contiguous elements whose taps are first, first + 1, ...
void max_run(const float* x, int64_t n, int64_t first, Best& best) {
    int64_t i = 0;
    if (n >= VL) {
        vf top = set1(-__builtin_inff()), won = set1(as_bits(first));
        for (; i + VL <= n; i += VL) {
            const vf v = load(x + i), tap = set1(as_bits(first + i));
            const vm more = less(top, v), nan = unordered(v, v);
            top = select(nan, v, select(more, v, top));
            won = select(nan, tap, select(more, tap, won));
        }
        float values[VL], taps[VL];
        store(values, top);
        store(taps, won);
        for (int l = 0; l < VL; ++l) meet(best, values[l], from_bits(taps[l]) + l);
    }
    for (; i < n; ++i) meet(best, x[i], static_cast<int32_t>(first + i));
}

float sum_run(const float* x, int64_t n) {
    vf a[4] = {zero(), zero(), zero(), zero()};
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int u = 0; u < 4; ++u) a[u] = a[u] + load(x + i + u * VL);
    for (; i + VL <= n; i += VL) a[0] = a[0] + load(x + i);
    if (i < n) a[1] = a[1] + load(x + i, tail(n - i));
    return sum((a[0] + a[1]) + (a[2] + a[3]));
}

// One window (its taps are neighbours) as runs: its rows, or all of it where it spans the plane's width.
struct Runs {
    int64_t count, length, first_tap;
    const float* start;
};
inline Runs runs_of(const PoolAxis& h, const PoolAxis& w, const float* plane, int64_t p, int64_t q,
                    int64_t flat) {
    const int64_t rows = h.last[p] - h.first[p], columns = w.last[q] - w.first[q];
    const float* start = plane + (h.start[p] + h.first[p] * h.step) * w.in + w.start[q] + w.first[q];
    const int64_t tap = h.first[p] * w.taps + w.first[q];
    if (columns == w.in && w.taps == w.in && h.step == 1 && rows * columns <= flat)
        return {1, rows * columns, tap, start};
    return {rows, columns, tap, start};
}

Best max_window(const PoolAxis& h, const PoolAxis& w, const float* plane, int64_t p, int64_t q) {
    const Runs runs = runs_of(h, w, plane, p, q, int64_t{1} << 31);
    Best best{-__builtin_inff(), static_cast<int32_t>(runs.first_tap)};
    for (int64_t r = 0; r < runs.count; ++r)
        max_run(runs.start + r * h.step * w.in, runs.length, runs.first_tap + r * w.taps, best);
    return best;
}

float mean_window(const PoolAxis& h, const PoolAxis& w, const float* plane, int64_t p, int64_t q) {
    const Runs runs = runs_of(h, w, plane, p, q, kFlatSum);
    float total = 0;
    for (int64_t r = 0; r < runs.count; ++r) total += sum_run(runs.start + r * h.step * w.in, runs.length);
    return total / static_cast<float>(h.size[p] * w.size[q]);
}

template <class Index>
void max_forward(const PoolPlan& plan, const float* x, float* y, Index* index) {
    const PoolAxis &h = plan.h, &w = plan.w;
    for_planes(plan, num_threads(), [&](int64_t i, int) {
        const float* plane = x + i * h.in * w.in;
        for (int64_t p = 0; p < h.out; ++p)
            for (int64_t q = 0; q < w.out; ++q) {
                const int64_t at = (i * h.out + p) * w.out + q;
                const Best best = max_window(h, w, plane, p, q);
                y[at] = best.value;
                if constexpr (kWanted<Index>) index[at] = static_cast<Index>(best.tap);
            }
    });
}

void mean_forward(const PoolPlan& plan, const float* x, float* y) {
    const PoolAxis &h = plan.h, &w = plan.w;
    for_planes(plan, num_threads(), [&](int64_t i, int) {
        for (int64_t p = 0; p < h.out; ++p)
            for (int64_t q = 0; q < w.out; ++q)
                y[(i * h.out + p) * w.out + q] = mean_window(h, w, x + i * h.in * w.in, p, q);
    });
}

template <class Index>
void max_backward(const PoolPlan& plan, const float* dy, const Index* index, float* dx, int team) {
    const PoolAxis &h = plan.h, &w = plan.w;
    for_planes(plan, team, [&](int64_t i, int) {
        float* plane = dx + i * h.in * w.in;
        for (int64_t k = 0; k < h.in * w.in; ++k) plane[k] = 0;
        for (int64_t p = 0; p < h.out; ++p) {
            const int64_t at = (i * h.out + p) * w.out;
            for (int64_t q = 0; q < w.out; ++q) {
                // 32-bit division is much the cheaper one.
                const uint32_t tap = static_cast<uint32_t>(index[at + q]),
                               width = static_cast<uint32_t>(w.taps);
                const int64_t r = tap / width, s = tap % width;
                plane[(h.start[p] + r * h.step) * w.in + w.start[q] + s * w.step] += dy[at + q];
            }
        }
    });
}

// An average spreads evenly: first along the row, into `spread`, then to every row of the window.
void mean_backward(const PoolPlan& plan, const float* dy, float* dx, float* scratch, int team) {
    const PoolAxis &h = plan.h, &w = plan.w;
    for_planes(plan, team, [&](int64_t i, int worker) {
        float* plane = dx + i * h.in * w.in;
        float* __restrict spread = scratch + worker * w.in;
        for (int64_t k = 0; k < h.in * w.in; ++k) plane[k] = 0;
        for (int64_t p = 0; p < h.out; ++p) {
            const float* g = dy + (i * h.out + p) * w.out;
            for (int64_t j = 0; j < w.in; ++j) spread[j] = 0;
            for (int64_t q = 0; q < w.out; ++q) {
                const float share = g[q] / static_cast<float>(h.size[p] * w.size[q]);
                float* to = spread + w.start[q];
                for (int64_t s = w.first[q]; s < w.last[q]; ++s) to[s * w.step] += share;
            }
            for (int64_t r = h.first[p]; r < h.last[p]; ++r) {
                float* __restrict row = plane + (h.start[p] + r * h.step) * w.in;
                for (int64_t j = 0; j < w.in; ++j) row[j] += spread[j];
            }
        }
    });
}

}  // namespace

void pool2d_nchw_f32(const PoolPlan& plan, const float* x, float* y, void* index, bool small) {
    if (plan.kind == PoolKind::mean) return mean_forward(plan, x, y);
    if (!index) return max_forward(plan, x, y, static_cast<NoTaps*>(nullptr));
    if (small) return max_forward(plan, x, y, static_cast<uint8_t*>(index));
    max_forward(plan, x, y, static_cast<int32_t*>(index));
}

void pool2d_nchw_backward_f32(const PoolPlan& plan, const float* dy, const void* index, bool small, float* dx,
                              float* scratch, int team) {
    if (plan.kind == PoolKind::mean) return mean_backward(plan, dy, dx, scratch, team);
    if (small) return max_backward(plan, dy, static_cast<const uint8_t*>(index), dx, team);
    max_backward(plan, dy, static_cast<const int32_t*>(index), dx, team);
}

}  // namespace fastconv::FC_ISA_NS
