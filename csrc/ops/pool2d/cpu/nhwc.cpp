// Channels-last pooling: vectors of channels, one window at a time. Every lane is computed by itself, so
// results do not depend on how rows or channels are shared among threads.
#include "ops/pool2d/cpu/nhwc.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kWideWindow = 16 << 10;  // values of a window that is summed pixel by pixel
constexpr int64_t kWideChannels = 2048;
constexpr int64_t kStream = 16 << 10;  // how far ahead of one run over memory is fetched, in bytes

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

// The four pixels of a 2x2 tile, from the first channel of U vectors on.
template <int U, class T>
struct Tile {
    static constexpr int kVectors = U;
    const T* at[4];
    Tile(const T* first, int64_t c, int64_t row) : at{first, first + c, first + row, first + row + c} {}
    // Brings the lines so many bytes on into L1. GCC drops the calls of a function of prefetches alone, as
    // one without effects, unless it is inlined at once.
    FC_INLINE void fetch(int64_t ahead) const {
        unrolled<4>([&](auto p) FC_INLINE {
            for (int b = 0; b < U * VL * static_cast<int>(sizeof(T)); b += 64)
                __builtin_prefetch(reinterpret_cast<const char*>(at[p]) + ahead + b, 0, 3);
        });
    }
};

// body(tile, pixel, channel, lanes, masks) for the vectors of channels of 2x2 tiles side by side. A tile's
// rows are far apart, and no prefetcher of the processor follows tile after tile: it is told.
template <class T, class Body>
void each_tile(const PoolPlan& plan, const T* x, const Body& body) {
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c, row = w.in * c, ahead = beyond_l2(plan, sizeof(T)) ? kAhead : 0;
    for_rows(plan.n, h.out, w.out, c, [&](int64_t n, int64_t p, int64_t c0, int64_t c1) {
        const T* from = x + (n * h.in + 2 * p) * row;
        const int64_t first = (n * h.out + p) * w.out;
        for (int64_t q = 0; q < w.out; ++q, from += 2 * c)
            in_vectors(c0, c1, [&](auto u, int64_t i, int64_t lanes, auto... t) FC_INLINE {
                const Tile<decltype(u)::value, T> tile(from + i, c, row);
                tile.fetch(ahead);
                body(tile, first + q, i, lanes, t...);
            });
    });
}

template <class Index, class T>
void max_tiles(const PoolPlan& plan, const T* x, T* y, int64_t y_pitch, Index* index) {
    constexpr bool kBytes = kWanted<Index> && sizeof(Index) == 1;
    const PoolAxis &h = plan.h, &w = plan.w;
    const int64_t c = plan.c;
    each_tile(plan, x, [=](const auto& tile, int64_t pixel, int64_t i, int64_t lanes, auto... t) FC_INLINE {
        constexpr int U = std::decay_t<decltype(tile)>::kVectors;
        T* const to = y + pixel * y_pitch + i;
        vf best[U], taps[U];
        vm nan = no_lanes();
        unrolled<U>([&](auto u) FC_INLINE {
            vf v[4];
            unrolled<4>([&](auto p) FC_INLINE { v[p] = load(tile.at[p] + u * VL, t...); });
            nan = either(nan, either(unordered(v[0], v[1]), unordered(v[2], v[3])));
            best[u] = v[0];
            if constexpr (kWanted<Index>) {
                taps[u] = zero();
                unrolled<3>([&](auto p) FC_INLINE {
                    const vm more = less(best[u], v[p + 1]);
                    best[u] = select(more, v[p + 1], best[u]);
                    taps[u] = select(more, set1(static_cast<float>(p + 1)), taps[u]);
                });
            } else {
                best[u] = max(max(v[3], v[2]), max(v[1], v[0]));  // of 0 and -0 the first
            }
        });
        if (any(nan)) {
            const int64_t o = pixel % (h.out * w.out);
            const T* const image = x + (pixel - o) / (h.out * w.out) * h.in * w.in * c + i;
            for (int64_t k = 0; k < lanes; ++k) {
                const Winner slow = slow_max(h, w, image + k, c, o / w.out, o % w.out);
                to[k] = narrow<T>(slow.value);
                if constexpr (kWanted<Index>) index[pixel * c + i + k] = static_cast<Index>(slow.tap);
            }
            return;
        }
        unrolled<U>([&](auto u) FC_INLINE {
            store(to + u * VL, best[u], t...);
            if constexpr (kBytes) store(index + pixel * c + i + u * VL, taps[u], t...);
        });
    });
}

