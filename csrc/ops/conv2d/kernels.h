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
bool implicit_gemm_fuses_prologue(const Conv2dProblem& p);
void implicit_gemm_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
size_t implicit_gemm_dgrad_packed_bytes(const Conv2dProblem& p);
void implicit_gemm_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
bool implicit_gemm_fuses_sums(const Conv2dProblem& p);
void implicit_gemm_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
bool implicit_gemm_wgrad_fuses_prologue(const Conv2dProblem& p);
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

// winograd.cpp: dilation 1, 3x3 by tiles of T x T outputs (4 or 6), other filters with T = 4. Of stride 1, or
// over the phases of a stride (fprop and wgrad).
template <int T>
const char* winograd_declines(const Conv2dProblem& p);
const char* winograd_phases_declines(const Conv2dProblem& p);
const char* winograd_phases_dgrad_declines(const Conv2dProblem& p);
template <int T>
const char* winograd_fprop_unwanted(const Conv2dProblem& p);
template <int T>
size_t winograd_fprop_packed_bytes(const Conv2dProblem& p);
template <int T>
void winograd_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed);
template <int T>
bool winograd_fprop_packs_itself(const Conv2dProblem& p, int team);
template <int T>
void winograd_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
template <int T>
const char* winograd_dgrad_unwanted(const Conv2dProblem& p);
template <int T>
size_t winograd_dgrad_packed_bytes(const Conv2dProblem& p);
template <int T>
void winograd_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
template <int T>
bool winograd_dgrad_packs_itself(const Conv2dProblem& p, int team);
template <int T>
void winograd_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
const char* winograd_wgrad_unwanted(const Conv2dProblem& p);
void winograd_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// winograd_rows.cpp: few channels of many images on NCHW arrays, lanes along the images.
const char* winograd_rows_fprop_declines(const Conv2dProblem& p);
const char* winograd_rows_fprop_unwanted(const Conv2dProblem& p);
const char* winograd_rows_dgrad_declines(const Conv2dProblem& p);
const char* winograd_rows_dgrad_unwanted(const Conv2dProblem& p);
const char* winograd_rows_wgrad_declines(const Conv2dProblem& p);
const char* winograd_rows_wgrad_unwanted(const Conv2dProblem& p);
size_t winograd_rows_packed_bytes(const Conv2dProblem& p);
void winograd_rows_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed);
void winograd_rows_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
void winograd_rows_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void winograd_rows_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void winograd_rows_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// scatter.cpp: dgrad of few input channels, lanes along a filter's row.
const char* scatter_dgrad_declines(const Conv2dProblem& p);
const char* scatter_dgrad_unwanted(const Conv2dProblem& p);
size_t scatter_dgrad_packed_bytes(const Conv2dProblem& p);
void scatter_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
void scatter_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);

// planar.cpp: few input channels on NCHW arrays, few output channels on either layout: lanes along the pixels
// of rows in cache. Null or the reason to decline.
const char* planar_fprop_declines(const Conv2dProblem& p);
const char* planar_fprop_unwanted(const Conv2dProblem& p);
size_t planar_fprop_packed_bytes(const Conv2dProblem& p);
void planar_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed);
void planar_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
const char* planar_dgrad_declines(const Conv2dProblem& p);
const char* planar_dgrad_unwanted(const Conv2dProblem& p);
size_t planar_dgrad_packed_bytes(const Conv2dProblem& p);
void planar_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
void planar_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);

// strips.cpp: few channels a group on NHWC arrays, lanes along the output channels of all groups.
const char* strip_fprop_declines(const Conv2dProblem& p);
const char* strip_fprop_unwanted(const Conv2dProblem& p);
size_t strip_fprop_packed_bytes(const Conv2dProblem& p);
void strip_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed);
void strip_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
const char* strip_dgrad_declines(const Conv2dProblem& p);
const char* strip_dgrad_unwanted(const Conv2dProblem& p);
size_t strip_dgrad_packed_bytes(const Conv2dProblem& p);
void strip_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
void strip_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
const char* strip_wgrad_declines(const Conv2dProblem& p);
const char* strip_wgrad_unwanted(const Conv2dProblem& p);
void strip_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// tap_wgrad.cpp: few input channels, lanes along the output channels.
const char* tap_wgrad_declines(const Conv2dProblem& p);
const char* tap_wgrad_unwanted(const Conv2dProblem& p);
void tap_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// im2col.cpp: few pixels and many weights, which are read as they are.
const char* im2col_declines(const Conv2dProblem& p);
const char* im2col_fprop_unwanted(const Conv2dProblem& p);
void im2col_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
const char* im2col_dgrad_unwanted(const Conv2dProblem& p);
void im2col_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
const char* im2col_wgrad_unwanted(const Conv2dProblem& p);
void im2col_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// depthwise.cpp: one filter an output channel.
size_t depthwise_packed_bytes(const Conv2dProblem& p);
void depthwise_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed);
void depthwise_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
bool depthwise_fuses_activation(const Conv2dProblem& p, Activation a);
void depthwise_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void depthwise_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void depthwise_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// bf16.cpp: bfloat16 on AMX tiles or vdpbf16ps; declines where bf16_tier() says that neither is here.
const char* bf16_fprop_declines(const Conv2dProblem& p);
size_t bf16_fprop_packed_bytes(const Conv2dProblem& p);
void bf16_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed);
bool bf16_fprop_packs_itself(const Conv2dProblem& p, int);
void bf16_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
const char* bf16_dgrad_declines(const Conv2dProblem& p);
size_t bf16_dgrad_packed_bytes(const Conv2dProblem& p);
void bf16_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
bool bf16_dgrad_packs_itself(const Conv2dProblem& p, int);
void bf16_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
const char* bf16_wgrad_declines(const Conv2dProblem& p);
void bf16_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// widened.cpp: bfloat16 arrays as float32, through the best float32 candidate.
size_t widened_fprop_packed_bytes(const Conv2dProblem& p);
void widened_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed);
bool widened_fprop_packs_itself(const Conv2dProblem& p, int team);
void widened_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
size_t widened_dgrad_packed_bytes(const Conv2dProblem& p);
void widened_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed);
bool widened_dgrad_packs_itself(const Conv2dProblem& p, int team);
void widened_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena);
void widened_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena);

// bias_grad.cpp
void bias_grad_f32(const Conv2dProblem& p, const float* dy, float* dbias);
void bias_grad_bf16(const Conv2dProblem& p, const bfloat16* dy, bfloat16* dbias);

}  // namespace fastconv
