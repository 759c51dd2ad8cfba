#include "ops/machine/machine.h"

#include "cpu/simd/simd.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Two ports times a latency of 4 or 5 cycles need 8 to 10 chains in flight. 16 registers hold 12
// accumulators, two operands and the scalar build's products. More than 16 would not be unrolled and would
// live in memory.
constexpr int kAccumulators = VL == 16 ? 16 : 12;

}  // namespace

double fma_burst(int64_t iterations, float* sink) {
    // Each chain tends to addend / (1 - factor) = 1, far from overflow and denormals.
    const vf factor = set1(0.5f), addend = set1(0.5f);
    vf acc[kAccumulators];
    for (int j = 0; j < kAccumulators; ++j) acc[j] = set1(0.01f * static_cast<float>(j));
    for (int64_t i = 0; i < iterations; ++i)
        for (int j = 0; j < kAccumulators; ++j) acc[j] = fma(acc[j], factor, addend);
    for (int j = 1; j < kAccumulators; ++j) acc[0] = acc[0] + acc[j];
    store(sink, acc[0]);
    return 2.0 * VL * kAccumulators * static_cast<double>(iterations);
}

void scale_stream(const float* x, float* y, float s, int64_t n, bool streaming) {
    const vf factor = set1(s);
    if (streaming) {
        for (int64_t i = 0; i < n; i += 4 * VL)
            for (int j = 0; j < 4; ++j) store_streaming(y + i + j * VL, load(x + i + j * VL) * factor);
    } else {
        for (int64_t i = 0; i < n; i += 4 * VL)
            for (int j = 0; j < 4; ++j) store(y + i + j * VL, load(x + i + j * VL) * factor);
    }
}

void read_stream(const float* x, int64_t n, float* sink) {
    vf sum[4] = {zero(), zero(), zero(), zero()};
    for (int64_t i = 0; i < n; i += 4 * VL)
        for (int j = 0; j < 4; ++j) sum[j] = sum[j] + load(x + i + j * VL);
    store(sink, (sum[0] + sum[1]) + (sum[2] + sum[3]));
}

}  // namespace fastconv::FC_ISA_NS
