// M = V U: one GEMM for each component of a block of tiles.
#pragma once

#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/winograd_block.h"

namespace fastconv::FC_ISA_NS {
namespace {

// What the microkernel fetches into L2 while it computes: the next panel of U, `step` floats each step of the
// reduction, and V for the next call.
struct Ahead {
    const float* from;
    int64_t step;
    const float* v;  // of the next call
};
// The error of a sum grows as the root of its length; with 6x6 tiles it would pass 5e-6 at 128 channels. A
// sum for each 64 of them, and the sum of those, keeps it below 4e-6 at 512. 0: one sum.
template <int T>
constexpr int64_t kSumDepth = T == 6 ? 64 : 0;
constexpr int64_t kVDistance = 4;  // vectors of channels from the fetch of V to its use

// m[i][j] (+)= sum over c < depth of v(c)[i] * u[c][j]; v and m as TileBlock has them, u with rows of NV
// vectors.
template <int T, int MR, int NV>
void gemm_tile(const float* v, int64_t depth, const float* u, float* m, bool add, Ahead ahead) {
    vf acc[MR][NV];
    unrolled<MR, NV>([&](auto i, auto j) FC_INLINE {
        acc[i][j] = !kSumDepth<T> && add ? load(m + i * kNR + j * VL) : zero();
    });
    const auto step = [&](auto c) FC_INLINE {
        vf b[NV];
        unrolled<NV>([&](auto j) FC_INLINE { b[j] = load(u + j * VL); });
        unrolled<MR>([&](auto i) FC_INLINE {
            const vf x = set1(v[i * VL + c]);
            unrolled<NV>([&](auto j) FC_INLINE { accumulate(acc[i][j], x, b[j]); });
        });
        u += NV * VL;
        // One at a time: a burst would keep the loads waiting.
        __builtin_prefetch(ahead.from, 0, 2);
        ahead.from += ahead.step;
    };
    const int64_t chunks = depth / VL, distance = least(kVDistance, chunks);
    const float* fetch = v + distance * kVChunk<T>;
    for (int64_t at = chunks; at > 0; --at) {
        if (at == distance) fetch = ahead.v;
        unrolled<MR>([&](auto i) FC_INLINE { __builtin_prefetch(fetch + i * VL, 0, 3); });
        fetch += kVChunk<T>;
        const float* const next = v + kVChunk<T>;
        for (int k = 0; k < VL; k += 4, v += 4) unrolled<4>(step);
        v = next;
    }
    for (int64_t c = depth % VL; c > 0; --c, ++v) step(Index<0>{});
    unrolled<MR, NV>([&](auto i, auto j) FC_INLINE {
        float* const to = m + i * kNR + j * VL;
        store(to, kSumDepth<T> && add ? load(to) + acc[i][j] : acc[i][j]);
    });
}

using GemmTile = void (*)(const float*, int64_t, const float*, float*, bool, Ahead);

template <int T, int NV>
inline GemmTile gemm_of_rows(int64_t rows) {
    switch (rows) {
        case 1:
            return &gemm_tile<T, 1, NV>;
        case 2:
            return &gemm_tile<T, 2, NV>;
        case 3:
            return &gemm_tile<T, 3, NV>;
        case 4:
            return &gemm_tile<T, 4, NV>;
        case 5:
            return &gemm_tile<T, (kMR < 5 ? kMR : 5), NV>;
        default:
            return &gemm_tile<T, kMR, NV>;
    }
}
template <int T>
inline GemmTile gemm_for(int64_t rows, int nv) {
    switch (nv) {
        case 1:
            return gemm_of_rows<T, 1>(rows);
#if defined(FC_ISA_AVX512)
        case 3:
            return gemm_of_rows<T, 3>(rows);
        case 4:
            return gemm_of_rows<T, 4>(rows);
#endif
        default:
            return gemm_of_rows<T, 2>(rows);
    }
}

// Channels [first, first + count) of the reduction.
struct Depth {
    int64_t all, first, count;
};

// M (+)= V U for output blocks [first, last) of one block of tiles. `u` is U of block `first`.
template <int T>
void multiply(const TileBlock<T>& block, const float* v, Depth depth, const float* u, int64_t component,
              const WidthBlocks& widths, int64_t first, int64_t last, float* m, LineWalk<T>* next_in,
              LineWalk<T>* out) {
    const int64_t v_tile = vectors_of(depth.all) * kVChunk<T>, row_tiles = ceil_div(block.count, kMR);
    const int64_t blocks = last - first, parts = kSumDepth<T> ? ceil_div(depth.count, kSumDepth<T>) : 1;
    const int64_t end = kComponents<T> * blocks * parts;
    v += depth.first / VL * kVChunk<T>;
    // U that stays in L2 from block to block needs no prefetch.
    const bool far = kComponents<T> * component > kL2Floats;
    const int64_t calls = end * row_tiles;
    const int64_t in_lines = next_in ? ceil_div(next_in->lines(), calls) : 0;
    const int64_t out_lines = out ? ceil_div(out->lines(), calls) : 0;
    // One component, block of outputs and part of the reduction.
    struct Panel {
        int xi;
        int64_t block, part, depth;
        int nv;
        const float *u, *v;
    };
    const auto panel = [&](int64_t i) {
        Panel p{};
        p.xi = static_cast<int>(i / parts / blocks);
        p.block = i / parts % blocks, p.part = i % parts;
        const int64_t from = p.part * kSumDepth<T>;
        p.depth = kSumDepth<T> ? least(kSumDepth<T>, depth.count - from) : depth.count;
        p.nv = widths.nv(first + p.block);
        p.u = u + p.xi * component +
              (widths.first(first + p.block) - widths.first(first)) * VL * depth.count + from * p.nv * VL;
        p.v = v + from / VL * kVChunk<T> + p.xi * kVStep;
        return p;
    };
    Panel next = panel(0);
    for (int64_t i = 0; i < end; ++i) {
        const Panel now = next;
        next = panel(least(i + 1, end - 1));
        const int64_t rows = block.rows(now.xi), tiles = ceil_div(rows, kMR);
        // Of the next panel each row tile fetches its part, the same number of floats each step.
        const int64_t floats = far && i + 1 < end ? next.nv * VL * next.depth : 0;
        const int64_t part = ceil_div(ceil_div(floats, most(1, tiles)), now.depth);
        for (int64_t r = 0; r < tiles; ++r) {
            if (in_lines) next_in->template fetch<false>(in_lines);
            if (out_lines) out->template fetch<true>(out_lines);
            const float* const mine = now.v + r * v_tile;
            gemm_for<T>(least(kMR, rows - r * kMR), now.nv)(
                mine, now.depth, now.u, m + (now.block * row_tiles + r) * kMChunk<T> + now.xi * kMStep<T>,
                depth.first > 0 || now.part > 0,
                {next.u + r * part * now.depth, part, r + 1 < tiles ? mine + v_tile : next.v});
        }
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
