// Augmentation of training images: batches (n, C, H, W) of uint8 or float32, every image by its own
// parameters.
#pragma once

#include <cstdint>

#include "fastconv/types.h"

namespace fastconv {

enum class Sampling : uint8_t { nearest, bilinear };

// What lies outside of an image with pixels 0 to n - 1 along an axis, at place t. As scipy.ndimage has them:
//   constant: the fill value wherever t < 0 or t > n - 1.     nearest: the outermost pixel.
//   reflect: d c b a | a b c d | d c b a.                     wrap: t modulo n - 1, so that 0 and n - 1
//   coincide.
// area: the fill value where t < -1/2 or t > n - 1/2, outside of the outermost pixels' squares; nearest
// between.
enum class Outside : uint8_t { constant, area, nearest, reflect, wrap };

enum class Tone : int32_t { none, posterize, solarize, autocontrast, equalize };

// The steps of one pass, in the order of the members. A null pointer leaves a step out.
struct AugmentSteps {
    // Geometry: (n, 2, 3); pixel (x, y) of the result is the image at (m00 x + m01 y + m02, m10 x + m11 y +
    // m12), places that are computed in float64 and rounded to 1/4096 of a pixel. `fill` has a value a
    // channel.
    const double* matrices = nullptr;
    Sampling sampling = Sampling::bilinear;
    Outside outside = Outside::area;
    const double* fill = nullptr;

    // Colour: y = after(contrast(before(x))), where `before` and `after` are (C, C + 1) matrices over the
    // channels and 1, (n, 2, C, C + 1) together, and contrast, (n), blends with the image's mean grey: f v +
    // (1 - f) grey.
    const double* color = nullptr;
    const double* contrast = nullptr;
    double low = 0, high = 1;  // what float32 results are clipped to

    // Tone curves, uint8 only: (n, 2), a Tone and its number.
    const int32_t* tones = nullptr;

    // Rectangles that are painted over: (n, boxes, 4), top, left, height, width, clipped to the image.
    const int64_t* boxes = nullptr;
    int64_t boxes_per_image = 0;
    const double* paint = nullptr;  // a value a channel
};

// Throws ShapeError unless the images can be made: sizes, and places and colours that stay within what fits.
void check_augment(const char* op, const AugmentSteps& steps, const TensorView& x, int64_t height,
                   int64_t width);
// y is (n, C, height, width). uint8 results are rounded after each step, halves up.
void augment_batch(const AugmentSteps& steps, const TensorView& x, const TensorView& y);

// y = x + mean + sigma[i] z for image i, z standard normal: Box and Muller's transform of the words of
// Philox-4x32-10 keyed by keys[i] (see philox.h). Clipped to [low, high]; uint8 is rounded, halves to even.
void gaussian_noise(const TensorView& x, const uint64_t* keys, const double* sigma, double mean, double low,
                    double high, const TensorView& y);

// Each channel filtered along both axes by weights (n, size), size odd, that are centred and add up to 1;
// images continue as mirrors whose outermost pixel is not repeated. uint8: weights rounded to 1/4096, halves
// rounded up.
void separable_blur(const TensorView& x, const double* weights, int64_t size, const TensorView& y);

// f x + (1 - f) s, where s is the mean of 3x3 pixels of which the middle counts five times; the outermost
// pixels stay. uint8: (1 - f) / 13 rounded to 1/65536, halves rounded up.
void sharpen(const TensorView& x, const double* factors, double low, double high, const TensorView& y);

}  // namespace fastconv
