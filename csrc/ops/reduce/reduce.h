// Sum, mean, maximum, minimum and product over any dimensions, and the gradient of the first two.
#pragma once

#include <string>

#include "fastconv/types.h"

namespace fastconv {

enum class ReduceKind : uint8_t { sum, mean, amax, amin, prod };

// ShapeError for an unknown name; the names are the enumerators'.
ReduceKind reduce_kind_from_name(const std::string& name);

// Which dimensions of a shape are summed.
struct ReduceDims {
    std::array<bool, kMaxDims> reduced{};
};

// The sizes that are left: reduced dimensions become 1 with `keepdim`, else they vanish.
Shape reduced_shape(const Shape& shape, const ReduceDims& dims, bool keepdim);

// ShapeError where there are results but nothing to take the largest or smallest of.
void require_terms(ReduceKind kind, const Shape& shape, const ReduceDims& dims);

// ShapeError unless `kind` is sum or mean, whose gradient is one step; the others' is made of several.
void require_summed(ReduceKind kind);

// y = x reduced over `dims`: of nothing the sum is 0, the product 1, the mean NaN. Computed in double over
// fixed chunks, in an order that depends on the shape alone. Maxima and minima are NaN where a term is.
void reduce(ReduceKind kind, const TensorView& x, const ReduceDims& dims, const TensorView& y);

// Of sum and mean: dx = dy repeated over `dims`, for the mean divided by the number of terms. dy's shape is
// the reduced one, kept or not.
void reduce_backward(ReduceKind kind, const TensorView& dy, const ReduceDims& dims, const TensorView& dx);

}  // namespace fastconv
