// Sum and product of two arrays with broadcasting.
#pragma once

#include <string>

#include "fastconv/types.h"

namespace fastconv {

enum class Binary : uint8_t { add, mul };

// "add" or "mul"; ShapeError otherwise.
Binary binary_from_name(const std::string& name);

// NumPy's rule: shapes are aligned at the end, sizes must be equal or 1. ShapeError naming both otherwise.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);

// out = a op b. Each of a and b broadcasts to out's shape (the caller has checked that); all of one float
// type, except that b may be a float32 number where the others are bfloat16.
void binary(Binary kind, const TensorView& a, const TensorView& b, const TensorView& out);

}  // namespace fastconv
