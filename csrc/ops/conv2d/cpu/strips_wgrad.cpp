// wgrad of strips.h: the sums of a few steps are held in registers while all vectors of a band pass.
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/strip_band.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int kSteps = 8;

struct StripPass {
    const float* band;
    const float* dy;  // [vector][lane], zeros in the lanes that do not count
    const StripVector* vectors;
    int64_t row_vectors, rows;
    int64_t step;
    const int64_t* offsets;
    float* sums;
};

template <int S>
void pass(const StripPass& t) {
    int64_t offsets[S];
    vf acc[S];
    unrolled<S>([&](auto s) FC_INLINE {
        offsets[s] = t.offsets[s];
        acc[s] = load(t.sums + s * VL);
    });
    const float* dy = t.dy;
    const StripVector* vector = t.vectors;
    for (int64_t i = 0; i < t.rows; ++i) {
        const float* in = t.band + vector->in;
        // What lies behind the end of a row is not multiplied: it may be infinite.
        const int64_t last = vector[t.row_vectors - 1].count, full = t.row_vectors - (last < t.step);
        for (int64_t v = 0; v < full; ++v, dy += VL, in += t.step) {
            const vf d = load(dy);
            unrolled<S>([&](auto s) FC_INLINE { acc[s] = fma(load(in + offsets[s]), d, acc[s]); });
        }
        if (full < t.row_vectors) {
            const vf d = load(dy);
            unrolled<S>([&](auto s)
                            FC_INLINE { acc[s] = fma(load(in + offsets[s], tail(last)), d, acc[s]); });
            dy += VL;
        }
        vector += t.row_vectors;
    }
    unrolled<S>([&](auto s) FC_INLINE { store(t.sums + s * VL, acc[s]); });
}

void run_pass(int64_t steps, const StripPass& t) {
    static constexpr void (*passes[])(const StripPass&) = {&pass<1>, &pass<2>, &pass<3>, &pass<4>,
                                                           &pass<5>, &pass<6>, &pass<7>, &pass<8>};
    passes[steps - 1](t);
}

// sums += what a chunk of image n gives a block of channels.
void add_chunk(const StripConv& g, int64_t n, int64_t chunk, int64_t block, float* band, float* dy,
               float* sums) {
    const StripClass& c = g.classes[0];
    const int64_t channels = g.channels_out(), first = chunk * g.chunk;
    StripFiller filler(g, block, band);
    const int64_t lanes = filler.pick().count();
    for (int64_t b = first; b < least(first + g.chunk, g.bands()); ++b) {
        const int64_t i0 = b * g.band, rows = least(g.band, g.rows - i0);
        filler.fill(n, i0, rows, b > first);
        const float* from = g.dy + (n * g.rows + i0) * c.cols * channels + block * VL;
        for (int64_t v = 0; v < rows * c.row_vectors; ++v) {
            __builtin_prefetch(from + c.vectors[v].out + 8 * channels, 0, 3);
            store(dy + v * VL, load(from + c.vectors[v].out, tail(least(lanes, c.vectors[v].count))));
        }
        for (int64_t s = 0; s < c.steps; s += kSteps)
            run_pass(least(kSteps, c.steps - s),
                     {band, dy, c.vectors, c.row_vectors, rows, g.step, c.offsets + s, sums + s * VL});
    }
}

}  // namespace

void strip_wgrad_run(const StripConv& g, float* partial, float* scratch, int team) {
    const StripClass& c = g.classes[0];
    const int64_t blocks = g.blocks(), chunks = g.n * g.chunks();
    const int64_t filter = c.steps * VL, size = blocks * filter;
    const int64_t panel = g.band * c.row_vectors * VL;
    // A part of the blocks passes over a part of the chunks; all blocks over one chunk before the next, which
    // they so find in L2.
    const int64_t parts = least(blocks, ceil_div(g.items, g.splits));
    parallel_for(
        g.splits * parts, 1,
        [&](int64_t begin, int64_t end, int worker) {
            float* band = scratch + worker * (g.band_floats() + panel);
            float* dy = band + g.band_floats();
            for (int64_t item = begin; item < end; ++item) {
                const int64_t split = item / parts, part = item % parts;
                const int64_t b0 = part * blocks / parts, b1 = (part + 1) * blocks / parts;
                float* sums = partial + split * size;
                zero_floats(sums + b0 * filter, (b1 - b0) * filter);
                for (int64_t k = split * chunks / g.splits; k < (split + 1) * chunks / g.splits; ++k)
                    for (int64_t b = b0; b < b1; ++b)
                        add_chunk(g, k / g.chunks(), k % g.chunks(), b, band, dy, sums + b * filter);
            }
        },
        team);
    parallel_for(
        size / VL, 4096,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t at = begin * VL; at < end * VL; at += VL) {
                vf sum = load(partial + at);
                for (int64_t split = 1; split < g.splits; ++split)
                    sum = fma(load(partial + split * size + at), set1(1.0f), sum);
                store(partial + at, sum);
            }
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
