// Channels-last pooling: vectors of channels, one position at a time. Every lane is computed by itself, so
// results do not depend on how rows or channels are shared among threads.
#include "cpu/simd/unrolled.h"
#include "ops/pool2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Below this many rows the channels are split as well.
constexpr int64_t kFewRows = 64;
constexpr int64_t kChannelBlock = 64;
constexpr int64_t kWideWindow = 16 << 10;  // values of a window that is summed row by row
constexpr int64_t kWideChannels = 2048;
constexpr int64_t kStaged = 4096;      // elements put together in cache where pixels are no whole vectors
constexpr int64_t kFetchAhead = 1024;  // elements

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

// One window, all that does not depend on the channel.
struct Window {
    const PoolAxis &h, &w;
    int64_t c, p, q;
    int64_t rows, columns;  // of taps that lie inside the picture
    int64_t at;             // of the first of them, in elements from the image's start
    int64_t row_step, step;
    int64_t tap;  // its number
    float share;  // 1 / divisor
    Window(const PoolPlan& plan, int64_t p, int64_t q)
        : h(plan.h),
          w(plan.w),
          c(plan.c),
          p(p),
          q(q),
          rows(h.last[p] - h.first[p]),
          columns(w.last[q] - w.first[q]),
          at(((h.start[p] + h.first[p] * h.step) * w.in + w.start[q] + w.first[q] * w.step) * c),
          row_step(h.step * w.in * c),
          step(w.step * c),
          tap(h.first[p] * w.taps + w.first[q]),
          share(static_cast<float>(1.0 / (h.size[p] * w.size[q]))) {}
};

// U vectors of channels of a window, from `image`'s channel 0 of these vectors; the last is cut to `t`, if
// any, of `count` lanes. Bytes of taps are kept as floats of their value.
template <int U, class Index, class T, class... Masked>
inline void max_window(const Window& a, const T* image, T* y, Index* index, int64_t count, Masked... t) {
    constexpr bool kBytes = kWanted<Index> && sizeof(Index) == 1;
    const auto lanes = [](int64_t tap) { return kBytes ? set1(static_cast<float>(tap)) : tap_lanes(tap); };
    vf best[U], taps[U];
    unrolled<U>([&](auto u) FC_INLINE {
        best[u] = set1(-__builtin_inff());
        taps[u] = lanes(a.tap);
    });
    vm nan = no_lanes();
    const auto add = [&](auto u, vf v, vf tap) FC_INLINE {
        if constexpr (kWanted<Index>) {
            const vm more = less(best[u], v);
            best[u] = select(more, v, best[u]);
            taps[u] = select(more, tap, taps[u]);
        } else {
            best[u] = max(v, best[u]);
        }
    };
    const T* row = image + a.at;
    for (int64_t r = 0; r < a.rows; ++r, row += a.row_step) {
        const T* src = row;
        const int64_t first = a.tap + r * a.w.taps;
        int64_t s = 0;
        // Two taps at once: one comparison finds a NaN in either.
        for (; s + 2 <= a.columns; s += 2, src += 2 * a.step) {
            const vf tap = lanes(first + s), next = lanes(first + s + 1);
            unrolled<U>([&](auto u) FC_INLINE {
                const vf v = load(src + u * VL, t...), second = load(src + a.step + u * VL, t...);
                nan = either(nan, unordered(v, second));
                add(u, v, tap);
                add(u, second, next);
            });
        }
        if (s < a.columns) {
            const vf tap = lanes(first + s);
            unrolled<U>([&](auto u) FC_INLINE {
                const vf v = load(src + u * VL, t...);
                nan = either(nan, unordered(v, v));
                add(u, v, tap);
            });
        }
    }
    if (any(nan)) {
        for (int64_t k = 0; k < count; ++k) {
            const Winner slow = slow_max(a.h, a.w, image + k, a.c, a.p, a.q);
            y[k] = narrow<T>(slow.value);
            if constexpr (kWanted<Index>) index[k] = static_cast<Index>(slow.tap);
        }
        return;
    }
    unrolled<U>([&](auto u) FC_INLINE {
        store(y + u * VL, best[u], t...);
        if constexpr (kBytes)
            store(index + u * VL, taps[u], t...);
        else if constexpr (kWanted<Index>)
            store_taps(index + u * VL, taps[u], count - u * VL);
    });
}

