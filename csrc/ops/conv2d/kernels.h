// The implementations that conv2d.cpp chooses among. Those that need scratch memory allocate it before they
// start; the per-ISA kernels below them neither allocate nor throw.
#pragma once

#include "ops/conv2d/conv2d.h"

namespace fastconv {

// reference.cpp: plain loops, float32, float64 and bfloat16 (sums in float32), both layouts.
template <class T>
void conv2d_fprop_reference(const Conv2dProblem& p, const T* x, const T* w, const T* bias, T* y);
template <class T>
void conv2d_dgrad_reference(const Conv2dProblem& p, const T* w, const T* dy, const T* bias, T* dx);
template <class T>
void conv2d_wgrad_reference(const Conv2dProblem& p, const T* x, const T* dy, T* dw);
template <class T>
void conv2d_bias_grad_reference(const Conv2dProblem& p, const T* dy, T* dbias);

// implicit_gemm.cpp: any float32 convolution.
void implicit_gemm_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y);
void implicit_gemm_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx);
void implicit_gemm_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw);

// pointwise.cpp: 1x1 convolution of stride 1 on NCHW arrays, as a GEMM whose lanes are pixels.
void pointwise_nchw_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y);
void pointwise_nchw_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx);

// shift.cpp: few output channels on NCHW arrays, stride 1 along the row (dgrad: stride 1), lanes along the
// pixels.
void shift_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y);
void shift_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx);
void shift_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw);

// depthwise.cpp: one filter a channel.
void depthwise_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y);
void depthwise_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx);
void depthwise_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw);

// widened.cpp: bfloat16 arrays as float32, through the best float32 candidate.
void widened_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y);
void widened_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx);
void widened_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw);
void widened_bias_grad(const Conv2dProblem& p, const void* dy, void* dbias);

// bias_grad.cpp
void bias_grad_f32(const Conv2dProblem& p, const float* dy, float* dbias);

}  // namespace fastconv
