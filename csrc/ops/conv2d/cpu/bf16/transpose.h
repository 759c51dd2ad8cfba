// Loads of ends and transposes in registers.
#pragma once

#include "cpu/simd/simd.h"

namespace fastconv::FC_ISA_NS {
namespace {

// The first `count` elements of 32, zeros behind them.
inline __m512i load_channels(const uint16_t* p, int64_t count) {
    if (count >= 32) return _mm512_loadu_si512(p);
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << count) - 1), p);
}

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

// 16 x 16 dwords: row i of the result, over the lane order of unpacking, is column i.
inline void transpose_dwords(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
        r[4 * i + 0] = _mm512_unpacklo_epi64(t[4 * i + 0], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i + 0], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
