#include "ops/augment/augment.h"

#include <cmath>

#include "core/checks.h"
#include "core/memory.h"
#include "cpu/threads.h"
#include "ops/augment/kernels.h"

namespace fastconv {
namespace {

constexpr double kFarthest = 2147483648.0;  // pixels from the image, so that places fit 64 bits with room
constexpr int64_t kFarthestBox = int64_t{1} << 40;
constexpr double kStrongest = 1000;  // factor of a colour, so that products of three fit 64 bits

void check_places(const char* op, const AugmentSteps& steps, int64_t images, int64_t height, int64_t width) {
    for (int64_t i = 0; i < 2 * images; ++i) {
        const double* row = steps.matrices + 3 * i;
        const double reach = std::fabs(row[0]) * static_cast<double>(width) +
                             std::fabs(row[1]) * static_cast<double>(height) + std::fabs(row[2]);
        if (!(reach <= kFarthest))
            throw ShapeError(message(op, ": matrices must be finite and stay within 2^31 pixels; image ",
                                     i / 2, " has a row (", row[0], ", ", row[1], ", ", row[2], ")"));
    }
}

void check_colors(const char* op, const AugmentSteps& steps, const TensorView& x) {
    const int64_t channels = x.shape[1];
    if (channels > kMaxChannels)
        throw ShapeError(
            message(op, ": colours of images with ", channels, " channels, at most ", kMaxChannels, " work"));
    for (int64_t i = 0; i < x.shape[0]; ++i) {
        bool good = !steps.contrast || std::fabs(steps.contrast[i]) <= kStrongest;
        const double* const elements = steps.color + i * 2 * channels * (channels + 1);
        for (int64_t e = 0; e < 2 * channels * (channels + 1); ++e) {
            const bool shift = e % (channels + 1) == channels;
            good = good && std::fabs(elements[e]) <= (shift ? 255 * kStrongest : kStrongest);
        }
        if (!good)
            throw ShapeError(message(op, ": the colours of image ", i,
                                     " are multiplied by something not finite or beyond ", kStrongest));
    }
}

AugmentShape shape_of(const TensorView& x, const TensorView& y) {
    return {x.shape[0], x.shape[1], x.shape[2], x.shape[3], y.shape[2], y.shape[3]};
}

}  // namespace

void check_augment(const char* op, const AugmentSteps& steps, const TensorView& x, int64_t height,
                   int64_t width) {
    if (height < 1 || width < 1)
        throw ShapeError(message(op, ": size must be at least 1, got (", height, ", ", width, ")"));
    element_count(op, {x.shape[0], x.shape[1], height, width});
    if (!steps.matrices && (height != x.shape[2] || width != x.shape[3]))
        throw ShapeError(message(op, ": images of another size need matrices"));
    if (steps.matrices) check_places(op, steps, x.shape[0], height, width);
    if (steps.color) check_colors(op, steps, x);
    if (steps.tones && x.dtype != DType::u8)
        throw DTypeError(message(op, ": tone curves are for uint8 images, got ", name(x.dtype)));
    for (int64_t i = 0; steps.tones && i < x.shape[0]; ++i) {
        const int32_t kind = steps.tones[2 * i];
        if (kind < 0 || kind > static_cast<int32_t>(Tone::equalize))
            throw ShapeError(message(op, ": there is no tone curve ", kind));
    }
    for (int64_t i = 0; steps.boxes && i < 4 * x.shape[0] * steps.boxes_per_image; ++i) {
        const int64_t v = steps.boxes[i];
        if (v > kFarthestBox || v < (i % 4 < 2 ? -kFarthestBox : 0))
            throw ShapeError(
                message(op, ": boxes must be (top, left, height, width) with sizes of 0 or more, got ", v));
    }
}

void augment_batch(const AugmentSteps& steps, const TensorView& x, const TensorView& y) {
    const AugmentShape s = shape_of(x, y);
    if (x.dtype == DType::u8)
        FC_ISA_PICK(augment_u8)(steps, s, x.as<uint8_t>(), y.as<uint8_t>());
    else
        FC_ISA_PICK(augment_f32)(steps, s, x.as<float>(), y.as<float>());
}

void gaussian_noise(const TensorView& x, const uint64_t* keys, const double* sigma, double mean, double low,
                    double high, const TensorView& y) {
    const NoiseParams p{x.shape[0],
                        x.shape[1] * x.shape[2] * x.shape[3],
                        keys,
                        sigma,
                        static_cast<float>(mean),
                        static_cast<float>(low),
                        static_cast<float>(high)};
    if (x.dtype == DType::u8)
        FC_ISA_PICK(noise_u8)(p, x.as<uint8_t>(), y.as<uint8_t>());
    else
        FC_ISA_PICK(noise_f32)(p, x.as<float>(), y.as<float>());
}

void separable_blur(const TensorView& x, const double* weights, int64_t size, const TensorView& y) {
    const int team = num_threads();
    const int64_t row = checked_mul("separable_blur", x.shape[3] + size, 4);
    Workspace rows(static_cast<size_t>(checked_mul("separable_blur", row, team)));
    const BlurParams p{x.shape[0], x.shape[1], x.shape[2], x.shape[3], size, weights, rows.as<char>(), team};
    if (x.dtype == DType::u8)
        FC_ISA_PICK(blur_u8)(p, x.as<uint8_t>(), y.as<uint8_t>());
    else
        FC_ISA_PICK(blur_f32)(p, x.as<float>(), y.as<float>());
}

void sharpen(const TensorView& x, const double* factors, double low, double high, const TensorView& y) {
    const SharpenParams p{x.shape[0],
                          x.shape[1],
                          x.shape[2],
                          x.shape[3],
                          factors,
                          static_cast<float>(low),
                          static_cast<float>(high)};
    if (x.dtype == DType::u8)
        FC_ISA_PICK(sharpen_u8)(p, x.as<uint8_t>(), y.as<uint8_t>());
    else
        FC_ISA_PICK(sharpen_f32)(p, x.as<float>(), y.as<float>());
}

}  // namespace fastconv
