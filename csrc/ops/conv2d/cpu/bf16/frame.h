// How input pixels are laid out for the tiles. An item's pixels are copied into planes, one for each residue
// (phase) of row and column modulo the stride that some tap reads; a plane is rows of `pitch` pixels with
// zeros between them. Then output (i, j) is position i * pitch + j, and a tap is a constant shift of it.
#pragma once

#include "cpu/simd/simd.h"
#include "ops/conv2d/bf16.h"

namespace fastconv::FC_ISA_NS {
namespace {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
inline size_t lines(int64_t bytes) { return static_cast<size_t>((bytes + 63) / 64 * 64); }

// One axis: taps are phase + step * shift, shifts from low to high.
struct FrameAxis {
    int64_t step, low, high;
    int64_t phase(int64_t d) const { return d - floor_div(d, step) * step; }
    int64_t shift(int64_t d) const { return floor_div(d, step); }
};

struct Frame {
    FrameAxis vertical, horizontal;
    bool patches;         // with runs of taps: a position holds an output's whole run, so no column is shared
    int64_t first, used;  // columns of a phase that are copied
    int64_t left;         // zeros before them; a row's zeros on the right are the next row's on the left
    int64_t right;        // zeros that must follow the last row
    int64_t pitch;
    int64_t planes;
    int64_t plane_phase[64];  // phase_h * step_w + phase_w

    template <class G>
    explicit Frame(const G& g) {
        vertical = {g.step_h, INT64_MAX, INT64_MIN};
        horizontal = {g.step_w, INT64_MAX, INT64_MIN};
        planes = 0;
        patches = g.run > 1;
        for (int64_t t = 0; t < g.tap_count; t += g.run) {
            const Bf16Tap& tap = g.taps[t];
            vertical.low = least(vertical.low, vertical.shift(tap.dh));
            vertical.high = most(vertical.high, vertical.shift(tap.dh));
            horizontal.low = least(horizontal.low, horizontal.shift(tap.dw));
            horizontal.high = most(horizontal.high, horizontal.shift(tap.dw));
            const int64_t phase = phase_of(tap);
            if (plane_of(phase) == planes && planes < 64) plane_phase[planes++] = phase;
        }
        if (patches) {
            first = left = right = 0;
            used = pitch = g.cols;
            return;
        }
        const int64_t width = ceil_div(g.w, g.step_w);
        const int64_t end = g.cols + horizontal.high;  // one past the last column that is read
        first = most(0, horizontal.low);
        used = least(width, end) - first;
        left = most(0, -horizontal.low);
        right = most(0, end - width);
        pitch = most(g.cols, left + used + most(0, right - left));  // (i, j) to position is one to one
    }
    // Padding and dilation stay small against the image, and the stride is not extreme.
    template <class G>
    bool fits(const G& g) const {
        return used >= 1 && planes < 64 && pitch <= 2 * g.cols + 16 &&
               vertical.high - vertical.low <= 2 * g.rows + 16;
    }
    int64_t phase_of(const Bf16Tap& t) const {
        return vertical.phase(t.dh) * horizontal.step + (patches ? 0 : horizontal.phase(t.dw));
    }
    int64_t plane_of(int64_t phase) const {
        int64_t p = 0;
        while (p < planes && plane_phase[p] != phase) ++p;
        return p;
    }
    int64_t halo() const { return vertical.high - vertical.low; }
    // Pixels of a plane for so many output rows, with room for tiles that run over the end.
    int64_t positions(int64_t output_rows) const { return (output_rows + halo()) * pitch + right + 64; }
    // Shift of a tap within its plane.
    int64_t shift(const Bf16Tap& t) const {
        return (vertical.shift(t.dh) - vertical.low) * pitch +
               (patches ? 0 : horizontal.shift(t.dw) - first + left);
    }
};

// Which of elements [at + 32 * b, at + 32 * (b + 1)) of a run of `length` from place `at` of a row lie in the
// row's `row_length` elements.
inline __mmask32 run_mask(int64_t at, int64_t b, int64_t length, int64_t row_length) {
    const int64_t begin = most(32 * b, -at), end = least(least(length, 32 * (b + 1)), row_length - at);
    if (end <= begin) return 0;
    const uint64_t below = (uint64_t{1} << (end - 32 * b)) - (uint64_t{1} << (begin - 32 * b));
    return static_cast<__mmask32>(below);
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
