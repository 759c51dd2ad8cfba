// Matrix transposition, and with it the reorder between NCHW and NHWC.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fastconv {

FC_ISA_DECLARE(
    // out[j * ldo + i] = in[i * ldi + j] for i < rows, j < columns; one thread.
    void transpose_f32(const float* in, int64_t ldi, float* out, int64_t ldo, int64_t rows, int64_t columns))
FC_ISA_DECLARE(
    // `count` matrices of rows x columns, each contiguous, transposed one by one; in parallel. With rows = C
    // and columns = H * W this turns NCHW into NHWC, and the other way round back.
    void transpose_batch_f32(const float* in, float* out, int64_t count, int64_t rows, int64_t columns))

// A channels-last copy of an image batch in a frame of zeros.
struct PaddedCopy {
    const float* in;
    bool nchw;  // the layout of `in`
    int64_t n, c, h, w;
    int64_t top, left;           // zeros before the image
    int64_t padded_h, padded_w;  // size of the copy
};
FC_ISA_DECLARE(void padded_copy_f32(const PaddedCopy& p, float* out))

}  // namespace fastconv
