// Winograd's weight gradient: dW = G'[sum over tiles of (A dY A') . (B'dB)]G. Block by block of tiles, both
// operands are transformed; then one GEMM a component, whose reduction runs over the tiles, adds to the sums
// S: [component][output channel][input channel].
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/winograd_block.h"

namespace fastconv::FC_ISA_NS {
namespace {

// s[i][j] (+)= sum over t < rows of a(t)[k0 + i] * b(t)[c0 + j], for MR output channels and NV vectors of
// input channels; both operands as TileBlock lays them.
struct Operands {
    const float* a[kMR];     // tile 0 of each output channel
    const float* b;          // tile 0 of the first vector
    int64_t a_tile, b_tile;  // floats from row tile to row tile
    int64_t rows;
    bool fetch;  // b is not in L1 yet
};

template <int MR, int NV>
void reduce_tile(const Operands& o, float* s, int64_t lds, bool add) {
    vf acc[MR][NV];
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) acc[i][j] = add ? load(s + i * lds + j * VL) : zero();
    const float* a[MR];
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) a[i] = o.a[i];
    const float* b = o.b;
    const auto step = [&](int64_t t) {
        vf v[NV];
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) v[j] = load(b + j * kVChunk + t);
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) {
            const vf x = set1(a[i][t]);
#pragma GCC unroll 4
            for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, v[j], acc[i][j]);
        }
    };
    int64_t rows = o.rows;
    for (; rows >= kMR; rows -= kMR, b += o.b_tile) {
        // The next row tile is as far as the whole channels of this one: no stream that the processor would
        // see.
        if (o.fetch) {
#pragma GCC unroll 4
            for (int j = 0; j < NV; ++j)
#pragma GCC unroll 8
                for (int t = 0; t < kMR; ++t) __builtin_prefetch(b + o.b_tile + j * kVChunk + t * VL, 0, 3);
        }
#pragma GCC unroll 8
        for (int t = 0; t < kMR; ++t) step(t * VL);
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) a[i] += o.a_tile;
    }
    for (int64_t t = 0; t < rows; ++t) step(t * VL);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) store(s + i * lds + j * VL, acc[i][j]);
}

using ReduceTile = void (*)(const Operands&, float*, int64_t, bool);

template <int NV>
inline ReduceTile reduce_of_rows(int64_t rows) {
    switch (rows) {
        case 1:
            return &reduce_tile<1, NV>;
        case 2:
            return &reduce_tile<2, NV>;
        case 3:
            return &reduce_tile<3, NV>;
        case 4:
            return &reduce_tile<4, NV>;
        case 5:
            return &reduce_tile<(kMR < 5 ? kMR : 5), NV>;
        default:
            return &reduce_tile<kMR, NV>;
    }
}
inline ReduceTile reduce_for(int64_t rows, int nv) {
    switch (nv) {
        case 1:
            return reduce_of_rows<1>(rows);
#if defined(FC_ISA_AVX512)
        case 3:
            return reduce_of_rows<3>(rows);
        case 4:
            return reduce_of_rows<4>(rows);
#endif
        default:
            return reduce_of_rows<2>(rows);
    }
}

// dW's nine taps of one vector of input channels from the 36 sums, G'SG.
inline void weight_tile(const float* s, int64_t step, vf (&w)[3][3]) {
    const auto rows = [](const vf(&m)[6], vf(&y)[3]) {
        for (int r = 0; r < 3; ++r) {
            vf sum = zero();
            bool first = true;
#pragma GCC unroll 6
            for (int p = 0; p < 6; ++p) sum = add_scaled(sum, kFilter[p][r], m[p], first);
            y[r] = sum;
        }
    };
    vf half[3][6];
    for (int j = 0; j < 6; ++j) {
        vf m[6], y[3];
        for (int i = 0; i < 6; ++i) m[i] = load(s + (i * 6 + j) * step);
        rows(m, y);
        for (int r = 0; r < 3; ++r) half[r][j] = y[r];
    }
    for (int r = 0; r < 3; ++r) rows(half[r], w[r]);
}

struct Layout {
    TileGrid g;
    WidthBlocks c;  // blocks of input channels
    int64_t x_vectors, y_vectors, x, y, places, sums, component, patch;
    Layout(const WinogradWgrad& p, int64_t tiles)
        : g(p.n, p.output.h, p.output.w),
          c(p.depth),
          x_vectors(vectors_of(p.depth)),
          y_vectors(vectors_of(p.width)) {
        x = v_floats(tiles, p.depth), y = v_floats(tiles, p.width);
        places = ceil_div(tiles, 16) * 16;
        component = p.width * x_vectors * VL + 80;  // not a power of two apart
        sums = kWinogradComponents * component;
        const bool planar = p.input.step_c != 1;
        patch = patch_floats(g, planar);
    }
};

// Tiles a part of a block's transforms.
constexpr int64_t kPart = 2 * kMR;

}  // namespace

