#include "bindings/bindings.h"
#include "ops/softmax_loss/nll_loss.h"
#include "ops/softmax_loss/pointwise_loss.h"

namespace fastconv::bindings {
namespace {

const char* softmax_name(bool log) { return log ? "log_softmax" : "softmax"; }

py::array softmax(py::object input, py::object dim, bool log) {
    const char* op = softmax_name(log);
    const ArrayIn x(op, "input", input);
    require_float(op, "input", x.dtype());
    const ClassAxis axis = class_axis(op, x.shape(), to_int(op, "dim", dim));
    ArrayOut y(op, x.dtype(), x.shape());
    {
        const Computing computing;
        softmax_forward(axis, log, x.view(), y.view());
    }
    return y.release();
}

py::array softmax_grad(py::object output, py::object grad_output, py::object dim, bool log) {
    const char* op = softmax_name(log);
    const ArrayIn y(op, "output", output), dy(op, "grad_output", grad_output);
    require_float(op, "output", y.dtype());
    require_dtype(op, "grad_output", dy.dtype(), y.dtype());
    require_shape(op, "grad_output", dy.shape(), y.shape());
    const ClassAxis axis = class_axis(op, y.shape(), to_int(op, "dim", dim));
    ArrayOut dx(op, y.dtype(), y.shape());
    {
        const Computing computing;
        softmax_backward(axis, log, y.view(), dy.view(), dx.view());
    }
    return dx.release();
}

// Everything that both directions of cross_entropy and of nll_loss take, checked.
struct CrossEntropyArgs {
    const char* op;
    ArrayIn x, labels;
    std::optional<ArrayIn> weight;
    CrossEntropyParams p;
    Shape row_shape;

