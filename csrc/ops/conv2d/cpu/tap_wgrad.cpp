// The kernels of tap_wgrad.h.
#include "ops/conv2d/tap_wgrad.h"

#include "cpu/gemm/blocking.h"
#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/prefetch.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Sums of a tile of runs. Registers of AVX2 hold too few of them to be worth it.
constexpr int kTapRun = VL == 16 ? 15 : 3;

struct TapTile {
    const float* band;
    const int64_t* offsets;
    int64_t rows, cols;     // of pixels
    int64_t a_row, a_step;  // elements between them in the band
    const float* dy;
    int64_t dy_row, dy_step;
    int64_t columns;  // (NV - 1) * VL < columns <= NV * VL
    float* sums;      // [tap][NV * VL]
};

// acc[i][j] += x(i) * dy[j] for one pixel.
template <int MR, int NV>
inline void step(const float* const (&a)[MR], int64_t at, const float* dy, Tail last, vf (&acc)[MR][NV]) {
    vf b[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV - 1; ++j) b[j] = once(load(dy + j * VL));
    b[NV - 1] = once(load(dy + (NV - 1) * VL, last));
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
        const vf x = set1(a[i][at]);
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, b[j], acc[i][j]);
    }
}

template <int MR, int NV>
void tile(const TapTile& t) {
    // One vector of columns gives too few sums for two FMA units: even and odd pixels have their own.
    constexpr int kSets = NV == 1 ? 2 : 1;
    const Tail last = tail(t.columns - (NV - 1) * VL);
    vf acc[kSets][MR][NV];
    const float* a[MR];
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
        a[i] = t.band + t.offsets[i];
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) {
            acc[0][i][j] = load(t.sums + (i * NV + j) * VL);
            if (kSets == 2) acc[kSets - 1][i][j] = zero();
        }
    }
    for (int64_t row = 0; row < t.rows; ++row) {
        const float *dy = t.dy + row * t.dy_row, *end = dy + t.cols * t.dy_step;
        int64_t at = row * t.a_row;
        if (kSets == 2)
            for (const float* pairs = end - t.dy_step; dy < pairs; dy += 2 * t.dy_step, at += 2 * t.a_step) {
                step<MR, NV>(a, at, dy, last, acc[0]);
                step<MR, NV>(a, at + t.a_step, dy + t.dy_step, last, acc[kSets - 1]);
            }
        for (; dy < end; dy += t.dy_step, at += t.a_step) step<MR, NV>(a, at, dy, last, acc[0]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j)
            store(t.sums + (i * NV + j) * VL,
                  kSets == 2 ? acc[0][i][j] + acc[kSets - 1][i][j] : acc[0][i][j]);
}

// The same for P runs of L taps that lie side by side in the band, and one vector of columns: a run has one
// pointer, so that a load of dy serves as many taps as there are registers for sums, and tiles start half as
// often. (Ten pixels a row of eight taps each spent a third of their time between rows.)
template <int P, int L>
void run_tile(const TapTile& t) {
    const Tail last = tail(t.columns);
    vf acc[P][L];
    const float* a[P];
    unrolled<P>([&](auto p) FC_INLINE {
        a[p] = t.band + t.offsets[p * L];
        unrolled<L>([&](auto i) FC_INLINE { acc[p][i] = load(t.sums + (p * L + i) * VL); });
    });
    for (int64_t row = 0; row < t.rows; ++row) {
        const float *dy = t.dy + row * t.dy_row, *end = dy + t.cols * t.dy_step;
        for (int64_t at = row * t.a_row; dy < end; dy += t.dy_step, at += t.a_step) {
            const vf b = once(load(dy, last));
            unrolled<P>([&](auto p) FC_INLINE {
                unrolled<L>([&](auto i) FC_INLINE { accumulate_from(acc[p][i], a[p] + at + i, b); });
            });
        }
    }
    unrolled<P>([&](auto p) FC_INLINE {
        unrolled<L>([&](auto i) FC_INLINE { store(t.sums + (p * L + i) * VL, acc[p][i]); });
    });
}

using Tile = void (*)(const TapTile&);

template <int P, int L>
Tile pick_run(int64_t length) {
    if constexpr (L > 1)
        if (length < L) return pick_run<P, L - 1>(length);
    return &run_tile<P, L>;
}
Tile pick_run(int64_t runs, int64_t length) {
    constexpr int kMost = kTapRun;
    return runs == 1   ? pick_run<1, kMost>(length)
           : runs == 2 ? pick_run<2, kMost / 2>(length)
                       : pick_run<3, kMost / 3>(length);
}

