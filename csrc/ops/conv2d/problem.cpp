// From the caller's shapes and parameters to one checked problem.
#include "core/checks.h"
#include "ops/conv2d/conv2d.h"

namespace fastconv {
namespace {

Shape spatial_shape(Layout layout, int64_t n, int64_t c, int64_t h, int64_t w) {
    return layout == Layout::nchw ? Shape{n, c, h, w} : Shape{n, h, w, c};
}

// Stride, dilation and explicit padding of both axes; "same" and "valid" resolved.
void fill_axes(const char* op, Conv2dProblem& problem, const Conv2dParams& params) {
    WindowAxis* axes[] = {&problem.vertical, &problem.horizontal};
    const int64_t kernels[] = {problem.r, problem.s};
    const int64_t inputs[] = {problem.h, problem.w};
    for (size_t i = 0; i < 2; ++i) {
        WindowAxis& a = *axes[i];
        a.input = inputs[i];
        a.kernel = kernels[i];
        a.stride = params.stride[i];
        a.dilation = params.dilation[i];
        if (params.padding_mode == Conv2dParams::Padding::same) {
            if (a.stride != 1)
                throw ShapeError(message(op, ": padding='same' needs stride 1, got ", params.stride[0], ", ",
                                         params.stride[1]));
            const int64_t total = same_padding_total(a.kernel, a.dilation);
            a.pad_begin = total / 2;
            a.pad_end = total - a.pad_begin;
        } else if (params.padding_mode == Conv2dParams::Padding::explicit_) {
            a.pad_begin = params.padding[i];
            a.pad_end = params.padding_after ? (*params.padding_after)[i] : a.pad_begin;
        }
    }
}

void check_groups(const char* op, int64_t groups, int64_t c, int64_t k) {
    if (groups < 1) throw ShapeError(message(op, ": groups must be at least 1, got ", groups));
    if (c % groups || k % groups)
        throw ShapeError(
            message(op, ": groups=", groups, " must divide the ", c, " input and ", k, " output channels"));
}

void check_weight(const char* op, const Shape& weight) {
    require_ndim(op, "weight", weight, 4);
    for (int64_t d : weight)
        if (d < 1)
            throw ShapeError(
                message(op, ": weight must have no empty dimension, got shape ", to_string(weight)));
}

}  // namespace

Shape Conv2dProblem::x_shape() const { return spatial_shape(layout, n, c, h, w); }
Shape Conv2dProblem::y_shape() const { return spatial_shape(layout, n, k, p, q); }

Conv2dProblem conv2d_problem(const char* op, DType dtype, const Shape& x, const Shape& weight,
                             const Conv2dParams& params) {
    require_float(op, "input", dtype);
    require_ndim(op, "input", x, 4);
    check_weight(op, weight);
    Conv2dProblem problem;
    problem.dtype = dtype;
    problem.layout = params.layout;
    problem.groups = params.groups;
    const bool nchw = params.layout == Layout::nchw;
    problem.n = x[0];
    problem.c = x[nchw ? 1 : 3];
    problem.h = x[nchw ? 2 : 1];
    problem.w = x[nchw ? 3 : 2];
    problem.k = weight[0];
    problem.r = weight[2];
    problem.s = weight[3];
    element_count(op, x);
    element_count(op, weight);
    if (problem.n < 0 || problem.c < 1 || problem.h < 1 || problem.w < 1)
        throw ShapeError(message(op, ": input must have at least one channel and one pixel, got shape ",
                                 to_string(x), " (", name(params.layout), ")"));
    check_groups(op, params.groups, problem.c, problem.k);
    if (weight[1] != problem.group_c())
        throw ShapeError(message(op, ": weight expects ", weight[1],
                                 " input channels per group but the input has ", problem.group_c(),
                                 " (C=", problem.c, ", groups=", params.groups, ")"));
    fill_axes(op, problem, params);
    problem.p = window_output(op, "height", problem.vertical);
    problem.q = window_output(op, "width", problem.horizontal);
    element_count(op, problem.y_shape());
    return problem;
}

Conv2dProblem conv_transpose2d_problem(const char* op, DType dtype, const Shape& input, const Shape& weight,
                                       const Conv2dParams& params,
                                       const std::array<int64_t, 2>& output_padding) {
    require_float(op, "input", dtype);
    require_ndim(op, "input", input, 4);
    check_weight(op, weight);
    element_count(op, input);
    element_count(op, weight);
    Conv2dProblem problem;
    problem.dtype = dtype;
    problem.layout = params.layout;
    problem.groups = params.groups;
    const bool nchw = params.layout == Layout::nchw;
    problem.n = input[0];
    problem.k = input[nchw ? 1 : 3];
    problem.p = input[nchw ? 2 : 1];
    problem.q = input[nchw ? 3 : 2];
    problem.r = weight[2];
    problem.s = weight[3];
    if (problem.n < 0 || problem.k < 1 || problem.p < 1 || problem.q < 1)
        throw ShapeError(message(op, ": input must have at least one channel and one pixel, got shape ",
                                 to_string(input), " (", name(params.layout), ")"));
    if (params.groups < 1) throw ShapeError(message(op, ": groups must be at least 1, got ", params.groups));
    problem.c = checked_mul(op, weight[1], params.groups);
    check_groups(op, params.groups, problem.k, problem.c);
    if (weight[0] != problem.k)
        throw ShapeError(
            message(op, ": weight expects ", weight[0], " input channels but the input has ", problem.k));
    fill_axes(op, problem, params);
    problem.vertical.input = problem.p;
    problem.horizontal.input = problem.q;
    problem.h = transposed_output(op, "height", problem.vertical, output_padding[0]);
    problem.w = transposed_output(op, "width", problem.horizontal, output_padding[1]);
    problem.vertical.input = problem.h;
    problem.horizontal.input = problem.w;
    element_count(op, problem.x_shape());
    return problem;
}

}  // namespace fastconv
