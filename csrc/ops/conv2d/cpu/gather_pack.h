// Weights in the order in which the tiles of gather_conv.cpp read them.
#pragma once

#include "cpu/gemm/narrow.h"
#include "cpu/layout/transpose.h"
#include "cpu/simd/nine.h"
#include "ops/conv2d/cpu/gather_cut.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Floats of a row of weights from what is packed to what is fetched.
constexpr int64_t kPackAhead = 64;
// Rows of a matrix of weights that is only cut, likewise.
constexpr int64_t kRowsAhead = 8;

// Packs output channels [column, column + columns) of a group: rows (tap, channel) of ldp floats each.
void pack_block(const GatherConv& g, int64_t group, int64_t column, int64_t columns, int64_t ldp,
                float* packed) {
    const float* w = g.weight + group * g.weight_g + column * g.weight_o;
    const int64_t taps = g.tap_count;
    alignas(64) float tile[VL < 9 ? 9 * VL : VL * VL];
    if (g.weight_c == g.weight_taps && taps == g.weight_taps && g.taps[0].index == 0) {
        // fprop: an output's weights lie in one run of (channel, tap). Squares of it are transposed, and
        // their rows go to their places.
        const int64_t length = g.depth * taps;
        for (int64_t o = 0; o < columns; o += VL) {
            const int64_t wide = least(VL, columns - o);
            int64_t c = 0, t = 0, next_c = 0, next_t = 0;
            for (int64_t at = 0; at < length; at += VL) {
                const int64_t count = least(VL, length - at);
                const float* from = w + o * g.weight_o + at;
                // Neither the rows that are read nor those that are written lie in a stream: what a later
                // square needs is fetched here.
                for (int64_t i = 0; i < wide; ++i)
                    __builtin_prefetch(from + i * g.weight_o + kPackAhead, 0, 3);
                for (int64_t e = 0; e < (at == 0 ? 2 : 1) * VL; ++e) {
                    fetch_for_write(packed + (next_t * g.depth + next_c) * ldp + o);
                    if (++next_t == taps) next_t = 0, ++next_c;
                    if (next_c == g.depth) next_c = 0;
                }
                if (wide == VL && count == VL)
                    transpose_tile(from, g.weight_o, tile, VL);
                else
                    transpose_f32(from, g.weight_o, tile, VL, wide, count);
                for (int64_t e = 0; e < count; ++e) {
                    copy_floats(packed + (t * g.depth + c) * ldp + o, tile + e * VL, wide);
                    if (++t == taps) t = 0, ++c;
                }
            }
        }
        return;
    }
    if (g.weight_o == g.weight_taps && taps > 1) {
        // dgrad: an input's weights for the outputs of one block are a matrix (output, tap), transposed by
        // squares.
        for (int64_t c = 0; c < g.depth; ++c)
            for (int64_t o = 0; o < columns; o += VL) {
                const int64_t wide = least(VL, columns - o);
                const float* from = w + c * g.weight_c + o * g.weight_o;
                if (c + 2 < g.depth)
                    for (int64_t at = 0; at < wide * g.weight_o; at += 16)
                        __builtin_prefetch(from + 2 * g.weight_c + at, 0, 3);
                if (c + 1 < g.depth)
                    for (int64_t t = 0; t < taps; ++t)
                        fetch_for_write(packed + (t * g.depth + c + 1) * ldp + o);
                if (g.weight_taps == 9 && wide == VL) {
                    vf nine[9];
                    taps_of_filters(from, nine);
                    unrolled<9>([&](auto t) FC_INLINE { store(tile + t * VL, nine[t]); });
                    for (int64_t t = 0; t < taps; ++t)
                        store(packed + (t * g.depth + c) * ldp + o, load(tile + g.taps[t].index * VL));
                    continue;
                }
                for (int64_t first = 0; first < g.weight_taps; first += VL) {
                    const int64_t count = least(VL, g.weight_taps - first);
                    transpose_f32(from + first, g.weight_o, tile, VL, wide, count);
                    for (int64_t t = 0; t < taps; ++t) {
                        const int64_t at = g.taps[t].index - first;
                        if (at >= 0 && at < count)
                            copy_floats(packed + (t * g.depth + c) * ldp + o, tile + at * VL, wide);
                    }
                }
            }
        return;
    }
    for (int64_t t = 0; t < taps; ++t)
        for (int64_t c = 0; c < g.depth; ++c) {
            float* to = packed + (t * g.depth + c) * ldp;
            const float* from = w + c * g.weight_c + g.taps[t].index;
            if (g.weight_o == 1) {
                // Rows may lie pages apart.
                if (c + kRowsAhead < g.depth)
                    for (int64_t o = 0; o < columns; o += 16)
                        __builtin_prefetch(from + kRowsAhead * g.weight_c + o, 0, 2);
                copy_floats(to, from, columns);
            } else {
                for (int64_t o = 0; o < columns; ++o) to[o] = from[o * g.weight_o];
            }
        }
}

// The same for dot tiles: [tap][output][channel].
void pack_dots(const GatherConv& g, int64_t group, int64_t column, int64_t columns, float* packed) {
    const float* w = g.weight + group * g.weight_g + column * g.weight_o;
    const int64_t depth = dot_depth(g.depth);
    for (int64_t t = 0; t < g.tap_count; ++t)
        for (int64_t o = 0; o < columns; ++o, packed += depth) {
            const float* from = w + o * g.weight_o + g.taps[t].index;
            for (int64_t c = 0; c < g.depth; ++c) packed[c] = from[c * g.weight_c];
            for (int64_t c = g.depth; c < depth; ++c) packed[c] = 0;
        }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
