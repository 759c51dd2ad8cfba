// The implementations that pool2d.cpp chooses among. `index` is null where the taps are not wanted; its
// element type is uint8 where `small`, else int32.
#pragma once

#include "cpu/isa.h"
#include "ops/pool2d/plan.h"

namespace fastconv {

// Plain loops in T for either layout, the oracle and the float64 path.
template <class T>
void pool2d_reference(const PoolPlan& plan, const T* x, T* y, void* index, bool small);
template <class T>
void pool2d_backward_reference(const PoolPlan& plan, const T* dy, const void* index, bool small, T* dx);

// Channels-last, float32 or bfloat16: the vector lanes are channels. `streaming`: results past the caches.
FC_ISA_DECLARE(void pool2d_nhwc(const PoolPlan& plan, DType dtype, const void* x, void* y, int64_t y_pitch,
                                void* index, bool small))
FC_ISA_DECLARE(void pool2d_nhwc_backward(const PoolPlan& plan, DType dtype, const void* dy, const void* index,
                                         bool small, bool streaming, void* dx))

// Planar, windows that are alike, by rows; float32 or bfloat16, taps in bytes. A worker's `piece` of scratch
// (in floats): a `line` between its padding (with a stride above 2 another one, sorted by phases), and
// `ring` + 1 rows of `pitch` values and as many of taps; backward, the same and a plane of dx of up to
// `plane` elements.
struct PoolRows {
    int team = 1;
    int64_t line = 0, pitch = 0, ring = 1, plane = 0, piece = 0;
    float* scratch = nullptr;
    bool streaming = false;
};
FC_ISA_DECLARE(void pool2d_nchw_rows(const PoolPlan& plan, const PoolRows& rows, DType dtype, const void* x,
                                     void* y, uint8_t* index))
// Strides along the width of 1 and 2, or 2x2 tiles.
FC_ISA_DECLARE(void pool2d_nchw_rows_backward(const PoolPlan& plan, const PoolRows& rows, DType dtype,
                                              const void* dy, const uint8_t* index, void* dx))

// Planar, the average of whole planes.
FC_ISA_DECLARE(void pool2d_nchw_global(const PoolPlan& plan, DType dtype, const void* x, void* y))
FC_ISA_DECLARE(void pool2d_nchw_global_backward(const PoolPlan& plan, DType dtype, bool streaming,
                                                const void* dy, void* dx))

// Planar, any windows, one at a time. `scratch`: `team` rows of the input's width.
FC_ISA_DECLARE(void pool2d_nchw_f32(const PoolPlan& plan, const float* x, float* y, void* index, bool small))
FC_ISA_DECLARE(void pool2d_nchw_backward_f32(const PoolPlan& plan, const float* dy, const void* index,
                                             bool small, float* dx, float* scratch, int team))

}  // namespace fastconv
