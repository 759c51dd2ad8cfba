// softmax and log_softmax over one dimension.
#pragma once

#include "fastconv/types.h"

namespace fastconv {

// An array seen as (outer, classes, inner): the sizes before, of and after the class dimension.
struct ClassAxis {
    int64_t outer = 1;
    int64_t classes = 1;
    int64_t inner = 1;
    int64_t rows() const { return outer * inner; }
};

// Splits `shape` at `dim` (0 <= dim < ndim, or 0 for a 0-dimensional array); ShapeError otherwise.
ClassAxis class_axis(const char* op, const Shape& shape, int64_t dim);

// y = e^x / sum(e^x) over the class dimension, or its logarithm; float32 or float64.
void softmax_forward(const ClassAxis& axis, bool log, const TensorView& x, const TensorView& y);

// dx from the forward's result y and dy: y (dy - sum(dy y)), or dy - e^y sum(dy) for the logarithm.
void softmax_backward(const ClassAxis& axis, bool log, const TensorView& y, const TensorView& dy,
                      const TensorView& dx);

}  // namespace fastconv
