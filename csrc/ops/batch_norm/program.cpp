// Nodes:
//   batch_norm(x, weight, bias, running_mean, running_var, residual) -> y, mean, invstd: training
//   batch_norm_inference(x, weight, bias, running_mean, running_var, residual) -> y, mean, invstd
//   batch_norm_statistics(statistics, running_mean, running_var) -> mean, invstd: those of a convolution
//   batch_norm_apply(x, mean, invstd, weight, bias, residual) -> y
//   batch_norm_line(mean, invstd, weight, bias) -> (3, C) for a convolution's operand of that name
//   batch_norm_backward(dy, x, mean, invstd, weight, bias, output, sum, sums) -> dx, dweight, dbias,
//   dresidual;
//     sum is added to dx, sums (2, C) are a convolution's
// Attributes: momentum, eps, layout, relu, training (backward), count and dtype where no x is at hand.
#include "core/checks.h"
#include "ops/batch_norm/batch_norm.h"
#include "program/parse.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

// Of operand i, no data where it is absent.
TensorView operand(const Call& c, size_t i) { return c.given(i) ? view_of(c.in[i], nullptr) : TensorView{}; }
TensorView with_data(TensorView view, const Frame& f, size_t i) {
    view.data = view.shape.ndim ? f.in[i] : nullptr;
    return view;
}
TensorView result(const Call& c, size_t i) { return c.wants(i) ? view_of(c.out[i], nullptr) : TensorView{}; }
TensorView with_result(TensorView view, const Frame& f, size_t i) {
    view.data = view.shape.ndim ? f.out[i] : nullptr;
    return view;
}

void require_channels(const Call& c, size_t i, const char* what, DType x, int64_t channels) {
    if (!c.given(i)) return;
    require_shape(c.name, what, c.in[i].shape, {channels});
    if (x == DType::bf16 && c.in[i].dtype == DType::f32) return;
    require_dtype(c.name, what, c.in[i].dtype, x);
}
void require_double(const Call& c, size_t i, const char* what, int64_t channels) {
    require_dtype(c.name, what, c.in[i].dtype, DType::f64);
    require_shape(c.name, what, c.in[i].shape, {channels});
}
void require_like(const Call& c, size_t i, const char* what, const Type& type) {
    if (!c.given(i)) return;
    require_dtype(c.name, what, c.in[i].dtype, type.dtype);
    require_shape(c.name, what, c.in[i].shape, type.shape);
}

BatchNormParams params(const Call& c) {
    BatchNormParams p;
    p.view = channel_view(c.name, c.in[0].shape, layout_of(c));
    p.training = c.name == std::string("batch_norm");
    p.momentum = c.attributes.number("momentum");
    p.eps = c.attributes.number("eps");
    return p;
}

std::vector<Type> forward_infer(const Call& c) {
    c.operands(1, 6);
    require_float(c.name, "input", c.in[0].dtype);
    const BatchNormParams p = params(c);
    if (c.given(3) != c.given(4))
        throw ShapeError(
            message(c.name, ": running_mean and running_var must both be given or both be left out"));
    check_batch_norm(c.name, p, c.in[0].shape, c.given(3));
    const char* names[] = {"weight", "bias", "running_mean", "running_var"};
    for (size_t i = 0; i < 4; ++i) require_channels(c, i + 1, names[i], c.in[0].dtype, p.view.channels);
    require_like(c, 5, "residual", c.in[0]);
    const Type channels{DType::f64, {p.view.channels}};
    return {c.in[0], channels, channels};
}

