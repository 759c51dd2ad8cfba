#include "ops/batch_norm/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "core/bfloat16.h"
#include "core/checks.h"
#include "core/memory.h"
#include "cpu/threads.h"
#include "ops/batch_norm/kernels.h"

namespace fastconv {
namespace {

constexpr int64_t kPieceValues = 32768;
constexpr int64_t kMinRows = 32, kMaxRows = 256;
constexpr int64_t kSegment = 4096;
constexpr int64_t kMinLanes = 64;

// A slab of channels and its successor, which is prefetched, share the second-level cache; a slab's stretch
// of one image is long enough for the hardware's prefetching.
constexpr int64_t kSlabBytes = 640 << 10;
constexpr int64_t kStretchBytes = 32 << 10;
// Results that no cache would hold until they are read go past it, which spares reading what they overwrite.
constexpr int64_t kStreamingBytes = 8 << 20;

// The elements between a pixel and the next, where they are not just its channels: else 0.
int64_t pitch_of(const ChannelView& view, const TensorView& array) {
    return array.data && array.pitch != view.channels ? array.pitch : 0;
}

// `apart`: in some array pixels do not follow each other.
BatchNormSplit split_of(const ChannelView& view, bool apart = false) {
    BatchNormSplit s;
    s.view = view;
    if (view.inner > 1) {
        s.lanes = view.channels;
        s.length = std::min(view.inner, kSegment);
        s.segments = (view.inner + s.length - 1) / s.length;
        s.group = s.segments > 1 ? 1 : std::min(view.outer, kSegment / view.inner);
        s.pieces = s.segments > 1 ? view.outer * s.segments : (view.outer + s.group - 1) / s.group;
        return s;
    }
    s.fold = apart ? 1 : std::min((kMinLanes + view.channels - 1) / view.channels, view.outer);
    s.lanes = s.fold * view.channels;
    s.length = std::clamp(kPieceValues / s.lanes, kMinRows, kMaxRows);
    s.rows = view.outer / s.fold;
    s.short_fold = view.outer % s.fold;
    s.pieces = (s.rows + s.length - 1) / s.length + (s.short_fold ? 1 : 0);
    return s;
}

// How the work goes through the caches; no bit of a result depends on it. `inputs` arrays are read twice.
void schedule(BatchNormJob& job, DType dtype, int64_t inputs) {
    const ChannelView& view = job.split.view;
    const int64_t plane = view.inner * size_of(dtype), channel = plane * view.outer * inputs;
    job.dtype = dtype;
    job.streaming = view.values() * view.channels * size_of(dtype) >= kStreamingBytes;
    if (view.inner == 1) return;
    const int64_t threads = num_threads();
    if (threads > 1 && view.channels < 2 * threads) return;
    job.slab = std::max<int64_t>(1, std::min(kStretchBytes / plane, kSlabBytes / channel));
    if (threads > 1) job.slab = std::min(job.slab, std::max<int64_t>(1, view.channels / (4 * threads)));
    job.prefetch = job.streaming && job.slab * channel <= kSlabBytes;
}

// A step that a kernel calls back for, with the channels whose totals are known.
template <class Fn>
void call_back(BatchNormJob& job, Fn& fn) {
    job.context = &fn;
    job.finish = [](void* context, int64_t c0, int64_t c1) {
        for (int64_t c = c0; c < c1; ++c) (*static_cast<Fn*>(context))(c);
    };
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

namespace {

// The forward's line of channel c, with a float32 centre: what that loses in rounding goes into the shift.
struct Line {
    double scale, shift;
    Line(int64_t c, double mean, double invstd, const TensorView& weight, const TensorView& bias) {
        const double lost = mean - static_cast<double>(static_cast<float>(mean));
        scale = at(weight, c, 1) * invstd;
        shift = at(bias, c, 0) - (lost == lost ? lost * scale : 0);
    }
};

// The lanes' lines, in memory of their own.
struct Lines {
    explicit Lines(const BatchNormSplit& split) : split(split), memory(floats(5 * split.lanes)) {
        place(memory.as<float>());
    }
    // In somebody else's.
    Lines(const BatchNormSplit& split, void* elsewhere) : split(split) {
        place(static_cast<float*>(elsewhere));
    }
    static size_t bytes(const BatchNormSplit& split) {
        return static_cast<size_t>(5 * split.lanes) * sizeof(float);
    }
    void place(float* at) {
        // Backward reads lines that it has no use for.
        std::fill_n(at, 5 * split.lanes, 0.0f);
        for (float** line : {&lines.center, &lines.scale, &lines.shift, &lines.slope, &lines.offset}) {
            *line = at;
            at += split.lanes;
        }
    }
    // The forward's line of channel c.
    void put_forward(int64_t c, double mean, double invstd, const TensorView& weight,
                     const TensorView& bias) const {
        const Line line(c, mean, invstd, weight, bias);
        put(c, mean, line.scale, line.shift);
    }
    void put(int64_t c, double center, double scale, double shift) const {
        spread(split, lines.center, c, center);
        spread(split, lines.scale, c, scale);
        spread(split, lines.shift, c, shift);
    }
    const BatchNormSplit& split;
    Workspace memory;
    BatchNormLines lines;
};

// Turns a sum of squared deviations into invstd and updates the running statistics.
double finish_channel(int64_t c, double n, double mean, double deviations, double momentum, double eps,
                      const TensorView& running_mean, const TensorView& running_var) {
    if (running_mean.data) {
        const double m = momentum;
        put(running_mean, c, (1 - m) * at(running_mean, c, 0) + m * mean);
        put(running_var, c, (1 - m) * at(running_var, c, 1) + m * (deviations / (n - 1)));
    }
    return 1 / std::sqrt(deviations / n + eps);
}

// Elements between rows.
int64_t row_of(const BatchNormSplit& split, const TensorView& array) {
    const int64_t pitch = pitch_of(split.view, array);
    return pitch ? pitch : split.lanes;
}
bool apart(const ChannelView& view, const TensorView& a, const TensorView& b = {}, const TensorView& c = {}) {
    return pitch_of(view, a) || pitch_of(view, b) || pitch_of(view, c);
}

bool same_alignment(const void* a, const void* b) {
    return (reinterpret_cast<uintptr_t>(a) - reinterpret_cast<uintptr_t>(b)) % kAlignment == 0;
}

BatchNormForwardJob forward_job(const BatchNormSplit& split, const Lines& lines, const TensorView& x,
                                const TensorView& y, const BatchNormFusion& fusion) {
    BatchNormForwardJob job;
    job.split = split;
    job.lines = lines.lines;
    job.x = x.data;
    job.y = y.data;
    job.x_row = row_of(split, x);
    job.out_row = row_of(split, y);
    job.residual = fusion.residual.data;
    job.relu = fusion.relu;
    schedule(job, x.dtype, 1);
    if (pitch_of(split.view, y)) job.streaming = false;
    return job;
}

}  // namespace

void batch_norm_forward(const BatchNormParams& p, const TensorView& x, const BatchNormArrays& arrays,
                        const TensorView& y, double* mean, double* invstd, const BatchNormFusion& fusion) {
    const ChannelView& view = p.view;
    const int64_t channels = view.channels, values = view.values();
    if (!p.training || channels == 0 || values == 0) {
        for (int64_t c = 0; c < channels; ++c) {
            mean[c] = at(arrays.running_mean, c, 0);
            invstd[c] = 1 / std::sqrt(at(arrays.running_var, c, 1) + p.eps);
        }
        if (!y.data) return;
        return batch_norm_apply(view, x, mean, invstd, arrays.weight, arrays.bias, y, fusion);
    }
    // invstd receives the sums of squared deviations first.
    const auto statistics = [&](int64_t c) {
        invstd[c] = finish_channel(c, static_cast<double>(values), mean[c], invstd[c], p.momentum, p.eps,
                                   arrays.running_mean, arrays.running_var);
    };
    if (x.dtype == DType::f64) {
        batch_norm_statistics_reference(view, x.as<double>(), mean, invstd);
        for (int64_t c = 0; c < channels; ++c) statistics(c);
        if (!y.data) return;
        return batch_norm_apply(view, x, mean, invstd, arrays.weight, arrays.bias, y, fusion);
    }
    const BatchNormSplit split = split_of(view, apart(view, x, y));
    const Lines lines(split);
    const Workspace partials = floats(3 * split.pieces * split.lanes);
    BatchNormForwardJob job = forward_job(split, lines, x, y, fusion);
    job.sums = true;
    job.partials = partials.as<float>();
    job.first = mean;
    job.second = invstd;
    auto finish = [&](int64_t c) {
        statistics(c);
        lines.put_forward(c, mean[c], invstd[c], arrays.weight, arrays.bias);
    };
    call_back(job, finish);
    FC_ISA_PICK(batch_norm_forward_kernel)(job);
}

void batch_norm_apply(const ChannelView& view, const TensorView& x, const double* mean, const double* invstd,
                      const TensorView& weight, const TensorView& bias, const TensorView& y,
                      const BatchNormFusion& fusion) {
    if (view.channels == 0 || view.values() == 0) return;
    if (x.dtype == DType::f64)
        return batch_norm_normalize_reference(view, x.as<double>(), mean, invstd, weight.as<double>(),
                                              bias.as<double>(), fusion.residual.as<double>(), fusion.relu,
                                              y.as<double>());
    const BatchNormSplit split = split_of(view, apart(view, x, y));
    const Lines lines(split);
    for (int64_t c = 0; c < view.channels; ++c) lines.put_forward(c, mean[c], invstd[c], weight, bias);
    FC_ISA_PICK(batch_norm_forward_kernel)(forward_job(split, lines, x, y, fusion));
}

void batch_norm_statistics(const BatchNormSums& s, double momentum, double eps,
                           const TensorView& running_mean, const TensorView& running_var, double* mean,
                           double* invstd) {
    const double n = static_cast<double>(s.count);
    for (int64_t c = 0; c < s.channels; ++c) {
        const double sum = s.sum ? s.sum[c] : 0, off = sum / n, deviations = s.squares[c] - sum * off;
        mean[c] = (s.center ? s.center[c] : 0) + off;
        invstd[c] = finish_channel(c, n, mean[c], deviations < 0 ? 0 : deviations, momentum, eps,
                                   running_mean, running_var);
    }
}

size_t batch_norm_moments_bytes(const ChannelView& view, DType dtype) {
    if (dtype == DType::f64 || view.channels == 0 || view.values() == 0) return 0;
    size_t most = 0;
    for (const bool apart : {false, true}) {
        const BatchNormSplit split = split_of(view, apart);
        most = std::max(most, static_cast<size_t>(checked_mul("batch_norm", 12 * split.pieces, split.lanes)));
    }
    return most;
}

void batch_norm_moments(const ChannelView& view, const TensorView& x, double* mean, double* deviations,
                        void* memory) {
    std::fill_n(mean, view.channels, 0.0);
    std::fill_n(deviations, view.channels, 0.0);
    if (view.channels == 0 || view.values() == 0) return;
    if (x.dtype == DType::f64) return batch_norm_statistics_reference(view, x.as<double>(), mean, deviations);
    BatchNormForwardJob job;
    job.split = split_of(view, apart(view, x));
    job.x = x.data;
    job.x_row = row_of(job.split, x);
    job.sums = true;
    job.partials = static_cast<float*>(memory);
    job.first = mean;
    job.second = deviations;
    schedule(job, x.dtype, 1);
    auto nothing = [](int64_t) {};
    call_back(job, nothing);
    FC_ISA_PICK(batch_norm_forward_kernel)(job);
}

void batch_norm_line(DType dtype, int64_t channels, const double* mean, const double* invstd,
                     const TensorView& weight, const TensorView& bias, void* center, void* scale,
                     void* shift) {
    for (int64_t c = 0; c < channels; ++c) {
        if (dtype == DType::f64) {
            static_cast<double*>(center)[c] = mean[c];
            static_cast<double*>(scale)[c] = at(weight, c, 1) * invstd[c];
            static_cast<double*>(shift)[c] = at(bias, c, 0);
            continue;
        }
        const Line line(c, mean[c], invstd[c], weight, bias);
        static_cast<float*>(center)[c] = static_cast<float>(mean[c]);
        static_cast<float*>(scale)[c] = static_cast<float>(line.scale);
        static_cast<float*>(shift)[c] = static_cast<float>(line.shift);
    }
}

size_t batch_norm_apply_line_bytes(const ChannelView& view, DType dtype) {
    if (dtype == DType::f64 || view.channels == 0 || view.values() == 0) return 0;
    return std::max(Lines::bytes(split_of(view)), Lines::bytes(split_of(view, true)));
}

void batch_norm_apply_line(const ChannelView& view, const TensorView& x, const BatchNormLine& line,
                           const TensorView& y, void* memory) {
    if (view.channels == 0 || view.values() == 0) return;
    if (x.dtype == DType::f64)
        return batch_norm_normalize_reference(view, x.as<double>(), static_cast<const double*>(line.center),
                                              static_cast<const double*>(line.scale), nullptr,
                                              static_cast<const double*>(line.shift), nullptr, line.relu,
                                              y.as<double>());
    const BatchNormSplit split = split_of(view, apart(view, x, y));
    const Lines lines(split, memory);
    const auto value = [](const void* array, int64_t c) {
        return static_cast<double>(static_cast<const float*>(array)[c]);
    };
    for (int64_t c = 0; c < view.channels; ++c)
        lines.put(c, value(line.center, c), value(line.scale, c), value(line.shift, c));
    FC_ISA_PICK(batch_norm_forward_kernel)(forward_job(split, lines, x, y, {{}, line.relu}));
}

void batch_norm_backward(const ChannelView& view, bool training, const TensorView& dy, const TensorView& x,
                         const double* mean, const double* invstd, const TensorView& weight,
                         const TensorView& dx, const TensorView& dweight, const TensorView& dbias,
                         const BatchNormMask& mask, const TensorView& dresidual, const TensorView& sum,
                         const double* sums) {
    const int64_t channels = view.channels, values = view.values();
    if (channels == 0 || values == 0) {
        for (int64_t c = 0; c < channels; ++c) {
            if (dweight.data) put(dweight, c, 0);
            if (dbias.data) put(dbias, c, 0);
        }
        return;
    }
    if (dy.dtype == DType::f64) {
        const double* g = dy.as<double>();
        Workspace masked;
        if (mask.relu || dresidual.data) {
            double* to = dresidual.as<double>();
            if (!to) to = (masked = doubles(values * channels)).as<double>();
            if (mask.relu)
                batch_norm_mask_reference(view, g, mask.output.as<double>(), x.as<double>(), mean, invstd,
                                          weight.as<double>(), mask.bias.as<double>(), to);
            else
                std::copy_n(g, values * channels, to);
            g = to;
        }
        return batch_norm_backward_reference(view, training, g, x.as<double>(), mean, invstd,
                                             weight.as<double>(), dx.as<double>(), dweight.as<double>(),
                                             dbias.as<double>(), sum.as<double>());
    }

    const BatchNormSplit split = split_of(view, apart(view, dy, x, dx));
    const Lines lines(split);
    for (int64_t c = 0; c < channels; ++c) lines.put_forward(c, mean[c], invstd[c], weight, mask.bias);
    const Workspace memory = doubles(2 * channels);
    double *totals = memory.as<double>(), *product = totals + channels;
    // Training: dx = a (g - mean(g) - xhat mean(g xhat)) with a = weight * invstd, as a line in g and x.
    auto finish = [&](int64_t c) {
        const double lost = mean[c] - static_cast<double>(static_cast<float>(mean[c]));
        const double product_c = (product[c] - lost * totals[c]) * invstd[c];
        if (dweight.data) put(dweight, c, product_c);
        if (dbias.data) put(dbias, c, totals[c]);
        if (!training) return;
        const double n = static_cast<double>(values), a = at(weight, c, 1) * invstd[c];
        const double slope = -a * invstd[c] * (product_c / n);
        spread(split, lines.lines.slope, c, slope);
        spread(split, lines.lines.offset, c, -a * (totals[c] / n) - slope * lost);
    };
    BatchNormBackwardJob job;
    job.split = split;
    job.lines = lines.lines;
    job.x = x.data;
    job.dy = dy.data;
    job.relu = mask.relu;
    job.y = mask.output.data;
    job.dx = dx.data;
    job.sum = sum.data;
    job.x_row = row_of(split, x);
    job.dy_row = row_of(split, dy);
    job.out_row = row_of(split, dx);
    job.dresidual = dresidual.data;
    job.training = training;
    job.first = totals;
    job.second = product;
    job.sums = dweight.data || dbias.data || (training && dx.data);
    if (sums && job.sums) {
        std::copy_n(sums, 2 * channels, totals);
        for (int64_t c = 0; c < channels; ++c) finish(c);
        job.sums = false;
    }
    schedule(job, x.dtype, job.relu && job.y ? 3 : 2);
    if (dx.data && dresidual.data && !same_alignment(dx.data, dresidual.data)) job.streaming = false;
    if (pitch_of(view, dx)) job.streaming = false;
    const Workspace partials = job.sums ? floats(2 * split.pieces * split.lanes) : Workspace();
    job.partials = partials.as<float>();
    call_back(job, finish);
    FC_ISA_PICK(batch_norm_backward_kernel)(job);
}

}  // namespace fastconv
