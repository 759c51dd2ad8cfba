// Unfolding and folding of im2col.h.
#include "ops/conv2d/im2col.h"

#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Calls body(tap, h, w) for every tap that pixel (i, j) finds inside the image.
template <class Body>
FC_INLINE inline void taps_inside(const Im2col& g, int64_t i, int64_t j, const Body& body) {
    for (int64_t r = 0; r < g.r; ++r) {
        const int64_t h = i * g.stride_h - g.pad_h + r * g.dilation_h;
        if (h < 0 || h >= g.h) continue;
        for (int64_t s = 0; s < g.s; ++s) {
            const int64_t w = j * g.stride_w - g.pad_w + s * g.dilation_w;
            if (w >= 0 && w < g.w) body(r * g.s + s, h, w);
        }
    }
}

void add_floats(float* to, const float* from, int64_t count) {
    for (int64_t at = 0; at < count; at += VL) {
        const Tail lanes = tail(count - at);
        store(to + at, load(to + at, lanes) + load(from + at, lanes), lanes);
    }
}

// The patches of image n added to its channels [c0, c1).
void fold_nhwc(const Im2col& g, const float* patches, const float* bias, float* x, int64_t c0, int64_t c1,
               float* scratch) {
    const int64_t taps = g.taps(), count = c1 - c0;
    for (int64_t pixel = 0; pixel < g.h * g.w; ++pixel) {
        if (bias)
            copy_floats(x + pixel * g.c + c0, bias + c0, count);
        else
            zero_floats(x + pixel * g.c + c0, count);
    }
    for (int64_t i = 0; i < g.p; ++i)
        for (int64_t j = 0; j < g.q; ++j, patches += g.columns()) {
            const float* from = patches + c0 * taps;
            if (taps > 1) {
                transpose_f32(from, taps, scratch, count, count, taps);
                from = scratch;
            }
            taps_inside(g, i, j, [&](int64_t tap, int64_t h, int64_t w) FC_INLINE {
                add_floats(x + (h * g.w + w) * g.c + c0, from + tap * count, count);
            });
        }
}

void fold_nchw(const Im2col& g, const float* patches, const float* bias, float* x, int64_t c0, int64_t c1) {
    const int64_t taps = g.taps(), plane = g.h * g.w;
    for (int64_t c = c0; c < c1; ++c)
        for (int64_t e = 0; e < plane; ++e) x[c * plane + e] = bias ? bias[c] : 0;
    for (int64_t i = 0; i < g.p; ++i)
        for (int64_t j = 0; j < g.q; ++j, patches += g.columns())
            taps_inside(g, i, j, [&](int64_t tap, int64_t h, int64_t w) FC_INLINE {
                const float* from = patches + tap;
                float* to = x + h * g.w + w;
                for (int64_t c = c0; c < c1; ++c) to[c * plane] += from[c * taps];
            });
}

}  // namespace

void im2col_unfold(const Im2col& g, const float* x, float* patches, float* scratch, int team) {
    const int64_t taps = g.taps(), image = g.c * g.h * g.w, blocks = ceil_div(g.c, g.block());
    parallel_for(
        g.pixels() * blocks, 16384 / (g.block() * taps) + 1,
        [&](int64_t begin, int64_t end, int worker) {
            float* mine = scratch + worker * g.scratch();
            for (int64_t item = begin; item < end; ++item) {
                const int64_t pixel = item / blocks, i = pixel / g.q % g.p, j = pixel % g.q;
                const int64_t c0 = item % blocks * g.block(), count = least(g.block(), g.c - c0);
                const float* from = x + pixel / (g.p * g.q) * image;
                float* to = patches + pixel * g.columns() + c0 * taps;
                if (g.nchw) {
                    zero_floats(to, count * taps);
                    taps_inside(g, i, j, [&](int64_t tap, int64_t h, int64_t w) FC_INLINE {
                        const float* value = from + (c0 * g.h + h) * g.w + w;
                        for (int64_t c = 0; c < count; ++c) to[c * taps + tap] = value[c * g.h * g.w];
                    });
                    continue;
                }
                float* rows = taps > 1 ? mine : to;
                zero_floats(rows, count * taps);
                taps_inside(g, i, j, [&](int64_t tap, int64_t h, int64_t w) FC_INLINE {
                    copy_floats(rows + tap * count, from + (h * g.w + w) * g.c + c0, count);
                });
                if (taps > 1) transpose_f32(rows, count, to, taps, taps, count);
            }
        },
        team);
}

void im2col_fold(const Im2col& g, const float* patches, const float* bias, float* x, float* scratch,
                 int team) {
    const int64_t blocks = ceil_div(g.c, g.block()), image = g.c * g.h * g.w;
    const int64_t work = g.p * g.q * g.taps() * g.block();
    parallel_for(
        g.n * blocks, 16384 / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            float* mine = scratch + worker * g.scratch();
            for (int64_t item = begin; item < end; ++item) {
                const int64_t n = item / blocks, c0 = item % blocks * g.block();
                const int64_t c1 = least(g.c, c0 + g.block());
                const float* from = patches + n * g.p * g.q * g.columns();
                if (g.nchw)
                    fold_nchw(g, from, bias, x + n * image, c0, c1);
                else
                    fold_nhwc(g, from, bias, x + n * image, c0, c1, mine);
            }
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
