// wgrad of depthwise convolution on channels-last arrays: for one vector of channels, a block of filter rows
// is held in registers while the pixels of an output row pass. With aligned channels a product is one
// instruction that reads x from memory, so that loads and multiply-adds keep step.
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/depthwise_kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

struct RowPass {
    const float* x;   // the first filter row's input row at output column 0, tap 0
    const float* dy;  // the output row
    int64_t x_row;    // elements between the input rows of neighbouring filter rows
    int64_t x_step, dy_step, tap_step;
    int64_t q0, q1;                         // output columns all of whose taps lie inside
    int64_t q;                              // output columns
    int64_t s, stride, dilation, start, w;  // start: input column of output column 0, tap 0
    float* sums;                            // [row][tap][VL]
};

// RG filter rows of S taps each.
template <int S, int RG>
void pass(const RowPass& t) {
    vf acc[RG][S];
#pragma GCC unroll 8
    for (int r = 0; r < RG; ++r)
#pragma GCC unroll 8
        for (int s = 0; s < S; ++s) acc[r][s] = load(t.sums + (r * S + s) * VL);
    const auto edge = [&](int64_t q) __attribute__((always_inline)) {
        const vf dy = load(t.dy + q * t.dy_step);
        const float* x = t.x + q * t.x_step;
        const int64_t column = t.start + q * t.stride;
#pragma GCC unroll 8
        for (int s = 0; s < S; ++s) {
            const int64_t w = column + s * t.dilation;
            if (w < 0 || w >= t.w) continue;
#pragma GCC unroll 8
            for (int r = 0; r < RG; ++r)
                acc[r][s] = fma(load(x + r * t.x_row + s * t.tap_step), dy, acc[r][s]);
        }
    };
    for (int64_t q = 0; q < t.q0; ++q) edge(q);
    for (int64_t q = t.q0; q < t.q1; ++q) {
        const vf dy = load(t.dy + q * t.dy_step);
        const float* x = t.x + q * t.x_step;
#pragma GCC unroll 8
        for (int r = 0; r < RG; ++r)
#pragma GCC unroll 8
            for (int s = 0; s < S; ++s)
                acc[r][s] = fma(load(x + r * t.x_row + s * t.tap_step), dy, acc[r][s]);
    }
    for (int64_t q = t.q1; q < t.q; ++q) edge(q);
#pragma GCC unroll 8
    for (int r = 0; r < RG; ++r)
#pragma GCC unroll 8
        for (int s = 0; s < S; ++s) store(t.sums + (r * S + s) * VL, acc[r][s]);
}

// One filter row of any length, tap by tap; masked where there are fewer channels than lanes.
void pass_any(const RowPass& t, Tail lanes) {
    for (int64_t s = 0; s < t.s; ++s) {
        // Output columns whose input column lies inside.
        const int64_t d = t.start + s * t.dilation;
        const int64_t q0 = d < 0 ? (-d + t.stride - 1) / t.stride : 0;
        const int64_t q1 = t.w - 1 - d < 0 ? 0 : least(t.q, (t.w - 1 - d) / t.stride + 1);
        vf acc = load(t.sums + s * VL);
        for (int64_t q = q0; q < q1; ++q)
            acc =
                fma(load(t.x + q * t.x_step + s * t.tap_step, lanes), load(t.dy + q * t.dy_step, lanes), acc);
        store(t.sums + s * VL, acc);
    }
}

// The most filter rows whose sums fit the registers.
constexpr int kMostRows3 = VL == 16 ? 5 : 3, kMostRows5 = VL == 16 ? 5 : 2;

using Pass = void (*)(const RowPass&);

Pass pick(int64_t s, int64_t rows) {
    constexpr Pass three[] = {&pass<3, 1>, &pass<3, 2>, &pass<3, 3>, &pass<3, 4>, &pass<3, 5>};
    constexpr Pass five[] = {&pass<5, 1>, &pass<5, 2>, &pass<5, 3>, &pass<5, 4>, &pass<5, 5>};
    return s == 3 ? three[rows - 1] : five[rows - 1];
}

}  // namespace

