#include "cpu/layout/transpose.h"

#include "cpu/parallel.h"

namespace fastconv::FC_ISA_NS {

void transpose_f32(const float* in, int64_t ldi, float* out, int64_t ldo, int64_t rows, int64_t columns) {
    int64_t i = 0;
    for (; i + VL <= rows; i += VL) {
        int64_t j = 0;
        for (; j + VL <= columns; j += VL) transpose_tile(in + i * ldi + j, ldi, out + j * ldo + i, ldo);
        for (; j < columns; ++j)
            for (int64_t r = i; r < i + VL; ++r) out[j * ldo + r] = in[r * ldi + j];
    }
    for (; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) out[j * ldo + i] = in[i * ldi + j];
}

void transpose_batch_f32(const float* in, float* out, int64_t count, int64_t rows, int64_t columns) {
    // Strips of the output that one page-sized run of each input row feeds.
    constexpr int64_t kStrip = 256;
    const int64_t strips = (columns + kStrip - 1) / kStrip;
    const int64_t grain = 16384 / (rows * kStrip) + 1;
    parallel_for(count * strips, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t n = item / strips, j = item % strips * kStrip;
            const int64_t width = columns - j < kStrip ? columns - j : kStrip;
            transpose_f32(in + n * rows * columns + j, columns, out + (n * columns + j) * rows, rows, rows,
                          width);
        }
    });
}

}  // namespace fastconv::FC_ISA_NS
