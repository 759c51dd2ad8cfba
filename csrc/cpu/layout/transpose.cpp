#include "cpu/layout/transpose.h"

#include "cpu/parallel.h"

namespace fastconv::FC_ISA_NS {

namespace {

// A tile of which only `rows` x `columns` exist: through a full tile on the stack, since one element at a
// time costs several times as much.
void transpose_partial(const float* in, int64_t ldi, float* out, int64_t ldo, int64_t rows, int64_t columns) {
    float from[VL * VL], to[VL * VL];
    for (int64_t i = 0; i < VL; ++i)
        store(from + i * VL, i < rows ? load(in + i * ldi, tail(columns)) : zero());
    transpose_tile(from, VL, to, VL);
    for (int64_t j = 0; j < columns; ++j) store(out + j * ldo, load(to + j * VL), tail(rows));
}

// A few planes become pixels of as many values.
template <int Rows>
void interleave(const float* __restrict in, int64_t ldi, float* __restrict out, int64_t columns) {
    for (int64_t j = 0; j < columns; ++j)
        for (int i = 0; i < Rows; ++i) out[j * Rows + i] = in[i * ldi + j];
}

// And back.
template <int Columns>
void separate(const float* __restrict in, float* __restrict out, int64_t ldo, int64_t rows) {
    for (int64_t i = 0; i < rows; ++i)
        for (int j = 0; j < Columns; ++j) out[j * ldo + i] = in[i * Columns + j];
}

}  // namespace

void transpose_f32(const float* in, int64_t ldi, float* out, int64_t ldo, int64_t rows, int64_t columns) {
    if (rows == ldo && rows == 2) return interleave<2>(in, ldi, out, columns);
    if (rows == ldo && rows == 3) return interleave<3>(in, ldi, out, columns);
    if (rows == ldo && rows == 4) return interleave<4>(in, ldi, out, columns);
    if (columns == ldi && columns == 2) return separate<2>(in, out, ldo, rows);
    if (columns == ldi && columns == 3) return separate<3>(in, out, ldo, rows);
    if (columns == ldi && columns == 4) return separate<4>(in, out, ldo, rows);
    for (int64_t i = 0; i < rows; i += VL)
        for (int64_t j = 0; j < columns; j += VL) {
            const float* from = in + i * ldi + j;
            float* to = out + j * ldo + i;
            if (i + VL <= rows && j + VL <= columns)
                transpose_tile(from, ldi, to, ldo);
            else
                transpose_partial(from, ldi, to, ldo, rows - i < VL ? rows - i : VL,
                                  columns - j < VL ? columns - j : VL);
        }
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

void padded_copy_f32(const PaddedCopy& p, float* out) {
    const int64_t row_floats = p.padded_w * p.c;
    parallel_for(p.n * p.padded_h, 16384 / (row_floats + 1) + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
            float* to = out + row * row_floats;
            const int64_t n = row / p.padded_h, y = row % p.padded_h - p.top;
            if (y < 0 || y >= p.h) {
                for (int64_t i = 0; i < row_floats; ++i) to[i] = 0.0f;
                continue;
            }
            for (int64_t i = 0; i < p.left * p.c; ++i) to[i] = 0.0f;
            for (int64_t i = (p.left + p.w) * p.c; i < row_floats; ++i) to[i] = 0.0f;
            to += p.left * p.c;
            if (p.nchw && p.c > 1) {
                transpose_f32(p.in + (n * p.c * p.h + y) * p.w, p.h * p.w, to, p.c, p.c, p.w);
            } else {
                const float* from = p.in + (n * p.h + y) * p.w * p.c;
                for (int64_t i = 0; i < p.w * p.c; ++i) to[i] = from[i];
            }
        }
    });
}

}  // namespace fastconv::FC_ISA_NS
