// Weighted sums of a few elements along one dimension: resizing, gathering, slices with a step.
#pragma once

#include <cstdint>

#include "fastconv/types.h"

namespace fastconv {

// Output o is the sum over taps t in [begin[o], begin[o + 1]) of weight[t] * input[index[t]]; 0 without taps.
struct ResampleTable {
    int64_t inputs = 0, outputs = 0;
    const int64_t* begin = nullptr;  // outputs + 1 of them, from 0, never falling
    const int64_t* index = nullptr;  // begin[outputs] of them, each in [0, inputs)
    const double* weight = nullptr;  // as many; null: all 1

    int64_t taps() const { return begin[outputs]; }
    // Whether every output is a copy of one input, or 0.
    bool copies() const;
};

// The table of three arrays, of which `weight` may have no data, for a dimension of size `inputs`. DTypeError
// or ShapeError where they do not fit.
ResampleTable resample_table(const char* op, int64_t inputs, const TensorView& begin, const TensorView& index,
                             const TensorView& weight);

// The shape of the result. ShapeError where `dim` does not exist or the result is too large.
Shape resample_shape(const char* op, const Shape& input, int64_t dim, int64_t outputs);

// float32, float64 and bfloat16, summed in float32 at least; any other type where the table copies.
void resample(const char* op, const ResampleTable& table, int64_t dim, const TensorView& x,
              const TensorView& y);

}  // namespace fastconv
