// Sums that batch-norm's backward pass wants of a gradient, from pieces of it that have just been stored and
// still lie in cache: see ConvGradientSums. A piece's are float32, their total is float64 in the pieces'
// order, which follows from shapes alone.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/activation/cpu/functions.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kSummedRows = 16;  // one long float32 sum would lose half a bit for every row

// Rows of a piece of dx, `count` of them, and those of x beside them.
struct SummedRows {
    const OutputSums& sums;
    float* const* rows;
    const float* out;  // the array that they lie in
    int64_t count;
    bool neighbours;  // pixels that follow one another

    SummedRows(const OutputSums& s, float* const* rows, const float* out, int64_t count)
        : sums(s),
          rows(rows),
          out(out),
          count(count),
          neighbours(rows[count - 1] - rows[0] == (count - 1) * s.out_pitch) {}
    const float* x(int64_t r) const {
        if (neighbours) return sums.x + (rows[0] - out) / sums.out_pitch * sums.x_pitch + r * sums.x_pitch;
        return sums.x + (rows[r] - out) / sums.out_pitch * sums.x_pitch;
    }
    // x's lines of rows [first, last), channels [from, to): they come from memory.
    void fetch(int64_t first, int64_t last, int64_t from, int64_t to) const {
        for (int64_t r = first; r < last; ++r)
            for (const float *at = x(r) + from, *end = x(r) + to; at < end; at += 16)
                __builtin_prefetch(at, 0, 2);
    }
};

template <int N, class... Masked>
inline void vector_sums(const SummedRows& p, int64_t channel, float* to, int64_t channels, Masked... t) {
    const OutputSums& o = p.sums;
    vf center[N], scale[N], shift[N], s[N], q[N];
    unrolled<N>([&](auto v) FC_INLINE {
        center[v] = load(o.center + channel + v * VL, t...);
        scale[v] = o.relu ? load(o.scale + channel + v * VL, t...) : zero();
        shift[v] = o.relu ? load(o.shift + channel + v * VL, t...) : set1(1);
        s[v] = q[v] = zero();
    });
    const float* x = p.x(0);
    for (int64_t r = 0; r < p.count;) {
        vf few[N], products[N];
        unrolled<N>([&](auto v) FC_INLINE { few[v] = products[v] = zero(); });
        for (const int64_t end = least(p.count, r + kSummedRows); r < end; ++r) {
            if (!p.neighbours) x = p.x(r);
            const float* const y = p.rows[r] + channel;
            unrolled<N>([&](auto v) FC_INLINE {
                const vf d = load(x + channel + v * VL, t...) - center[v];
                const vf g = relu_gradient(fma(d, scale[v], shift[v]), load(y + v * VL, t...));
                few[v] = few[v] + g;
                products[v] = fma(g, d, products[v]);
            });
            x += o.x_pitch;
        }
        unrolled<N>([&](auto v) FC_INLINE { s[v] = s[v] + few[v], q[v] = q[v] + products[v]; });
    }
    unrolled<N>([&](auto v) FC_INLINE {
        store(to + v * VL, s[v], t...);
        store(to + channels + v * VL, q[v], t...);
    });
}

// Sums of channels [from, to) of a piece, to the piece's place in the partial sums.
inline void piece_sums(const SummedRows& p, int64_t piece, int64_t from, int64_t to, int64_t channels) {
    constexpr int N = VL == 16 ? 4 : 2;
    float* const partial = p.sums.partials + piece * 2 * channels;
    int64_t c = from;
    for (; c + N * VL <= to; c += N * VL) vector_sums<N>(p, c, partial + c, channels);
    for (; c + VL <= to; c += VL) vector_sums<1>(p, c, partial + c, channels);
    if (c < to) vector_sums<1>(p, c, partial + c, channels, tail(to - c));
}

// Adds up the pieces.
inline void add_sums(const OutputSums& o, int64_t pieces, int64_t channels, int team) {
    constexpr int64_t kBlock = 64;
    parallel_for(
        ceil_div(channels, kBlock), 32768 / (pieces * kBlock) + 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t c0 = begin * kBlock; c0 < least(channels, end * kBlock); c0 += kBlock) {
                const int64_t count = least(kBlock, channels - c0);
                double sums[kBlock] = {}, products[kBlock] = {};
                for (int64_t piece = 0; piece < pieces; ++piece) {
                    const float *s = o.partials + piece * 2 * channels + c0, *q = s + channels;
                    for (int64_t c = 0; c < count; ++c) {
                        sums[c] += static_cast<double>(s[c]);
                        products[c] += static_cast<double>(q[c]);
                    }
                }
                for (int64_t c = 0; c < count; ++c)
                    o.sums[c0 + c] = sums[c], o.products[c0 + c] = products[c];
            }
        },
        team);
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
