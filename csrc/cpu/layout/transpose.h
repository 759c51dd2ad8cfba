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

}  // namespace fastconv
