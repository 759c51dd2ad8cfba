// Normal noise, 64 values at a time: Box and Muller's transform in plain loops of float32 arithmetic.
#include "cpu/parallel.h"
#include "cpu/philox.h"
#include "ops/augment/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int kPairs = kPhiloxBlock / 2;

// -2 ln u for u in (0, 1], to 2e-7 of the result or of 1.
inline float minus_two_log(float u) {
    int32_t bits;
    __builtin_memcpy(&bits, &u, sizeof bits);
    // u = m 2^e with m in [1 / sqrt 2, sqrt 2): the bits of sqrt 1/2 are 0x3f3504f3.
    const int32_t e = (bits - 0x3f3504f3) >> 23;
    bits -= e * (1 << 23);
    float m;
    __builtin_memcpy(&m, &bits, sizeof m);
    // ln m = 2 artanh t
    const float t = (m - 1) / (m + 1), s = t * t;
    const float log_m = 2 * t * (1 + s * (1 / 3.0f + s * (1 / 5.0f + s * (1 / 7.0f + s * (1 / 9.0f)))));
    return -2 * (static_cast<float>(e) * 0.69314718f + log_m);
}

// z[i] and z[kPairs + i]: the two normal numbers that Box and Muller make of words i and kPairs + i, whose
// upper 24 bits are the radius' and the angle's.
inline void make_normal(const uint32_t* __restrict words, float* __restrict z) {
    constexpr float kStep = 1.0f / (1 << 24);
    for (int i = 0; i < kPairs; ++i) {
        // In (0, 1], and in [-1/2, 1/2).
        const float u = static_cast<float>(static_cast<int32_t>(words[i] >> 8) + 1) * kStep;
        const float turn =
            static_cast<float>(static_cast<int32_t>(words[kPairs + i] >> 8) - (1 << 23)) * kStep;
        const float radius = __builtin_sqrtf(minus_two_log(u));
        // Sine and cosine of half the angle by Taylor's series, to 6e-8 at a quarter of a turn.
        const float h = turn * 3.14159265f, q = h * h;
        const float sine =
            h * (1 - q * (1 / 6.0f) *
                         (1 - q * (1 / 20.0f) *
                                  (1 - q * (1 / 42.0f) * (1 - q * (1 / 72.0f) * (1 - q * (1 / 110.0f))))));
        const float cosine =
            1 -
            q * (1 / 2.0f) *
                (1 - q * (1 / 12.0f) *
                         (1 - q * (1 / 30.0f) *
                                  (1 - q * (1 / 56.0f) * (1 - q * (1 / 90.0f) * (1 - q * (1 / 132.0f))))));
        z[i] = radius * (1 - 2 * sine * sine);
        z[kPairs + i] = radius * (2 * sine * cosine);
    }
}

inline void store_noisy(float v, float low, float high, float* y) {
    *y = v < low ? low : v > high ? high : v;
}
inline void store_noisy(float v, float low, float high, uint8_t* y) {
    const float within = v < low ? low : v > high ? high : v;
    const float shifter = 12582912.0f;  // 1.5 * 2^23: the sum's last bits are the rounded integer
    const float moved = within + shifter;
    int32_t bits;
    __builtin_memcpy(&bits, &moved, sizeof bits);
    *y = static_cast<uint8_t>(bits & 255);
}

template <class T>
void run(const NoiseParams& p, const T* x, T* y) {
    const int64_t blocks = (p.size + kPhiloxBlock - 1) / kPhiloxBlock;
    parallel_for(p.images * blocks, 64, [&](int64_t begin, int64_t end, int) {
        uint32_t words[kPhiloxBlock];
        float z[kPhiloxBlock];
        for (int64_t b = begin; b < end; ++b) {
            const int64_t image = b / blocks, first = b % blocks * kPhiloxBlock;
            philox_block(static_cast<uint64_t>(b % blocks) * kPhiloxLanes, p.keys[image], words);
            make_normal(words, z);
            const float sigma = static_cast<float>(p.sigma[image]);
            const T* __restrict from = x + image * p.size + first;
            T* __restrict to = y + image * p.size + first;
            const int64_t left = p.size - first, count = left < kPhiloxBlock ? left : kPhiloxBlock;
            for (int64_t i = 0; i < count; ++i)
                store_noisy(static_cast<float>(from[i]) + (p.mean + sigma * z[i]), p.low, p.high, to + i);
        }
    });
}

}  // namespace

void noise_u8(const NoiseParams& p, const uint8_t* x, uint8_t* y) { run(p, x, y); }
void noise_f32(const NoiseParams& p, const float* x, float* y) { run(p, x, y); }

}  // namespace fastconv::FC_ISA_NS
