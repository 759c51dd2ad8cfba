// Fully connected layer: y = x weight^T + bias, and its gradients.
#pragma once

#include <cstdint>

#include "fastconv/types.h"

namespace fastconv {

// x (rows, in), weight (out, in), y (rows, out), all contiguous.
struct LinearProblem {
    DType dtype = DType::f32;
    int64_t rows = 0, in = 0, out = 0;
};

// `x` is the input's shape (..., in), whose leading dimensions are the rows. ShapeError naming `op` where the
// shapes do not fit.
LinearProblem linear_problem(const char* op, DType dtype, const Shape& x, const Shape& weight);

// bias (out values) may be null.
void linear_forward(const LinearProblem& p, const void* x, const void* weight, const void* bias, void* y);
void linear_input_grad(const LinearProblem& p, const void* weight, const void* dy, void* dx);
void linear_weight_grad(const LinearProblem& p, const void* x, const void* dy, void* dweight);
void linear_bias_grad(const LinearProblem& p, const void* dy, void* dbias);

}  // namespace fastconv
