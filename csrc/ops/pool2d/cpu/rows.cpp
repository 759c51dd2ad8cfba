// Planar pooling by rows, lanes along the width. Windows are reduced along the row first, every input row
// once, into a ring of reduced rows, and then down the ring. The row is copied between its padding (and
// widened to float32) first, so that no column is special.
#include "ops/pool2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

// One worker's scratch memory.
struct Ring {
    float *line, *phases, *first_taps, *values, *taps;
};
inline Ring ring_of(const PoolPlan& plan, const PoolRows& rows, int worker) {
    Ring r;
    r.line = rows.scratch + worker * rows.piece;
    r.phases = r.line + rows.line;
    r.first_taps = r.phases + (plan.w.stride > 2 ? rows.line : 0);
    r.values = r.first_taps + rows.pitch;
    r.taps = r.values + rows.ring * rows.pitch;
    return r;
}

template <class T>
inline void copy_row(const T* from, float* to, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) store(to + i, load(from + i));
    if (i < n) store(to + i, load(from + i, tail(n - i)), tail(n - i));
}

// tap(s, q): the VL values of tap s for the outputs from q on.
template <int Stride, class Body>
inline void with_taps(const PoolPlan& plan, const PoolRows& rows, const Ring& ring, const Body& body) {
    const int64_t step = plan.w.step;
    const float* line = ring.line;
    if constexpr (Stride == 1) {
        body([=](int64_t s, int64_t q) { return load(line + s * step + q); });
    } else if constexpr (Stride == 2) {
        body([=](int64_t s, int64_t q) {
            const float* from = line + s * step + 2 * q;
            return even_lanes(load(from), load(from + VL));
        });
    } else {
        // Column i * stride + k of the line goes to place i of phase k.
        const int64_t stride = plan.w.stride, pitch = rows.line / stride;
        for (int64_t k = 0; k < stride; ++k)
            for (int64_t i = 0; i < pitch; ++i) ring.phases[k * pitch + i] = line[i * stride + k];
        const float* phases = ring.phases;
        body([=](int64_t s, int64_t q) {
            const int64_t at = s * step;
            return load(phases + at % stride * pitch + at / stride + q);
        });
    }
}

// Reduces the line into slot `slot`; returns whether a NaN was met.
template <int Stride, bool Max, bool WithTaps>
bool reduce_row(const PoolPlan& plan, const PoolRows& rows, const Ring& ring, int64_t slot) {
    const int64_t out = plan.w.out, count = plan.w.taps;
    float* values = ring.values + slot * rows.pitch;
    float* taps = ring.taps + slot * rows.pitch;
    vm nan = no_lanes();
    with_taps<Stride>(plan, rows, ring, [&](const auto& tap) {
        for (int64_t q = 0; q < out; q += VL) {
            vf v = tap(0, q);
            if constexpr (!Max) {
                for (int64_t s = 1; s < count; ++s) v = v + tap(s, q);
            } else if constexpr (!WithTaps) {
                nan = either(nan, unordered(v, v));
                for (int64_t s = 1; s < count; ++s) {
                    const vf next = tap(s, q);
                    nan = either(nan, unordered(next, next));
                    v = max(v, next);
                }
            } else {
                vf won = load(ring.first_taps + q);
                nan = either(nan, unordered(v, v));
                won = select(less(set1(-__builtin_inff()), v), zero(), won);
                for (int64_t s = 1; s < count; ++s) {
                    const vf next = tap(s, q);
                    const vm more = less(v, next);
                    nan = either(nan, unordered(next, next));
                    v = select(more, next, v);
                    won = select(more, set1(static_cast<float>(s)), won);
                }
                store(taps + q, won);
            }
            store(values + q, v);
        }
    });
    return any(nan);
}

