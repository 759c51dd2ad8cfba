// Weights as the tiles want them: for each block of 32 output channels and each step (block of 32 input
// channels, tap) two tiles of [16 pairs of input channels][16 output channels][2].
#pragma once

#include "ops/conv2d/cpu/bf16/frame.h"
#include "ops/conv2d/cpu/bf16/tile.h"
#include "ops/conv2d/cpu/bf16/transpose.h"

namespace fastconv::FC_ISA_NS {
namespace {

inline __mmask16 mask_16(int64_t n) {
    return static_cast<__mmask16>(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u);
}
inline __m256i load_16(const uint16_t* p, int64_t n) { return _mm256_maskz_loadu_epi16(mask_16(n), p); }

// to[e * 16 + o] = w[o * stride_o + e] for e < length, o < outputs; zeros for the other o.
inline void transpose_run(const uint16_t* w, int64_t stride_o, int64_t outputs, int64_t length,
                          uint16_t* to) {
    if (stride_o == 1 && length == 1)
        return _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), load_16(w, outputs));
    for (int64_t e = 0; e < length; e += 16) {
        __m256i r[16];
        for (int o = 0; o < 16; ++o)
            r[o] = o < outputs ? load_16(w + o * stride_o + e, length - e) : _mm256_setzero_si256();
        transpose_16(r);
        const int64_t count = least(16, length - e);
        for (int64_t i = 0; i < count; ++i)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (e + i) * 16), r[i]);
    }
}

// [16][2] from two rows of 16.
inline void store_pair(char* to, __m256i even, __m256i odd) {
    const __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32), _mm256_permute2x128_si256(low, high, 0x31));
}

// The tiles that a tap's weights go to: its first, and how far on those of the next 32 input channels lie.
struct TapTiles {
    char* first = nullptr;  // null: nobody wants this tap
    int64_t step = 0;
};
// Taps that pack_columns takes: a vector's dwords.
constexpr int64_t kColumnTaps = 16;

// Whether neighbouring output channels are neighbouring filters, with more than one tap: dgrad.
inline bool packs_columns(const Bf16Conv& g) {
    return g.run == 1 && g.weight_o == g.weight_taps && g.weight_taps > 1 && g.weight_taps <= kColumnTaps;
}

// Output channels [column, column + 32) of a group of a dgrad, all its taps, which may be those of several
// convolutions. Pairs of input channels, of which each has one run of (output channel, tap), become a matrix
// of dwords that is transposed at once.
inline void pack_columns(const Bf16Conv& g, int64_t group, int64_t column, const TapTiles* to) {
    constexpr int64_t kAhead =
        8;  // input channels; each is a run of memory of its own, mostly on its own page
    const int64_t outputs = least(32, g.width - column), tiles = outputs > 16 ? 2 : 1, taps = g.weight_taps;
    const int64_t length = outputs * taps, blocks = ceil_div(length, 32);
    const uint16_t* w = g.weight + group * g.weight_g + column * g.weight_o;
    // Two pairs in turns: what is read has left the store queue.
    alignas(64) uint32_t pairs[2][32 * kColumnTaps + 32];
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const auto interleave = [&](int64_t c, uint32_t* row) {
        const uint16_t *even = w + c * g.weight_c, *odd = even + g.weight_c;
        const bool both = c + 1 < g.depth;
        for (int64_t b = 0; b < blocks; ++b, row += 32) {
            const int64_t rest = length - b * 32;
            const __mmask32 mask =
                rest >= 32 ? 0xffffffffu : static_cast<__mmask32>((uint64_t{1} << rest) - 1);
            const __m512i v0 = _mm512_maskz_loadu_epi16(mask, even + b * 32),
                          v1 = _mm512_maskz_loadu_epi16(both ? mask : 0, odd + b * 32),
                          a = _mm512_unpacklo_epi16(v0, v1), z = _mm512_unpackhi_epi16(v0, v1);
            _mm512_store_si512(row, _mm512_permutex2var_epi64(a, low, z));
            _mm512_store_si512(row + 16, _mm512_permutex2var_epi64(a, high, z));
            if (c + kAhead + 1 < g.depth) {
                __builtin_prefetch(even + kAhead * g.weight_c + b * 32);
                __builtin_prefetch(odd + kAhead * g.weight_c + b * 32);
            }
        }
    };
    const int64_t all = ceil_div(g.depth, 32) * 16;  // pairs
    interleave(0, pairs[0]);
    for (int64_t i = 0; i < all; ++i) {
        if (2 * (i + 1) < g.depth) interleave(2 * (i + 1), pairs[(i + 1) % 2]);
        const bool exists = 2 * i < g.depth;
        for (int64_t half = 0; half < tiles; ++half) {
            __m512i r[16];
            for (int64_t o = 0; o < 16; ++o)
                r[o] = exists && half * 16 + o < outputs
                           ? _mm512_loadu_si512(pairs[i % 2] + (half * 16 + o) * taps)
                           : _mm512_setzero_si512();
            transpose_dwords(r);
            for (int64_t t = 0; t < taps; ++t)
                if (to[t].first)
                    _mm512_storeu_si512(to[t].first + i / 16 * to[t].step + half * kTileBytes + i % 16 * 64,
                                        r[t]);
        }
    }
}

inline __mmask32 mask_32(int64_t n) {
    return n >= 32 ? 0xffffffffu : static_cast<__mmask32>((uint64_t{1} << most(0, n)) - 1);
}

