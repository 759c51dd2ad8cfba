// Dropout, 64 elements at a time: sixteen Philox counters side by side in plain loops, which the compiler
// vectorises for each ISA. The words are integers, so every ISA draws the same mask.
#include "cpu/parallel.h"
#include "ops/dropout/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kBlocksPerPiece = 128;
constexpr int kLanes = kPhiloxLanes;

// words[16 j + l] = output j of counter `first` + l.
inline void philox_block(uint64_t first, uint64_t key, uint32_t* __restrict words) {
    uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
    for (int l = 0; l < kLanes; ++l) {
        // `first` is a multiple of 16, so its low word does not carry.
        c0[l] = static_cast<uint32_t>(first) + static_cast<uint32_t>(l);
        c1[l] = static_cast<uint32_t>(first >> 32);
        c2[l] = 0;
        c3[l] = 0;
    }
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        for (int l = 0; l < kLanes; ++l) {
            const uint64_t p0 = uint64_t{0xD2511F53} * c0[l], p1 = uint64_t{0xCD9E8D57} * c2[l];
            c0[l] = static_cast<uint32_t>(p1 >> 32) ^ c1[l] ^ k0;
            c1[l] = static_cast<uint32_t>(p1);
            c2[l] = static_cast<uint32_t>(p0 >> 32) ^ c3[l] ^ k1;
            c3[l] = static_cast<uint32_t>(p0);
        }
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    for (int l = 0; l < kLanes; ++l) {
        words[l] = c0[l];
        words[kLanes + l] = c1[l];
        words[2 * kLanes + l] = c2[l];
        words[3 * kLanes + l] = c3[l];
    }
}

template <class T>
void run(const DropoutParams& p, const T* x, T* y, int64_t n) {
    const float scale = static_cast<float>(p.scale);
    // Where every word is dropped the threshold does not fit a word; then `scale` is 0 as well.
    const uint32_t threshold = p.threshold > 0xffffffffu ? 0xffffffffu : static_cast<uint32_t>(p.threshold);
    const int64_t blocks = (n + kPhiloxBlock - 1) / kPhiloxBlock;
    parallel_for(blocks, kBlocksPerPiece, [&](int64_t begin, int64_t end, int) {
        uint32_t words[kPhiloxBlock];
        for (int64_t b = begin; b < end; ++b) {
            philox_block(static_cast<uint64_t>(b) * kLanes, p.key, words);
            const T* __restrict from = x + b * kPhiloxBlock;
            T* __restrict to = y + b * kPhiloxBlock;
            const int64_t size = n - b * kPhiloxBlock;
            if (size >= kPhiloxBlock) {
                for (int64_t i = 0; i < kPhiloxBlock; ++i)
                    to[i] = narrow<T>(widen(from[i]) * (words[i] < threshold ? 0.0f : scale));
            } else {
                for (int64_t i = 0; i < size; ++i)
                    to[i] = narrow<T>(widen(from[i]) * (words[i] < threshold ? 0.0f : scale));
            }
        }
    });
}

}  // namespace

void dropout_f32(const DropoutParams& p, const float* x, float* y, int64_t n) { run(p, x, y, n); }
void dropout_bf16(const DropoutParams& p, const bfloat16* x, bfloat16* y, int64_t n) { run(p, x, y, n); }

}  // namespace fastconv::FC_ISA_NS
