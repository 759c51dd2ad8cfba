// Channels-last pooling: vectors of channels, one position at a time. Every lane is computed by itself, so
// results do not depend on how rows or channels are shared among threads.
#include "ops/pool2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Below this many rows the channels are split as well.
constexpr int64_t kFewRows = 64;
constexpr int64_t kChannelBlock = 64;

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

// What every window of a row of outputs shares.
struct Windows {
    const PoolAxis &h, &w;
    int64_t c, p;
};

// U vectors of channels of the window q, from `image`'s channel 0 of these vectors; the last is cut to `t`,
// if any, of `count` lanes. Bytes of taps are kept as floats of their value.
template <int U, class Index, class T, class... Masked>
inline void max_window(const Windows& a, int64_t q, const T* image, T* y, Index* index, int64_t count,
                       Masked... t) {
    constexpr bool kBytes = kWanted<Index> && sizeof(Index) == 1;
    const PoolAxis &h = a.h, &w = a.w;
    const int64_t p = a.p, c = a.c;
    const auto lanes = [](int64_t tap) { return kBytes ? set1(static_cast<float>(tap)) : tap_lanes(tap); };
    vf best[U], taps[U];
    for (int u = 0; u < U; ++u) {
        best[u] = set1(-__builtin_inff());
        taps[u] = lanes(h.first[p] * w.taps + w.first[q]);
    }
    vm nan = no_lanes();
    for (int64_t r = h.first[p]; r < h.last[p]; ++r) {
        const T* row = image + (h.start[p] + r * h.step) * w.in * c;
        for (int64_t s = w.first[q]; s < w.last[q]; ++s) {
            const T* src = row + (w.start[q] + s * w.step) * c;
            const vf tap = lanes(r * w.taps + s);
            for (int u = 0; u < U; ++u) {
                const vf v = load(src + u * VL, t...);
                nan = either(nan, unordered(v, v));
                if constexpr (kWanted<Index>) {
                    const vm more = less(best[u], v);
                    best[u] = select(more, v, best[u]);
                    taps[u] = select(more, tap, taps[u]);
                } else {
                    best[u] = max(v, best[u]);
                }
            }
        }
    }
    if (any(nan)) {
        for (int64_t k = 0; k < count; ++k) {
            const Winner slow = slow_max(h, w, image + k, c, p, q);
            y[k] = narrow<T>(slow.value);
            if constexpr (kWanted<Index>) index[k] = static_cast<Index>(slow.tap);
        }
        return;
    }
    for (int u = 0; u < U; ++u) {
        store(y + u * VL, best[u], t...);
        if constexpr (kBytes)
            store(index + u * VL, taps[u], t...);
        else if constexpr (kWanted<Index>)
            store_taps(index + u * VL, taps[u], count - u * VL);
    }
}

template <int U, class T, class... Masked>
inline void mean_window(const Windows& a, int64_t q, const T* image, T* y, Masked... t) {
    const PoolAxis &h = a.h, &w = a.w;
    vf total[U];
    for (int u = 0; u < U; ++u) total[u] = zero();
    for (int64_t r = h.first[a.p]; r < h.last[a.p]; ++r) {
        const T* row = image + ((h.start[a.p] + r) * w.in + w.start[q] + w.first[q]) * a.c;
        // Row sums first: large windows lose less to rounding.
        vf sums[U];
        for (int u = 0; u < U; ++u) sums[u] = load(row + u * VL, t...);
        for (int64_t s = w.first[q] + 1; s < w.last[q]; ++s) {
            row += a.c;
            for (int u = 0; u < U; ++u) sums[u] = sums[u] + load(row + u * VL, t...);
        }
        for (int u = 0; u < U; ++u) total[u] = total[u] + sums[u];
    }
    const vf share = set1(static_cast<float>(1.0 / (h.size[a.p] * w.size[q])));
    for (int u = 0; u < U; ++u) store(y + u * VL, total[u] * share, t...);
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
        streaming_fence();
    });
}

