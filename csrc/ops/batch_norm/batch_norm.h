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

// What follows batch normalisation in the same pass: y = relu(batch_norm(x) + residual).
struct BatchNormFusion {
    TensorView residual;  // of x's shape and type; data null for none
    bool relu = false;
};

// In all of these x, y, dy and dx may be channels-last arrays with a pitch, unless of float64; a sum has
// dx's.

// y = (x - mean) * invstd * weight + bias, with the batch's statistics in training, else the running ones.
// Writes what was used to `mean` and `invstd` (float64, one a channel), for backward. y's data may be null,
// for these alone.
void batch_norm_forward(const BatchNormParams& p, const TensorView& x, const BatchNormArrays& arrays,
                        const TensorView& y, double* mean, double* invstd,
                        const BatchNormFusion& fusion = {});

// The second half of that alone, with statistics that are known already.
void batch_norm_apply(const ChannelView& view, const TensorView& x, const double* mean, const double* invstd,
                      const TensorView& weight, const TensorView& bias, const TensorView& y,
                      const BatchNormFusion& fusion = {});

// Sums that somebody else took, such as the convolution that made the values: over `count` values of each
// channel that of x - center and of its square. A center (null: 0) near the mean keeps the variance accurate.
// `sum` null: 0, the center being the mean.
struct BatchNormSums {
    int64_t channels = 0, count = 0;
    const double *center = nullptr, *sum = nullptr, *squares = nullptr;
};

// The first half: mean and invstd of a batch and, where given, the running statistics' update.
void batch_norm_statistics(const BatchNormSums& sums, double momentum, double eps,
                           const TensorView& running_mean, const TensorView& running_var, double* mean,
                           double* invstd);

// What a convolution in front or behind may do in the same pass, or else calls. These neither allocate nor
// throw: `memory` is 64-byte aligned, of so many bytes.
//
// Each channel's mean and sum of (x - mean)^2; zeros for an empty x.
size_t batch_norm_moments_bytes(const ChannelView& view, DType dtype);
void batch_norm_moments(const ChannelView& view, const TensorView& x, double* mean, double* deviations,
                        void* memory);

// A channel's (x - center) * scale + shift, then perhaps a ReLU: three arrays of float64 for a float64 x, of
// float32 for others.
struct BatchNormLine {
    const void *center = nullptr, *scale = nullptr, *shift = nullptr;
    bool relu = false;
};
// The line by which batch_norm_apply gets its result, bit for bit. weight and bias as there.
void batch_norm_line(DType dtype, int64_t channels, const double* mean, const double* invstd,
                     const TensorView& weight, const TensorView& bias, void* center, void* scale,
                     void* shift);
size_t batch_norm_apply_line_bytes(const ChannelView& view, DType dtype);
void batch_norm_apply_line(const ChannelView& view, const TensorView& x, const BatchNormLine& line,
                           const TensorView& y, void* memory);

// Undoes a fused ReLU: the gradient passes where the output was above 0 (or NaN). With a residual the output
// must be given; else where its data is null its sign is computed anew from x, which saves reading it.
struct BatchNormMask {
    bool relu = false;
    TensorView bias;
    TensorView output;
};

// dx, and dweight and dbias (one a channel), and dresidual (the masked dy); each may be null. Reads x, mean
// and invstd of the forward. `sum`, where given, is added to dx, whose memory it may be. `sums`, where given
// (float32), are what the first reading of dy and x is for: the masked dy's sum and that of its product with
// x - float(mean), all channels of the one and then of the other.
void batch_norm_backward(const ChannelView& view, bool training, const TensorView& dy, const TensorView& x,
                         const double* mean, const double* invstd, const TensorView& weight,
                         const TensorView& dx, const TensorView& dweight, const TensorView& dbias,
                         const BatchNormMask& mask = {}, const TensorView& dresidual = {},
                         const TensorView& sum = {}, const double* sums = nullptr);

}  // namespace fastconv
