// Depthwise convolution of NCHW arrays: a vector's worth of channels is transposed to channels-last panels in
// cache, a band of rows at a time, and the channels-last kernels run there. Lanes along rows (planar.cpp)
// took 7 and 11 times as long on maps of 14 and 7 pixels.
#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/depthwise_kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Floats of a worker's two panels: about a quarter of a small L2.
constexpr int64_t kPanels = 48 << 10;

// Rows [first, end) of planes, from `channel` on, to a panel [row][column][VL] and back. Lanes beyond the
// last channel hold anything: no lane's result depends on another.
struct Planes {
    int64_t channels, h, w;
    const float* at(const float* data, int64_t n, int64_t channel, int64_t row) const {
        return data + ((n * channels + channel) * h + row) * w;
    }
    void read(const float* data, int64_t n, int64_t channel, int64_t first, int64_t end, float* panel) const {
        transpose_f32(at(data, n, channel, first), h * w, panel, VL, least(VL, channels - channel),
                      (end - first) * w);
    }
    void write(float* data, int64_t n, int64_t channel, int64_t first, int64_t end,
               const float* panel) const {
        transpose_f32(panel, VL, const_cast<float*>(at(data, n, channel, first)), h * w, (end - first) * w,
                      least(VL, channels - channel));
    }
};

// Output rows of a band, and the first and last input row that output rows [p0, p1) reach.
struct Bands {
    int64_t rows, count;
    int64_t in_rows;  // of a band, at most
    Bands(const DepthwiseNhwc& g) {
        const int64_t reach = (g.r - 1) * g.dilation_h + 1;
        const int64_t fit = (kPanels / VL - reach * g.w) / (g.stride_h * g.w + g.q);
        rows = most(1, least(fit, g.p));
        count = ceil_div(g.p, rows);
        rows = ceil_div(g.p, count);
        in_rows = least(g.h, (rows - 1) * g.stride_h + reach);
    }
    static int64_t first(const DepthwiseNhwc& g, int64_t p0) {
        return least(g.h, most(0, p0 * g.stride_h - g.pad_h));
    }
    static int64_t end(const DepthwiseNhwc& g, int64_t p1) {
        const int64_t last = (p1 - 1) * g.stride_h - g.pad_h + (g.r - 1) * g.dilation_h;
        return least(g.h, most(0, last + 1));
    }
};

// The problem of output rows [p0, p1) on panels that begin at input row `first` and end before `end`.
DepthwiseNhwc piece(const DepthwiseNhwc& g, int64_t p0, int64_t p1, int64_t first, int64_t end) {
    DepthwiseNhwc t = g;
    t.n = 1, t.c = VL;
    t.h = end - first, t.p = p1 - p0;
    t.pad_h = g.pad_h - p0 * g.stride_h + first;
    return t;
}

// dgrad's bands are rows of dx.
struct GradientBands {
    int64_t rows, count, in_rows;
    GradientBands(const DepthwiseNhwc& g) {
        const int64_t reach = ((g.r - 1) * g.dilation_h) / g.stride_h + 2;
        const int64_t fit = (kPanels / VL - reach * g.q) * g.stride_h / (g.stride_h * g.w + g.q);
        rows = most(1, least(fit, g.h));
        count = ceil_div(g.h, rows);
        rows = ceil_div(g.h, count);
        in_rows = least(g.p, ceil_div(rows - 1 + (g.r - 1) * g.dilation_h, g.stride_h) + 1);
    }
};

inline int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Small planes: a vector's planes are one run of memory, and the next item's is the next run.
template <bool WRITE>
Ahead<WRITE> next_planes(const DepthwiseNhwc& g, const float* a, int64_t a_plane, const float* b,
                         int64_t b_plane, int64_t n, int64_t v) {
    const int64_t planes = g.n * g.c, first = n * g.c + least((v + 1) * VL, g.c);
    const int64_t end = least(first + VL, planes);
    return {a + first * a_plane, a + end * a_plane, b + first * b_plane, b + end * b_plane, 0};
}

