// Arithmetic of two arrays with broadcasting, and the partial derivatives that its gradients multiply by.
#pragma once

#include <string>

#include "fastconv/types.h"

namespace fastconv {

enum class Binary : uint8_t {
    add,
    mul,
    sub,
    div,
    maximum,
    minimum,
    pow,
    prelu,  // a where a > 0, a b elsewhere
    equal,  // 1 where the two are equal, 0 elsewhere
    // Partial derivatives, a being the first operand and b the second.
    div_by_b,
    maximum_by_a,  // 1/2 where the two are equal; with a and b exchanged it is the other one's
    minimum_by_a,
    pow_by_a,
    pow_by_b,
    prelu_by_a,
    prelu_by_b,
};

// ShapeError for an unknown name; the names are the enumerators'.
Binary binary_from_name(const std::string& name);

// NumPy's rule: shapes are aligned at the end, sizes must be equal or 1. ShapeError naming both otherwise.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);

// out = a op b. Each of a and b broadcasts to out's shape (the caller has checked that); all of one float
// type, except that one of a and b may be a float32 number where the others are bfloat16.
void binary(Binary kind, const TensorView& a, const TensorView& b, const TensorView& out);

// The same with a number for b, or with `first` for a, which is rounded to the type that x is computed in.
void binary_number(Binary kind, const TensorView& x, double number, bool first, const TensorView& out);

}  // namespace fastconv
