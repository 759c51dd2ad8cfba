// Elements at places that an array names, along the middle one of three dimensions, and the way back.
#pragma once

#include "fastconv/types.h"

namespace fastconv {

// Of x (A, L, B) and places (A or 1, M, B or 1): (A, M, B). ShapeError where they do not fit.
Shape gather_shape(const char* op, const Shape& x, const Shape& places);

// What lies at each place twice: the sum, or the later of the two.
enum class Meeting : uint8_t { sum, last };

// y[a, m, b] = x[a, places[a, m, b], b]; float32, float64 or bfloat16, places int64. ShapeError for a place
// outside [0, L), before anything is written.
void gather(const char* op, const TensorView& x, const TensorView& places, const TensorView& y);

// x[a, places[a, m, b], b] gets y[a, m, b], in the order of m; 0 where no place is. Sums are of float32 at
// least.
void scatter(const char* op, Meeting meeting, const TensorView& y, const TensorView& places,
             const TensorView& x);

}  // namespace fastconv
