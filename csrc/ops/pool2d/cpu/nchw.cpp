// Planar pooling, one plane at a time. Windows that are alike are computed for a row of outputs at once: the
// input row is staged with its columns sorted by phase (column modulo stride), so that each tap of
// neighbouring outputs is one contiguous vector. Other windows are reduced one by one along their rows.
#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
#include "ops/pool2d/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrainElements = 8192;
// A window of whole rows is summed as one run up to this size; longer sums go row by row, for their rounding.
constexpr int64_t kFlatSum = 4096;

// Stands for the element type of the taps where they are not wanted.
struct NoTaps {};
template <class Index>
constexpr bool kWanted = true;
template <>
constexpr bool kWanted<NoTaps> = false;

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

// The row `src` between its padding, phase by phase.
template <int Stride>
void stage_row(const PoolAxis& w, const PoolStage& stage, const float* src, float fill, float* staged) {
    const int64_t stride = Stride ? Stride : w.stride;
    for (int64_t k = 0; k < stage.phases; ++k) {
        float* dst = staged + k * stage.pitch;
        // Entry i is input column i * stride + k - pad.
        int64_t lo = w.pad > k ? (w.pad - k + stride - 1) / stride : 0;
        int64_t hi = (w.in + w.pad - k + stride - 1) / stride;
        hi = hi < 0 ? 0 : hi > stage.pitch ? stage.pitch : hi;
        lo = lo > hi ? hi : lo;
        for (int64_t i = 0; i < lo; ++i) dst[i] = fill;
        const float* from = src + k - w.pad;
        for (int64_t i = lo; i < hi; ++i) dst[i] = from[i * stride];
        for (int64_t i = hi; i < stage.pitch; ++i) dst[i] = fill;
    }
}

// The staged form of a row, or the row itself where that is the same.
inline const float* staged_row(const PoolAxis& w, const PoolStage& stage, const float* src, float fill,
                               float* staged) {
    if (w.stride == 1 && w.pad == 0) return src;
    if (w.stride == 1)
        stage_row<1>(w, stage, src, fill, staged);
    else if (w.stride == 2)
        stage_row<2>(w, stage, src, fill, staged);
    else
        stage_row<0>(w, stage, src, fill, staged);
    return staged;
}

// One output row of maxima; y and `taps` (bits of int32; unused without WithTaps) accumulate over the input
// rows. Padding is -infinity, which never beats the first tap inside the input.
template <bool WithTaps>
void max_row(const PoolPlan& plan, const PoolStage& stage, const float* plane, int64_t p, float* y,
             float* taps, float* staged) {
    const PoolAxis &h = plan.h, &w = plan.w;
    for (int64_t q = 0; q < w.out; ++q) y[q] = -__builtin_inff();
    if (WithTaps)
        for (int64_t q = 0; q < w.out; ++q) taps[q] = as_bits(h.first[p] * w.taps + w.first[q]);
    for (int64_t r = h.first[p]; r < h.last[p]; ++r) {
        const float* row =
            staged_row(w, stage, plane + (h.start[p] + r * h.step) * w.in, -__builtin_inff(), staged);
        for (int64_t q = 0; q < w.out; q += VL) {
            const Tail t = tail(w.out - q);
            vf best = load(y + q, t), won = zero();
            if (WithTaps) won = load(taps + q, t);
            for (int64_t s = 0; s < w.taps; ++s) {
                const vf v = load(row + stage.offsets[s] + q, t);
                // The first of equal values wins, but the last NaN.
                const vm more = less(best, v), nan = unordered(v, v);
                best = select(nan, v, select(more, v, best));
                if (WithTaps) {
                    const vf tap = set1(as_bits(r * w.taps + s));
                    won = select(nan, tap, select(more, tap, won));
                }
            }
            store(y + q, best, t);
            if (WithTaps) store(taps + q, won, t);
        }
    }
}

void mean_row(const PoolPlan& plan, const PoolStage& stage, const float* plane, int64_t p, float* y,
              float* staged) {
    const PoolAxis &h = plan.h, &w = plan.w;
    for (int64_t q = 0; q < w.out; ++q) y[q] = 0;
    for (int64_t r = h.first[p]; r < h.last[p]; ++r) {
        const float* row = staged_row(w, stage, plane + (h.start[p] + r * h.step) * w.in, 0.0f, staged);
        for (int64_t q = 0; q < w.out; q += VL) {
            const Tail t = tail(w.out - q);
            vf sums = zero();
            for (int64_t s = 0; s < w.taps; ++s) sums = sums + load(row + stage.offsets[s] + q, t);
            store(y + q, load(y + q, t) + sums, t);
        }
    }
    for (int64_t q = 0; q < w.out; ++q) y[q] /= static_cast<float>(h.size[p] * w.size[q]);
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

template <class Body>
inline void for_planes(const PoolPlan& plan, int team, const Body& body) {
    const int64_t work = plan.h.in * plan.w.in + plan.h.out * plan.w.out;
    parallel_for(
        plan.n * plan.c, kGrainElements / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            for (int64_t i = begin; i < end; ++i) body(i, worker);
        },
        team);
}

