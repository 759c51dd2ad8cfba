// Sum and mean over any dimensions, and their gradient.
#pragma once

#include "fastconv/types.h"

namespace fastconv {

// Which dimensions of a shape are summed.
struct ReduceDims {
    std::array<bool, kMaxDims> reduced{};
};

// The sizes that are left: reduced dimensions become 1 with `keepdim`, else they vanish.
Shape reduced_shape(const Shape& shape, const ReduceDims& dims, bool keepdim);

// y = scale * sum of x over `dims`; with `mean`, divided by the number of terms (NaN where there are none).
// Sums are accumulated in double over fixed chunks, in an order that depends on the shape alone.
void reduce_sum(const TensorView& x, const ReduceDims& dims, bool mean, const TensorView& y);

// dx = dy repeated over `dims`, for the mean divided by the number of terms. dy's shape is the reduced one,
// kept or not.
void reduce_backward(const TensorView& dy, const ReduceDims& dims, bool mean, const TensorView& dx);

}  // namespace fastconv
