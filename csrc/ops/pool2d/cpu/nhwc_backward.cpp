// The gradient of channels-last pooling: vectors of channels, one input at a time. Each adds up the windows
// that reach it, in their order, and is written once.
#include "ops/pool2d/cpu/nhwc.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kStaged = 4096;      // elements put together in cache where pixels are no whole vectors
constexpr int64_t kFetchAhead = 1024;  // elements

// The tap of window o that lies on input i, or -1.
inline int64_t tap_at(const PoolAxis& a, int64_t o, int64_t i) {
    int64_t t = i - a.start[o];
    if (a.step != 1) {
        if (t % a.step) return -1;
        t /= a.step;
    }
    return t < a.last[o] ? t : -1;
}

// The windows on one input, in their order: found once for all channels, or where there are more than fit
// here, so many at a time for every few channels.
struct Reaching {
    struct Item {
        int64_t at;  // the output's first channel
        int64_t tap;
        float share;  // 1 / divisor
    };
    static constexpr int kMost = 64;
    Item items[kMost];
    int count;
    int64_t p, q;  // the first that is not among them

    void start(const PoolPlan& plan, int64_t i, int64_t j) { p = plan.h.from[i], q = plan.w.from[j]; }
    bool more(const PoolPlan& plan, int64_t i) const { return p < plan.h.to[i]; }
    void fill(const PoolPlan& plan, bool shares, int64_t n, int64_t i, int64_t j) {
        const PoolAxis &h = plan.h, &w = plan.w;
        count = 0;
        for (; p < h.to[i]; ++p, q = w.from[j]) {
            const int64_t r = tap_at(h, p, i);
            if (r < 0) continue;
            for (; q < w.to[j]; ++q) {
                const int64_t s = tap_at(w, q, j);
                if (s < 0) continue;
                if (count == kMost) return;
                Item& item = items[count++];
                item.at = ((n * h.out + p) * w.out + q) * plan.c;
                item.tap = r * w.taps + s;
                if (shares) item.share = static_cast<float>(1.0 / (h.size[p] * w.size[q]));
            }
        }
    }
};

template <class T, class... Masked>
inline void put(T* out, vf v, bool streaming, Masked... t) {
    if constexpr (sizeof...(t) == 0) {
        if (streaming) return store_streaming(out, v);
    }
    store(out, v, t...);
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

// What an input gets from a window on it: the gradient of a maximum where its tap won, its share of an
// average.
template <class T, class Index>
struct Given {
    const T* dy;
    const Index* index;  // of NoTaps for an average
    template <class... Masked>
    FC_INLINE void add(vf& total, int64_t at, int64_t tap, float share, Masked... t) const {
        if constexpr (kWanted<Index>)
            total = select(taps_equal(index + at, tap, t...), total + load(dy + at, t...), total);
        else
            total = total + load(dy + at, t...) * set1(share);
    }
};

// Rows of inputs from their windows, each element of dx written once, by one worker, and added up in the
// order of the windows.
template <class T, class Index>
struct Gather {
    const PoolPlan& plan;
    Given<T, Index> given;
    bool streaming;
    int64_t n, i, c0, c1;  // the image, its row, the channels
    T* out;                // that row
    NextLines next, next_taps;

    // body(totals, channel, masks) for the vectors of channels of column j.
    template <class Body>
    FC_INLINE void write(int64_t j, const Body& body) const {
        T* const to = out + j * plan.c;
        const bool past = streaming;
        in_vectors(c0, c1, [&](auto vectors, int64_t k, int64_t, auto... t) FC_INLINE {
            constexpr int U = decltype(vectors)::value;
            vf total[U];
            unrolled<U>([&](auto u) FC_INLINE { total[u] = zero(); });
            body(total, k, t...);
            if constexpr (sizeof...(t) == 0)
                if (past)
                    return unrolled<U>([&](auto u) FC_INLINE { store_streaming(to + k + u * VL, total[u]); });
            unrolled<U>([&](auto u) FC_INLINE { store(to + k + u * VL, total[u], t...); });
        });
    }
    // Column j, which P x Q windows side by side reach; none of them skips taps. `tap`: of the first
    // column's.
    template <int P, int Q>
    FC_INLINE void few(int64_t j, int64_t q0, const int64_t (&tap)[P], int64_t first, int64_t row) const {
        const PoolAxis &h = plan.h, &w = plan.w;
        const int64_t c = plan.c;
        const Given<T, Index> from = given;
        int64_t taps[P * Q];
        float shares[P * Q];
        unrolled<P, Q>([&](auto a, auto b) FC_INLINE {
            taps[a * Q + b] = tap[a] + j - w.start[q0 + b];
            shares[a * Q + b] = kWanted<Index> ? 1.0f : share(h.size[h.from[i] + a], w.size[q0 + b]);
        });
        write(j, [&](auto& total, int64_t k, auto... t) FC_INLINE {
            constexpr int U = sizeof(total) / sizeof(vf);
            unrolled<P, Q>([&](auto a, auto b) FC_INLINE {
                const int64_t at = first + q0 * c + a * row + b * c + k;
                unrolled<U>([&](auto u) FC_INLINE {
                    from.add(total[u], at + u * VL, taps[a * Q + b], shares[a * Q + b], t...);
                });
            });
        });
    }
    static float share(double height, double width) { return static_cast<float>(1.0 / (height * width)); }
    void any_number(int64_t j) const {
        Reaching windows;
        windows.start(plan, i, j);
        windows.fill(plan, !kWanted<Index>, n, i, j);
        const bool many = windows.more(plan, i);
        write(j, [&](auto& total, int64_t k, auto... t) FC_INLINE {
            constexpr int U = sizeof(total) / sizeof(vf);
            if (many) {
                windows.start(plan, i, j);
                windows.fill(plan, !kWanted<Index>, n, i, j);
            }
            for (;;) {
                for (int e = 0; e < windows.count; ++e) {
                    const Reaching::Item& item = windows.items[e];
                    unrolled<U>([&](auto u) FC_INLINE {
                        given.add(total[u], item.at + k + u * VL, item.tap, item.share, t...);
                    });
                }
                if (!many || !windows.more(plan, i)) break;
                windows.fill(plan, !kWanted<Index>, n, i, j);
            }
        });
    }
    // A row that P rows of windows reach, none of them skipping taps.
    template <int P>
    void row() {
        const PoolAxis &h = plan.h, &w = plan.w;
        const int64_t p0 = h.from[i], step = w.out * plan.c, first = (n * h.out + p0) * step;
        int64_t tap[P];
        unrolled<P>([&](auto a) FC_INLINE { tap[a] = (i - h.start[p0 + a]) * w.taps; });
        for (int64_t j = 0; j < w.in; ++j) {
            next.step(), next_taps.step();
            const int64_t q0 = w.from[j], columns = w.to[j] - q0;
            if (columns == 1)
                few<P, 1>(j, q0, tap, first, step);
            else if (columns == 2)
                few<P, 2>(j, q0, tap, first, step);
            else if (columns == 3)
                few<P, 3>(j, q0, tap, first, step);
            else
                any_number(j);
        }
    }
    void any_row() {
        for (int64_t j = 0; j < plan.w.in; ++j) {
            next.step(), next_taps.step();
            any_number(j);
        }
    }
};

template <class Index, class T>
void gather_all(const PoolPlan& plan, bool streaming, const T* dy, const Index* index, T* dx) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c, row = w.out * c;
    streaming = streaming && c % VL == 0;  // every vector is aligned then
    const bool far = beyond_l2(plan, sizeof(T)), dense = h.step == 1 && w.step == 1;
    for_rows(plan.n, h.in, w.in, c, [&](int64_t n, int64_t i, int64_t c0, int64_t c1) {
        Gather<T, Index> g{plan, {dy, index}, streaming, n, i, c0, c1, dx + (n * h.in + i) * w.in * c,
                           {},   {}};
        if (far) {
            // The outputs that the next row of inputs is the first to be reached from.
            const int64_t to = i + 1 < h.in ? h.to[i + 1] : h.out + h.to[0];
            const int64_t from = (n * h.out + h.to[i]) * row, count = (to - h.to[i]) * row;
            const int64_t all = plan.n * h.out * row;
            g.next = next_lines(dy, from, count, all, w.in);
            if constexpr (kWanted<Index>) g.next_taps = next_lines(index, from, count, all, w.in);
        }
        const int64_t rows = h.to[i] - h.from[i];
        if (dense && rows == 1) return g.template row<1>();
        if (dense && rows == 2) return g.template row<2>();
        if (dense && rows == 3) return g.template row<3>();
        g.any_row();
    });
}