void block_bias(const float* bias, int64_t c, int64_t channel, float* to) {
    if (bias) store(to, load(bias + channel, tail(c - channel)));
}

}  // namespace

int64_t depthwise_nchw_scratch(const DepthwiseNhwc& g, int direction) {
    if (direction == 1) {
        const GradientBands bands(g);
        return (bands.in_rows * g.q + bands.rows * g.w) * VL;
    }
    const Bands bands(g);
    return (bands.in_rows * g.w + bands.rows * g.q) * VL;
}

void depthwise_nchw_fprop_run(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                              float* y, float* scratch, int team) {
    const Bands bands(g);
    const int64_t vectors = ceil_div(g.c, VL), mine = depthwise_nchw_scratch(g, 0);
    const Planes in{g.c, g.h, g.w}, out{g.c, g.p, g.q};
    parallel_for(
        g.n * vectors * bands.count, 32768 / (bands.rows * g.q * g.r * g.s * VL) + 1,
        [&](int64_t begin, int64_t last, int worker) {
            float *from = scratch + worker * mine, *to = from + bands.in_rows * g.w * VL;
            float start[VL];
            for (int64_t item = begin; item < last; ++item) {
                const int64_t n = item / bands.count / vectors, v = item / bands.count % vectors;
                const int64_t p0 = item % bands.count * bands.rows, p1 = least(g.p, p0 + bands.rows);
                if (p0 >= p1) continue;
                const int64_t first = Bands::first(g, p0), end = most(first, Bands::end(g, p1));
                in.read(x, n, v * VL, first, end, from);
                const DepthwiseNhwc t = piece(g, p0, p1, first, end);
                block_bias(bias, g.c, v * VL, start);
                const float *weight = packed + v * g.r * g.s * VL, *add = bias ? start : nullptr;
                Ahead<true> ahead = next_planes<true>(g, x, g.h * g.w, y, g.p * g.q, n, v);
                if (depthwise_fprop_tiled(t))
                    depthwise_fprop_piece(t, from, weight, add, to, 0, depthwise_fprop_items(t),
                                          bands.count == 1 ? &ahead : nullptr);
                else
                    depthwise_pixels_fprop(t, from, weight, add, to);
                out.write(y, n, v * VL, p0, p1, to);
            }
        },
        team);
}

void depthwise_nchw_dgrad_run(const DepthwiseNhwc& g, const float* packed, const float* dy, const float* bias,
                              float* dx, float* scratch, int team) {
    const GradientBands bands(g);
    const int64_t vectors = ceil_div(g.c, VL), mine = depthwise_nchw_scratch(g, 1);
    const Planes in{g.c, g.p, g.q}, out{g.c, g.h, g.w};
    parallel_for(
        g.n * vectors * bands.count, 32768 / (bands.rows * g.w * g.r * g.s * VL) + 1,
        [&](int64_t begin, int64_t last, int worker) {
            float *from = scratch + worker * mine, *to = from + bands.in_rows * g.q * VL;
            float start[VL];
            for (int64_t item = begin; item < last; ++item) {
                const int64_t n = item / bands.count / vectors, v = item / bands.count % vectors;
                const int64_t h0 = item % bands.count * bands.rows, h1 = least(g.h, h0 + bands.rows);
                if (h0 >= h1) continue;
                // Rows of dy that reach rows [h0, h1) of dx.
                const int64_t low = floor_div(h0 + g.pad_h - (g.r - 1) * g.dilation_h, g.stride_h);
                const int64_t first = least(g.p, most(0, low));
                const int64_t end = most(first, least(g.p, floor_div(h1 - 1 + g.pad_h, g.stride_h) + 1));
                in.read(dy, n, v * VL, first, end, from);
                DepthwiseNhwc t = g;
                t.n = 1, t.c = VL, t.h = h1 - h0, t.p = end - first;
                t.pad_h = g.pad_h + h0 - first * g.stride_h;
                block_bias(bias, g.c, v * VL, start);
                const float *weight = packed + v * g.r * g.s * VL, *add = bias ? start : nullptr;
                Ahead<true> ahead = next_planes<true>(g, dy, g.p * g.q, dx, g.h * g.w, n, v);
                if (depthwise_dgrad_tiled(t))
                    depthwise_dgrad_piece(t, weight, from, add, to, 0, depthwise_dgrad_items(t),
                                          bands.count == 1 ? &ahead : nullptr);
                else
                    depthwise_pixels_dgrad(t, weight, from, add, to);
                out.write(dx, n, v * VL, h0, h1, to);
            }
        },
        team);
}