// The sum of U vectors of channels over a row of a window.
template <int U, class T, class... Masked>
inline void row_sum(const Window& a, const T* src, vf (&sums)[U], Masked... t) {
    unrolled<U>([&](auto u) FC_INLINE { sums[u] = load(src + u * VL, t...); });
    for (int64_t s = 1; s < a.columns; ++s) {
        src += a.step;
        unrolled<U>([&](auto u) FC_INLINE { sums[u] = sums[u] + load(src + u * VL, t...); });
    }
}

template <int U, class T, class... Masked>
inline void mean_window(const Window& a, const T* image, T* y, Masked... t) {
    vf total[U], sums[U];
    const T* row = image + a.at;
    row_sum<U>(a, row, total, t...);
    for (int64_t r = 1; r < a.rows; ++r) {
        row += a.row_step;
        // Row sums first: large windows lose less to rounding.
        row_sum<U>(a, row, sums, t...);
        unrolled<U>([&](auto u) FC_INLINE { total[u] = total[u] + sums[u]; });
    }
    const vf share = set1(a.share);
    unrolled<U>([&](auto u) FC_INLINE { store(y + u * VL, total[u] * share, t...); });
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

// So many vectors as a type.
template <int N>
struct Vectors {
    static constexpr int value = N;
};

// Calls body(vectors, channel, lanes, masks) for 4 vectors of channels at a time, then one, then the rest.
template <class Body>
inline void in_vectors(int64_t c0, int64_t c1, const Body& body) {
    int64_t i = c0;
    for (; i + 4 * VL <= c1; i += 4 * VL) body(Vectors<4>{}, i, 4 * VL);
    for (; i + VL <= c1; i += VL) body(Vectors<1>{}, i, VL);
    if (i < c1) body(Vectors<1>{}, i, c1 - i, tail(c1 - i));
}

// body(window, its image, its pixel, first channel, end of the channels, what to fetch) row by row of
// windows. `steps`: how often the body fetches, a window; 0: never.
template <class T, class Body>
void each_window(const PoolPlan& plan, const T* x, int64_t steps, const Body& body) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t row = w.in * plan.c;
    const auto reach = [&](int64_t p) { return h.start[p] + (h.last[p] - 1) * h.step + 1; };
    const bool far = beyond_l2(plan, sizeof(T));
    for_rows(plan.n, h.out, w.out, plan.c, [&](int64_t n, int64_t p, int64_t c0, int64_t c1) {
        const T* image = x + n * h.in * row;
        NextLines next{nullptr, nullptr, 0};
        if (far && steps > 0) {
            const int64_t from = reach(p), to = p + 1 < h.out ? reach(p + 1) : h.in + reach(0);
            next =
                next_lines(x, (n * h.in + from) * row, (to - from) * row, plan.n * h.in * row, w.out * steps);
        }
        for (int64_t q = 0; q < w.out; ++q)
            body(Window(plan, p, q), image, (n * h.out + p) * w.out + q, c0, c1, next);
    });
}

template <class Index, class T>
void max_forward(const PoolPlan& plan, const T* x, T* y, int64_t y_pitch, Index* index) {
    const int64_t c = plan.c;
    each_window(plan, x, (c + 4 * VL - 1) / (4 * VL),
                [=](const Window& a, const T* image, int64_t pixel, int64_t c0, int64_t c1, NextLines& next) {
                    in_vectors(c0, c1, [&](auto u, int64_t i, int64_t lanes, auto... t) {
                        next.step();
                        max_window<decltype(u)::value>(a, image + i, y + pixel * y_pitch + i,
                                                       index ? index + pixel * c + i : index, lanes, t...);
                    });
                });
}

// A window of many and wide pixels, row after row through a buffer of sums: a few channels of all pixels at a
// time would be lines pages apart, which no prefetcher follows; a row's pixels are streams, left to it.
template <class T>
void mean_rows(const Window& a, const T* image, T* y, int64_t c0, int64_t c1) {
    float total[kWideChannels];
    const vf share = set1(a.share);
    for (int64_t k = c0; k < c1; k += kWideChannels) {
        const int64_t end = k + kWideChannels < c1 ? k + kWideChannels : c1;
        for (int64_t r = 0; r < a.rows; ++r)
            in_vectors(k, end, [&](auto count, int64_t i, int64_t, auto... t) {
                constexpr int U = decltype(count)::value;
                vf sums[U];
                row_sum<U>(a, image + a.at + r * a.row_step + i, sums, t...);
                float* const to = total + (i - k);
                unrolled<U>([&](auto u) FC_INLINE {
                    if (r > 0) sums[u] = load(to + u * VL, t...) + sums[u];
                    if (r + 1 < a.rows)
                        store(to + u * VL, sums[u], t...);
                    else
                        store(y + i + u * VL, sums[u] * share, t...);
                });
            });
    }
}

