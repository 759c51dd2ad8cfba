#include "bindings/bindings.h"
#include "ops/activation/activation.h"

namespace fastconv::bindings {
namespace {

py::array forward(const std::string& kind, py::object input, double slope, double bound) {
    const char* op = kind == "gelu_tanh" ? "gelu" : kind.c_str();
    const Activation activation = activation_from_name(kind);
    const ArrayIn x(op, "input", input);
    require_float(op, "input", x.dtype());
    ArrayOut y(op, x.dtype(), x.shape());
    {
        const Computing computing;
        activation_forward(activation, {slope, bound}, x.view(), y.view());
    }
    return y.release();
}

py::array backward(const std::string& kind, py::object saved_array, py::object grad_output, double slope,
                   double bound) {
    const char* op = kind == "gelu_tanh" ? "gelu" : kind.c_str();
    const Activation activation = activation_from_name(kind);
    const ArrayIn saved(op, "saved", saved_array), dy(op, "grad_output", grad_output);
    require_float(op, "saved", saved.dtype());
    require_dtype(op, "grad_output", dy.dtype(), saved.dtype());
    require_shape(op, "grad_output", dy.shape(), saved.shape());
    ArrayOut dx(op, dy.dtype(), dy.shape());
    {
        const Computing computing;
        activation_backward(activation, {slope, bound}, saved.view(), dy.view(), dx.view());
    }
    return dx.release();
}

}  // namespace

void bind_activation(py::module_& m) {
    m.def("activation", &forward, py::arg("kind"), py::arg("input"), py::arg("slope"),
          py::arg("bound") = 0.0);
    m.def("activation_backward", &backward, py::arg("kind"), py::arg("saved"), py::arg("grad_output"),
          py::arg("slope"), py::arg("bound") = 0.0);
}

}  // namespace fastconv::bindings
