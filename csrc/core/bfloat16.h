// bfloat16 to and from float32. Everything here is `static`: kernel files are compiled once per instruction
// set and must not share code (see HACKING.md), so each file has its own copy.
#pragma once

#include <type_traits>

#include "fastconv/types.h"

namespace fastconv {

static inline float to_float(bfloat16 v) {
    const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
    float f;
    __builtin_memcpy(&f, &bits, sizeof f);
    return f;
}

// Round to nearest, ties to even; a NaN keeps its sign and upper bits and is made quiet.
static inline bfloat16 to_bfloat16(float f) {
    uint32_t bits;
    __builtin_memcpy(&bits, &f, sizeof bits);
    const uint32_t upper = bits >> 16;
    const uint32_t rounded = (bits + 0x7fffu + (upper & 1u)) >> 16;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return {static_cast<uint16_t>(nan ? upper | 0x40u : rounded)};
}

// What an element is computed in: float32 for bfloat16, else the type itself.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, bfloat16>, float, T>;

static inline float widen(bfloat16 v) { return to_float(v); }
static inline float widen(float v) { return v; }
static inline double widen(double v) { return v; }

// A value rounded to the element type T.
template <class T, class V>
static inline T narrow(V v) {
    if constexpr (std::is_same_v<T, bfloat16>)
        return to_bfloat16(static_cast<float>(v));
    else
        return static_cast<T>(v);
}

}  // namespace fastconv