template <class T>
void mean_forward(const PoolPlan& plan, const T* x, T* y, int64_t y_pitch) {
    const int64_t c = plan.c, blocks = (c + 4 * VL - 1) / (4 * VL);
    const bool wide = plan.h.taps * plan.w.taps * c > kWideWindow;
    each_window(plan, x, wide ? 0 : blocks,
                [=](const Window& a, const T* image, int64_t pixel, int64_t c0, int64_t c1, NextLines& next) {
                    T* const to = y + pixel * y_pitch;
                    if (wide) return mean_rows(a, image, to, c0, c1);
                    in_vectors(c0, c1, [&](auto u, int64_t i, int64_t, auto... t) {
                        next.step();
                        mean_window<decltype(u)::value>(a, image + i, to + i, t...);
                    });
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

// add(total, offset of the channels, window, masks) for every window on an input: each element of dx is
// written once, by one worker, and adds up in the order of the windows. `taps`: bytes of an element of the
// index, or 0 for an average.
template <class T, class Add>
void gather_all(const PoolPlan& plan, bool streaming, const T* dy, const void* index, int64_t taps, T* dx,
                const Add& add) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c, row = w.out * c;
    streaming = streaming && c % VL == 0;  // every vector is aligned then
    const bool far = beyond_l2(plan, sizeof(T));
    for_rows(plan.n, h.in, w.in, c, [&](int64_t n, int64_t i, int64_t c0, int64_t c1) {
        NextLines next{nullptr, nullptr, 0}, next_taps = next;
        if (far) {
            // The outputs that the next row of inputs is the first to be reached from.
            const int64_t to = i + 1 < h.in ? h.to[i + 1] : h.out + h.to[0];
            const int64_t from = (n * h.out + h.to[i]) * row, count = (to - h.to[i]) * row;
            const int64_t steps = w.in * ((c1 - c0 + 4 * VL - 1) / (4 * VL)), all = plan.n * h.out * row;
            next = next_lines(dy, from, count, all, steps);
            if (taps) {
                const char* const first = static_cast<const char*>(index);
                next_taps = next_lines(first, from * taps, count * taps, all * taps, steps);
            }
        }
        Reaching windows;
        for (int64_t j = 0; j < w.in; ++j) {
            T* out = dx + ((n * h.in + i) * w.in + j) * c;
            windows.start(plan, i, j);
            windows.fill(plan, !taps, n, i, j);
            const bool many = windows.more(plan, i);
            in_vectors(c0, c1, [&](auto vectors, int64_t k, int64_t, auto... t) {
                constexpr int U = decltype(vectors)::value;
                next.step(), next_taps.step();
                vf total[U];
                unrolled<U>([&](auto u) FC_INLINE { total[u] = zero(); });
                if (many) {
                    windows.start(plan, i, j);
                    windows.fill(plan, !taps, n, i, j);
                }
                for (;;) {
                    for (int e = 0; e < windows.count; ++e) {
                        const Reaching::Item& item = windows.items[e];
                        unrolled<U>([&](auto u)
                                        FC_INLINE { add(total[u], item.at + k + u * VL, item, t...); });
                    }
                    if (!many || !windows.more(plan, i)) break;
                    windows.fill(plan, !taps, n, i, j);
                }
                unrolled<U>([&](auto u) FC_INLINE { put(out + k + u * VL, total[u], streaming, t...); });
            });
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
    gather_all(plan, streaming, dy, index, sizeof(Index), dx,
               [=](vf& total, int64_t at, const Reaching::Item& item, auto... t) {
                   total = select(taps_equal(index + at, item.tap, t...), total + load(dy + at, t...), total);
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
    gather_all(plan, streaming, dy, nullptr, 0, dx,
               [=](vf& total, int64_t at, const Reaching::Item& item, auto... t) {
                   total = total + load(dy + at, t...) * set1(item.share);
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
