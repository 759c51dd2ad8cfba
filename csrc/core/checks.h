// Checks shared by the ops' entries: sizes that cannot overflow, shapes and types that must agree.
#pragma once

#include <cstdint>

#include "fastconv/error.h"
#include "fastconv/types.h"

namespace fastconv {

// a * b for non-negative sizes; ShapeError naming `op` where the product does not fit 63 bits.
int64_t checked_mul(const char* op, int64_t a, int64_t b);

// The number of elements of `shape`; ShapeError where its byte size (at 16 bytes an element) would overflow.
int64_t element_count(const char* op, const Shape& shape);

// ShapeError unless `shape` has `ndim` dimensions.
void require_ndim(const char* op, const char* what, const Shape& shape, int ndim);

// ShapeError unless the two shapes are equal.
void require_shape(const char* op, const char* what, const Shape& got, const Shape& expected);

// DTypeError unless `got` equals `expected`.
void require_dtype(const char* op, const char* what, DType got, DType expected);

// DTypeError unless `got` is float32, float64 or bfloat16.
void require_float(const char* op, const char* what, DType got);

// Calls fn(float{}), fn(double{}) or fn(bfloat16{}): the one place where an element type becomes a template
// argument.
template <class Fn>
void visit_float(const char* op, DType dtype, Fn&& fn) {
    require_float(op, "input", dtype);
    if (dtype == DType::f32)
        fn(float{});
    else if (dtype == DType::f64)
        fn(double{});
    else
        fn(bfloat16{});
}

}  // namespace fastconv
