#include "bindings/bindings.h"
#include "ops/batch_norm/batch_norm.h"

namespace fastconv::bindings {
namespace {

constexpr const char* kOp = "batch_norm";

// One value a channel, of the input's element type, or float32 beside a bfloat16 input.
void check_channels(const char* what, const Shape& shape, DType dtype, const ArrayIn& x, int64_t channels) {
    require_shape(kOp, what, shape, Shape{channels});
    if (x.dtype() == DType::bf16 && dtype == DType::f32) return;
    require_dtype(kOp, what, dtype, x.dtype());
}

std::optional<ArrayIn> channel_array(const char* what, py::handle object, const ArrayIn& x,
                                     int64_t channels) {
    std::optional<ArrayIn> a = optional_array(kOp, what, object);
    if (a) check_channels(what, a->shape(), a->dtype(), x, channels);
    return a;
}

std::optional<ArrayInOut> updated_array(const char* what, py::handle object, const ArrayIn& x,
                                        int64_t channels) {
    if (object.is_none()) return std::nullopt;
    ArrayInOut a(kOp, what, object);
    check_channels(what, a.shape(), a.dtype(), x, channels);
    return a;
}

template <class Array>
TensorView view_or_none(const std::optional<Array>& a) {
    return a ? a->view() : TensorView{};
}

// An array like the input, such as the residual; null where it is None.
std::optional<ArrayIn> like_input(const char* what, py::handle object, const ArrayIn& x) {
    std::optional<ArrayIn> a = optional_array(kOp, what, object);
    if (a) {
        require_dtype(kOp, what, a->dtype(), x.dtype());
        require_shape(kOp, what, a->shape(), x.shape());
    }
    return a;
}

void require_statistics(const char* what, const ArrayIn& a, int64_t channels) {
    require_dtype(kOp, what, a.dtype(), DType::f64);
    require_shape(kOp, what, a.shape(), Shape{channels});
}

py::tuple forward(py::object input, py::object running_mean, py::object running_var, py::object weight_array,
                  py::object bias_array, bool training, py::object momentum, py::object eps,
                  py::object layout, py::object residual_array, bool relu) {
    const ArrayIn x(kOp, "input", input);
    require_float(kOp, "input", x.dtype());
    BatchNormParams p;
    p.view = channel_view(kOp, x.shape(), to_layout(kOp, layout));
    p.training = training;
    p.momentum = to_double(kOp, "momentum", momentum);
    p.eps = to_double(kOp, "eps", eps);
    if (running_mean.is_none() != running_var.is_none())
        throw ShapeError(message(kOp, ": running_mean and running_var must both be given or both be None"));
    check_batch_norm(kOp, p, x.shape(), !running_mean.is_none());

    const int64_t c = p.view.channels;
    const std::optional<ArrayIn> weight = channel_array("weight", weight_array, x, c),
                                 bias = channel_array("bias", bias_array, x, c);
    std::optional<ArrayIn> mean_in, var_in;
    std::optional<ArrayInOut> mean_out, var_out;
    BatchNormArrays arrays{view_or_none(weight), view_or_none(bias), {}, {}};
    if (training) {
        mean_out = updated_array("running_mean", running_mean, x, c);
        var_out = updated_array("running_var", running_var, x, c);
        arrays.running_mean = view_or_none(mean_out);
        arrays.running_var = view_or_none(var_out);
    } else {
        mean_in = channel_array("running_mean", running_mean, x, c);
        var_in = channel_array("running_var", running_var, x, c);
        arrays.running_mean = view_or_none(mean_in);
        arrays.running_var = view_or_none(var_in);
    }
    const std::optional<ArrayIn> residual = like_input("residual", residual_array, x);
    ArrayOut y(kOp, x.dtype(), x.shape()), mean(kOp, DType::f64, Shape{c}), invstd(kOp, DType::f64, Shape{c});
    {
        const Computing computing;
        batch_norm_forward(p, x.view(), arrays, y.view(), mean.view().as<double>(),
                           invstd.view().as<double>(), {view_or_none(residual), relu});
    }
    return py::make_tuple(y.release(), mean.release(), invstd.release());
}

py::array apply(py::object input, py::object mean_array, py::object invstd_array, py::object weight_array,
                py::object bias_array, py::object layout, py::object residual_array, bool relu) {
    const ArrayIn x(kOp, "input", input);
    require_float(kOp, "input", x.dtype());
    const ChannelView view = channel_view(kOp, x.shape(), to_layout(kOp, layout));
    const ArrayIn mean(kOp, "mean", mean_array), invstd(kOp, "invstd", invstd_array);
    require_statistics("mean", mean, view.channels);
    require_statistics("invstd", invstd, view.channels);
    const std::optional<ArrayIn> weight = channel_array("weight", weight_array, x, view.channels),
                                 bias = channel_array("bias", bias_array, x, view.channels),
                                 residual = like_input("residual", residual_array, x);
    ArrayOut y(kOp, x.dtype(), x.shape());
    {
        const Computing computing;
        batch_norm_apply(view, x.view(), mean.view().as<double>(), invstd.view().as<double>(),
                         view_or_none(weight), view_or_none(bias), y.view(), {view_or_none(residual), relu});
    }
    return y.release();
}

py::tuple statistics(py::object sum_array, py::object squares_array, py::object count_value,
                     py::object center_array, py::object running_mean, py::object running_var,
                     py::object momentum, py::object eps) {
    const std::optional<ArrayIn> sum = optional_array(kOp, "sum", sum_array);
    const ArrayIn squares(kOp, "squares", squares_array);
    const std::optional<ArrayIn> center = optional_array(kOp, "center", center_array);
    const Shape shape = sum ? sum->shape() : squares.shape();
    require_ndim(kOp, sum ? "sum" : "squares", shape, 1);
    BatchNormSums sums;
    sums.channels = shape[0];
    sums.count = to_int(kOp, "count", count_value);
    if (sum) require_statistics("sum", *sum, sums.channels);
    require_statistics("squares", squares, sums.channels);
    if (center) require_statistics("center", *center, sums.channels);
    const double m = to_double(kOp, "momentum", momentum), e = to_double(kOp, "eps", eps);
    if (sums.count < 2)
        throw ShapeError(message(kOp, ": count must be at least 2 values per channel, got ", sums.count));
    if (e <= 0) throw ShapeError(message(kOp, ": eps must be positive in training, got ", e));
    if (running_mean.is_none() != running_var.is_none())
        throw ShapeError(message(kOp, ": running_mean and running_var must both be given or both be None"));
    std::optional<ArrayInOut> mean_out, var_out;
    if (!running_mean.is_none()) {
        mean_out.emplace(kOp, "running_mean", running_mean);
        var_out.emplace(kOp, "running_var", running_var);
        for (const ArrayInOut* a : {&*mean_out, &*var_out}) {
            require_float(kOp, "running statistics", a->dtype());
            require_shape(kOp, "running statistics", a->shape(), Shape{sums.channels});
        }
    }
    sums.sum = sum ? sum->view().as<double>() : nullptr;
    sums.squares = squares.view().as<double>();
    sums.center = center ? center->view().as<double>() : nullptr;
    ArrayOut mean(kOp, DType::f64, shape), invstd(kOp, DType::f64, shape);
    batch_norm_statistics(sums, m, e, view_or_none(mean_out), view_or_none(var_out), mean.view().as<double>(),
                          invstd.view().as<double>());
    return py::make_tuple(mean.release(), invstd.release());
}

// (3, C): what batch_norm_apply computes with, for a convolution that does it as it reads its input.
py::array line(py::object mean_array, py::object invstd_array, py::object weight_array, py::object bias_array,
               const std::string& dtype) {
    const ArrayIn mean(kOp, "mean", mean_array), invstd(kOp, "invstd", invstd_array);
    require_ndim(kOp, "mean", mean.shape(), 1);
    const int64_t channels = mean.shape()[0];
    require_statistics("mean", mean, channels);
    require_statistics("invstd", invstd, channels);
    const std::optional<ArrayIn> weight = optional_array(kOp, "weight", weight_array),
                                 bias = optional_array(kOp, "bias", bias_array);
    const auto check = [&](const char* what, const std::optional<ArrayIn>& a) {
        if (!a) return;
        require_float(kOp, what, a->dtype());
        require_shape(kOp, what, a->shape(), Shape{channels});
    };
    check("weight", weight);
    check("bias", bias);
    if (dtype != name(DType::f32) && dtype != name(DType::f64))
        throw DTypeError(message(kOp, ": dtype must be 'float32' or 'float64', got '", dtype, "'"));
    const DType type = dtype == name(DType::f64) ? DType::f64 : DType::f32;
    ArrayOut lines(kOp, type, {3, channels});
    char* at = static_cast<char*>(lines.data());
    const int64_t row = channels * size_of(type);
    batch_norm_line(type, channels, mean.view().as<double>(), invstd.view().as<double>(),
                    view_or_none(weight), view_or_none(bias), at, at + row, at + 2 * row);
    return lines.release();
}

py::tuple backward(py::object grad_output, py::object input, py::object mean_array, py::object invstd_array,
                   py::object weight_array, bool training, py::object layout, bool need_input,
                   bool need_weight, bool need_bias, bool relu, py::object bias_array,
                   py::object output_array, bool need_residual) {
    const ArrayIn dy(kOp, "grad_output", grad_output), x(kOp, "input", input);
    const ArrayIn mean(kOp, "mean", mean_array), invstd(kOp, "invstd", invstd_array);
    require_float(kOp, "input", x.dtype());
    require_dtype(kOp, "grad_output", dy.dtype(), x.dtype());
    require_shape(kOp, "grad_output", dy.shape(), x.shape());
    const ChannelView view = channel_view(kOp, x.shape(), to_layout(kOp, layout));
    const Shape channels{view.channels};
    require_statistics("mean", mean, view.channels);
    require_statistics("invstd", invstd, view.channels);
    const std::optional<ArrayIn> weight = channel_array("weight", weight_array, x, view.channels),
                                 bias = channel_array("bias", bias_array, x, view.channels),
                                 output = like_input("output", output_array, x);

    std::optional<ArrayOut> dx, dweight, dbias, dresidual;
    if (need_residual) dresidual.emplace(kOp, x.dtype(), x.shape());
    if (need_input) dx.emplace(kOp, x.dtype(), x.shape());
    const DType dtype = weight ? weight->dtype() : x.dtype();
    if (need_weight) dweight.emplace(kOp, dtype, channels);
    if (need_bias) dbias.emplace(kOp, dtype, channels);
    {
        const Computing computing;
        batch_norm_backward(view, training, dy.view(), x.view(), mean.view().as<double>(),
                            invstd.view().as<double>(), view_or_none(weight), view_or_none(dx),
                            view_or_none(dweight), view_or_none(dbias),
                            {relu, view_or_none(bias), view_or_none(output)}, view_or_none(dresidual));
    }
    const auto release = [](std::optional<ArrayOut>& a) { return a ? py::object(a->release()) : py::none(); };
    return py::make_tuple(release(dx), release(dweight), release(dbias), release(dresidual));
}

}  // namespace

void bind_batch_norm(py::module_& m) {
    m.def("batch_norm_forward", &forward, py::arg("input"), py::arg("running_mean"), py::arg("running_var"),
          py::arg("weight"), py::arg("bias"), py::arg("training"), py::arg("momentum"), py::arg("eps"),
          py::arg("layout"), py::arg("residual") = py::none(), py::arg("relu") = false);
    m.def("batch_norm_apply", &apply, py::arg("input"), py::arg("mean"), py::arg("invstd"), py::arg("weight"),
          py::arg("bias"), py::arg("layout"), py::arg("residual") = py::none(), py::arg("relu") = false);
    m.def("batch_norm_statistics", &statistics, py::arg("sum"), py::arg("squares"), py::arg("count"),
          py::arg("center"), py::arg("running_mean"), py::arg("running_var"), py::arg("momentum"),
          py::arg("eps"));
    m.def("batch_norm_line", &line, py::arg("mean"), py::arg("invstd"), py::arg("weight"), py::arg("bias"),
          py::arg("dtype"));
    m.def("batch_norm_backward", &backward, py::arg("grad_output"), py::arg("input"), py::arg("mean"),
          py::arg("invstd"), py::arg("weight"), py::arg("training"), py::arg("layout"), py::arg("need_input"),
          py::arg("need_weight"), py::arg("need_bias"), py::arg("relu") = false, py::arg("bias") = py::none(),
          py::arg("output") = py::none(), py::arg("need_residual") = false);
}

}  // namespace fastconv::bindings