    CrossEntropyArgs(const char* name, py::object input, py::object target, py::object weights,
                     py::object dim, py::object ignore_index, const std::string& reduction,
                     py::object smoothing)
        : op(name),
          x(op, "input", input),
          labels(op, "target", target),
          weight(optional_array(op, "weight", weights)) {
        require_float(op, "input", x.dtype());
        require_dtype(op, "target", labels.dtype(), DType::i64);
        const int64_t axis = to_int(op, "dim", dim);
        p.axis = class_axis(op, x.shape(), axis);
        if (p.axis.classes == 0) throw ShapeError(message(op, ": input has no classes"));
        for (int i = 0; i < x.shape().ndim; ++i)
            if (i != axis) row_shape.dims[static_cast<size_t>(row_shape.ndim++)] = x.shape()[i];
        require_shape(op, "target", labels.shape(), row_shape);
        if (weight) {
            require_dtype(op, "weight", weight->dtype(), x.dtype());
            require_shape(op, "weight", weight->shape(), Shape{p.axis.classes});
        }
        p.ignore_index = to_int(op, "ignore_index", ignore_index);
        p.reduction = reduction_from_name(op, reduction);
        p.smoothing = to_double(op, "label_smoothing", smoothing);
        if (!(p.smoothing >= 0 && p.smoothing <= 1))
            throw ShapeError(message(op, ": label_smoothing must be in [0, 1], got ", p.smoothing));
        check_labels(op, p, label_data());
    }
    const int64_t* label_data() const { return static_cast<const int64_t*>(labels.data()); }
    const TensorView* weight_view() const { return weight ? &weight->view() : nullptr; }
    Shape loss_shape() const { return p.reduction == Reduction::none ? row_shape : Shape{}; }
    Shape saved_shape() const { return Shape{2, p.axis.rows()}; }
    DType saved_dtype() const { return x.dtype() == DType::bf16 ? DType::f32 : x.dtype(); }
};

py::tuple cross_entropy(py::object input, py::object target, py::object weight, py::object dim,
                        py::object ignore_index, const std::string& reduction, py::object smoothing) {
    const CrossEntropyArgs a("cross_entropy", input, target, weight, dim, ignore_index, reduction, smoothing);
    ArrayOut loss(a.op, a.x.dtype(), a.loss_shape()), saved(a.op, a.saved_dtype(), a.saved_shape());
    double divisor = 1;
    {
        const Computing computing;
        divisor = cross_entropy_forward(a.p, a.x.view(), a.label_data(), a.weight_view(), saved.view(),
                                        loss.view());
    }
    return py::make_tuple(loss.release(), saved.release(), divisor);
}

py::array cross_entropy_grad(py::object input, py::object target, py::object weight, py::object dim,
                             py::object ignore_index, const std::string& reduction, py::object smoothing,
                             py::object saved_array, double divisor, py::object grad_output) {
    const CrossEntropyArgs a("cross_entropy", input, target, weight, dim, ignore_index, reduction, smoothing);
    const ArrayIn saved(a.op, "saved", saved_array), dloss(a.op, "grad_output", grad_output);
    require_dtype(a.op, "saved", saved.dtype(), a.saved_dtype());
    require_shape(a.op, "saved", saved.shape(), a.saved_shape());
    require_dtype(a.op, "grad_output", dloss.dtype(), a.x.dtype());
    require_shape(a.op, "grad_output", dloss.shape(), a.loss_shape());
    ArrayOut dx(a.op, a.x.dtype(), a.x.shape());
    {
        const Computing computing;
        cross_entropy_backward(a.p, a.x.view(), a.label_data(), a.weight_view(), saved.view(), divisor,
                               dloss.view(), dx.view());
    }
    return dx.release();
}

py::tuple nll_loss(py::object input, py::object target, py::object weight, py::object dim,
                   py::object ignore_index, const std::string& reduction) {
    const CrossEntropyArgs a("nll_loss", input, target, weight, dim, ignore_index, reduction,
                             py::float_(0.0));
    ArrayOut loss(a.op, a.x.dtype(), a.loss_shape());
    double divisor = 1;
    {
        const Computing computing;
        divisor = nll_loss_forward(a.p, a.x.view(), a.label_data(), a.weight_view(), loss.view());
    }
    return py::make_tuple(loss.release(), divisor);
}

py::array nll_loss_grad(py::object input, py::object target, py::object weight, py::object dim,
                        py::object ignore_index, const std::string& reduction, double divisor,
                        py::object grad_output) {
    const CrossEntropyArgs a("nll_loss", input, target, weight, dim, ignore_index, reduction,
                             py::float_(0.0));
    const ArrayIn dloss(a.op, "grad_output", grad_output);
    require_dtype(a.op, "grad_output", dloss.dtype(), a.x.dtype());
    require_shape(a.op, "grad_output", dloss.shape(), a.loss_shape());
    ArrayOut dx(a.op, a.x.dtype(), a.x.shape());
    {
        const Computing computing;
        nll_loss_backward(a.p, a.label_data(), a.weight_view(), divisor, dloss.view(), dx.view());
    }
    return dx.release();
}

// The same for the pointwise losses; `kind` is the function's name.
struct PointLossArgs {
    const char* op;
    ArrayIn x, t;
    std::optional<ArrayIn> weight, pos_weight;
    PointLossParams p;

