// Matrices of 16-bit elements transposed: the reorder between NCHW and NHWC.
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/bf16/pack.h"

namespace fastconv::FC_ISA_NS {

void bf16_transpose_batch(const uint16_t* in, uint16_t* out, int64_t count, int64_t rows, int64_t columns,
                          int team) {
    const int64_t strips = ceil_div(columns, 32);
    parallel_for(
        count * strips, 65536 / (rows * 32) + 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t matrix = item / strips, j0 = item % strips * 32,
                              width = least(32, columns - j0);
                const uint16_t* from = in + matrix * rows * columns + j0;
                uint16_t* to = out + matrix * rows * columns + j0 * rows;
                for (int64_t i = 0; i < rows; i += 16)
                    for (int64_t j = 0; j < width; j += 16) {
                        __m256i r[16];
                        for (int64_t e = 0; e < 16; ++e)
                            r[e] = i + e < rows ? load_16(from + (i + e) * columns + j, width - j)
                                                : _mm256_setzero_si256();
                        transpose_16(r);
                        const __mmask16 mask = mask_16(rows - i);
                        for (int64_t e = 0; e < least(16, width - j); ++e)
                            _mm256_mask_storeu_epi16(to + (j + e) * rows + i, mask, r[e]);
                    }
            }
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
