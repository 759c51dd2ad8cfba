// Where a window's taps fall along one axis, seen from the output (fprop, wgrad) or from the input (dgrad).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/window.h"

namespace fastconv {

struct AxisTap {
    int64_t offset, index;
};

// fprop: tap r reads input position o * stride - pad + r * dilation.
inline std::vector<AxisTap> forward_taps(const WindowAxis& a) {
    std::vector<AxisTap> taps;
    for (int64_t r = 0; r < a.kernel; ++r) taps.push_back({r * a.dilation - a.pad_begin, r});
    return taps;
}

// dgrad: input position i * stride + residue is reached by the taps r with (residue + pad - r * dilation)
// divisible by the stride, from output position i + that quotient. In ascending order of the offset.
inline std::vector<AxisTap> backward_taps(const WindowAxis& a, int64_t residue) {
    std::vector<AxisTap> taps;
    for (int64_t r = a.kernel - 1; r >= 0; --r) {
        const int64_t distance = residue + a.pad_begin - r * a.dilation;
        if (distance % a.stride == 0) taps.push_back({distance / a.stride, r});
    }
    return taps;
}

// The lowest and highest offset of any tap, over all residue classes.
struct Reach {
    int64_t low = INT64_MAX, high = INT64_MIN;
    void add(const std::vector<AxisTap>& taps) {
        for (const AxisTap& t : taps) {
            low = std::min(low, t.offset);
            high = std::max(high, t.offset);
        }
    }
    // Rows or columns of zeros before the input, and its size with those behind, for `outputs` steps.
    int64_t before() const { return std::max<int64_t>(0, -low); }
    int64_t padded(int64_t input, int64_t outputs, int64_t step) const {
        return before() + std::max(input, (outputs - 1) * step + high + 1);
    }
};

// Whether a copy of `planes` images in frames of zeros stays within four times their memory and a little
// more: frames around many tiny pictures could need hundreds of times as much.
inline bool frame_fits(int64_t planes, int64_t pixels, int64_t framed_pixels) {
    constexpr int64_t kLittle = 1 << 22;
    return framed_pixels <= 4 * pixels + kLittle / planes;
}

}  // namespace fastconv