// The same of filters of one tap: pairs of input channels are dwords of a filter (fprop), or lie in two rows
// of output channels (dgrad).
inline void pack_pointwise(const Bf16Conv& g, int64_t group, int64_t column, char* to) {
    const int64_t outputs = least(32, g.width - column), tiles = outputs > 16 ? 2 : 1;
    const uint16_t* w = g.weight + group * g.weight_g + column * g.weight_o;
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (int64_t c0 = 0; c0 < g.depth; c0 += 32, to += tiles * kTileBytes) {
        if (g.weight_c == 1) {
            const __mmask32 mask = mask_32(g.depth - c0);
            for (int64_t half = 0; half < tiles; ++half) {
                __m512i r[16];
                for (int64_t o = 0; o < 16; ++o)
                    r[o] = half * 16 + o < outputs
                               ? _mm512_maskz_loadu_epi16(mask, w + (half * 16 + o) * g.weight_o + c0)
                               : _mm512_setzero_si512();
                transpose_dwords(r);
                for (int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(to + half * kTileBytes + i * 64, r[i]);
            }
            continue;
        }
        for (int64_t pair = 0; pair < 16; ++pair) {
            const int64_t c = c0 + 2 * pair;
            const uint16_t* even = w + c * g.weight_c;
            const __m512i v0 = _mm512_maskz_loadu_epi16(c < g.depth ? mask_32(outputs) : 0, even),
                          v1 = _mm512_maskz_loadu_epi16(c + 1 < g.depth ? mask_32(outputs) : 0,
                                                        even + g.weight_c),
                          low = _mm512_unpacklo_epi16(v0, v1), high = _mm512_unpackhi_epi16(v0, v1);
            _mm512_storeu_si512(to + pair * 64, _mm512_permutex2var_epi64(low, first, high));
            if (tiles == 2)
                _mm512_storeu_si512(to + kTileBytes + pair * 64,
                                    _mm512_permutex2var_epi64(low, second, high));
        }
    }
}

// Filters of up to this many taps pass through a small array that stays in L1.
constexpr int64_t kPackTaps = 25;

// Output channels [column, column + 32) of a group.
inline void pack_block(const Bf16Conv& g, int64_t group, int64_t column, char* to) {
    if (g.weight_taps == 1 && (g.weight_c == 1 || g.weight_o == 1))
        return pack_pointwise(g, group, column, to);
    const int64_t outputs = least(32, g.width - column), tiles = outputs > 16 ? 2 : 1;
    const bool whole = g.weight_c == g.weight_taps;  // (channel, tap) is one run of memory
    alignas(64) uint16_t rows[32 * kPackTaps * 16];
    for (int64_t c0 = 0; c0 < g.depth; c0 += 32) {
        const int64_t inputs = least(32, g.depth - c0);
        for (int64_t t0 = 0; t0 < g.tap_count; ++t0) {
            // A pass over the taps whose weights fit the array: all of them, or one by one.
            const bool all = g.weight_taps <= kPackTaps;
            const int64_t t1 = all ? g.tap_count : t0 + 1, length = all ? g.weight_taps : 1;
            for (int64_t half = 0; half < tiles; ++half) {
                const uint16_t* w = g.weight + group * g.weight_g + (column + half * 16) * g.weight_o +
                                    c0 * g.weight_c + (all ? 0 : g.taps[t0].index);
                const int64_t count = outputs - half * 16;
                if (all && whole)
                    transpose_run(w, g.weight_o, count, inputs * length, rows);
                else
                    for (int64_t c = 0; c < inputs; ++c)
                        transpose_run(w + c * g.weight_c, g.weight_o, count, length, rows + c * length * 16);
                for (int64_t c = inputs; c < (inputs + 1) / 2 * 2; ++c)
                    for (int64_t i = 0; i < length * 16; ++i) rows[c * length * 16 + i] = 0;
                for (int64_t t = t0; t < t1; ++t) {
                    char* tile = to + ((c0 / 32 * g.tap_count + t) * tiles + half) * kTileBytes;
                    const uint16_t* from = rows + (all ? g.taps[t].index : 0) * 16;
                    for (int64_t pair = 0; pair < 16; ++pair, tile += 64) {
                        if (2 * pair >= inputs) {
                            _mm512_storeu_si512(tile, _mm512_setzero_si512());
                            continue;
                        }
                        const uint16_t* even = from + 2 * pair * length * 16;
                        store_pair(tile, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(even)),
                                   _mm256_loadu_si256(reinterpret_cast<const __m256i*>(even + length * 16)));
                    }
                }
            }
            t0 = t1 - 1;
        }
    }
}

// The same for runs of taps: element e of a run is channel e % depth of its tap e / depth.
inline void pack_runs(const Bf16Conv& g, int64_t group, int64_t column, char* to) {
    const int64_t outputs = least(32, g.width - column), tiles = outputs > 16 ? 2 : 1,
                  length = g.run * g.depth;
    const uint16_t* w = g.weight + group * g.weight_g + column * g.weight_o;
    uint16_t* tile = reinterpret_cast<uint16_t*>(to);
    for (int64_t b = 0; b < ceil_div(length, 32); ++b)
        for (int64_t t = 0; t < g.tap_count; t += g.run)
            for (int64_t half = 0; half < tiles; ++half)
                for (int64_t pair = 0; pair < 16; ++pair)
                    for (int64_t o = half * 16; o < half * 16 + 16; ++o)
                        for (int64_t e = b * 32 + 2 * pair; e < b * 32 + 2 * pair + 2; ++e) {
                            const bool exists = e < length && o < outputs;
                            *tile++ = exists ? w[o * g.weight_o + e % g.depth * g.weight_c +
                                                 g.taps[t + e / g.depth].index]
                                             : uint16_t{0};
                        }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
