// M = V U: one GEMM for each component of a block of tiles.
#pragma once

#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/winograd_block.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Channels of the reduction whose U, for one block of outputs, stays in L2 until it is used.
template <int P>
constexpr int64_t kStationaryStep = P == 8 ? 64 : VL;
template <int P>
constexpr int64_t kStationaryDepth = kL2Floats / (P * P * kNR) / kStationaryStep<P> * kStationaryStep<P>;

// The error of a sum grows as the root of its length; with eight points it would pass 5e-6 at 128 channels,
// with six at 1500. A sum for each so many channels, and the sum of those, keeps it below 4e-6. 0: one sum.
template <int P>
inline int64_t sum_depth(int64_t channels) {
    return P == 8 ? 64 : channels > 512 ? kStationaryDepth<P> : 0;
}
constexpr int64_t kVDistance = 4;  // vectors of channels from the fetch of V to its use

// What becomes of m: written, or the first terms of the sum, or added to.
enum class Add { none, terms, sum };

// m[i][j] (+)= sum over c < depth of v(c)[i] * u[c][j]; v and m as TileBlock has them, u with rows of NV
// vectors. Meanwhile it fetches into L2 the next panel of U, `ahead_step` floats each step of the reduction
// from `ahead` on, and V for the next call. Those are three arguments, not a struct: its copy would be a load
// wider than the stores that wrote it.
template <int P, int MR, int NV>
void gemm_tile(const float* v, int64_t depth, const float* u, float* m, Add add, const float* ahead,
               int64_t ahead_step, const float* v_next) {
    vf acc[MR][NV];
    unrolled<MR, NV>([&](auto i, auto j) FC_INLINE {
        acc[i][j] = P != 8 && add == Add::terms ? load(m + i * kNR + j * VL) : zero();
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
        __builtin_prefetch(ahead, 0, 2);
        ahead += ahead_step;
    };
    const int64_t chunks = depth / VL, distance = least(kVDistance, chunks);
    const float* fetch = v + distance * kVChunk<P>;
    for (int64_t at = chunks; at > 0; --at) {
        if (at == distance) fetch = v_next;
        unrolled<MR>([&](auto i) FC_INLINE { __builtin_prefetch(fetch + i * VL, 0, 3); });
        fetch += kVChunk<P>;
        const float* const next = v + kVChunk<P>;
        for (int k = 0; k < VL; k += 4, v += 4) unrolled<4>(step);
        v = next;
    }
    for (int64_t c = depth % VL; c > 0; --c, ++v) step(Index<0>{});
    unrolled<MR, NV>([&](auto i, auto j) FC_INLINE {
        float* const to = m + i * kNR + j * VL;
        store(to, add == Add::sum ? load(to) + acc[i][j] : acc[i][j]);
    });
}

using GemmTile = void (*)(const float*, int64_t, const float*, float*, Add, const float*, int64_t,
                          const float*);

template <int P, int NV>
inline GemmTile gemm_of_rows(int64_t rows) {
    switch (rows) {
        case 1:
            return &gemm_tile<P, 1, NV>;
        case 2:
            return &gemm_tile<P, 2, NV>;
        case 3:
            return &gemm_tile<P, 3, NV>;
        case 4:
            return &gemm_tile<P, 4, NV>;
        case 5:
            return &gemm_tile<P, (kMR < 5 ? kMR : 5), NV>;
        default:
            return &gemm_tile<P, kMR, NV>;
    }
}
template <int P>
inline GemmTile gemm_for(int64_t rows, int nv) {
    switch (nv) {
        case 1:
            return gemm_of_rows<P, 1>(rows);
#if defined(FC_ISA_AVX512)
        case 3:
            return gemm_of_rows<P, 3>(rows);
        case 4:
            return gemm_of_rows<P, 4>(rows);
#endif
        default:
            return gemm_of_rows<P, 2>(rows);
    }
}

// Channels [first, first + count) of the reduction.
struct Depth {
    int64_t all, first, count;
};

// The channels of them that a component has: the first `used` of each `period`, below `end`.
struct Terms {
    int64_t period, used, end;
};
template <int P>
inline Terms terms_of(const WinogradPhases& p, int64_t count, int xi) {
    const Terms all{count, count, count};
    if (!reads_phases(p) || p.channels % VL) return all;
    const bool turned = p.columns_first;
    const int64_t outer = turned ? p.across : p.down, inner = turned ? p.down : p.across;
    const int64_t outer_taps = turned ? p.cols : p.rows, inner_taps = turned ? p.rows : p.cols;
    const int at_outer = turned ? xi % P : xi / P, at_inner = turned ? xi / P : xi % P;
    const int64_t period = inner * p.channels;
    const int64_t end = period * (at_outer == 1 ? full_phases(outer_taps, outer) : outer);
    const int64_t used = at_inner == 1 ? full_phases(inner_taps, inner) * p.channels : period;
    return used == period ? Terms{end, end, end} : Terms{period, used, end};
}
// Whether an output phase has zeros for a component.
template <class F>
inline bool is_zero(const WinogradPhases& p, int64_t phase, int xi) {
    const int64_t a = phase / p.across, b = phase % p.across;
    constexpr int last = F::kTaps - 1;
    return zero_point(phase_row(p, a, 0), phase_row(p, a, last), p.rows) == xi / F::kPoints ||
           zero_point(phase_col(p, b, 0), phase_col(p, b, last), p.cols) == xi % F::kPoints;
}

// M (+)= V U for output blocks [first, last) of one block of tiles. `u` is U of block `first`.
template <class F, class E>
void multiply(const WinogradPhases& phases, const TileBlock<F>& block, const float* v, Depth depth,
              const float* u, int64_t component, const WidthBlocks& widths, int64_t first, int64_t last,
              float* m, LineWalk<F, E>* next_in, LineWalk<F, E>* out) {
    constexpr int P = F::kPoints;
    const int64_t v_tile = vectors_of(depth.all) * kVChunk<P>, row_tiles = ceil_div(block.count, kMR);
    const int64_t sum = sum_depth<P>(depth.all), blocks = last - first;
    const int64_t parts = sum ? ceil_div(depth.count, sum) : 1;
    const Add add = sum ? Add::sum : Add::terms;
    if (blocks == 0) return;
    v += depth.first / VL * kVChunk<P>;
    // U that stays in L2 from block to block needs no prefetch.
    const bool far = F::kComponents * component > kL2Floats;
    const int64_t calls = F::kComponents * blocks * parts * row_tiles;
    const bool zeros = writes_phases(phases);
    const int64_t in_lines = next_in ? ceil_div(next_in->lines(), calls) : 0;
    const int64_t out_lines = out ? ceil_div(out->lines(), calls) : 0;
    // One component, block of outputs and part of the reduction.
    struct Panel {
        int xi;
        int64_t block, from, depth, begin;  // of the period
        Terms terms;
        int nv;
        const float *u, *v;
    };
    const auto place = [&](Panel& p) {
        if (p.from == 0) {
            if (p.block == 0) p.terms = terms_of<P>(phases, depth.count, p.xi);
            if (blocks > 1 || p.xi == 0) p.nv = widths.nv(first + p.block);
        }
        p.depth = p.begin + p.terms.used - p.from;
        if (sum) p.depth = least(sum, p.depth);
        if (zeros && is_zero<F>(phases, (first + p.block) / widths.of_phase, p.xi)) p.depth = 0;
        const int64_t before = blocks > 1 ? widths.first(first + p.block) - widths.first(first) : 0;
        p.u = u + p.xi * component + before * VL * depth.count + p.from * p.nv * VL;
        p.v = v + p.from / VL * kVChunk<P> + p.xi * kVStep;
    };
    const auto advance = [&](Panel p) {
        p.from += p.depth;
        if (p.from == p.begin + p.terms.used) p.from = p.begin += p.terms.period;
        if (p.from >= p.terms.end || p.depth == 0) p.from = p.begin = 0, ++p.block;
        if (p.block == blocks) p.block = 0, ++p.xi;
        if (p.xi < F::kComponents) place(p);
        return p;
    };
    Panel next{};
    place(next);
    while (next.xi < F::kComponents) {
        const Panel now = next;
        next = advance(now);
        const bool more = next.xi < F::kComponents;
        const int64_t rows = block.rows(now.xi), tiles = ceil_div(rows, kMR);
        // Of the next panel each row tile fetches its part, the same number of floats each step.
        int64_t part = 0;
        if (far && more && now.depth)
            part = ceil_div(ceil_div(next.nv * VL * next.depth, most(1, tiles)), now.depth);
        for (int64_t r = 0; r < tiles; ++r) {
            if (in_lines) next_in->template fetch<false>(in_lines);
            if (out_lines) out->template fetch<true>(out_lines);
            const float* const mine = now.v + r * v_tile;
            gemm_for<P>(least(kMR, rows - r * kMR), now.nv)(
                mine, now.depth, now.u, m + (now.block * row_tiles + r) * kMChunk<P> + now.xi * kMStep<P>,
                depth.first > 0 || now.from > 0 ? add : Add::none, next.u + r * part * now.depth, part,
                r + 1 < tiles ? mine + v_tile : next.v);
        }
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