template <class T>
void mean_tiles(const PoolPlan& plan, const T* x, T* y, int64_t y_pitch) {
    const vf share = set1(static_cast<float>(1.0 / (plan.h.size[0] * plan.w.size[0])));
    each_tile(plan, x, [=](const auto& tile, int64_t pixel, int64_t i, int64_t, auto... t) FC_INLINE {
        constexpr int U = std::decay_t<decltype(tile)>::kVectors;
        unrolled<U>([&](auto u) FC_INLINE {
            vf v[4];
            unrolled<4>([&](auto p) FC_INLINE { v[p] = load(tile.at[p] + u * VL, t...); });
            store(y + pixel * y_pitch + i + u * VL, ((v[0] + v[1]) + (v[2] + v[3])) * share, t...);
        });
    });
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
    if constexpr (!kWanted<Index> || sizeof(Index) == 1)
        if (halves(plan)) return max_tiles(plan, x, y, y_pitch, index);
    each_window(plan, x, (c + 4 * VL - 1) / (4 * VL),
                [=](const Window& a, const T* image, int64_t pixel, int64_t c0, int64_t c1, NextLines& next) {
                    in_vectors(c0, c1, [&](auto u, int64_t i, int64_t lanes, auto... t) {
                        next.step();
                        max_window<decltype(u)::value>(a, image + i, y + pixel * y_pitch + i,
                                                       index ? index + pixel * c + i : index, lanes, t...);
                    });
                });
}

// A window of many and wide pixels, one after the other through buffers of sums, of its row and of all: a few
// channels of all pixels at a time would be lines pages apart.
template <class T>
void mean_pixels(const Window& a, const T* image, T* y, int64_t c0, int64_t c1, const T* end) {
    alignas(64) float total[kWideChannels];
    alignas(64) float sums[kWideChannels];
    constexpr int64_t kFar = kStream / static_cast<int64_t>(sizeof(T));
    const vf share = set1(a.share);
    for (int64_t k = c0; k < c1; k += kWideChannels) {
        const int64_t stop = k + kWideChannels < c1 ? k + kWideChannels : c1;
        for (int64_t r = 0; r < a.rows; ++r)
            for (int64_t s = 0; s < a.columns; ++s) {
                const T* const from = image + a.at + r * a.row_step + s * a.step;
                const bool fetched = from + kFar + (stop - k) <= end;
                const bool opens = s == 0, closes = s + 1 == a.columns;
                const bool first = r == 0, last = r + 1 == a.rows;
                in_vectors(k, stop, [&](auto count, int64_t i, int64_t, auto... t) {
                    constexpr int U = decltype(count)::value;
                    constexpr int kBytes = U * VL * static_cast<int>(sizeof(T));
                    if (fetched)
                        for (int b = 0; b < kBytes; b += 64)
                            __builtin_prefetch(reinterpret_cast<const char*>(from + i + kFar) + b, 0, 3);
                    unrolled<U>([&](auto u) FC_INLINE {
                        const int64_t at = i - k + u * VL;
                        vf v = load(from + i + u * VL, t...);
                        if (!opens) v = load(sums + at) + v;
                        if (!closes) return store(sums + at, v);
                        if (!first) v = load(total + at) + v;
                        if (!last) return store(total + at, v);
                        store(y + i + u * VL, v * share, t...);
                    });
                });
            }
    }
}

template <class T>
void mean_forward(const PoolPlan& plan, const T* x, T* y, int64_t y_pitch) {
    const int64_t c = plan.c, blocks = (c + 4 * VL - 1) / (4 * VL);
    if (halves(plan)) return mean_tiles(plan, x, y, y_pitch);
    const T* const end = x + plan.n * plan.h.in * plan.w.in * c;
    const bool wide = plan.h.taps * plan.w.taps * c > kWideWindow;
    each_window(plan, x, wide ? 0 : blocks,
                [=](const Window& a, const T* image, int64_t pixel, int64_t c0, int64_t c1, NextLines& next) {
                    T* const to = y + pixel * y_pitch;
                    if (wide) return mean_pixels(a, image, to, c0, c1, end);
                    in_vectors(c0, c1, [&](auto u, int64_t i, int64_t, auto... t) {
                        next.step();
                        mean_window<decltype(u)::value>(a, image + i, to + i, t...);
                    });
                });
}

template <class T>
void forward(const PoolPlan& plan, const T* x, T* y, int64_t y_pitch, void* index, bool small) {
    if (plan.kind == PoolKind::mean) return mean_forward(plan, x, y, y_pitch);
    if (!index) return max_forward(plan, x, y, y_pitch, static_cast<NoTaps*>(nullptr));
    if (small) return max_forward(plan, x, y, y_pitch, static_cast<uint8_t*>(index));
    max_forward(plan, x, y, y_pitch, static_cast<int32_t*>(index));
}

}  // namespace

void pool2d_nhwc(const PoolPlan& plan, DType dtype, const void* x, void* y, int64_t y_pitch, void* index,
                 bool small) {
    if (dtype == DType::bf16)
        return forward(plan, static_cast<const bfloat16*>(x), static_cast<bfloat16*>(y), y_pitch, index,
                       small);
    forward(plan, static_cast<const float*>(x), static_cast<float*>(y), y_pitch, index, small);
}

}  // namespace fastconv::FC_ISA_NS
