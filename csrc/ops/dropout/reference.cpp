#include "ops/dropout/kernels.h"

namespace fastconv {
namespace {

// Output `word` of Philox-4x32-10 for a counter.
uint32_t philox(uint64_t counter, uint64_t key, int word) {
    uint32_t c[4] = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0};
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
        const uint32_t next[4] = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
                                  static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
        for (int i = 0; i < 4; ++i) c[i] = next[i];
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    return c[word];
}

}  // namespace

template <class T>
void dropout_reference(const DropoutParams& p, const T* x, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        const int64_t block = i / kPhiloxBlock, within = i % kPhiloxBlock;
        const auto counter = static_cast<uint64_t>(block * kPhiloxLanes + within % kPhiloxLanes);
        const uint32_t word = philox(counter, p.key, static_cast<int>(within / kPhiloxLanes));
        y[i] = x[i] * (word < p.threshold ? T(0) : T(p.scale));
    }
}

template void dropout_reference(const DropoutParams&, const float*, float*, int64_t);
template void dropout_reference(const DropoutParams&, const double*, double*, int64_t);

}  // namespace fastconv
