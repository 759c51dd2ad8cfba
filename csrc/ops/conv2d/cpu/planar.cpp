// The kernels of planar.h.
#include "ops/conv2d/planar.h"

#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/prefetch.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Vectors of a tile of MR outputs: MR * NV sums, and the fewer of NV vectors and MR weights, fit the
// registers; NV places want general registers.
#if defined(FC_ISA_AVX512)
constexpr int vectors_for(int mr) { return mr <= 3 ? 8 : mr == 4 ? 6 : mr <= 6 ? 4 : 3; }
#else
constexpr int vectors_for(int mr) {
    return mr == 1 ? 6 : mr == 2 ? 5 : mr == 3 ? 4 : mr == 4 ? 3 : mr <= 6 ? 2 : 1;
}
#endif
constexpr int kMostVectors = 8;

struct PlanarTile {
    const float* band;
    const PlanarVector* vectors;
    int64_t count;  // of vectors; fewer than a tile's: the last is computed again
    const int64_t* offsets;
    int64_t steps;
    const float* weight;
    const float* bias;
    float* out;
    int64_t out_c;
};

template <int MR>
void tile(const PlanarTile& t) {
    constexpr int NV = vectors_for(MR);
    const float* in[NV];
    vf acc[MR][NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
        const PlanarVector& vector = t.vectors[least(v, t.count - 1)];
        in[v] = t.band + vector.in;
        // The results' lines arrive while the sums are made.
        for (int i = 0; i < MR; ++i) __builtin_prefetch(t.out + vector.out + i * t.out_c, 1, 3);
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
        const vf start = t.bias ? set1(t.bias[i]) : zero();
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[i][v] = start;
    }
    const float* weight = t.weight;
    for (const int64_t *at = t.offsets, *end = at + t.steps; at < end; ++at, weight += MR) {
        const int64_t offset = *at;
        if constexpr (MR <= NV) {
            vf w[MR];
#pragma GCC unroll 8
            for (int i = 0; i < MR; ++i) w[i] = once(set1(weight[i]));
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) {
                const vf x = once(load(in[v] + offset));
#pragma GCC unroll 8
                for (int i = 0; i < MR; ++i) acc[i][v] = fma(x, w[i], acc[i][v]);
            }
        } else {
            vf x[NV];
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) x[v] = once(load(in[v] + offset));
#pragma GCC unroll 8
            for (int i = 0; i < MR; ++i) {
                const vf w = once(set1(weight[i]));
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) acc[i][v] = fma(x[v], w, acc[i][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
        const PlanarVector& vector = t.vectors[least(v, t.count - 1)];
        const Tail lanes = tail(vector.count);
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) store(t.out + vector.out + i * t.out_c, acc[i][v], lanes);
    }
}

void run_tile(int64_t mr, const PlanarTile& t) {
    static constexpr void (*tiles[])(const PlanarTile&) = {&tile<1>, &tile<2>, &tile<3>, &tile<4>,
                                                           &tile<5>, &tile<6>, &tile<7>, &tile<8>};
    tiles[mr - 1](t);
}

// to[phase][t] = from[t * PH + phase - lead]; the row in a frame of zeros, split into its phases.
template <int PH>
void split_row(const float* from, int64_t step, int64_t w, int64_t lead, int64_t pitch, float* to) {
    for (int phase = 0; phase < PH; ++phase, to += pitch) {
        // Elements whose source lies inside.
        const int64_t t0 = lead > phase ? least(pitch, (lead - phase + PH - 1) / PH) : 0;
        const int64_t inside = w + lead - phase;
        const int64_t t1 = inside <= 0 ? t0 : most(t0, least(pitch, (inside + PH - 1) / PH));
        zero_floats(to, t0);
        zero_floats(to + t1, pitch - t1);
        const float* source = from + (phase - lead) * step;
        if (step == 1 && PH == 1)
            copy_floats(to + t0, source + t0, t1 - t0);
        else if (step == 1)
            for (int64_t t = t0; t < t1; ++t) to[t] = source[t * PH];
        else
            for (int64_t t = t0; t < t1; ++t) to[t] = source[t * PH * step];
    }
}

void split_row(const float* from, int64_t step, int64_t w, int64_t lead, int64_t phases, int64_t pitch,
               float* to) {
    switch (phases) {
        case 1:
            return split_row<1>(from, step, w, lead, pitch, to);
        case 2:
            return split_row<2>(from, step, w, lead, pitch, to);
        case 3:
            return split_row<3>(from, step, w, lead, pitch, to);
        default:
            return split_row<4>(from, step, w, lead, pitch, to);
    }
}

