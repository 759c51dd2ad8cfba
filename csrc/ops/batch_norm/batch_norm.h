// Batch normalisation over every dimension but the channels' (Ioffe and Szegedy, 2015).
#pragma once

#include <cstdint>

#include "fastconv/types.h"

namespace fastconv {

// An array seen as (outer, channels, inner): NCHW as (N, C, H*W), NHWC as (N*H*W, C, 1).
struct ChannelView {
    int64_t outer = 0, channels = 0, inner = 0;
    int64_t values() const { return outer * inner; }  // per channel
};

// ShapeError unless `shape` has at least 2 dimensions. Channels are dimension 1 in NCHW and the last in NHWC.
ChannelView channel_view(const char* op, const Shape& shape, Layout layout);

struct BatchNormParams {
    ChannelView view;
    bool training = false;
    double momentum = 0.1;  // weight of the new value in the running statistics
    double eps = 1e-5;
};

// Per-channel arrays (data null where absent) of the input's element type; float32 ones may go with a
// bfloat16 input.
struct BatchNormArrays {
    TensorView weight, bias;
    // Read in inference; in training updated in place: the mean, and the unbiased variance.
    TensorView running_mean, running_var;
};

// ShapeError where training has one value per channel or inference no running statistics.
void check_batch_norm(const char* op, const BatchNormParams& p, const Shape& input, bool has_running);

// y = (x - mean) * invstd * weight + bias, with the batch's statistics in training, else the running ones.
// Writes what was used to `mean` and `invstd` (float64, one a channel), for backward.
void batch_norm_forward(const BatchNormParams& p, const TensorView& x, const BatchNormArrays& arrays,
                        const TensorView& y, double* mean, double* invstd);

// dx, and dweight and dbias (one a channel); each may be null. Reads x, mean and invstd of the forward.
void batch_norm_backward(const ChannelView& view, bool training, const TensorView& dy, const TensorView& x,
                         const double* mean, const double* invstd, const TensorView& weight,
                         const TensorView& dx, const TensorView& dweight, const TensorView& dbias);

}  // namespace fastconv
