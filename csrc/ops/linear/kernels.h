// The implementations that linear.cpp chooses among.
#pragma once

#include "cpu/isa.h"
#include "ops/linear/linear.h"

namespace fastconv {

// reference.cpp: plain loops.
template <class T>
void linear_forward_reference(const LinearProblem& p, const T* x, const T* w, const T* bias, T* y);
template <class T>
void linear_input_grad_reference(const LinearProblem& p, const T* w, const T* dy, T* dx);
template <class T>
void linear_weight_grad_reference(const LinearProblem& p, const T* x, const T* dy, T* dw);
template <class T>
void linear_bias_grad_reference(const LinearProblem& p, const T* dy, T* db);

// cpu/linear.cpp. The forward pass packs the weights into panels of linear_packed_floats(p) values, unless
// there are so few rows that dot products along the weights' own rows are quicker (then the rows' ends, if
// anything).
FC_ISA_DECLARE(int64_t linear_packed_floats(const LinearProblem& p))
FC_ISA_DECLARE(void linear_forward_run(const LinearProblem& p, const float* x, const float* w,
                                       const float* bias, float* packed, float* y))
// bfloat16 with at most kLinearFewRows rows: dot products in float32.
inline constexpr int64_t kLinearFewRows = 4;
FC_ISA_DECLARE(void linear_few_rows_bf16(const LinearProblem& p, const bfloat16* x, const bfloat16* w,
                                         const bfloat16* bias, bfloat16* y))
FC_ISA_DECLARE(void linear_input_grad_run(const LinearProblem& p, const float* w, const float* dy, float* dx))
// The reduction over rows is cut into linear_splits(p) parts whose partial results (out x in each) are added
// in order.
FC_ISA_DECLARE(int64_t linear_splits(const LinearProblem& p))
FC_ISA_DECLARE(void linear_weight_grad_run(const LinearProblem& p, const float* x, const float* dy,
                                           float* partial, float* dw))

}  // namespace fastconv