// Whether the windows are 2x2 tiles side by side, all inside the plane and of one divisor: the commonest
// pooling.
bool halves(const PoolAxis& a) {
    if (a.taps != 2 || a.step != 1 || 2 * a.out > a.in) return false;
    for (int64_t o = 0; o < a.out; ++o)
        if (a.start[o] != 2 * o || a.first[o] != 0 || a.last[o] != 2 || a.size[o] != a.size[0]) return false;
    return true;
}
bool halves(const PoolPlan& plan) {
    return plan.h.out > 0 && plan.w.out > 0 && halves(plan.h) && halves(plan.w);
}

void mean_halves(const PoolPlan& plan, const float* x, float* y, int team) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const vf share = set1(1.0f / static_cast<float>(h.size[0] * w.size[0]));
    for_planes(plan, team, [&](int64_t i, int) {
        for (int64_t p = 0; p < h.out; ++p) {
            const float* row = x + (i * h.in + 2 * p) * w.in;
            float* out = y + (i * h.out + p) * w.out;
            for (int64_t q = 0; q < w.out; q += VL) {
                const int64_t left = w.out - q;
                const float* from = row + 2 * q;
                const Tail a = tail(2 * left), b = tail(2 * left - VL);
                const vf low = load(from, a) + load(from + w.in, a);
                vf high = zero();
                if (2 * left > VL) high = load(from + VL, b) + load(from + VL + w.in, b);
                store(out + q, add_pairs(low, high) * share, tail(left));
            }
        }
    });
}

void mean_halves_backward(const PoolPlan& plan, const float* dy, float* dx, int team) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const vf share = set1(1.0f / static_cast<float>(h.size[0] * w.size[0]));
    for_planes(plan, team, [&](int64_t i, int) {
        float* plane = dx + i * h.in * w.in;
        for (int64_t p = 0; p < h.out; ++p) {
            const float* g = dy + (i * h.out + p) * w.out;
            float* row = plane + 2 * p * w.in;
            for (int64_t q = 0; q < w.out; q += VL) {
                const int64_t left = w.out - q;
                const vf v = load(g + q, tail(left)) * share;
                for (int64_t r = 0; r < 2; ++r) {
                    float* to = row + r * w.in + 2 * q;
                    store(to, double_low(v), tail(2 * left));
                    if (2 * left > VL) store(to + VL, double_high(v), tail(2 * left - VL));
                }
            }
            for (int64_t r = 0; r < 2; ++r)
                for (int64_t j = 2 * w.out; j < w.in; ++j) row[r * w.in + j] = 0;
        }
        for (int64_t k = 2 * h.out * w.in; k < h.in * w.in; ++k) plane[k] = 0;
    });
}

template <class Index>
void max_forward(const PoolPlan& plan, const PoolStage& stage, const float* x, float* y, Index* index) {
    const PoolAxis &h = plan.h, &w = plan.w;
    for_planes(plan, stage.team, [&](int64_t i, int worker) {
        const float* plane = x + i * h.in * w.in;
        for (int64_t p = 0; p < h.out; ++p) {
            const int64_t at = (i * h.out + p) * w.out;
            if (!stage.offsets) {
                for (int64_t q = 0; q < w.out; ++q) {
                    const Best best = max_window(h, w, plane, p, q);
                    y[at + q] = best.value;
                    if constexpr (kWanted<Index>) index[at + q] = static_cast<Index>(best.tap);
                }
                continue;
            }
            float* staged = stage.scratch + worker * stage.piece;
            float* taps = staged + stage.phases * stage.pitch;
            max_row<kWanted<Index>>(plan, stage, plane, p, y + at, taps, staged);
            if constexpr (kWanted<Index>)
                for (int64_t q = 0; q < w.out; ++q) index[at + q] = static_cast<Index>(from_bits(taps[q]));
        }
    });
}

void mean_forward(const PoolPlan& plan, const PoolStage& stage, const float* x, float* y) {
    if (halves(plan)) return mean_halves(plan, x, y, stage.team);
    const PoolAxis &h = plan.h, &w = plan.w;
    for_planes(plan, stage.team, [&](int64_t i, int worker) {
        const float* plane = x + i * h.in * w.in;
        for (int64_t p = 0; p < h.out; ++p) {
            float* out = y + (i * h.out + p) * w.out;
            if (stage.offsets)
                mean_row(plan, stage, plane, p, out, stage.scratch + worker * stage.piece);
            else
                for (int64_t q = 0; q < w.out; ++q) out[q] = mean_window(h, w, plane, p, q);
        }
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
    if (halves(plan)) return mean_halves_backward(plan, dy, dx, team);
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

void pool2d_nchw_f32(const PoolPlan& plan, const PoolStage& stage, const float* x, float* y, void* index,
                     bool small) {
    if (plan.kind == PoolKind::mean) return mean_forward(plan, stage, x, y);
    if (!index) return max_forward(plan, stage, x, y, static_cast<NoTaps*>(nullptr));
    if (small) return max_forward(plan, stage, x, y, static_cast<uint8_t*>(index));
    max_forward(plan, stage, x, y, static_cast<int32_t*>(index));
}

void pool2d_nchw_backward_f32(const PoolPlan& plan, const float* dy, const void* index, bool small, float* dx,
                              float* scratch, int team) {
    if (plan.kind == PoolKind::mean) return mean_backward(plan, dy, dx, scratch, team);
    if (small) return max_backward(plan, dy, static_cast<const uint8_t*>(index), dx, team);
    max_backward(plan, dy, static_cast<const int32_t*>(index), dx, team);
}

}  // namespace fastconv::FC_ISA_NS
