// The kernels that augment.cpp calls; see augment.h for what they compute.
#pragma once

#include "cpu/isa.h"
#include "ops/augment/augment.h"

namespace fastconv {

inline constexpr int64_t kPlaceUnits = 4096;   // of a pixel
inline constexpr int64_t kColorUnits = 65536;  // of a colour matrix's element
inline constexpr int64_t kMaxChannels = 16;    // of images whose colours are changed

// The sizes of a batch and of its results.
struct AugmentShape {
    int64_t images, channels, height, width, out_height, out_width;
};

FC_ISA_DECLARE(void augment_u8(const AugmentSteps& steps, const AugmentShape& s, const uint8_t* x,
                               uint8_t* y))
FC_ISA_DECLARE(void augment_f32(const AugmentSteps& steps, const AugmentShape& s, const float* x, float* y))

// `size` values an image.
struct NoiseParams {
    int64_t images, size;
    const uint64_t* keys;
    const double* sigma;
    float mean, low, high;
};
FC_ISA_DECLARE(void noise_u8(const NoiseParams& p, const uint8_t* x, uint8_t* y))
FC_ISA_DECLARE(void noise_f32(const NoiseParams& p, const float* x, float* y))

// `rows` has room for width + 2 (size / 2) words for each of `team` workers.
struct BlurParams {
    int64_t images, channels, height, width, size;
    const double* weights;
    void* rows;
    int team;
};
FC_ISA_DECLARE(void blur_u8(const BlurParams& p, const uint8_t* x, uint8_t* y))
FC_ISA_DECLARE(void blur_f32(const BlurParams& p, const float* x, float* y))

struct SharpenParams {
    int64_t images, channels, height, width;
    const double* factors;
    float low, high;
};
FC_ISA_DECLARE(void sharpen_u8(const SharpenParams& p, const uint8_t* x, uint8_t* y))
FC_ISA_DECLARE(void sharpen_f32(const SharpenParams& p, const float* x, float* y))

}  // namespace fastconv
