// Depthwise convolution, lanes along the channels of NHWC arrays.
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Taps [first, last) of output position o that lie inside an axis of `size`.
struct TapRange {
    int64_t first, last;
    TapRange(int64_t start, int64_t dilation, int64_t kernel, int64_t size) {
        first = start < 0 ? (-start + dilation - 1) / dilation : 0;
        const int64_t room = size - 1 - start;
        last = room < 0 ? 0 : least(kernel, room / dilation + 1);
        if (first > last) first = last;
    }
};

inline int64_t grain(const DepthwiseNhwc& g) { return 65536 / (g.w * g.c * g.r * g.s) + 1; }

}  // namespace

void depthwise_fprop_run(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                         float* y) {
    parallel_for(g.n * g.p, grain(g), [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t n = row / g.p, h0 = row % g.p * g.stride_h - g.pad_h;
            const TapRange r(h0, g.dilation_h, g.r, g.h);
            for (int64_t q = 0; q < g.q; ++q) {
                const int64_t w0 = q * g.stride_w - g.pad_w;
                const TapRange s(w0, g.dilation_w, g.s, g.w);
                float* to = y + (row * g.q + q) * g.c;
                for (int64_t c = 0; c < g.c; c += VL) {
                    const Tail t = tail(g.c - c);
                    vf sum = bias ? load(bias + c, t) : zero();
                    for (int64_t i = r.first; i < r.last; ++i) {
                        const float* from = x + ((n * g.h + h0 + i * g.dilation_h) * g.w + w0) * g.c + c;
                        const float* weight = packed + i * g.s * g.c + c;
                        for (int64_t j = s.first; j < s.last; ++j)
                            sum = fma(load(from + j * g.dilation_w * g.c, t), load(weight + j * g.c, t), sum);
                    }
                    store(to + c, sum, t);
                }
            }
        }
    });
}

void depthwise_dgrad_run(const DepthwiseNhwc& g, const float* packed, const float* dy, const float* bias,
                         float* dx) {
    parallel_for(g.n * g.h, grain(g), [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t n = row / g.h, h = row % g.h;
            for (int64_t w = 0; w < g.w; ++w) {
                float* to = dx + (row * g.w + w) * g.c;
                for (int64_t c = 0; c < g.c; c += VL) {
                    const Tail t = tail(g.c - c);
                    vf sum = bias ? load(bias + c, t) : zero();
                    for (int64_t i = 0; i < g.r; ++i) {
                        const int64_t y = h + g.pad_h - i * g.dilation_h;
                        if (y < 0 || y % g.stride_h || y / g.stride_h >= g.p) continue;
                        for (int64_t j = 0; j < g.s; ++j) {
                            const int64_t z = w + g.pad_w - j * g.dilation_w;
                            if (z < 0 || z % g.stride_w || z / g.stride_w >= g.q) continue;
                            const float* from =
                                dy + ((n * g.p + y / g.stride_h) * g.q + z / g.stride_w) * g.c + c;
                            sum = fma(load(from, t), load(packed + (i * g.s + j) * g.c + c, t), sum);
                        }
                    }
                    store(to + c, sum, t);
                }
            }
        }
    });
}

void depthwise_wgrad_run(const DepthwiseNhwc& g, const float* x, const float* dy, float* partial,
                         float* dweight) {
    const int64_t taps = g.r * g.s;
    parallel_for(g.splits, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t split = begin; split < end; ++split) {
            float* sums = partial + split * taps * g.c;
            zero_floats(sums, taps * g.c);
            const int64_t row0 = split * g.n * g.p / g.splits, row1 = (split + 1) * g.n * g.p / g.splits;
            for (int64_t row = row0; row < row1; ++row) {
                const int64_t n = row / g.p, h0 = row % g.p * g.stride_h - g.pad_h;
                const TapRange r(h0, g.dilation_h, g.r, g.h);
                for (int64_t i = r.first; i < r.last; ++i) {
                    const float* from = x + (n * g.h + h0 + i * g.dilation_h) * g.w * g.c;
                    for (int64_t j = 0; j < g.s; ++j) {
                        // Output columns whose input column q * stride + d lies in [0, w).
                        const int64_t d = j * g.dilation_w - g.pad_w;
                        const int64_t q0 = d < 0 ? (-d + g.stride_w - 1) / g.stride_w : 0;
                        const int64_t q1 = g.w - 1 - d < 0 ? 0 : least(g.q, (g.w - 1 - d) / g.stride_w + 1);
                        float* to = sums + (i * g.s + j) * g.c;
                        for (int64_t c = 0; c < g.c; c += VL) {
                            const Tail t = tail(g.c - c);
                            vf sum = load(to + c, t);
                            for (int64_t q = q0; q < q1; ++q)
                                sum = fma(load(from + (q * g.stride_w + d) * g.c + c, t),
                                          load(dy + (row * g.q + q) * g.c + c, t), sum);
                            store(to + c, sum, t);
                        }
                    }
                }
            }
        }
    });
    for (int64_t tap = 0; tap < taps; ++tap)
        for (int64_t c = 0; c < g.c; ++c) {
            float sum = partial[tap * g.c + c];
            for (int64_t split = 1; split < g.splits; ++split) sum += partial[(split * taps + tap) * g.c + c];
            dweight[c * taps + tap] = sum;
        }
}

}  // namespace fastconv::FC_ISA_NS
