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

// A row of one class, a vector a column.
struct StripRow {
    const StripClass& c;
    const float* band;
    const float* weight;
    const float* bias;
    float* out;
    int64_t column, pixel;  // floats between columns of the band, and from one output to the next
    Tail lanes;
};

// Columns [q, q + NV) of a row. A run of S steps loads NV + S - 1 columns of the band for NV * S products.
template <int NV>
void columns(const StripRow& t, int64_t q) {
    vf acc[NV];
    float* const out = t.out + q * t.pixel;
    const vf start = load(t.bias);
    unrolled<NV>([&](auto v) FC_INLINE {
        __builtin_prefetch(out + v * t.pixel, 1, 3);
        acc[v] = start;
    });
    const float* const band = t.band + q * t.column;
    const float* weight = t.weight;
    const auto add = [&](auto steps, const float* from) FC_INLINE {
        constexpr int S = decltype(steps)::value;
        vf w[S];
        unrolled<S>([&](auto s) FC_INLINE { w[s] = load(weight + s * VL); });
        unrolled<NV + S - 1>([&](auto j) FC_INLINE {
            const vf x = once(load(from + j * t.column));
            unrolled<S>([&](auto s) FC_INLINE {
                constexpr int v = decltype(j)::value - decltype(s)::value;
                if constexpr (v >= 0 && v < NV) acc[v] = fma(x, w[s], acc[v]);
            });
        });
        weight += S * VL;
    };
    static_assert(kMostRun == 4);
    for (const StripRun *run = t.c.runs, *end = run + t.c.run_count; run < end; ++run) {
        const float* const from = band + run->offset;
        if (run->count == 3)
            add(Index<3>{}, from);
        else if (run->count == 4)
            add(Index<4>{}, from);
        else if (run->count == 2)
            add(Index<2>{}, from);
        else
            add(Index<1>{}, from);
    }
    unrolled<NV>([&](auto v) FC_INLINE { store(out + v * t.pixel, acc[v], t.lanes); });
}

// As many columns as registers hold beside a run's weights.
#if defined(FC_ISA_AVX512)
constexpr int kColumns = 12;
#else
constexpr int kColumns = 8;
#endif

// At least five columns. Two groups of eight rather than one of twelve and one of four or less; the last is
// moved back over columns that are done.
void run_row(const StripRow& t) {
    const int64_t cols = t.c.cols;
    if (cols < 8) return cols == 5 ? columns<5>(t, 0) : cols == 6 ? columns<6>(t, 0) : columns<7>(t, 0);
    int64_t q = 0;
    while (kColumns == 12 && (cols - q == 12 || cols - q > 16)) columns<kColumns>(t, q), q += kColumns;
    for (; q + 8 <= cols; q += 8) columns<8>(t, q);
    if (q < cols) columns<8>(t, cols - 8);
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
        if (g.step == g.column && c.cols >= 5) {
            StripRow row{c, band, t.weight, bias, out, g.column, g.stride_w * channels, tail(pick.count())};
            for (int64_t i = 0; i < rows; ++i) {
                run_row(row);
                row.band += g.row_step * g.band_row();
                row.out += g.stride_h * g.out_w * channels;
            }
            continue;
        }
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
