// 8 floats: AVX2 and FMA.
#pragma once

#include <immintrin.h>

#include "fastconv/types.h"

namespace fastconv::FC_ISA_NS {
namespace {

using vf = __m256;
using vm = __m256;   // the result of a comparison: all bits of a lane set or clear
using vi = __m256i;  // 8 x int32
inline constexpr int VL = 8;

// Which of the first lanes take part in a load or store at the end of a row.
struct Tail {
    __m256i mask;
};
inline Tail tail(int64_t n) {
    const int count = n >= VL ? VL : n <= 0 ? 0 : static_cast<int>(n);
    return {_mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))};
}

inline vf zero() { return _mm256_setzero_ps(); }
inline vf set1(float x) { return _mm256_set1_ps(x); }
inline vf load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, vf v) { _mm256_storeu_ps(p, v); }
// Past the caches where the processor can; `p` is aligned to the vector.
inline void store_streaming(float* p, vf v) { _mm256_stream_ps(p, v); }
inline vf load(const float* p, Tail t) { return _mm256_maskload_ps(p, t.mask); }
inline void store(float* p, vf v, Tail t) { _mm256_maskstore_ps(p, t.mask, v); }
inline vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
// acc += a * b, in one instruction of this form.
inline void accumulate(vf& acc, vf a, vf b) { asm("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b)); }
inline void accumulate_from(vf& acc, const float* a, vf b) { accumulate(acc, set1(*a), b); }
// As maxps/minps: where the operands are unordered, the second one.
inline vf max(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf min(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf sqrt(vf a) { return _mm256_sqrt_ps(a); }
inline vf abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline vm less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline vm unordered(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
// a where m, b elsewhere.
inline vf select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
inline vf round_nearest(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf round_even(vf a) { return round_nearest(a); }
inline vf floor(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline vi to_int(vf a) { return _mm256_cvtps_epi32(a); }
// Of positive normal numbers: floor(log2 a), and a over its power of two, in [1, 2).
inline vf exponent(vf a) {
    const __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(a), 23);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)));
}
inline vf mantissa(vf a) {
    const vf fraction = _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffff)));
    return _mm256_or_ps(fraction, _mm256_set1_ps(1.0f));
}
// 2^e for integral e in [-126, 127].
inline vf pow2(vi e) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
}
inline float sum(vf a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

// Sums of neighbours: lane i is the sum of elements 2i and 2i + 1 of a followed by b.
inline vf add_pairs(vf a, vf b) {
    const __m256 mixed = _mm256_hadd_ps(a, b);  // within each half: pairs of a, then pairs of b
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
}
// Every lane twice: the lower and the upper half of the result.
inline vf double_low(vf a) { return _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)); }
inline vf double_high(vf a) { return _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7)); }

// bfloat16 is the upper half of a float32.
inline vf widen_lanes(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}
inline vf load(const bfloat16* p) {
    return widen_lanes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// There is no masked access to 16-bit lanes: the tail goes one by one.
inline int lanes_of(Tail t) {
    return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(t.mask))));
}
inline vf load(const bfloat16* p, Tail t) {
    bfloat16 lanes[VL] = {};
    for (int i = 0, n = lanes_of(t); i < n; ++i) lanes[i] = p[i];
    return load(lanes);
}
// Round to nearest, ties to even; a NaN keeps its upper bits and is made quiet.
inline __m128i round_bfloat16(vf v) {
    const __m256i bits = _mm256_castps_si256(v), upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i rounded =
        _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), quiet, _mm256_castps_si256(unordered(v, v)));
    return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}
inline void store(bfloat16* p, vf v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), round_bfloat16(v)); }
inline void store(bfloat16* p, vf v, Tail t) {
    bfloat16 lanes[VL];
    store(lanes, v);
    for (int i = 0, n = lanes_of(t); i < n; ++i) p[i] = lanes[i];
}

inline void store_streaming(bfloat16* p, vf v) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), round_bfloat16(v));
}
// Orders streaming stores before whatever follows.
inline void streaming_fence() { _mm_sfence(); }
inline vm equal(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
inline vm either(vm a, vm b) { return _mm256_or_ps(a, b); }
inline vm no_lanes() { return _mm256_setzero_ps(); }
inline bool any(vm m) { return _mm256_movemask_ps(m) != 0; }
// Elements 0, 2, 4, ... and 1, 3, 5, ... of a followed by b.
inline vf even_lanes(vf a, vf b) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88)), 0xd8));
}
inline vf odd_lanes(vf a, vf b) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8));
}
// a0 b0 a1 b1 ...: the lower and the upper half of it.
inline vf interleave_low(vf a, vf b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}
inline vf interleave_high(vf a, vf b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}
// Bytes as floats of the same value, and back (values 0 to 255).
inline vf load(const uint8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline vf load(const uint8_t* p, Tail t) {
    uint8_t lanes[VL] = {};
    for (int i = 0, n = lanes_of(t); i < n; ++i) lanes[i] = p[i];
    return load(lanes);
}
inline void store(uint8_t* p, vf v) {
    const __m256i words = _mm256_cvttps_epi32(v);
    const __m128i halves =
        _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(halves, halves));
}
inline void store(uint8_t* p, vf v, Tail t) {
    uint8_t lanes[VL];
    store(lanes, v);
    for (int i = 0, n = lanes_of(t); i < n; ++i) p[i] = lanes[i];
}
// Lanes whose byte is `value`.
inline vm bytes_equal(const uint8_t* p, uint8_t value) {
    return _mm256_castsi256_ps(
        _mm256_cmpeq_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
                           _mm256_set1_epi32(value)));
}
inline vm bytes_equal(const uint8_t* p, uint8_t value, Tail t) {
    return equal(load(p, t), set1(static_cast<float>(value)));
}

// Transposes a VL x VL tile of float32 or bfloat16: out[j * ldo + i] = in[i * ldi + j].
template <class In, class Out>
inline void transpose_tile(const In* in, int64_t ldi, Out* out, int64_t ldo) {
    __m256 r[8], t[8];
    for (int i = 0; i < 8; ++i) r[i] = load(in + i * ldi);
    for (int i = 0; i < 4; ++i) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
        r[4 * i + 0] = _mm256_shuffle_ps(t[4 * i + 0], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i + 0], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        store(out + i * ldo, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        store(out + (i + 4) * ldo, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
