// The gradient of planar pooling by rows, in gather form: every element of dx is written once. Columns that
// are equal modulo the stride are reached by the same taps, so lanes run along such a phase, and the phases
// of a row are interleaved when it is stored.
#include "ops/pool2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Column j + pad = stride * u + k is tap k + stride * t of output u - t.
struct Gather {
    int64_t reach;    // the largest t
    int64_t columns;  // values of u
};
template <int Stride>
inline Gather gather_of(const PoolAxis& w) {
    return {(w.taps - 1) / Stride, (w.in - 1 + w.pad) / Stride + 1};
}

// The largest t of phase k, -1 where no tap reaches it.
template <int Stride>
inline int64_t farthest(const PoolAxis& w, int64_t k) {
    return w.taps > k ? (w.taps - 1 - k) / Stride : -1;
}

// The row of g (or of taps) of output row p, behind `reach` places for the outputs before the first.
inline float* slot(const PoolRows& rows, float* base, int64_t p) { return base + p % rows.ring * rows.pitch; }

// Writes `line`, phase by phase: value(u, k) for VL values of u.
template <int Stride, class Value>
inline void write_line(float* line, int64_t columns, const Value& value) {
    for (int64_t u = 0; u < columns; u += VL) {
        if constexpr (Stride == 1) {
            store(line + u, value(u, 0));
        } else {
            const vf a = value(u, 0), b = value(u, 1);
            store(line + 2 * u, interleave_low(a, b));
            store(line + 2 * u + VL, interleave_high(a, b));
        }
    }
}

template <class T>
inline void copy_line(const float* line, T* to, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) store(to + i, load(line + i));
    if (i < n) store(to + i, load(line + i, tail(n - i)), tail(n - i));
}

struct Scratch {
    float *line, *gradients, *taps;
    void* plane;
};
inline Scratch scratch_of(const PoolRows& rows, int worker) {
    float* at = rows.scratch + worker * rows.piece;
    return {at, at + rows.line, at + rows.line + rows.ring * rows.pitch,
            at + rows.line + 2 * (rows.ring + 1) * rows.pitch};
}

template <int Stride, class T>
void max_plane(const PoolPlan& plan, const PoolRows& rows, const Scratch& s, const T* dy,
               const uint8_t* index, T* dx) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const Gather to = gather_of<Stride>(w);
    int64_t next = 0;
    for (int64_t i = 0; i < h.in; ++i) {
        for (; next < h.to[i]; ++next) {
            float* g = slot(rows, s.gradients, next) + to.reach;
            float* t = slot(rows, s.taps, next) + to.reach;
            for (int64_t q = 0; q < w.out; q += VL) {
                const Tail m = tail(w.out - q);
                store(g + q, load(dy + next * w.out + q, m), m);
                store(t + q, load(index + next * w.out + q, m), m);
            }
        }
        write_line<Stride>(s.line, to.columns, [&](int64_t u, int64_t k) {
            vf total = zero();
            for (int64_t p = h.from[i]; p < h.to[i]; ++p) {
                const int64_t r = i - h.start[p];
                const float* g = slot(rows, s.gradients, p) + to.reach + u;
                const float* t = slot(rows, s.taps, p) + to.reach + u;
                for (int64_t back = farthest<Stride>(w, k); back >= 0; --back) {
                    const vf tap = set1(static_cast<float>(r * w.taps + k + Stride * back));
                    total = total + select(equal(load(t - back), tap), load(g - back), zero());
                }
            }
            return total;
        });
        copy_line(s.line + w.pad, dx + i * w.in, w.in);
    }
}

// An average spreads evenly: along the row once for each output row, then down the rows.
template <int Stride, class T>
void mean_plane(const PoolPlan& plan, const PoolRows& rows, const Scratch& s, const T* dy, T* dx) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const Gather to = gather_of<Stride>(w);
    float* g = s.taps + to.reach;  // one row of shares
    const float* widths = s.taps + rows.pitch;
    int64_t next = 0;
    for (int64_t i = 0; i < h.in; ++i) {
        for (; next < h.to[i]; ++next) {
            const vf height = set1(static_cast<float>(h.size[next]));
            for (int64_t q = 0; q < w.out; q += VL) {
                const Tail m = tail(w.out - q);
                store(g + q, load(dy + next * w.out + q, m) / (height * load(widths + q)), m);
            }
            write_line<Stride>(slot(rows, s.gradients, next), to.columns, [&](int64_t u, int64_t k) {
                vf total = zero();
                for (int64_t back = farthest<Stride>(w, k); back >= 0; --back)
                    total = total + load(g + u - back);
                return total;
            });
        }
        T* out = dx + i * w.in;
        for (int64_t j = 0; j < w.in; j += VL) {
            vf total = zero();
            for (int64_t p = h.from[i]; p < h.to[i]; ++p)
                total = total + load(slot(rows, s.gradients, p) + w.pad + j);
            if (j + VL <= w.in)
                store(out + j, total);
            else
                store(out + j, total, tail(w.in - j));
        }
    }
}

