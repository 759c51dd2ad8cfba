// Blur by a separable kernel and sharpening, row by row. uint8 is computed in integers: the same results on
// each ISA.
#include "cpu/parallel.h"
#include "ops/augment/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr uint32_t kWeightUnit = 4096;
constexpr int kMostTaps = 1024;

// Weights as the arithmetic has them: for bytes sums of those up to each, rounded to 1/4096, from both ends
// to the middle, so that they add up to 1.
void make_weights(const double* weights, int64_t size, float* made) {
    for (int64_t k = 0; k < size; ++k) made[k] = static_cast<float>(weights[k]);
}
void make_weights(const double* weights, int64_t size, uint32_t* made) {
    double exact = 0;
    uint32_t sum = 0;
    for (int64_t k = 0; k < size / 2; ++k) {
        exact += weights[k];
        const uint32_t rounded = static_cast<uint32_t>(static_cast<int32_t>(exact * kWeightUnit + 0.5));
        made[k] = made[size - 1 - k] = rounded - sum;
        sum = rounded;
    }
    made[size / 2] = kWeightUnit - 2 * sum;
}

inline void store_sum(float sum, float* y) { *y = sum; }
inline void store_sum(uint32_t sum, uint8_t* y) {
    *y = static_cast<uint8_t>((sum + kWeightUnit * kWeightUnit / 2) / (kWeightUnit * kWeightUnit));
}

// Continued as a mirror whose outermost pixel is not repeated; i lies less than n outside.
inline int64_t mirrored(int64_t i, int64_t n) { return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i; }

// `row` has room for the width and `size` / 2 on both sides.
template <class T, class Sum>
void blur_plane(const BlurParams& p, const Sum* weights, const T* x, Sum* __restrict row, T* __restrict y) {
    const int64_t reach = p.size / 2, width = p.width;
    Sum* const middle = row + reach;
    for (int64_t i = 0; i < p.height; ++i) {
        for (int64_t j = 0; j < width; ++j) middle[j] = 0;
        for (int64_t k = 0; k < p.size; ++k) {
            const T* const from = x + mirrored(i + k - reach, p.height) * width;
            const Sum weight = weights[k];
            for (int64_t j = 0; j < width; ++j) middle[j] += weight * static_cast<Sum>(from[j]);
        }
        for (int64_t j = 1; j <= reach; ++j) {
            middle[-j] = middle[j];
            middle[width - 1 + j] = middle[width - 1 - j];
        }
        constexpr int kChunk = 64;
        for (int64_t begin = 0; begin < width; begin += kChunk) {
            const int64_t count = width - begin < kChunk ? width - begin : kChunk;
            Sum sums[kChunk] = {};
            for (int64_t k = 0; k < p.size; ++k) {
                const Sum weight = weights[k];
                for (int64_t j = 0; j < count; ++j) sums[j] += weight * row[begin + j + k];
            }
            for (int64_t j = 0; j < count; ++j) store_sum(sums[j], y + i * width + begin + j);
        }
    }
}

template <class T, class Sum>
void run_blur(const BlurParams& p, const T* x, T* y) {
    const int64_t plane = p.height * p.width, work = plane * p.size * 2;
    const int64_t grain = work > 250000 ? 1 : 250000 / (work + 1) + 1;
    parallel_for(
        p.images * p.channels, grain,
        [&](int64_t begin, int64_t end, int worker) {
            Sum weights[kMostTaps];
            Sum* const row = static_cast<Sum*>(p.rows) + worker * (p.width + p.size);
            for (int64_t i = begin; i < end; ++i) {
                make_weights(p.weights + i / p.channels * p.size, p.size, weights);
                blur_plane(p, weights, x + i * plane, row, y + i * plane);
            }
        },
        p.team);
}

inline int64_t byte_factor(double part) {
    return static_cast<int64_t>(__builtin_floor(part * (kColorUnits / 13.0) + 0.5));
}

// y = own x + part s, with s the weighted sum over 3x3 pixels: own + 13 part = 1.
inline void sharpen_row(const SharpenParams& p, double factor, const float* __restrict x,
                        float* __restrict y) {
    const float part = static_cast<float>((1 - factor) / 13), own = static_cast<float>(factor);
    for (int64_t j = 1; j + 1 < p.width; ++j) {
        const float* const a = x + j - p.width;
        const float* const b = x + j;
        const float* const c = x + j + p.width;
        const float sum = (a[-1] + a[0] + a[1]) + (b[-1] + 5 * b[0] + b[1]) + (c[-1] + c[0] + c[1]);
        const float v = own * b[0] + part * sum;
        y[j] = v < p.low ? p.low : v > p.high ? p.high : v;
    }
}
inline void sharpen_row(const SharpenParams& p, double factor, const uint8_t* __restrict x,
                        uint8_t* __restrict y) {
    const int32_t part = static_cast<int32_t>(byte_factor(1 - factor));
    const int32_t own = static_cast<int32_t>(kColorUnits) - 13 * part;
    for (int64_t j = 1; j + 1 < p.width; ++j) {
        const uint8_t* const a = x + j - p.width;
        const uint8_t* const b = x + j;
        const uint8_t* const c = x + j + p.width;
        const int32_t sum = (a[-1] + a[0] + a[1]) + (b[-1] + 5 * b[0] + b[1]) + (c[-1] + c[0] + c[1]);
        const int32_t v = (own * b[0] + part * sum + static_cast<int32_t>(kColorUnits / 2)) >> 16;
        y[j] = static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

template <class T>
void run_sharpen(const SharpenParams& p, const T* x, T* y) {
    const int64_t plane = p.height * p.width;
    parallel_for(p.images * p.channels, 32768 / (plane + 1) + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            __builtin_memcpy(y + i * plane, x + i * plane, static_cast<size_t>(plane) * sizeof(T));
            const double factor = p.factors[i / p.channels];
            if (factor == 1) continue;
            for (int64_t row = 1; row + 1 < p.height; ++row)
                sharpen_row(p, factor, x + i * plane + row * p.width, y + i * plane + row * p.width);
        }
    });
}

}  // namespace

void blur_u8(const BlurParams& p, const uint8_t* x, uint8_t* y) { run_blur<uint8_t, uint32_t>(p, x, y); }
void blur_f32(const BlurParams& p, const float* x, float* y) { run_blur<float, float>(p, x, y); }
void sharpen_u8(const SharpenParams& p, const uint8_t* x, uint8_t* y) { run_sharpen(p, x, y); }
void sharpen_f32(const SharpenParams& p, const float* x, float* y) { run_sharpen(p, x, y); }

}  // namespace fastconv::FC_ISA_NS
