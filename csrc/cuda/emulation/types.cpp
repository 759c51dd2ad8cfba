#include "types.h"

namespace fastconv::cuda::emulation {

uint16_t half_bits(float value) {
    const uint32_t bits = __float_as_uint(value);
    const uint32_t sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fff;
    // From halfway between the largest half and the next power of two on.
    if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
    // Below 2^-14 a half is a multiple of 2^-24.
    const int exponent = static_cast<int>(magnitude >> 23) - 127;
    if (exponent < -25) return static_cast<uint16_t>(sign);
    const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const int drop = exponent < -14 ? 13 + (-14 - exponent) : 13;
    uint32_t kept = mantissa >> drop;
    const uint32_t rest = mantissa & ((1u << drop) - 1), tie = 1u << (drop - 1);
    if (rest > tie || (rest == tie && (kept & 1))) ++kept;
    // A carry out of the mantissa raises the exponent, which is right.
    if (exponent < -14) return static_cast<uint16_t>(sign | kept);
    return static_cast<uint16_t>(sign | ((static_cast<uint32_t>(exponent + 14) << 10) + kept));
}

float from_half_bits(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
    const uint32_t exponent = half >> 10 & 31, mantissa = half & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
    const float small = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -small : small;
}

uint16_t bfloat16_bits(float value) {
    const uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

float from_bfloat16_bits(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }

}  // namespace fastconv::cuda::emulation
