// The input's line (batch-norm) and ReLU, applied to what a work item is about to read: a copy in cache.
#pragma once

#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// The instructions of batch_norm's forward, for the same bits. The second operand of max wins where it is
// NaN.
template <bool Relu>
inline vf on_line(vf x, vf center, vf scale, vf shift) {
    const vf v = fma(x - center, scale, shift);
    return Relu ? max(zero(), v) : v;
}

// to[0 .. count) from neighbouring channels, the first of them `channel`.
template <bool Relu>
inline void normalise_channels(const InputLine& line, int64_t channel, const float* from, float* to,
                               int64_t count) {
    const float *m = line.center + channel, *a = line.scale + channel, *b = line.shift + channel;
    int64_t i = 0;
    for (; i + VL <= count; i += VL)
        store(to + i, on_line<Relu>(load(from + i), load(m + i), load(a + i), load(b + i)));
    if (i < count) {
        const Tail t = tail(count - i);
        store(to + i, on_line<Relu>(load(from + i, t), load(m + i, t), load(a + i, t), load(b + i, t)), t);
    }
}

// to[0 .. count) from pixels of one channel.
inline void normalise_pixels(const InputLine& line, int64_t channel, const float* from, float* to,
                             int64_t count) {
    const vf m = set1(line.center[channel]), a = set1(line.scale[channel]), b = set1(line.shift[channel]);
    const auto run = [&](const auto& function) {
        int64_t i = 0;
        for (; i + VL <= count; i += VL) store(to + i, function(load(from + i)));
        if (i < count) store(to + i, function(load(from + i, tail(count - i))), tail(count - i));
    };
    if (line.relu)
        run([&](vf x) { return on_line<true>(x, m, a, b); });
    else
        run([&](vf x) { return on_line<false>(x, m, a, b); });
}

// Where the input of a work item's pixels lies: an output pixel's place (n, h, w), the e-th of tile t, is
// base + n * in_n + h * in_h + w * in_w + t * in_t + e * in_e.
struct Source {
    const float* base;
    int64_t in_n, in_h, in_w, in_t, in_e;
};

// The input array itself.
inline Source in_place(const GatherConv& g, int64_t group) {
    return {g.in + group * g.depth, g.in_n, g.in_h, g.in_w, 0, 0};
}

// Floats from pixel to pixel up to which the band of a part of a wider array has that array's distances.
constexpr int64_t kWidestBand = 1280;

// A filter of one tap reads one pixel each, which are copied tile by tile just before the first block of
// output channels; others a band of whole rows, from the first tap of the item's first pixel to the last tap
// of its last, on through the images.
inline bool one_each(const GatherConv& g) { return g.tap_count == 1; }

// Whether the input's pixels follow one another and each is read once: then neighbours in the band lie as far
// apart as there, so that one distance leads from a tile to what is to be fetched, in a part of a wider array
// too.
inline bool follows(const GatherConv& g) {
    return g.rows == g.h && g.cols == g.w && g.step_h == 1 && g.step_w == 1 && g.in_h == g.w * g.in_w &&
           g.in_n == g.h * g.in_h && (g.in_w == g.depth || g.in_w <= kWidestBand);
}
inline int64_t band_step(const GatherConv& g) { return follows(g) ? g.in_w : g.depth; }

// The most floats that the band of a work item takes, of `pixels` output pixels in tiles of up to `mr`. Where
// there is only one block of output channels, a tile need not be kept and stays in L1.
inline int64_t band_floats(const GatherConv& g, int64_t pixels, int64_t mr, bool one_block) {
    if (one_each(g)) return (one_block ? mr : pixels) * band_step(g);
    const int64_t first = g.taps[0].dh, last = g.taps[g.tap_count - 1].dh;
    const int64_t touched = least(g.n * g.rows, (pixels + g.cols - 2) / g.cols + 1);
    const int64_t images = least(g.n, (pixels + g.rows * g.cols - 2) / (g.rows * g.cols) + 1);
    // Rows that an image has beyond step_h for each row of output: above, below, or both.
    const int64_t more = most(most(0, last - first + 1 - g.step_h),
                              most(g.h - g.rows * g.step_h - least(0, first), last + 1 - g.step_h));
    return least(images * g.h, touched * g.step_h + images * more) * g.w * g.depth;
}

template <bool Relu>
inline void fill_tile(const GatherConv& g, int64_t group, int64_t m, int64_t count, float* band) {
    const int64_t channel = group * g.depth;
    const Tap tap = g.taps[0];
    const int64_t step = band_step(g);
    PixelWalk at(m, g.rows, g.cols);
    for (int64_t e = 0; e < count; ++e, at.next()) {
        const int64_t h = at.i * g.step_h + tap.dh, w = at.j * g.step_w + tap.dw;
        if (h < 0 || h >= g.h || w < 0 || w >= g.w) continue;  // read from the zeros instead
        normalise_channels<Relu>(g.line, channel, g.in + at.n * g.in_n + h * g.in_h + w * g.in_w + channel,
                                 band + e * step, g.depth);
    }
}

// one_each: the input of `count` pixels from m on, in `band`.
inline void normalise_tile(const GatherConv& g, int64_t group, int64_t m, int64_t count, float* band) {
    if (g.line.relu)
        fill_tile<true>(g, group, m, count, band);
    else
        fill_tile<false>(g, group, m, count, band);
}

// From there to the input of the pixels from m on, from `channel` on, in floats and for prefetching; 0: none.
inline int64_t beyond_band(const GatherConv& g, int64_t channel, int64_t m, const float* band) {
    if (!follows(g)) return 0;
    const auto address = [](const float* p) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p)); };
    return (address(g.in + channel + m * g.in_w) - address(band)) / static_cast<int64_t>(sizeof(float));
}

template <bool Relu>
inline Source fill_band(const GatherConv& g, int64_t group, int64_t m0, int64_t m1, float* band) {
    const PixelWalk from(m0, g.rows, g.cols), to(m1 - 1, g.rows, g.cols);
    const auto row = [&](int64_t n, int64_t h) { return n * g.h + most(0, least(g.h, h)); };
    const int64_t row0 = row(from.n, from.i * g.step_h + g.taps[0].dh);
    const int64_t row1 = row(to.n, to.i * g.step_h + g.taps[g.tap_count - 1].dh + 1);
    // The images follow one another, so the band is one run of pixels.
    const int64_t channel = group * g.depth;
    const float* in = g.in + row0 * g.in_h + channel;
    for (int64_t pixel = 0; pixel < (row1 - row0) * g.w; ++pixel)
        normalise_channels<Relu>(g.line, channel, in + pixel * g.in_w, band + pixel * g.depth, g.depth);
    const int64_t in_h = g.w * g.depth;
    return {band - row0 * in_h, g.h * in_h, in_h, g.depth, 0, 0};
}

// The item's input on its line, in `band`; with one_each it comes there later.
inline Source normalised(const GatherConv& g, int64_t group, int64_t m0, int64_t m1, int64_t mr,
                         bool one_block, float* band) {
    const int64_t step = band_step(g);
    if (one_each(g)) return {band, 0, 0, 0, one_block ? 0 : mr * step, step};
    return g.line.relu ? fill_band<true>(g, group, m0, m1, band) : fill_band<false>(g, group, m0, m1, band);
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
