#include "core/checks.h"

#include <limits>

namespace fastconv {

std::string to_string(const Shape& shape) {
    std::string text = "(";
    for (int i = 0; i < shape.ndim; ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.ndim == 1 ? ",)" : ")");
}

int64_t checked_mul(const char* op, int64_t a, int64_t b) {
    if (a < 0 || b < 0 || (b != 0 && a > std::numeric_limits<int64_t>::max() / b))
        throw ShapeError(message(op, ": a size of ", a, " x ", b, " elements is too large"));
    return a * b;
}

int64_t element_count(const char* op, const Shape& shape) {
    int64_t count = 1;
    bool empty = false;
    for (int64_t d : shape) {
        if (d < 0) throw ShapeError(message(op, ": negative size in shape ", to_string(shape)));
        if (d == 0)
            empty = true;
        else
            count = checked_mul(op, count, d);
    }
    checked_mul(op, count, 16);  // so that byte offsets of every element type fit as well
    return empty ? 0 : count;
}

void require_ndim(const char* op, const char* what, const Shape& shape, int ndim) {
    if (shape.ndim != ndim)
        throw ShapeError(message(op, ": ", what, " must have ", ndim, " dimensions, got ", shape.ndim,
                                 " (shape ", to_string(shape), ")"));
}

void require_shape(const char* op, const char* what, const Shape& got, const Shape& expected) {
    if (got != expected)
        throw ShapeError(
            message(op, ": ", what, " must have shape ", to_string(expected), ", got ", to_string(got)));
}

void require_dtype(const char* op, const char* what, DType got, DType expected) {
    if (got != expected)
        throw DTypeError(message(op, ": ", what, " must be ", name(expected), ", got ", name(got)));
}

void require_float(const char* op, const char* what, DType got) {
    if (got != DType::f32 && got != DType::f64 && got != DType::bf16)
        throw DTypeError(message(op, ": ", what, " must be float32, float64 or bfloat16, got ", name(got)));
}

}  // namespace fastconv
