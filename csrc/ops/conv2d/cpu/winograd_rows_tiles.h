// Images to lanes and back, rows to points and back.
#pragma once

#include "ops/activation/cpu/functions.h"
#include "ops/conv2d/cpu/winograd_matrices.h"
#include "ops/conv2d/winograd_rows.h"

namespace fastconv::FC_ISA_NS {
namespace {

// to[i] = element i of each of `images` arrays, zero in the other lanes. The arrays lie `step` floats apart.
inline void images_to_lanes(const float* from, int64_t step, int64_t images, int64_t count, float* to) {
    int64_t i = 0;
    if (images == VL)
        for (; i + VL <= count; i += VL) transpose_tile(from + i, step, to + i * VL, VL);
    for (; i < count; i += VL) {
        alignas(64) float square[VL * VL], turned[VL * VL];
        const Tail some = tail(count - i);
        for (int64_t e = 0; e < VL; ++e)
            store(square + e * VL, e < images ? load(from + e * step + i, some) : zero());
        transpose_tile(square, VL, turned, VL);
        for (int64_t j = 0; j < VL && i + j < count; ++j) store(to + (i + j) * VL, load(turned + j * VL));
    }
}

inline void lanes_to_images(const float* from, int64_t count, float* to, int64_t step, int64_t images) {
    int64_t i = 0;
    if (images == VL)
        for (; i + VL <= count; i += VL) {
            for (int64_t e = 0; e < VL; ++e) fetch_for_write(to + e * step + i + 2 * VL);
            transpose_tile(from + i * VL, VL, to + i, step);
        }
    for (; i < count; i += VL) {
        alignas(64) float square[VL * VL], turned[VL * VL];
        for (int64_t j = 0; j < VL; ++j)
            store(square + j * VL, i + j < count ? load(from + (i + j) * VL) : zero());
        transpose_tile(square, VL, turned, VL);
        const Tail some = tail(count - i);
        for (int64_t e = 0; e < images; ++e) store(to + e * step + i, load(turned + e * VL), some);
    }
}

// The same of runs of `count` floats of several planes, which lie one after the other in lanes.
inline void planes_to_lanes(const float* from, int64_t step, int64_t images, int64_t planes, int64_t plane,
                            int64_t count, float* to) {
    if (count == plane) count *= planes, planes = 1;
    for (int64_t c = 0; c < planes; ++c)
        images_to_lanes(from + c * plane, step, images, count, to + c * count * VL);
}
inline void lanes_to_planes(const float* from, int64_t planes, int64_t plane, int64_t count, float* to,
                            int64_t step, int64_t images) {
    if (count == plane) count *= planes, planes = 1;
    for (int64_t c = 0; c < planes; ++c)
        lanes_to_images(from + c * count * VL, count, to + c * plane, step, images);
}

// d = B v along one axis: the transpose of input_1d.
template <int P, int N>
FC_INLINE inline void input_transposed_1d(const vf (&v)[P], vf (&d)[P]) {
    if constexpr (N == 8) {
        const vf e1 = v[2] + v[3], o1 = v[2] - v[3];
        const vf e2 = v[4] + v[6], o2 = set1(0.5f) * (v[4] - v[6]);
        const vf e3 = v[7] + v[5], o3 = set1(2.0f) * (v[7] - v[5]);
        const vf c = set1(5.25f), m1 = set1(-4.25f), m2 = set1(-5.0f), m3 = set1(-1.25f);
        const vf l2 = set1(4.0f), l3 = set1(0.25f);
        d[0] = v[0];
        d[1] = fma(l2, o2, fma(l3, o3, o1 - v[1]));
        d[2] = fma(l2, e2, fma(l3, e3, e1 - c * v[0]));
        d[3] = fma(m1, o1, fma(m2, o2, fma(m3, o3, c * v[1])));
        d[4] = fma(m1, e1, fma(m2, e2, fma(m3, e3, c * v[0])));
        d[5] = (o1 - c * v[1]) + (o2 + o3);
        d[6] = (e1 - v[0]) + (e2 + e3);
        d[7] = v[1];
    } else if constexpr (N == 6) {
        const vf c = set1(1.5f);
        const vf p = P == 6 ? v[2] + v[3] : set1(-1.5f) * (v[2] - v[3]);
        const vf q = P == 6 ? v[2] - v[3] : set1(-1.5f) * (v[2] + v[3]);
        const vf a = P == 6 ? v[4] + v[5] : fma(set1(-1.5f), v[4], set1(6.0f) * v[5]);
        const vf b = P == 6 ? fma(set1(2.0f), v[4], set1(-0.5f) * v[5]) : set1(-3.0f) * (v[4] + v[5]);
        const vf e = fma(c, v[1], v[0]) + (a + p), o = fma(c, v[0], q) + (b - v[1]);
        d[0] = v[0];
        d[1] = zero() - o;
        d[2] = fma(c, q, zero() - v[0]) - e;
        d[3] = fma(c, p, o) - v[1];
        d[4] = e;
        d[5] = v[1];
    } else {
        unrolled<N>([&](auto i) FC_INLINE {
            vf sum = zero();
            bool first = true;
            unrolled<N>([&](auto p)
                            FC_INLINE { sum = add_scaled(sum, InputMatrix<P, N>::b[p][i], v[p], first); });
            d[i] = sum;
        });
    }
}

// f(Index<M>()) for the outputs of the last tile.
template <class Function>
inline void with_outputs(int64_t m, const Function& f) {
    switch (m) {
        case 1:
            return f(Index<1>{});
        case 2:
            return f(Index<2>{});
        case 3:
            return f(Index<3>{});
        default:
            return f(Index<4>{});
    }
}

// f(first tile, last tile, Index<outputs>) for the whole tiles and for the last one.
template <class Function>
FC_INLINE inline void each_size(const WinogradRows& g, const Function& f) {
    const int64_t tiles = g.tiles(), whole = g.q / g.kTile;
    if (whole) f(int64_t{0}, whole, Index<4>{});
    if (whole < tiles) with_outputs(g.q - whole * g.kTile, [&](auto m) { f(whole, tiles, m); });
}

// The points of `rows` rows of w lanes: to[point][row][tile], the points of all rows one after the other;
// `to_row` is the place of a row in them, `all` how many there are.
template <class F>
struct RowPoints {
    const WinogradRows& g;
    int64_t all;
    float* at(float* to, int64_t point, int64_t row, int64_t tile) const {
        return to + (g.before(point) * all + row * g.tiles_with(point) + tile) * VL;
    }
    // A row of x.
    void input(const float* row, float* to, int64_t to_row) const {
        each_size(g, [&](int64_t begin, int64_t end, auto m) {
            constexpr int P = F::kPoints, N = m + F::kTaps - 1;
            float* place[N];
            unrolled<N>([&](auto i) FC_INLINE { place[i] = at(to, i, to_row, begin); });
            for (int64_t t = begin; t < end; ++t) {
                vf d[P], v[P];
                const int64_t column = t * g.kTile - g.left;
                const float* from = row + column * VL;
                if (column >= 0 && column + N <= g.w)
                    unrolled<N>([&](auto i) FC_INLINE { d[i] = load(from + i * VL); });
                else
                    unrolled<N>([&](auto i) FC_INLINE {
                        d[i] = column + i >= 0 && column + i < g.w ? load(from + i * VL) : zero();
                    });
                input_1d<P, N>(d, v);
                unrolled<N>([&](auto i) FC_INLINE {
                    store(place[i], v[i]);
                    place[i] += VL;
                });
            }
        });
    }
    // A row of dy.
    void gradient(const float* row, float* to, int64_t to_row) const {
        each_size(g, [&](int64_t begin, int64_t end, auto m) {
            constexpr int P = F::kPoints, M = m, N = M + F::kTaps - 1;
            float* place[N];
            unrolled<N>([&](auto i) FC_INLINE { place[i] = at(to, i, to_row, begin); });
            for (int64_t t = begin; t < end; ++t) {
                vf y[F::kTile], v[P];
                unrolled<M>([&](auto i) FC_INLINE { y[i] = load(row + (t * g.kTile + i) * VL); });
                gradient_1d<F, M>(y, v);
                unrolled<N>([&](auto i) FC_INLINE {
                    store(place[i], v[i]);
                    place[i] += VL;
                });
            }
        });
    }
};

// A row of dy: the gradient `g` of the averages of it and its neighbour, null behind the last window, through
// the activation. Returns its sum.
inline vf pooled_gradient_row(const WinogradRows& w, const float* y, const float* g, float* to) {
    vf sum = zero(), other = zero();
    with_activation_gradient(w.activation, w.slope, [&](const auto& f) {
        const vf quarter = set1(0.25f);
        const int64_t pairs = w.averages_q();
        for (int64_t j = 0; j < pairs; ++j, y += 2 * VL, to += 2 * VL) {
            const vf d = g ? load(g + j * VL) * quarter : zero();
            const vf d0 = f(load(y), d), d1 = f(load(y + VL), d);
            store(to, d0);
            store(to + VL, d1);
            sum = sum + d0, other = other + d1;
        }
        if (w.q > 2 * pairs) {
            const vf d = f(load(y), zero());
            store(to, d);
            sum = sum + d;
        }
    });
    return sum + other;
}

// f(Form<4, s>()).
template <class Function>
FC_INLINE inline void with_form(const WinogradRows& g, const Function& f) {
    if (g.s == 3)
        f(Form<4, 3>{});
    else
        f(Form<4, 5>{});
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
