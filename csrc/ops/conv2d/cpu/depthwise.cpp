// Depthwise convolution of channels-last arrays one pixel at a time: any geometry and fewer channels than
// lanes. Also the copies that a depth multiplier needs.
#include "ops/conv2d/depthwise.h"

#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/cpu/prefetch.h"

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

// Taps first, first + step, ... of an axis that reach one input position from an output: the first from
// `from`, each further one from `back` outputs before.
struct Reach {
    int64_t first, count, from;
};

// Finds them for every position.
class ReachAxis {
  public:
    int64_t step, back;
    ReachAxis(int64_t stride, int64_t dilation, int64_t kernel, int64_t outputs)
        : stride_(stride), dilation_(dilation), kernel_(kernel), outputs_(outputs) {
        int64_t a = stride, b = dilation;
        while (b) {
            const int64_t rest = a % b;
            a = b, b = rest;
        }
        step = stride / a, back = dilation / a;
        for (int64_t r = 0; r < least(kTable, stride); ++r) lowest_[r] = search(r);
    }
    // `at`: with the padding counted.
    Reach operator()(int64_t at) const {
        const int64_t residue = at % stride_;
        int64_t first = residue < kTable ? lowest_[residue] : search(residue);
        const int64_t end = least(kernel_, at / dilation_ + 1);
        const int64_t beyond = at - (outputs_ - 1) * stride_;
        if (beyond > first * dilation_) first += ceil_div(ceil_div(beyond, dilation_) - first, step) * step;
        if (first >= end) return {0, 0, 0};
        return {first, (end - 1 - first) / step + 1, (at - first * dilation_) / stride_};
    }

  private:
    static constexpr int64_t kTable = 8;
    // The lowest tap of a position with this residue; kernel_ if there is none.
    int64_t search(int64_t residue) const {
        for (int64_t r = 0; r < least(step, kernel_); ++r)
            if ((residue - r * dilation_) % stride_ == 0) return r;
        return kernel_;
    }
    int64_t stride_, dilation_, kernel_, outputs_;
    int64_t lowest_[kTable];
};

// Sums over rows x cols taps for Q pixels `pixel` floats apart, of all channels; from tap to tap `row_step`
// and `col_step` floats in the input, `weight_row` and `weight_col` in the weights. What the next pixels read
// in the rows from `fetched` on lies `ahead` floats on.
struct Taps {
    const float* in;
    int64_t pixel, row_step, col_step;
    const float* weight;
    int64_t weight_row, weight_col;
    int64_t rows, cols;
    const float* bias;
    float* out;
    int64_t out_pixel, c;
    int64_t fetched, ahead;
};

template <int Q, int NV>
inline void channels(const Taps& t, int64_t c) {
    vf sum[Q][NV];
    unrolled<NV>([&](auto v) FC_INLINE {
        sum[0][v] = t.bias ? load(t.bias + c + v * VL) : zero();
        unrolled<Q>([&](auto q) FC_INLINE { sum[q][v] = sum[0][v]; });
    });
    for (int64_t i = 0; i < t.rows; ++i) {
        const float* from = t.in + i * t.row_step + c;
        const float* weight = t.weight + i * t.weight_row + c;
        for (int64_t j = 0; j < t.cols; ++j, from += t.col_step, weight += t.weight_col) {
            if (i >= t.fetched)
                unrolled<Q, NV>([&](auto q, auto v) FC_INLINE {
                    __builtin_prefetch(from + t.ahead + q * t.pixel + v * VL, 0, 3);
                });
            unrolled<NV>([&](auto v) FC_INLINE {
                const vf w = once(load(weight + v * VL));
                unrolled<Q>([&](auto q) FC_INLINE {
                    sum[q][v] = fma(load(from + q * t.pixel + v * VL), w, sum[q][v]);
                });
            });
        }
    }
    unrolled<Q, NV>([&](auto q, auto v)
                        FC_INLINE { store(t.out + q * t.out_pixel + c + v * VL, sum[q][v]); });
}