WinogradWgradPlan winograd_wgrad_plan(const WinogradWgrad& p) {
    const TileGrid g(p.n, p.output.h, p.output.w);
    WinogradWgradPlan plan{};
    // The operands of a block should stay in L2 where that leaves a reduction long enough to pay for reading
    // and writing the sums (24 of either for 24 vectors of 12 cycles each).
    const int64_t fit = 2 * kL2Floats / (kWinogradComponents * (p.depth + p.width)) / 12 * 12;
    const int64_t wanted = p.depth * p.width <= 128 * 128 ? 48 : p.depth * p.width <= 256 * 256 ? 96 : 192;
    plan.tiles = most(1, least(g.count, most(fit, wanted)));
    const Layout l(p, plan.tiles);
    plan.shared = static_cast<size_t>(l.x + l.y + l.sums + l.places) * sizeof(float);
    plan.scratch = static_cast<size_t>(l.patch) * sizeof(float);
    return plan;
}

void winograd_wgrad_run(const WinogradWgrad& p, const WinogradWgradPlan& plan, char* shared, char* scratch,
                        int team) {
    const Layout l(p, plan.tiles);
    float* const x = reinterpret_cast<float*>(shared);
    float* const y = x + l.x;
    float* const sums = y + l.y;
    int32_t* const places = reinterpret_cast<int32_t*>(sums + l.sums);
    const int64_t blocks = ceil_div(l.g.count, plan.tiles);
    const int64_t k_tiles = ceil_div(p.width, kMR);
    for (int64_t group = 0; group < p.groups; ++group) {
        const float* const x_in = p.x + group * p.depth * p.input.step_c;
        const float* const y_in = p.dy + group * p.width * p.output.step_c;
        for (int64_t at = 0; at < blocks; ++at) {
            const int64_t tile = l.g.count * at / blocks;
            const TileBlock block(l.g, tile, l.g.count * (at + 1) / blocks - tile, places);
            parallel_for(
                2 * ceil_div(block.count, kPart), 1,
                [&](int64_t begin, int64_t end, int worker) {
                    float* const patch =
                        reinterpret_cast<float*>(scratch + plan.scratch * static_cast<size_t>(worker));
                    for (int64_t item = begin; item < end; ++item) {
                        const int64_t from = item / 2 * kPart, count = least(kPart, block.count - from);
                        const TileBlock part = block.part(from, count);
                        if (item % 2) {
                            const TileReader reader{y_in, p.output, p.width, 0, patch};
                            transform_block<GradientTile<kVStep>>(reader, l.g, part, 0, 0, y);
                        } else {
                            const TileReader reader{x_in, p.input, p.depth, 2, patch};
                            transform_block<InputTile<kVStep>>(reader, l.g, part, p.top, p.left, x);
                        }
                    }
                },
                team);
            parallel_for(
                kWinogradComponents * l.c.count, 1,
                [&](int64_t begin, int64_t end, int) {
                    for (int64_t item = begin; item < end; ++item) {
                        const int xi = static_cast<int>(item / l.c.count);
                        const int64_t b = item % l.c.count;
                        Operands o{};
                        o.b = x + l.c.first(b) * kVChunk + xi * kVStep;
                        o.a_tile = l.y_vectors * kVChunk;
                        o.b_tile = l.x_vectors * kVChunk;
                        o.rows = block.rows(xi);
                        for (int64_t kt = 0; kt < k_tiles; ++kt) {
                            o.fetch = kt == 0;
                            const int64_t k0 = kt * kMR, rows = least(kMR, p.width - k0);
                            for (int64_t i = 0; i < rows; ++i)
                                o.a[i] = y + (k0 + i) / VL * kVChunk + xi * kVStep + (k0 + i) % VL;
                            reduce_for(rows, l.c.nv(b))(
                                o, sums + xi * l.component + k0 * l.x_vectors * VL + l.c.first(b) * VL,
                                l.x_vectors * VL, at > 0);
                        }
                    }
                },
                team);
        }
        parallel_for(
            p.width, 8,
            [&](int64_t begin, int64_t end, int) {
                for (int64_t k = begin; k < end; ++k)
                    for (int64_t at = 0; at < l.x_vectors; ++at) {
                        vf w[3][3];
                        weight_tile(sums + (k * l.x_vectors + at) * VL, l.component, w);
                        float taps[9 * VL];
                        for (int t = 0; t < 9; ++t) store(taps + t * VL, w[t / 3][t % 3]);
                        const int64_t lanes = least(VL, p.depth - at * VL);
                        float* const to = p.dw + ((group * p.width + k) * p.depth + at * VL) * 9;
                        for (int64_t i = 0; i < lanes; ++i)
                            for (int t = 0; t < 9; ++t) to[i * 9 + t] = taps[t * VL + i];
                    }
            },
            team);
    }
}

}  // namespace fastconv::FC_ISA_NS