void depthwise_wgrad_piece(const DepthwiseNhwc& g, const float* x, const float* dy, int64_t row0,
                           int64_t row1, int64_t v0, int64_t v1, float* sums, Ahead<false>* given) {
    const int64_t filter = g.r * g.s * VL;
    const bool fixed = (g.s == 3 || g.s == 5) && g.c >= VL;
    const int64_t together = !fixed ? 1 : g.s == 3 ? kMostRows3 : kMostRows5;
    // Output rows that stay in L2 while one vector of channels after the other passes over them.
    const int64_t fit = (64 << 10) / ((g.w * g.stride_h + g.q) * g.c) + 1;
    const bool far = g.n * (g.h * g.w + g.p * g.q) * g.c > kNear;
    // Columns all of whose taps are inside.
    const int64_t last = (g.s - 1) * g.dilation_w - g.pad_w;
    const int64_t q0 = least(g.q, ceil_div(g.pad_w, g.stride_w));
    const int64_t q1 = g.w - 1 < last ? q0 : most(q0, least(g.q, (g.w - 1 - last) / g.stride_w + 1));
    for (int64_t block = row0; block < row1; block += fit) {
        const int64_t end_row = least(row1, block + fit), next = least(row1, end_row + fit);
        const auto x_row = [&](int64_t row) {
            return x + least(row / g.p * g.h + row % g.p * g.stride_h, g.n * g.h) * g.w * g.c;
        };
        Ahead<false> own{x_row(end_row), x_row(next), dy + end_row * g.q * g.c, dy + next * g.q * g.c, 0};
        Ahead<false>& ahead = given ? *given : own;
        if (far || given) ahead.plan((v1 - v0) * (end_row - block));
        for (int64_t v = v0; v < v1; ++v) {
            const int64_t c = most(0, least(v * VL, g.c - VL));
            RowPass t{};
            t.x_row = g.dilation_h * g.w * g.c;
            t.x_step = g.stride_w * g.c, t.dy_step = g.c, t.tap_step = g.dilation_w * g.c;
            t.q0 = q0, t.q1 = q1, t.q = g.q;
            t.s = g.s, t.stride = g.stride_w, t.dilation = g.dilation_w;
            t.start = -g.pad_w, t.w = g.w;
            for (int64_t row = block; row < end_row; ++row) {
                ahead.step();
                const int64_t n = row / g.p, h0 = row % g.p * g.stride_h - g.pad_h;
                int64_t r0 = h0 < 0 ? ceil_div(-h0, g.dilation_h) : 0;
                const int64_t room = g.h - 1 - h0;
                const int64_t r1 = room < 0 ? 0 : least(g.r, room / g.dilation_h + 1);
                t.dy = dy + row * g.q * g.c + c;
                for (; r0 < r1; r0 += together) {
                    const int64_t rows = least(together, r1 - r0);
                    t.x = x + ((n * g.h + h0 + r0 * g.dilation_h) * g.w - g.pad_w) * g.c + c;
                    t.sums = sums + v * filter + r0 * g.s * VL;
                    if (fixed)
                        pick(g.s, rows)(t);
                    else
                        pass_any(t, tail(g.c));
                }
            }
        }
    }
}

int64_t depthwise_wgrad_partial(const DepthwiseNhwc& g) {
    return g.splits * ceil_div(g.c, VL) * g.r * g.s * VL;
}

void depthwise_wgrad_run(const DepthwiseNhwc& g, const float* x, const float* dy, float* partial,
                         float* dweight) {
    const int64_t vectors = ceil_div(g.c, VL), filter = g.r * g.s * VL, size = vectors * filter;
    const int64_t parts = least(vectors, ceil_div(16, g.splits));
    parallel_for(g.splits * parts, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t split = item / parts, part = item % parts;
            const int64_t v0 = part * vectors / parts, v1 = (part + 1) * vectors / parts;
            float* sums = partial + split * size;
            zero_floats(sums + v0 * filter, (v1 - v0) * filter);
            depthwise_wgrad_piece(g, x, dy, split * g.n * g.p / g.splits, (split + 1) * g.n * g.p / g.splits,
                                  v0, v1, sums);
        }
    });
    for (int64_t c = 0; c < g.c; ++c) {
        const int64_t v = c / VL, lane = c - most(0, least(v * VL, g.c - VL));
        for (int64_t tap = 0; tap < g.r * g.s; ++tap) {
            const float* at = partial + v * filter + tap * VL + lane;
            float sum = *at;
            for (int64_t split = 1; split < g.splits; ++split) sum += at[split * size];
            dweight[c * g.r * g.s + tap] = sum;
        }
    }
}

}  // namespace fastconv::FC_ISA_NS