// 2x2 tiles that cover the picture: every share is computed once and stored four times.
template <class T>
void mean_tiles(const PoolPlan& plan, bool streaming, const T* dy, T* dx) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c, row = w.in * c;
    const vf share = set1(static_cast<float>(1.0 / (h.size[0] * w.size[0])));
    const bool aligned = c % VL == 0, staged = streaming && !aligned && 2 * row <= kStaged;
    streaming = streaming && aligned;
    for_rows(plan.n, h.out, w.out, c, [&](int64_t n, int64_t p, int64_t c0, int64_t c1) {
        T stage[kStaged];
        T* const two = dx + (n * h.in + 2 * p) * row;
        const bool together = staged && c1 - c0 == c;
        for (int64_t q = 0; q < w.out; ++q) {
            const T* g = dy + ((n * h.out + p) * w.out + q) * c;
            T* to = (together ? stage : two) + 2 * q * c;
            const auto spread = [&](int64_t k, auto... t) {
                __builtin_prefetch(g + k + kFetchAhead, 0, 2);
                const vf v = load(g + k, t...) * share;
                put(to + k, v, streaming, t...);
                put(to + c + k, v, streaming, t...);
                put(to + row + k, v, streaming, t...);
                put(to + row + c + k, v, streaming, t...);
            };
            int64_t k = c0;
            for (; k + VL <= c1; k += VL) spread(k);
            if (k < c1) spread(k, tail(c1 - k));
        }
        if (together) copy_streaming(two, stage, 2 * row);
    });
}

template <class T>
void mean_backward(const PoolPlan& plan, bool streaming, const T* dy, T* dx) {
    if (halves(plan) && 2 * plan.h.out == plan.h.in && 2 * plan.w.out == plan.w.in)
        return mean_tiles(plan, streaming, dy, dx);
    gather_all(plan, streaming, dy, static_cast<const NoTaps*>(nullptr), dx);
}

template <class T>
void backward(const PoolPlan& plan, const T* dy, const void* index, bool small, bool streaming, T* dx) {
    if (plan.kind == PoolKind::mean) return mean_backward(plan, streaming, dy, dx);
    if (small) return gather_all(plan, streaming, dy, static_cast<const uint8_t*>(index), dx);
    gather_all(plan, streaming, dy, static_cast<const int32_t*>(index), dx);
}

}  // namespace

void pool2d_nhwc_backward(const PoolPlan& plan, DType dtype, const void* dy, const void* index, bool small,
                          bool streaming, void* dx) {
    if (dtype == DType::bf16)
        return backward(plan, static_cast<const bfloat16*>(dy), index, small, streaming,
                        static_cast<bfloat16*>(dx));
    backward(plan, static_cast<const float*>(dy), index, small, streaming, static_cast<float*>(dx));
}

}  // namespace fastconv::FC_ISA_NS
