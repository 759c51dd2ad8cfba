// The matrices of Winograd's convolution and their products along one axis, lanes along the channels. T is
// the tile size, 4 or 6; M <= T the outputs of a tile, which may be cut at the edge of the image.
#pragma once

#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/winograd.h"

namespace fastconv::FC_ISA_NS {
namespace {

// G has a row for each point: its powers 1, x, x^2 (of infinity: 0, 0, 1) times a factor. The factors are
// free, since B' takes them over; these make B' of a whole tile exact in binary.
template <int T>
struct Filter;
template <>
struct Filter<4> {
    static constexpr float g[6][3] = {{1, 0, 0},
                                      {0, 0, 1},
                                      {1.0f / 3, 1.0f / 3, 1.0f / 3},
                                      {-1.0f / 3, 1.0f / 3, -1.0f / 3},
                                      {-16.0f / 15, -8.0f / 15, -4.0f / 15},
                                      {1.0f / 15, -2.0f / 15, 4.0f / 15}};
};
template <>
struct Filter<6> {
    static constexpr float g[8][3] = {{1, 0, 0},
                                      {0, 0, 1},
                                      {-2.0f / 9, -2.0f / 9, -2.0f / 9},
                                      {-2.0f / 9, 2.0f / 9, -2.0f / 9},
                                      {32.0f / 45, 16.0f / 45, 8.0f / 45},
                                      {1.0f / 90, -2.0f / 90, 4.0f / 90},
                                      {32.0f / 45, -16.0f / 45, 8.0f / 45},
                                      {1.0f / 90, 2.0f / 90, 4.0f / 90}};
};

// B' of M outputs from the first M + 2 points.
template <int T, int M>
struct InputMatrix;
template <>
struct InputMatrix<4, 1> {
    static constexpr float b[3][3] = {{1, -1, 0}, {0, -1, 1}, {0, 3, 0}};
};
template <>
struct InputMatrix<4, 2> {
    static constexpr float b[4][4] = {{1, 0, -1, 0}, {0, -1, 0, 1}, {0, 1.5f, 1.5f, 0}, {0, 1.5f, -1.5f, 0}};
};
template <>
struct InputMatrix<4, 3> {
    static constexpr float b[5][5] = {{1, -2, -1, 2, 0},
                                      {0, 0.5f, -1, -0.5f, 1},
                                      {0, -1.5f, 1.5f, 3, 0},
                                      {0, 0.5f, -1.5f, 1, 0},
                                      {0, -2.5f, 0, 2.5f, 0}};
};
template <>
struct InputMatrix<6, 1> {
    static constexpr float b[3][3] = {{1, -1, 0}, {0, -1, 1}, {0, -4.5f, 0}};
};
template <>
struct InputMatrix<6, 2> {
    static constexpr float b[4][4] = {
        {1, 0, -1, 0}, {0, -1, 0, 1}, {0, -2.25f, -2.25f, 0}, {0, 2.25f, -2.25f, 0}};
};
template <>
struct InputMatrix<6, 3> {
    static constexpr float b[5][5] = {{1, -2, -1, 2, 0},
                                      {0, 0.5f, -1, -0.5f, 1},
                                      {0, 2.25f, -2.25f, -4.5f, 0},
                                      {0, 0.75f, -2.25f, 1.5f, 0},
                                      {0, 3.75f, 0, -3.75f, 0}};
};
template <>
struct InputMatrix<6, 5> {
    static constexpr float b[7][7] = {
        {1, 0.5f, -5, -2.5f, 4, 2, 0},         {0, 0.5f, 0.25f, -2.5f, -1.25f, 2, 1},
        {0, 0.5f, 0.75f, -1.75f, -3, -1, 0},   {0, -1.5f, 0.75f, 6.75f, -3, -3, 0},
        {0, 1.5f, 3.75f, 0, -3.75f, -1.5f, 0}, {0, -1, 0, 5, 0, -4, 0},
        {0, -2.5f, 3.75f, 5, -3.75f, -2.5f, 0}};
};

// A': powers of the points; of infinity, only the last.
inline constexpr float kPower[6][8] = {{1, 0, 1, 1, 1, 1, 1, 1},
                                       {0, 0, 1, -1, 0.5f, -2, -0.5f, 2},
                                       {0, 0, 1, 1, 0.25f, 4, 0.25f, 4},
                                       {0, 0, 1, -1, 0.125f, -8, -0.125f, 8},
                                       {0, 0, 1, 1, 0.0625f, 16, 0.0625f, 16},
                                       {0, 0, 1, -1, 0.03125f, -32, -0.03125f, 32}};
template <int M>
inline constexpr float power(int i, int point) {
    return point == 1 ? (i == M - 1 ? 1.0f : 0.0f) : kPower[i][point];
}

// sum + c * x, for a constant that is often 0 or +-1; `first` starts a sum.
inline vf add_scaled(vf sum, float c, vf x, bool& first) {
    if (c == 0.0f) return sum;
    if (first) {
        first = false;
        return c == 1.0f ? x : set1(c) * x;
    }
    return c == 1.0f ? sum + x : c == -1.0f ? sum - x : fma(set1(c), x, sum);
}

// v = B'd of six points: 14 operations. e and o are the last two points' common terms, p and q those of 1 and
// -1.
template <int T>
inline void input_six(const vf* d, vf* v) {
    const vf half3 = set1(1.5f);
    const vf e = d[4] - d[2], o = d[3] - d[1];
    const vf p = fma(half3, d[3], e), q = fma(half3, d[2], o);
    v[0] = (d[0] - d[2]) + fma(half3, o, e);
    v[1] = fma(half3, e, (d[5] - d[3]) - o);
    if constexpr (T == 4) {
        v[2] = p + q;
        v[3] = p - q;
        v[4] = fma(set1(2.0f), o, e);
        v[5] = fma(set1(-0.5f), o, e);
    } else {
        v[2] = set1(-1.5f) * (p + q);
        v[3] = set1(1.5f) * (p - q);
        v[4] = fma(set1(-3.0f), o, set1(-1.5f) * e);
        v[5] = fma(set1(-3.0f), o, set1(6.0f) * e);
    }
}

// v = B'd of eight points: 24 operations. x and -x share the even and the odd terms.
inline void input_eight(const vf* d, vf* v) {
    const auto pair = [&](float middle, float low, float x, vf& plus, vf& minus) FC_INLINE {
        const vf m = set1(middle), l = set1(low);
        const vf even = fma(m, d[4], low == 1 ? d[6] + d[2] : fma(l, d[2], d[6]));
        const vf odd = fma(m, d[3], low == 1 ? d[5] + d[1] : fma(l, d[1], d[5]));
        plus = x == 1 ? even + odd : fma(set1(x), odd, even);
        minus = x == 1 ? even - odd : fma(set1(-x), odd, even);
    };
    v[0] = fma(set1(5.25f), d[4] - d[2], d[0] - d[6]);
    v[1] = fma(set1(5.25f), d[3] - d[5], d[7] - d[1]);
    pair(-4.25f, 1, 1, v[2], v[3]);
    pair(-5, 4, 0.5f, v[4], v[6]);
    pair(-1.25f, 0.25f, 2, v[7], v[5]);
}

// v = B'd along one axis.
template <int T, int M>
inline void input_1d(const vf (&d)[T + 2], vf (&v)[T + 2]) {
    if constexpr (M == 4) {
        input_six<T>(d, v);
    } else if constexpr (M == 6) {
        input_eight(d, v);
    } else {
        unrolled<M + 2>([&](auto p) FC_INLINE {
            vf sum = zero();
            bool first = true;
            unrolled<M + 2>(
                [&](auto i) FC_INLINE { sum = add_scaled(sum, InputMatrix<T, M>::b[p][i], d[i], first); });
            v[p] = sum;
        });
    }
}

// y = A'm along one axis.
template <int T, int M>
inline void output_1d(const vf (&m)[T + 2], vf (&y)[T]) {
    if constexpr (M == 4) {
        const vf s = m[2] + m[3], t = m[2] - m[3];
        y[0] = (m[0] + s) + (m[4] + m[5]);
        y[1] = fma(set1(0.5f), m[4], fma(set1(-2.0f), m[5], t));
        y[2] = fma(set1(0.25f), m[4], fma(set1(4.0f), m[5], s));
        y[3] = fma(set1(0.125f), m[4], fma(set1(-8.0f), m[5], t + m[1]));
    } else if constexpr (M == 6) {
        // Sums and differences of each pair x, -x.
        const vf s1 = m[2] + m[3], t1 = m[2] - m[3], s2 = m[4] + m[6], t2 = m[4] - m[6];
        const vf s3 = m[7] + m[5], t3 = m[7] - m[5];
        y[0] = (m[0] + s1) + (s2 + s3);
        y[1] = fma(set1(2.0f), t3, fma(set1(0.5f), t2, t1));
        y[2] = fma(set1(4.0f), s3, fma(set1(0.25f), s2, s1));
        y[3] = fma(set1(8.0f), t3, fma(set1(0.125f), t2, t1));
        y[4] = fma(set1(16.0f), s3, fma(set1(0.0625f), s2, s1));
        y[5] = fma(set1(32.0f), t3, fma(set1(0.03125f), t2, t1 + m[1]));
    } else {
        unrolled<M>([&](auto i) FC_INLINE {
            vf sum = zero();
            bool first = true;
            unrolled<M + 2>([&](auto p) FC_INLINE { sum = add_scaled(sum, power<M>(i, p), m[p], first); });
            y[i] = sum;
        });
    }
}

// v = A y along one axis: the transpose of output_1d.
template <int M>
inline void gradient_1d(const vf (&y)[4], vf (&v)[6]) {
    if constexpr (M == 4) {
        const vf a = y[0] + y[2], b = y[1] + y[3];
        v[0] = y[0];
        v[1] = y[3];
        v[2] = a + b;
        v[3] = a - b;
        v[4] = fma(set1(0.125f), y[3], fma(set1(0.25f), y[2], fma(set1(0.5f), y[1], y[0])));
        v[5] = fma(set1(-8.0f), y[3], fma(set1(4.0f), y[2], fma(set1(-2.0f), y[1], y[0])));
    } else {
        unrolled<M + 2>([&](auto p) FC_INLINE {
            vf sum = zero();
            bool first = true;
            unrolled<M>([&](auto i) FC_INLINE { sum = add_scaled(sum, power<M>(i, p), y[i], first); });
            v[p] = sum;
        });
    }
}

// t = Gg along one axis.
inline void filter_1d(vf g0, vf g1, vf g2, vf (&t)[6]) {
    using G = Filter<4>;
    const vf even = g0 + g2, third = set1(G::g[2][0]);
    t[0] = g0;
    t[1] = g2;
    t[2] = third * (even + g1);
    t[3] = third * (g1 - even);
    t[4] = fma(set1(G::g[4][2]), g2, fma(set1(G::g[4][1]), g1, set1(G::g[4][0]) * g0));
    t[5] = fma(set1(G::g[5][2]), g2, fma(set1(G::g[5][1]), g1, set1(G::g[5][0]) * g0));
}
inline void filter_1d(vf g0, vf g1, vf g2, vf (&t)[8]) {
    using G = Filter<6>;
    const vf one = set1(G::g[2][0]), even = g0 + g2;
    t[0] = g0;
    t[1] = g2;
    t[2] = one * (even + g1);
    t[3] = one * (even - g1);
    const vf half = fma(set1(0.25f), g2, g0), two = fma(set1(4.0f), g2, g0);
    t[4] = set1(G::g[4][0]) * fma(set1(0.5f), g1, half);
    t[6] = set1(G::g[4][0]) * fma(set1(-0.5f), g1, half);
    t[7] = set1(G::g[5][0]) * fma(set1(2.0f), g1, two);
    t[5] = set1(G::g[5][0]) * fma(set1(-2.0f), g1, two);
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
