#include "bindings/bindings.h"
#include "ops/pad/pad.h"

namespace fastconv::bindings {
namespace {

constexpr const char* kOp = "pad";

// `before` and `after` have an amount for each dimension, outermost first.
PadParams to_params(int ndim, py::handle before, py::handle after, const std::string& mode, double value) {
    PadParams p;
    p.mode = pad_mode_from_name(mode);
    p.value = value;
    const Shape first = to_shape(kOp, "pad", before), second = to_shape(kOp, "pad", after);
    if (first.ndim != ndim || second.ndim != ndim)
        throw ShapeError(
            message(kOp, ": needs ", ndim, " amounts on each side, got ", first.ndim, " and ", second.ndim));
    for (int d = 0; d < ndim; ++d) {
        p.before[d] = first[d];
        p.after[d] = second[d];
    }
    return p;
}

py::array forward(py::object input, py::object before, py::object after, const std::string& mode,
                  double value) {
    const ArrayIn x(kOp, "input", input);
    require_float(kOp, "input", x.dtype());
    const PadParams p = to_params(x.shape().ndim, before, after, mode, value);
    ArrayOut y(kOp, x.dtype(), pad_shape(kOp, x.shape(), p));
    {
        const Computing computing;
        pad(p, x.view(), y.view());
    }
    return y.release();
}

py::array backward(py::object grad_output, py::object shape, py::object before, py::object after,
                   const std::string& mode) {
    const ArrayIn dy(kOp, "grad_output", grad_output);
    require_float(kOp, "grad_output", dy.dtype());
    const Shape full = to_shape(kOp, "shape", shape);
    const PadParams p = to_params(full.ndim, before, after, mode, 0);
    require_shape(kOp, "grad_output", dy.shape(), pad_shape(kOp, full, p));
    ArrayOut dx(kOp, dy.dtype(), full);
    {
        const Computing computing;
        pad_backward(p, dy.view(), dx.view());
    }
    return dx.release();
}

}  // namespace

void bind_pad(py::module_& m) {
    m.def("pad", &forward, py::arg("input"), py::arg("before"), py::arg("after"), py::arg("mode"),
          py::arg("value"));
    m.def("pad_backward", &backward, py::arg("grad_output"), py::arg("shape"), py::arg("before"),
          py::arg("after"), py::arg("mode"));
}

}  // namespace fastconv::bindings
