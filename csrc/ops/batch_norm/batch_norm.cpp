#include "ops/batch_norm/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "core/bfloat16.h"
#include "core/checks.h"
#include "core/memory.h"
#include "core/widened.h"
#include "ops/batch_norm/kernels.h"

namespace fastconv {
namespace {

constexpr int64_t kPieceFloats = 8192;
constexpr int64_t kMinRows = 32, kMaxRows = 256;
constexpr int64_t kSegment = 4096;
constexpr int64_t kMinLanes = 64;

BatchNormSplit split_of(const ChannelView& view) {
    BatchNormSplit s;
    s.view = view;
    if (view.inner > 1) {
        s.lanes = view.channels;
        s.length = std::min(view.inner, kSegment);
        s.segments = (view.inner + s.length - 1) / s.length;
        s.pieces = view.outer * s.segments;
        return s;
    }
    s.fold = std::min((kMinLanes + view.channels - 1) / view.channels, view.outer);
    s.lanes = s.fold * view.channels;
    s.length = std::clamp(kPieceFloats / s.lanes, kMinRows, kMaxRows);
    s.rows = view.outer / s.fold;
    s.short_fold = view.outer % s.fold;
    s.pieces = (s.rows + s.length - 1) / s.length + (s.short_fold ? 1 : 0);
    return s;
}

Workspace floats(int64_t count) {
    return Workspace(static_cast<size_t>(checked_mul("batch_norm", count, 4)));
}
Workspace doubles(int64_t count) {
    return Workspace(static_cast<size_t>(checked_mul("batch_norm", count, 8)));
}

double at(const TensorView& v, int64_t i, double absent) {
    if (!v.data) return absent;
    if (v.dtype == DType::bf16) return static_cast<double>(to_float(v.as<bfloat16>()[i]));
    return v.dtype == DType::f32 ? static_cast<double>(v.as<float>()[i]) : v.as<double>()[i];
}
void put(const TensorView& v, int64_t i, double value) {
    if (v.dtype == DType::bf16)
        v.as<bfloat16>()[i] = to_bfloat16(static_cast<float>(value));
    else if (v.dtype == DType::f32)
        v.as<float>()[i] = static_cast<float>(value);
    else
        v.as<double>()[i] = value;
}

// Writes a per-channel value to each of a split's lanes.
void spread(const BatchNormSplit& s, float* lanes, int64_t channel, double value) {
    for (int64_t f = 0; f < s.fold; ++f) lanes[f * s.view.channels + channel] = static_cast<float>(value);
}

}  // namespace

ChannelView channel_view(const char* op, const Shape& shape, Layout layout) {
    if (shape.ndim < 2)
        throw ShapeError(message(op, ": input must have at least 2 dimensions, got ", shape.ndim, " (shape ",
                                 to_string(shape), ")"));
    element_count(op, shape);
    const int channel = layout == Layout::nchw ? 1 : shape.ndim - 1;
    ChannelView view{1, shape[channel], 1};
    for (int i = 0; i < shape.ndim; ++i) {
        if (i < channel) view.outer *= shape[i];
        if (i > channel) view.inner *= shape[i];
    }
    return view;
}

void check_batch_norm(const char* op, const BatchNormParams& p, const Shape& input, bool has_running) {
    if (p.training ? p.eps <= 0 : p.eps < 0)
        throw ShapeError(message(op, ": eps must be ", p.training ? "positive in training" : "at least 0",
                                 ", got ", p.eps));
    if (p.training && p.view.values() == 1)
        throw ShapeError(message(op,
                                 ": training needs more than one value per channel, got an input of shape ",
                                 to_string(input)));
    if (!p.training && !has_running)
        throw ShapeError(message(op, ": running_mean and running_var are needed where training is False"));
}

void batch_norm_forward(const BatchNormParams& p, const TensorView& x, const BatchNormArrays& arrays,
                        const TensorView& y, double* mean, double* invstd) {
    if (x.dtype == DType::bf16) {
        const WidenedOut out("batch_norm", y);
        batch_norm_forward(p, WidenedIn("batch_norm", x).view(), arrays, out.view(), mean, invstd);
        return out.round();
    }
    const ChannelView& view = p.view;
    const int64_t channels = view.channels, values = view.values();
    const bool empty = channels == 0 || values == 0;
    const bool f32 = x.dtype == DType::f32;
    const BatchNormSplit split = empty ? BatchNormSplit{} : split_of(view);

    if (!p.training || empty) {
        for (int64_t c = 0; c < channels; ++c) {
            mean[c] = at(arrays.running_mean, c, 0);
            invstd[c] = 1 / std::sqrt(at(arrays.running_var, c, 1) + p.eps);
        }
        if (empty) return;
    } else {
        // invstd receives the sums of squared deviations first.
        if (f32) {
            const Workspace partials = floats(3 * split.pieces * split.lanes);
            FC_ISA_PICK(batch_norm_statistics_f32)(split, x.as<float>(), partials.as<float>(), mean, invstd);
        } else {
            batch_norm_statistics_reference(view, x.as<double>(), mean, invstd);
        }
        for (int64_t c = 0; c < channels; ++c) {
            const double deviations = invstd[c], n = static_cast<double>(values);
            invstd[c] = 1 / std::sqrt(deviations / n + p.eps);
            if (!arrays.running_mean.data) continue;
            const double m = p.momentum;
            put(arrays.running_mean, c, (1 - m) * at(arrays.running_mean, c, 0) + m * mean[c]);
            put(arrays.running_var, c, (1 - m) * at(arrays.running_var, c, 1) + m * (deviations / (n - 1)));
        }
    }

    if (!f32)
        return batch_norm_normalize_reference(view, x.as<double>(), mean, invstd, arrays.weight.as<double>(),
                                              arrays.bias.as<double>(), y.as<double>());
    const Workspace lanes = floats(3 * split.lanes);
    float *center = lanes.as<float>(), *scale = center + split.lanes, *shift = scale + split.lanes;
    for (int64_t c = 0; c < channels; ++c) {
        const double s = at(arrays.weight, c, 1) * invstd[c];
        // What the centre loses when rounded to float32 goes into the shift.
        const double lost = mean[c] - static_cast<double>(static_cast<float>(mean[c]));
        spread(split, center, c, mean[c]);
        spread(split, scale, c, s);
        spread(split, shift, c, at(arrays.bias, c, 0) - (lost == lost ? lost * s : 0));
    }
    FC_ISA_PICK(batch_norm_normalize_f32)(split, {center, scale, nullptr, shift}, x.as<float>(),
                                          y.as<float>());
}

void batch_norm_backward(const ChannelView& view, bool training, const TensorView& dy, const TensorView& x,
                         const double* mean, const double* invstd, const TensorView& weight,
                         const TensorView& dx, const TensorView& dweight, const TensorView& dbias) {
    if (x.dtype == DType::bf16) {
        const WidenedOut out("batch_norm", dx);
        batch_norm_backward(view, training, WidenedIn("batch_norm", dy).view(),
                            WidenedIn("batch_norm", x).view(), mean, invstd, weight, out.view(), dweight,
                            dbias);
        return out.round();
    }
    const int64_t channels = view.channels, values = view.values();
    if (channels == 0 || values == 0) {
        for (int64_t c = 0; c < channels; ++c) {
            if (dweight.data) put(dweight, c, 0);
            if (dbias.data) put(dbias, c, 0);
        }
        return;
    }
    if (dy.dtype != DType::f32)
        return batch_norm_backward_reference(view, training, dy.as<double>(), x.as<double>(), mean, invstd,
                                             weight.as<double>(), dx.as<double>(), dweight.as<double>(),
                                             dbias.as<double>());

    const BatchNormSplit split = split_of(view);
    const Workspace lanes = floats(4 * split.lanes);
    float *center = lanes.as<float>(), *scale = center + split.lanes, *slope = scale + split.lanes,
          *shift = slope + split.lanes;
    for (int64_t c = 0; c < channels; ++c) spread(split, center, c, mean[c]);

    const Workspace totals = doubles(2 * channels);
    double *sum = totals.as<double>(), *product = sum + channels;
    if (dweight.data || dbias.data || (training && dx.data)) {
        const Workspace partials = floats(2 * split.pieces * split.lanes);
        FC_ISA_PICK(batch_norm_sums_f32)(split, dy.as<float>(), x.as<float>(), center, partials.as<float>(),
                                         sum, product);
        for (int64_t c = 0; c < channels; ++c) {
            const double lost = mean[c] - static_cast<double>(center[c]);
            product[c] = (product[c] - lost * sum[c]) * invstd[c];
            if (dweight.data) put(dweight, c, product[c]);
            if (dbias.data) put(dbias, c, sum[c]);
        }
    }
    if (!dx.data) return;

    // Training: dx = a (dy - mean(dy) - xhat mean(dy xhat)) with a = weight * invstd, as a line in dy and x.
    for (int64_t c = 0; c < channels; ++c) {
        const double a = at(weight, c, 1) * invstd[c];
        spread(split, scale, c, a);
        if (!training) continue;
        const double n = static_cast<double>(values), b = -a * invstd[c] * (product[c] / n);
        spread(split, slope, c, b);
        spread(split, shift, c, -a * (sum[c] / n) - b * (mean[c] - static_cast<double>(center[c])));
    }
    FC_ISA_PICK(batch_norm_input_gradient_f32)
    (split, {center, scale, training ? slope : nullptr, shift}, dy.as<float>(), x.as<float>(),
     dx.as<float>());
}

}  // namespace fastconv
