#pragma once

// CUDA's own types and keywords, as far as kernels use them, for the host compiler.

#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

#define FC_EMULATION_VECTORS(name, type, bytes)                                 \
    struct alignas(2 * bytes) name##2 { type x, y; };                           \
    struct alignas(bytes) name##3 { type x, y, z; };                            \
    struct alignas(4 * bytes) name##4 { type x, y, z, w; };                     \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }            \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
// clang-format off
FC_EMULATION_VECTORS(char, signed char, 1)
FC_EMULATION_VECTORS(uchar, unsigned char, 1)
FC_EMULATION_VECTORS(short, short, 2)
FC_EMULATION_VECTORS(ushort, unsigned short, 2)
FC_EMULATION_VECTORS(int, int, 4)
FC_EMULATION_VECTORS(uint, unsigned, 4)
FC_EMULATION_VECTORS(float, float, 4)
// clang-format on
#undef FC_EMULATION_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct CUstream_st;
using cudaStream_t = CUstream_st*;

// Storage of 16 bits, rounded to nearest, ties to even; not-a-number becomes 0x7fff, as the hardware's
// conversions do.
struct alignas(2) __half {
    uint16_t bits;
};
struct alignas(2) __nv_bfloat16 {
    uint16_t bits;
};
struct alignas(4) __half2 {
    __half x, y;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

namespace fastconv::cuda::emulation {
uint16_t half_bits(float value);
float from_half_bits(uint16_t bits);
uint16_t bfloat16_bits(float value);
float from_bfloat16_bits(uint16_t bits);
}  // namespace fastconv::cuda::emulation

inline __half __float2half_rn(float v) { return {fastconv::cuda::emulation::half_bits(v)}; }
inline __half __float2half(float v) { return __float2half_rn(v); }
inline float __half2float(__half v) { return fastconv::cuda::emulation::from_half_bits(v.bits); }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline unsigned short __half_as_ushort(__half v) { return v.bits; }
inline __nv_bfloat16 __float2bfloat16_rn(float v) { return {fastconv::cuda::emulation::bfloat16_bits(v)}; }
inline __nv_bfloat16 __float2bfloat16(float v) { return __float2bfloat16_rn(v); }
inline float __bfloat162float(__nv_bfloat16 v) {
    return fastconv::cuda::emulation::from_bfloat16_bits(v.bits);
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return {bits}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.bits; }

// Bits as numbers and numbers as bits.
inline float __uint_as_float(unsigned bits) {
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    __builtin_memcpy(&bits, &value, 4);
    return bits;
}
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __clz(int v) { return v ? __builtin_clz(static_cast<unsigned>(v)) : 32; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
