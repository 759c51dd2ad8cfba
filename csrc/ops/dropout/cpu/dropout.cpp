// Dropout, 64 elements at a time. The words are integers, so every ISA draws the same mask.
#include "cpu/parallel.h"
#include "cpu/philox.h"
#include "ops/dropout/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kBlocksPerPiece = 128;

// The bounds are values here: behind references every store could have changed them.
template <class T>
inline void thin_out(const uint32_t* __restrict words, uint32_t threshold, float scale,
                     const T* __restrict from, T* __restrict to, int64_t size) {
    for (int64_t i = 0; i < size; ++i)
        to[i] = narrow<T>(widen(from[i]) * (words[i] < threshold ? 0.0f : scale));
}

template <class T>
void run(const DropoutParams& p, const T* x, T* y, int64_t n) {
    // Where every word is dropped the threshold does not fit a word; then `scale` is 0 as well.
    const uint32_t bound = p.threshold > 0xffffffffu ? 0xffffffffu : static_cast<uint32_t>(p.threshold);
    const int64_t blocks = (n + kPhiloxBlock - 1) / kPhiloxBlock;
    parallel_for(blocks, kBlocksPerPiece, [&](int64_t begin, int64_t end, int) {
        const uint32_t threshold = bound;
        const float scale = static_cast<float>(p.scale);
        alignas(64) uint32_t words[kPhiloxBlock];
        for (int64_t b = begin; b < end; ++b) {
            philox_block(static_cast<uint64_t>(b) * kPhiloxLanes, p.key, words);
            const int64_t at = b * kPhiloxBlock, size = n - at;
            if (size >= kPhiloxBlock)
                thin_out(words, threshold, scale, x + at, y + at, kPhiloxBlock);
            else
                thin_out(words, threshold, scale, x + at, y + at, size);
        }
    });
}

}  // namespace

void dropout_f32(const DropoutParams& p, const float* x, float* y, int64_t n) { run(p, x, y, n); }
void dropout_bf16(const DropoutParams& p, const bfloat16* x, bfloat16* y, int64_t n) { run(p, x, y, n); }

}  // namespace fastconv::FC_ISA_NS
