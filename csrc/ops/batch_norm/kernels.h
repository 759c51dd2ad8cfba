// The implementations that batch_norm.cpp chooses among.
#pragma once

#include "cpu/isa.h"
#include "ops/batch_norm/batch_norm.h"

namespace fastconv {

// How the kernels cut an array into pieces, by its shape alone; sums over a piece are float32, their total is
// float64 in the order of the pieces.
//
// With inner > 1 a piece of a channel is `group` planes (of neighbouring images), or where planes are large
// one of a plane's `segments` stretches of up to `length` values. With inner == 1 it is up to `length` rows
// of `lanes` = fold * channels values (a few pixels at once where channels are few), and the last outer %
// fold pixels, if any, are a piece of one short row.
struct BatchNormSplit {
    ChannelView view;
    int64_t fold = 1, lanes = 0, length = 0;
    int64_t segments = 1, group = 1;
    int64_t rows = 0, short_fold = 0;  // inner == 1: full rows, and pixels of the short one
    int64_t pieces = 0;                // of a channel (inner > 1) or of the array
};

// Per lane: y = (x - center) * scale + shift; and dx = dy * scale + (x - center) * slope + offset.
struct BatchNormLines {
    float *center = nullptr, *scale = nullptr, *shift = nullptr, *slope = nullptr, *offset = nullptr;
};

// What both directions share. The arrays hold float32 or bfloat16.
struct BatchNormJob {
    BatchNormSplit split;
    DType dtype = DType::f32;
    const void* x = nullptr;
    // inner == 1: elements between rows of x and of the results; `lanes` unless pixels lie apart.
    int64_t x_row = 0, out_row = 0;
    bool relu = false;
    // Sums first, in `partials` (3 * pieces * lanes floats, backward 2 *), totals in first and second, and
    // then finish(context, c0, c1), which makes these channels' lines of the totals.
    bool sums = false;
    float* partials = nullptr;
    double *first = nullptr, *second = nullptr;
    void (*finish)(void* context, int64_t c0, int64_t c1) = nullptr;
    void* context = nullptr;
    BatchNormLines lines;
    // inner > 1: channels that are done from end to end at once, their values being in cache; 0: every step
    // over the whole array.
    int64_t slab = 0;
    bool prefetch = false;   // the next slab, while this one is written
    bool streaming = false;  // results past the caches
};

// first: the mean; second: the sum of squared deviations. y = relu(line of x + residual), residual's rows
// being `lanes` long.
struct BatchNormForwardJob : BatchNormJob {
    const void* residual = nullptr;
    void* y = nullptr;
};
FC_ISA_DECLARE(void batch_norm_forward_kernel(const BatchNormForwardJob& job))

// first: the sum of g; second: that of g * (x - center). With relu g is dy where y (the forward's output, or
// where null the line of x) is not below or at 0, else 0. dx and dresidual (= g) may be null; `sum`, where
// given, is added to dx. Rows of dy lie dy_row apart, those of dx and sum out_row, of y and dresidual
// `lanes`.
struct BatchNormBackwardJob : BatchNormJob {
    const void *dy = nullptr, *y = nullptr, *sum = nullptr;
    int64_t dy_row = 0;
    void *dx = nullptr, *dresidual = nullptr;
    bool training = false;
};
FC_ISA_DECLARE(void batch_norm_backward_kernel(const BatchNormBackwardJob& job))

// The same steps as plain loops: the oracle and the float64 path.
void batch_norm_statistics_reference(const ChannelView& view, const double* x, double* mean,
                                     double* deviations);
void batch_norm_normalize_reference(const ChannelView& view, const double* x, const double* mean,
                                    const double* invstd, const double* weight, const double* bias,
                                    const double* residual, bool relu, double* y);
// g = dy where y, or where null the line of x, is not below or at 0.
void batch_norm_mask_reference(const ChannelView& view, const double* dy, const double* y, const double* x,
                               const double* mean, const double* invstd, const double* weight,
                               const double* bias, double* g);
void batch_norm_backward_reference(const ChannelView& view, bool training, const double* dy, const double* x,
                                   const double* mean, const double* invstd, const double* weight, double* dx,
                                   double* dweight, double* dbias, const double* sum_with = nullptr);

}  // namespace fastconv
