// Mean and spread of each output channel, from pieces of the output that have just been stored and still lie
// in cache.
//
// A piece gives for each of its channels a centre k, the mean of its first values, and float32 sums of y - k
// and of its square: a mean far above the spread costs no accuracy (see batch_norm). The pieces, which follow
// from shapes alone, add up in float64 in their order.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kProbe = 16;  // one of how many values the centre is the mean of

// Partial sums of a piece: `channels` centres, as many sums, as many squares.
inline float* piece_moments(const OutputMoments& moments, int64_t piece, int64_t channels) {
    return moments.partials + piece * 3 * channels;
}

// N vectors of channels, their values in rows row(0) + at, row(1) + at, ...
template <int N, class Row, class... Masked>
inline void vector_moments(const Row& row, int64_t rows, int64_t at, float* to, int64_t channels,
                           Masked... t) {
    const int64_t some = ceil_div(rows, kProbe);
    vf k[N], s[N], q[N];
    unrolled<N>([&](auto v) FC_INLINE { k[v] = s[v] = q[v] = zero(); });
    for (int64_t r = 0; r < some; ++r) {
        const float* y = row(r) + at;
        unrolled<N>([&](auto v) FC_INLINE { k[v] = k[v] + load(y + v * VL, t...); });
    }
    const vf share = set1(1.0f / static_cast<float>(some));
    unrolled<N>([&](auto v) FC_INLINE {
        const vf m = k[v] * share, off = m - m;
        k[v] = select(unordered(off, off), zero(), m);  // an infinity or NaN is no centre
    });
    // Sums of a few rows, and sums of those: one long float32 sum would lose half a bit for every row.
    vf few[N], squares[N];
    for (int64_t r = 0; r < rows;) {
        unrolled<N>([&](auto v) FC_INLINE { few[v] = squares[v] = zero(); });
        for (const int64_t end = least(rows, r + kProbe); r < end; ++r) {
            const float* y = row(r) + at;
            unrolled<N>([&](auto v) FC_INLINE {
                const vf d = load(y + v * VL, t...) - k[v];
                few[v] = few[v] + d;
                squares[v] = fma(d, d, squares[v]);
            });
        }
        unrolled<N>([&](auto v) FC_INLINE { s[v] = s[v] + few[v], q[v] = q[v] + squares[v]; });
    }
    unrolled<N>([&](auto v) FC_INLINE {
        store(to + v * VL, k[v], t...);
        store(to + channels + v * VL, s[v], t...);
        store(to + 2 * channels + v * VL, q[v], t...);
    });
}

// Moments of `columns` neighbouring channels, of which row(r) points at the r-th of `rows` values.
template <class Row>
inline void column_moments(const Row& row, int64_t rows, int64_t columns, float* to, int64_t channels) {
    int64_t at = 0;
    for (; at + 4 * VL <= columns; at += 4 * VL) vector_moments<4>(row, rows, at, to + at, channels);
    for (; at + VL <= columns; at += VL) vector_moments<1>(row, rows, at, to + at, channels);
    if (at < columns) vector_moments<1>(row, rows, at, to + at, channels, tail(columns - at));
}

// Moments of one channel, its values y[0 .. count). The centre is the mean of the first vector.
inline void run_moments(const float* y, int64_t count, float* to, int64_t channels) {
    alignas(64) static constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int64_t some = least(count, VL);
    const float mean = sum(load(y, tail(some))) / static_cast<float>(some);
    const float m = mean - mean == 0 ? mean : 0;  // an infinity or NaN is no centre
    const vf k = set1(m);
    vf s = zero(), q = zero();
    int64_t i = 0;
    for (; i + VL <= count; i += VL) {
        const vf d = load(y + i) - k;
        s = s + d;
        q = fma(d, d, q);
    }
    if (i < count) {
        const Tail t = tail(count - i);
        const vf d = (load(y + i, t) - k) * load(kOnes, t);
        s = s + d;
        q = fma(d, d, q);
    }
    to[0] = m;
    to[channels] = sum(s);
    to[2 * channels] = sum(q);
}

// Adds up the pieces, values(piece) being how many values of a channel each has.
template <class Values>
inline void add_moments(const OutputMoments& moments, int64_t pieces, int64_t channels, const Values& values,
                        int team) {
    constexpr int64_t kBlock = 32;
    parallel_for(
        ceil_div(channels, kBlock), 32768 / (pieces * kBlock) + 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t c0 = begin * kBlock; c0 < least(channels, end * kBlock); c0 += kBlock) {
                const int64_t count = least(kBlock, channels - c0);
                double sums[kBlock] = {}, squares[kBlock] = {}, total = 0;
                const float* center = piece_moments(moments, 0, channels) + c0;
                for (int64_t piece = 0; piece < pieces; ++piece) {
                    const float *k = piece_moments(moments, piece, channels) + c0, *s = k + channels,
                                *q = s + channels;
                    const double n = static_cast<double>(values(piece));
                    total += n;
                    // About the first piece's centre.
                    for (int64_t c = 0; c < count; ++c) {
                        const double off = static_cast<double>(k[c]) - static_cast<double>(center[c]);
                        const double first = static_cast<double>(s[c]);
                        sums[c] += first + n * off;
                        squares[c] += static_cast<double>(q[c]) + off * (2 * first + n * off);
                    }
                }
                for (int64_t c = 0; c < count; ++c) {
                    const double mean = sums[c] / total, deviations = squares[c] - sums[c] * mean;
                    moments.mean[c0 + c] = static_cast<double>(center[c]) + mean;
                    moments.deviations[c0 + c] = deviations < 0 ? 0 : deviations;
                }
            }
        },
        team);
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
