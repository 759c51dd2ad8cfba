// 16 floats: AVX-512 F, BW, DQ, VL.
#pragma once

#include <immintrin.h>

#include "fastconv/types.h"

namespace fastconv::FC_ISA_NS {
namespace {

using vf = __m512;
using vm = __mmask16;  // the result of a comparison
using vi = __m512i;    // 16 x int32
inline constexpr int VL = 16;

// Which of the first lanes take part in a load or store at the end of a row.
struct Tail {
    __mmask16 mask;
};
inline Tail tail(int64_t n) {
    return {static_cast<__mmask16>(n >= VL ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u)};
}

inline vf zero() { return _mm512_setzero_ps(); }
inline vf set1(float x) { return _mm512_set1_ps(x); }
inline vf load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, vf v) { _mm512_storeu_ps(p, v); }
// Past the caches where the processor can; `p` is aligned to the vector.
inline void store_streaming(float* p, vf v) { _mm512_stream_ps(p, v); }
inline vf load(const float* p, Tail t) { return _mm512_maskz_loadu_ps(t.mask, p); }
inline void store(float* p, vf v, Tail t) { _mm512_mask_storeu_ps(p, t.mask, v); }
inline vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
// acc += a * b. Spelt out, because the compiler would spread an unrolled chain of them over several
// registers, with copies between that take slots of the FMA units.
inline void accumulate(vf& acc, vf a, vf b) { asm("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b)); }
// acc += a * *b, where registers are short.
inline void accumulate_at(vf& acc, vf a, const float* b) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "m"(*reinterpret_cast<const vf*>(b)));
}
// acc += *a * b, where the number serves once: the instruction broadcasts it as it loads.
inline void accumulate_from(vf& acc, const float* a, vf b) {
    asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(b), "m"(*a));
}
// As maxps/minps: where the operands are unordered, the second one.
inline vf max(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf min(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf sqrt(vf a) { return _mm512_sqrt_ps(a); }
inline vf abs(vf a) { return _mm512_abs_ps(a); }
inline vm less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline vm unordered(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
// a where m, b elsewhere.
inline vf select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
inline vf round_nearest(vf a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline vf round_even(vf a) { return round_nearest(a); }
inline vf floor(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline vi to_int(vf a) { return _mm512_cvtps_epi32(a); }
// Of positive normal numbers: floor(log2 a), and a over its power of two, in [1, 2).
inline vf exponent(vf a) { return _mm512_getexp_ps(a); }
inline vf mantissa(vf a) { return _mm512_getmant_ps(a, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src); }
// 2^e for integral e in [-126, 127].
inline vf pow2(vi e) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(e, _mm512_set1_epi32(127)), 23));
}
inline float sum(vf a) { return _mm512_reduce_add_ps(a); }

// Sums of neighbours: lane i is the sum of elements 2i and 2i + 1 of a followed by b.
inline vf add_pairs(vf a, vf b) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    return _mm512_add_ps(_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b));
}
// Every lane twice: the lower and the upper half of the result.
inline vf double_low(vf a) {
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), a);
}
inline vf double_high(vf a) {
    return _mm512_permutexvar_ps(
        _mm512_setr_epi32(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15), a);
}

// bfloat16 is the upper half of a float32.
inline vf widen_lanes(__m256i v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}
inline vf load(const bfloat16* p) {
    return widen_lanes(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline vf load(const bfloat16* p, Tail t) { return widen_lanes(_mm256_maskz_loadu_epi16(t.mask, p)); }
// Round to nearest, ties to even; a NaN keeps its upper bits and is made quiet. In integers, because
// vcvtneps2bf16 takes denormals for zero and is not on every AVX-512 machine.
inline __m256i round_bfloat16(vf v) {
    const __m512i bits = _mm512_castps_si512(v), quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 number = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
    const __mmask16 odd = _mm512_mask_test_epi32_mask(number, bits, _mm512_set1_epi32(0x10000));
    __m512i sum = _mm512_mask_add_epi32(quiet, number, bits, _mm512_set1_epi32(0x7fff));
    sum = _mm512_mask_add_epi32(sum, odd, sum, _mm512_set1_epi32(1));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(sum, 16));
}
inline void store(bfloat16* p, vf v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), round_bfloat16(v));
}
inline void store(bfloat16* p, vf v, Tail t) { _mm256_mask_storeu_epi16(p, t.mask, round_bfloat16(v)); }

inline void store_streaming(bfloat16* p, vf v) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), round_bfloat16(v));
}
// Orders streaming stores before whatever follows.
inline void streaming_fence() { _mm_sfence(); }
inline vm equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
inline vm either(vm a, vm b) { return static_cast<vm>(a | b); }
inline vm no_lanes() { return 0; }
inline bool any(vm m) { return m != 0; }
// Elements 0, 2, 4, ... and 1, 3, 5, ... of a followed by b.
inline vf even_lanes(vf a, vf b) {
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
inline vf odd_lanes(vf a, vf b) {
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
}
// a0 b0 a1 b1 ...: the lower and the upper half of it.
inline vf interleave_low(vf a, vf b) {
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
}
inline vf interleave_high(vf a, vf b) {
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
}
// Bytes as floats of the same value, and back (values 0 to 255).
inline vf load(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline vf load(const uint8_t* p, Tail t) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(t.mask, p)));
}
inline void store(uint8_t* p, vf v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v)));
}
inline void store(uint8_t* p, vf v, Tail t) {
    _mm_mask_storeu_epi8(p, t.mask, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v)));
}
// Lanes whose byte is `value`.
inline vm bytes_equal(const uint8_t* p, uint8_t value, Tail t) {
    return _mm_mask_cmpeq_epi8_mask(t.mask, _mm_maskz_loadu_epi8(t.mask, p),
                                    _mm_set1_epi8(static_cast<char>(value)));
}
inline vm bytes_equal(const uint8_t* p, uint8_t value) {
    return _mm_cmpeq_epi8_mask(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)),
                               _mm_set1_epi8(static_cast<char>(value)));
}

// Transposes a VL x VL tile of float32 or bfloat16: out[j * ldo + i] = in[i * ldi + j].
template <class In, class Out>
inline void transpose_tile(const In* in, int64_t ldi, Out* out, int64_t ldo) {
    __m512 r[16], t[16];
    for (int i = 0; i < 16; ++i) r[i] = load(in + i * ldi);
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
        r[4 * i + 0] = _mm512_shuffle_ps(t[4 * i + 0], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm512_shuffle_ps(t[4 * i + 0], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        store(out + (i + 0) * ldo, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
        store(out + (i + 8) * ldo, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd));
        store(out + (i + 4) * ldo, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88));
        store(out + (i + 12) * ldo, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd));
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