std::unique_ptr<Step> forward(const Call& c) {
    const BatchNormArrays arrays{operand(c, 1), operand(c, 2), operand(c, 3), operand(c, 4)};
    return make_step([=, p = params(c), x = operand(c, 0), out = result(c, 0), residual = operand(c, 5),
                      relu = c.attributes.flag("relu")](const Frame& f) {
        const BatchNormArrays a{with_data(arrays.weight, f, 1), with_data(arrays.bias, f, 2),
                                with_data(arrays.running_mean, f, 3), with_data(arrays.running_var, f, 4)};
        TensorView y = out;
        y.data = f.out[0];
        batch_norm_forward(p, with_data(x, f, 0), a, y, static_cast<double*>(f.out[1]),
                           static_cast<double*>(f.out[2]), {with_data(residual, f, 5), relu});
    });
}

std::vector<Type> statistics_infer(const Call& c) {
    c.operands(1, 3);
    require_ndim(c.name, "statistics", c.in[0].shape, 2);
    require_dtype(c.name, "statistics", c.in[0].dtype, DType::f64);
    const int64_t channels = c.in[0].shape[1];
    require_shape(c.name, "statistics", c.in[0].shape, {2, channels});
    for (size_t i : {1, 2})
        if (c.given(i)) {
            require_float(c.name, "running statistics", c.in[i].dtype);
            require_shape(c.name, "running statistics", c.in[i].shape, {channels});
        }
    const int64_t count = c.attributes.get<int64_t>("count");
    if (count < 2) throw ShapeError(message(c.name, ": needs at least 2 values per channel, got ", count));
    const Type result{DType::f64, {channels}};
    return {result, result};
}
std::unique_ptr<Step> statistics(const Call& c) {
    BatchNormSums sums;
    sums.channels = c.in[0].shape[1];
    sums.count = c.attributes.get<int64_t>("count");
    return make_step([=, momentum = c.attributes.number("momentum"), eps = c.attributes.number("eps"),
                      mean = operand(c, 1), var = operand(c, 2)](const Frame& f) {
        BatchNormSums s = sums;
        s.center = static_cast<const double*>(f.in[0]);
        s.squares = s.center + s.channels;
        batch_norm_statistics(s, momentum, eps, with_data(mean, f, 1), with_data(var, f, 2),
                              static_cast<double*>(f.out[0]), static_cast<double*>(f.out[1]));
    });
}

std::vector<Type> apply_infer(const Call& c) {
    c.operands(3, 6);
    require_float(c.name, "input", c.in[0].dtype);
    const int64_t channels = channel_view(c.name, c.in[0].shape, layout_of(c)).channels;
    require_double(c, 1, "mean", channels);
    require_double(c, 2, "invstd", channels);
    require_channels(c, 3, "weight", c.in[0].dtype, channels);
    require_channels(c, 4, "bias", c.in[0].dtype, channels);
    require_like(c, 5, "residual", c.in[0]);
    return {c.in[0]};
}
std::unique_ptr<Step> apply(const Call& c) {
    return make_step([view = channel_view(c.name, c.in[0].shape, layout_of(c)), x = operand(c, 0),
                      weight = operand(c, 3), bias = operand(c, 4), residual = operand(c, 5),
                      out = result(c, 0), relu = c.attributes.flag("relu")](const Frame& f) {
        TensorView y = out;
        y.data = f.out[0];
        batch_norm_apply(view, with_data(x, f, 0), static_cast<const double*>(f.in[1]),
                         static_cast<const double*>(f.in[2]), with_data(weight, f, 3), with_data(bias, f, 4),
                         y, {with_data(residual, f, 5), relu});
    });
}

