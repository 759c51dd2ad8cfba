// The matrices of Winograd's convolution and their products along one axis, lanes along the channels.
#pragma once

#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/winograd.h"

namespace fastconv::FC_ISA_NS {
namespace {

// F(M x M, R x R): tiles of M x M outputs, fewer at the edge of the image, of filters of R x R taps.
template <int M, int R>
struct Form {
    static constexpr int kTile = M, kTaps = R, kPoints = M + R - 1, kComponents = kPoints * kPoints;
    static_assert(kPoints == 6 || kPoints == 8, "there are matrices for 6 and for 8 points");
};

// The points but infinity, whose place holds a 0.
inline constexpr float kPoint[8] = {0, 0, 1, -1, 0.5f, -2, -0.5f, 2};
inline constexpr float power_of(float x, int i) {
    return i == 0   ? 1
           : i == 1 ? x
           : i == 2 ? x * x
           : i == 3 ? x * x * x
           : i == 4 ? x * x * x * x
                    : x * x * x * x * x;
}

// G has a row for each of P points: its powers 1, x, x^2, ... (of infinity: only the last) times a factor.
// The factors are free, since B' takes them over; these make B' of a whole tile exact in binary.
template <int P>
struct Factors;
template <>
struct Factors<6> {
    static constexpr float f[6] = {1, 1, 1.0f / 3, -1.0f / 3, -16.0f / 15, 1.0f / 15};
};
template <>
struct Factors<8> {
    static constexpr float f[8] = {1, 1, -2.0f / 9, -2.0f / 9, 32.0f / 45, 1.0f / 90, 32.0f / 45, 1.0f / 90};
};

// B' of the first N of P points.
template <int P, int N>
struct InputMatrix;
template <int P>
struct InputMatrix<P, 2> {
    static constexpr float b[2][2] = {{1, 0}, {0, 1}};
};
template <>
struct InputMatrix<6, 3> {
    static constexpr float b[3][3] = {{1, -1, 0}, {0, -1, 1}, {0, 3, 0}};
};
template <>
struct InputMatrix<6, 4> {
    static constexpr float b[4][4] = {{1, 0, -1, 0}, {0, -1, 0, 1}, {0, 1.5f, 1.5f, 0}, {0, 1.5f, -1.5f, 0}};
};
template <>
struct InputMatrix<6, 5> {
    static constexpr float b[5][5] = {{1, -2, -1, 2, 0},
                                      {0, 0.5f, -1, -0.5f, 1},
                                      {0, -1.5f, 1.5f, 3, 0},
                                      {0, 0.5f, -1.5f, 1, 0},
                                      {0, -2.5f, 0, 2.5f, 0}};
};
template <>
struct InputMatrix<8, 3> {
    static constexpr float b[3][3] = {{1, -1, 0}, {0, -1, 1}, {0, -4.5f, 0}};
};
template <>
struct InputMatrix<8, 4> {
    static constexpr float b[4][4] = {
        {1, 0, -1, 0}, {0, -1, 0, 1}, {0, -2.25f, -2.25f, 0}, {0, 2.25f, -2.25f, 0}};
};
template <>
struct InputMatrix<8, 5> {
    static constexpr float b[5][5] = {{1, -2, -1, 2, 0},
                                      {0, 0.5f, -1, -0.5f, 1},
                                      {0, 2.25f, -2.25f, -4.5f, 0},
                                      {0, 0.75f, -2.25f, 1.5f, 0},
                                      {0, 3.75f, 0, -3.75f, 0}};
};
template <>
struct InputMatrix<8, 7> {
    static constexpr float b[7][7] = {
        {1, 0.5f, -5, -2.5f, 4, 2, 0},         {0, 0.5f, 0.25f, -2.5f, -1.25f, 2, 1},
        {0, 0.5f, 0.75f, -1.75f, -3, -1, 0},   {0, -1.5f, 0.75f, 6.75f, -3, -3, 0},
        {0, 1.5f, 3.75f, 0, -3.75f, -1.5f, 0}, {0, -1, 0, 5, 0, -4, 0},
        {0, -2.5f, 3.75f, 5, -3.75f, -2.5f, 0}};
};

// A': powers of the points; of infinity, only the last.
template <int M>
inline constexpr float power(int i, int point) {
    return point == 1 ? (i == M - 1 ? 1.0f : 0.0f) : power_of(kPoint[point], i);
}

// sum + c * x, for a constant that is often 0 or +-1; `first` starts a sum.
FC_INLINE inline vf add_scaled(vf sum, float c, vf x, bool& first) {
    if (c == 0.0f) return sum;
    if (first) {
        first = false;
        return c == 1.0f ? x : set1(c) * x;
    }
    return c == 1.0f ? sum + x : c == -1.0f ? sum - x : fma(set1(c), x, sum);
}

// v = B'd of six points: 14 operations. e and o are the last two points' common terms, p and q those of 1 and
// -1.
template <int P>
FC_INLINE inline void input_six(const vf* d, vf* v) {
    const vf half3 = set1(1.5f);
    const vf e = d[4] - d[2], o = d[3] - d[1];
    const vf p = fma(half3, d[3], e), q = fma(half3, d[2], o);
    v[0] = (d[0] - d[2]) + fma(half3, o, e);
    v[1] = fma(half3, e, (d[5] - d[3]) - o);
    if constexpr (P == 6) {
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
FC_INLINE inline void input_eight(const vf* d, vf* v) {
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

// v = B'd along one axis, of the first N points.
template <int P, int N>
FC_INLINE inline void input_1d(const vf (&d)[P], vf (&v)[P]) {
    if constexpr (N == 6) {
        input_six<P>(d, v);
    } else if constexpr (N == 8) {
        input_eight(d, v);
    } else {
        unrolled<N>([&](auto p) FC_INLINE {
            vf sum = zero();
            bool first = true;
            unrolled<N>([&](auto i)
                            FC_INLINE { sum = add_scaled(sum, InputMatrix<P, N>::b[p][i], d[i], first); });
            v[p] = sum;
        });
    }
}

// y = A'm along one axis, of tiles of M outputs.
template <class F, int M>
FC_INLINE inline void output_1d(const vf (&m)[F::kPoints], vf (&y)[F::kTile]) {
    constexpr int N = M + F::kTaps - 1;
    if constexpr (N == 6) {
        const vf s = m[2] + m[3], t = m[2] - m[3];
        unrolled<M>([&](auto i) FC_INLINE {
            if constexpr (i == 0) {
                y[0] = (m[0] + s) + (m[4] + m[5]);
            } else {
                const vf ones = i % 2 ? t : s;
                y[i] = fma(set1(power_of(0.5f, i)), m[4],
                           fma(set1(power_of(-2, i)), m[5], i == M - 1 ? ones + m[1] : ones));
            }
        });
    } else if constexpr (N == 8) {
        // Sums and differences of each pair x, -x.
        const vf s1 = m[2] + m[3], t1 = m[2] - m[3], s2 = m[4] + m[6], t2 = m[4] - m[6];
        const vf s3 = m[7] + m[5], t3 = m[7] - m[5];
        unrolled<M>([&](auto i) FC_INLINE {
            if constexpr (i == 0) {
                y[0] = (m[0] + s1) + (s2 + s3);
            } else {
                const vf ones = i % 2 ? t1 : s1;
                y[i] = fma(set1(power_of(2, i)), i % 2 ? t3 : s3,
                           fma(set1(power_of(0.5f, i)), i % 2 ? t2 : s2, i == M - 1 ? ones + m[1] : ones));
            }
        });
    } else {
        unrolled<M>([&](auto i) FC_INLINE {
            vf sum = zero();
            bool first = true;
            unrolled<N>([&](auto p) FC_INLINE { sum = add_scaled(sum, power<M>(i, p), m[p], first); });
            y[i] = sum;
        });
    }
}

// sum of x^i y[i] for i = First, First + 2, ... below M.
template <int M, int First, int I = (M - 1 - First) / 2 * 2 + First>
FC_INLINE inline vf power_sum(float x, const vf* y) {
    if constexpr (First >= M) return zero();
    const vf term = I == 0 ? y[0] : set1(power_of(x, I)) * y[I];
    if constexpr (I == First)
        return term;
    else
        return fma(set1(power_of(x, I)), y[I], power_sum<M, First, I - 2>(x, y));
}

// v = A y along one axis: the transpose of output_1d.
template <class F, int M>
FC_INLINE inline void gradient_1d(const vf (&y)[F::kTile], vf (&v)[F::kPoints]) {
    constexpr int N = M + F::kTaps - 1;
    if constexpr (F::kTile == 4 && F::kTaps == 3 && M == 4) {
        const vf a = y[0] + y[2], b = y[1] + y[3];
        v[0] = y[0];
        v[1] = y[3];
        v[2] = a + b;
        v[3] = a - b;
        v[4] = fma(set1(0.125f), y[3], fma(set1(0.25f), y[2], fma(set1(0.5f), y[1], y[0])));
        v[5] = fma(set1(-8.0f), y[3], fma(set1(4.0f), y[2], fma(set1(-2.0f), y[1], y[0])));
    } else if constexpr (N == 8) {
        // x and -x share the even and the odd terms.
        const auto pair = [&](float x, vf& plus, vf& minus) FC_INLINE {
            const vf even = power_sum<M, 0>(x, y), odd = power_sum<M, 1>(x, y);
            plus = even + odd;
            minus = even - odd;
        };
        v[0] = y[0];
        v[1] = y[M - 1];
        pair(1, v[2], v[3]);
        pair(0.5f, v[4], v[6]);
        pair(2, v[7], v[5]);
    } else {
        unrolled<N>([&](auto p) FC_INLINE {
            vf sum = zero();
            bool first = true;
            unrolled<M>([&](auto i) FC_INLINE { sum = add_scaled(sum, power<M>(i, p), y[i], first); });
            v[p] = sum;
        });
    }
}

// t = Gg along one axis; taps are `step` vectors apart.
template <class F>
FC_INLINE inline void filter_1d(const vf* g, int step, vf (&t)[F::kPoints]) {
    constexpr int R = F::kTaps;
    using G = Factors<F::kPoints>;
    vf y[R];
    unrolled<R>([&](auto i) FC_INLINE { y[i] = g[i * step]; });
    const auto at = [&](auto p) FC_INLINE {
        vf sum = set1(G::f[p]) * y[0];
        unrolled<R - 1>(
            [&](auto i) FC_INLINE { sum = fma(set1(G::f[p] * power_of(kPoint[p], i + 1)), y[i + 1], sum); });
        return sum;
    };
    const vf even = power_sum<R, 0>(1, y), odd = power_sum<R, 1>(1, y);
    t[0] = y[0];
    t[1] = y[R - 1];
    if constexpr (F::kPoints == 6) {
        const vf third = set1(G::f[2]);
        t[2] = third * (even + odd);
        t[3] = third * (odd - even);
        t[4] = at(Index<4>{});
        t[5] = at(Index<5>{});
    } else {
        const auto pair = [&](float x, float factor, vf& plus, vf& minus) FC_INLINE {
            const vf e = power_sum<R, 0>(x, y), o = power_sum<R, 1>(x, y);
            plus = set1(factor) * (e + o);
            minus = set1(factor) * (e - o);
        };
        pair(1, G::f[2], t[2], t[3]);
        pair(0.5f, G::f[4], t[4], t[6]);
        pair(2, G::f[7], t[7], t[5]);
    }
}

// y = G'm along one axis: the transpose of filter_1d.
template <class F>
FC_INLINE inline void weight_1d(const vf (&m)[F::kPoints], vf (&y)[F::kTaps]) {
    constexpr int R = F::kTaps;
    using G = Factors<F::kPoints>;
    if constexpr (F::kPoints == 6) {
        const vf third = set1(G::f[2]), even = third * (m[2] - m[3]), odd = third * (m[2] + m[3]);
        unrolled<R>([&](auto i) FC_INLINE {
            const vf ones = i == 0 ? m[0] + even : i % 2 ? odd : even;
            y[i] = fma(set1(G::f[4] * power_of(0.5f, i)), m[4],
                       fma(set1(G::f[5] * power_of(-2, i)), m[5], i == R - 1 ? m[1] + ones : ones));
        });
    } else {
        const vf one = set1(G::f[2]), half = set1(G::f[4]), two = set1(G::f[7]);
        const vf s1 = one * (m[2] + m[3]), t1 = one * (m[2] - m[3]);
        const vf s2 = half * (m[4] + m[6]), t2 = half * (m[4] - m[6]);
        const vf s3 = two * (m[7] + m[5]), t3 = two * (m[7] - m[5]);
        unrolled<R>([&](auto i) FC_INLINE {
            if constexpr (i == 0) {
                y[0] = (m[0] + s1) + (s2 + s3);
            } else {
                const vf ones = i % 2 ? t1 : s1;
                y[i] = fma(set1(power_of(2, i)), i % 2 ? t3 : s3,
                           fma(set1(power_of(0.5f, i)), i % 2 ? t2 : s2, i == R - 1 ? m[1] + ones : ones));
            }
        });
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