    PointLossArgs(const std::string& kind, py::object input, py::object target, py::object weights,
                  py::object pos_weights, py::object delta, const std::string& reduction)
        : op(kind.c_str()),
          x(op, "input", input),
          t(op, "target", target),
          weight(optional_array(op, "weight", weights)),
          pos_weight(optional_array(op, "pos_weight", pos_weights)) {
        p.kind = point_loss_from_name(kind);
        p.reduction = reduction_from_name(op, reduction);
        p.delta = to_double(op, "delta", delta);
        if (!(p.delta > 0)) throw ShapeError(message(op, ": delta must be greater than 0, got ", p.delta));
        require_float(op, "input", x.dtype());
        require_same("target", t);
        if (weight) require_same("weight", *weight);
        if (pos_weight) require_same("pos_weight", *pos_weight);
    }
    void require_same(const char* what, const ArrayIn& a) const {
        require_dtype(op, what, a.dtype(), x.dtype());
        require_shape(op, what, a.shape(), x.shape());
    }
    Shape loss_shape() const { return p.reduction == Reduction::none ? x.shape() : Shape{}; }
    static const TensorView* view(const std::optional<ArrayIn>& a) { return a ? &a->view() : nullptr; }
};

py::array pointwise_loss(const std::string& kind, py::object input, py::object target, py::object weight,
                         py::object pos_weight, py::object delta, const std::string& reduction) {
    const PointLossArgs a(kind, input, target, weight, pos_weight, delta, reduction);
    ArrayOut loss(a.op, a.x.dtype(), a.loss_shape());
    {
        const Computing computing;
        pointwise_loss_forward(a.p, a.x.view(), a.t.view(), a.view(a.weight), a.view(a.pos_weight),
                               loss.view());
    }
    return loss.release();
}

py::array pointwise_loss_grad(const std::string& kind, py::object input, py::object target, py::object weight,
                              py::object pos_weight, py::object delta, const std::string& reduction,
                              py::object grad_output, bool wrt_target) {
    const PointLossArgs a(kind, input, target, weight, pos_weight, delta, reduction);
    const ArrayIn dloss(a.op, "grad_output", grad_output);
    require_dtype(a.op, "grad_output", dloss.dtype(), a.x.dtype());
    require_shape(a.op, "grad_output", dloss.shape(), a.loss_shape());
    ArrayOut dx(a.op, a.x.dtype(), a.x.shape());
    {
        const Computing computing;
        pointwise_loss_backward(a.p, wrt_target, a.x.view(), a.t.view(), a.view(a.weight),
                                a.view(a.pos_weight), dloss.view(), dx.view());
    }
    return dx.release();
}

}  // namespace

void bind_softmax_loss(py::module_& m) {
    m.def("softmax", &softmax, py::arg("input"), py::arg("dim"), py::arg("log"));
    m.def("softmax_backward", &softmax_grad, py::arg("output"), py::arg("grad_output"), py::arg("dim"),
          py::arg("log"));
    m.def("cross_entropy", &cross_entropy, py::arg("input"), py::arg("target"), py::arg("weight"),
          py::arg("dim"), py::arg("ignore_index"), py::arg("reduction"), py::arg("label_smoothing"));
    m.def("cross_entropy_backward", &cross_entropy_grad, py::arg("input"), py::arg("target"),
          py::arg("weight"), py::arg("dim"), py::arg("ignore_index"), py::arg("reduction"),
          py::arg("label_smoothing"), py::arg("saved"), py::arg("divisor"), py::arg("grad_output"));
    m.def("nll_loss", &nll_loss, py::arg("input"), py::arg("target"), py::arg("weight"), py::arg("dim"),
          py::arg("ignore_index"), py::arg("reduction"));
    m.def("nll_loss_backward", &nll_loss_grad, py::arg("input"), py::arg("target"), py::arg("weight"),
          py::arg("dim"), py::arg("ignore_index"), py::arg("reduction"), py::arg("divisor"),
          py::arg("grad_output"));
    m.def("pointwise_loss", &pointwise_loss, py::arg("kind"), py::arg("input"), py::arg("target"),
          py::arg("weight"), py::arg("pos_weight"), py::arg("delta"), py::arg("reduction"));
    m.def("pointwise_loss_backward", &pointwise_loss_grad, py::arg("kind"), py::arg("input"),
          py::arg("target"), py::arg("weight"), py::arg("pos_weight"), py::arg("delta"), py::arg("reduction"),
          py::arg("grad_output"), py::arg("wrt_target"));
}

}  // namespace fastconv::bindings
