// Weights as the tiles want them: for each block of 32 output channels and each step (block of 32 input
// channels, tap) two tiles of [16 pairs of input channels][16 output channels][2].
#pragma once

#include "ops/conv2d/cpu/bf16/frame.h"
#include "ops/conv2d/cpu/bf16/tile.h"

namespace fastconv::FC_ISA_NS {
namespace {

// The transpose of 16 x 16 elements of 16 bits.
inline void transpose_16(__m256i r[16]) {
    __m256i a[16], b[16];
    for (int i = 0; i < 8; ++i) {
        a[2 * i] = _mm256_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
    }
    for (int j = 0; j < 4; ++j) {  // b[4 * j + q]: columns 2q, 2q + 1 (and those + 8) of rows 4j to 4j + 3
        b[4 * j + 0] = _mm256_unpacklo_epi32(a[4 * j], a[4 * j + 2]);
        b[4 * j + 1] = _mm256_unpackhi_epi32(a[4 * j], a[4 * j + 2]);
        b[4 * j + 2] = _mm256_unpacklo_epi32(a[4 * j + 1], a[4 * j + 3]);
        b[4 * j + 3] = _mm256_unpackhi_epi32(a[4 * j + 1], a[4 * j + 3]);
    }
    for (int m = 0; m < 2; ++m)
        for (int q = 0; q < 4; ++q) {
            a[8 * m + 2 * q] = _mm256_unpacklo_epi64(b[8 * m + q], b[8 * m + 4 + q]);
            a[8 * m + 2 * q + 1] = _mm256_unpackhi_epi64(b[8 * m + q], b[8 * m + 4 + q]);
        }
    for (int c = 0; c < 8; ++c) {
        r[c] = _mm256_permute2x128_si256(a[c], a[8 + c], 0x20);
        r[c + 8] = _mm256_permute2x128_si256(a[c], a[8 + c], 0x31);
    }
}

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

// Filters of up to this many taps pass through a small array that stays in L1.
constexpr int64_t kPackTaps = 25;

// Output channels [column, column + 32) of a group.
inline void pack_block(const Bf16Conv& g, int64_t group, int64_t column, char* to) {
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
