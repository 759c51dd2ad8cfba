// The implementations that batch_norm.cpp chooses among.
#pragma once

#include "cpu/isa.h"
#include "ops/batch_norm/batch_norm.h"

namespace fastconv {

// How the float32 kernels cut an array into pieces, by its shape alone; sums over a piece are float32, their
// total is float64 in the order of the pieces.
//
// With inner > 1 a piece is up to `length` neighbours of a plane. With inner == 1 it is up to `length` rows
// of `lanes` = fold * channels floats (a few pixels at once where channels are few), and the last outer %
// fold pixels, if any, are a piece of one short row.
struct BatchNormSplit {
    ChannelView view;
    int64_t fold = 1, lanes = 0, length = 0;
    int64_t segments = 1;              // pieces of a plane
    int64_t rows = 0, short_fold = 0;  // inner == 1: full rows, and pixels of the short one
    int64_t pieces = 0;
};

// Per lane: y = (x - center) * scale + shift; or dx = dy * scale + (x - center) * slope + shift.
struct BatchNormLines {
    const float *center = nullptr, *scale = nullptr, *slope = nullptr, *shift = nullptr;
};

// Mean and sum of squared deviations of each channel. `partials`: 3 * pieces * lanes floats.
FC_ISA_DECLARE(void batch_norm_statistics_f32(const BatchNormSplit& split, const float* x, float* partials,
                                              double* mean, double* deviations))
// Per channel: sum of dy, and of dy * (x - center). `partials`: 2 * pieces * lanes floats.
FC_ISA_DECLARE(void batch_norm_sums_f32(const BatchNormSplit& split, const float* dy, const float* x,
                                        const float* center, float* partials, double* sum, double* product))
FC_ISA_DECLARE(void batch_norm_normalize_f32(const BatchNormSplit& split, const BatchNormLines& lines,
                                             const float* x, float* y))
// Without a slope x is not read: inference.
FC_ISA_DECLARE(void batch_norm_input_gradient_f32(const BatchNormSplit& split, const BatchNormLines& lines,
                                                  const float* dy, const float* x, float* dx))

// The same steps as plain loops in T: the oracle and the float64 path.
template <class T>
void batch_norm_statistics_reference(const ChannelView& view, const T* x, double* mean, double* deviations);
template <class T>
void batch_norm_normalize_reference(const ChannelView& view, const T* x, const double* mean,
                                    const double* invstd, const T* weight, const T* bias, T* y);
template <class T>
void batch_norm_backward_reference(const ChannelView& view, bool training, const T* dy, const T* x,
                                   const double* mean, const double* invstd, const T* weight, T* dx,
                                   T* dweight, T* dbias);

}  // namespace fastconv
