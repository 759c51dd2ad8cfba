#include "bindings/bindings.h"
#include "ops/conv2d/conv2d.h"

namespace fastconv::bindings {
namespace {

Conv2dParams parse(const char* op, py::handle stride, py::handle padding, py::handle dilation,
                   py::handle groups, py::handle layout) {
    Conv2dParams params;
    params.stride = to_pair(op, "stride", stride);
    params.dilation = to_pair(op, "dilation", dilation);
    params.groups = to_int(op, "groups", groups);
    params.layout = to_layout(op, layout);
    if (PyUnicode_Check(padding.ptr())) {
        const std::string mode = to_string_arg(op, "padding", padding);
        if (mode == "same")
            params.padding_mode = Conv2dParams::Padding::same;
        else if (mode == "valid")
            params.padding_mode = Conv2dParams::Padding::valid;
        else
            throw ShapeError(
                message(op, ": padding must be an integer, a pair, 'same' or 'valid', got '", mode, "'"));
    } else {
        params.padding = to_pair(op, "padding", padding);
    }
    return params;
}

void check_bias(const char* op, const std::optional<ArrayIn>& bias, DType dtype, int64_t channels) {
    if (!bias) return;
    require_dtype(op, "bias", bias->dtype(), dtype);
    require_shape(op, "bias", bias->shape(), {channels});
}

ConvEpilogue with_bias(const std::optional<ArrayIn>& bias) {
    ConvEpilogue epilogue;
    if (bias) epilogue.bias = bias->data();
    return epilogue;
}

py::array forward(py::object input, py::object weight, py::object bias_array, py::object stride,
                  py::object padding, py::object dilation, py::object groups, py::object layout,
                  const std::string& algorithm) {
    const char* op = "conv2d";
    const ArrayIn x(op, "input", input), w(op, "weight", weight);
    const auto bias = optional_array(op, "bias", bias_array);
    require_float(op, "input", x.dtype());
    require_dtype(op, "weight", w.dtype(), x.dtype());
    const Conv2dProblem problem = conv2d_problem(op, x.dtype(), x.shape(), w.shape(),
                                                 parse(op, stride, padding, dilation, groups, layout));
    check_bias(op, bias, x.dtype(), problem.k);
    ArrayOut y(op, x.dtype(), problem.y_shape());
    {
        py::gil_scoped_release nogil;
        conv2d_fprop(problem, x.data(), w.data(), with_bias(bias), y.data(), algorithm);
    }
    return y.release();
}

py::array input_gradient(py::object input_size, py::object weight, py::object grad_output, py::object stride,
                         py::object padding, py::object dilation, py::object groups, py::object layout,
                         const std::string& algorithm) {
    const char* op = "conv2d_input";
    const ArrayIn w(op, "weight", weight), dy(op, "grad_output", grad_output);
    require_float(op, "grad_output", dy.dtype());
    require_dtype(op, "weight", w.dtype(), dy.dtype());
    const Conv2dProblem problem =
        conv2d_problem(op, dy.dtype(), to_shape(op, "input_size", input_size), w.shape(),
                       parse(op, stride, padding, dilation, groups, layout));
    require_shape(op, "grad_output", dy.shape(), problem.y_shape());
    ArrayOut dx(op, dy.dtype(), problem.x_shape());
    {
        py::gil_scoped_release nogil;
        conv2d_dgrad(problem, w.data(), dy.data(), {}, dx.data(), algorithm);
    }
    return dx.release();
}

py::array weight_gradient(py::object input, py::object weight_size, py::object grad_output, py::object stride,
                          py::object padding, py::object dilation, py::object groups, py::object layout,
                          const std::string& algorithm) {
    const char* op = "conv2d_weight";
    const ArrayIn x(op, "input", input), dy(op, "grad_output", grad_output);
    require_float(op, "input", x.dtype());
    require_dtype(op, "grad_output", dy.dtype(), x.dtype());
    const Conv2dProblem problem =
        conv2d_problem(op, x.dtype(), x.shape(), to_shape(op, "weight_size", weight_size),
                       parse(op, stride, padding, dilation, groups, layout));
    require_shape(op, "grad_output", dy.shape(), problem.y_shape());
    ArrayOut dw(op, x.dtype(), problem.weight_shape());
    {
        py::gil_scoped_release nogil;
        conv2d_wgrad(problem, x.data(), dy.data(), dw.data(), algorithm);
    }
    return dw.release();
}

py::array bias_gradient(py::object grad_output, py::object layout) {
    const char* op = "conv2d_bias";
    const ArrayIn dy(op, "grad_output", grad_output);
    require_float(op, "grad_output", dy.dtype());
    require_ndim(op, "grad_output", dy.shape(), 4);
    Conv2dProblem problem;
    problem.dtype = dy.dtype();
    problem.layout = to_layout(op, layout);
    const bool nchw = problem.layout == Layout::nchw;
    problem.n = dy.shape()[0];
    problem.k = dy.shape()[nchw ? 1 : 3];
    problem.p = dy.shape()[nchw ? 2 : 1];
    problem.q = dy.shape()[nchw ? 3 : 2];
    if (problem.k < 1 || problem.p < 1 || problem.q < 1)
        throw ShapeError(message(op, ": grad_output must have at least one channel and one pixel, got shape ",
                                 to_string(dy.shape()), " (", name(problem.layout), ")"));
    ArrayOut db(op, dy.dtype(), {problem.k});
    {
        py::gil_scoped_release nogil;
        conv2d_bias_grad(problem, dy.data(), db.data());
    }
    return db.release();
}

py::array transposed(py::object input, py::object weight, py::object bias_array, py::object stride,
                     py::object padding, py::object output_padding, py::object groups, py::object dilation,
                     py::object layout) {
    const char* op = "conv_transpose2d";
    const ArrayIn x(op, "input", input), w(op, "weight", weight);
    const auto bias = optional_array(op, "bias", bias_array);
    require_float(op, "input", x.dtype());
    require_dtype(op, "weight", w.dtype(), x.dtype());
    const Conv2dParams params = parse(op, stride, padding, dilation, groups, layout);
    if (params.padding_mode != Conv2dParams::Padding::explicit_)
        throw ShapeError(message(op, ": padding must be an integer or a pair"));
    const Conv2dProblem problem = conv_transpose2d_problem(op, x.dtype(), x.shape(), w.shape(), params,
                                                           to_pair(op, "output_padding", output_padding));
    check_bias(op, bias, x.dtype(), problem.c);
    ArrayOut y(op, x.dtype(), problem.x_shape());
    {
        py::gil_scoped_release nogil;
        conv2d_dgrad(problem, w.data(), x.data(), with_bias(bias), y.data());
    }
    return y.release();
}

// The two gradients of the transposed convolution: its problem is a convolution from the output back.
py::array transposed_gradient(py::object input, py::object weight, py::object grad_output, py::object stride,
                              py::object padding, py::object output_padding, py::object groups,
                              py::object dilation, py::object layout, bool of_weight) {
    const char* op = "conv_transpose2d backward";
    const ArrayIn x(op, "input", input), w(op, "weight", weight), dy(op, "grad_output", grad_output);
    require_float(op, "input", x.dtype());
    require_dtype(op, "weight", w.dtype(), x.dtype());
    require_dtype(op, "grad_output", dy.dtype(), x.dtype());
    const Conv2dProblem problem = conv_transpose2d_problem(
        op, x.dtype(), x.shape(), w.shape(), parse(op, stride, padding, dilation, groups, layout),
        to_pair(op, "output_padding", output_padding));
    require_shape(op, "grad_output", dy.shape(), problem.x_shape());
    ArrayOut out(op, x.dtype(), of_weight ? problem.weight_shape() : problem.y_shape());
    {
        py::gil_scoped_release nogil;
        if (of_weight)
            conv2d_wgrad(problem, dy.data(), x.data(), out.data());
        else
            conv2d_fprop(problem, dy.data(), w.data(), {}, out.data());
    }
    return out.release();
}

py::list candidates(py::object input_size, py::object weight_size, py::object stride, py::object padding,
                    py::object dilation, py::object groups, py::object layout, const std::string& direction,
                    const std::string& dtype) {
    const char* op = "conv2d_candidates";
    const DType type = dtype == "float64" ? DType::f64 : dtype == "bfloat16" ? DType::bf16 : DType::f32;
    const Conv2dProblem problem = conv2d_problem(op, type, to_shape(op, "input_size", input_size),
                                                 to_shape(op, "weight_size", weight_size),
                                                 parse(op, stride, padding, dilation, groups, layout));
    py::list result;
    for (const auto& [name, reason] : conv2d_candidates(problem, conv_direction(direction)))
        result.append(py::make_tuple(name, reason));
    return result;
}

}  // namespace

void bind_conv2d(py::module_& m) {
    using py::arg;
    m.def("conv2d", &forward, arg("input"), arg("weight"), arg("bias"), arg("stride"), arg("padding"),
          arg("dilation"), arg("groups"), arg("layout"), arg("algorithm") = "");
    m.def("conv2d_input", &input_gradient, arg("input_size"), arg("weight"), arg("grad_output"),
          arg("stride"), arg("padding"), arg("dilation"), arg("groups"), arg("layout"),
          arg("algorithm") = "");
    m.def("conv2d_weight", &weight_gradient, arg("input"), arg("weight_size"), arg("grad_output"),
          arg("stride"), arg("padding"), arg("dilation"), arg("groups"), arg("layout"),
          arg("algorithm") = "");
    m.def("conv2d_bias", &bias_gradient, arg("grad_output"), arg("layout"));
    m.def("conv_transpose2d", &transposed, arg("input"), arg("weight"), arg("bias"), arg("stride"),
          arg("padding"), arg("output_padding"), arg("groups"), arg("dilation"), arg("layout"));
    m.def("conv_transpose2d_backward", &transposed_gradient, arg("input"), arg("weight"), arg("grad_output"),
          arg("stride"), arg("padding"), arg("output_padding"), arg("groups"), arg("dilation"), arg("layout"),
          arg("of_weight"));
    m.def("conv2d_candidates", &candidates, arg("input_size"), arg("weight_size"), arg("stride"),
          arg("padding"), arg("dilation"), arg("groups"), arg("layout"), arg("direction"),
          arg("dtype") = "float32");
}

}  // namespace fastconv::bindings
