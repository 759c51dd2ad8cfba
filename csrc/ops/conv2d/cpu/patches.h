// im2row: the input patch of one output pixel as a row of tap_count * depth values.
#pragma once

#include "cpu/simd/simd.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

inline void copy_floats(float* to, const float* from, int64_t count) {
    while (count >= VL) {
        store(to, load(from));
        to += VL, from += VL, count -= VL;
    }
    if (count > 0) store(to, load(from, tail(count)), tail(count));
}

inline void zero_floats(float* to, int64_t count) {
    while (count >= VL) {
        store(to, zero());
        to += VL, count -= VL;
    }
    if (count > 0) store(to, zero(), tail(count));
}

// Walks the output pixels m = (n, i, j) in memory order without a division a pixel.
struct PixelWalk {
    int64_t n, i, j, rows, cols;
    PixelWalk(int64_t m, int64_t rows_, int64_t cols_) : rows(rows_), cols(cols_) {
        n = m / (rows * cols);
        i = m / cols % rows;
        j = m % cols;
    }
    void next() {
        if (++j < cols) return;
        j = 0;
        if (++i < rows) return;
        i = 0;
        ++n;
    }
};

// Writes the patch of output pixel (n, i, j) for `group`. G is GatherConv or GatherWgrad.
template <class G>
inline void copy_patch(const G& g, const float* in, int64_t group, int64_t n, int64_t i, int64_t j,
                       float* row) {
    const int64_t unit = g.channel_major ? 1 : g.depth;    // floats that a tap contributes at once
    const int64_t passes = g.channel_major ? g.depth : 1;  // walks over the taps
    const float* base = in + n * g.in_n + group * g.depth * g.in_c;
    const int64_t h0 = i * g.step_h, w0 = j * g.step_w;
    for (int64_t pass = 0; pass < passes; ++pass) {
        float* to = row + pass * g.tap_count;
        for (int64_t t = 0; t < g.run_count; ++t) {
            const TapRun run = g.runs[t];
            const int64_t h = h0 + run.dh, w = w0 + run.dw;
            float* piece = to + run.first * unit;
            if (h < 0 || h >= g.h) {
                zero_floats(piece, run.count * unit);
                continue;
            }
            int64_t low = w < 0 ? -w : 0;
            int64_t high = g.w - w < run.count ? g.w - w : run.count;
            if (low >= high) {
                zero_floats(piece, run.count * unit);
                continue;
            }
            if (low > 0) zero_floats(piece, low * unit);
            copy_floats(piece + low * unit, base + pass * g.in_c + h * g.in_h + (w + low) * g.in_w,
                        (high - low) * unit);
            if (high < run.count) zero_floats(piece + high * unit, (run.count - high) * unit);
        }
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