void depthwise_nchw_wgrad_run(const DepthwiseNhwc& g, const float* x, const float* dy, float* partial,
                              float* dweight, float* scratch, int team) {
    const Bands bands(g);
    const int64_t vectors = ceil_div(g.c, VL), filter = g.r * g.s * VL, mine = depthwise_nchw_scratch(g, 0);
    const int64_t items = g.n * bands.count, splits = least(g.splits, items);
    const Planes in{g.c, g.h, g.w}, out{g.c, g.p, g.q};
    parallel_for(
        splits * vectors, 1,
        [&](int64_t begin, int64_t last, int worker) {
            float *from = scratch + worker * mine, *to = from + bands.in_rows * g.w * VL;
            for (int64_t part = begin; part < last; ++part) {
                const int64_t split = part / vectors, v = part % vectors;
                float* sums = partial + part * filter;
                zero_floats(sums, filter);
                const int64_t item1 = (split + 1) * items / splits;
                for (int64_t item = split * items / splits; item < item1; ++item) {
                    const int64_t n = item / bands.count, p0 = item % bands.count * bands.rows;
                    const int64_t p1 = least(g.p, p0 + bands.rows);
                    if (p0 >= p1) continue;
                    const int64_t first = Bands::first(g, p0), end = most(first, Bands::end(g, p1));
                    in.read(x, n, v * VL, first, end, from);
                    out.read(dy, n, v * VL, p0, p1, to);
                    // The same vector of the next image.
                    Ahead<false> ahead = next_planes<false>(g, x, g.h * g.w, dy, g.p * g.q, n + 1, v - 1);
                    depthwise_wgrad_piece(piece(g, p0, p1, first, end), from, to, 0, p1 - p0, Lanes(VL), 0, 1,
                                          sums, bands.count == 1 && n + 1 < g.n ? &ahead : nullptr);
                }
            }
        },
        team);
    for (int64_t split = 1; split < splits; ++split)
        for (int64_t i = 0; i < vectors * filter; i += VL)
            store(partial + i, load(partial + i) + load(partial + split * vectors * filter + i));
    const int64_t taps = g.r * g.s;
    for (int64_t v = 0; v < vectors; ++v)
        transpose_f32(partial + v * filter, VL, dweight + v * VL * taps, taps, taps, least(VL, g.c - v * VL));
}

void depthwise_nchw_pack(const float* weight, int64_t c, int64_t taps, bool turn, float* packed) {
    for (int64_t v = 0; v < ceil_div(c, VL); ++v)
        for (int64_t t = 0; t < taps; ++t)
            for (int64_t e = 0; e < VL; ++e) {
                const int64_t channel = v * VL + e, tap = turn ? taps - 1 - t : t;
                packed[(v * taps + t) * VL + e] = channel < c ? weight[channel * taps + tap] : 0.0f;
            }
}

int64_t depthwise_nchw_packed(int64_t c, int64_t taps) { return ceil_div(c, VL) * VL * taps; }

}  // namespace fastconv::FC_ISA_NS
