// fprop and dgrad of strips.h.
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/strip_band.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Vectors of a tile: as many sums as keep two FMA units of latency 4 busy, and each a general register for
// its place.
constexpr int kTile = 8;

struct StripTile {
    const float* band;
    const StripVector* vectors;
    int64_t count;  // of vectors; fewer than a tile's: the last is computed again
    const int64_t* offsets;
    int64_t steps;
    const float* weight;
    const float* bias;
    float* out;
    int64_t lanes;  // that count, of each vector
};

template <int NV>
void tile(const StripTile& t) {
    const float* in[NV];
    vf acc[NV];
    const vf start = load(t.bias);
    unrolled<NV>([&](auto v) FC_INLINE {
        const StripVector& vector = t.vectors[least(v, t.count - 1)];
        in[v] = t.band + vector.in;
        __builtin_prefetch(t.out + vector.out, 1, 3);
        acc[v] = start;
    });
    const float* weight = t.weight;
    for (const int64_t *at = t.offsets, *end = at + t.steps; at < end; ++at, weight += VL) {
        const int64_t offset = *at;
        const vf w = load(weight);
        unrolled<NV>([&](auto v) FC_INLINE { acc[v] = fma(load(in[v] + offset), w, acc[v]); });
    }
    unrolled<NV>([&](auto v) FC_INLINE {
        const StripVector& vector = t.vectors[least(v, t.count - 1)];
        store(t.out + vector.out, acc[v], tail(least(t.lanes, vector.count)));
    });
}

void run_tiles(StripTile t, int64_t count) {
    for (; count > 0; count -= kTile, t.vectors += kTile) {
        t.count = least(count, kTile);
        t.count > 4 ? tile<kTile>(t) : t.count > 2 ? tile<4>(t) : tile<2>(t);
    }
}

// Output rows [i0, i0 + g.band) of every class.
void run_band(const StripConv& g, const LanePick& pick, int64_t n, int64_t block, int64_t i0, float* band) {
    const int64_t channels = g.channels_out();
    float* piece = band + g.band_floats();
    float bias[VL] = {};
    for (int64_t l = 0; g.bias && l < pick.count(); ++l)
        bias[l] = g.bias[g.flat() ? l % channels : block * VL + l];
    for (int64_t k = 0; k < g.class_count; ++k) {
        const StripClass& c = g.classes[k];
        const int64_t rows = least(g.band, c.rows - i0);
        const int64_t pixel = (n * g.out_h + i0 * g.stride_h + c.residue_h) * g.out_w + c.residue_w;
        float* out = g.out + block * VL + pixel * channels;
        StripTile t{band, c.vectors, 0,           c.offsets, c.steps, c.weight + block * c.steps * VL,
                    bias, out,       pick.count()};
        if (!g.scattered()) {
            run_tiles(t, most(0, rows) * c.row_vectors);
            continue;
        }
        t.out = piece;
        for (int64_t i = 0; i < rows; ++i, out += g.stride_h * g.out_w * channels) {
            run_tiles(t, c.row_vectors);
            t.vectors += c.row_vectors;
            for (int64_t j = 0; j < c.cols; ++j)
                store(out + j * g.stride_w * channels, load(piece + j * channels), tail(channels));
        }
    }
}

}  // namespace

int64_t strip_lanes() { return VL; }

void strip_run(const StripConv& g, float* scratch, int team) {
    const int64_t blocks = g.blocks(), chunks = g.chunks();
    int64_t work = g.band_floats();
    for (int64_t k = 0; k < g.class_count; ++k)
        work += g.classes[k].steps * g.classes[k].row_vectors * g.band * VL;
    parallel_for(
        g.n * chunks * blocks, 250000 / (work * g.chunk) + 1,
        [&](int64_t begin, int64_t end, int worker) {
            float* band = scratch + worker * (g.band_floats() + g.piece_floats());
            for (int64_t item = begin; item < end; ++item) {
                const int64_t n = item / blocks / chunks, block = item % blocks;
                const int64_t first = item / blocks % chunks * g.chunk;
                StripFiller filler(g, block, band);
                for (int64_t b = first; b < least(first + g.chunk, g.bands()); ++b) {
                    filler.fill(n, b * g.band, least(g.band, g.rows - b * g.band), b > first);
                    run_band(g, filler.pick(), n, block, b * g.band, band);
                }
            }
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
