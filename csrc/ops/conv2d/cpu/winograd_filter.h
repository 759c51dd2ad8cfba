// U = GgG': filters transformed and packed for the microkernel, [component][depth][vectors of a block of
// outputs].
#pragma once

#include "cpu/simd/nine.h"
#include "ops/conv2d/cpu/winograd_block.h"

namespace fastconv::FC_ISA_NS {
namespace {

// All components of VL filters by their taps, to u + component * step.
template <class F, bool kStream>
FC_INLINE inline void filter_tile(const vf (&g)[F::kTaps * F::kTaps], float* u, int64_t step) {
    constexpr int P = F::kPoints, R = F::kTaps;
    vf half[P][R];
    unrolled<R>([&](auto s) FC_INLINE {
        vf t[P];
        filter_1d<F>(g + s, R, t);
        unrolled<P>([&](auto i) FC_INLINE { half[i][s] = t[i]; });
    });
    unrolled<P>([&](auto i) FC_INLINE {
        vf t[P];
        filter_1d<F>(half[i], 1, t);
        unrolled<P>([&](auto j) FC_INLINE {
            if (kStream)
                store_streaming(u + (i * P + j) * step, t[j]);
            else
                store(u + (i * P + j) * step, t[j]);
        });
    });
}

// out[t * VL + lane] = in[lane * step + t] for t < count; lanes from `lanes` on are zero.
template <class E>
inline void gather_lanes(const E* in, int64_t step, int64_t lanes, int64_t count, float* out) {
    int64_t t = 0;
    if (lanes == VL)
        for (; t + VL <= count; t += VL) transpose_tile(in + t, step, out + t * VL, VL);
    for (; t < count; t += VL) {
        float from[VL * VL], to[VL * VL];
        const int64_t some = least(VL, count - t);
        for (int64_t i = 0; i < VL; ++i)
            store(from + i * VL, i < lanes ? load(in + i * step + t, tail(some)) : zero());
        transpose_tile(from, VL, to, VL);
        for (int64_t i = 0; i < some; ++i) store(out + (t + i) * VL, load(to + i * VL));
    }
}

// pack_filters for the phases of a stride, of channels [c0, c1) of x: each has a filter in every phase.
template <class F, bool kStream, class E>
inline void pack_phases(const WinogradWeight& w, const WidthBlocks& widths, int64_t b, int64_t c0, int64_t c1,
                        const E* weight, float* u, int64_t component) {
    constexpr int R = F::kTaps;
    const WinogradPhases& p = w.phases;
    const int64_t nv = widths.nv(b), size = p.rows * p.cols, run = most(1, kMostPhaseTaps / size);
    float taps[kMostPhaseTaps * VL];
    for (int64_t j = 0; j < nv; ++j) {
        const int64_t k = (widths.first(b) + j) * VL, lanes = least(VL, w.width - k);
        for (int64_t c = c0; c < c1; ++c) {
            if ((c - c0) % run == 0)
                gather_lanes(weight + k * w.step_width + c * w.step_depth, w.step_width, lanes,
                             least(run, c1 - c) * size, taps);
            const float* const mine = taps + (c - c0) % run * size * VL;
            for (int64_t d = c; d < w.depth; d += p.channels) {
                const PhaseChannel from = phase_channel(p, d);
                vf g[R * R];
                unrolled<R, R>([&](auto i, auto t) FC_INLINE {
                    const int64_t row = from.row + i * p.down, col = from.col + t * p.across;
                    g[i * R + t] =
                        row < p.rows && col < p.cols ? load(mine + (row * p.cols + col) * VL) : zero();
                });
                filter_tile<F, kStream>(g, u + (d * nv + j) * VL, component);
            }
        }
    }
}

// The same of dgrad, whose phases are output channels: block `b` of each phase, channels [k0, k1) of the
// reduction, to the group's U.
template <class F, bool kStream, class E>
inline void pack_output_phases(const WinogradWeight& w, const WidthBlocks& widths, int64_t b, int64_t k0,
                               int64_t k1, const E* weight, float* u, int64_t component) {
    constexpr int R = F::kTaps;
    const WinogradPhases& p = w.phases;
    const int64_t nv = widths.nv(b), size = p.rows * p.cols, phases = p.down * p.across;
    float taps[(kMostPhaseTaps + 1) * VL];
    store(taps + size * VL, zero());
    for (int64_t k = k0; k < k1; ++k)
        for (int64_t j = 0; j < nv; ++j) {
            const int64_t c = (widths.first(b) + j) * VL, lanes = least(VL, w.of_phase - c);
            const E* const from = weight + k * w.step_depth + c * w.step_width;
            // Rows of filters lie pages apart.
            const E* const next = from + 2 * w.step_depth;
            if (k + 2 < k1)
                for (int64_t at = 0; at < lanes * size; at += kLine<E>) __builtin_prefetch(next + at, 0, 2);
            if (size == 9 && lanes == VL && w.step_width == 9) {
                vf g[9];
                taps_of_filters(from, g);
                unrolled<9>([&](auto t) FC_INLINE { store(taps + t * VL, g[t]); });
            } else {
                gather_lanes(from, w.step_width, lanes, size, taps);
            }
            for (int64_t phase = 0; phase < phases; ++phase) {
                vf g[R * R];
                unrolled<R, R>([&](auto i, auto t) FC_INLINE {
                    const int64_t r = phase_row(p, phase / p.across, i),
                                  s = phase_col(p, phase % p.across, t);
                    const bool has = r >= 0 && r < p.rows && s >= 0 && s < p.cols;
                    g[i * R + t] = load(taps + (has ? r * p.cols + s : size) * VL);
                });
                filter_tile<F, kStream>(
                    g, u + (widths.first(phase * widths.of_phase + b) * w.depth + k * nv + j) * VL,
                    component);
            }
        }
}

// kStream: past the caches, for an array that is larger than they are. Its lines would be read from memory
// only to be overwritten, which took four times as long. U of output block `b` and channels [c0, c1) of the
// reduction, to u (of the block) with `component` floats from one component to the next; `weight` is the
// group's.
template <class F, bool kStream, class E>
inline void pack_filters(const WinogradWeight& w, const WidthBlocks& widths, int64_t b, int64_t c0,
                         int64_t c1, const E* weight, float* u, int64_t component) {
    constexpr int R = F::kTaps, kTaps = R * R;
    const int64_t nv = widths.nv(b);
    // As many filters as lie side by side in the array are read in one go.
    const int64_t run = w.step_depth == kTaps ? VL : 1;
    // Filters that lie pages apart are no stream that the processor would follow: ask for those of a later
    // turn, a few lines with each tile.
    const auto row_of = [&](int64_t c, int64_t j, int64_t lane) {
        return weight + ((widths.first(b) + j) * VL + lane) * w.step_width + c * w.step_depth;
    };
    const int64_t fetch_count = run == 1 ? kTaps * VL : kTaps * run, fetch_ahead = run == 1 ? 3 : 1;
    float taps[kTaps * VL * VL];
    for (int64_t c = c0; c < c1; c += run)
        for (int64_t j = 0; j < nv; ++j) {
            const int64_t k = (widths.first(b) + j) * VL, count = least(run, c1 - c);
            const int64_t lanes = least(VL, w.width - k);
            // Filters of neighbouring outputs may lie one after the other.
            const bool adjacent = R == 3 && w.step_width == 9 && lanes == VL;
            if (!adjacent) gather_lanes(row_of(c, j, 0), w.step_width, lanes, count * kTaps, taps);
            const bool turn = run == 1 || j + 1 == nv;
            const int64_t next_c = turn ? c + fetch_ahead * run : c, next_j = run == 1 ? j : turn ? 0 : j + 1;
            for (int64_t i = 0; i < count; ++i) {
                if (next_c < c1 && i < lanes) {
                    const E* const next = row_of(next_c, next_j, i);
                    for (int64_t at = 0; at < fetch_count; at += kLine<E>)
                        __builtin_prefetch(next + at, 0, 2);
                }
                vf g[kTaps];
                const auto read = [&]() FC_INLINE {
                    unrolled<kTaps>([&](auto t) FC_INLINE { g[t] = load(taps + (i * kTaps + t) * VL); });
                };
                if constexpr (R == 3) {
                    if (adjacent)
                        taps_of_filters(row_of(c + i, j, 0), g);
                    else
                        read();
                } else {
                    read();
                }
                if (w.rotated)
                    unrolled<kTaps / 2>([&](auto t) FC_INLINE {
                        const vf last = g[kTaps - 1 - t];
                        g[kTaps - 1 - t] = g[t], g[t] = last;
                    });
                filter_tile<F, kStream>(g, u + ((c - c0 + i) * nv + j) * VL, component);
            }
        }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