// Input rows of output rows [i0, i0 + rows) of a band.
void fill_band(const PlanarConv& g, int64_t n, int64_t group, int64_t i0, int64_t rows, float* band) {
    const int64_t row_floats = g.phases * g.pitch, plane = g.band_rows * row_floats;
    const int64_t needed = g.band_rows - (g.band - rows) * g.row_step, h0 = i0 * g.row_step + g.low_h;
    const float* image = g.in + n * g.in_n + group * g.depth * g.in_c;
    for (int64_t e = 0; e < needed; ++e) {
        const int64_t h = h0 + e;
        float* to = band + e * row_floats;
        if (h < 0 || h >= g.h) {
            for (int64_t c = 0; c < g.depth; ++c) zero_floats(to + c * plane, row_floats);
        } else if (g.in_w == 1 || g.depth < 4 || g.phases > 1) {
            for (int64_t c = 0; c < g.depth; ++c)
                split_row(image + c * g.in_c + h * g.in_h, g.in_w, g.w, -g.low_w, g.phases, g.pitch,
                          to + c * plane);
        } else {
            // Channels-last rows: the columns inside the frame are one transposition.
            const int64_t lead = most(0, -g.low_w), first = most(0, g.low_w);
            const int64_t count = most(0, least(g.w - first, g.pitch - lead));
            for (int64_t c = 0; c < g.depth; ++c) {
                zero_floats(to + c * plane, least(lead, g.pitch));
                zero_floats(to + c * plane + lead + count, g.pitch - lead - count);
            }
            transpose_f32(image + h * g.in_h + first * g.in_w, g.in_w, to + lead, plane, count, g.depth);
        }
    }
}

// The classes' results of a band, each pixel to its place.
void place(const PlanarConv& g, int64_t n, int64_t group, int64_t i0, const float* piece) {
    const int64_t row = g.piece_row(), plane = g.width * g.band * row;
    const bool pairs = g.stride_w == 2 && g.out_w == 1 && g.class_count % 2 == 0;
    for (int64_t k = 0; k < g.class_count; k += pairs ? 2 : 1) {
        const PlanarClass& c = g.classes[k];
        const int64_t rows = least(g.band, c.rows - i0), step = g.stride_w * g.out_w;
        if (g.out_c == 1 && g.width > 4) {
            for (int64_t i = 0; i < rows; ++i)
                transpose_f32(piece + k * plane + i * row, g.band * row,
                              g.out + n * g.out_n + group * g.width +
                                  ((i0 + i) * g.stride_h + c.residue_h) * g.out_h + c.residue_w * g.out_w,
                              step, g.width, c.cols);
            continue;
        }
        for (int64_t o = 0; o < g.width; ++o)
            for (int64_t i = 0; i < rows; ++i) {
                const float* from = piece + k * plane + (o * g.band + i) * row;
                float* to = g.out + n * g.out_n + (group * g.width + o) * g.out_c +
                            ((i0 + i) * g.stride_h + c.residue_h) * g.out_h + c.residue_w * g.out_w;
                if (!pairs) {
                    for (int64_t j = 0; j < c.cols; ++j) to[j * step] = from[j];
                    continue;
                }
                // Both residues of a row at once.
                const int64_t both = g.classes[k + 1].cols;
                for (int64_t j = 0; j < both; ++j) {
                    to[2 * j] = from[j];
                    to[2 * j + 1] = from[plane + j];
                }
                if (c.cols > both) to[2 * both] = from[both];
            }
    }
}

}  // namespace

int64_t planar_lanes() { return VL; }

void planar_run(const PlanarConv& g, float* scratch, int team) {
    const int64_t bands = ceil_div(g.rows, g.band), blocks = g.blocks();
    int64_t work = 1;
    for (int64_t k = 0; k < g.class_count; ++k)
        work += g.classes[k].steps * g.classes[k].cols * g.band * g.width;
    parallel_for(
        g.n * g.groups * bands, 100000 / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            float* band = scratch + worker * (g.band_floats() + g.piece_floats());
            float* piece = band + g.band_floats();
            for (int64_t item = begin; item < end; ++item) {
                const int64_t n = item / bands / g.groups, group = item / bands % g.groups;
                const int64_t i0 = item % bands * g.band, band_rows = least(g.band, g.rows - i0);
                fill_band(g, n, group, i0, band_rows, band);
                for (int64_t k = 0; k < g.class_count; ++k) {
                    const PlanarClass& c = g.classes[k];
                    const int64_t count = most(0, least(g.band, c.rows - i0)) * c.row_vectors;
                    const int64_t out_c = g.direct ? g.out_c : g.band * g.piece_row();
                    float* out = g.direct ? g.out + n * g.out_n + group * g.width * g.out_c + i0 * g.out_h
                                          : piece + k * g.width * g.band * g.piece_row();
                    const int step = vectors_for(static_cast<int>(ceil_div(g.width, blocks)));
                    for (int64_t v = 0; v < count; v += step)
                        for (int64_t b = 0; b < blocks; ++b) {
                            const int64_t o0 = b * g.width / blocks, o1 = (b + 1) * g.width / blocks;
                            const float* bias = g.bias ? g.bias + group * g.width + o0 : nullptr;
                            const float* weight = c.weight + (group * g.width + o0) * c.steps;
                            // A shorter block's tile may take more vectors than are left for the others.
                            run_tile(o1 - o0, {band, c.vectors + v, least(step, count - v), c.offsets,
                                               c.steps, weight, bias, out + o0 * out_c, out_c});
                        }
                }
                if (!g.direct) place(g, n, group, i0, piece);
            }
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