template <int Q>
void pixels(const Taps& t) {
    constexpr int NV = Q > 1 ? 2 : 4;
    int64_t c = 0;
    for (; c + NV * VL <= t.c; c += NV * VL) channels<Q, NV>(t, c);
    if (t.c >= VL) {  // the last vector moved back to end with the channels
        for (; c < t.c; c += VL) channels<Q, 1>(t, least(c, t.c - VL));
        return;
    }
    const Tail lanes = tail(t.c);
    for (int64_t q = 0; q < Q; ++q) {
        vf sum = t.bias ? load(t.bias, lanes) : zero();
        for (int64_t i = 0; i < t.rows; ++i)
            for (int64_t j = 0; j < t.cols; ++j)
                sum = fma(load(t.in + q * t.pixel + i * t.row_step + j * t.col_step, lanes),
                          load(t.weight + i * t.weight_row + j * t.weight_col, lanes), sum);
        store(t.out + q * t.out_pixel, sum, lanes);
    }
}

inline int64_t grain(const DepthwiseNhwc& g) { return 65536 / (g.w * g.c * g.r * g.s) + 1; }

}  // namespace

void depthwise_pixels_fprop(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                            float* y) {
    constexpr int kPixels = 4;
    parallel_for(g.n * g.p, grain(g), [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t n = row / g.p, h0 = row % g.p * g.stride_h - g.pad_h;
            const TapRange r(h0, g.dilation_h, g.r, g.h);
            Taps t{};
            t.pixel = g.stride_w * g.c, t.row_step = g.dilation_h * g.w * g.c,
            t.col_step = g.dilation_w * g.c;
            t.weight_row = g.s * g.c, t.weight_col = g.c;
            t.rows = r.last - r.first;
            t.bias = bias, t.out_pixel = g.c, t.c = g.c;
            // Rows that the output row before has not read.
            t.fetched = most(0, t.rows - ceil_div(g.stride_h, g.dilation_h));
            t.ahead = kPixels * t.pixel;
            for (int64_t q = 0; q < g.q;) {
                const int64_t w0 = q * g.stride_w - g.pad_w;
                const TapRange s(w0, g.dilation_w, g.s, g.w);
                t.in =
                    x + ((n * g.h + h0 + r.first * g.dilation_h) * g.w + w0 + s.first * g.dilation_w) * g.c;
                t.weight = packed + (r.first * g.s + s.first) * g.c;
                t.cols = s.last - s.first;
                t.out = y + (row * g.q + q) * g.c;
                const bool whole = t.cols == g.s && q + kPixels <= g.q &&
                                   w0 + (kPixels - 1) * g.stride_w + (g.s - 1) * g.dilation_w < g.w;
                whole ? pixels<kPixels>(t) : pixels<1>(t);
                q += whole ? kPixels : 1;
            }
        }
    });
}

void depthwise_pixels_dgrad(const DepthwiseNhwc& g, const float* packed, const float* dy, const float* bias,
                            float* dx) {
    const ReachAxis vertical(g.stride_h, g.dilation_h, g.r, g.p),
        horizontal(g.stride_w, g.dilation_w, g.s, g.q);
    parallel_for(g.n * g.h, grain(g), [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t n = row / g.h;
            const Reach r = vertical(row % g.h + g.pad_h);
            Taps t{};
            t.row_step = -vertical.back * g.q * g.c, t.col_step = -horizontal.back * g.c;
            t.weight_row = vertical.step * g.s * g.c, t.weight_col = horizontal.step * g.c;
            t.rows = t.fetched = r.count;
            t.bias = bias, t.c = g.c;
            for (int64_t w = 0; w < g.w; ++w) {
                const Reach s = horizontal(w + g.pad_w);
                t.in = dy + ((n * g.p + r.from) * g.q + s.from) * g.c;
                t.weight = packed + (r.first * g.s + s.first) * g.c;
                t.cols = s.count;
                t.out = dx + (row * g.w + w) * g.c;
                pixels<1>(t);
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
