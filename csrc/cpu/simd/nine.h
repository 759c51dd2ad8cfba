// Between VL filters of nine taps that lie one after the other, and nine vectors with a tap of each of them.
//
// Element 9 i + t is tap t of filter i and, in the array, lane l of vector v, VL v + l = 9 i + t. So the
// lanes of the vector of tap t come from vectors v = VL^-1 (t - l) modulo 9: with the vectors taken in the
// order w[j] = in[VL^-1 j mod 9], lane l of it is that of w[t - l mod 9]. That is a rotation of the nine by a
// distance that depends on the lane: a blend of two of them for each binary digit of l. 36 blends and nine
// permutations (27 of AVX2), all independent, where transposing square tiles takes 64 shuffles and masked
// loads or stores besides.
#pragma once

#include "cpu/simd/unrolled.h"

namespace fastconv::FC_ISA_NS {
namespace {

#if defined(FC_ISA_AVX512) || defined(FC_ISA_AVX2)
namespace nine {

constexpr int kInverse = VL == 16 ? 4 : 8;  // of VL modulo 9
constexpr int place(int j) { return kInverse * j % 9 * VL; }

#    if defined(FC_ISA_AVX512)
// b where the digit `Bit` of the lane is set.
template <int Bit>
inline vf blend(vf a, vf b) {
    constexpr __mmask16 mask = Bit == 1 ? 0xaaaa : Bit == 2 ? 0xcccc : Bit == 4 ? 0xf0f0 : 0xff00;
    return _mm512_mask_blend_ps(mask, a, b);
}
inline vf permute(vf a, __m512i from) { return _mm512_permutexvar_ps(from, a); }
inline __m512i plus(__m512i lanes, int by) { return _mm512_add_epi32(lanes, _mm512_set1_epi32(by)); }
// Lane i of the result: which lane of its tap's vector is filter i, and which filter lane i is.
inline __m512i lane_of() { return _mm512_setr_epi32(0, 9, 2, 11, 4, 13, 6, 15, 8, 1, 10, 3, 12, 5, 14, 7); }
inline __m512i filter_of() { return lane_of(); }  // 9 is its own inverse modulo 16
constexpr int kBack = 7;                          // -9 modulo 16
#    else
template <int Bit>
inline vf blend(vf a, vf b) {
    return _mm256_blend_ps(a, b, Bit == 1 ? 0xaa : Bit == 2 ? 0xcc : 0xf0);
}
inline vf permute(vf a, __m256i from) { return _mm256_permutevar8x32_ps(a, from); }
inline __m256i plus(__m256i lanes, int by) { return _mm256_add_epi32(lanes, _mm256_set1_epi32(by)); }
inline __m256i lane_of() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
inline __m256i filter_of() { return lane_of(); }
constexpr int kBack = 7;  // -1 modulo 8
#    endif

// x[t] = x[t - l mod 9], or t + l.
template <int Bit, bool Up>
FC_INLINE inline void rotate(vf (&x)[9]) {
    if constexpr (Bit < VL) {
        vf y[9];
        unrolled<9>([&](auto t) FC_INLINE { y[t] = blend<Bit>(x[t], x[(t + (Up ? Bit : 9 - Bit)) % 9]); });
        unrolled<9>([&](auto t) FC_INLINE { x[t] = y[t]; });
        rotate<2 * Bit, Up>(x);
    }
}

}  // namespace nine

// taps[t] = tap t of the VL filters at `in`.
template <class E>
FC_INLINE inline void taps_of_filters(const E* in, vf (&taps)[9]) {
    unrolled<9>([&](auto j) FC_INLINE { taps[j] = load(in + nine::place(j)); });
    nine::rotate<1, false>(taps);
    unrolled<9>([&](auto t) FC_INLINE { taps[t] = nine::permute(taps[t], nine::plus(nine::lane_of(), t)); });
}

// The way back.
template <class E>
FC_INLINE inline void filters_of_taps(const vf (&taps)[9], E* out) {
    vf x[9];
    unrolled<9>([&](auto t) FC_INLINE {
        x[t] = nine::permute(taps[t], nine::plus(nine::filter_of(), nine::kBack * t));
    });
    nine::rotate<1, true>(x);
    unrolled<9>([&](auto j) FC_INLINE { store(out + nine::place(j), x[j]); });
}

#else

template <class E>
inline void taps_of_filters(const E* in, vf (&taps)[9]) {
    for (int t = 0; t < 9; ++t) {
        float lanes[VL];
        for (int i = 0; i < VL; ++i) lanes[i] = widen(in[9 * i + t]);
        taps[t] = load(lanes);
    }
}

template <class E>
inline void filters_of_taps(const vf (&taps)[9], E* out) {
    for (int t = 0; t < 9; ++t) {
        float lanes[VL];
        store(lanes, taps[t]);
        for (int i = 0; i < VL; ++i) out[9 * i + t] = narrow<E>(lanes[i]);
    }
}

#endif

}  // namespace
}  // namespace fastconv::FC_ISA_NS
