// Small things that the convolution kernels share.
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

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

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

// Brings rows of an array into L2 a few lines at a time, while something else is computed: rows that lie
// pages apart are no stream that the processor would follow.
struct RowPrefetch {
    const float* base;
    int64_t stride;  // elements between rows
    int64_t rows;
    int64_t floats;  // of each row
    // After so many rows the next lies `jump` elements from the first of them.
    int64_t run = INT64_MAX, jump = 0;
    int64_t row = 0, at = 0, of_run = 0;

    int64_t lines() const { return rows * ceil_div(floats, 16); }
    void advance(int64_t count) {
        for (; count > 0 && row < rows; --count) {
            __builtin_prefetch(base + row * stride + at, 0, 2);
            if ((at += 16) < floats) continue;
            at = 0;
            ++row;
            if (++of_run == run) {
                base += jump - run * stride;
                of_run = 0;
            }
        }
    }
};

}  // namespace
}  // namespace fastconv::FC_ISA_NS