template <class Index, class T>
void max_forward(const PoolPlan& plan, const T* x, T* y, int64_t y_pitch, Index* index) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c;
    for_rows(plan.n, h.out, w.out, c, [&](int64_t n, int64_t p, int64_t c0, int64_t c1) {
        const T* image = x + n * h.in * w.in * c;
        const Windows windows{h, w, c, p};
        for (int64_t q = 0; q < w.out; ++q) {
            const int64_t pixel = (n * h.out + p) * w.out + q, base = pixel * c;
            T* const out = y + pixel * y_pitch;
            const auto taps = [&](int64_t i) { return index ? index + base + i : index; };
            int64_t i = c0;
            for (; i + 4 * VL <= c1; i += 4 * VL)
                max_window<4>(windows, q, image + i, out + i, taps(i), 4 * VL);
            for (; i + VL <= c1; i += VL) max_window<1>(windows, q, image + i, out + i, taps(i), VL);
            if (i < c1) max_window<1>(windows, q, image + i, out + i, taps(i), c1 - i, tail(c1 - i));
        }
    });
}

template <class T>
void mean_forward(const PoolPlan& plan, const T* x, T* y, int64_t y_pitch) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c;
    for_rows(plan.n, h.out, w.out, c, [&](int64_t n, int64_t p, int64_t c0, int64_t c1) {
        const T* image = x + n * h.in * w.in * c;
        const Windows windows{h, w, c, p};
        for (int64_t q = 0; q < w.out; ++q) {
            T* out = y + ((n * h.out + p) * w.out + q) * y_pitch;
            int64_t i = c0;
            for (; i + 4 * VL <= c1; i += 4 * VL) mean_window<4>(windows, q, image + i, out + i);
            for (; i + VL <= c1; i += VL) mean_window<1>(windows, q, image + i, out + i);
            if (i < c1) mean_window<1>(windows, q, image + i, out + i, tail(c1 - i));
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

// term(u, offset of the output's channels, p, q, tap, mask) for every window on an input: each element of dx
// is written once, by one worker, and adds up in the order of the windows.
template <int U, class T, class Term, class... Masked>
inline void gather(const PoolPlan& plan, int64_t n, int64_t i, int64_t j, bool streaming, T* out,
                   const Term& term, Masked... t) {
    const PoolAxis &h = plan.h, &w = plan.w;
    vf total[U];
    for (int u = 0; u < U; ++u) total[u] = zero();
    for (int64_t p = h.from[i]; p < h.to[i]; ++p) {
        const int64_t r = tap_at(h, p, i);
        if (r < 0) continue;
        for (int64_t q = w.from[j]; q < w.to[j]; ++q) {
            const int64_t s = tap_at(w, q, j);
            if (s < 0) continue;
            const int64_t at = ((n * h.out + p) * w.out + q) * plan.c;
            for (int u = 0; u < U; ++u) total[u] = total[u] + term(at + u * VL, p, q, r * w.taps + s, t...);
        }
    }
    for (int u = 0; u < U; ++u) {
        if constexpr (sizeof...(t) == 0) {
            if (streaming) {
                store_streaming(out + u * VL, total[u]);
                continue;
            }
        }
        store(out + u * VL, total[u], t...);
    }
}

template <class T, class Term>
void gather_all(const PoolPlan& plan, bool streaming, T* dx, const Term& term) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c;
    streaming = streaming && c % VL == 0;  // every vector is aligned then
    for_rows(plan.n, h.in, w.in, c, [&](int64_t n, int64_t i, int64_t c0, int64_t c1) {
        for (int64_t j = 0; j < w.in; ++j) {
            T* out = dx + ((n * h.in + i) * w.in + j) * c;
            int64_t k = c0;
            const auto from = [&](int64_t at, int64_t p, int64_t q, int64_t tap, auto... t) {
                return term(at + k, p, q, tap, t...);
            };
            for (; k + 4 * VL <= c1; k += 4 * VL) gather<4>(plan, n, i, j, streaming, out + k, from);
            for (; k + VL <= c1; k += VL) gather<1>(plan, n, i, j, streaming, out + k, from);
            if (k < c1) gather<1>(plan, n, i, j, false, out + k, from, tail(c1 - k));
        }
    });
}

inline vm taps_equal(const uint8_t* won, int64_t tap) { return bytes_equal(won, static_cast<uint8_t>(tap)); }
inline vm taps_equal(const uint8_t* won, int64_t tap, Tail t) {
    return bytes_equal(won, static_cast<uint8_t>(tap), t);
}
// Windows of more than 256 taps are rare.
inline vm taps_equal(const int32_t* won, int64_t tap, Tail t) {
    float inside[VL], equals[VL];
    store(equals, zero());
    store(inside, zero());
    store(inside, set1(1.0f), t);
    for (int l = 0; l < VL; ++l)
        if (inside[l] != 0 && won[l] == tap) equals[l] = 1;
    return equal(load(equals), set1(1.0f));
}
inline vm taps_equal(const int32_t* won, int64_t tap) { return taps_equal(won, tap, tail(VL)); }

template <class Index, class T>
void max_backward(const PoolPlan& plan, bool streaming, const T* dy, const Index* index, T* dx) {
    gather_all(plan, streaming, dx, [=](int64_t at, int64_t, int64_t, int64_t tap, auto... t) {
        return select(taps_equal(index + at, tap, t...), load(dy + at, t...), zero());
    });
}

// 2x2 tiles that cover the picture: every share is computed once and stored four times.
template <class T>
void mean_tiles(const PoolPlan& plan, const T* dy, T* dx) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c, row = w.in * c;
    const vf share = set1(static_cast<float>(1.0 / (h.size[0] * w.size[0])));
    for_rows(plan.n, h.out, w.out, c, [&](int64_t n, int64_t p, int64_t c0, int64_t c1) {
        for (int64_t q = 0; q < w.out; ++q) {
            const T* g = dy + ((n * h.out + p) * w.out + q) * c;
            T* to = dx + ((n * h.in + 2 * p) * w.in + 2 * q) * c;
            const auto put = [&](int64_t k, auto... t) {
                const vf v = load(g + k, t...) * share;
                store(to + k, v, t...);
                store(to + c + k, v, t...);
                store(to + row + k, v, t...);
                store(to + row + c + k, v, t...);
            };
            int64_t k = c0;
            for (; k + VL <= c1; k += VL) put(k);
            if (k < c1) put(k, tail(c1 - k));
        }
    });
}

template <class T>
void mean_backward(const PoolPlan& plan, bool streaming, const T* dy, T* dx) {
    const bool covered = halves(plan) && 2 * plan.h.out == plan.h.in && 2 * plan.w.out == plan.w.in;
    if (covered && (!streaming || plan.c % VL)) return mean_tiles(plan, dy, dx);
    const PoolAxis &h = plan.h, &w = plan.w;
    gather_all(plan, streaming, dx, [&, dy](int64_t at, int64_t p, int64_t q, int64_t, auto... t) {
        return load(dy + at, t...) * set1(static_cast<float>(1.0 / (h.size[p] * w.size[q])));
    });
}

template <class T>
void forward(const PoolPlan& plan, const T* x, T* y, int64_t y_pitch, void* index, bool small) {
    if (plan.kind == PoolKind::mean) return mean_forward(plan, x, y, y_pitch);
    if (!index) return max_forward(plan, x, y, y_pitch, static_cast<NoTaps*>(nullptr));
    if (small) return max_forward(plan, x, y, y_pitch, static_cast<uint8_t*>(index));
    max_forward(plan, x, y, y_pitch, static_cast<int32_t*>(index));
}

template <class T>
void backward(const PoolPlan& plan, const T* dy, const void* index, bool small, bool streaming, T* dx) {
    if (plan.kind == PoolKind::mean) return mean_backward(plan, streaming, dy, dx);
    if (small) return max_backward(plan, streaming, dy, static_cast<const uint8_t*>(index), dx);
    max_backward(plan, streaming, dy, static_cast<const int32_t*>(index), dx);
}

}  // namespace

void pool2d_nhwc(const PoolPlan& plan, DType dtype, const void* x, void* y, int64_t y_pitch, void* index,
                 bool small) {
    if (dtype == DType::bf16)
        return forward(plan, static_cast<const bfloat16*>(x), static_cast<bfloat16*>(y), y_pitch, index,
                       small);
    forward(plan, static_cast<const float*>(x), static_cast<float*>(y), y_pitch, index, small);
}

void pool2d_nhwc_backward(const PoolPlan& plan, DType dtype, const void* dy, const void* index, bool small,
                          bool streaming, void* dx) {
    if (dtype == DType::bf16)
        return backward(plan, static_cast<const bfloat16*>(dy), index, small, streaming,
                        static_cast<bfloat16*>(dx));
    backward(plan, static_cast<const float*>(dy), index, small, streaming, static_cast<float*>(dx));
}

}  // namespace fastconv::FC_ISA_NS