template <int Stride, bool Max, bool WithTaps, class T>
void forward_plane(const PoolPlan& plan, const PoolRows& rows, const Ring& ring, const T* x, T* y,
                   uint8_t* index) {
    const PoolAxis &h = plan.h, &w = plan.w;
    int64_t next = 0, last_nan = -1;  // the next row to reduce, and the last one with a NaN
    for (int64_t p = 0; p < h.out; ++p) {
        const int64_t top = h.start[p] + h.first[p] * h.step;
        const int64_t end = h.start[p] + (h.last[p] - 1) * h.step + 1;
        // Where taps are apart, `top` may fall as p rises; the windows' starts do not.
        if (next < h.start[p]) next = h.start[p];
        for (; next < end; ++next) {
            copy_row(x + next * w.in, ring.line + w.pad, w.in);
            if (reduce_row<Stride, Max, WithTaps>(plan, rows, ring, next % rows.ring)) last_nan = next;
        }
        if (Max && last_nan >= 0 && last_nan >= h.start[p]) {
            for (int64_t q = 0; q < w.out; ++q) {
                const Winner best = slow_max(h, w, x, 1, p, q);
                y[p * w.out + q] = narrow<T>(best.value);
                if (WithTaps) index[p * w.out + q] = static_cast<uint8_t>(best.tap);
            }
            continue;
        }
        const vf height = set1(static_cast<float>(h.size[p]));
        for (int64_t q = 0; q < w.out; q += VL) {
            int64_t i = top;
            const float* row = ring.values + i % rows.ring * rows.pitch + q;
            vf v = load(row), won = zero();
            if constexpr (WithTaps)
                won = load(ring.taps + i % rows.ring * rows.pitch + q) +
                      set1(static_cast<float>(h.first[p] * w.taps));
            for (int64_t r = h.first[p] + 1; r < h.last[p]; ++r) {
                i += h.step;
                const int64_t at = i % rows.ring * rows.pitch + q;
                const vf more = load(ring.values + at);
                if constexpr (!Max) {
                    v = v + more;
                } else if constexpr (!WithTaps) {
                    v = max(v, more);
                } else {
                    const vm greater = less(v, more);
                    v = select(greater, more, v);
                    won = select(greater, load(ring.taps + at) + set1(static_cast<float>(r * w.taps)), won);
                }
            }
            // For averages the row of first taps holds the windows' widths.
            if constexpr (!Max) v = v / (height * load(ring.first_taps + q));
            T* to = y + p * w.out + q;
            if (q + VL <= w.out) {
                store(to, v);
                if constexpr (WithTaps) store(index + p * w.out + q, won);
            } else {
                store(to, v, tail(w.out - q));
                if constexpr (WithTaps) store(index + p * w.out + q, won, tail(w.out - q));
            }
        }
    }
}

template <int Stride, bool Max, bool WithTaps, class T>
void forward_rows(const PoolPlan& plan, const PoolRows& rows, const T* x, T* y, uint8_t* index) {
    const PoolAxis &h = plan.h, &w = plan.w;
    for (int k = 0; k < rows.team; ++k) {
        const Ring ring = ring_of(plan, rows, k);
        for (int64_t i = 0; i < rows.line; ++i) ring.line[i] = Max ? -__builtin_inff() : 0.0f;
        for (int64_t q = 0; q < rows.pitch; ++q) {
            const int64_t o = q < w.out ? q : w.out - 1;
            ring.first_taps[q] = Max ? static_cast<float>(w.first[o]) : static_cast<float>(w.size[o]);
        }
    }
    for_planes(plan, rows.team, [&](int64_t i, int worker) {
        const int64_t to = i * h.out * w.out;
        forward_plane<Stride, Max, WithTaps>(plan, rows, ring_of(plan, rows, worker), x + i * h.in * w.in,
                                             y + to, WithTaps ? index + to : index);
    });
}

template <int Stride, class T>
void forward_kind(const PoolPlan& plan, const PoolRows& rows, const T* x, T* y, uint8_t* index) {
    if (plan.kind == PoolKind::mean) return forward_rows<Stride, false, false>(plan, rows, x, y, index);
    if (index) return forward_rows<Stride, true, true>(plan, rows, x, y, index);
    forward_rows<Stride, true, false>(plan, rows, x, y, index);
}