template <int NV>
Tile of_rows(int64_t rows) {
    constexpr int most = rows_for(NV);
    static constexpr Tile tiles[] = {&tile<1, NV>,
                                     &tile<2, NV>,
                                     &tile<3, NV>,
                                     &tile<4, NV>,
                                     &tile<(most < 5 ? most : 5), NV>,
                                     &tile<(most < 6 ? most : 6), NV>,
                                     &tile<(most < 7 ? most : 7), NV>,
                                     &tile<most, NV>};
    return tiles[rows - 1];
}

Tile pick(int64_t rows, int64_t nv) {
    switch (nv) {
        case 1:
            return of_rows<1>(rows);
#if defined(FC_ISA_AVX512)
        case 3:
            return of_rows<3>(rows);
        case 4:
            return of_rows<4>(rows);
#endif
        default:
            return of_rows<2>(rows);
    }
}

// Copies `count` rows of `columns` values, which lie from_step and to_step apart.
void copy_rows(const float* from, int64_t from_step, int64_t count, int64_t columns, float* to,
               int64_t to_step) {
    if (from_step == columns && to_step == columns) return copy_floats(to, from, count * columns);
    const int64_t whole = columns / VL * VL;
    const Tail rest = tail(columns - whole);
    for (; count > 0; --count, from += from_step, to += to_step) {
        for (int64_t c = 0; c < whole; c += VL) store(to + c, load(from + c));
        if (whole < columns) store(to + whole, load(from + whole, rest), rest);
    }
}

// The input rows of output rows [p0, p0 + rows) of image n and a group's channels, in a frame of zeros:
// planes (NCHW) or pixels.
void fill_band(const TapWgrad& g, int64_t group, int64_t n, int64_t p0, int64_t rows, float* band) {
    const int64_t planes = g.nchw ? g.c : 1, pixel = g.nchw ? 1 : g.band_channels(),
                  row_floats = g.band_cols * pixel;
    const int64_t step = g.nchw ? 1 : g.c;
    const int64_t needed = g.band_rows - (g.band - rows) * g.stride_h, h0 = p0 * g.stride_h - g.pad_h;
    const int64_t lead = g.pad_w * pixel, inside = least(g.w * pixel, row_floats - lead);
    for (int64_t plane = 0; plane < planes; ++plane)
        for (int64_t e = 0; e < needed; ++e) {
            float* to = band + (plane * g.band_rows + e) * row_floats;
            const int64_t h = h0 + e;
            if (h < 0 || h >= g.h || inside <= 0) {
                zero_floats(to, row_floats);
                continue;
            }
            zero_floats(to, lead);
            copy_rows(g.x + ((n * planes + plane) * g.h + h) * g.w * step + group * pixel, step,
                      inside / pixel, pixel, to + lead, pixel);
            zero_floats(to + lead + inside, row_floats - lead - inside);
        }
}

// Taps [first, first + runs * length) of a tile.
struct Runs {
    int64_t first, runs, length;
};

// How taps are cut into tiles of runs: several filter rows, or a piece of one.
struct RunCut {
    int64_t run, rows, pieces, tiles;
    explicit RunCut(const TapWgrad& g) : run(g.run), rows(g.run ? g.taps / g.run : 0) {
        pieces = ceil_div(run, kTapRun);
        tiles = pieces > 1 ? rows * pieces : run ? ceil_div(rows, least(3, kTapRun / run)) : 0;
    }
    Runs tile(int64_t at) const {
        if (pieces > 1) {
            const int64_t piece = at % pieces, from = piece * run / pieces;
            return {at / pieces * run + from, 1, (piece + 1) * run / pieces - from};
        }
        const int64_t row = at * rows / tiles;
        return {row * run, (at + 1) * rows / tiles - row, run};
    }
};

}  // namespace

int64_t tap_wgrad_run_outputs() { return VL == 16 ? VL : 0; }

TapWgradSizes tap_wgrad_sizes(const TapWgrad& g) {
    const int64_t width = ceil_div(g.k / g.groups, VL) * VL;
    return {g.splits * g.groups * g.taps * width,
            g.band_floats() + (g.nchw || g.apart ? g.band * g.q * width : 0)};
}

