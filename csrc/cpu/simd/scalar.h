// The portable build: 4 floats in the compiler's generic vector type, which every processor has in some
// form (SSE2 on any x86-64, NEON on ARM) and which compiles to plain scalar code where there is none.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/bfloat16.h"

namespace fastconv::FC_ISA_NS {
namespace {

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
using vm = vi;  // the result of a comparison: all bits of a lane set or clear
inline constexpr int VL = 4;

// Which of the first lanes take part in a load or store at the end of a row.
struct Tail {
    int count;
};
inline Tail tail(int64_t n) { return {static_cast<int>(n >= VL ? VL : n <= 0 ? 0 : n)}; }

inline vf zero() { return vf{0, 0, 0, 0}; }
inline vf set1(float x) { return vf{x, x, x, x}; }
inline vf load(const float* p) {
    vf v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }
// Past the caches where the processor can; `p` is aligned to the vector.
inline void store_streaming(float* p, vf v) { store(p, v); }
inline vf load(const float* p, Tail t) {
    vf v = zero();
    for (int i = 0; i < t.count; ++i) v[i] = p[i];
    return v;
}
inline void store(float* p, vf v, Tail t) {
    for (int i = 0; i < t.count; ++i) p[i] = v[i];
}
inline vf fma(vf a, vf b, vf c) { return a * b + c; }
inline void accumulate(vf& acc, vf a, vf b) { acc = a * b + acc; }
inline void accumulate_from(vf& acc, const float* a, vf b) { accumulate(acc, set1(*a), b); }
// a where m, b elsewhere.
inline vf select(vm m, vf a, vf b) { return (vf)((m & (vi)a) | (~m & (vi)b)); }
inline vm less(vf a, vf b) { return a < b; }
inline vm unordered(vf a, vf b) { return ~((a == a) & (b == b)); }
// As maxps/minps: where the operands are unordered, the second one.
inline vf max(vf a, vf b) { return select(b < a, a, b); }
inline vf min(vf a, vf b) { return select(a < b, a, b); }
inline vf sqrt(vf a) { return vf{std::sqrt(a[0]), std::sqrt(a[1]), std::sqrt(a[2]), std::sqrt(a[3])}; }
inline vf abs(vf a) { return (vf)((vi)a & vi{0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff}); }
// Adding and taking away 1.5 * 2^23 leaves the nearest integer, ties to even, for |a| < 2^22.
inline vf round_nearest(vf a) {
    const vf magic = set1(12582912.0f);
    vf shifted = a + magic;
    __asm__("" : "+m"(shifted));  // keeps the compiler from folding the two additions
    return shifted - magic;
}
// For any size of number.
inline vf round_even(vf a) {
    return vf{__builtin_nearbyintf(a[0]), __builtin_nearbyintf(a[1]), __builtin_nearbyintf(a[2]),
              __builtin_nearbyintf(a[3])};
}
inline vf floor(vf a) {
    return vf{__builtin_floorf(a[0]), __builtin_floorf(a[1]), __builtin_floorf(a[2]), __builtin_floorf(a[3])};
}
inline vi to_int(vf a) { return __builtin_convertvector(a, vi); }
// Of positive normal numbers: floor(log2 a), and a over its power of two, in [1, 2).
inline vf exponent(vf a) { return __builtin_convertvector(((vi)a >> 23) - 127, vf); }
inline vf mantissa(vf a) { return (vf)(((vi)a & 0x7fffff) | 0x3f800000); }
// 2^e for integral e in [-126, 127].
inline vf pow2(vi e) { return (vf)((e + 127) << 23); }
inline float sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }

// Sums of neighbours: lane i is the sum of elements 2i and 2i + 1 of a followed by b.
inline vf add_pairs(vf a, vf b) { return vf{a[0] + a[1], a[2] + a[3], b[0] + b[1], b[2] + b[3]}; }
// Every lane twice: the lower and the upper half of the result.
inline vf double_low(vf a) { return vf{a[0], a[0], a[1], a[1]}; }
inline vf double_high(vf a) { return vf{a[2], a[2], a[3], a[3]}; }

inline vf load(const bfloat16* p, Tail t) {
    vf v = zero();
    for (int i = 0; i < t.count; ++i) v[i] = to_float(p[i]);
    return v;
}
inline vf load(const bfloat16* p) {
    return vf{to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3])};
}
inline void store(bfloat16* p, vf v, Tail t) {
    for (int i = 0; i < t.count; ++i) p[i] = to_bfloat16(v[i]);
}
inline void store(bfloat16* p, vf v) {
    for (int i = 0; i < VL; ++i) p[i] = to_bfloat16(v[i]);
}

inline void store_streaming(bfloat16* p, vf v) { store(p, v); }
// Orders streaming stores before whatever follows.
inline void streaming_fence() {}
inline vm equal(vf a, vf b) { return a == b; }
inline vm either(vm a, vm b) { return a | b; }
inline vm no_lanes() { return vm{0, 0, 0, 0}; }
inline bool any(vm m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
// Elements 0, 2, 4, ... and 1, 3, 5, ... of a followed by b.
inline vf even_lanes(vf a, vf b) { return vf{a[0], a[2], b[0], b[2]}; }
inline vf odd_lanes(vf a, vf b) { return vf{a[1], a[3], b[1], b[3]}; }
// a0 b0 a1 b1 ...: the lower and the upper half of it.
inline vf interleave_low(vf a, vf b) { return vf{a[0], b[0], a[1], b[1]}; }
inline vf interleave_high(vf a, vf b) { return vf{a[2], b[2], a[3], b[3]}; }
// Bytes as floats of the same value, and back (values 0 to 255).
inline vf load(const uint8_t* p, Tail t) {
    vf v = zero();
    for (int i = 0; i < t.count; ++i) v[i] = static_cast<float>(p[i]);
    return v;
}
inline vf load(const uint8_t* p) { return load(p, Tail{VL}); }
inline void store(uint8_t* p, vf v, Tail t) {
    for (int i = 0; i < t.count; ++i) p[i] = static_cast<uint8_t>(v[i]);
}
inline void store(uint8_t* p, vf v) { store(p, v, Tail{VL}); }
// Lanes whose byte is `value`.
inline vm bytes_equal(const uint8_t* p, uint8_t value, Tail t) {
    return equal(load(p, t), set1(static_cast<float>(value)));
}
inline vm bytes_equal(const uint8_t* p, uint8_t value) { return bytes_equal(p, value, Tail{VL}); }

// Transposes a VL x VL tile of float32 or bfloat16: out[j * ldo + i] = in[i * ldi + j].
template <class In, class Out>
inline void transpose_tile(const In* in, int64_t ldi, Out* out, int64_t ldo) {
    for (int i = 0; i < VL; ++i)
        for (int j = 0; j < VL; ++j) out[j * ldo + i] = narrow<Out>(widen(in[i * ldi + j]));
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