template <bool WithTaps, class T>
void max_halves(const PoolPlan& plan, const T* x, T* y, uint8_t* index, int team) {
    const PoolAxis &h = plan.h, &w = plan.w;
    for_planes(plan, team, [&](int64_t i, int) {
        for (int64_t p = 0; p < h.out; ++p) {
            const T* row = x + (i * h.in + 2 * p) * w.in;
            const int64_t at = (i * h.out + p) * w.out;
            for (int64_t q = 0; q < w.out; q += VL) {
                const int64_t left = w.out - q;
                const bool whole = left >= VL;
                const Tail ta = tail(2 * left), tb = tail(2 * left - VL), to = tail(left);
                const auto fetch = [&](const T* from, vf& even, vf& odd) {
                    const vf a = whole ? load(from) : load(from, ta);
                    const vf b = whole ? load(from + VL) : load(from + VL, tb);
                    even = even_lanes(a, b);
                    odd = odd_lanes(a, b);
                };
                vf v[4];
                fetch(row + 2 * q, v[0], v[1]);
                fetch(row + 2 * q + w.in, v[2], v[3]);
                const vm nan = either(unordered(v[0], v[1]), unordered(v[2], v[3]));
                vf best, won = zero();
                if constexpr (WithTaps) {
                    best = v[0];
                    for (int s = 1; s < 4; ++s) {
                        const vm more = less(best, v[s]);
                        best = select(more, v[s], best);
                        won = select(more, set1(static_cast<float>(s)), won);
                    }
                } else {
                    best = max(max(v[0], v[1]), max(v[2], v[3]));
                }
                if (any(nan)) {
                    for (int64_t k = q; k < (whole ? q + VL : w.out); ++k) {
                        const Winner slow = slow_max(h, w, x + i * h.in * w.in, 1, p, k);
                        y[at + k] = narrow<T>(slow.value);
                        if (WithTaps) index[at + k] = static_cast<uint8_t>(slow.tap);
                    }
                } else if (whole) {
                    store(y + at + q, best);
                    if constexpr (WithTaps) store(index + at + q, won);
                } else {
                    store(y + at + q, best, to);
                    if constexpr (WithTaps) store(index + at + q, won, to);
                }
            }
        }
    });
}

template <class T>
void mean_halves(const PoolPlan& plan, const T* x, T* y, int team) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const vf share = set1(1.0f / static_cast<float>(h.size[0] * w.size[0]));
    for_planes(plan, team, [&](int64_t i, int) {
        for (int64_t p = 0; p < h.out; ++p) {
            const T* row = x + (i * h.in + 2 * p) * w.in;
            T* out = y + (i * h.out + p) * w.out;
            int64_t q = 0;
            for (; q + VL <= w.out; q += VL) {
                const T* from = row + 2 * q;
                const vf low = load(from) + load(from + w.in);
                const vf high = load(from + VL) + load(from + VL + w.in);
                store(out + q, add_pairs(low, high) * share);
            }
            if (q == w.out) continue;
            const int64_t left = w.out - q;
            const T* from = row + 2 * q;
            const Tail a = tail(2 * left), b = tail(2 * left - VL);
            const vf low = load(from, a) + load(from + w.in, a);
            const vf high = 2 * left > VL ? load(from + VL, b) + load(from + VL + w.in, b) : zero();
            store(out + q, add_pairs(low, high) * share, tail(left));
        }
    });
}

template <class T>
void forward(const PoolPlan& plan, const PoolRows& rows, const T* x, T* y, uint8_t* index) {
    if (halves(plan)) {
        if (plan.kind == PoolKind::mean) return mean_halves(plan, x, y, rows.team);
        if (index) return max_halves<true>(plan, x, y, index, rows.team);
        return max_halves<false>(plan, x, y, index, rows.team);
    }
    if (plan.w.stride == 1) return forward_kind<1>(plan, rows, x, y, index);
    if (plan.w.stride == 2) return forward_kind<2>(plan, rows, x, y, index);
    forward_kind<0>(plan, rows, x, y, index);
}

}  // namespace

void pool2d_nchw_rows(const PoolPlan& plan, const PoolRows& rows, DType dtype, const void* x, void* y,
                      uint8_t* index) {
    if (dtype == DType::bf16)
        return forward(plan, rows, static_cast<const bfloat16*>(x), static_cast<bfloat16*>(y), index);
    forward(plan, rows, static_cast<const float*>(x), static_cast<float*>(y), index);
}

}  // namespace fastconv::FC_ISA_NS
