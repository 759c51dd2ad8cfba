// Depthwise convolution of channels-last arrays one pixel at a time: any geometry and fewer channels than
// lanes. Also the copies that a depth multiplier needs.
#include "ops/conv2d/depthwise.h"

#include "cpu/parallel.h"
#include "ops/conv2d/cpu/common.h"

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

// Taps first, first + step, ... of an axis that reach input position `at` (the padding counted) from an
// output: the first from `from`, each further one from `back` outputs before.
struct Reach {
    int64_t first = 0, step, count = 0, from = 0, back;
    Reach(int64_t at, int64_t stride, int64_t dilation, int64_t kernel, int64_t outputs) {
        int64_t a = stride, b = dilation;
        while (b) {
            const int64_t rest = a % b;
            a = b, b = rest;
        }
        step = stride / a, back = dilation / a;
        const int64_t beyond = at - (outputs - 1) * stride;
        first = beyond > 0 ? ceil_div(beyond, dilation) : 0;
        const int64_t end = least(kernel, at / dilation + 1);
        const int64_t stop = least(end, first + step);
        while (first < stop && (at - first * dilation) % stride) ++first;
        if (first >= stop) return;
        count = (end - 1 - first) / step + 1;
        from = (at - first * dilation) / stride;
    }
};

inline int64_t grain(const DepthwiseNhwc& g) { return 65536 / (g.w * g.c * g.r * g.s) + 1; }

}  // namespace

void depthwise_pixels_fprop(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
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

void depthwise_pixels_dgrad(const DepthwiseNhwc& g, const float* packed, const float* dy, const float* bias,
                            float* dx) {
    parallel_for(g.n * g.h, grain(g), [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t n = row / g.h;
            const Reach r(row % g.h + g.pad_h, g.stride_h, g.dilation_h, g.r, g.p);
            for (int64_t w = 0; w < g.w; ++w) {
                const Reach s(w + g.pad_w, g.stride_w, g.dilation_w, g.s, g.q);
                float* to = dx + (row * g.w + w) * g.c;
                for (int64_t c = 0; c < g.c; c += VL) {
                    const Tail t = tail(g.c - c);
                    vf sum = bias ? load(bias + c, t) : zero();
                    for (int64_t i = 0; i < r.count; ++i) {
                        const float* from = dy + ((n * g.p + r.from - i * r.back) * g.q + s.from) * g.c + c;
                        const float* weight = packed + ((r.first + i * r.step) * g.s + s.first) * g.c + c;
                        for (int64_t j = 0; j < s.count; ++j)
                            sum = fma(load(from - j * s.back * g.c, t), load(weight + j * s.step * g.c, t),
                                      sum);
                    }
                    store(to + c, sum, t);
                }
            }
        }
    });
}

void repeat_channels_f32(const float* in, float* out, int64_t pixels, int64_t c, int64_t m) {
    parallel_for(pixels, 16384 / (c * m) + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin * c; i < end * c; ++i)
            for (int64_t j = 0; j < m; ++j) out[i * m + j] = in[i];
    });
}

void sum_channels_f32(const float* in, const float* bias, float* out, int64_t pixels, int64_t c, int64_t m) {
    parallel_for(pixels, 16384 / (c * m) + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin * c; i < end * c; ++i) {
            float sum = in[i * m];
            for (int64_t j = 1; j < m; ++j) sum += in[i * m + j];
            out[i] = bias ? sum + bias[i % c] : sum;
        }
    });
}

}  // namespace fastconv::FC_ISA_NS