void tap_wgrad_run(const TapWgrad& g, float* partial, float* scratch, float* dweight, int team) {
    const int64_t outputs = g.k / g.groups, inputs = g.c / g.groups;
    const int64_t vectors = ceil_div(outputs, VL), blocks = ceil_div(vectors, kMaxNV), width = vectors * VL;
    const int64_t filter = g.taps * width, size = g.groups * filter, mine = tap_wgrad_sizes(g).scratch;
    const int64_t mr = rows_for(static_cast<int>(ceil_div(vectors, blocks)));
    const RunCut runs(g);
    const int64_t tap_tiles = g.run ? runs.tiles : ceil_div(g.taps, mr), parts = g.parts();
    const bool far = parts == 1 && g.n * (g.c * g.h * g.w + g.k * g.p * g.q) > kNear && !g.nchw;
    const bool panels = g.nchw || g.apart;
    const int64_t ld = panels ? width : g.k, pixel = g.nchw ? 1 : g.band_channels();
    parallel_for(
        g.splits * parts, 1,
        [&](int64_t begin, int64_t end, int worker) {
            float *band = scratch + worker * mine, *panel = band + g.band_floats();
            for (int64_t item = begin; item < end; ++item) {
                const int64_t split = item / parts, group0 = item % parts * g.together;
                const int64_t group1 = least(g.groups, group0 + g.together);
                float* const sums = partial + split * size;
                zero_floats(sums + group0 * filter, (group1 - group0) * filter);
                const int64_t row1 = (split + 1) * g.n * g.p / g.splits;
                for (int64_t row = split * g.n * g.p / g.splits; row < row1;) {
                    const int64_t n = row / g.p, p0 = row % g.p;
                    const int64_t rows = least(least(g.band, g.p - p0), row1 - row);
                    const float* const all = g.dy + row * g.q * g.k;
                    const float *next = all + rows * g.q * g.k,
                                *after = g.dy + least(row + 2 * rows, g.n * g.p) * g.q * g.k;
                    Ahead<false> ahead{next, next, next, after, 0};
                    if (far) ahead.plan((group1 - group0) * blocks * tap_tiles);
                    for (int64_t group = group0; group < group1; ++group) {
                        if (g.apart || group == 0) fill_band(g, g.apart ? group : 0, n, p0, rows, band);
                        if (g.nchw)
                            transpose_f32(g.dy + (n * g.k * g.p + p0) * g.q, g.p * g.q, panel, width, g.k,
                                          rows * g.q);
                        else if (panels)
                            copy_rows(all + group * outputs, g.k, rows * g.q, outputs, panel, width);
                        const float* dy = panels ? panel : all + group * outputs;
                        for (int64_t i = 0; i < blocks * tap_tiles; ++i) {
                            const int64_t block = i / tap_tiles, at = i % tap_tiles;
                            const int64_t v0 = block * vectors / blocks, v1 = (block + 1) * vectors / blocks;
                            const Runs of = g.run ? runs.tile(at) : Runs{};
                            const int64_t t0 = g.run ? of.first : at * g.taps / tap_tiles;
                            const Tile kernel = g.run ? pick_run(of.runs, of.length)
                                                      : pick((at + 1) * g.taps / tap_tiles - t0, v1 - v0);
                            ahead.step();
                            kernel({band + (g.apart ? 0 : group * inputs), g.offsets + t0, rows, g.q,
                                    g.stride_h * g.band_cols * pixel, g.stride_w * pixel, dy + v0 * VL,
                                    g.q * ld, ld, least(outputs, v1 * VL) - v0 * VL,
                                    sums + group * filter + g.taps * v0 * VL + t0 * (v1 - v0) * VL});
                        }
                    }
                    row += rows;
                }
            }
        },
        team);
    for (int64_t split = 1; split < g.splits; ++split)
        for (int64_t i = 0; i < size; i += VL)
            store(partial + i, load(partial + i) + load(partial + split * size + i));
    // From [tap][output] to the weights' order.
    const int64_t planes = g.by_pixel ? inputs : 1, run = g.by_pixel ? g.filter : g.taps;
    for (int64_t b = 0; b < g.groups * blocks; ++b) {
        const int64_t group = b / blocks, block = b % blocks;
        const int64_t v0 = block * vectors / blocks, v1 = (block + 1) * vectors / blocks,
                      ld_sums = (v1 - v0) * VL;
        for (int64_t c = 0; c < planes; ++c)
            transpose_f32(partial + group * filter + g.taps * v0 * VL + c * ld_sums, planes * ld_sums,
                          dweight + (group * outputs + v0 * VL) * g.taps + c * run, g.taps, run,
                          least(outputs, v1 * VL) - v0 * VL);
    }
}

}  // namespace fastconv::FC_ISA_NS