template <class T>
void zero_rest(const PoolAxis& h, const PoolAxis& w, T* plane) {
    if (2 * w.out < w.in)
        for (int64_t i = 0; i < 2 * h.out; ++i)
            for (int64_t j = 2 * w.out; j < w.in; ++j) plane[i * w.in + j] = narrow<T>(0.0f);
    for (int64_t k = 2 * h.out * w.in; k < h.in * w.in; ++k) plane[k] = narrow<T>(0.0f);
}

template <bool Max, class T>
void halves_plane(const PoolPlan& plan, const T* dy, const uint8_t* index, T* plane) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const vf share = set1(1.0f / static_cast<float>(h.size[0] * w.size[0]));
    for (int64_t p = 0; p < h.out; ++p) {
        T* row = plane + 2 * p * w.in;
        for (int64_t q = 0; q < w.out; q += VL) {
            const int64_t left = w.out - q, at = p * w.out + q;
            const bool whole = left >= VL;
            const vf g = whole ? load(dy + at) : load(dy + at, tail(left));
            vf t = zero();
            if constexpr (Max) t = whole ? load(index + at) : load(index + at, tail(left));
            for (int r = 0; r < 2; ++r) {
                vf a = g * share, b = a;
                if constexpr (Max) {
                    a = select(equal(t, set1(static_cast<float>(2 * r))), g, zero());
                    b = select(equal(t, set1(static_cast<float>(2 * r + 1))), g, zero());
                }
                T* to = row + r * w.in + 2 * q;
                if (whole) {
                    store(to, interleave_low(a, b));
                    store(to + VL, interleave_high(a, b));
                } else {
                    store(to, interleave_low(a, b), tail(2 * left));
                    if (2 * left > VL) store(to + VL, interleave_high(a, b), tail(2 * left - VL));
                }
            }
        }
    }
    zero_rest(h, w, plane);
}

template <class T>
void backward(const PoolPlan& plan, const PoolRows& rows, const T* dy, const uint8_t* index, T* dx) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const bool max = plan.kind == PoolKind::max, tiles = halves(plan);
    for (int k = 0; k < rows.team && !tiles; ++k) {
        // What lies beside the outputs stays: gradients of 0, taps that match none.
        const Scratch s = scratch_of(rows, k);
        const int64_t n = rows.ring * rows.pitch;
        for (int64_t i = 0; i < n; ++i) s.gradients[i] = 0;
        for (int64_t i = 0; i < n; ++i) s.taps[i] = max ? -1.0f : 0.0f;
        if (max) continue;
        for (int64_t q = 0; q < rows.pitch; ++q)
            s.taps[rows.pitch + q] = static_cast<float>(w.size[q < w.out ? q : w.out - 1]);
    }
    const int64_t in = h.in * w.in, out = h.out * w.out;
    const bool staged = rows.streaming && in <= rows.plane;
    for_planes(plan, rows.team, [&](int64_t i, int worker) {
        const Scratch s = scratch_of(rows, worker);
        const T* g = dy + i * out;
        const uint8_t* taps = max ? index + i * out : nullptr;
        T* plane = staged ? static_cast<T*>(s.plane) : dx + i * in;
        if (tiles && max)
            halves_plane<true>(plan, g, taps, plane);
        else if (tiles)
            halves_plane<false>(plan, g, taps, plane);
        else if (max && w.stride == 1)
            max_plane<1>(plan, rows, s, g, taps, plane);
        else if (max)
            max_plane<2>(plan, rows, s, g, taps, plane);
        else if (w.stride == 1)
            mean_plane<1>(plan, rows, s, g, plane);
        else
            mean_plane<2>(plan, rows, s, g, plane);
        if (staged) copy_streaming(dx + i * in, plane, in);
    });
}

}  // namespace

void pool2d_nchw_rows_backward(const PoolPlan& plan, const PoolRows& rows, DType dtype, const void* dy,
                               const uint8_t* index, void* dx) {
    if (dtype == DType::bf16)
        return backward(plan, rows, static_cast<const bfloat16*>(dy), index, static_cast<bfloat16*>(dx));
    backward(plan, rows, static_cast<const float*>(dy), index, static_cast<float*>(dx));
}

}  // namespace fastconv::FC_ISA_NS
