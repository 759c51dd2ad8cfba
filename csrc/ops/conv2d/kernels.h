// The implementations that conv2d.cpp chooses among; candidate.h says what their functions do.
#pragma once

#include "core/bfloat16.h"
#include "ops/conv2d/candidate.h"

namespace fastconv {

// reference.cpp: plain loops, float32, float64 and bfloat16 (sums in float32), both layouts. `sums` has the
// result's size; it is the result itself, except for bfloat16.
template <class T>
void conv2d_fprop_reference(const Conv2dProblem& p, const T* x, const T* w, const T* bias, T* y);
template <class T>
void conv2d_dgrad_reference(const Conv2dProblem& p, const T* w, const T* dy, const T* bias, T* dx,
                            Wide<T>* sums);
template <class T>
void conv2d_wgrad_reference(const Conv2dProblem& p, const T* x, const T* dy, T* dw, Wide<T>* sums);
template <class T>
void conv2d_bias_grad_reference(const Conv2dProblem& p, const T* dy, T* dbias);

// implicit_gemm.cpp: any float32 convolution.
size_t implicit_gemm_fprop_packed_bytes(const Conv2dProblem& p);
void implicit_gemm_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed);
void implicit_gemm_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
size_t implicit_gemm_dgrad_packed_bytes(const Conv2dProblem& p);
void implicit_gemm_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
void implicit_gemm_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void implicit_gemm_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// pointwise.cpp: 1x1 convolution on NCHW arrays (dgrad: of stride 1), as a GEMM whose lanes are pixels.
void pointwise_nchw_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
size_t pointwise_nchw_dgrad_packed_bytes(const Conv2dProblem& p);
void pointwise_nchw_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
void pointwise_nchw_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);

// shift.cpp: few output channels on NCHW arrays, stride 1 along the row (dgrad: stride 1), lanes along the
// pixels.
void shift_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
size_t shift_dgrad_packed_bytes(const Conv2dProblem& p);
void shift_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
void shift_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void shift_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// depthwise.cpp: one filter a channel.
size_t depthwise_packed_bytes(const Conv2dProblem& p);
void depthwise_pack(const Conv2dProblem& p, const void* weight, void* packed);
void depthwise_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void depthwise_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void depthwise_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// widened.cpp: bfloat16 arrays as float32, through the best float32 candidate.
size_t widened_fprop_packed_bytes(const Conv2dProblem& p);
void widened_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed);
void widened_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
size_t widened_dgrad_packed_bytes(const Conv2dProblem& p);
void widened_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
void widened_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void widened_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// bias_grad.cpp
void bias_grad_f32(const Conv2dProblem& p, const float* dy, float* dbias);
void bias_grad_bf16(const Conv2dProblem& p, const bfloat16* dy, bfloat16* dbias);

}  // namespace fastconv
