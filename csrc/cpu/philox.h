// Philox-4x32-10 (Salmon et al., SC 2011): random words as a function of a key and a counter, sixteen
// counters side by side.
#pragma once

#include "cpu/philox_block.h"
#include "cpu/simd/simd.h"

namespace fastconv::FC_ISA_NS {
namespace {

// A word is the low half of a lane of 64 bits, and the high half is anything: the product of two low halves
// is then one instruction, and its own low half is the next round's word as it lies.
#if defined(FC_ISA_AVX512)

using PhiloxWords = __m512i;
inline PhiloxWords philox_set(uint64_t v) { return _mm512_set1_epi64(static_cast<int64_t>(v)); }
inline PhiloxWords philox_counters(uint64_t first) {
    return _mm512_add_epi64(philox_set(first), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
}
inline PhiloxWords philox_multiply(PhiloxWords a, PhiloxWords b) { return _mm512_mul_epu32(a, b); }
// high(product) ^ b ^ c
inline PhiloxWords philox_mix(PhiloxWords product, PhiloxWords b, PhiloxWords c) {
    return _mm512_ternarylogic_epi64(_mm512_srli_epi64(product, 32), b, c, 0x96);
}
inline void philox_store(uint32_t* to, PhiloxWords v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi64_epi32(v));
}

#elif defined(FC_ISA_AVX2)

using PhiloxWords = __m256i;
inline PhiloxWords philox_set(uint64_t v) { return _mm256_set1_epi64x(static_cast<int64_t>(v)); }
inline PhiloxWords philox_counters(uint64_t first) {
    return _mm256_add_epi64(philox_set(first), _mm256_setr_epi64x(0, 1, 2, 3));
}
inline PhiloxWords philox_multiply(PhiloxWords a, PhiloxWords b) { return _mm256_mul_epu32(a, b); }
inline PhiloxWords philox_mix(PhiloxWords product, PhiloxWords b, PhiloxWords c) {
    return _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product, 32), b), c);
}
inline void philox_store(uint32_t* to, PhiloxWords v) {
    const __m256i packed = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
}

#else

using PhiloxWords = uint64_t;
inline PhiloxWords philox_set(uint64_t v) { return v; }
inline PhiloxWords philox_counters(uint64_t first) { return first; }
inline PhiloxWords philox_multiply(PhiloxWords a, PhiloxWords b) {
    return (a & 0xffffffffu) * (b & 0xffffffffu);
}
inline PhiloxWords philox_mix(PhiloxWords product, PhiloxWords b, PhiloxWords c) {
    return (product >> 32) ^ b ^ c;
}
inline void philox_store(uint32_t* to, PhiloxWords v) { *to = static_cast<uint32_t>(v); }

#endif

// words[16 j + l] = output j of counter `first` + l.
inline void philox_block(uint64_t first, uint64_t key, uint32_t* __restrict words) {
    constexpr int kLanes = sizeof(PhiloxWords) / sizeof(uint64_t);
    constexpr int kChains = kLanes > 1 ? 2 : 1;  // two, so that one multiplies while the other waits
    const PhiloxWords m0 = philox_set(0xD2511F53), m1 = philox_set(0xCD9E8D57);
    for (int l = 0; l < kPhiloxLanes; l += kChains * kLanes) {
        PhiloxWords c[kChains][4];
        for (int i = 0; i < kChains; ++i) {
            const uint64_t counter = first + static_cast<uint64_t>(l + i * kLanes);
            c[i][0] = philox_counters(counter);
            c[i][1] = philox_set(counter >> 32);  // `first` is a multiple of 16: its low word does not carry
            c[i][2] = c[i][3] = philox_set(0);
        }
        uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
#pragma GCC unroll 10
        for (int round = 0; round < 10; ++round) {
            const PhiloxWords key0 = philox_set(k0), key1 = philox_set(k1);
#pragma GCC unroll 2
            for (int i = 0; i < kChains; ++i) {
                const PhiloxWords p0 = philox_multiply(c[i][0], m0), p1 = philox_multiply(c[i][2], m1);
                c[i][0] = philox_mix(p1, c[i][1], key0);
                c[i][1] = p1;
                c[i][2] = philox_mix(p0, c[i][3], key1);
                c[i][3] = p0;
            }
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }
        for (int i = 0; i < kChains; ++i)
            for (int j = 0; j < 4; ++j) philox_store(words + j * kPhiloxLanes + l + i * kLanes, c[i][j]);
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