DType line_dtype(const Call& c) {
    return c.attributes.get<std::string>("dtype") == name(DType::f64) ? DType::f64 : DType::f32;
}
std::vector<Type> line_infer(const Call& c) {
    c.operands(2, 4);
    require_ndim(c.name, "mean", c.in[0].shape, 1);
    const int64_t channels = c.in[0].shape[0];
    require_double(c, 0, "mean", channels);
    require_double(c, 1, "invstd", channels);
    for (size_t i : {2, 3})
        if (c.given(i)) {
            require_float(c.name, "weight and bias", c.in[i].dtype);
            require_shape(c.name, "weight and bias", c.in[i].shape, {channels});
        }
    return {{line_dtype(c), {3, channels}}};
}
std::unique_ptr<Step> line(const Call& c) {
    return make_step([type = line_dtype(c), channels = c.in[0].shape[0], weight = operand(c, 2),
                      bias = operand(c, 3)](const Frame& f) {
        char* at = static_cast<char*>(f.out[0]);
        const int64_t row = channels * size_of(type);
        batch_norm_line(type, channels, static_cast<const double*>(f.in[0]),
                        static_cast<const double*>(f.in[1]), with_data(weight, f, 2), with_data(bias, f, 3),
                        at, at + row, at + 2 * row);
    });
}

std::vector<Type> backward_infer(const Call& c) {
    c.operands(4, 9);
    require_float(c.name, "input", c.in[1].dtype);
    require_like(c, 0, "grad_output", c.in[1]);
    const int64_t channels = channel_view(c.name, c.in[1].shape, layout_of(c)).channels;
    require_double(c, 2, "mean", channels);
    require_double(c, 3, "invstd", channels);
    require_channels(c, 4, "weight", c.in[1].dtype, channels);
    require_channels(c, 5, "bias", c.in[1].dtype, channels);
    require_like(c, 6, "output", c.in[1]);
    require_like(c, 7, "sum", c.in[1]);
    if (c.given(8)) {
        require_dtype(c.name, "input with sums", c.in[1].dtype, DType::f32);
        require_dtype(c.name, "sums", c.in[8].dtype, DType::f64);
        require_shape(c.name, "sums", c.in[8].shape, {2, channels});
    }
    const Type per_channel{c.given(4) ? c.in[4].dtype : c.in[1].dtype, {channels}};
    return {c.in[1], per_channel, per_channel, c.in[1]};
}
std::unique_ptr<Step> backward(const Call& c) {
    return make_step([view = channel_view(c.name, c.in[1].shape, layout_of(c)),
                      training = c.attributes.flag("training"), relu = c.attributes.flag("relu"),
                      grad = operand(c, 0), x = operand(c, 1), weight = operand(c, 4), bias = operand(c, 5),
                      output = operand(c, 6), sum = operand(c, 7), dx = result(c, 0), dweight = result(c, 1),
                      dbias = result(c, 2), dresidual = result(c, 3), summed = c.given(8)](const Frame& f) {
        batch_norm_backward(view, training, with_data(grad, f, 0), with_data(x, f, 1),
                            static_cast<const double*>(f.in[2]), static_cast<const double*>(f.in[3]),
                            with_data(weight, f, 4), with_result(dx, f, 0), with_result(dweight, f, 1),
                            with_result(dbias, f, 2), {relu, with_data(bias, f, 5), with_data(output, f, 6)},
                            with_result(dresidual, f, 3), with_data(sum, f, 7),
                            summed ? static_cast<const double*>(f.in[8]) : nullptr);
    });
}

}  // namespace

void add_batch_norm_kinds(KindList& list) {
    list.push_back({"batch_norm", forward_infer, forward, 1u << 3 | 1u << 4, 0, 1u, false, 1u, 1u});
    list.push_back({"batch_norm_inference", forward_infer, forward, 0, 0, 1u, false, 1u, 1u});
    list.push_back({"batch_norm_statistics", statistics_infer, statistics, 1u << 1 | 1u << 2, 0});
    list.push_back({"batch_norm_apply", apply_infer, apply, 0, 1u, 0, false, 1u, 1u});
    list.push_back({"batch_norm_line", line_infer, line, 0, 0});
    // dx may take the place of dy or of what it is added to.
    list.push_back(
        {"batch_norm_backward", backward_infer, backward, 0, 1u | 1u << 7, 0xfu, false, 3u | 1u << 7, 1u});
}

}  // namespace fastconv::program
