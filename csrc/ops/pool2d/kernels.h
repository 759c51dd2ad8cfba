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

// Channels-last: the vector lanes are channels.
FC_ISA_DECLARE(void pool2d_nhwc_f32(const PoolPlan& plan, const float* x, float* y, void* index, bool small))
FC_ISA_DECLARE(void pool2d_nhwc_backward_f32(const PoolPlan& plan, const float* dy, const void* index,
                                             bool small, float* dx))

// Plane by plane. `offsets` has one entry a tap of a row: where the tap of output column 0 lies in the staged
// row, whose phases (columns that are equal modulo the stride) are `pitch` floats apart; null where windows
// are reduced one at a time. `scratch` holds `team` pieces of `piece` floats.
struct PoolStage {
    const int64_t* offsets = nullptr;
    int64_t phases = 1, pitch = 0;
    int team = 1;
    int64_t piece = 0;
    float* scratch = nullptr;
};
FC_ISA_DECLARE(void pool2d_nchw_f32(const PoolPlan& plan, const PoolStage& stage, const float* x, float* y,
                                    void* index, bool small))
// `scratch`: `team` rows of the input's width.
FC_ISA_DECLARE(void pool2d_nchw_backward_f32(const PoolPlan& plan, const float* dy, const void* index,
                                             bool small, float* dx, float* scratch, int team))

}  // namespace fastconv
